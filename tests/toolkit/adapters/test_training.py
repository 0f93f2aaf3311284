"""A run learns, resumes where it stopped, stops when nothing improves, and leaves the best adapter."""

import dataclasses
import itertools
import json

import pytest
import torch

from helpers.errors import CourseError
from toolkit.adapters import Schedule, fit, make_batch, read_examples
from toolkit.adapters.training import remember_images, use_fast_patches

SHORT = Schedule(steps=6, batch_size=2, learning_rate=2e-3, warm_up=1, score_every=2)


@pytest.fixture(scope="module")
def whole(make_model, examples, tmp_path_factory):
    """(Folder, rows) of a run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    return out, fit(make_model(), examples[:4], examples[4:], out, SHORT)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_it_learns_and_measures_on_what_it_does_not_train_on(whole):
    _, rows = whole
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"]
    assert all(0 <= row["held_out_right"] <= 1 for row in rows)


def test_a_run_that_was_stopped_ends_with_the_same_weights(whole, make_model, examples, tmp_path):
    folder, rows = whole
    fit(make_model(), examples[:4], examples[4:], tmp_path, SHORT, stop_after=3)
    again = fit(make_model(), examples[:4], examples[4:], tmp_path, SHORT)
    assert again == rows
    for name, value in weights(folder).items():
        assert torch.equal(value, weights(tmp_path)[name])


def test_a_finished_run_is_not_trained_again(whole, make_model, examples):
    folder, rows = whole
    assert fit(make_model(), examples[:4], examples[4:], folder, SHORT) == rows


def test_another_run_is_not_continued(whole, make_model, examples):
    with pytest.raises(CourseError, match="another learning_rate"):
        fit(make_model(), examples[:4], examples[4:], whole[0], dataclasses.replace(SHORT, learning_rate=1e-4))


def test_it_stops_when_nothing_improves_and_keeps_the_best(make_model, examples, tmp_path, monkeypatch):
    from toolkit.adapters import training

    losses = itertools.chain([3.0, 1.0, 2.0, 2.0], itertools.repeat(0.5))
    monkeypatch.setattr(training, "score", lambda *_: {"held_out_loss": next(losses), "held_out_right": 0.0})
    saves = []
    model = make_model()
    monkeypatch.setattr(model, "save_pretrained", saves.append)
    rows = fit(model, examples[:4], examples[4:], tmp_path, dataclasses.replace(SHORT, score_every=1, patience=2))
    assert [row["held_out_loss"] for row in rows] == [3.0, 1.0, 2.0, 2.0]
    assert len(saves) == 2


def test_a_loss_that_is_no_number_ends_the_run(make_model, examples, tmp_path):
    model = make_model()
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.requires_grad).fill_(float("nan"))
    with pytest.raises(CourseError, match="loss of step 0"):
        fit(model, examples[:4], examples[4:], tmp_path, SHORT)


def test_each_epoch_shows_every_example_once():
    schedule = Schedule(batch_size=4)
    shown = [place for step in range(5) for place in schedule.chosen(step, 10)]
    assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))
    assert shown[:10] != shown[10:]


def test_the_fast_patch_embedding_gives_the_same_numbers(make_model, examples):
    model = make_model()
    embedding = model.get_base_model().model.visual.patch_embed
    pixels = examples[0]["pixel_values"]
    stock = embedding(pixels)
    assert use_fast_patches(model)
    torch.testing.assert_close(embedding(pixels), stock, rtol=1e-2, atol=1e-3)  # summed in another order


def test_a_frozen_tower_sees_an_image_once_and_the_loss_is_the_same(make_model, examples):
    batch = make_batch(examples[:3])
    model = make_model()
    stock = model(**batch).loss
    stock.backward()
    gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    known = remember_images(model)
    with torch.inference_mode():  # as held-out items are measured
        model(**batch)
    assert len(known) == 3
    seen = []
    model.get_base_model().model.visual.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    loss = model(**batch).loss
    loss.backward()
    assert not seen
    torch.testing.assert_close(loss, stock, rtol=1e-4, atol=1e-5)
    again = [weight.grad for weight in model.parameters() if weight.grad is not None]
    torch.testing.assert_close(again, gradients, rtol=1e-2, atol=1e-3)


def test_a_tower_that_learns_is_computed_each_time(make_model):
    assert remember_images(make_model(tower=True)) is None


def test_no_more_is_remembered_than_allowed(make_model, examples):
    model = make_model()
    known = remember_images(model, most_bytes=1)
    assert torch.isfinite(model(**make_batch(examples[:2])).loss)
    assert known == {}


def test_two_items_written_by_hand_are_trained_on(make_model, processor, tmp_path):
    from PIL import Image

    lines = []
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
        content = [{"type": "image_url", "image_url": {"url": f"{colour}.png"}}, {"type": "text", "text": "Colour?"}]
        lines.append({"messages": [{"role": "user", "content": content}], "answer": [colour]})
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mine = read_examples(tmp_path, processor)
    plan = Schedule(steps=3, batch_size=2, learning_rate=1e-2, warm_up=1, score_every=1)
    rows = fit(make_model(), mine, mine, tmp_path / "run", plan)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"]
    assert any(value.any() for name, value in weights(tmp_path / "run").items() if "lora_B" in name)

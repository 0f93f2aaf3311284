"""The tiny model: its input is the stock processor's, training learns and resumes, the file has the stock layout."""

import json

import numpy as np
import pytest

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.profiles import TINY
from helpers.tiny import architecture, dataset
from helpers.tiny import train as training
from helpers.tiny.tokenizer import SPECIAL_TOKENS, build_tokenizer
from helpers.toyworld import scenes

MODEL = COURSE_ROOT / "data" / TINY


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def processor(tokenizer):
    return architecture.build_processor(tokenizer)


def test_shipped_tokenizer_is_what_the_code_builds(tokenizer):
    from transformers import AutoTokenizer

    shipped = AutoTokenizer.from_pretrained(MODEL)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    assert shipped.chat_template == tokenizer.chat_template


def test_special_tokens_are_single_and_letters_survive(tokenizer):
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token)) == 1
    for text in ("I love Qwen3-VL-4B-Instruct", "naïve Ωmega 漢字 🙂 \u202eright", "a\tb\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_chat_template_knows_turns_pictures_and_refuses_other_roles(tokenizer):
    picture = {"type": "image"}
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [picture, {"type": "text", "text": "A"}, {"type": "video"}]},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "C"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>A"
        "<|vision_start|><|video_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
        "<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(Exception, match="tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


@pytest.mark.parametrize("side", [96, 128, 192])
def test_training_sees_what_the_stock_processor_makes(processor, tokenizer, side):
    picture = scenes.draw(scenes.make_facts(__import__("random").Random(1)), 1, side)
    stock = processor.image_processor(images=[picture], return_tensors="np")
    patches, grid = dataset.patchify(picture)
    assert tuple(stock["image_grid_thw"][0]) == grid
    assert np.abs(stock["pixel_values"] - patches).max() < 1e-6
    content = [{"type": "image"}, {"type": "text", "text": "Describe this image."}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    expected = processor(text=[text], images=[picture], return_tensors="np")["input_ids"][0]
    example = dataset.encode(tokenizer, [dataset.Turn("Describe this image.", "An answer.", picture)])
    assert (example.input_ids[: len(expected)] == expected).all()


def test_only_answers_are_learned(tokenizer):
    turns = [dataset.Turn("Q one", "A one"), dataset.Turn("Q two", "A two")]
    example = dataset.encode(tokenizer, turns, "You are a helpful assistant.")
    learned = tokenizer.decode(example.labels[example.labels != dataset.IGNORED])
    assert learned == "A one<|im_end|>A two<|im_end|>"


def test_training_seeds_never_touch_validation(tokenizer):
    batch = next(dataset.batches(tokenizer, 0, 4, tokenizer.convert_tokens_to_ids("<|image_pad|>")))
    assert batch["next_seed"] == 64
    assert set(batch) >= {"input_ids", "labels", "mm_token_type_ids"}


def test_linear_patch_embedding_computes_what_the_convolution_does(tokenizer):
    import torch

    model = architecture.build_model(architecture.build_config(tokenizer))
    patches = torch.randn(16, 3 * 2 * 16 * 16)
    with torch.no_grad():
        stock = model.model.visual.patch_embed(patches)
        training.as_linear_patch_embedding(model)
        assert torch.allclose(stock, model.model.visual.patch_embed(patches), atol=1e-5)


@pytest.mark.slow
def test_training_learns_saves_resumes_and_loads(tmp_path):
    from safetensors import safe_open
    from transformers import Qwen3VLForConditionalGeneration

    out = tmp_path / "run"
    short = {"batch_size": 4, "held_out_items": 4, "quiet": True}
    first = training.train(out, 1, steps=3, **short)
    with pytest.raises(CourseError, match="holds a training run already"):
        training.train(out, 1, steps=3, **short)
    second = training.train(out, 1, steps=40, resume=True, **short)
    assert (first["step"], second["step"], second["examples"]) == (3, 40, 160)
    assert second["minutes"] > first["minutes"]
    assert second["loss"] < first["loss"] - 0.1
    log = [json.loads(line) for line in (out / training.LOG_FILE).read_text().splitlines()]
    assert log[0] == first and log[-1] == second and {"scene_exact", "sentence_exact"} <= set(second)
    model, report = Qwen3VLForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with safe_open(out / "model.safetensors", "pt") as weights:
        assert weights.get_slice("model.visual.patch_embed.proj.weight").get_shape() == [160, 3, 2, 16, 16]
    assert 5e6 < sum(parameter.numel() for parameter in model.parameters()) < 1e7


def test_bad_training_requests_are_refused(tmp_path):
    with pytest.raises(CourseError, match="no run to resume"):
        training.train(tmp_path, 1, resume=True)
    with pytest.raises(CourseError, match="time above 0"):
        training.train(tmp_path, 0)
    with pytest.raises(CourseError, match="no family 'llava'"):
        architecture.build_config(None, "llava")


def test_a_failed_save_keeps_the_state_before(tmp_path, monkeypatch):
    import torch

    state = tmp_path / training.TRAINING_FILE
    state.write_bytes(b"good")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    model = torch.nn.Linear(1, 1)
    with pytest.raises(CourseError, match="No space left"):
        training._save_state(state, model, torch.optim.AdamW(model.parameters()), {})
    assert state.read_bytes() == b"good" and list(tmp_path.iterdir()) == [state]


def test_shipped_weights_are_small_whole_and_described():
    import hashlib

    lines = (MODEL / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert "model.safetensors" in listed
    for name, digest in listed.items():
        assert hashlib.sha256((MODEL / name).read_bytes()).hexdigest() == digest, name
    assert (MODEL / "model.safetensors").stat().st_size < 16e6
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    for part in ("recipe", "minutes", "held-out", "cannot"):
        assert part in card.lower(), part


def test_model_card_shows_the_measured_table():
    from helpers.tiny.evaluate import as_markdown

    table = json.loads((MODEL / "evaluation.json").read_text())
    assert as_markdown(table) in (MODEL / "README.md").read_text(encoding="utf-8")
    scores = table["scores"]
    assert scores["scene facts, recall"]["value"] >= 0.9
    assert scores["reversal, exact"]["value"] >= 0.9
    assert scores["the guides' sentence reversed"]["value"] == 1

"""The tiny models: their chat template, and what is shipped."""

import json

import pytest

from helpers.files import COURSE_ROOT
from helpers.profiles import TINY
from toolkit.tiny_model.tokenizer import build_tokenizer

MODEL = COURSE_ROOT / "data" / TINY


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_shipped_tokenizer_is_what_the_code_builds(tokenizer):
    from transformers import AutoTokenizer

    shipped = AutoTokenizer.from_pretrained(MODEL)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    assert shipped.chat_template == tokenizer.chat_template


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
    from toolkit.tiny_model.evaluation import as_markdown

    table = json.loads((MODEL / "evaluation.json").read_text())
    assert as_markdown(table) in (MODEL / "README.md").read_text(encoding="utf-8")
    scores = table["scores"]
    assert table["model"]["sha256"]["model.safetensors"] == listed_digest("model.safetensors")
    assert scores["question, place"]["value"] > 0.95 and scores["clip description, intention"]["value"] > 0.9


@pytest.mark.parametrize("model", ["tiny-qwen3-vl", "tiny-qwen2-vl"])
def test_shipped_models_keep_the_log_of_every_stage(model):
    from toolkit.tiny_model.model_card import read_notes
    from toolkit.tiny_model.presets import find_preset
    from toolkit.tiny_model.training_log import history_of

    history, notes = history_of(MODEL.parent / model), read_notes(MODEL.parent / model)
    assert list(history.starts) == [*(stage.preset for stage in notes.stages), notes.preset]
    seen = 0
    for stage in notes.stages:
        assert history.starts[stage.preset] == seen
        seen += stage.steps * find_preset(stage.preset).batch_size
    assert history.starts[notes.preset] == seen and history.log[-1]["examples"] > seen


def test_the_twins_had_the_same_training():
    from toolkit.tiny_model.model_card import read_notes
    from toolkit.tiny_model.training_log import history_of

    twins = [MODEL.parent / model for model in ("tiny-qwen3-vl", "tiny-qwen2-vl")]
    one, other = (read_notes(folder) for folder in twins)
    assert (one.preset, one.seed, one.processes) == (other.preset, other.seed, other.processes)
    assert [(stage.preset, stage.steps) for stage in one.stages] == [(s.preset, s.steps) for s in other.stages]
    assert len({history_of(folder).log[-1]["examples"] for folder in twins}) == 1


def listed_digest(name):
    lines = (line.split("  ") for line in (MODEL / "SHA256SUMS").read_text().splitlines())
    return next(digest for digest, listed in lines if listed == name)

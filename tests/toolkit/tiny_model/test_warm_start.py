"""Beginning a training with an older tiny model: everything is taken over, and words find their rows again."""

import pytest

from helpers.errors import CourseError
from toolkit.tiny_model import architecture
from toolkit.tiny_model.export import export
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.tiny_model.warm_start import warm_start

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tokenizers():
    """One of the whole vocabulary, and one that has seen less of the world."""
    return build_tokenizer(), build_tokenizer(examples=30)


@pytest.fixture(scope="module", params=["qwen3-vl", "qwen2-vl"])
def old(request, tokenizers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    model = architecture.build_model(architecture.build_config(tokenizers[1], request.param), seed=3)
    export(model, tokenizers[1], folder)
    return model, folder, request.param


def test_weights_and_known_words_are_taken_over(tokenizers, old):
    new_tokenizer, old_tokenizer = tokenizers
    old_model, folder, family = old
    model = architecture.build_model(architecture.build_config(new_tokenizer, family), seed=4)
    kept = warm_start(model, new_tokenizer, folder)
    before, after = old_model.state_dict(), model.state_dict()
    name = "model.visual.blocks.0.attn.qkv.weight"
    assert torch.allclose(after[name], before[name], atol=0.01)  # stored as bfloat16
    table = "model.language_model.embed_tokens.weight"
    known = old_tokenizer.get_vocab()
    new_words = [token for token in new_tokenizer.get_vocab() if token not in known]
    assert new_words and kept == len(new_tokenizer) - len(new_words)
    for token in ("<|im_end|>", "a", "7"):
        rows = after[table][new_tokenizer.get_vocab()[token]], before[table][known[token]]
        assert torch.allclose(*rows, atol=0.01), token
    row = new_tokenizer.get_vocab()[new_words[0]]
    parts = old_tokenizer.encode(new_tokenizer.decode([row]), add_special_tokens=False)
    assert torch.allclose(after[table][row], before[table][parts].mean(0), atol=0.01)
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_another_size_and_an_empty_folder_are_refused(tokenizers, old, tmp_path):
    model = architecture.build_model(architecture.build_config(tokenizers[0], size="half"))
    with pytest.raises(CourseError, match="another shape"):
        warm_start(model, tokenizers[0], old[1])
    with pytest.raises(CourseError, match=r"no model\.safetensors"):
        warm_start(model, tokenizers[0], tmp_path)

"""A Qwen3-VL small enough to train in a test, its adapters, and items for it."""

import shutil

import pytest

from helpers.files import COURSE_ROOT

TINY = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"
DECODER = r".*language_model\.layers.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
TOWER = r"|.*visual\..*(qkv|attn\.proj|linear_fc1|linear_fc2)"


@pytest.fixture(scope="session")
def base():
    """Folder of the tiny model."""
    return TINY


@pytest.fixture(scope="session")
def processor():
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(TINY)


@pytest.fixture(scope="session")
def make_model():
    """A function that loads the tiny model with a new adapter, always the same."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    def make(tower=False, rank=8, **more):
        model = AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32)
        torch.manual_seed(0)
        target = DECODER + (TOWER if tower else "")
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=target, **more))

    return make


@pytest.fixture(scope="session")
def saved(make_model, tmp_path_factory):
    """Folder of adapters: 'language' and 'tower'."""
    folder = tmp_path_factory.mktemp("adapters")
    for name in ("language", "tower"):
        make_model(tower=name == "tower").save_pretrained(folder / name)
    return folder


@pytest.fixture
def adapters(saved, tmp_path):
    """A copy of `saved` that a test may damage."""
    shutil.copytree(saved, tmp_path / "adapters")
    return tmp_path / "adapters"


@pytest.fixture(scope="session")
def items(tmp_path_factory):
    """Folder with six receipts from abroad."""
    from toolkit.adapters import write_receipts_abroad

    folder = tmp_path_factory.mktemp("items")
    assert len(list(write_receipts_abroad(folder, 6, seed=11_900_000))) == 6
    return folder


@pytest.fixture(scope="session")
def examples(items, processor):
    from toolkit.adapters import read_examples

    return read_examples(items, processor)

"""What vLLM would refuse, or ignore in silence, is said before it is asked."""

import json

import pytest
from safetensors.torch import load_file, save_file

from helpers.errors import CourseError
from toolkit.adapters import check_adapter, ignored_modules

WEIGHTS = "adapter_model.safetensors"


def rewrite(folder, change):
    """Change the tensors of an adapter."""
    tensors = change(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).unlink()
    save_file(tensors, folder / WEIGHTS)


def configure(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_good_adapter_is_described(saved, base):
    facts = check_adapter(saved / "language", base, root=saved)
    assert (facts.name, facts.rank, facts.modules, facts.in_tower) == ("language", 8, 28, 0)
    assert "path of one machine" in facts.notes[0]
    assert check_adapter(saved / "tower", base, tower=True).in_tower == 24


def test_a_tower_without_the_flag_is_refused(saved, base):
    with pytest.raises(CourseError, match="--enable-tower-connector-lora"):
        check_adapter(saved / "tower", base)


def test_a_path_outside_the_folder_is_refused(adapters, base, tmp_path):
    outside = tmp_path / "elsewhere"
    (adapters / "language").rename(outside)
    (adapters / "link").symlink_to(outside)
    for path in (outside, adapters / ".." / "elsewhere", adapters / "link"):
        with pytest.raises(CourseError, match="outside adapters"):
            check_adapter(path, base, root=adapters)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no adapter_model.safetensors"),
        (lambda folder: (folder / WEIGHTS).rename(folder / "adapter_model.bin"), "pickle"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]), "torn"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 4), "torn"),
        (lambda folder: rewrite(folder, lambda tensors: {"other": next(iter(tensors.values()))}), "match nothing"),
        (lambda folder: rewrite(folder, lambda found: dict(list(found.items())[1:])), "no complete LoRA"),
        (lambda folder: configure(folder, r=64), "--max-lora-rank 64"),
        (lambda folder: configure(folder, rank_pattern={"q_proj": 20}), "--max-lora-rank 32"),
        (lambda folder: configure(folder, use_dora=True), "DoRA"),
        (lambda folder: configure(folder, bias="all"), "biases"),
    ],
)
def test_damage_is_found_with_its_cause(damage, word, adapters, base):
    damage(adapters / "language")
    with pytest.raises(CourseError) as caught:
        check_adapter(adapters / "language", base)
    assert word in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda name, value: (name.replace("q_proj", "x_proj"), value), "has no module"),
        (lambda name, value: (name, value.repeat(1, 2) if "lora_A" in name else value), "wide"),
        (lambda name, value: (name, value.repeat(2, 1) if "lora_B" in name else value), "wide"),
    ],
)
def test_an_adapter_of_another_base_is_refused(change, word, adapters, base):
    rewrite(adapters / "language", lambda found: dict(change(name, value) for name, value in found.items()))
    with pytest.raises(CourseError, match=word):
        check_adapter(adapters / "language", base)


def test_a_base_of_another_name_is_noted(adapters, base):
    configure(adapters / "language", base_model_name_or_path="Qwen/Qwen3-VL-2B-Instruct")
    (note,) = check_adapter(adapters / "language", base).notes
    assert "Qwen3-VL-2B-Instruct" in note


def test_a_base_without_weights_is_refused(saved, tmp_path):
    with pytest.raises(CourseError, match="No readable weights"):
        check_adapter(saved / "language", tmp_path)


def test_the_log_tells_what_is_ignored(saved, tmp_path):
    log = tmp_path / "server.log"
    line = "WARNING [model_manager.py:496] Regarding {}, no matching PunicaWrapper is found; {} will be ignored.\n"
    model, modules = "Qwen3VLForConditionalGeneration", ("visual.blocks.0.attn.qkv", "visual.merger.linear_fc1")
    log.write_text("".join(line.format(model, module) for module in modules))
    assert ignored_modules(log, saved / "language") == []
    assert ignored_modules(log, saved / "tower") == [f"model.{module}" for module in modules]
    log.write_text("nothing of the kind\n")
    assert ignored_modules(log, saved / "tower") == []

"""Planned memory: exact for weights and what is trained, close for activations."""

import pytest

from helpers.errors import CourseError
from helpers.model_facts import read_model_facts
from toolkit.adapters import largest_batch, lora_parameters, make_batch, saved_bytes, training_memory

MODEL = "Qwen/Qwen3-VL-4B-Instruct"


@pytest.mark.parametrize("tower", [False, True])
def test_the_count_is_pefts(tower, make_model, base):
    trained, _ = make_model(tower=tower).get_nb_trainable_parameters()
    assert lora_parameters(read_model_facts(base), 8, tower=tower) == trained


@pytest.mark.parametrize("tower", [False, True])
def test_activations_are_planned_within_a_tenth(tower, make_model, base, examples):
    batch = make_batch(examples[:4])
    patches = len(batch["pixel_values"]) if tower else 0
    tokens = batch["input_ids"].numel()
    plan = training_memory(
        read_model_facts(base), tokens=tokens, patches=patches, rank=8, method="float32", checkpoint=False
    )
    kept = saved_bytes(make_model(tower=tower).train(), batch)
    kept -= tokens * 768 * 4  # the output layer keeps its logits once
    assert plan["activations"] == pytest.approx(kept, rel=0.1)


def test_what_saves_memory_saves_it():
    usual = training_memory(MODEL, tokens=2048)
    assert training_memory(MODEL, tokens=2048, method="qlora")["weights"] < usual["weights"] / 2
    assert training_memory(MODEL, tokens=2048, checkpoint=False)["activations"] > 3 * usual["activations"]
    assert training_memory(MODEL, tokens=2048, patches=4096)["activations"] > usual["activations"]


def test_the_largest_batch_fits_and_one_more_does_not():
    how = {"method": "qlora", "patches": 3072}
    count = largest_batch(MODEL, 24, tokens=1024, **how)
    room = 24 * 2**30 - 1.5 * 2**30
    assert count > 1
    for sequences, fits in ((count, True), (count + 1, False)):
        need = training_memory(MODEL, tokens=1024 * sequences, **(how | {"patches": 3072 * sequences}))
        assert (sum(need.values()) <= room) is fits
    assert largest_batch("Qwen/Qwen3-VL-8B-Instruct", 16, tokens=1024) == 0


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(CourseError, match="mixture"):
        lora_parameters("Qwen/Qwen3-VL-30B-A3B-Instruct", 16)
    with pytest.raises(CourseError, match="no method"):
        training_memory(MODEL, tokens=1, method="magic")

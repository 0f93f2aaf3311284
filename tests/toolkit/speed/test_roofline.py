"""The roofline: a known model's work by hand, which limit decides, and a short real measurement."""

import pytest

from helpers.errors import CourseError
from helpers.model_facts import find_model_facts
from toolkit.speed.roofline import (
    MachineLimits,
    best_of,
    decode_bytes,
    decode_flops,
    decode_reach,
    matrix_parameters,
    measure_limits,
    prefill_flops,
    prefill_reach,
)


def limits(bandwidth, flops):
    return MachineLimits(bandwidth, bandwidth / 2, bandwidth / 3, flops, 1, "cpu", "float32", 1, 1, 0.0)


def test_the_work_of_a_known_model_by_hand():
    facts = find_model_facts("Qwen/Qwen3-VL-2B-Instruct")
    layers, head = matrix_parameters(facts)
    # 28 layers of 2048: q and o 2048 x 2048, k and v 2048 x 1024, three of 2048 x 6144; norms are the small rest.
    per_layer = 2 * 2048 * 2048 + 2 * 2048 * 1024 + 3 * 2048 * 6144
    assert layers == pytest.approx(28 * per_layer, rel=1e-3)
    assert head == 151_936 * 2048
    # KV: 28 layers x 8 heads x 128 x (K, V) x 2 bytes = 112 KiB a token.
    assert decode_bytes(facts, 1000, 1, "bfloat16") - decode_bytes(facts, 0, 1, "bfloat16") == 1000 * 112 * 1024
    assert decode_bytes(facts, 0, 4, "bfloat16") == pytest.approx((layers + head) * 2 / 4)
    assert decode_flops(facts, 0) == pytest.approx(2 * (layers + head), rel=1e-3)
    # Twice as long a prompt: twice the products, four times the pairs.
    attention = 4 * 28 * 16 * 128
    assert prefill_flops(facts, 1) == 2 * (layers + head) + attention
    assert prefill_flops(facts, 100) == 2 * layers * 100 + 2 * head + attention * 5050


def test_a_tied_table_counts_once_and_a_mixture_by_its_chosen_experts():
    untied = find_model_facts("Qwen/Qwen3-VL-8B-Instruct")
    layers, head = matrix_parameters(untied)
    assert layers + head == untied.active_parameters() - untied.vocab * untied.hidden
    mixture = find_model_facts("Qwen/Qwen3-VL-30B-A3B-Instruct")
    assert 2.5e9 < sum(matrix_parameters(mixture)) < 3.5e9


def test_the_slower_of_memory_and_arithmetic_decides():
    facts = find_model_facts("Qwen/Qwen3-VL-2B-Instruct")
    slow_memory, slow_arithmetic = limits(1e9, 1e15), limits(1e15, 1e9)
    one, eight = (decode_reach(facts, slow_memory, 100, batch) for batch in (1, 8))
    assert one.limit == "memory" and one.tokens_per_second == pytest.approx(
        1e9 / decode_bytes(facts, 100, 1, "float32")
    )
    assert 7 < eight.tokens_per_second / one.tokens_per_second < 8
    prefill = prefill_reach(facts, slow_arithmetic, 512)
    assert prefill.limit == "arithmetic"
    assert prefill.tokens_per_second == pytest.approx(512 * 1e9 / prefill_flops(facts, 512))
    assert prefill.share(prefill.tokens_per_second / 4) == pytest.approx(0.25)
    with pytest.raises(CourseError, match="refused"):
        prefill_reach(facts, slow_memory, 0)


def test_what_was_seen_once_is_possible():
    found = best_of(limits(6e9, 1e9), limits(3e9, 4e9))
    assert (found.bytes_per_second, found.triad_bytes_per_second, found.flops_per_second) == (6e9, 2e9, 4e9)


def test_arrays_that_a_containers_limit_leaves_no_room_for_are_refused(monkeypatch):
    monkeypatch.setattr("helpers.machine.cgroup_memory", lambda: (2**30, 2**30 - 2**22))
    with pytest.raises(CourseError, match="are not free"):
        measure_limits(1, array_bytes=2**22, matrix=128, passes=1)


def test_limits_are_measured_and_threads_put_back():
    import torch

    before = torch.get_num_threads()
    found = measure_limits(1, array_bytes=2**22, matrix=128, passes=2)
    assert found.threads == 1 and torch.get_num_threads() == before
    assert 1e8 < found.bytes_per_second < 1e13 and 1e7 < found.flops_per_second < 1e14
    assert "1 thread on cpu" in found.describe()

"""The comparison of clients is made within each repeat, so that a slow minute falls on both."""

import pytest

from benchmarks.runner_against_tool import RunnerComparison, Turn


def turn(repeat, client, rate, asking):
    return Turn(repeat, client, 100 / rate, rate, asking, 1.0, 10, 0, None, None)


def test_the_comparison_is_made_within_each_repeat():
    turns = [turn(1, "tool", 10, 10), turn(1, "runner", 9, 10), turn(2, "runner", 18, 20), turn(2, "tool", 20, 20)]
    turns += [turn(3, "tool", 10, 10), turn(3, "runner", 11, 12)]
    found = RunnerComparison(tuple(turns), 100, 100, ("vllm",))
    assert found.ratios == pytest.approx([0.9, 0.9, 1.1])
    assert (found.ratio, found.asking_ratio) == pytest.approx((0.9, 1.0))
    assert "misses 0.95" in found.describe()
    assert len(found.frame()) == 6

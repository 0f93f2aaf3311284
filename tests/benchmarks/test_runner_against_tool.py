"""The comparison of clients is made within each repeat, so that a slow minute falls on both."""

import pytest

from benchmarks.runner_against_tool import figures, ratios


def a_pass(repeat, client, rate, asking):
    rates = {"requests_per_second": rate, "asking_per_second": asking}
    return {"repeat": repeat, "client": client, **rates}


def test_the_comparison_is_made_within_each_repeat():
    passes = [a_pass(1, "tool", 10, 10), a_pass(1, "runner", 9, 10), a_pass(2, "runner", 18, 20)]
    passes += [a_pass(2, "tool", 20, 20), a_pass(3, "tool", 10, 10), a_pass(3, "runner", 11, 12)]
    assert ratios(passes) == pytest.approx([0.9, 0.9, 1.1])
    rate, asking, same = figures(passes, 7)
    assert (rate.value, rate.low, rate.high) == pytest.approx((0.9, 0.9, 1.1))
    assert asking.value == pytest.approx(1.0) and same.value == 7

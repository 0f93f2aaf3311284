"""Exercises of chapter 05: two models compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.exercises.judging import NotAttempted, call, is_close, number

Judge = Callable[[str, str], "str | None"]


def exercise_1(answer: Any) -> str | None:
    """How many discordant pairs, all won by one model, make McNemar's exact p smaller than 0.05: 6."""
    pairs = round(number(answer, "the number of pairs"))
    p = 2 * 0.5**pairs
    if pairs < 1 or p >= 0.05:
        return f"with {pairs} pairs p is {min(p, 1):.3f}; either model might win them all, so p is 2 × 0.5ⁿ"
    if p < 0.025:
        return f"with {pairs} pairs p is {p:.4f}, which is small enough, but fewer would do"
    return None


def exercise_2(paired_interval: Callable[[Any, Any], Any]) -> str | None:
    """A 95 % interval of the mean of the paired differences."""
    import numpy as np

    rng = np.random.default_rng(5)
    first = rng.random(400)
    low, high = call(paired_interval, first, first + rng.normal(0, 0.001, 400))
    if is_close(high - low, 2 * 1.645 * (2 * first.var() / len(first)) ** 0.5, 0.1):
        raise NotAttempted("it still behaves as given: the items of both models are drawn apart, and 90 % are kept")
    if max(abs(number(low)), abs(number(high))) > 0.002:
        return "two models with nearly equal scores on every item hardly differ on any sample of items: keep the pairs"
    second = first + rng.normal(0.02, 0.1, 400)
    for one, other in ((first, second), (second, first)):
        low, high = call(paired_interval, one, other)
        difference = one - other
        if not low < difference.mean() < high:
            return "the difference itself, first minus second, is not in the interval"
        width = (high - low) / (2 * 1.96 * difference.std(ddof=1) / len(difference) ** 0.5)
        if width > 1.12:
            return f"the interval is {width:.1f} times too wide: are the two scores of an item still a pair?"
        if width < 0.9:
            return "the interval is too narrow: 95 % means that 2.5 % are cut off at each end"
    return None


def exercise_3(mcnemar_p: Callable[[list[int], list[int]], Any]) -> str | None:
    """The exact, two-sided p of McNemar's test for two lists of 0 and 1."""
    from scipy.stats import binomtest

    for alone, other, both, neither in ((8, 2, 5, 1), (2, 8, 0, 40), (6, 0, 3, 3), (4, 4, 2, 2), (0, 0, 6, 2)):
        first = [1] * alone + [0] * other + [1] * both + [0] * neither
        second = [0] * alone + [1] * other + [1] * both + [0] * neither
        n = alone + other
        exact = binomtest(alone, n).pvalue if n else 1.0
        p = call(mcnemar_p, first, second)
        if is_close(p, exact, 1e-4, "p"):
            continue
        if not n:
            return "no discordant pair: nothing speaks for either model, so p is 1"
        if any(is_close(p, binomtest(alone, n, alternative=side).pvalue, 1e-4) for side in ("less", "greater")):
            return "that is one-sided; before you look, either model might be the better one, so both ends count"
        if is_close(p, binomtest(alone, len(first)).pvalue, 1e-4):
            return "items on which both are right, or both wrong, say nothing: leave them out of n"
        what = f"{alone} items right by the first model alone, {other} by the second alone"
        return f"{what}: your p is {number(p):.4f}, the exact one {exact:.4f}"
    return None


def exercise_4(both_orders: Callable[[Judge, str, str], Any]) -> str | None:
    """The verdict of a judge that sees both orders: 'a', 'b', 'tie' or 'invalid'."""
    judges: dict[str, tuple[Judge, str]] = {
        "prefers the longer answer": (lambda one, two: "first" if len(one) > len(two) else "second", "b"),
        "prefers the shorter answer": (lambda one, two: "first" if len(one) < len(two) else "second", "a"),
        "always takes the first": (lambda one, two: "first", "tie"),
        "always takes the second": (lambda one, two: "second", "tie"),
        "sees no difference": (lambda one, two: "tie", "tie"),
        "says 'tie' in one order only": (lambda one, two: "first" if one == "short" else "tie", "tie"),
        "gives no readable reply": (lambda one, two: None, "invalid"),
        "gives one readable reply of two": (lambda one, two: None if one == "short" else "first", "invalid"),
    }
    for name, (judge, wanted) in judges.items():
        verdict = call(both_orders, judge, "short", "much longer")
        if verdict != wanted:
            return f"for a judge that {name}, your function returns {verdict!r}; {wanted!r} is right"
    return None


def exercise_5(may_rank: Callable[[dict[str, tuple[int, int]]], Any]) -> str | None:
    """Whether the truth wins against every reference with an interval above one half."""
    cases: list[tuple[dict[str, tuple[int, int]], bool, str]] = [
        ({"swapped": (24, 24), "blind": (23, 24), "liar": (24, 24)}, True, "the truth wins nearly every comparison"),
        ({"swapped": (24, 24), "blind": (24, 24), "liar": (2, 24)}, False, "the liar wins, whatever the sum says"),
        ({"swapped": (24, 24), "blind": (14, 24)}, False, "14 of 24 is more than half, but its interval is not"),
        ({"swapped": (13, 24)}, False, "13 of 24 is more than half, but its interval is not"),
        ({"swapped": (24, 24), "blind": (2, 2)}, False, "two wins of two show nothing"),
        ({"swapped": (240, 300), "liar": (190, 300)}, True, "even the interval of 190 of 300 is above one half"),
        ({"swapped": (0, 24), "blind": (0, 24)}, False, "this judge always prefers what is wrong"),
    ]
    verdicts = [bool(call(may_rank, validation)) for validation, _, _ in cases]
    sums = [[sum(column) for column in zip(*validation.values(), strict=True)] for validation, _, _ in cases]
    if verdicts == [wins / n > 0.5 for wins, n in sums]:
        raise NotAttempted("it still behaves as given: it adds all references up")
    for verdict, (validation, wanted, why) in zip(verdicts, cases, strict=True):
        if verdict is not wanted:
            return f"for {validation}, {wanted} is right: {why}"
    return None

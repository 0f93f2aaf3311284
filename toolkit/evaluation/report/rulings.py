"""What judges and people said of pairs of answers, told of A and B whatever the order that they saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.judging.pairwise import Combined, Comparison
from toolkit.evaluation.metrics.statistics import win_rate
from toolkit.evaluation.report.wording import LABELS

TIE = "tie"


@dataclass(frozen=True)
class Ruling:
    """What a judge or a person said of one pair of answers."""

    item_id: str
    by: str
    dimension: str
    winner: str | None
    """A, B or `TIE`; None without a verdict."""
    flipped: bool = False
    """The verdict changed with the order of the answers."""
    problem: str = ""
    """'invalid' or 'error' where there is no verdict."""
    reasons: tuple[tuple[str, str], ...] = ()
    """Order of the answers, and the judge's reason for its verdict in that order."""
    judge: bool = True
    """False for a person, who sees each pair once."""


def read_rulings(comparisons: Iterable[Comparison], runs: tuple[str, str], judge: bool) -> Iterator[Ruling]:
    for comparison in comparisons:
        if {comparison.first, comparison.second} == set(runs):
            letters = LABELS if (comparison.first, comparison.second) == runs else LABELS[::-1]
            for dimension, verdict in comparison.verdicts.items():
                yield _ruling(comparison, dimension, verdict, letters, judge)


def _ruling(comparison: Comparison, dimension: str, verdict: Combined, letters: str, judge: bool) -> Ruling:
    orders = (letters, letters[::-1])
    return Ruling(
        comparison.item_id,
        visible(comparison.judge),
        visible(dimension),
        {"first": letters[0], "second": letters[1], "tie": TIE, None: None}[verdict.choice],
        verdict.flipped,
        "" if verdict.status == "given" else verdict.status,
        tuple((order, reason) for order, reason in zip(orders, verdict.reasons, strict=True) if reason),
        judge,
    )


def group_rulings(rulings: Iterable[Ruling]) -> dict[tuple[str, str], list[Ruling]]:
    groups: dict[tuple[str, str], list[Ruling]] = defaultdict(list)
    for ruling in rulings:
        groups[ruling.by, ruling.dimension].append(ruling)
    return groups


def ruling_panel(who: tuple[str, str], rulings: Sequence[Ruling]) -> dict[str, Any]:
    """A judge, or a person, on comparison dimension: who won how many items."""
    last = {ruling.item_id: ruling for ruling in rulings}.values()
    won = Counter(ruling.winner for ruling in last)
    rate = win_rate(won["A"], won["B"], won[TIE])
    return {
        "by": who[0],
        "dimension": who[1],
        "key": "/".join(who),
        "judge": rulings[0].judge,
        "won": {letter: won[letter] for letter in ("A", TIE, "B")},
        "none": won[None],
        "flipped": sum(ruling.flipped for ruling in last),
        "rate": None if rate.value is None else f"{100 * rate.value:.0f}\N{NO-BREAK SPACE}%",
        "interval": f"{100 * rate.low:.0f} to {100 * rate.high:.0f}\N{NO-BREAK SPACE}%",
        "shows": None if rate.low <= 0.5 <= rate.high else "A" if rate.low > 0.5 else "B",
    }

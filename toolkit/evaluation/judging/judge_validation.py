"""Only a judge that is shown to prefer the truth to answers of known faults may rank: its validation, and the ranking.

Validation is by `DETAIL`, which the facts decide. It asks that the oracle beats each other reference answer; the order
of those is reported, but not required. On the other dimensions nobody knows who should win, so it says nothing about a
judge's taste there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.errors import CourseError
from toolkit.evaluation.judging.pairwise import (
    DETAIL,
    Agreement,
    Comparison,
    Judge,
    Rates,
    agreement,
    battles,
    compare_pairs,
    longer_wins,
    percent,
    rates,
)
from toolkit.evaluation.judging.reference_answers import ORACLE, REFERENCE_ANSWERS, reference_pairs
from toolkit.evaluation.metrics.statistics import Battle, Estimate, bradley_terry, win_rate

#: Share of the comparisons that may have no verdict: more could hide where the judge is wrong.
MOST_WITHOUT_VERDICT = 0.1


@dataclass(frozen=True)
class JudgeValidation:
    """What a judge made of answers of known quality, by `DETAIL`."""

    judge: str
    reasons: tuple[str, ...]
    """Why it did not pass; empty if it did."""
    items: int
    against: Mapping[str, Estimate]
    """The oracle's win rate against each other reference answer; a tie is half a win."""
    order: Mapping[str, float]
    """Bradley–Terry strengths, the strongest first; empty with fewer than three reference answers."""
    rates: Rates
    longer: Estimate
    blank: Agreement | None
    """With its own verdicts on blank images, if it looks at images. High is right only if it is told the facts."""
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons

    def describe(self) -> str:
        verdict = "passed" if self.passed else "did NOT pass"
        lines = [f"Judge {self.judge} {verdict} its validation on {self.items} items."]
        lines += [f"  because {reason}" for reason in self.reasons]
        lines += [f"  {ORACLE} against {name}: {_interval(estimate)}" for name, estimate in self.against.items()]
        if self.order:
            strengths = ", ".join(f"{name} {strength:+.0f}" for name, strength in self.order.items())
            lines.append(f"  order (Bradley–Terry, Elo scale): {strengths}")
        blank = "looks at no image"
        if self.blank:
            blank = f"agrees with itself on blank images: {_interval(self.blank.share)}"
        return "\n".join([*lines, *_habits(self.rates, self.longer), f"  {blank}"])


def _habits(found: Rates, longer: Estimate) -> list[str]:
    return [f"  {found.describe()}", f"  agrees with 'the longer wins': {_interval(longer)}"]


async def validate_judge(judge: Judge, items: Iterable[Mapping[str, Any]], *, quiet: bool = False) -> JudgeValidation:
    """Let a judge compare answers of known quality. In a notebook: ``await validate_judge(...)``.

    It passes if the oracle beats each other reference answer, the win rate's 95 % interval lying above one half, and if
    at most a tenth of the comparisons have no verdict. A judge that looks at images is asked about blank ones, too.

    Raises:
        CourseError: no items, an item that is no scene, a judge that does not judge `DETAIL`; what the judge raises.
    """
    items = list(items)
    if not items:
        raise CourseError("There are no items to validate a judge with.", "", "give some scenes, such as data/scenes")
    pairs = reference_pairs(items)
    comparisons = await compare_pairs(judge, pairs, quiet=quiet)
    blind = judge.on_blank()
    blank = agreement(comparisons, await compare_pairs(blind, pairs, quiet=quiet), DETAIL) if blind else None
    found, fought = rates(comparisons, DETAIL), battles(comparisons, DETAIL)
    against = {name: _win_rate(fought, ORACLE, name) for name in REFERENCE_ANSWERS if name != ORACLE}
    order = bradley_terry(fought) if len(_names(fought)) > 2 else {}
    reasons = tuple(_reasons(against, found, comparisons))
    longer = longer_wins(comparisons, DETAIL)
    return JudgeValidation(
        judge.name, reasons, len(items), against, order, found, longer, blank, tuple(comparisons)
    )  # fmt: skip


def _reasons(against: Mapping[str, Estimate], found: Rates, comparisons: Sequence[Comparison]) -> Iterable[str]:
    for name, estimate in against.items():
        if estimate.value is None:
            yield f"nothing shows that the {ORACLE} beats '{name}': there is no verdict on the two"
        elif estimate.high < 0.5:
            yield f"it prefers '{name}' to the {ORACLE}: {_interval(estimate)}"
        elif estimate.low <= 0.5:
            few = f"; {estimate.n} items are few" if estimate.value > 0.5 else ""
            yield f"it was not shown that the {ORACLE} beats '{name}': {_interval(estimate)}{few}"
    without = found.invalid + found.errors
    if without > MOST_WITHOUT_VERDICT * found.n:
        verdicts = (comparison.verdicts[DETAIL] for comparison in comparisons)
        first = next(verdict for verdict in verdicts if verdict.status != "given")
        why = next(filter(None, first.reasons), first.status)
        yield f"{without} of {found.n} comparisons have no verdict (the first: {why})"


@dataclass(frozen=True)
class Ranking:
    """What a validated judge made of two runs, by one dimension."""

    dimension: str
    strengths: Mapping[str, Estimate]
    """Their win rates, a tie being half a win, the stronger first."""
    rates: Rates
    longer: Estimate
    """See `longer_wins`."""

    @property
    def verdict(self) -> str:
        first, best = next(iter(self.strengths.items()))
        return f"{first} is better" if best.low > 0.5 else "no difference shown"

    def describe(self) -> str:
        lines = [f"By {self.dimension}: {self.verdict}."]
        lines += [f"  {name}: {_interval(estimate)}" for name, estimate in self.strengths.items()]
        return "\n".join(lines + _habits(self.rates, self.longer))


def rank(validation: JudgeValidation, comparisons: Sequence[Comparison], dimension: str = DETAIL) -> Ranking:
    """Rank two runs by the verdicts of a validated judge; comparisons without a verdict are left out, and counted.

    Raises:
        CourseError: the judge did not pass, or another judge made the comparisons; no verdicts on two runs.
    """
    if not validation.passed:
        raise CourseError(
            f"The judge {validation.judge} may not rank: it failed on answers whose quality is known.",
            "; ".join(validation.reasons),
            "use another judge, or look at the comparisons of the validation to see what misleads it",
        )
    if others := sorted({comparison.judge for comparison in comparisons} - {validation.judge}):
        raise CourseError(
            f"{validation.judge} was validated, and {others[0]} made comparisons.",
            "another model, rubric or setting: it may judge otherwise",
            "validate the judge that ranks",
        )
    fought = battles(comparisons, dimension)
    names = _names(fought)
    if len(names) != 2:
        raise CourseError("There is no verdict to rank by.", "failed calls or invalid replies", "run the judge again")
    shares = {name: _win_rate(fought, name, other) for name, other in (names, names[::-1])}
    strengths = dict(sorted(shares.items(), key=lambda entry: -(entry[1].value or 0.0)))
    return Ranking(dimension, strengths, rates(comparisons, dimension), longer_wins(comparisons, dimension))


def _names(fought: Iterable[Battle]) -> list[str]:
    return sorted({name for battle in fought for name in (battle.first, battle.second)})


def _win_rate(fought: Iterable[Battle], first: str, second: str) -> Estimate:
    """The first's, against the second, whichever of them stood first."""
    scores = [
        battle.score if battle.first == first else 1 - battle.score
        for battle in fought
        if {battle.first, battle.second} == {first, second}
    ]
    return win_rate(*map(scores.count, (1.0, 0.0, 0.5)))


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "unknown"
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)}, n = {estimate.n})"

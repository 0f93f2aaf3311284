"""Only a judge that is shown to prefer the truth to answers of known faults may rank: its admission, and the ranking.

Admission is by `DETAIL`, which the facts decide. It asks that the oracle beats each other contestant; in which order
those come is told, but not asked for. On the other dimensions nobody knows who should win, so it says nothing about a
judge's taste there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.errors import CourseError
from toolkit.evaluation.judging.judges import Judge, compare_pairs
from toolkit.evaluation.judging.pairwise import (
    Agreement,
    Combined,
    Comparison,
    Rates,
    agreement,
    battles,
    longer_wins,
    percent,
    rates,
)
from toolkit.evaluation.judging.reference_answers import CONTESTANTS, ORACLE, contestant_pairs
from toolkit.evaluation.judging.rubric import DETAIL
from toolkit.evaluation.metrics.statistics import Estimate, bradley_terry, win_rate

#: Share of the comparisons that may have no verdict: more could hide where the judge is wrong.
MOST_WITHOUT_VERDICT = 0.1


@dataclass(frozen=True)
class Admission:
    """How a judge dealt with contestants of known quality, by `DETAIL`."""

    judge: str
    reasons: tuple[str, ...]
    """Why it is not admitted; empty if it is."""
    items: int
    against: Mapping[str, Estimate]
    """The oracle's win rate against each other contestant; a tie is half a win."""
    order: Mapping[str, Estimate]
    """Bradley–Terry strengths, the strongest first; empty with fewer than three contestants."""
    rates: Rates
    longer: Estimate
    """See `longer_wins`."""
    blank: Agreement | None
    """With its own verdicts on blank pictures; None if it looks at none. High: it does not decide by what it sees,
    which is as it should be only if it is told the facts."""
    comparisons: tuple[Comparison, ...]

    @property
    def admitted(self) -> bool:
        """Whether the judge may rank."""
        return not self.reasons

    def describe(self) -> str:
        """Some lines for people."""
        lines = [f"Judge {self.judge}: {'admitted' if self.admitted else 'NOT admitted'}, on {self.items} items."]
        lines += [f"  because {reason}" for reason in self.reasons]
        lines += [f"  {ORACLE} against {name}: {_interval(one)}" for name, one in self.against.items()]
        if self.order:
            strengths = ", ".join(f"{name} {one.value:+.0f}" for name, one in self.order.items())
            lines.append(f"  order (Bradley–Terry, Elo's scale): {strengths}")
        lines.append(f"  {self.rates.describe()}")
        lines.append(f"  agrees with 'the longer wins': {_interval(self.longer)}")
        if self.blank is None:
            lines.append("  looks at no picture")
        else:
            lines.append(f"  agrees with itself on blank pictures: {_interval(self.blank.share)}")
        return "\n".join(lines)


async def admit(
    judge: Judge, items: Iterable[Mapping[str, Any]], *, oracle_only: bool = False, quiet: bool = False
) -> Admission:
    """Let a judge compare contestants of known quality. In a notebook: ``await admit(...)``.

    It is admitted if the oracle beats each other contestant, the win rate's 95 % interval lying above one half, and if
    at most a tenth of the comparisons have no verdict. A judge that looks at pictures is asked about blank ones, too.

    Args:
        judge: judges `DETAIL`, among others.
        items: records of scenes.
        oracle_only: see `contestant_pairs`; the order is then known less well.
        quiet: no progress bar.

    Raises:
        CourseError: no items, an item that is no scene, a judge that does not judge `DETAIL`; what the judge raises.
    """
    items = list(items)
    if not items:
        raise CourseError("There are no items to admit a judge with.", "", "give some scenes, such as data/scenes")
    pairs = contestant_pairs(items, oracle_only)
    comparisons = await compare_pairs(judge, pairs, quiet=quiet)
    blind = judge.on_blank()
    on_blank = await compare_pairs(blind, pairs, quiet=quiet) if blind else None
    return _admission(judge.name, len(items), comparisons, on_blank)


def _admission(judge: str, items: int, comparisons: list[Comparison], on_blank: list[Comparison] | None) -> Admission:
    found = rates(comparisons, DETAIL)
    against = {name: _win_rate(comparisons, ORACLE, name, DETAIL) for name in CONTESTANTS if name != ORACLE}
    fought = battles(comparisons, DETAIL)
    names = {name for battle in fought for name in (battle.first, battle.second)}
    return Admission(
        judge=judge,
        reasons=tuple(_reasons(against, found, comparisons)),
        items=items,
        against=against,
        order=bradley_terry(fought) if len(names) > 2 else {},
        rates=found,
        longer=longer_wins(comparisons, DETAIL),
        blank=None if on_blank is None else agreement(comparisons, on_blank, DETAIL),
        comparisons=tuple(comparisons),
    )


def _reasons(against: Mapping[str, Estimate], found: Rates, comparisons: Sequence[Comparison]) -> Iterable[str]:
    for name, one in against.items():
        if one.value is None:
            yield f"nothing shows that the {ORACLE} beats '{name}': there is no verdict on the two"
        elif one.high < 0.5:
            yield f"it prefers '{name}' to the {ORACLE}: {_interval(one)}"
        elif one.low <= 0.5:
            few = f"; {one.n} items are few" if one.value > 0.5 else ""
            yield f"it was not shown that the {ORACLE} beats '{name}': {_interval(one)}{few}"
    without = found.invalid + found.errors
    if without > MOST_WITHOUT_VERDICT * found.n:
        missing = (one.verdicts[DETAIL] for one in comparisons)
        why = next(_failure(one) for one in missing if one.status != "given")
        yield f"{without} of {found.n} comparisons have no verdict (the first: {why})"


def _failure(verdict: Combined) -> str:
    return next((reason for reason in verdict.reasons if reason), verdict.status)


# ---------------------------------------------------------------- ranking


@dataclass(frozen=True)
class Ranking:
    """What an admitted judge made of the contestants, by one dimension."""

    judge: str
    dimension: str
    strengths: Mapping[str, Estimate]
    """The strongest first. Of two: their win rates, a tie being half a win. Of more: Elo's scale, see
    `bradley_terry`."""
    rates: Rates
    longer: Estimate
    """See `longer_wins`."""

    @property
    def verdict(self) -> str:
        """Of two: who is better, or that it was not shown. Of more: who leads, as far as intervals tell."""
        (first, best), (_, second) = list(self.strengths.items())[:2]
        ahead = best.low > 0.5 if len(self.strengths) == 2 else best.low > second.high
        return f"{first} is better" if ahead else "no difference shown"

    def describe(self) -> str:
        """Some lines for people."""
        two = len(self.strengths) == 2
        lines = [f"By {self.dimension}: {self.verdict}."]
        for name, one in self.strengths.items():
            shown = _interval(one) if two else f"{one.value:+.0f} ({one.low:+.0f} to {one.high:+.0f})"
            lines.append(f"  {name}: {shown}")
        lines.append(f"  {self.rates.describe()}")
        lines.append(f"  agrees with 'the longer wins': {_interval(self.longer)}")
        return "\n".join(lines)


def rank(admission: Admission, comparisons: Sequence[Comparison], dimension: str = DETAIL) -> Ranking:
    """Rank by the verdicts of an admitted judge; comparisons without a verdict are left out, and counted.

    Args:
        admission: of the judge that made the comparisons.
        comparisons: from `compare_pairs`.
        dimension: of the rubric.

    Raises:
        CourseError: the judge is not admitted, or another judge made the comparisons; no verdicts.
    """
    if not admission.admitted:
        raise CourseError(
            f"The judge {admission.judge} may not rank: it failed on answers whose quality is known.",
            "; ".join(admission.reasons),
            "use another judge, or look at the comparisons of the admission to see what misleads it",
        )
    if others := sorted({one.judge for one in comparisons} - {admission.judge}):
        raise CourseError(
            f"{admission.judge} was admitted, and {others[0]} made comparisons.",
            "another model, rubric or setting: it may judge otherwise",
            "admit the judge that ranks",
        )
    fought = battles(comparisons, dimension)
    names = sorted({name for battle in fought for name in (battle.first, battle.second)})
    if len(names) < 2:
        raise CourseError("There is no verdict to rank by.", "failed calls or invalid replies", "run the judge again")
    if len(names) == 2:
        first, second = names
        strengths = {
            first: _win_rate(comparisons, first, second, dimension),
            second: _win_rate(comparisons, second, first, dimension),
        }
        strengths = dict(sorted(strengths.items(), key=lambda entry: -entry[1].value))
    else:
        strengths = bradley_terry(fought)
    found = rates(comparisons, dimension)
    return Ranking(admission.judge, dimension, strengths, found, longer_wins(comparisons, dimension))


def _win_rate(comparisons: Iterable[Comparison], first: str, second: str, dimension: str) -> Estimate:
    """The first's, against the second, whichever of them stood first."""
    scores = [
        battle.score if battle.first == first else 1 - battle.score
        for battle in battles(comparisons, dimension)
        if {battle.first, battle.second} == {first, second}
    ]
    return win_rate(scores.count(1.0), scores.count(0.0), scores.count(0.5))


def _interval(one: Estimate) -> str:
    if one.value is None:
        return "unknown"
    return f"{percent(one.value)} ({percent(one.low)} to {percent(one.high)}, n = {one.n})"

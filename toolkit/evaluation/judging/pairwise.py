"""What judges say about pairs of answers: verdicts in both orders, what they come to, and how steady a judge is.

A verdict that could not be read is invalid, and a call that failed is an error: neither is a tie, and neither counts as
a verdict for anyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.evaluation.inference.transcripts import read_outcomes
from toolkit.evaluation.metrics.scene_facts import check
from toolkit.evaluation.metrics.statistics import Battle, Estimate, kappa, wilson
from toolkit.evaluation.metrics.text_metrics import share
from toolkit.toyworld.items import stream_items

#: The dimension that facts decide; judges are validated by it.
DETAIL = "detail"
Preference = Literal["first", "second", "tie"]
Status = Literal["given", "invalid", "error"]
#: The same preference, said of the pair in the other order.
MIRRORED: Mapping[Preference | None, Preference | None] = {"first": "second", "second": "first", "tie": "tie"}
_SCORES: dict[Preference, float] = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one pair in one order, by one dimension."""

    status: Status
    choice: Preference | None = None
    """Which answer is better; None unless the status is 'given'."""
    reason: str = ""
    """The judge's; or why there is no verdict."""

    def mirrored(self) -> Verdict:
        return Verdict(self.status, MIRRORED.get(self.choice), self.reason)


def preferred(first: Any, second: Any) -> Preference:
    return "tie" if first == second else "first" if first > second else "second"


#: Verdicts by dimension.
Verdicts = Mapping[str, Verdict]


@dataclass(frozen=True)
class Combined:
    """What two orders come to."""

    status: Status
    choice: Preference | None
    flipped: bool = False
    """The orders disagreed, so it is a tie."""
    reasons: tuple[str, str] = ("", "")
    """In the order given, and in the other one."""

    @property
    def score(self) -> float | None:
        """1 if the first won, 0 if the second did, ½ for a tie; None without a verdict."""
        return _SCORES[self.choice] if self.choice else None


def combine(given: Verdict, mirrored: Verdict) -> Combined:
    """What a verdict in the pair's order and one in the other order (see `Verdict.mirrored`) come to.

    A tie with ``flipped`` if they disagree; an error if a call failed, else invalid if a reply was.
    """
    reasons = (given.reason, mirrored.reason)
    for status in ("error", "invalid"):
        if status in (given.status, mirrored.status):
            return Combined(status, None, reasons=reasons)
    flipped = given.choice != mirrored.choice
    return Combined("given", "tie" if flipped else given.choice, flipped, reasons)


@dataclass(frozen=True)
class Pair:
    """Two answers to one item, by name."""

    item: Mapping[str, Any]
    """A record of ``items.jsonl``."""
    first: str
    second: str
    first_text: str
    second_text: str

    @property
    def item_id(self) -> str:
        return str(self.item["item_id"])


@dataclass(frozen=True)
class Comparison:
    """A pair as a judge saw it, in both orders."""

    judge: str
    item_id: str
    first: str
    second: str
    verdicts: Mapping[str, Combined]
    """By dimension."""
    first_words: int
    second_words: int

    @classmethod
    def of(cls, judge: str, pair: Pair, verdicts: Mapping[str, Combined]) -> Comparison:
        words = (len(text.split()) for text in (pair.first_text, pair.second_text))
        return cls(judge, pair.item_id, pair.first, pair.second, verdicts, *words)

    @property
    def longer(self) -> Preference:
        return preferred(self.first_words, self.second_words)


@dataclass(frozen=True)
class Rates:
    """How steady a judge is by one dimension."""

    dimension: str
    n: int
    """Comparisons; those ``given`` have a verdict."""
    given: int
    ties: int
    """Flips among them."""
    flips: int
    invalid: int
    errors: int

    @property
    def flip_rate(self) -> float | None:
        """Share of the verdicts given that changed with the order; None if there are none."""
        return share(self.flips, self.given)

    @property
    def tie_rate(self) -> float | None:
        """Of the verdicts given, likewise."""
        return share(self.ties, self.given)

    @property
    def invalid_rate(self) -> float | None:
        """Share of the answered comparisons that have no verdict because a reply was invalid."""
        return share(self.invalid, self.given + self.invalid)

    def describe(self) -> str:
        return (
            f"{self.dimension}: {self.given} of {self.n} comparisons have a verdict; flipped with the order "
            f"{percent(self.flip_rate)}, ties {percent(self.tie_rate)} (flips among them), "
            f"invalid {percent(self.invalid_rate)}, failed calls {self.errors}"
        )


def percent(value: float | None) -> str:
    """A share for people; 'unknown' if there is none."""
    return "unknown" if value is None else f"{value:.0%}"


def rates(comparisons: Iterable[Comparison], dimension: str) -> Rates:
    """Flips, ties, invalid replies and failed calls by one dimension."""
    found = [verdict for _, verdict in _judged(comparisons, dimension)]
    statuses = [verdict.status for verdict in found]
    ties, flips = (sum(verdict.choice == "tie" for verdict in found), sum(verdict.flipped for verdict in found))
    given, invalid, errors = statuses.count("given"), statuses.count("invalid"), statuses.count("error")
    return Rates(dimension, len(found), given, ties, flips, invalid, errors)


def battles(comparisons: Iterable[Comparison], dimension: str) -> list[Battle]:
    """For `statistics.bradley_terry`; comparisons without a verdict are left out."""
    return [
        Battle(comparison.item_id, comparison.first, comparison.second, verdict.score)
        for comparison, verdict in _judged(comparisons, dimension)
        if verdict.score is not None
    ]


def longer_wins(comparisons: Iterable[Comparison], dimension: str) -> Estimate:
    """How often the longer answer won, of the comparisons that someone won and whose answers differ in length.

    A judge that agrees with 'the longer wins' nearly always may look at nothing else.
    """
    won = [
        verdict.choice == comparison.longer
        for comparison, verdict in _judged(comparisons, dimension)
        if verdict.choice in ("first", "second") and comparison.longer != "tie"
    ]
    return wilson(sum(won), len(won))


@dataclass(frozen=True)
class Agreement:
    """Two judges on the same pairs."""

    share: Estimate
    """Of the pairs that have both verdicts, those with the same."""
    kappa: float | None
    """Cohen's; None if both gave one and the same verdict throughout, or there are no pairs."""


def agreement(first: Iterable[Comparison], second: Iterable[Comparison], dimension: str) -> Agreement:
    """How far two judges agree on the pairs that both gave a verdict on."""
    mine, theirs = (
        {
            (comparison.item_id, comparison.first, comparison.second): verdict.choice
            for comparison, verdict in _judged(comparisons, dimension)
            if verdict.choice
        }
        for comparisons in (first, second)
    )
    both = [(choice, theirs[key]) for key, choice in mine.items() if key in theirs]
    same = sum(choice == other for choice, other in both)
    return Agreement(wilson(same, len(both)), kappa([choice for choice, _ in both], [other for _, other in both]))


def dimensions_of(comparisons: Sequence[Comparison]) -> list[str]:
    """The dimensions that the comparisons have verdicts by, in their order."""
    return list(dict.fromkeys(name for comparison in comparisons for name in comparison.verdicts))


def _judged(comparisons: Iterable[Comparison], dimension: str) -> Iterator[tuple[Comparison, Combined]]:
    for comparison in comparisons:
        if dimension not in comparison.verdicts:
            raise CourseError(
                f"The judge {comparison.judge} says nothing about '{dimension}'.",
                "it does not judge by this dimension",
                f"use one of: {', '.join(comparison.verdicts)}",
            )
        yield comparison, comparison.verdicts[dimension]


class Judge(Protocol):
    """Whoever says which of two answers is better."""

    @property
    def name(self) -> str:
        """Another name wherever it might judge otherwise: a validation holds for the name."""

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        """Verdicts by dimension on two answers to an item, in this order."""

    def on_blank(self) -> Judge | None:
        """The same judge with a blank image in place of the item's; None if it looks at none."""


async def compare_pair(judge: Judge, pair: Pair) -> Comparison:
    """A pair judged in both orders."""
    given, mirrored = await asyncio.gather(
        judge.judge(pair.item, pair.first_text, pair.second_text),
        judge.judge(pair.item, pair.second_text, pair.first_text),
    )
    verdicts = {name: combine(given[name], mirrored[name].mirrored()) for name in given}
    return Comparison.of(judge.name, pair, verdicts)


async def compare_pairs(judge: Judge, pairs: Sequence[Pair], *, quiet: bool = False) -> list[Comparison]:
    """Every pair judged in both orders, in the order of the pairs. In a notebook: ``await compare_pairs(...)``.

    A progress bar goes to stderr if that is a terminal, unless ``quiet``. The judge limits the calls in flight.

    Raises:
        CourseError: what the judge raises. What a model has replied so far is in its file.
    """
    from tqdm import tqdm

    with tqdm(total=len(pairs), desc=judge.name, unit="pair", disable=True if quiet else None) as bar:

        async def judged(pair: Pair) -> Comparison:
            found = await compare_pair(judge, pair)
            bar.update()
            return found

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(judged(pair)) for pair in pairs]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def read_pairs(
    items_folder: str | Path, transcripts: str | Path, first: str, second: str, tasks: Collection[str] = ("scene",)
) -> tuple[list[Pair], list[str]]:
    """The answers of two runs, by name, in the items' order, and the items that one or both did not answer.

    Only items of these tasks; what says neither task nor kind is taken.

    Raises:
        CourseError: unreadable files, or a run that is not in the file.
    """
    texts: dict[str, dict[str, str | None]] = {}
    for transcript in read_outcomes(transcripts):
        texts.setdefault(transcript.run, {})[transcript.item_id] = transcript.text
    for run in (first, second):
        if run not in texts:
            raise CourseError(
                f"There is no run '{run}' in {shown(transcripts)}.", "", f"use one of: {', '.join(texts) or 'none'}"
            )
    pairs, unanswered = [], []
    for item in stream_items(items_folder):
        if item.get("task", item.get("kind")) not in (None, *tasks):
            continue
        first_text, second_text = (texts[run].get(item["item_id"]) for run in (first, second))
        if first_text is None or second_text is None:
            unanswered.append(item["item_id"])
        else:
            pairs.append(Pair(item, first, second, first_text, second_text))
    return pairs, unanswered


def judge_by_rules(item: Mapping[str, Any], a: str, b: str) -> Verdict:
    """The better description of a toy scene by its facts: the higher fact F1, then the fewer contradictions.

    Raises:
        CourseError: the item has no facts of a scene.
    """
    reports = [check(text, item.get("facts") or {}) for text in (a, b)]
    told = [f"fact F1 {report.f1 or 0.0:.2f} with {report.contradicted} contradicted" for report in reports]
    scores = [(report.f1 or 0.0, -report.contradicted) for report in reports]
    return Verdict("given", preferred(*scores), " against ".join(told))


@dataclass(frozen=True)
class RulesJudge:
    """`judge_by_rules` as a judge; only of `DETAIL`, for no rule knows what reads well."""

    name: str = "rules"

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        return {DETAIL: judge_by_rules(item, first_text, second_text)}

    def on_blank(self) -> Judge | None:
        return None


@dataclass(frozen=True)
class LengthJudge(RulesJudge):
    """The longer answer wins: what every judge must beat (CapArena, arXiv 2503.12329: .585 agreement with people)."""

    name: str = "longer wins"

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        first, second = len(first_text.split()), len(second_text.split())
        return {DETAIL: Verdict("given", preferred(first, second), f"{first} words against {second}")}

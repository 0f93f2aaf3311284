"""Judges of two answers: what a judge is, both orders of a pair, and two judges that need no model.

The judging model is in `model_judge`. Every judge has to pass `judge_validation` before its verdicts rank anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.evaluation.inference.transcripts import read_outcomes
from toolkit.evaluation.judging.pairwise import Comparison, Pair, Verdict, Verdicts, combine, preferred
from toolkit.evaluation.judging.prompt import DETAIL
from toolkit.evaluation.metrics.scene_facts import check
from toolkit.toyworld.items import stream_items


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


# ---------------------------------------------------------------- judges without a model


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
        """See `Judge`."""
        return {DETAIL: judge_by_rules(item, first_text, second_text)}

    def on_blank(self) -> Judge | None:
        """None: it looks at nothing."""
        return None


@dataclass(frozen=True)
class LengthJudge(RulesJudge):
    """The longer answer wins: what every judge must beat (CapArena, arXiv 2503.12329: .585 agreement with people)."""

    name: str = "longer wins"

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        """By words, whatever they say."""
        first, second = len(first_text.split()), len(second_text.split())
        return {DETAIL: Verdict("given", preferred(first, second), f"{first} words against {second}")}

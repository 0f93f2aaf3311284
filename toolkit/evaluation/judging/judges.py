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
from toolkit.evaluation.judging.pairwise import (
    Combined,
    Comparison,
    Pair,
    Preference,
    Verdict,
    Verdicts,
    combine,
    count_words,
)
from toolkit.evaluation.judging.rubric import DETAIL
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


# ---------------------------------------------------------------- both orders


async def compare_pair(judge: Judge, pair: Pair) -> Comparison:
    """A pair judged in both orders."""
    given, mirrored = await asyncio.gather(
        judge.judge(pair.item, pair.first_text, pair.second_text),
        judge.judge(pair.item, pair.second_text, pair.first_text),
    )
    verdicts: dict[str, Combined] = {name: combine(given[name], mirrored[name].mirrored()) for name in given}
    words = count_words(pair.first_text), count_words(pair.second_text)
    return Comparison(judge.name, str(pair.item["item_id"]), pair.first, pair.second, verdicts, *words)


async def compare_pairs(judge: Judge, pairs: Sequence[Pair], *, quiet: bool = False) -> list[Comparison]:
    """Every pair judged in both orders, in the order of the pairs. In a notebook: ``await compare_pairs(...)``.

    Args:
        judge: decides by itself how many calls are in flight.
        pairs: see `read_pairs`.
        quiet: no progress bar. It goes to stderr, and only if that is a terminal.

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
    """The answers of two runs, item by item.

    Args:
        items_folder: with ``items.jsonl``.
        transcripts: the file that holds both runs.
        first: name of a run.
        second: name of the other.
        tasks: items of these tasks; what says neither task nor kind is taken.

    Returns:
        The pairs in the items' order, and the names of the items that one or both did not answer.

    Raises:
        CourseError: unreadable files, or a run that is not in the file.
    """
    texts: dict[tuple[str, str], str | None] = {}
    runs: dict[str, None] = {}
    for transcript in read_outcomes(transcripts):
        runs[transcript.run] = None
        if transcript.run in (first, second):
            texts[transcript.run, transcript.item_id] = transcript.text if transcript.settled else None
    for run in (first, second):
        if run not in runs:
            raise CourseError(
                f"There is no run '{run}' in {shown(transcripts)}.", "", f"use one of: {', '.join(runs) or 'none'}"
            )
    pairs, unanswered = [], []
    for item in stream_items(items_folder):
        if item.get("task", item.get("kind")) not in (None, *tasks):
            continue
        name = item["item_id"]
        first_text, second_text = texts.get((first, name)), texts.get((second, name))
        if first_text is None or second_text is None:
            unanswered.append(name)
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
    scores = [(report.f1 or 0.0, -report.contradicted) for report in reports]
    choice: Preference = "tie" if scores[0] == scores[1] else "first" if scores[0] > scores[1] else "second"
    told = [f"fact F1 {report.f1 or 0.0:.2f} with {report.contradicted} contradicted" for report in reports]
    return Verdict("given", choice, " against ".join(told))


@dataclass(frozen=True)
class RulesJudge:
    """`judge_by_rules` as a judge; only of `DETAIL`, for no rule knows what reads well."""

    name: str = "rules"

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        """See `judge_by_rules`."""
        return {DETAIL: judge_by_rules(item, first_text, second_text)}

    def on_blank(self) -> Judge | None:
        """It reads facts and looks at nothing."""
        return None


@dataclass(frozen=True)
class LengthJudge:
    """The longer answer wins: what every judge must beat (CapArena, arXiv 2503.12329: .585 agreement with people)."""

    name: str = "longer wins"
    dimensions: tuple[str, ...] = (DETAIL,)

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        """By words, whatever they say."""
        first, second = count_words(first_text), count_words(second_text)
        choice: Preference = "tie" if first == second else "first" if first > second else "second"
        return dict.fromkeys(self.dimensions, Verdict("given", choice, f"{first} words against {second}"))

    def on_blank(self) -> Judge | None:
        """It looks at nothing."""
        return None

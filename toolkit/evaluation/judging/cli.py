"""``course evaluate judge``: two runs compared by a judge that was validated first."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown
from toolkit.evaluation.inference.client import Endpoint
from toolkit.evaluation.judging.judge_validation import rank, validate_judge
from toolkit.evaluation.judging.model_judge import JUDGE_POLICY, JudgeEndpoint, ModelJudge, Prices, estimate_cost
from toolkit.evaluation.judging.pairwise import (
    Judge,
    LengthJudge,
    Pair,
    RulesJudge,
    compare_pairs,
    dimensions_of,
    read_pairs,
)
from toolkit.evaluation.judging.prompt import read_rubric
from toolkit.evaluation.judging.reference_answers import reference_pairs
from toolkit.evaluation.metrics.scoring import task_of
from toolkit.toyworld.items import read_items, stream_items

WITHOUT_MODEL = {"rules": RulesJudge, "length": LengthJudge}
SCENES = COURSE_ROOT / "data" / "scenes"


@dataclass(frozen=True)
class JudgeSettings:
    """A judging model: options of ``course evaluate judge``, which explains them."""

    endpoint: Endpoint
    out: Path
    concurrency: int = 8
    sees_image: bool = False
    told_facts: bool = True
    longest_reason: int | None = None


@dataclass(frozen=True)
class JudgedRuns:
    """Two runs to compare, and how: likewise."""

    items: Path
    transcripts: Path
    first: str
    second: str
    known: Path | None = None
    limit: int | None = None
    estimate_only: bool = False
    prices: Prices | None = None

    def pairs(self) -> tuple[list[Pair], int]:
        """What is to be compared, and how many items are left out, since one run or both have no answer.

        Raises:
            CourseError: nothing to compare; unreadable files.
        """
        if self.first == self.second:
            raise CourseError(
                f"'{self.first}' cannot be compared with itself.", "one run was named twice", "name two runs"
            )
        pairs, unanswered = read_pairs(self.items, self.transcripts, self.first, self.second)
        if not pairs:
            tasks = Counter(task_of(item) for item in stream_items(self.items))
            there = ", ".join(f"{task} ({count})" for task, count in sorted(tasks.items())) or "none"
            raise CourseError(
                f"'{self.first}' and '{self.second}' have no answers that a judge can compare.",
                f"only scenes that both have answered count; tasks in {shown(self.items)}: {there}; scenes that one or "
                f"both did not answer: {len(unanswered)}",
                "give a folder with scenes, and ask both runs about it: python -m course evaluate run",
            )
        return pairs[: self.limit], len(unanswered)


def choose_judge(
    judge: str | None, url: str | None, model: str | None, key: str | None = None, revision: str | None = None
) -> str | Endpoint:
    """The judge that the options mean: its name, or the model that judges.

    Raises:
        CourseError: a model without its address, an address without a model, or a model beside another judge.
    """
    if url is None and model is None:
        return judge or "rules"
    if judge is not None or url is None or model is None:
        raise CourseError(
            "It is not clear who judges.", "", "give both --url and --model, or --judge without either of them"
        )
    return Endpoint(url, model, key, revision)


def main(runs: JudgedRuns, judge: str | JudgeSettings = "rules") -> int:
    """Say what judging will cost, validate the judge ('rules', 'length' or a model), and rank two runs by its verdicts.

    Returns:
        0 if it ranked or only estimated, 1 if some comparisons have no verdict because calls failed, 130 if it was
        interrupted.

    Raises:
        CourseError: unknown judge; nothing to compare; a judge that does not pass; unreadable files; a server that does
            not answer.
    """
    if isinstance(judge, str) and judge not in WITHOUT_MODEL:
        raise CourseError(f"There is no judge '{judge}'.", "", f"use {' or '.join(WITHOUT_MODEL)}, or name an endpoint")
    pairs, left_out = runs.pairs()  # before the validation, which may cost money
    if left_out:
        print(f"{left_out} items are left out: one run or both have no answer to them")
    try:
        return asyncio.run(_judge(runs, judge, pairs))
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130


async def _judge(runs: JudgedRuns, which: str | JudgeSettings, pairs: list[Pair]) -> int:
    known = runs.known or SCENES
    scenes = read_items(known)
    async with _opened(which, runs.items, known) as (judge, examinee):
        if isinstance(judge, ModelJudge) and isinstance(examinee, ModelJudge):
            known_answers = reference_pairs(scenes)
            plan = [("validation", examinee, known_answers), ("comparison", judge, pairs)]
            if blind := examinee.on_blank():
                plan.insert(1, ("on blank images", blind, known_answers))
            for name, asked, asked_about in plan:
                print(f"{name}: {estimate_cost(asked, asked_about, runs.prices).describe()}")
        if runs.estimate_only:
            return 0
        validation = await validate_judge(examinee, scenes)
        print(validation.describe())
        if not validation.passed:
            rank(validation, [])  # says why
        comparisons = await compare_pairs(judge, pairs)
        rankings = [rank(validation, comparisons, name) for name in dimensions_of(comparisons)]
    for ranking in rankings:
        print(ranking.describe())
    return int(any(ranking.rates.errors for ranking in rankings))


@contextlib.asynccontextmanager
async def _opened(which: str | JudgeSettings, folder: Path, known: Path) -> AsyncIterator[tuple[Judge, Judge]]:
    """The judge, and the same judge for the items that validate it, whose media lie elsewhere."""
    if isinstance(which, str):
        judge = WITHOUT_MODEL[which]()
        yield judge, judge
        return
    policy = replace(JUDGE_POLICY, concurrency=which.concurrency)
    async with JudgeEndpoint(which.endpoint, which.out, policy) as endpoint:
        if endpoint.repaired:
            print(endpoint.repaired, file=sys.stderr)
        settings = ModelJudge(
            endpoint, read_rubric(), "image" if which.sees_image else "nothing", folder, which.told_facts,
            longest_reason=which.longest_reason,
        )  # fmt: skip
        yield settings, replace(settings, folder=known)

"""``python -m course evaluate judge``: two runs compared by a judge that was admitted first."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown
from toolkit.evaluation.judging.cost import estimate_cost
from toolkit.evaluation.judging.judge_validation import admit, rank
from toolkit.evaluation.judging.judges import Judge, LengthJudge, RulesJudge, compare_pairs, read_pairs
from toolkit.evaluation.judging.model_judge import JudgeEndpoint, ModelJudge
from toolkit.evaluation.judging.pairwise import Pair, dimensions_of
from toolkit.evaluation.judging.reference_answers import contestant_pairs
from toolkit.evaluation.judging.rubric import read_rubric
from toolkit.evaluation.metrics.scoring import task_of
from toolkit.toyworld.items import read_items, stream_items

WITHOUT_MODEL = {"rules": RulesJudge, "length": LengthJudge}


@dataclass(frozen=True)
class Endpoint:
    """The judging model, as the command line names it."""

    url: str
    model: str
    out: Path
    key: str | None = None
    concurrency: int = 8
    sees_picture: bool = False
    told_facts: bool = True
    longest_reason: int | None = None


def choose(judge: str | None, *, url: str | None, model: str | None, **settings: Any) -> str | Endpoint:
    """The judge that the options mean; ``settings`` are further fields of `Endpoint`.

    Raises:
        CourseError: a model without its address, an address without a model, or a model beside another judge.
    """
    if url is None and model is None:
        return judge or "rules"
    if judge is not None or url is None or model is None:
        raise CourseError(
            "It is not clear who judges.", "", "give both --url and --model, or --judge without either of them"
        )
    return Endpoint(url=url, model=model, **settings)


def command(
    items: Path,
    transcripts: Path,
    first: str,
    second: str,
    judge: str | Endpoint = "rules",
    *,
    admission_items: Path | None = None,
    limit: int | None = None,
    estimate_only: bool = False,
    prices: tuple[float | None, float | None] = (None, None),
) -> int:
    """Say what judging will cost, admit the judge, and rank two runs by its verdicts.

    Args:
        items: folder with ``items.jsonl``.
        transcripts: file that holds both runs.
        first: name of a run.
        second: name of the other.
        judge: 'rules', 'length', or a model.
        admission_items: folder of scenes to admit the judge with; None takes ``data/scenes``.
        limit: the first so many pairs only.
        estimate_only: end after the estimate.
        prices: of a million prompt tokens and a million completion tokens.

    Returns:
        0 if it ranked or only estimated, 1 if some comparisons have no verdict because calls failed, 130 after an
        interruption.

    Raises:
        CourseError: unknown judge; nothing to compare; a judge that is not admitted; unreadable files; a server that
            does not answer.
    """
    if isinstance(judge, str) and judge not in WITHOUT_MODEL:
        raise CourseError(f"There is no judge '{judge}'.", "", f"use {' or '.join(WITHOUT_MODEL)}, or name an endpoint")
    pairs, unanswered = read_pairs(items, transcripts, first, second)
    _check_pairs(items, first, second, pairs, unanswered)  # before the admission, which may cost money
    known = admission_items or COURSE_ROOT / "data" / "scenes"
    if unanswered:
        print(f"{len(unanswered)} items are left out: one run or both have no answer to them")
    try:
        return asyncio.run(_judge(judge, pairs[:limit], items, known, estimate_only, prices))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _check_pairs(folder: Path, first: str, second: str, pairs: list[Pair], unanswered: list[str]) -> None:
    if first == second:
        raise CourseError(
            f"'{first}' cannot be compared with itself.", "one run was named twice", "name two runs of the file"
        )
    if not pairs:
        tasks = Counter(task_of(item) for item in stream_items(folder))
        there = ", ".join(f"{task} ({count})" for task, count in sorted(tasks.items())) or "none"
        raise CourseError(
            f"'{first}' and '{second}' have no answers that a judge can compare.",
            f"only scenes that both have answered count; tasks in {shown(folder)}: {there}; scenes that one or both "
            f"did not answer: {len(unanswered)}",
            "give a folder with scenes, and ask both runs about it: python -m course evaluate run",
        )


async def _judge(
    which: str | Endpoint, pairs: list[Pair], folder: Path, known: Path, estimate_only: bool, prices: tuple[Any, Any]
) -> int:
    scenes = read_items(known)
    async with _opened(which, folder, known) as (judge, examinee):
        if isinstance(judge, ModelJudge):
            known_answers = contestant_pairs(scenes)
            plan = {"admission": (examinee, known_answers), "on blank pictures": (examinee.on_blank(), known_answers)}
            for name, (one, asked) in (plan | {"comparison": (judge, pairs)}).items():
                if one:
                    cost = estimate_cost(one, asked, prompt_price=prices[0], completion_price=prices[1])
                    print(f"{name}: {cost.describe()}")
        if estimate_only:
            return 0
        admission = await admit(examinee, scenes)
        print(admission.describe())
        if not admission.admitted:
            rank(admission, [])  # says why
        comparisons = await compare_pairs(judge, pairs)
        rankings = [rank(admission, comparisons, name) for name in dimensions_of(comparisons)]
    for ranking in rankings:
        print(ranking.describe())
    return 1 if any(ranking.rates.errors for ranking in rankings) else 0


@contextlib.asynccontextmanager
async def _opened(which: str | Endpoint, folder: Path, known: Path) -> AsyncIterator[tuple[Judge, Judge]]:
    """The judge, and the same judge for the items that it is admitted with, whose media lie elsewhere."""
    if isinstance(which, str):
        judge = WITHOUT_MODEL[which]()
        yield judge, judge
        return
    async with JudgeEndpoint(which.url, which.key, which.model, which.out, concurrency=which.concurrency) as endpoint:
        if endpoint.repaired:
            print(endpoint.repaired, file=sys.stderr)
        judge, examinee = (
            ModelJudge(
                endpoint,
                read_rubric(),
                sees="picture" if which.sees_picture else "nothing",
                folder=where,
                told_facts=which.told_facts,
                longest_reason=which.longest_reason,
            )
            for where in (folder, known)
        )
        yield judge, examinee

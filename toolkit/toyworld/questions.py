"""A folder of questions about the toy world, several tasks on the same media: what two models are compared on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.toyworld import clips
from toolkit.toyworld.items import KINDS, Item, Question, item_about, kind_module, written

#: Task of pairs of clips -> what the two differ in, and the task whose question is asked about both.
PAIRS = {"pair_direction": ("direction", "clip_direction"), "pair_order": ("order", "clip_order")}
#: Where a task does not apply to a seed's facts, the seed this much further on is taken.
_NEXT_SEED = 100_000


def all_tasks() -> dict[str, str]:
    """Task -> kind of item."""
    tasks = {task: kind for kind in KINDS for task in kind_module(kind).TASKS}
    return tasks | dict.fromkeys(PAIRS, "clip")


def write_questions(folder: str | Path, counts: Mapping[str, int], seed: int) -> Iterator[dict[str, Any]]:
    """Write ``counts[task]`` items of each task into a folder, and yield each record of ``items.jsonl`` as it is made.

    Item i of every task is about seed ``seed`` + i, so that tasks of one kind ask about the same images; where a task
    does not apply there, about the seed 100,000 further on. 'Is there a …' is asked so that yes and no take turns. Of
    a task of `PAIRS`, each count gives the two clips of a pair. Records are those of `Item.record`, with their
    ``task``, and for pairs the ``pair`` that they belong to.

    Raises:
        CourseError: an unknown task, a count below 0, nothing to write, or a folder that cannot be written.
    """
    kinds = all_tasks()
    for task, count in counts.items():
        if task not in kinds:
            raise CourseError(f"There is no task '{task}'.", "a misspelt name", f"use some of: {', '.join(kinds)}")
        if count < 0:
            raise CourseError(f"Cannot make {count} items of task {task}.", "", "counts from 0")
    if not any(counts.values()) or seed < 0:
        raise CourseError(f"Nothing to write from seed {seed}.", "", "a count above 0 for some task, seeds from 0")
    entries = (
        (item, item.record() | extra)
        for task, count in counts.items()
        for number in range(count)
        for item, extra in _items(task, kinds[task], seed + number, number)
    )
    for _, record in written(Path(folder), entries):
        yield record


def _items(task: str, kind: str, seed: int, number: int) -> Iterator[tuple[Item, dict[str, Any]]]:
    if task not in PAIRS:
        wanted = ("yes" if number % 2 else "no") if task == "scene_exists" else ""
        seed, facts, question = find_question(task, kind, seed, wanted=wanted)
        item = item_about(kind, seed, facts, question, kind_module(kind).draw(facts, seed))
        yield item, {"item_id": f"{task}-{seed}", "task": task}
        return
    what, asked = PAIRS[task]
    for side, facts in zip("ab", clips.make_pair(seed, what), strict=True):
        question = next(found for found in clips.questions(facts) if found.task == asked)
        name, pair = f"{task}-{seed}{side}", f"{task}-{seed}"
        item = item_about("clip", seed, facts, question, clips.draw(facts, seed), name)
        yield item, {"item_id": name, "task": task, "pair": pair}


def find_question(
    task: str, kind: str, seed: int, difficulty: int = 3, *, wanted: str = ""
) -> tuple[int, dict[str, Any], Question]:
    """Seed, facts and question of the first of the seeds ``seed``, + 100,000, … to whose facts the task applies.

    With ``wanted``, such as 'yes', the question must have that answer.
    """
    while True:
        rng = random.Random(f"{kind}-{seed}")
        facts = kind_module(kind).make_facts(rng, difficulty)
        for question in kind_module(kind).questions(facts, rng):
            if question.task == task and (not wanted or wanted in question.answers):
                return seed, facts, question
        seed += _NEXT_SEED

"""Scores of a tiny model's answers with their intervals, and the target of each.

An answer that cannot be read (no JSON, no box, neither yes nor no) is a third state beside right and wrong: it earns
nothing, and the score counts such answers as ``unparsed``. Nothing to measure gives a value of None, not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from helpers.files import COURSE_ROOT, read_yaml
from toolkit.evaluation.metrics import statistics
from toolkit.evaluation.metrics.actions import paces_of
from toolkit.evaluation.metrics.answer_text import refuses
from toolkit.evaluation.metrics.scene_facts import count_facts
from toolkit.evaluation.metrics.scoring import score_clip
from toolkit.evaluation.metrics.short_answers import yes_or_no
from toolkit.evaluation.metrics.text_metrics import GOOD_IOU, edits, iou, read_box, read_json, same_json
from toolkit.tiny_model.held_out import PAIR_TASKS, TASKS, HeldOut
from toolkit.toyworld import clips, receipts, scenes

#: Answers of one word or two about scenes.
QUESTION_TASKS = tuple(task for task in scenes.TASKS if task not in ("scene", "scene_json", "scene_box"))
#: Score -> the direction and the bound of the target that the course set itself for a GPU's training budget.
WORDS = read_yaml(COURSE_ROOT / "data" / "tiny_model.yaml")
TARGETS: dict[str, tuple[str, float]] = {name: tuple(target) for name, target in WORDS["targets"].items()}
Score = dict[str, Any]
Scores = dict[str, Score]
TaskScores = tuple[Scores, list[bool]]
"""Scores by name, and for each item whether it is right."""


# ---------------------------------------------------------------- scores


def share(right: Sequence[bool], unparsed: int | None = None) -> Score:
    """Share of what is right, with Wilson's 95 % interval."""
    return _score(statistics.wilson(sum(map(bool, right)), len(right)), unparsed)


def ratio(parts: Sequence[float], wholes: Sequence[float], unparsed: int | None = None) -> Score:
    """Sum of ``parts`` over sum of ``wholes``, one of each per item, with a 95 % interval from resampling the items.

    So facts, characters or questions of one item stay together.
    """
    return _score(statistics.ratio(parts, wholes), unparsed)


def _score(estimate: statistics.Estimate, unparsed: int | None) -> Score:
    score: Score = {
        "value": None if estimate.value is None else round(estimate.value, 4),
        "interval": [round(estimate.low, 4), round(estimate.high, 4)],
        "of": estimate.n,
        "method": estimate.method,
    }
    return score if unparsed is None else score | {"unparsed": unparsed}


def with_target(name: str, score: Score) -> Score:
    """The score with its target, if it has one, and whether its value reaches it."""
    if name not in TARGETS:
        return score
    direction, bound = TARGETS[name]
    value = score["value"]
    reached = value is not None and (value >= bound if direction == "at least" else value <= bound)
    return score | {"target": [direction, bound], "reached": reached}


# ---------------------------------------------------------------- tasks


def score_task(task: str, items: list[HeldOut], answers: list[str]) -> TaskScores:
    """Scores of a task, and for each item (for each pair, of pairs) whether it is right.

    Args:
        task: a name of `held_out.TASKS`.
        items: its requests; the two clips of a pair are adjacent.
    """
    if task in PAIR_TASKS:
        return _score_pairs(task, items, answers)
    if task in _SCORERS:
        return _SCORERS[task](items, answers)
    right = exact(items, answers)
    return {WORDS["names"].get(task, f"{task.replace('_', ', ')}, exact"): share(right)}, right


def exact(items: list[HeldOut], answers: list[str]) -> list[bool]:
    """Which answers are an accepted wording, character by character."""
    return [answer in item.accepted for item, answer in zip(items, answers, strict=True)]


def facts_f1(facts: Sequence[dict[str, Any]], answers: Sequence[str]) -> float:
    """F1 of the facts that descriptions of scenes state, all scenes together: 1 if each says everything, nothing wrong.

    Args:
        facts: of each scene, as `toolkit.toyworld` draws it from them.

    Raises:
        CourseError: as `count_facts`.
    """
    counts = [count_facts(answer, of_scene) for answer, of_scene in zip(answers, facts, strict=True)]
    return 2 * sum(count[0] for count in counts) / sum(count[1] + count[2] for count in counts)


def _scene(items: list[HeldOut], answers: list[str]) -> TaskScores:
    counts = [count_facts(answer, item.facts) for item, answer in zip(items, answers, strict=True)]
    found, stated, there = (list(column) for column in zip(*counts, strict=True))
    right = exact(items, answers)
    return {
        "scene facts, F1": ratio([2 * n for n in found], [a + b for a, b in zip(stated, there, strict=True)]),
        "scene facts, recall": ratio(found, there),
        "scene facts, precision": ratio(found, stated),
        "scene description, exact": share(right),
        "scenes, wrongly says it can't tell": share(
            [refuses(answer) and not claims for answer, claims in zip(answers, stated, strict=True)]
        ),
    }, right


def _json(what: str, schema: dict[str, Any], items: list[HeldOut], answers: list[str]) -> TaskScores:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    values = [read_json(answer) for answer in answers]
    expected = [read_json(item.accepted[0]) for item in items]
    right = [value is not None and same_json(value, true) for value, true in zip(values, expected, strict=True)]
    unparsed = sum(value is None for value in values)
    return {
        f"{what} as JSON, valid": share([validator.is_valid(value) for value in values], unparsed),
        f"{what} as JSON, equal": share(right, unparsed),
    }, right


def _exists(items: list[HeldOut], answers: list[str]) -> TaskScores:
    said = [yes_or_no(answer, item.request) for item, answer in zip(items, answers, strict=True)]
    truth = [yes_or_no(item.accepted[0]) for item in items]
    right = [answer == true for answer, true in zip(said, truth, strict=True)]
    unparsed = said.count(None)
    yes = share([answer == "yes" for answer in said if answer], unparsed)
    return {
        "question, is there (POPE), accuracy": share(right, unparsed),
        "question, is there (POPE), says yes": yes | {"right_would_be": round(truth.count("yes") / len(truth), 4)},
    }, right


def _box(items: list[HeldOut], answers: list[str]) -> TaskScores:
    boxes = [read_box(answer) for answer in answers]
    truth = [read_box(item.accepted[0]) for item in items]
    overlaps = [iou(box, true) if box and true else 0.0 for box, true in zip(boxes, truth, strict=True)]
    right = [overlap >= GOOD_IOU for overlap in overlaps]
    unparsed = boxes.count(None)
    return {
        "boxes, mean IoU": ratio(overlaps, [1] * len(overlaps), unparsed),
        f"boxes, IoU at least {GOOD_IOU}": share(right, unparsed),
    }, right


def _error_rate(items: list[HeldOut], answers: list[str]) -> Score:
    wrong = [edits(answer, item.accepted[0]) for item, answer in zip(items, answers, strict=True)]
    return ratio(wrong, [len(item.accepted[0]) for item in items])


def _receipt(items: list[HeldOut], answers: list[str]) -> TaskScores:
    right = exact(items, answers)
    return {"receipt text, CER": _error_rate(items, answers), "receipt text, exact": share(right)}, right


def _clip(items: list[HeldOut], answers: list[str]) -> TaskScores:
    right = exact(items, answers)
    told = [score_clip(answer, [clips.describe(item.facts)]) for item, answer in zip(items, answers, strict=True)]
    unparsed = [one["parsed"] for one in told].count(0)
    return {
        "clip description, exact": share(right),
        "clip description, actions": share([one["actions"] == 1 for one in told], unparsed),
        "clip description, intention": share([one["intention"] == 1 for one in told if one["intention"] is not None]),
    }, right


def _sentence(items: list[HeldOut], answers: list[str]) -> TaskScores:
    right = exact(items, answers)
    lengths = [item.facts["length"] for item in items]
    by_length = {
        f"reversal, up to {longest} characters": share(
            [is_right for is_right, length in zip(right, lengths, strict=True) if length <= longest]
        )
        for longest in (16, 32, 40)
    }
    return {"reversal, exact": share(right), **by_length, "reversal, CER": _error_rate(items, answers)}, right


_SCORERS: dict[str, Callable[[list[HeldOut], list[str]], TaskScores]] = {
    "scene": _scene,
    "scene_json": lambda *given: _json("scene", scenes.json_schema(), *given),
    "scene_exists": _exists,
    "scene_box": _box,
    "receipt": _receipt,
    "receipt_json": lambda *given: _json("receipt", receipts.json_schema(), *given),
    "clip": _clip,
    "sentence": _sentence,
}


def _score_pairs(task: str, items: list[HeldOut], answers: list[str]) -> TaskScores:
    """A pair counts if both clips are right; of a pair that differs in speed, right is whether it walks or runs."""
    what, _ = PAIR_TASKS[task]
    if what == "speed":
        right = [paces_of(answer) == paces_of(item.accepted[0]) for item, answer in zip(items, answers, strict=True)]
    else:
        right = exact(items, answers)
    both = [first and second for first, second in zip(right[::2], right[1::2], strict=True)]
    return {f"pairs of clips, {what}": share(both)}, both


# ---------------------------------------------------------------- all tasks


def all_scores(tasks: dict[str, dict[str, Any]]) -> Scores:
    """The scores of all tasks that have been measured, and of all questions about scenes together, with targets.

    Args:
        tasks: task -> its record, with ``scores`` and ``right`` ('1' or '0' for each item).
    """
    scores: Scores = {}
    for task in TASKS:
        scores |= tasks[task]["scores"] if task in tasks else {}
        if task == QUESTION_TASKS[-1] and tasks.keys() >= set(QUESTION_TASKS):
            scores["questions about scenes, exact"] = _pooled([tasks[name]["right"] for name in QUESTION_TASKS])
    return {name: with_target(name, score) for name, score in scores.items()}


def _pooled(columns: list[str]) -> Score:
    """Share of right answers to several questions on each scene; the scenes are what is resampled."""
    right = [column.count("1") for column in map("".join, zip(*columns, strict=True))]
    score = ratio(right, [len(columns)] * len(right))
    return score | {"questions": len(columns) * len(right)}

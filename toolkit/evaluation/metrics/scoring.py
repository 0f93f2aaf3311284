"""Transcripts become scores: one row per run and item, then the difference of two runs with its interval.

A failed request has no score: it is None, never 0, and differences are shown with the best and the worst that the
missing answers could have been. An answer that came but cannot be read is wrong, and counted as ``parsed`` 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import CourseError
from toolkit.evaluation.inference.requests import accepted_answers
from toolkit.evaluation.inference.transcripts import Transcript, read_outcomes, texts_of
from toolkit.evaluation.metrics import scene_facts
from toolkit.evaluation.metrics import text_metrics as metrics_of_text
from toolkit.evaluation.metrics.actions import Action, read_actions
from toolkit.evaluation.metrics.answer_text import plain, refuses, statements, without_thoughts, words_of
from toolkit.evaluation.metrics.foreign_images import is_honest
from toolkit.evaluation.metrics.short_answers import INTENDS, READERS, is_right
from toolkit.evaluation.metrics.text_metrics import share
from toolkit.evaluation.photos import mentioned, page_text
from toolkit.toyworld.items import read_items

if TYPE_CHECKING:
    import pandas

Scores = dict[str, float | None]
#: A user's own metric: the item's record and the answer's text -> its value, or None where it does not apply.
Metric = Callable[[dict[str, Any], str], float | None]


@dataclass(frozen=True)
class Scored:
    """One run's outcome for one item."""

    run: str
    item: dict[str, Any]
    """The record of ``items.jsonl``."""
    task: str
    transcript: Transcript
    scores: Scores
    """Empty where the request failed."""
    report: scene_facts.Report | None = None
    """Of the description of a scene."""

    @property
    def failed(self) -> bool:
        """Whether there is no answer to score."""
        return self.transcript.status not in ("ok", "truncated") or self.transcript.text is None


@dataclass(frozen=True)
class Measure:
    """How a figure comes from the scores of many items."""

    name: str
    title: str
    parts: str
    """Score that is averaged, or added up over the items and divided by the sum of ``wholes``."""
    wholes: str | None = None
    higher_is_better: bool | None = True
    """None: neither is."""
    bounded: bool = True
    """Whether the value of an item lies between 0 and 1."""


#: In the order in which tables show them. A task has those whose scores its items have.
MEASURES = (
    Measure("right", "right answers", "right"),
    Measure("fact_f1", "facts, F1", "fact_f1"),
    Measure("fact_precision", "facts, precision", "supported", "checkable"),
    Measure("fact_recall", "facts, recall", "stated", "facts"),
    Measure("chair", "objects that are not there (CHAIRi)", "hallucinated", "mentions", higher_is_better=False),
    Measure("iou", "box IoU", "iou"),
    Measure("cer", "character error rate", "edits", "characters", higher_is_better=False, bounded=False),
    Measure("fields_f1", "JSON fields, F1", "fields_found_twice", "fields_both"),
    Measure("actions", "actions, in order", "actions"),
    Measure("intention", "intention", "intention"),
    Measure("parsed", "answers that can be read", "parsed"),
    Measure("words", "words", "words", higher_is_better=None, bounded=False),
)
#: Tasks that are answered in free text, whose length says something.
FREE_TEXT = ("scene", "clip", "photo", "own")


def task_of(record: Mapping[str, Any]) -> str:
    """The record's task; one without is its kind's main task, and a kind of the user's own is a task itself."""
    return str(record.get("task") or record.get("kind") or "own")


# ---------------------------------------------------------------- one answer

Grade = Literal["right", "wrong", "unreadable"]


def grade(record: Mapping[str, Any], text: str) -> Grade:
    """The verdict on an answer to an item that has one right answer, in whatever words.

    A description is right if it states a fact of its scene and contradicts none.

    Raises:
        CourseError: the item has neither answers nor the facts of a scene.
    """
    scores, report = score_answer(record, text)
    if report is not None:
        right = report.supported > 0 and not report.contradicted
        return "right" if right else "wrong" if report.contradicted else "unreadable"
    if scores["right"] is None:
        raise CourseError("This item has no right answer.", "it has neither an answer nor the facts of a scene")
    return "right" if scores["right"] else "wrong" if scores.get("parsed", 1.0) else "unreadable"


def score_answer(record: Mapping[str, Any], text: str) -> tuple[Scores, scene_facts.Report | None]:
    """Scores of one answer, by the item's task, and of a description of a scene what it states.

    Every answer has ``right`` (0 or 1; None where the item has no answer), ``words``, and ``parsed`` if it can be
    unreadable. Beside these: descriptions ``fact_f1`` and the counts of facts and objects, boxes ``iou``, copies
    ``edits`` and ``characters``, JSON the counts of its fields.
    """
    task, accepted, report = task_of(record), accepted_answers(record), None
    if task == "scene" and "subjects" in (record.get("facts") or {}):
        scores, report = _description(record, text)
    elif said := (record.get("facts") or {}).get("said"):
        stated = mentioned(text, said)
        scores = {"right": None, "stated": float(sum(stated)), "facts": float(len(stated))}
    elif task in READERS and accepted:
        right = is_right(task, text, accepted[0], question_of(record))
        exactly = metrics_of_text.exact_match(text, accepted)
        scores = {"right": float(exactly or bool(right)), "parsed": float(exactly or right is not None)}
    elif task in _SCORERS and accepted:
        scores = _SCORERS[task](text, accepted, question_of(record))
    elif accepted and isinstance(metrics_of_text.read_json(accepted[0]), dict | list):
        scores = _json(text, accepted, "")
    else:
        scores = {"right": float(metrics_of_text.exact_match(text, accepted)) if accepted else None}
    return scores | {"words": float(len(words_of(text)))}, report


def question_of(record: Mapping[str, Any]) -> str:
    return " ".join(texts_of(record["messages"][-1]["content"]))


def _description(record: Mapping[str, Any], text: str) -> tuple[Scores, scene_facts.Report]:
    report = scene_facts.check(without_thoughts(text), record["facts"])
    there = scene_facts.objects_there(record["facts"])
    mentioned = report.objects
    return {
        "fact_f1": report.f1,
        "supported": float(report.supported),
        "checkable": float(report.supported + report.contradicted),
        "stated": float(report.stated),
        "facts": float(len(report.facts)),
        "hallucinated": float(sum(name not in there for name in mentioned)),
        "mentions": float(len(mentioned)),
        "parsed": float(bool(report.claims)),
    }, report


def score_clip(text: str, accepted: Sequence[str], question: str = "") -> Scores:
    """Whether a clip's description has the actions in their order, as far as it tells details, and what will happen."""
    told, guess = _told_and_guessed(text)
    true, asked = _told_and_guessed(accepted[0])
    said, done = read_actions(told), read_actions(true)
    in_order = len(said) == len(done) and all(map(Action.agrees, said, done))
    intention = bool(is_right("clip_intention", guess or text, asked)) if asked else None
    exactly = metrics_of_text.exact_match(text, accepted)
    return {
        "right": float(exactly or (in_order and intention is not False)),
        "actions": float(in_order),
        "intention": None if intention is None else float(intention),
        "parsed": float(bool(said)),
    }


def _told_and_guessed(text: str) -> tuple[str, str]:
    """What is told of a clip, and the statements about what will happen."""
    all_told = statements(plain(text))
    guesses = [one for one in all_told if INTENDS.search(one)]
    return "\n".join(one for one in all_told if one not in guesses), "\n".join(guesses)


def _box(text: str, accepted: Sequence[str], question: str) -> Scores:
    true = metrics_of_text.read_json(accepted[0]) or {}
    box = metrics_of_text.read_box(text, true.get("label", ""))
    overlap = metrics_of_text.iou(box, true["bbox_2d"]) if box and true else 0.0
    return {"right": float(overlap >= metrics_of_text.GOOD_IOU), "iou": overlap, "parsed": float(box is not None)}


def _json(text: str, accepted: Sequence[str], question: str) -> Scores:
    said, true = metrics_of_text.find_json(text), metrics_of_text.read_json(accepted[0])
    right, predicted, expected = metrics_of_text.cord_overlap(said, true)
    return {
        "right": float(said is not None and metrics_of_text.same_json(said, true)),
        "fields_found_twice": 2.0 * right,
        "fields_both": float(predicted + expected),
        "parsed": float(said is not None),
    }


def _copied(text: str, accepted: Sequence[str], copy: str) -> Scores:
    edits, nearest = min((metrics_of_text.edits(copy, wording), wording) for wording in accepted)
    right = metrics_of_text.exact_match(copy, accepted) or metrics_of_text.exact_match(text, accepted)
    return {
        "right": float(right),
        "edits": float(0 if right else edits),
        "characters": float(len(nearest)),
        "parsed": float(right or (bool(copy) and not refuses(text))),
    }


def _foreign(text: str, accepted: Sequence[str], question: str) -> Scores:
    said = is_honest(text, question)
    return {"right": float(bool(said)), "parsed": float(said is not None)}


_SCORERS: dict[str, Callable[[str, Sequence[str], str], Scores]] = {
    "clip": score_clip,
    "scene_box": _box,
    "scene_json": _json,
    "receipt_json": _json,
    "receipt": lambda text, accepted, question: _copied(text, accepted, metrics_of_text.copied_lines(text)),
    "photo_text": lambda text, accepted, question: _copied(text, [*map(page_text, accepted)], page_text(text)),
    "sentence": lambda text, accepted, question: _copied(text, accepted, metrics_of_text.copied_line(text, question)),
    "foreign": _foreign,
}


# ---------------------------------------------------------------- all answers


def score_runs(
    folder: str | Path, transcripts: str | Path | Sequence[str | Path], metrics: Mapping[str, Metric] | None = None
) -> list[Scored]:
    """Score every run and item that has a transcript, in the order of the items.

    Args:
        metrics: name -> a user's own metric, added to the scores.

    Raises:
        CourseError: no items, no transcripts, or a transcript of an item that the folder does not have.
    """
    records = {record["item_id"]: (place, record) for place, record in enumerate(read_items(folder))}
    files = [transcripts] if isinstance(transcripts, str | Path) else list(transcripts)
    scored: list[tuple[int, Scored]] = []
    for file in files:
        for transcript in read_outcomes(file):
            if transcript.item_id not in records:
                raise CourseError(
                    f"{Path(file).name} answers {transcript.item_id}, which is not among the items of {folder}.",
                    "transcripts of other items",
                    "give the folder that the run was asked about",
                )
            place, record = records[transcript.item_id]
            scored.append((place, _score(record, transcript, metrics or {})))
    if not scored:
        raise CourseError("There is no transcript to score.", "", "ask a model: python -m course evaluate run --help")
    return [answer for _, answer in sorted(scored, key=lambda pair: pair[0])]


def _score(record: dict[str, Any], transcript: Transcript, metrics: Mapping[str, Metric]) -> Scored:
    task = task_of(record)
    unscored = Scored(transcript.run, record, task, transcript, {})
    if unscored.failed or transcript.text is None:
        return unscored
    scores, report = score_answer(record, transcript.text)
    scores |= {name: metric(record, transcript.text) for name, metric in metrics.items()}
    return Scored(transcript.run, record, task, transcript, scores, report)


def cluster_of(record: Mapping[str, Any]) -> str:
    """What items share when they are about the same image or pair: they are resampled together."""
    media = record.get("media") or []
    return str(record.get("pair") or (media[0] if media else record["item_id"]))


def runs_of(scored: Iterable[Scored]) -> list[str]:
    return list(dict.fromkeys(answer.run for answer in scored))


# ---------------------------------------------------------------- two runs


@dataclass(frozen=True)
class _Table:
    """The items that both runs were asked, and one score of each."""

    clusters: list[str]
    first: list[Scores | None]
    second: list[Scores | None]


def compare(scored: Sequence[Scored], first: str, second: str) -> pandas.DataFrame:
    """The two runs side by side on the items that both were asked, one row per task and measure.

    Columns: task, measure, title, n (items that the measure applies to, as far as can be told from their answers),
    failed_first and failed_second (of these), first, second, difference (first less second), low, high (95 %,
    bootstrap over images), verdict ('first is better', 'second is better', 'first is higher' where neither is
    better, or 'no difference shown'), and worst and best: the difference if the failed answers of the first had
    been as bad, or as good, as can be, and the second's the other way round. The verdict holds for all three. Of
    the tasks ``pair_…``, n counts pairs, and one is right if both of its answers are.

    Raises:
        CourseError: a run that is not there, or no item in common.
    """
    import pandas

    by_run = {run: {row.item["item_id"]: row for row in scored if row.run == run} for run in (first, second)}
    for run, answers in by_run.items():
        if not answers:
            raise CourseError(f"There is no run '{run}'.", "", f"use two of: {', '.join(runs_of(scored))}")
    common = [item_id for item_id in by_run[first] if item_id in by_run[second]]
    if not common:
        raise CourseError(f"The runs '{first}' and '{second}' have no item in common.", "they were asked other items")
    rows = []
    for task in dict.fromkeys(by_run[first][item_id].task for item_id in common):
        pairs = [(by_run[first][name], by_run[second][name]) for name in common if by_run[first][name].task == task]
        table = _paired(pairs) if task.startswith("pair_") else _single(pairs)
        rows += [row for measure in _measures(task, table) if (row := _row(task, measure, table))]
    return pandas.DataFrame(rows)


def _single(pairs: list[tuple[Scored, Scored]]) -> _Table:
    columns = [[None if answer.failed else answer.scores for answer in column] for column in zip(*pairs, strict=True)]
    return _Table([cluster_of(answer.item) for answer, _ in pairs], *columns)


def _paired(pairs: list[tuple[Scored, Scored]]) -> _Table:
    """Pairs of clips become one item each, right if both answers are; failed if one of them failed."""
    clips: dict[str, list[tuple[Scored, Scored]]] = {}
    for pair in pairs:
        clips.setdefault(cluster_of(pair[0].item), []).append(pair)
    whole = {name: both for name, both in clips.items() if len(both) == 2}
    columns: list[list[Scores | None]] = []
    for side in (0, 1):
        column: list[Scores | None] = []
        for both in whole.values():
            answers = [pair[side] for pair in both]
            right = all(answer.scores.get("right") == 1.0 for answer in answers)
            column.append(None if any(answer.failed for answer in answers) else {"right": float(right)})
        columns.append(column)
    return _Table(list(whole), *columns)


def _measures(task: str, table: _Table) -> list[Measure]:
    """What the task is measured by: readability only where it is in doubt, length only of free text."""
    answers = [scores for scores in (*table.first, *table.second) if scores is not None]
    names = {name for scores in answers for name, value in scores.items() if value is not None}
    if all(scores.get("parsed", 1.0) == 1.0 for scores in answers):
        names.discard("parsed")
    if task not in FREE_TEXT:
        names.discard("words")
    known = [measure for measure in MEASURES if measure.parts in names and (measure.wholes or measure.parts) in names]
    used = {name for measure in MEASURES for name in (measure.parts, measure.wholes)}
    own = sorted(names - used)
    return known + [Measure(name, name, name, higher_is_better=None, bounded=False) for name in own]


def _row(task: str, measure: Measure, table: _Table) -> dict[str, Any] | None:
    """None if the measure applies to no item that both answered."""
    from toolkit.evaluation.metrics.statistics import NOTHING_SHOWN, paired_bootstrap, paired_ratios, with_failures

    # Items to which an answer came that the measure does not apply to are left out: they are no failures.
    rows = [
        (cluster, first, second)
        for cluster, first, second in zip(table.clusters, table.first, table.second, strict=True)
        if all(scores is None or scores.get(measure.parts) is not None for scores in (first, second))
    ]
    both = [(cluster, first, second) for cluster, first, second in rows if first is not None and second is not None]
    if not both:
        return None
    clusters = [cluster for cluster, *_ in both]
    bounds = (-1.0, 1.0) if measure.bounded else None
    answered = [first for _, first, _ in both], [second for *_, second in both]
    columns, wholes = ([_column(name, scores) for scores in answered] for name in (measure.parts, measure.wholes))
    if measure.wholes:
        estimate = paired_ratios((columns[0], wholes[0]), (columns[1], wholes[1]), clusters, bounds=bounds)
    else:
        estimate = paired_bootstrap(columns[0], columns[1], clusters, bounds=bounds)
    shown = [share(sum(parts), sum(whole)) for parts, whole in zip(columns, wholes, strict=True)]
    asked = [first for _, first, _ in rows], [second for *_, second in rows]
    missing = [column.count(None) for column in asked]
    row = {
        "task": task, "measure": measure.name, "title": measure.title, "n": len(rows),
        "failed_first": missing[0], "failed_second": missing[1], "first": shown[0], "second": shown[1],
        "difference": estimate.value, "low": estimate.low, "high": estimate.high, "worst": None, "best": None,
    }  # fmt: skip
    verdict = _verdict(estimate.verdict, measure.higher_is_better)
    if any(missing) and (not measure.bounded or measure.wholes):
        verdict = NOTHING_SHOWN  # what failed could have been anything
    elif any(missing):
        scores = [[found[measure.parts] if found else None for found in column] for column in asked]
        worst, best = with_failures(scores[0], scores[1], [cluster for cluster, *_ in rows])
        row |= {"worst": worst.value, "best": best.value}
        shown_by_both = worst.verdict if worst.verdict == best.verdict else NOTHING_SHOWN
        verdict = _verdict(shown_by_both, measure.higher_is_better)
    return row | {"verdict": verdict}


def _column(name: str | None, scores: Iterable[Scores]) -> list[float]:
    """One score of each item; without a name ones, the wholes of a mean."""
    return [1.0 if name is None else found[name] or 0.0 for found in scores]


def _verdict(verdict: str, higher_is_better: bool | None) -> str:
    if not verdict.endswith("higher") or higher_is_better is None:
        return verdict
    better = verdict.startswith("first") == higher_is_better
    return "first is better" if better else "second is better"

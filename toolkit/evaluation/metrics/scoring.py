"""Transcripts become scores: one row a run and item, then the difference of two runs with its interval.

A failed request has no score: it is None, never 0, and differences are shown with the best and the worst that the
missing answers could have been. An answer that came but cannot be read is wrong, and counted as ``parsed`` 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.evaluation.inference.requests import accepted_answers
from toolkit.evaluation.inference.transcripts import Transcript, read_outcomes, texts_of
from toolkit.evaluation.metrics import scene_facts as scene_facts
from toolkit.evaluation.metrics import text_metrics as metrics_of_text
from toolkit.evaluation.metrics.plain_text import measure_style, words_of
from toolkit.evaluation.metrics.short_answers import READERS, actions, is_right
from toolkit.toyworld.items import read_items

if TYPE_CHECKING:
    import pandas

Scores = dict[str, float | None]
#: A metric of one's own: the item's record and the answer's text -> its value, or None where it does not apply.
Metric = Callable[[dict[str, Any], str], float | None]
#: Numbers of parameters closer than this are one size.
SAME_SIZE = 1.05


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
FREE_TEXT = ("scene", "clip", "own")


def task_of(record: Mapping[str, Any]) -> str:
    """The record's task; one without is its kind's main task, and a kind of one's own is a task itself."""
    return str(record.get("task") or record.get("kind") or "own")


# ---------------------------------------------------------------- one answer


def score_answer(record: Mapping[str, Any], text: str) -> tuple[Scores, scene_facts.Report | None]:
    """Scores of one answer, by the item's task, and of a description of a scene what it states.

    Every answer has ``right`` (0 or 1; None for free text that no wording settles, and where the item has no answer),
    ``words``, and ``parsed`` if it can be unreadable. Beside these: descriptions ``fact_f1`` and the counts that
    precision, recall and CHAIR are made of; boxes ``iou``; receipts and reversals ``edits`` and ``characters``; JSON
    the counts of its fields.
    """
    task = task_of(record)
    accepted = accepted_answers(record)
    report = None
    if task == "scene" and "subjects" in (record.get("facts") or {}):
        scores, report = _description(record, text)
    elif task in READERS and accepted:
        said = is_right(task, text, accepted[0], question_of(record))
        exactly = metrics_of_text.exact_match(text, accepted)
        scores = {"right": float(exactly or bool(said)), "parsed": float(exactly or said is not None)}
    elif task == "clip" and accepted:
        scores = _clip(text, accepted)
    elif task == "scene_box" and accepted:
        scores = _box(text, accepted)
    elif task.endswith("_json") and accepted:
        scores = _json(text, accepted)
    elif task in ("receipt", "sentence") and accepted:
        scores = _copied(text, accepted)
    else:
        scores = {"right": float(metrics_of_text.exact_match(text, accepted)) if accepted else None}
    return scores | {"words": float(len(words_of(text)))}, report


def question_of(record: Mapping[str, Any]) -> str:
    """The words of the last message."""
    return " ".join(texts_of(record["messages"][-1]["content"]))


def _description(record: Mapping[str, Any], text: str) -> tuple[Scores, scene_facts.Report]:
    report = scene_facts.check(text, record["facts"])
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


def _clip(text: str, accepted: Sequence[str]) -> Scores:
    """Whether the actions come in their order, and what is going to happen, if that was asked."""
    told, mark, guess = text.partition(" going to ")
    reference, asked, _ = accepted[0].partition(" going to ")
    right = is_right("clip_intention", guess if mark else text, accepted[0].rpartition(" going to ")[2])
    return {
        "right": float(metrics_of_text.exact_match(text, accepted)),
        "actions": float(actions(told) == actions(reference)),
        "intention": float(bool(right)) if asked else None,
        "parsed": float(bool(actions(told))),
    }


def _box(text: str, accepted: Sequence[str]) -> Scores:
    box, true = metrics_of_text.read_box(text, fenced=True), metrics_of_text.read_box(accepted[0])
    overlap = metrics_of_text.iou(box, true) if box and true else 0.0
    return {"right": float(overlap >= metrics_of_text.GOOD_IOU), "iou": overlap, "parsed": float(box is not None)}


def _json(text: str, accepted: Sequence[str]) -> Scores:
    said, true = metrics_of_text.read_json(text, fenced=True), metrics_of_text.read_json(accepted[0])
    overlap = metrics_of_text.cord_overlap(said, true)
    return {
        "right": float(said is not None and metrics_of_text.same_json(said, true)),
        "fields_found_twice": 2.0 * overlap.right,
        "fields_both": float(overlap.predicted + overlap.expected),
        "parsed": float(said is not None),
    }


def _copied(text: str, accepted: Sequence[str]) -> Scores:
    text = metrics_of_text.unquoted(text)
    edits, nearest = min((metrics_of_text.edits(text, wording), wording) for wording in accepted)
    return {
        "right": float(metrics_of_text.reversal_match(text, accepted)),
        "edits": float(edits),
        "characters": float(len(nearest)),
        "parsed": float(bool(text)),
    }


# ---------------------------------------------------------------- all answers


def score_runs(
    folder: str | Path, transcripts: str | Path | Sequence[str | Path], metrics: Mapping[str, Metric] | None = None
) -> list[Scored]:
    """Score every run and item that has a transcript, in the order of the items.

    Args:
        folder: with ``items.jsonl``.
        transcripts: a file, or several.
        metrics: name -> a metric of one's own, added to the scores.

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
    return [one for _, one in sorted(scored, key=lambda pair: pair[0])]


def _score(record: dict[str, Any], transcript: Transcript, metrics: Mapping[str, Metric]) -> Scored:
    task = task_of(record)
    one = Scored(transcript.run, record, task, transcript, {})
    if one.failed:
        return one
    scores, report = score_answer(record, transcript.text)
    scores |= {name: metric(record, transcript.text) for name, metric in metrics.items()}
    return Scored(transcript.run, record, task, transcript, scores, report)


def to_frame(scored: Iterable[Scored]) -> pandas.DataFrame:
    """One row a run and item: what was asked and answered, status, tokens, seconds, style, and every score."""
    import pandas

    rows = []
    for one in scored:
        transcript = one.transcript
        style = measure_style(transcript.text or "", one.item.get("facts"))
        row = {
            "run": one.run,
            "model": transcript.model,
            "item_id": one.item["item_id"],
            "kind": one.item.get("kind"),
            "task": one.task,
            "cluster": cluster_of(one.item),
            "question": question_of(one.item),
            "reference": next(iter(accepted_answers(one.item)), None),
            "status": transcript.status,
            "text": transcript.text,
            "error": transcript.error,
            "prompt_tokens": transcript.prompt_tokens,
            "completion_tokens": transcript.completion_tokens,
            "latency_seconds": transcript.latency_seconds,
        }
        if not one.failed:
            row |= {
                name: getattr(style, name) for name in ("sentences", "sections", "variety", "moods", "moods_supported")
            }
        rows.append(row | one.scores)
    return pandas.DataFrame(rows)


def cluster_of(record: Mapping[str, Any]) -> str:
    """What items share when they are about the same picture or pair: they are resampled together."""
    media = record.get("media") or []
    return str(record.get("pair") or (media[0] if media else record["item_id"]))


def runs_of(scored: Iterable[Scored]) -> list[str]:
    """Names of the runs, in the order in which they come."""
    return list(dict.fromkeys(one.run for one in scored))


# ---------------------------------------------------------------- two runs


@dataclass(frozen=True)
class _Table:
    """The items that both runs were asked, and one score of each."""

    clusters: list[str]
    first: list[Scores | None]
    second: list[Scores | None]


def compare(scored: Sequence[Scored], first: str, second: str) -> pandas.DataFrame:
    """The two runs side by side on the items that both were asked, one row a task and measure.

    Columns: task, measure, title, n (items that the measure applies to, as far as their answers tell), failed_first and
    failed_second (of these), first, second, difference (first less second), low, high (95 %, bootstrap over pictures),
    verdict ('first is better', 'second is better', 'first is higher' where neither is better, or 'no difference
    shown'), and worst and best: the difference if the failed answers of the first had been as bad, or as good, as can
    be, and the second's the other way round. The verdict holds for all three. Of the tasks 'pair_…', n counts pairs,
    and one is right if both of its answers are.

    Raises:
        CourseError: a run that is not there, or no item in common.
    """
    import pandas

    by_run = {run: {one.item["item_id"]: one for one in scored if one.run == run} for run in (first, second)}
    for run, answers in by_run.items():
        if not answers:
            raise CourseError(f"There is no run '{run}'.", "", f"use two of: {', '.join(runs_of(scored))}")
    common = [item_id for item_id in by_run[first] if item_id in by_run[second]]
    if not common:
        raise CourseError(f"The runs '{first}' and '{second}' have no item in common.", "they were asked other items")
    rows = []
    for task in dict.fromkeys(by_run[first][item_id].task for item_id in common):
        pairs = [(by_run[first][one], by_run[second][one]) for one in common if by_run[first][one].task == task]
        table = _paired(pairs) if task.startswith("pair_") else _single(pairs)
        rows += [row for measure in _measures(task, table) if (row := _row(task, measure, table))]
    return pandas.DataFrame(rows)


def _single(pairs: list[tuple[Scored, Scored]]) -> _Table:
    columns = [[None if one.failed else one.scores for one in column] for column in zip(*pairs, strict=True)]
    return _Table([cluster_of(one.item) for one, _ in pairs], *columns)


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
            right = all(one.scores.get("right") == 1.0 for one in answers)
            column.append(None if any(one.failed for one in answers) else {"right": float(right)})
        columns.append(column)
    return _Table(list(whole), *columns)


def _measures(task: str, table: _Table) -> list[Measure]:
    """What the task is measured by: readability only where it is in doubt, length only of free text."""
    names = {
        name
        for scores in (*table.first, *table.second)
        for name, value in (scores or {}).items()
        if value is not None
    }  # fmt: skip
    if all((scores or {}).get("parsed", 1.0) == 1.0 for scores in (*table.first, *table.second)):
        names.discard("parsed")
    if task not in FREE_TEXT:
        names.discard("words")
    known = [one for one in MEASURES if one.parts in names and (one.wholes is None or one.wholes in names)]
    used = {name for one in MEASURES for name in (one.parts, one.wholes)}
    own = sorted(names - used)
    return known + [Measure(name, name, name, higher_is_better=None, bounded=False) for name in own]


def _applicable(table: _Table, measure: Measure) -> _Table:
    """Without the items to which an answer came that the measure does not apply to: they are no failures."""
    kept = [
        place
        for place, pair in enumerate(zip(table.first, table.second, strict=True))
        if all(scores is None or scores.get(measure.parts) is not None for scores in pair)
    ]
    return _Table(*([column[place] for place in kept] for column in (table.clusters, table.first, table.second)))


def _row(task: str, measure: Measure, table: _Table) -> dict[str, Any] | None:
    from toolkit.evaluation.metrics.statistics import NOTHING_SHOWN, paired_bootstrap, paired_ratios, with_failures

    def values(name: str, column: list[Scores | None]) -> list[float | None]:
        return [None if scores is None else scores.get(name) for scores in column]

    table = _applicable(table, measure)
    first, second = values(measure.parts, table.first), values(measure.parts, table.second)
    both = [
        place for place, pair in enumerate(zip(first, second, strict=True)) if None not in pair
    ]  # fmt: skip
    if not both:
        return None
    clusters = [table.clusters[place] for place in both]
    pick = [[column[place] for place in both] for column in (first, second)]
    bounds = (-1.0, 1.0) if measure.bounded else None
    missing = [sum(scores is None for scores in column) for column in (table.first, table.second)]
    if measure.wholes:
        wholes = [[values(measure.wholes, column)[place] for place in both] for column in (table.first, table.second)]
        estimate = paired_ratios((pick[0], wholes[0]), (pick[1], wholes[1]), clusters, bounds=bounds)
        shown = [sum(parts) / sum(whole) if sum(whole) else None for parts, whole in zip(pick, wholes, strict=True)]
    else:
        estimate = paired_bootstrap(*pick, clusters, bounds=bounds)
        shown = [sum(column) / len(column) for column in pick]
    row = {
        "task": task, "measure": measure.name, "title": measure.title, "n": len(table.clusters),
        "failed_first": missing[0], "failed_second": missing[1], "first": shown[0], "second": shown[1],
        "difference": estimate.value, "low": estimate.low, "high": estimate.high, "worst": None, "best": None,
    }  # fmt: skip
    verdict = _verdict(estimate.verdict, measure.higher_is_better)
    if any(missing):
        if measure.bounded and not measure.wholes:
            extremes = with_failures(first, second, table.clusters)
            row |= {"worst": extremes.worst.value, "best": extremes.best.value}
            verdict = _verdict(extremes.verdict, measure.higher_is_better)
        else:
            verdict = NOTHING_SHOWN  # what failed could have been anything
    return row | {"verdict": verdict}


def _verdict(verdict: str, higher_is_better: bool | None) -> str:
    if not verdict.endswith("higher") or higher_is_better is None:
        return verdict
    better = verdict.startswith("first") == higher_is_better
    return "first is better" if better else "second is better"


# ---------------------------------------------------------------- what else differs


def confounds(scored: Sequence[Scored]) -> list[str]:
    """What differs between the runs beside the model's family, in sentences, read from the transcripts themselves.

    Sampling fields, server, device, number format and pixels should not differ, and are named if they do; sizes are
    told where the catalogue or the bundled model knows them.
    """
    runs = runs_of(scored)
    told = []
    for title, read in _FIELDS.items():
        values = {run: sorted({read(one.transcript) for one in scored if one.run == run}) for run in runs}
        if len({tuple(found) for found in values.values()}) > 1:
            listed = "; ".join(f"{run}: {' and '.join(found)}" for run, found in values.items())
            told.append(f"{title} differs. {listed}.")
    media: dict[str, set[tuple[str, ...]]] = {}
    asked: dict[str, set[str]] = {run: set() for run in runs}
    for one in scored:
        shown = tuple(medium.sha256 for medium in one.transcript.media)
        media.setdefault(one.item["item_id"], set()).add(shown)
        asked[one.run].add(one.item["item_id"])
    changed = sum(len(shown) > 1 for shown in media.values())
    if changed:
        told.append(f"The media of {changed} items are not the same bytes in all runs.")
    if len({frozenset(items) for items in asked.values()}) > 1:
        told.append("The runs were not asked the same items; only those that both were asked are compared.")
    sizes = {run: _parameters(next(one for one in scored if one.run == run).transcript.model) for run in runs}
    known = [size for size in sizes.values() if size]
    if known and max(known) > SAME_SIZE * min(known):
        listed = "; ".join(f"{run}: {size / 1e9:.4g} billion" for run, size in sizes.items() if size)
        told.append(f"The models are not of one size. Parameters: {listed}.")
    told.append(
        "Training differs: what a model has seen, for how long and how it was tuned is part of every difference "
        "shown here, and no comparison of finished models can part it from the architecture."
    )
    return told


_FIELDS: dict[str, Callable[[Transcript], str]] = {
    "What was sent as sampling fields": lambda one: str(dict(sorted(one.sampling.items()))),
    "The server": lambda one: f"{one.server or 'unknown'} {one.server_version or ''}".strip(),
    "The device": lambda one: one.device or "unknown",
    "The number format": lambda one: one.dtype or "unknown",
}


@cache
def _parameters(model: str) -> int | None:
    """Parameters of a model of the catalogue, or of a bundled one."""
    from helpers.files import COURSE_ROOT
    from helpers.model_facts import find_model_facts, load_catalogue, read_model_facts

    bundled = COURSE_ROOT / "data" / "models" / model
    if (bundled / "config.json").is_file():
        return read_model_facts(bundled).parameters()
    names = {name.rsplit("/", 1)[-1]: name for name in load_catalogue()}
    name = names.get(model.rsplit("/", 1)[-1])
    return find_model_facts(name).parameters() if name else None

"""The report of two runs side by side: one HTML file that needs nothing but itself, and asks no network for anything.

What models wrote reaches the page as JSON, and its script sets it as text, never as markup; a content security policy
lets only that one script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import statistics as plain
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.files import shown, write_whole
from helpers.templates import render
from toolkit.evaluation.inference.requests import check_inside
from toolkit.evaluation.inference.transcripts import SETTLED, Transcript, media_parts, texts_of
from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.judging.pairwise import Combined, Comparison
from toolkit.evaluation.metrics import scoring
from toolkit.evaluation.metrics.scoring import MEASURES, Measure, Scored
from toolkit.evaluation.metrics.statistics import win_rate
from toolkit.evaluation.report.highlight import not_stated, pieces
from toolkit.evaluation.report.thumbnails import Thumbnail, thumbnail

if TYPE_CHECKING:
    import pandas

TEMPLATE = Path(__file__).with_name("report.html.jinja")
TIE = "tie"
#: The first run and the second, as the page names them beside their full names.
LABELS = "AB"


@dataclass(frozen=True)
class Shown:
    """How a measure of `scoring` is shown and explained."""

    definition: str
    form: str = "decimal"
    """'share' (in per cent), 'decimal' or 'count'."""


_SHOWN: dict[str, Shown] = {
    "right": Shown(
        "Share of the answers that mean the same as the reference; of boxes, those that overlap it by half or more; "
        "of JSON, those of equal value; of clip descriptions and of texts to be copied or reversed, those that are an "
        "accepted wording to the character; of pairs, those of which both answers are right.",
        "share",
    ),
    "fact_f1": Shown(
        "Of each description, the harmonic mean of precision (claims that the facts bear out, over the claims that "
        "they can decide) and recall (facts stated rightly, over all facts); 0 where nothing that can be checked is "
        "said. The mean over the items."
    ),
    "fact_precision": Shown("Claims that the facts bear out, over the claims that they can decide, of all items."),
    "fact_recall": Shown("Facts of the pictures that the descriptions state rightly, over all facts, of all items."),
    "chair": Shown("Mentions of objects that are not in the picture, over all mentions of objects, of all items."),
    "iou": Shown("Area that the box named and the true box share, over the area that both cover together."),
    "cer": Shown(
        "Characters to insert, delete or replace, over the characters of the references, of all items; above 1 where "
        "answers are far too long."
    ),
    "fields_f1": Shown("F1 over the fields of the JSON, each a path with its value, of all items."),
    "actions": Shown(
        "Share of the descriptions that name the clip's actions, all of them and in their order.", "share"
    ),
    "intention": Shown("Share of the descriptions, where it was asked, that guess rightly what comes next.", "share"),
    "parsed": Shown("Share of the answers in which what was asked for can be found, right or wrong.", "share"),
    "words": Shown("Words of an answer.", "count"),
}
_TASKS = {
    "scene": "scene descriptions",
    "scene_json": "scenes as JSON",
    "scene_exists": "is it in the picture?",
    "scene_count": "how many?",
    "scene_colour": "which colour?",
    "scene_position": "what is where?",
    "scene_left": "what is left of it?",
    "scene_pose": "which pose?",
    "scene_place": "which place?",
    "scene_light": "which time of day?",
    "scene_weather": "which weather?",
    "scene_box": "boxes of objects",
    "receipt": "receipts read",
    "receipt_total": "totals of receipts",
    "receipt_json": "receipts as JSON",
    "clip": "clip descriptions",
    "clip_direction": "which direction?",
    "clip_order": "in which order?",
    "clip_count": "how many times?",
    "clip_intention": "what comes next?",
    "pair_direction": "pairs of clips: direction",
    "pair_order": "pairs of clips: order",
    "sentence": "sentences reversed",
    "sentence_daily": "everyday sentences",
    "foreign": "pictures from elsewhere",
}
_STATUSES = {
    "truncated": "cut off: the limit on tokens, or going in circles, ended the answer",
    "refused": "refused to answer",
    "timeout": "no answer in time",
    "error": "failed: no answer",
}


def write_report(
    folder: str | Path,
    transcripts: str | Path | Sequence[str | Path],
    out: str | Path,
    first: str | None = None,
    second: str | None = None,
    verdicts: Iterable[Comparison] | None = None,
    votes: Iterable[Comparison] | None = None,
) -> Path:
    """Write the report of two runs that answered the items of a folder, whole or not at all, and return its path.

    Args:
        folder: of ``items.jsonl`` and its media.
        transcripts: one file or several.
        out: the HTML file.
        first: a run's name; may be left out if there are two runs.
        second: the other's.
        verdicts: of judges, on pairs of answers in both orders; those on other runs are passed over.
        votes: of people, as `ballot.reveal` gives them; likewise.

    Raises:
        CourseError: as `scoring.score_runs`; other than two runs and none named; a run that is not there; a
            medium that cannot be read or lies outside the folder; a file that cannot be written.
    """
    scored = scoring.score_runs(folder, transcripts)
    first, second = choose_runs(scored, first, second)
    scored = [one for one in scored if one.run in (first, second)]
    text = render_report(
        Path(folder),
        scored,
        scoring.compare(scored, first, second),
        scoring.confounds(scored),
        (first, second),
        verdicts=list(verdicts or ()),
        votes=list(votes or ()),
    )
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode(errors="xmlcharrefreplace").decode())
    except OSError as error:
        raise CourseError(
            f"Cannot write {shown(out)}: {error.strerror}.", "a read-only or full disk, or a folder of that name"
        ) from None
    return out


def choose_runs(scored: Sequence[Scored], first: str | None, second: str | None) -> tuple[str, str]:
    """The two runs to compare, in the order of their first transcripts where they are not named.

    Raises:
        CourseError: a name that is not there, the same twice, or no telling which two are meant.
    """
    runs = list(dict.fromkeys(one.run for one in scored))
    names = ", ".join(runs) or "none"
    for wanted in (first, second):
        if wanted is not None and wanted not in runs:
            raise CourseError(f"There is no run '{wanted}' in the transcripts.", "a misspelt name", f"there: {names}")
    rest = [run for run in runs if run not in (first, second)]
    if (first is None) + (second is None) != len(rest) and None in (first, second):
        raise CourseError(
            f"A report compares two runs, and the transcripts hold {len(runs)}: {names}.",
            "" if len(runs) > 2 else "one model has not been asked yet",
            "name two with --first and --second" if len(runs) > 2 else "ask the other: python -m course evaluate run",
        )
    first = first or rest.pop(0)
    second = second or rest.pop(0)
    if first == second:
        raise CourseError(f"'{first}' cannot be compared with itself.", "", f"name two of: {names}")
    return first, second


def render_report(
    folder: Path,
    scored: Sequence[Scored],
    comparison: pandas.DataFrame,
    confounds: Sequence[str],
    runs: tuple[str, str],
    verdicts: Sequence[Comparison] = (),
    votes: Sequence[Comparison] = (),
) -> str:
    """The page as text, from what `scoring` found of the two runs. The same input gives the same text.

    Args:
        folder: where the media lie.
        scored: of these two runs.
        comparison: from `scoring.compare`.
        confounds: from `scoring.confounds`.
        runs: first and second.
        verdicts: see `write_report`; so are votes.

    Raises:
        CourseError: a medium that cannot be read, or that lies outside the folder.
    """
    rulings = [*_rulings(verdicts, runs, judge=True), *_rulings(votes, runs, judge=False)]
    rows = [_row(row) for row in comparison.to_dict("records")]
    entries, media = _entries(folder, scored, runs, rulings)
    return render(
        TEMPLATE,
        filters={"digest": _digest},
        finalize=lambda value: visible(value) if type(value) is str else value,  # names come from files and servers too
        runs=[_run(name, label, scored) for name, label in zip(runs, LABELS, strict=True)],
        items=entries,
        media={
            key: {"width": one.width, "height": one.height, "caption": visible(one.caption)}
            for key, one in media.items()
        },
        urls={key: one.url for key, one in media.items()},
        tasks={task: task_label(task) for task in dict.fromkeys(one.task for one in scored)},
        rows=rows,
        findings=list(_findings(rows)),
        scale=_scale(rows),
        bars=[_bars(name, scored) for name in runs],
        panels=[_panel(*panel) for panel in _grouped(rulings).items()],
        measures={row["measure"].name: row["measure"] for row in rows},
        definitions={row["measure"].name: _definition(row["measure"].name) for row in rows},
        confounds=list(confounds),
    )


def _digest(text: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def task_label(task: str) -> str:
    """A task's name for people."""
    return _TASKS.get(task) or task.replace("_", " ")


# ---------------------------------------------------------------- the comparison


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the comparison with its numbers as text, and its interval turned so that above 0 the first is better."""
    known = next((one for one in MEASURES if one.name == row["measure"]), None)
    measure = known or Measure(row["measure"], row["title"], row["measure"], higher_is_better=None, bounded=False)
    numbers = {key: _number(row[key]) for key in ("first", "second", "difference", "low", "high", "worst", "best")}
    sign = {True: 1, False: -1, None: 0}[measure.higher_is_better]
    interval = [numbers[key] for key in ("low", "difference", "high")]
    return {
        "task": row["task"],
        "task_label": task_label(row["task"]),
        "measure": measure,
        "points": _form(measure.name) == "share",
        "n": int(row["n"]),
        "failed": [int(row["failed_first"]), int(row["failed_second"])],
        **{
            key: None if value is None else _figure(value, measure.name, key not in ("first", "second"))
            for key, value in numbers.items()
        },
        "better": {"first is better": 0, "second is better": 1}.get(row["verdict"]),
        "verdict": row["verdict"],
        "interval": sorted(sign * end for end in interval) if sign and None not in interval else None,
    }


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _definition(measure: str) -> str:
    return _SHOWN[measure].definition if measure in _SHOWN else "A measure of the evaluation's own."


def _form(measure: str) -> str:
    return _SHOWN[measure].form if measure in _SHOWN else "decimal"


def _figure(value: float, measure: str, signed: bool = False) -> str:
    """A value, or with ``signed`` a difference, with one digit more; differences of shares are points of a hundred."""
    scale, digits = {"share": (100, 0), "decimal": (1, 2), "count": (1, 1)}[_form(measure)]
    digits += signed
    rounded = round(scale * value, digits) + 0.0
    text = f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")
    return f"{text}\N{NO-BREAK SPACE}%" if scale == 100 and not signed else text


def _scale(rows: Sequence[Mapping[str, Any]]) -> float:
    """Half the width of the plots' axis: the next tenth above all intervals, 1 at most."""
    ends = [abs(end) for row in rows if row["interval"] for end in row["interval"]]
    return min(1.0, max(1, math.ceil(10 * max(ends, default=0) - 1e-9)) / 10)


def _findings(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One sentence a task, on the first of its measures of which more or less is better."""
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task and row["measure"].higher_is_better is not None]
        if own:
            yield {"task": task_label(task), "row": own[0], "text": _sentence(own[0])}


def _sentence(row: Mapping[str, Any]) -> str:
    measure, unit = row["measure"], " points" if row["points"] else ""
    if None in (row["difference"], row["first"], row["second"]):
        return f"{measure.title} cannot be measured on {row['n']} items."
    what = "pair" if row["task"].startswith("pair_") else "item"
    asked = f"{row['n']} {what}{'s' * (row['n'] != 1)}"
    if any(row["failed"]):
        failed = " and ".join(
            f"{count} of {label}" for count, label in zip(row["failed"], LABELS, strict=True) if count
        )
        asked += f", without an answer {failed}"
    return (
        f"{measure.title}{'' if measure.higher_is_better else ' (less is better)'} {row['first']} for A and "
        f"{row['second']} for B, a difference of {row['difference']}{unit} "
        f"(95\N{NO-BREAK SPACE}% interval {row['low'] or '−∞'} to {row['high'] or '∞'}; {asked})."
    )


# ---------------------------------------------------------------- runs


def _run(name: str, label: str, scored: Sequence[Scored]) -> dict[str, Any]:
    own = [one for one in scored if one.run == name]
    answers = [one.transcript for one in own]
    statuses = Counter(one.status for one in answers)

    def told(key: str) -> str:
        values = dict.fromkeys(str(value) for one in answers if (value := getattr(one, key)) is not None)
        return ", ".join(values) or "not recorded"

    sampling = dict.fromkeys(json.dumps(one.sampling, sort_keys=True, ensure_ascii=False) for one in answers)
    days = sorted({one.time[:10] for one in answers})
    times = [one.latency_seconds for one in answers if one.status not in ("error", "timeout") and one.latency_seconds]
    tokens = [one.completion_tokens for one in answers if one.completion_tokens is not None]
    words = [len(one.text.split()) for one in answers if one.text is not None]
    return {
        "name": visible(name),
        "label": label,
        "asked": len(answers),
        "statuses": {status: statuses[status] for status in ("ok", *_STATUSES)},
        "facts": {
            "model": told("model"),
            "revision": told("revision"),
            "server": " ".join(told(key) for key in ("server", "server_version")).replace(" not recorded", ""),
            "device": told("device"),
            "dtype": told("dtype"),
            "sampling": "; ".join(sampling) or "not recorded",
            "seed": told("seed"),
            "asked on": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not recorded",
            "lines written by": told("origin"),
        },
        "latency": _median(times, "s"),
        "tokens": _median(tokens, ""),
        "words": _median(words, ""),
    }


def _median(values: Sequence[float], unit: str) -> str:
    if not values:
        return "not recorded"
    return f"{plain.median(values):.2f} {unit}" if unit else f"{plain.median(values):g}"


def _bars(name: str, scored: Sequence[Scored]) -> dict[str, list[tuple[str, int, float, float]]]:
    """What a run's descriptions claimed and stated: (verdict, count, begin, width), in per cent of a bar."""
    reports = [one.report for one in scored if one.run == name and one.report is not None]
    claimed = {
        verdict: sum(report.claimed(verdict) for report in reports)
        for verdict in ("supported", "contradicted", "uncheckable")
    }
    states = Counter(fact.state for report in reports for fact in report.facts)
    return {
        "claims": _stacked(claimed),
        "facts": _stacked({state: states[state] for state in ("stated", "contradicted", "omitted")}),
    }


def _stacked(counts: Mapping[str, int]) -> list[tuple[str, int, float, float]]:
    total, begin, parts = sum(counts.values()), 0.0, []
    for name, count in counts.items():
        width = 100 * count / total if total else 0.0
        parts.append((name, count, round(begin, 2), round(width, 2)))
        begin += width
    return parts if total else []


# ---------------------------------------------------------------- judges and people


@dataclass(frozen=True)
class Ruling:
    """What a judge or a person said of one pair of answers."""

    item_id: str
    by: str
    dimension: str
    winner: str | None
    """A, B or `TIE`; None without a verdict."""
    flipped: bool = False
    """The verdict changed with the order of the answers."""
    problem: str = ""
    """'invalid' or 'error' where there is no verdict."""
    reasons: tuple[tuple[str, str], ...] = ()
    """Order of the answers, and the judge's reason for its verdict in that order."""
    judge: bool = True
    """False for a person, who sees each pair once."""


def _rulings(comparisons: Iterable[Comparison], runs: tuple[str, str], judge: bool) -> Iterator[Ruling]:
    for one in comparisons:
        if {one.first, one.second} == set(runs):
            letters = LABELS if (one.first, one.second) == runs else LABELS[::-1]
            for dimension, verdict in one.verdicts.items():
                yield _ruling(one, dimension, verdict, letters, judge)


def _ruling(one: Comparison, dimension: str, verdict: Combined, letters: str, judge: bool) -> Ruling:
    orders = (letters, letters[::-1])
    return Ruling(
        one.item_id,
        visible(one.judge),
        visible(dimension),
        {"first": letters[0], "second": letters[1], "tie": TIE, None: None}[verdict.choice],
        verdict.flipped,
        "" if verdict.status == "given" else verdict.status,
        tuple((order, reason) for order, reason in zip(orders, verdict.reasons, strict=True) if reason),
        judge,
    )


def _grouped(rulings: Iterable[Ruling]) -> dict[tuple[str, str], list[Ruling]]:
    groups: dict[tuple[str, str], list[Ruling]] = defaultdict(list)
    for ruling in rulings:
        groups[ruling.by, ruling.dimension].append(ruling)
    return groups


def _panel(who: tuple[str, str], rulings: Sequence[Ruling]) -> dict[str, Any]:
    """A judge, or a person, on one dimension: who won how many items."""
    last = {ruling.item_id: ruling for ruling in rulings}.values()
    won = Counter(ruling.winner for ruling in last)
    rate = win_rate(won["A"], won["B"], won[TIE])
    return {
        "by": who[0],
        "dimension": who[1],
        "key": "/".join(who),
        "judge": rulings[0].judge,
        "won": {letter: won[letter] for letter in ("A", TIE, "B")},
        "none": won[None],
        "flipped": sum(ruling.flipped for ruling in last),
        "rate": None if rate.value is None else f"{100 * rate.value:.0f}\N{NO-BREAK SPACE}%",
        "interval": f"{100 * rate.low:.0f} to {100 * rate.high:.0f}\N{NO-BREAK SPACE}%",
        "shows": None if rate.low <= 0.5 <= rate.high else "A" if rate.low > 0.5 else "B",
    }


# ---------------------------------------------------------------- items


def _entries(
    folder: Path, scored: Sequence[Scored], runs: tuple[str, str], rulings: Sequence[Ruling]
) -> tuple[list[dict[str, Any]], dict[str, Thumbnail]]:
    """Each item as the page's script wants it, and the media, each once whatever files it lies in."""
    by_item: dict[str, dict[str, Scored]] = {}
    for one in scored:
        by_item.setdefault(one.item["item_id"], {})[one.run] = one
    ruled: dict[str, list[Ruling]] = defaultdict(list)
    for ruling in rulings:
        ruled[ruling.item_id].append(ruling)
    media: dict[str, Thumbnail] = {}
    keys: dict[str, str] = {}
    entries = []
    for name, own in by_item.items():
        some, pair = next(iter(own.values())), [own.get(run) for run in runs]
        lead = _lead(pair)
        entries.append(
            {
                "id": name,
                "task": some.task,
                "question": visible(_question(some.item["messages"])),
                "references": [visible(wording) for wording in scoring.accepted_answers(some.item)],
                "media": [
                    _medium(folder, name, part["url"], keys, media) for part in media_parts(some.item["messages"])
                ],
                "answers": [None if one is None else _answer(one) for one in pair],
                "lead": lead,
                "failed": any(one is None or one.transcript.status != "ok" for one in pair),
                "rulings": [vars(ruling) | {"reasons": _reasons(ruling)} for ruling in ruled[name]],
                "won": {"/".join(who): given[-1].winner for who, given in _grouped(ruled[name]).items()},
            }
        )
    return entries, media


def _reasons(ruling: Ruling) -> list[list[str]]:
    return [[order, visible(reason)] for order, reason in ruling.reasons]


def _lead(pair: Sequence[Scored | None]) -> float | None:
    """By how much the first answer is better, on the first measure that both have; None if there is none."""
    if None in pair:
        return None
    first, second = (dict(_values(one.scores)) for one in pair)
    for measure in MEASURES:
        if measure.higher_is_better is not None and measure.name in first and measure.name in second:
            lead = first[measure.name] - second[measure.name]
            return round(lead if measure.higher_is_better else -lead, 4)
    return None


def _values(scores: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    """The measures of one answer that have a value."""
    for measure in MEASURES:
        part, whole = scores.get(measure.parts), scores.get(measure.wholes, 1.0) if measure.wholes else 1.0
        if part is not None and whole:
            yield measure.name, part / whole


def _question(messages: Sequence[Mapping[str, Any]]) -> str:
    """What was asked, in words; who speaks is named where there is more than one message."""
    texts = []
    for message in messages:
        words = "\n".join(texts_of(message["content"]))
        texts.append(f"{message['role']}: {words}" if len(messages) > 1 else words)
    return "\n".join(texts)


def _medium(folder: Path, name: str, url: str, keys: dict[str, str], media: dict[str, Thumbnail]) -> str:
    if url not in keys:
        check_inside(name, url)
        path = folder / url
        try:
            key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise CourseError(
                f"{shown(path)} cannot be read: {error.strerror}.", "the folder is not that of the transcripts"
            ) from None
        if key not in media:
            media[key] = thumbnail(path)
        keys[url] = key
    return keys[url]


def _answer(one: Scored) -> dict[str, Any]:
    transcript = one.transcript
    claims = one.report.claims if one.report else ()
    text = transcript.text
    return {
        "status": transcript.status,
        "problem": _problem(transcript),
        "pieces": None
        if text is None
        else [
            [visible(piece.text), piece.verdict, " · ".join(map(visible, piece.notes))]
            if piece.verdict
            else [visible(piece.text)]
            for piece in pieces(text, claims)
        ],
        "not_stated": not_stated(one.report) if one.report and text is not None else None,
        "scores": _scores(one),
        "size": _size(transcript),
    }


def _problem(transcript: Transcript) -> list[str] | None:
    """What went wrong: a word for people, and the server's own."""
    if transcript.status == "ok":
        return None
    why = transcript.error or (f"finish reason: {transcript.finish_reason}" if transcript.finish_reason else "")
    again = "" if transcript.status in SETTLED or transcript.attempt == 1 else f" ({transcript.attempt} attempts)"
    return [_STATUSES[transcript.status] + again, visible(why)]


def _scores(one: Scored) -> list[list[str]]:
    """(title, value, 'yes' or 'no' for what is right or wrong) of what is worth showing."""
    shown = []
    for name, value in _values(one.scores):
        title = next(measure.title for measure in MEASURES if measure.name == name)
        if name == "right":
            shown.append(["right" if value else "wrong", "", "yes" if value else "no"])
        elif name == "parsed":
            shown += [] if value else [["could not be read", "", "no"]]
        elif name != "words":
            shown.append([title, _figure(value, name), ""])
    used = {name for measure in MEASURES for name in (measure.parts, measure.wholes)}
    own = ((name, value) for name, value in one.scores.items() if name not in used and value is not None)
    return shown + [[name, f"{value:g}", ""] for name, value in own]


def _size(transcript: Transcript) -> list[str]:
    parts = []
    if transcript.text is not None:
        words = len(transcript.text.split())
        parts.append(f"{words} word{'s' * (words != 1)}")
    if transcript.completion_tokens is not None:
        parts.append(f"{transcript.completion_tokens} tokens")
    if transcript.latency_seconds is not None:
        parts.append(f"{transcript.latency_seconds:.2f} s")
    return parts

"""The items as the page's script shows them: what was asked, both answers with their claims marked, and the media."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.evaluation.inference.requests import accepted_answers, medium_path
from toolkit.evaluation.inference.transcripts import SETTLED, Transcript, media_parts, texts_of
from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.metrics.scoring import MEASURES, Scored
from toolkit.evaluation.report.highlight import Piece, differing, not_stated, pieces
from toolkit.evaluation.report.thumbnails import Thumbnail, thumbnail
from toolkit.evaluation.report.wording import STATUSES, figure


def item_entries(
    folder: Path, scored: Sequence[Scored], runs: tuple[str, str]
) -> tuple[list[dict[str, Any]], dict[str, Thumbnail]]:
    """Each item as the page's script wants it, and the media, each once whatever files it lies in."""
    by_item: dict[str, dict[str, Scored]] = {}
    for answer in scored:
        by_item.setdefault(answer.item["item_id"], {})[answer.run] = answer
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
                "references": [visible(wording) for wording in accepted_answers(some.item)],
                "media": [
                    _medium(folder, name, part["url"], keys, media) for part in media_parts(some.item["messages"])
                ],
                "answers": [None if answer is None else _answer(answer) for answer in pair],
                "lead": lead,
                "failed": any(answer is None or answer.transcript.status != "ok" for answer in pair),
            }
        )
    return entries, media


def _lead(pair: Sequence[Scored | None]) -> float | None:
    """By how much the first answer is better, on the first measure that both have; None if there is none."""
    values = [dict(_values(answer.scores)) for answer in pair if answer is not None]
    if len(values) < 2:
        return None
    first, second = values
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
        path = medium_path(folder, name, url)
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


def _answer(answer: Scored) -> dict[str, Any]:
    transcript = answer.transcript
    text = transcript.text
    return {
        "status": transcript.status,
        "problem": _problem(transcript),
        "reasoning": visible(transcript.reasoning) if transcript.reasoning else None,
        "pieces": None
        if text is None
        else [
            [visible(piece.text), piece.verdict, " · ".join(map(visible, piece.notes))]
            if piece.verdict
            else [visible(piece.text)]
            for piece in _marked(answer, text)
        ],
        "not_stated": not_stated(answer.report) if answer.report and text is not None else None,
        "scores": _scores(answer),
        "size": _size(transcript),
    }


def _marked(answer: Scored, text: str) -> Iterable[Piece]:
    """The text with what is wrong in it: claims against the facts, or characters against the text to be copied."""
    if answer.scores.get("edits") and not answer.scores.get("right"):
        return differing(text, accepted_answers(answer.item))
    return pieces(text, answer.report.claims if answer.report else ())


def _problem(transcript: Transcript) -> list[str] | None:
    """What went wrong: a word for people, and the server's own."""
    if transcript.status == "ok":
        return None
    why = transcript.error or (f"finish reason: {transcript.finish_reason}" if transcript.finish_reason else "")
    again = "" if transcript.status in SETTLED or transcript.attempt == 1 else f" ({transcript.attempt} attempts)"
    return [STATUSES[transcript.status] + again, visible(why)]


def _scores(answer: Scored) -> list[list[str]]:
    """(title, value, 'yes' or 'no' for what is right or wrong) of what is worth showing."""
    shown = []
    for name, value in _values(answer.scores):
        title = next(measure.title for measure in MEASURES if measure.name == name)
        if name == "right":
            shown.append(["right" if value else "wrong", "", "yes" if value else "no"])
        elif name == "parsed":
            shown += [] if value else [["could not be read", "", "no"]]
        elif name != "words":
            shown.append([title, figure(value, name), ""])
    used = {name for measure in MEASURES for name in (measure.parts, measure.wholes)}
    own = ((name, value) for name, value in answer.scores.items() if name not in used and value is not None)
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

"""Transcripts: every attempt to get an answer from a model, one JSON line each, only ever appended to a file.

A line is complete: who was asked what, with which media and settings, and what came back. What a model said is in
``text``, what went wrong in ``error``, never the other way round.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from helpers.jsonl import JsonlWriter, read_lines

Status = Literal["ok", "error", "timeout", "truncated", "thinking", "refused"]
#: With one of these a request is settled: asking again would not help. The others are failures.
SETTLED: frozenset[Status] = frozenset({"ok", "truncated", "thinking", "refused"})
#: Parts of a message that show something.
MEDIA_PARTS = ("image_url", "video_url")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Medium(_Strict):
    """An image or video, as it lay on disk when it was sent."""

    path: str
    """As the item names it."""
    sha256: str
    """Of the file's bytes."""
    width: int | None
    """Pixels, before the model's own resizing; None if they are not known."""
    height: int | None


class Transcript(_Strict):
    """One attempt to get one answer.

    Raises:
        ValidationError: an error without its message, an error's message beside an answer, an answer without text, or
            thinking with one.
    """

    run: str
    """Name of one model with one set of sampling fields."""
    item_id: str
    model: str
    """The name under which the server knows it."""
    revision: str | None = None
    """What its weights are: a commit, or a hash of the files."""
    endpoint: str | None = None
    """Where no revision says what the weights are: the address that was asked, and what the server says of them."""
    server: str | None = None
    """What software answered ('vllm'), or the host where that is not known."""
    server_version: str | None = None
    device: str | None = None
    dtype: str | None = None
    media: tuple[Medium, ...] = ()
    request_hash: str
    """See `request_hash`."""
    sampling: dict[str, Any] = {}
    """The fields that were sent."""
    seed: int | None = None
    attempt: int = Field(default=1, ge=1)
    """Counted for each item and request, over all runs of the program."""
    status: Status
    """truncated: the limit on tokens ended the answer, or the server did because it repeated itself. thinking: there is
    no answer, since the limit ended the reasoning, or the server took everything for reasoning. refused: by the model
    or by a content filter. timeout: no answer in time. error: anything else that is no answer."""
    finish_reason: str | None = None
    """In the server's words."""
    text: str | None = None
    """What the model answered, '' if that is nothing; None if it did not answer."""
    reasoning: str | None = None
    """What it wrote before its answer, as a thinking model does: never scored, judged or voted on."""
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_seconds: float | None = None
    """From the request's first byte to the answer's last; waiting between attempts is not in it."""
    time: str
    """When the request was sent: ISO 8601, UTC."""
    origin: str
    """What wrote the line: 'run', 'judge', 'batch', or another tool."""

    @model_validator(mode="after")
    def _text_and_error_apart(self) -> Self:
        if self.status in ("error", "timeout") and (self.text is not None or not self.error):
            raise ValueError(f"status '{self.status}' goes with an error and no text")
        if self.status in ("ok", "truncated") and (self.text is None or self.error is not None):
            raise ValueError(f"status '{self.status}' goes with a text and no error")
        if self.status == "thinking" and self.text is not None:
            raise ValueError("status 'thinking' goes with no text")
        return self

    @property
    def settled(self) -> bool:
        return self.status in SETTLED


def media_parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The inner ``{"url": ...}`` of every part that shows something, in the order of the messages."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") in MEDIA_PARTS:
                yield part[part["type"]]


def texts_of(content: Any) -> list[str]:
    """The texts of a message's content, part by part; plain text is one part."""
    return [content] if isinstance(content, str) else [part["text"] for part in content or () if "text" in part]


def words_in(messages: Iterable[Mapping[str, Any]]) -> str:
    """The text of all messages, from system to user, a line or more each."""
    return "\n".join(text for message in messages for text in texts_of(message.get("content")) if text)


def with_media(messages: Sequence[Mapping[str, Any]], urls: Iterable[str]) -> list[dict[str, Any]]:
    """The messages with these URLs, one per part that shows something; the messages given stay as they are."""
    changed = json.loads(json.dumps(list(messages)))
    for part, url in zip(media_parts(changed), urls, strict=True):
        part["url"] = url
    return changed


def request_hash(
    messages: Sequence[Mapping[str, Any]],
    media_sha256: Sequence[str],
    sampling: Mapping[str, Any],
    revision: str | None,
    model: str | None = None,
) -> str:
    """What a request is known by: SHA-256, in hex, of everything that the answer depends on.

    Media count with their bytes (``media_sha256``, one for each part that shows something), not with their names, so a
    changed image makes another request and a renamed one does not. The order of keys does not count. Weights are known
    by their revision, or else by the endpoint.

    Raises:
        ValueError: more or fewer media than parts that show something.
    """
    content = [with_media(messages, media_sha256), dict(sampling), model, revision]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class TranscriptWriter(JsonlWriter):
    """Appends to a file of transcripts; see `JsonlWriter`."""

    def __init__(self, path: str | Path):
        super().__init__(path, Transcript.model_validate_json, "transcripts")

    def append(self, row: Transcript | Mapping[str, Any] | str) -> None:
        super().append(row.model_dump_json() if isinstance(row, Transcript) else row)


def read_transcripts(path: str | Path) -> Iterator[Transcript]:
    """The transcripts of a file, line by line, in memory one at a time; a torn last line is omitted, with a warning.

    Raises:
        CourseError: no such file, or a line that is not a transcript (its number is named).
    """
    for _, transcript in read_lines(path, Transcript.model_validate_json, "a transcript"):
        yield transcript


def read_outcomes(path: str | Path) -> Iterator[Transcript]:
    """What became of each item of each run: one transcript each, in the order of the file.

    It is the first settled one, or the last failure if none is. If an item was changed between runs of the program,
    the request that was sent last counts. A line that is there twice counts once. In memory are some 200 bytes per
    item.

    Raises:
        CourseError: as `read_transcripts`.
    """
    chosen: dict[bytes, tuple[int, bytes, bool]] = {}  # run and item -> offset, request, settled
    for offset, transcript in read_lines(path, Transcript.model_validate_json, "a transcript"):
        key, request = short_hash(transcript.run, transcript.item_id), short_hash(transcript.request_hash)
        _, earlier, settled = chosen.get(key, (0, b"", False))
        if not (settled and request == earlier):
            chosen[key] = (offset, request, transcript.settled)
    with Path(path).open("rb") as file:
        for offset in sorted(offset for offset, _, _ in chosen.values()):
            file.seek(offset)
            yield Transcript.model_validate_json(file.readline())


def short_hash(*words: str) -> bytes:
    """16 bytes that stand for these words in a set or a dictionary."""
    return hashlib.sha256(json.dumps(words).encode()).digest()[:16]

"""Transcripts: every attempt to get an answer from a model, one JSON line each, only ever appended to a file.

A line stands for itself: who was asked what, with which media and settings, and what came back. What a model said is in
``text``; what went wrong is in ``error``; never the one in the other's place.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from helpers.errors import CourseError
from helpers.files import first_mistake, shown

Status = Literal["ok", "error", "timeout", "truncated", "refused"]
#: With one of these a request is settled: asking again would not mend it. The others are failures.
SETTLED: frozenset[Status] = frozenset({"ok", "truncated", "refused"})
#: Parts of a message that show something.
MEDIA_PARTS = ("image_url", "video_url")
_BLOCK = 1 << 16


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Medium(_Strict):
    """A picture or clip, as it lay on disk when it was sent."""

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
        ValidationError: an error without its message, an error's message beside an answer, an answer without text.
    """

    run: str
    """Name of one model with one set of sampling fields."""
    item_id: str
    model: str
    """The name under which the server knows it."""
    revision: str | None = None
    """What its weights are: a commit, or a hash of the files."""
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
    """truncated: the limit on tokens ended the answer, or the server, for going in circles. refused: by the model's
    own refusal or by a content filter. timeout: no answer in time. error: anything else that is no answer."""
    finish_reason: str | None = None
    """In the server's words."""
    text: str | None = None
    """What the model wrote, '' if that is nothing; None if it did not answer."""
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_seconds: float | None = None
    """From the request's first byte to the answer's last; waiting between attempts is not in it."""
    time: str
    """When the request was sent: ISO 8601, UTC."""
    origin: str
    """What wrote the line: 'run', or the tool whose log it was read from."""

    @model_validator(mode="after")
    def _text_and_error_apart(self) -> Self:
        if self.status in ("error", "timeout") and (self.text is not None or not self.error):
            raise ValueError(f"status '{self.status}' goes with an error and no text")
        if self.status in ("ok", "truncated") and (self.text is None or self.error is not None):
            raise ValueError(f"status '{self.status}' goes with a text and no error")
        return self

    @property
    def settled(self) -> bool:
        """Whether the request need not be sent again."""
        return self.status in SETTLED

    def line(self) -> bytes:
        """The transcript as it stands in the file, with the line's end."""
        return self.model_dump_json().encode() + b"\n"


# ---------------------------------------------------------------- requests


def media_parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The inner ``{"url": ...}`` of every part that shows something, in the order of the messages."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") in MEDIA_PARTS:
                yield part[part["type"]]


def texts_of(content: Any) -> list[str]:
    """The words of a message's content, part by part; content that is bare text is one part."""
    return [content] if isinstance(content, str) else [part["text"] for part in content or () if "text" in part]


def words_in(messages: Iterable[Mapping[str, Any]]) -> str:
    """The words of all messages, from system to user, a line or more each."""
    return "\n".join(text for message in messages for text in texts_of(message.get("content")) if text)


def with_media(messages: Sequence[Mapping[str, Any]], urls: Iterable[str]) -> list[dict[str, Any]]:
    """The messages with these urls, one for each part that shows something; the ones given stay as they are."""
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

    Media count with their bytes, not with their names, so a changed picture makes another request and a renamed one
    does not. The order of keys does not count.

    Args:
        messages: OpenAI form.
        media_sha256: of each part that shows something, in the order of the messages.
        sampling: the fields that are sent.
        revision: of the weights.
        model: its name: two models may both have no revision.

    Raises:
        ValueError: more or fewer media than parts that show something.
    """
    content = [with_media(messages, media_sha256), dict(sampling), model, revision]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


# ---------------------------------------------------------------- files


class TranscriptWriter:
    """Appends to a file of transcripts, alone, and leaves nothing in memory. Use it as ``with TranscriptWriter(path)``.

    Opening makes the file and its folders if need be. A last line that a killed writer left torn is repaired: it is
    completed if only its end is missing, else its bytes move to a file of the same name with ``.torn`` added, and
    ``repaired`` says so. While it is open, no other process can open it.

    Raises:
        CourseError: another process writes to the file, or it cannot be written.
    """

    def __init__(self, path: str | Path):
        import fcntl

        self.path = Path(path)
        self.repaired: str | None = None
        """What was done to a torn last line, for people; None if there was none."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._cannot_write(error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.repaired = mend_last_line(self.path, Transcript)
        except BlockingIOError:
            self._file.close()
            raise CourseError(
                f"Another process writes to {shown(self.path)}.",
                "a run that has not ended yet",
                "wait for it or stop it, or name another file",
            ) from None
        except OSError as error:
            self._file.close()
            raise self._cannot_write(error) from None

    def append(self, transcript: Transcript) -> None:
        """Write one line; it is with the operating system when this returns, so a killed process does not lose it.

        Raises:
            CourseError: a full disk, say. What was written of the line is taken back.
        """
        line = memoryview(transcript.line())
        begin = self._file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(begin)
            raise self._cannot_write(error) from None

    def close(self) -> None:
        """Wait until the lines are on the disk, and let others write."""
        if not self._file.closed:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._cannot_write(error) from None
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cannot_write(self, error: OSError) -> CourseError:
        return CourseError(
            f"Cannot write transcripts to {shown(self.path)}: {error.strerror}.",
            "a read-only or full disk, or a folder of that name",
            "mend that and start again; what is in the file is kept",
        )


def append(path: str | Path, transcripts: Iterable[Transcript]) -> int:
    """Append transcripts to a file, and return how many.

    Raises:
        CourseError: as `TranscriptWriter`.
    """
    count = 0
    with TranscriptWriter(path) as writer:
        for transcript in transcripts:
            writer.append(transcript)
            count += 1
    return count


def read_transcripts(path: str | Path) -> Iterator[Transcript]:
    """The transcripts of a file, line by line, in memory one at a time.

    Only writers repair. A torn last line (killed, or being written just now) is left out here, with a warning.

    Raises:
        CourseError: no such file, or a line that is no transcript (its number is named).
    """
    for _, transcript in _with_places(Path(path)):
        yield transcript


def read_outcomes(path: str | Path) -> Iterator[Transcript]:
    """What became of each item of each run: one transcript each, in the order of the file.

    It is the first settled one, or the last failure if none is. If an item was changed between runs of the program,
    the request that was sent last counts. A line that is there twice counts once. In memory are some 200 bytes an item.

    Raises:
        CourseError: as `read_transcripts`.
    """
    path = Path(path)
    chosen: dict[bytes, tuple[int, bytes, bool]] = {}  # run and item -> place, request, settled
    for place, one in _with_places(path):
        key, request = short_hash(one.run, one.item_id), short_hash(one.request_hash)
        _, earlier, settled = chosen.get(key, (0, b"", False))
        if not (settled and request == earlier):
            chosen[key] = (place, request, one.settled)
    places = sorted(place for place, _, _ in chosen.values())
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            yield Transcript.model_validate_json(file.readline())


def short_hash(*words: str) -> bytes:
    """16 bytes that stand for these words in a set or a dictionary."""
    return hashlib.sha256(json.dumps(words).encode()).digest()[:16]


def _with_places(path: Path) -> Iterator[tuple[int, Transcript]]:
    """Transcripts with the byte at which each begins."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CourseError(
            f"{shown(path)} cannot be read: {error.strerror}.", "a misspelt path", "look at the path"
        ) from None
    place = 0
    with file:
        for number, line in enumerate(file, start=1):  # by \n alone: answers may hold other line ends
            begin, place = place, place + len(line)
            if not line.strip():
                continue
            try:
                transcript = Transcript.model_validate_json(line)
            except ValidationError as error:
                if not line.endswith(b"\n"):
                    warnings.warn(f"{path.name}: its last line is torn and was left out.", stacklevel=3)
                    return
                raise CourseError(
                    f"{path.name} line {number} is not a transcript.", first_mistake(error), "mend or delete it"
                ) from None
            yield begin, transcript


def mend_last_line(path: Path, kind: type[BaseModel]) -> str | None:
    """Mend a last line that a killed writer left torn; say for people what was done, None if nothing had to be.

    It is completed if only its end is missing, else its bytes move to a file of the same name with ``.torn`` added.

    Raises:
        OSError: it cannot be read, or not be written although it must.
    """
    with path.open("rb") as file:
        begin, torn = _unfinished_line(file)
    if not torn:
        return None
    try:
        kind.model_validate_json(torn)
    except ValidationError:
        aside = path.with_name(f"{path.name}.torn")
        with aside.open("ab") as other:  # kept first, cut then: killed in between, it is there twice
            other.write(torn + b"\n")
            other.flush()
            os.fsync(other.fileno())
        os.truncate(path, begin)
        return f"{path.name}: a torn last line of {len(torn)} bytes was moved to {aside.name}."
    with path.open("ab") as file:
        file.write(b"\n")
    return f"{path.name}: the last line got the end that it lacked."


def _unfinished_line(file: Any) -> tuple[int, bytes]:
    """Where the last line without an end begins, and its bytes (b'' if the file ends with a line's end)."""
    place = file.seek(0, os.SEEK_END)
    tail = b""
    while place and b"\n" not in tail:
        begin = max(0, place - _BLOCK)
        file.seek(begin)
        tail = file.read(place - begin) + tail
        place = begin
    end = tail.rfind(b"\n") + 1
    return place + end, tail[end:]

"""What a batch run asks: the items of a folder, or its pictures with one question; and which of them are left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown
from helpers.profiles import ActiveProfile
from toolkit.evaluation.inference.profile_run import model_revision
from toolkit.evaluation.inference.requests import MIME, describe_media, read_request, sampling_fields
from toolkit.evaluation.inference.runner import run_name
from toolkit.evaluation.inference.transcripts import Medium, Transcript, media_parts, request_hash
from toolkit.toyworld.items import stream_items

QUESTION = "Describe this image."
PICTURES = frozenset(suffix for suffix, mime in MIME.items() if mime.startswith("image/"))


@dataclass(frozen=True)
class Asked:
    """Who is asked, with which sampling fields: what all answers of a run have in common."""

    run: str
    model: str
    revision: str | None
    device: str
    dtype: str
    sampling: dict[str, Any]
    server_version: str | None


@dataclass(frozen=True)
class Task:
    """One item to be asked about."""

    item_id: str
    messages: list[dict[str, Any]]
    """OpenAI form; pictures are named relative to the items' folder."""
    media: tuple[Medium, ...]
    request_hash: str
    attempt: int = 1

    def row(self) -> dict[str, str]:
        """What a worker gets to know: names, no pixels."""
        return {"item_id": self.item_id, "messages": json.dumps(self.messages, ensure_ascii=False)}

    def transcript(self, asked: Asked, answer: Mapping[str, Any]) -> Transcript:
        """The task with its answer.

        Args:
            asked: who was asked.
            answer: a row of `toolkit.batch.describer.Describer`.
        """
        common = {name: getattr(asked, name) for name in asked.__dataclass_fields__}
        return Transcript(
            **common, **answer, media=self.media, request_hash=self.request_hash, attempt=self.attempt,
            seed=asked.sampling.get("seed"), server="vllm", origin="batch",
        )  # fmt: skip


@dataclass
class Left:
    """What is to be asked, and how many items there are altogether."""

    tasks: list[Task] = field(default_factory=list)
    items: int = 0


def who_is_asked(active: ActiveProfile) -> Asked:
    """A profile's model with its sampling fields; named as the same model is when a server is asked."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        engine = version("vllm")
    except PackageNotFoundError:
        engine = None
    revision, sampling = model_revision(active), sampling_fields(active.sampling_arguments()).sent()
    dtype = active.profile.dtype.get(active.device, "auto")
    name = run_name(active.served_name, revision, sampling)
    return Asked(name, active.served_name, revision, active.device, dtype, sampling, engine)


def left_to_do(
    folder: str | Path,
    asked: Asked,
    done: Mapping[tuple[str, str], int],
    *,
    question: str = QUESTION,
    limit: int | None = None,
) -> Left:
    """The tasks that have no answer yet, in the order of the items. Every picture is read through once.

    A picture that is missing or broken is a task like any other: the worker records why it failed.

    Args:
        folder: with ``items.jsonl`` and its pictures, or with pictures alone.
        asked: who is asked.
        done: of `toolkit.batch.parts.done_requests`.
        question: asked about each picture where there is no ``items.jsonl``.
        limit: look at the first so many items.

    Raises:
        CourseError: no items and no pictures, an item without name or messages, one name twice, or a clip.
    """
    left, names = Left(), set()
    for record in islice(_records(Path(folder), question), limit):
        left.items += 1
        name = _checked(record, left.items)
        if name in names:
            raise CourseError(f"There are two items '{name}'.", "a line was copied", "give each an item_id of its own")
        names.add(name)
        messages, media, known_by = _known_by(Path(folder), record, asked)
        attempts = done.get((name, known_by), 0)
        if attempts >= 0:
            left.tasks.append(Task(name, messages, media, known_by, attempts + 1))
    return left


def _records(folder: Path, question: str) -> Iterator[dict[str, Any]]:
    if (folder / "items.jsonl").is_file():
        yield from stream_items(folder)
        return
    try:
        pictures = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        raise CourseError(f"{shown(folder)} cannot be read: {error.strerror}.", "a misspelt path") from None
    if not pictures:
        raise CourseError(f"There are no items and no pictures in {shown(folder)}.", "a misspelt path")
    for name in pictures:
        content = [{"type": "image_url", "image_url": {"url": name}}, {"type": "text", "text": question}]
        yield {"item_id": name, "messages": [{"role": "user", "content": content}]}


def _checked(record: Mapping[str, Any], number: int) -> str:
    name = record.get("item_id")
    if not isinstance(name, str) or not name:
        raise CourseError(f"Item {number} has no item_id.", "an edited line", "give each item one")
    try:
        urls = [part["url"] for part in media_parts(record["messages"])]
    except (AttributeError, KeyError, TypeError):
        raise CourseError(f"Item '{name}' has no usable messages.", "an edited line", "mend its line") from None
    for url in urls:
        if Path(url).suffix.lower() not in PICTURES:
            raise CourseError(f"Item '{name}' shows '{url}', which is no picture.", "", "leave clips to evaluate run")
        if Path(url).is_absolute() or ".." in Path(url).parts:
            raise CourseError(f"Item '{name}' names '{url}'.", "", "keep pictures in the items' folder")
    return name


def _known_by(
    folder: Path, record: Mapping[str, Any], asked: Asked
) -> tuple[list[dict[str, Any]], tuple[Medium, ...], str]:
    messages = record["messages"]
    try:
        request = read_request(folder, record, asked.sampling, asked.revision, asked.model)
    except CourseError:  # not there
        names = [part["url"] for part in media_parts(messages)]
        media = tuple(Medium(path=name, sha256="", width=None, height=None) for name in names)
        return messages, media, request_hash(messages, [""] * len(names), asked.sampling, asked.revision, asked.model)
    try:
        media = describe_media(folder, request)
    except CourseError:  # no picture
        pairs = zip(request.paths, request.digests, strict=True)
        media = tuple(Medium(path=path, sha256=digest, width=None, height=None) for path, digest in pairs)
    return messages, media, request.hash

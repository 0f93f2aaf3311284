"""What a batch run asks: the items of a folder, or its images with one question; and which of them are left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Self

from helpers.errors import CourseError
from helpers.files import shown
from helpers.profiles import ActiveProfile
from toolkit.evaluation.inference.profile_run import model_revision
from toolkit.evaluation.inference.requests import MIME, describe_media, medium_path, read_request, sampling_fields
from toolkit.evaluation.inference.runner import run_name
from toolkit.evaluation.inference.transcripts import Medium, Transcript, media_parts, request_hash
from toolkit.toyworld.items import stream_items

QUESTION = "Describe this image."
IMAGE_SUFFIXES = frozenset(suffix for suffix, mime in MIME.items() if mime.startswith("image/"))


@dataclass(frozen=True)
class AskedModel:
    """A model with its sampling fields: what all transcripts of a run have in common."""

    run: str
    model: str
    revision: str | None
    device: str
    dtype: str
    sampling: dict[str, Any]
    server_version: str | None

    @classmethod
    def of(cls, active: ActiveProfile) -> Self:
        """A profile's model, with the name that its run has when a server is asked."""
        try:
            engine = version("vllm")
        except PackageNotFoundError:
            engine = None
        revision, sampling = model_revision(active), sampling_fields(active.sampling_arguments()).sent()
        dtype = active.profile.dtype.get(active.device, "auto")
        name = run_name(active.served_name, revision, sampling)
        return cls(name, active.served_name, revision, active.device, dtype, sampling, engine)


@dataclass(frozen=True)
class BatchTask:
    """One item to be asked about."""

    item_id: str
    messages: list[dict[str, Any]]
    """OpenAI form; images are named relative to the items' folder."""
    media: tuple[Medium, ...]
    request_hash: str
    attempt: int = 1

    def row(self) -> dict[str, str]:
        """What a worker gets to know: names, no pixels."""
        return {"item_id": self.item_id, "messages": json.dumps(self.messages, ensure_ascii=False)}

    def transcript(self, asked: AskedModel, answer: Mapping[str, Any]) -> Transcript:
        """The task with its answer, a row of `toolkit.batch.describer.Describer`."""
        common = {field.name: getattr(asked, field.name) for field in fields(asked)}
        return Transcript(
            **common, **answer, media=self.media, request_hash=self.request_hash, attempt=self.attempt,
            seed=asked.sampling.get("seed"), server="vllm", origin="batch",
        )  # fmt: skip


def remaining_tasks(
    folder: str | Path,
    asked: AskedModel,
    done: Mapping[tuple[str, str], int],
    *,
    question: str = QUESTION,
    limit: int | None = None,
) -> tuple[list[BatchTask], int]:
    """The tasks that have no answer yet, in the order of the items, and how many items there are altogether.

    Every image is read through once. One that is missing or broken makes a task like any other: the worker records why
    it failed.

    Args:
        folder: with ``items.jsonl`` and its images, or with images alone.
        asked: the model.
        done: of `toolkit.batch.parts.done_requests`.
        question: asked about each image where there is no ``items.jsonl``.
        limit: look at the first so many items.

    Raises:
        CourseError: no items and no images, an item without name or messages, one name twice, or a video.
    """
    tasks: list[BatchTask] = []
    names: set[str] = set()
    for record in islice(_records(Path(folder), question), limit):
        name = _checked_name(Path(folder), record, len(names) + 1)
        if name in names:
            raise CourseError(f"There are two items '{name}'.", "a line was copied", "give each an item_id of its own")
        names.add(name)
        media, digest = _media_and_hash(Path(folder), record, asked)
        attempts = done.get((name, digest), 0)
        if attempts >= 0:
            tasks.append(BatchTask(name, record["messages"], media, digest, attempts + 1))
    return tasks, len(names)


def _records(folder: Path, question: str) -> Iterator[dict[str, Any]]:
    if (folder / "items.jsonl").is_file():
        yield from stream_items(folder)
        return
    try:
        images = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise CourseError(f"{shown(folder)} cannot be read: {error.strerror}.", "a misspelt path") from None
    if not images:
        raise CourseError(f"There are no items and no images in {shown(folder)}.", "a misspelt path")
    for name in images:
        content = [{"type": "image_url", "image_url": {"url": name}}, {"type": "text", "text": question}]
        yield {"item_id": name, "messages": [{"role": "user", "content": content}]}


def _checked_name(folder: Path, record: Mapping[str, Any], number: int) -> str:
    name = record.get("item_id")
    if not isinstance(name, str) or not name:
        raise CourseError(f"Item {number} has no item_id.", "an edited line", "give each item one")
    try:
        urls = [part["url"] for part in media_parts(record["messages"])]
    except (AttributeError, KeyError, TypeError):
        raise CourseError(f"Item '{name}' has no usable messages.", "an edited line", "correct its line") from None
    for url in urls:
        if Path(url).suffix.lower() not in IMAGE_SUFFIXES:
            raise CourseError(f"Item '{name}' shows '{url}', which is no image.", "", "leave videos to evaluate run")
        medium_path(folder, name, url)
    return name


def _media_and_hash(folder: Path, record: Mapping[str, Any], asked: AskedModel) -> tuple[tuple[Medium, ...], str]:
    try:
        request = read_request(folder, record, asked.sampling, asked.revision, asked.model)
    except CourseError:  # a file is not there
        names = [part["url"] for part in media_parts(record["messages"])]
        digest = request_hash(record["messages"], [""] * len(names), asked.sampling, asked.revision, asked.model)
        return tuple(Medium(path=name, sha256="", width=None, height=None) for name in names), digest
    try:
        return describe_media(request), request.hash
    except CourseError:  # a file is no image
        pairs = zip(request.paths, request.digests, strict=True)
        return tuple(Medium(path=path, sha256=sha, width=None, height=None) for path, sha in pairs), request.hash

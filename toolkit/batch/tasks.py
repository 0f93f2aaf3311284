"""What a batch run asks: the items of a folder, or its images with one question; and which of them are left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown
from helpers.jsonl import JsonlWriter
from helpers.profiles import ActiveProfile
from toolkit.evaluation.inference.export import write_parquet
from toolkit.evaluation.inference.profile_run import model_revision
from toolkit.evaluation.inference.requests import checked, describe_media, mime_of, read_request, sampling_fields
from toolkit.evaluation.inference.runner import run_name
from toolkit.evaluation.inference.transcripts import SETTLED, Medium, Transcript, media_parts, request_hash
from toolkit.toyworld.items import stream_items

QUESTION = "Describe this image."


def fields_of(active: ActiveProfile) -> dict[str, Any]:
    """What all transcripts of a run have in common: the profile's model and sampling fields.

    The run has the name that it has when a server is asked.
    """
    try:
        engine = version("vllm")
    except PackageNotFoundError:
        engine = None
    revision, model, sampling = model_revision(active), active.served_name, sampling_fields(active.sampling_arguments())
    return {
        "run": run_name(model, revision, sampling.sent()), "model": model, "revision": revision,
        "device": active.device, "dtype": active.profile.dtype.get(active.device, "auto"), "sampling": sampling.sent(),
        "seed": sampling.seed, "server": "vllm", "server_version": engine, "origin": "batch",
    }  # fmt: skip


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

    def transcript(self, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> Transcript:
        """The task with its answer, a row of `toolkit.batch.describer.Describer`."""
        return Transcript(**asked, **answer, media=self.media, request_hash=self.request_hash, attempt=self.attempt)


def remaining_tasks(
    folder: str | Path,
    asked: Mapping[str, Any],
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
        asked: of `fields_of`.
        done: of `done_requests`.
        question: asked about each image where there is no ``items.jsonl``.
        limit: look at the first so many items.

    Raises:
        CourseError: no items and no images, a video, or as `checked`.
    """
    tasks: list[BatchTask] = []
    items = 0
    for record in checked(islice(_records(Path(folder), question), limit), folder, images_only=True):
        items += 1
        media, digest = _media_and_hash(Path(folder), record, asked)
        attempts = done.get((record["item_id"], digest), 0)
        if attempts >= 0:
            tasks.append(BatchTask(record["item_id"], record["messages"], media, digest, attempts + 1))
    return tasks, items


def _records(folder: Path, question: str) -> Iterator[dict[str, Any]]:
    if (folder / "items.jsonl").is_file():
        yield from stream_items(folder)
        return
    try:
        images = sorted(path.name for path in folder.iterdir() if mime_of(path).startswith("image/"))
    except OSError as error:
        raise CourseError(f"{shown(folder)} cannot be read: {error.strerror}.", "a misspelt path") from None
    if not images:
        raise CourseError(f"There are no items and no images in {shown(folder)}.", "a misspelt path")
    for name in images:
        content = [{"type": "image_url", "image_url": {"url": name}}, {"type": "text", "text": question}]
        yield {"item_id": name, "messages": [{"role": "user", "content": content}]}


def _media_and_hash(
    folder: Path, record: Mapping[str, Any], asked: Mapping[str, Any]
) -> tuple[tuple[Medium, ...], str]:
    paths = [part["url"] for part in media_parts(record["messages"])]
    known_by, digests = (asked["sampling"], asked["revision"], asked["model"]), [""] * len(paths)
    try:
        request = read_request(folder, record, *known_by)
        digests = list(request.digests)
        return describe_media(request), request.hash
    except CourseError:  # a file is not there, or is no image
        media = (
            Medium(path=path, sha256=sha, width=None, height=None) for path, sha in zip(paths, digests, strict=True)
        )
        return tuple(media), request_hash(record["messages"], digests, *known_by)


def sole_writer(folder: str | Path) -> JsonlWriter:
    """A context that makes the folder if need be, and keeps other runs out of it.

    Raises:
        CourseError: another run writes there, or it cannot be written.
    """
    return JsonlWriter(Path(folder) / ".lock", what="parts")


def write_part(folder: str | Path, transcripts: Iterable[Transcript]) -> Path:
    """Write the next part and return its path. A part that a killed process left unfinished is not counted.

    Raises:
        CourseError: it cannot be written.
    """
    numbers = [int(path.stem.rpartition("-")[2]) for path in parts(folder)]
    path = Path(folder) / f"part-{max(numbers, default=-1) + 1:05d}.parquet"
    write_parquet(transcripts, path)
    return path


def parts(folder: str | Path) -> list[Path]:
    """The finished parts, in the order in which they were written."""
    return sorted(Path(folder).glob("part-[0-9][0-9][0-9][0-9][0-9].parquet"))


def done_requests(folder: str | Path, again: bool = False) -> dict[tuple[str, str], int]:
    """What need not be asked: (item, request hash) -> -1; with ``again``, failures -> the number of their attempts.

    A changed image, question, model or sampling field makes another request, which is not done.

    Raises:
        CourseError: a part that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done: dict[tuple[str, str], int] = {}
    for path in parts(folder):
        try:
            rows = pq.read_table(path, columns=["item_id", "request_hash", "status", "attempt"]).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise CourseError(
                f"{shown(path)} cannot be read as Parquet: {error}.", "a damaged disk", "delete it: it is made again"
            ) from None
        for row in rows:
            key = row["item_id"], row["request_hash"]
            settled = row["status"] in SETTLED or not again or done.get(key, 0) < 0
            done[key] = -1 if settled else max(row["attempt"], done.get(key, 0))
    return done

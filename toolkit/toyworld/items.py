"""One item of the toy world: what is asked, what is shown, what is right; and how items are written to a folder."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from helpers.errors import CourseError
from toolkit.toyworld.video import Clip, mp4_bytes

#: kind of item -> module of this package. A new kind is one module and one line here; the module offers ``TASKS``,
#: ``make_facts(rng, difficulty)``, ``draw(facts, seed)`` (unless it has no picture), ``questions(facts, rng)`` and
#: ``make_item(seed, difficulty)``: see `KindModule`.
KINDS = {
    "scene": "scenes",
    "receipt": "receipts",
    "clip": "clips",
    "sentence": "sentences",
    "foreign": "foreign",
}
#: 1 is the easiest, 3 the whole world.
DIFFICULTIES = (1, 2, 3)
VALIDATION_SEED = 10_000_000
SAMPLE_SEED = 11_000_000


@dataclass(frozen=True)
class Question:
    """Something to ask about an item's facts."""

    task: str
    """One of the ``TASKS`` of the kind."""
    request: str
    answers: tuple[str, ...]
    """Accepted wordings, the first being the reference."""


class KindModule(Protocol):
    """What a module that makes one kind of items offers."""

    TASKS: tuple[str, ...]

    def make_facts(self, rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
        """What is to be shown or asked: plain values that JSON can hold."""

    def questions(self, facts: dict[str, Any], rng: random.Random) -> list[Question]:
        """At least one question of each task that applies to these facts, the main task's first."""

    def make_item(self, seed: int, difficulty: int = 3) -> Item:
        """The item with this seed: the same seed gives the same bytes."""


@dataclass(frozen=True)
class Item:
    """A question with its media, accepted answers and the facts that it was made from."""

    kind: str
    seed: int
    messages: list[dict[str, Any]]
    """OpenAI form; an ``image_url`` or ``video_url`` holds the file's name in ``media``."""
    answer: list[str]
    """Accepted wordings, the first being the reference."""
    facts: dict[str, Any]
    media: dict[str, Image.Image | Clip] = field(default_factory=dict)

    @property
    def item_id(self) -> str:
        """Unique and stable: kind and seed."""
        return f"{self.kind}-{self.seed}"

    def record(self) -> dict[str, Any]:
        """The item's line in ``items.jsonl``."""
        return {
            "item_id": self.item_id,
            "kind": self.kind,
            "seed": self.seed,
            "messages": self.messages,
            "media": sorted(self.media),
            "answer": self.answer,
            "facts": self.facts,
        }


def item_about(
    kind: str, seed: int, facts: dict[str, Any], question: Question, name: str, medium: Image.Image | Clip
) -> Item:
    """The usual item: one user message that shows ``medium`` (file ``name``) and then asks."""
    form = "video_url" if isinstance(medium, Clip) else "image_url"
    content = [{"type": form, form: {"url": name}}, {"type": "text", "text": question.request}]
    return Item(kind, seed, [{"role": "user", "content": content}], list(question.answers), facts, {name: medium})


def kind_module(kind: str) -> KindModule:
    """The module that makes items of this kind.

    Raises:
        CourseError: unknown kind.
    """
    if kind not in KINDS:
        raise CourseError(f"There is no kind of item '{kind}'.", "a misspelt --kind", f"use one of: {', '.join(KINDS)}")
    return import_module(f"toolkit.toyworld.{KINDS[kind]}")


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=9)
    return buffer.getvalue()


def write_items(
    kind: str, count: int, seed: int, folder: Path, difficulty: int = 3, frames: bool = False
) -> Iterator[Item]:
    """Write items with seeds ``seed`` to ``seed + count - 1`` into a folder, and yield each when it is on disk.

    Pictures (PNG) and clips (MP4) lie beside ``items.jsonl``, whose paths are relative to it. An ``items.jsonl`` that
    is there is replaced. With ``frames``, each clip's frames are written as PNG too, into a folder of the clip's name.

    Raises:
        CourseError: unknown kind, a count below 1, a negative seed, a difficulty that is not 1, 2 or 3, or a folder
            that cannot be written.
    """
    make = kind_module(kind).make_item
    if count < 1 or seed < 0:
        raise CourseError(f"Cannot make {count} items from seed {seed}.", "", "count from 1, seed from 0")
    if difficulty not in DIFFICULTIES:
        raise CourseError(f"There is no difficulty {difficulty}.", "", "use 1 (easy), 2 or 3 (the whole world)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "items.jsonl").open("w", encoding="utf-8") as lines:
            for number in range(seed, seed + count):
                item = make(number, difficulty)
                for name, medium in item.media.items():
                    write_medium(folder / name, medium, frames)
                lines.write(json.dumps(item.record(), ensure_ascii=False) + "\n")
                lines.flush()
                yield item
    except OSError as error:
        raise CourseError(
            f"Cannot write items to {folder}: {error.strerror}.", "a read-only or full disk, or a file of that name"
        ) from None


def write_medium(path: Path, medium: Image.Image | Clip, frames: bool = False) -> None:
    """Write a picture as PNG or a clip as MP4; with ``frames``, a clip's frames too, into a folder of its name."""
    if not isinstance(medium, Clip):
        path.write_bytes(png_bytes(medium))
        return
    path.write_bytes(mp4_bytes(medium))
    if frames:
        path.with_suffix("").mkdir(exist_ok=True)
        for number, frame in enumerate(medium.frames):
            (path.with_suffix("") / f"{number:02d}.png").write_bytes(png_bytes(frame))


def stream_items(folder: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a folder's ``items.jsonl``, one at a time.

    Raises:
        CourseError: no such file, or a line that is not a JSON object (its number is named).
    """
    path = Path(folder) / "items.jsonl"
    try:
        file = path.open("rb")
    except OSError:
        raise CourseError(
            f"There is no items.jsonl in {folder}.", "", "draw items with: python -m course toyworld --help"
        ) from None
    with file:
        for number, line in enumerate(file, start=1):  # by \n alone: texts may hold other line ends
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                why = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise CourseError(f"{path.name} line {number} is not JSON: {why}.", "a torn or edited line") from None
            if not isinstance(record, dict):
                raise CourseError(f"{path.name} line {number} is not a JSON object.", "an edited line")
            yield record


def read_items(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a folder's ``items.jsonl``, all at once.

    Raises:
        CourseError: as `stream_items`.
    """
    return list(stream_items(folder))

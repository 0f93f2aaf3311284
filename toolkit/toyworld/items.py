"""An item of the toy world: what is asked, what is shown, what is right; and how items are written to a folder."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from PIL import Image

from helpers.errors import CourseError
from toolkit.toyworld.video import Clip, mp4_bytes

#: Kind of item -> the module of this package that makes it, see `KindModule`. A new kind is one module and one line.
KINDS = {
    "scene": "scenes", "receipt": "receipts", "clip": "clips", "sentence": "sentences", "foreign": "foreign",
    "page": "pages", "window": "windows",
}  # fmt: skip
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
    """What a module offers that makes one kind of item."""

    TASKS: tuple[str, ...]

    def make_facts(self, rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
        """What is to be shown or asked: plain values that JSON can hold."""

    def draw(self, facts: dict[str, Any], seed: int, **look: Any) -> Image.Image | Clip | None:
        """What is shown, None where the request says it all; what is not a fact follows the seed."""

    def questions(self, facts: dict[str, Any], rng: random.Random) -> list[Question]:
        """At least one question of each task that applies to these facts, the main task's first."""


@dataclass(frozen=True)
class Item:
    """A question with its media, accepted answers and the facts that it was made from."""

    kind: str
    seed: int
    messages: list[dict[str, Any]]
    """In OpenAI's form; an ``image_url`` or ``video_url`` holds the file's name in ``media``."""
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


def kind_module(kind: str) -> KindModule:
    """The module that makes items of this kind.

    Raises:
        CourseError: unknown kind.
    """
    if kind not in KINDS:
        raise CourseError(f"There is no kind of item '{kind}'.", "a misspelt --kind", f"use one of: {', '.join(KINDS)}")
    return cast(KindModule, import_module(f"toolkit.toyworld.{KINDS[kind]}"))


def make_item(kind: str, seed: int, difficulty: int = 3, **look: Any) -> Item:
    """The item with this seed, with its kind's main question; ``look`` is for the kind's ``draw``, such as ``size``.

    Raises:
        CourseError: unknown kind.
    """
    module = kind_module(kind)
    rng = random.Random(f"{kind}-{seed}")
    facts = module.make_facts(rng, difficulty)
    return item_about(kind, seed, facts, module.questions(facts, rng)[0], module.draw(facts, seed, **look))


def item_about(
    kind: str,
    seed: int,
    facts: dict[str, Any],
    question: Question,
    medium: Image.Image | Clip | None,
    name: str | None = None,
) -> Item:
    """The usual item: one user message that shows ``medium``, if there is one, and then asks.

    ``name`` is the medium's file without its suffix; default: kind and seed.
    """
    if medium is None:
        return Item(kind, seed, [{"role": "user", "content": question.request}], list(question.answers), facts)
    form, suffix = ("video_url", "mp4") if isinstance(medium, Clip) else ("image_url", "png")
    file = f"{name or f'{kind}-{seed}'}.{suffix}"
    content = [{"type": form, form: {"url": file}}, {"type": "text", "text": question.request}]
    return Item(kind, seed, [{"role": "user", "content": content}], list(question.answers), facts, {file: medium})


def closed_object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """JSON schema of an object with these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def png_bytes(image: Image.Image) -> bytes:
    """The image as PNG; the same image gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=9)
    return buffer.getvalue()


def write_items(
    kind: str, count: int, seed: int, folder: Path, difficulty: int = 3, frames: bool = False
) -> Iterator[Item]:
    """Write items with seeds ``seed`` to ``seed + count - 1`` into a folder, and yield each when it is on disk.

    Images (PNG) and clips (MP4) lie beside ``items.jsonl``, whose paths are relative to it. An existing
    ``items.jsonl`` is replaced. With ``frames``, each clip's frames are written as PNG, too, into a folder named after
    the clip.

    Raises:
        CourseError: unknown kind, a count below 1, a negative seed, a difficulty that is not 1, 2 or 3, or a folder
            that cannot be written.
    """
    kind_module(kind)
    if count < 1 or seed < 0:
        raise CourseError(f"Cannot make {count} items from seed {seed}.", "", "count from 1, seed from 0")
    if difficulty not in DIFFICULTIES:
        raise CourseError(f"There is no difficulty {difficulty}.", "", "use 1 (easy), 2 or 3 (the whole world)")
    drawn = (make_item(kind, number, difficulty) for number in range(seed, seed + count))
    for item, _ in written(folder, ((item, item.record()) for item in drawn), frames):
        yield item


def written(
    folder: Path, entries: Iterable[tuple[Item, dict[str, Any]]], frames: bool = False
) -> Iterator[tuple[Item, dict[str, Any]]]:
    """Write items with their records into a folder, each medium once; yield each when it is on disk.

    Raises:
        CourseError: the folder cannot be written.
    """
    names: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "items.jsonl").open("w", encoding="utf-8") as lines:
            for item, record in entries:
                for name in item.media.keys() - names:
                    _write_medium(folder / name, item.media[name], frames)
                names |= item.media.keys()
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                lines.flush()
                yield item, record
    except OSError as error:
        raise CourseError(
            f"Cannot write items to {folder}: {error.strerror}.", "a read-only or full disk, or a file of that name"
        ) from None


def _write_medium(path: Path, medium: Image.Image | Clip, frames: bool) -> None:
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

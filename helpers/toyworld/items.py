"""One item of the toy world: what is asked, what is shown, what is right; and how items are written to a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from helpers.errors import CourseError

#: kind of item -> module of this package with a function ``make_item(seed) -> Item``. A new kind is one module and
#: one line here.
KINDS = {"scene": "scenes", "sentence": "sentences"}
VALIDATION_SEED = 10_000_000
SAMPLE_SEED = 11_000_000


@dataclass(frozen=True)
class Item:
    """A question with its pictures, accepted answers and the facts that it was made from."""

    kind: str
    seed: int
    messages: list[dict[str, Any]]
    """OpenAI form; an ``image_url`` holds the picture's file name in ``media``."""
    answer: list[str]
    """Accepted wordings, the first being the reference."""
    facts: dict[str, Any]
    media: dict[str, Image.Image] = field(default_factory=dict)

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


def maker(kind: str) -> Callable[[int], Item]:
    """The function that makes items of this kind from a seed.

    Raises:
        CourseError: unknown kind.
    """
    if kind not in KINDS:
        raise CourseError(f"There is no kind of item '{kind}'.", "a misspelt --kind", f"use one of: {', '.join(KINDS)}")
    return import_module(f"helpers.toyworld.{KINDS[kind]}").make_item


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=9)
    return buffer.getvalue()


def write_items(kind: str, count: int, seed: int, folder: Path) -> Iterator[Item]:
    """Write items with seeds ``seed`` to ``seed + count - 1`` into a folder, and yield each when it is on disk.

    The pictures lie beside ``items.jsonl``, whose paths are relative to it. An ``items.jsonl`` that is there is
    replaced.

    Raises:
        CourseError: unknown kind, a count below 1, a negative seed, or a folder that cannot be written.
    """
    make = maker(kind)
    if count < 1 or seed < 0:
        raise CourseError(f"Cannot make {count} items from seed {seed}.", "", "count from 1, seed from 0")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "items.jsonl").open("w", encoding="utf-8") as lines:
            for item in map(make, range(seed, seed + count)):
                for name, picture in item.media.items():
                    (folder / name).write_bytes(png_bytes(picture))
                lines.write(json.dumps(item.record(), ensure_ascii=False) + "\n")
                lines.flush()
                yield item
    except OSError as error:
        raise CourseError(
            f"Cannot write items to {folder}: {error.strerror}.", "a read-only or full disk, or a file of that name"
        ) from None


def read_items(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder's ``items.jsonl``.

    Raises:
        CourseError: no such file, or a line that is not JSON (its number is named).
    """
    path = Path(folder) / "items.jsonl"
    if not path.is_file():
        raise CourseError(
            f"There is no items.jsonl in {folder}.", "", "draw items with: python -m helpers toyworld --help"
        )
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise CourseError(f"{path.name} line {number} is not JSON: {error.msg}.", "a torn or edited line") from None
    return records

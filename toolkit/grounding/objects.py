"""Boxes and points as a model writes them, read from whatever stands around them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Box = tuple[float, float, float, float]
Point = tuple[float, float]

_BOXES = ("bbox_2d", "bbox", "box_2d", "box")
_POINTS = ("point_2d", "point")
_LABELS = ("label", "name", "text_content", "text")
_DECODER = json.JSONDecoder()
#: What may begin JSON: an object, or a list of objects, texts, lists or numbers.
_START = re.compile(r"\{|\[(?=\s*[{\"\[\d.+-])")


@dataclass(frozen=True)
class Found:
    """One thing that an answer points at; coordinates as written, until `Canvas.place` turns them into pixels."""

    label: str
    box: Box | None = None
    """Left, top, right, bottom."""
    point: Point | None = None
    text: str = ""
    """Of an element of a page: what is written there."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of a table: its cells."""

    @property
    def centre(self) -> Point | None:
        """The point, or the middle of the box."""
        if self.point or not self.box:
            return self.point
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Reading:
    """What an answer holds, in its order, and in plain words what was left out or fixed."""

    objects: tuple[Any, ...]
    problems: tuple[str, ...] = ()


@dataclass
class _Notes:
    found: list[Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_objects(answer: str) -> Reading:
    """Every box and point of an answer, as `Found` in the answer's own coordinates, each once.

    JSON may stand in prose or a code block, as one list or object by object, and may be cut off: whole objects count.
    Corners the wrong way round are put right; what is not four (or two) finite numbers is left out. Without JSON, one
    pair of corners is read, such as Qwen2-VL's ``<|box_start|>(…),(…)<|box_end|>``. An answer without any of these
    has no objects; that is no error.
    """
    from toolkit.evaluation.metrics.text_metrics import read_box

    text = answer.rpartition("</think>")[2]
    notes = _Notes()
    for value in json_values(text):
        _collect(value, notes)
    if not notes.found and not notes.problems and (box := read_box(text)):
        _add("", box, 4, notes)
    once = tuple(dict.fromkeys(notes.found))
    if len(once) < len(notes.found):
        notes.problems.append(f"{len(notes.found) - len(once)} repeated")
    if is_cut_off(text):
        notes.problems.append("cut off")
    return Reading(once, tuple(notes.problems))


def json_values(text: str) -> Iterator[Any]:
    """Each JSON object or list in a text; of one that does not parse, those inside it."""
    place = 0
    while start := _START.search(text, place):
        try:
            value, place = _DECODER.raw_decode(text, start.start())
            yield value
        except (ValueError, RecursionError):
            place = start.end()


def is_cut_off(text: str) -> bool:
    """Whether JSON begins and its brackets are never closed."""
    start = _START.search(text)
    if not start:
        return False
    depth, quoted, escaped = 0, False, False
    for letter in text[start.start() :]:
        if quoted:
            quoted, escaped = escaped or letter != '"', letter == "\\" and not escaped
        elif letter == '"':
            quoted = True
        else:
            depth += (letter in "[{") - (letter in "]}")
    return depth > 0


def _collect(value: Any, notes: _Notes) -> None:
    if isinstance(value, list):
        for inner in value:
            _collect(inner, notes)
    if not isinstance(value, dict):
        return
    label = next((str(value[key]) for key in _LABELS if isinstance(value.get(key), str)), "")
    for keys, count in ((_BOXES, 4), (_POINTS, 2)):
        for key in keys:
            if key in value:
                several = isinstance(value[key], list) and value[key] and isinstance(value[key][0], list)
                for numbers in value[key] if several else [value[key]]:
                    _add(label, numbers, count, notes)
    for key, inner in value.items():
        if key not in (*_BOXES, *_POINTS):
            _collect(inner, notes)


def _add(label: str, numbers: Any, count: int, notes: _Notes) -> None:
    what = f"'{label}': " if label else ""
    values = finite(numbers)
    if values is None or len(values) != count:
        notes.problems.append(f"{what}not {count} finite numbers")
    elif count == 2:
        notes.found.append(Found(label, point=(values[0], values[1])))
    else:
        left, top, right, bottom = values
        box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        if box != tuple(values):
            notes.problems.append(f"{what}corners the wrong way round")
        notes.found.append(Found(label, box=box))


def finite(numbers: Any) -> list[float] | None:
    """A list of numbers as floats; None if it is anything else, or one is not finite."""
    if not isinstance(numbers, list | tuple):
        return None
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        return None
    try:
        values = [float(number) for number in numbers]
    except OverflowError:  # an integer of 309 digits or more
        return None
    return values if all(map(math.isfinite, values)) else None

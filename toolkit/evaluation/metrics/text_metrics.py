"""Answers as text: edit distance, exact copies, JSON and boxes, read out of whatever a chat model puts around them.

Where there is nothing to measure (0/0), the value is None, neither 0 nor 1. An answer that cannot be read is None, too:
a third state beside right and wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from helpers.errors import CourseError
from toolkit.evaluation.metrics.answer_text import blocks, parts, patterns, plain, unquoted, without_thoughts

Box = tuple[float, float, float, float]
#: A box that overlaps the true one by at least this much counts as right.
GOOD_IOU = 0.5


def share(part: float, whole: float) -> float | None:
    """A part of a whole; None if the whole is 0."""
    return part / whole if whole else None


# ---------------------------------------------------------------- copies


def edits(answer: str, reference: str) -> int:
    """Levenshtein distance in code points: insertions, deletions and substitutions, of spaces and line breaks too."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(answer, reference)


def exact_match(answer: str, accepted: Collection[str]) -> bool:
    """Whether the answer is an accepted wording, character by character, apart from surrounding white space."""
    if isinstance(accepted, str):
        raise CourseError("Accepted wordings are a list.", "a bare string", f"use [{accepted!r}]")
    return answer.strip() in {wording.strip() for wording in accepted}


_RE = patterns("text_metrics")


def copied_line(text: str, question: str = "") -> str:
    """The line that an answer hands over, such as a sentence in reverse: what is marked as it, or comes last.

    A marked passage ('in quotes', `code`, **bold**) that the question has itself is not it.
    """
    text = without_thoughts(text)
    for block in reversed(blocks(text)):
        return block.strip()
    lines = [re.sub(r"^\s*(?:>|[-•](?=\s))\s*", "", line) for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        bare = unquoted(line.strip().removeprefix("**").removesuffix("**"))
        if not _RE.announces.search(line):
            marked = [passage for passage in _passages(line) if passage == bare]
            return marked[-1] if marked else bare
        if passages := [passage for passage in _passages(line) if passage not in question]:
            return passages[-1]
        told = _RE.full_stop.sub("", _last_told(line))
        if told and told != line:
            return unquoted(told)
    return unquoted(text)


def _passages(line: str) -> list[str]:
    return [unquoted(next(filter(None, found.groups())).strip()) for found in _RE.marked.finditer(line)]


def _last_told(line: str) -> str:
    mark = re.search(r"^.*(?::\s|\bis\s(?!.*:\s))\s*(?=\S)", line)
    return line[mark.end() :].strip() if mark else ""


def copied_lines(text: str) -> str:
    """The text that an answer hands over, such as a receipt's, line by line, with single spaces and without Markdown.

    An announcement before it and a remark after a code block are left out.
    """
    text = without_thoughts(text)
    inside = blocks(text)
    lines = plain(unquoted(inside[-1] if inside else text)).splitlines()
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    return "\n".join(lines)


# ---------------------------------------------------------------- JSON


def read_json(text: str) -> Any | None:
    """The value, if the whole answer is JSON as the standard has it; None otherwise, also inside prose.

    No NaN, no infinity, no key twice in one object.
    """
    try:
        return _strict().decode(text)
    except (ValueError, RecursionError):
        return None


def find_json(text: str) -> Any | None:
    """The last JSON object or list of an answer, which may stand in a code block or in prose; None if there is none."""
    text = without_thoughts(text)
    if (whole := read_json(text)) is not None:
        return whole
    found = [value for block in blocks(text) if (value := read_json(block)) is not None]
    return found[-1] if found else next(reversed(list(_json_inside(text))), None)


def _json_inside(text: str) -> Iterator[Any]:
    """Each object or list; what does not parse is passed over with all that is in it."""
    place = 0
    while found := re.compile(r"[\[{]").search(text, place):
        try:
            value, place = _strict().raw_decode(text, found.start())
            yield value
        except (ValueError, RecursionError):
            place = _after_bracket(text, found.start())


def _after_bracket(text: str, start: int) -> int:
    depth = 0
    for found in re.compile(r"[\[\]{}]").finditer(text, start):
        depth += 1 if found[0] in "[{" else -1
        if depth == 0:
            return found.end()
    return len(text)


def _strict() -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_constant=_finite_float, parse_float=_finite_float, object_pairs_hook=_unique_keys
    )  # fmt: skip


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(digits)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key twice")
    return value


def same_json(first: Any, second: Any) -> bool:
    """Equal values, whatever the order of keys; unlike Python's ``==``, 1, 1.0 and true are different."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of keys, value as text) of every value in JSON that is no object or list; positions in lists are not kept.

    Text is stripped. Empty objects and lists have no leaves.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value.strip() if isinstance(value, str) else json.dumps(value)


def cord_overlap(predicted: Any, expected: Any) -> tuple[int, int, int]:
    """How many `leaves` match, are predicted, and are expected, as multisets: as Donut scores CORD (Kim et al. 2022).

    An answer that cannot be read (None) has none.
    It does not see which price belongs to which name: use `same_json` beside it.
    """
    there = Counter(leaves(expected))
    said = Counter() if predicted is None else Counter(leaves(predicted))
    return (said & there).total(), said.total(), there.total()


# ---------------------------------------------------------------- boxes

_KEYS = ("bbox_2d", "bbox", "box", "box_2d", "bounding_box", "coordinates")
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_FOUR = re.compile(r"[\s,()]+".join([_NUMBER] * 4))


def read_box(text: str, label: str = "") -> Box | None:
    """Left, top, right, bottom of the box that an answer gives; None if there is none, or several and none is meant.

    As JSON (``{"bbox_2d": [...]}`` and its relatives, a list of them, a bare list), as corners in brackets, or as
    Qwen2-VL's ``<|box_start|>(…),(…)<|box_end|>``. Of several, those that are labelled with ``label`` count.
    """
    for part in parts(without_thoughts(text)):
        values = list(_json_inside(part))
        found = [box for value in values for box in _boxes(value)]
        if not values and (numbers := _FOUR.search(part)) and (corners := _box(list(map(float, numbers.groups())))):
            found = [("", corners)]
        named = {box for name, box in found if label and label in name.lower()}
        chosen = named or {box for name, box in found}
        if chosen:
            return chosen.pop() if len(chosen) == 1 else None
    return None


def _boxes(value: Any, name: str = "") -> Iterator[tuple[str, Box]]:
    """(label, box) of each box in a JSON value."""
    if isinstance(value, dict):
        name = str(value.get("label", name))
        corners = [value.get(key) for key in ("x1", "y1", "x2", "y2")]
        if box := _box(corners):
            yield name, box
        for key, inner in value.items():
            if isinstance(inner, list | dict):
                yield from _boxes(inner, name if key in _KEYS else f"{name} {key}")
    elif isinstance(value, list):
        if box := _box(value) or _box([side for corner in value if isinstance(corner, list) for side in corner]):
            yield name, box
        else:
            for inner in value:
                yield from _boxes(inner, name)


def _box(sides: Sequence[Any]) -> Box | None:
    if len(sides) != 4 or any(isinstance(side, bool) or not isinstance(side, int | float) for side in sides):
        return None
    try:
        left, top, right, bottom = map(float, sides)
    except OverflowError:  # an integer of 309 digits or more
        return None
    return left, top, right, bottom


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union, 0 to 1. A box without area (its right side not right of its left) overlaps nothing."""

    def area(box: Sequence[float]) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    shared = area([*map(max, first[:2], second[:2]), *map(min, first[2:], second[2:])])
    return shared / (area(first) + area(second) - shared) if shared else 0.0

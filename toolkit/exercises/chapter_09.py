"""Exercises of chapter 09: pointing and reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, describe, is_close, number

Box = Sequence[float]


def exercise_1(box: Box) -> str | None:
    """A box in thousandths of a crop, in pixels of the whole image."""
    found = _numbers(box)
    if len(found) != 4:
        return f"a box has four numbers: left, top, right, bottom; yours has {len(found)}"
    if found == [240, 240, 400, 360]:
        return None
    words: dict[tuple[float, ...], str] = {
        (160, 240, 480, 480): "those are thousandths of the whole image, but the model saw the crop only",
        (256, 384, 768, 768): "those are pixels of the enlarged crop that was sent",
        (80, 120, 240, 240): "those are pixels of the crop; it does not begin at the image's corner",
        (416, 504, 928, 888): "the enlarged crop has more pixels than the part of the image that it shows",
    }
    return words.get(
        tuple(found), "left and right are 250 and 750 thousandths of 320 pixels, to the right of pixel 160"
    )


def exercise_2(iou: Callable[[Box, Box], Any]) -> str | None:
    """The overlap of two boxes over the area that both cover."""
    cases: list[tuple[Box, Box, float, str]] = [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1, "equal boxes"),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3, "half of each overlaps"),
        ([0, 0, 10, 10], [2, 2, 7, 6], 0.2, "one lies inside the other"),
        ([0, 0, 10, 10], [20, 0, 30, 10], 0, "boxes side by side, apart"),
        ([0, 0, 10, 10], [20, 20, 30, 30], 0, "boxes apart in both directions"),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0, "boxes that touch"),
        ([0.1, 0.2, 0.5, 0.4], [0.3, 0.3, 0.7, 0.5], 1 / 7, "fractions of an image"),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0, "two boxes without area, which overlap nothing"),
    ]
    for first, second, wanted, what in cases:
        for one, other in ((first, second), (second, first)):
            found = call(iou, list(one), list(other))
            if not is_close(found, wanted, 1e-6, "the IoU"):
                return f"{what}: of {list(one)} and {list(other)} it is {wanted:.3f}, yours is {number(found):.3f}"
    return None


def exercise_3(read_boxes: Callable[[str], Any]) -> str | None:
    """The boxes in whatever a model writes around them."""
    dog, cat = '{"bbox_2d": [100, 200, 400, 600], "label": "dog"}', '{"bbox_2d": [500, 500, 700, 900], "label": "cat"}'
    first, second = [100.0, 200.0, 400.0, 600.0], [500.0, 500.0, 700.0, 900.0]
    swapped = '[{"bbox_2d": [400, 600, 100, 200], "label": "dog"}]'
    fenced = f"Sure!\n```json\n[{dog}]\n```\nAnything else?"
    if _boxes(read_boxes, fenced) == [] and _boxes(read_boxes, swapped) == [[400, 600, 100, 200]]:
        raise NotAttempted("it still behaves as given: it reads nothing but a bare list, and believes every corner")
    cases = {
        "a bare list": (f"[{dog}, {cat}]", [first, second]),
        "a code fence with prose around it": (fenced, [first]),
        "one object instead of a list": (dog, [first]),
        "objects one after the other": (f"{dog}\n{cat}", [first, second]),
        "an answer that was cut off": (f'[{dog}, {{"bbox_2d": [500, 5', [first]),
        "corners the wrong way round": (swapped, [first]),
        "corners of which only x is swapped": ('[{"bbox_2d": [400, 200, 100, 600]}]', [first]),
        "no box at all": ("There is no dog in this image.", []),
    }
    for what, (answer, wanted) in cases.items():
        found = _boxes(read_boxes, answer)
        if found != wanted:
            return f"{what}: {wanted} is expected, yours is {found}"
    return None


def exercise_4(error_rate: Callable[[list[str], list[str]], Any]) -> str | None:
    """Edits per character of the truth, pooled over the receipts."""
    from rapidfuzz.distance import Levenshtein

    truths = ["Milk 2.50\nTOTAL 2.50", "Sun Bakery\nBread 3.20\nTea 1.15\nTax 0.40\nTOTAL 4.75", "Tea 1.00"]
    answers = ["Milk 2.50\nTOTAL 2.50 and thank you", "Sun Bakery\nBread 3.20", "Tee 1.80"]
    edits = [Levenshtein.distance(answer, truth) for answer, truth in zip(answers, truths, strict=True)]
    found = number(call(error_rate, answers, truths), "the rate")
    if is_close(found, sum(map(_per, edits, answers)) / 3):
        raise NotAttempted("it still behaves as given: a mean of edits per character of the answers")
    if is_close(found, sum(map(_per, edits, truths)) / 3):
        return "that is the mean of each receipt's rate; add up the edits, then divide once by all characters"
    if is_close(found, sum(edits) / sum(map(len, answers))):
        return "edits are counted per character of the truth, not of the answer"
    cases = [(answers, truths, sum(edits) / sum(map(len, truths))), (truths, truths, 0.0), ([""] * 3, truths, 1.0)]
    for given, right, wanted in cases:
        found = number(call(error_rate, list(given), list(right)), "the rate")
        if not is_close(found, wanted):
            what = "silence" if given == [""] * 3 else "the truth itself" if given is truths else "three answers"
            return f"for {what} the rate is {wanted:.3f}, yours is {found:.3f}"
    return None


def exercise_5(project: Callable[[Sequence[float], tuple[int, int], float], Any]) -> str | None:
    """The pixel at which a point in metres appears, for a camera of that angle from left to right."""
    cases = [
        ((0.0, 0.0, 2.0), (640, 400), 60.0), ((0.7, 0.1, 2.6), (640, 400), 60.0), ((-0.4, 0.5, 3.0), (1000, 800), 90.0),
        ((0.2, -0.3, 1.5), (300, 600), 40.0),
    ]  # fmt: skip
    for point, size, degrees in cases:
        u, v = (number(one, "a coordinate") for one in _numbers(call(project, point, size, degrees), 2))
        wanted = _projected(point, size, degrees)
        if is_close(u, wanted[0], 1e-4) and is_close(v, wanted[1], 1e-4):
            continue
        x, y, z = point
        word = ""
        if not (x or y):
            word = ": what lies straight ahead appears in the middle of the image"
        elif is_close(u, wanted[0], 1e-4) and is_close(v, size[1] - wanted[1], 1e-4):
            word = ": y points down, in the scene and in the image"
        elif is_close(u - size[0] / 2, size[0] / 2 / math.tan(degrees / 2) * x / z, 1e-4):
            word = ": math.tan takes radians"
        elif is_close(u - size[0] / 2, size[0] / 2 / math.tan(math.radians(degrees)) * x / z, 1e-4):
            word = ": from the middle to the edge it is half the angle"
        elif is_close(v - size[1] / 2, size[1] / 2 / math.tan(math.radians(degrees) / 2) * y / z, 1e-4):
            word = ": the angle is that from left to right; the same focal length serves both directions"
        shown = f"({wanted[0]:.1f}, {wanted[1]:.1f}), yours ({u:.1f}, {v:.1f})"
        return f"the point {point} on {size[0]} × {size[1]} pixels at {degrees:g}° is at {shown}{word}"
    return None


def _projected(point: Sequence[float], size: tuple[int, int], degrees: float) -> tuple[float, float]:
    focal = size[0] / 2 / math.tan(math.radians(degrees) / 2)
    return focal * point[0] / point[2] + size[0] / 2, focal * point[1] / point[2] + size[1] / 2


def _per(edits: int, text: str) -> float:
    return edits / len(text)


def _boxes(read_boxes: Callable[[str], Any], answer: str) -> list[list[float]]:
    found = call(read_boxes, answer)
    if not isinstance(found, list | tuple):
        raise Mistake(f"a list of boxes is expected, not {describe(found)}")
    return [_numbers(box, 4) for box in found]


def _numbers(values: Any, count: int | None = None) -> list[float]:
    try:
        found = [number(value, "each number") for value in values]
    except TypeError:
        raise Mistake(f"numbers are expected, not {describe(values)}") from None
    if count and len(found) != count:
        raise Mistake(f"{count} numbers are expected, not {describe(values)}")
    return found

"""The checkers of chapter 09 refuse plausible wrong answers and accept other right ones."""

import json
import math

from rapidfuzz.distance import Levenshtein

from tests.support.exercise_answers import ChapterTests
from toolkit.evaluation.metrics.text_metrics import iou as courses_iou
from toolkit.grounding import Camera, read_objects


# 09.2
def overlap_of(first, second, least=0.0):
    wide = max(min(first[2], second[2]) - max(first[0], second[0]), least)
    return wide * max(min(first[3], second[3]) - max(first[1], second[1]), least)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def over_both_areas(first, second):
    return overlap_of(first, second) / ((area(first) + area(second)) or 1)


def over_the_smaller(first, second):
    return overlap_of(first, second) / (min(area(first), area(second)) or 1)


def negative_sides(first, second):
    overlap = overlap_of(first, second, -1e9)
    return overlap / ((area(first) + area(second) - overlap) or 1)


def divided_by_nothing(first, second):
    return overlap_of(first, second) / (area(first) + area(second) - overlap_of(first, second))


# 09.3
def given_reader(answer):
    try:
        things = json.loads(answer)
    except ValueError:
        return []
    return [thing["bbox_2d"] for thing in things]


def without_the_fence(answer):
    inside = answer.partition("```json")[2].partition("```")[0] or answer
    try:
        things = json.loads(inside)
    except ValueError:
        return []
    boxes = [thing["bbox_2d"] for thing in (things if isinstance(things, list) else [things])]
    return [[*map(min, box[:2], box[2:]), *map(max, box[:2], box[2:])] for box in boxes]


def as_written(answer):
    return [list(thing.box) for thing in read_objects(answer.replace("400, 600, 100, 200", "9, 9, 1, 1")).objects]


def by_the_course(answer):
    return [thing.box for thing in read_objects(answer).objects]


# 09.4
def rates(answers, truths, by):
    return [Levenshtein.distance(*pair) / len(pair[by]) for pair in zip(answers, truths, strict=True)]


def given_rate(answers, truths):
    return sum(rates(answers, truths, 0)) / len(answers)


def mean_of_rates(answers, truths):
    return sum(rates(answers, truths, 1)) / len(answers)


def edits(answers, truths):
    return sum(map(Levenshtein.distance, answers, truths))


def per_written(answers, truths):
    return edits(answers, truths) / sum(map(len, answers))


def at_most_one(answers, truths):
    spoken = [pair for pair in zip(answers, truths, strict=True) if pair[0]]
    return edits(*zip(*spoken, strict=True)) / sum(map(len, truths)) if spoken else 0.0


def by_hand(answers, truths):
    total = 0
    for answer, truth in zip(answers, truths, strict=True):
        row = list(range(len(truth) + 1))
        for letter in answer:
            last, row = row, [row[0] + 1]
            for place, other in enumerate(truth):
                row.append(min(last[place] + (letter != other), last[place + 1] + 1, row[-1] + 1))
        total += row[-1]
    return total / sum(len(truth) for truth in truths)


# 09.5
def projecting(angle, upwards=1, centred=True, own_focal=False):
    def project(point, size, degrees):
        x, y, z = point
        across, down = (side / 2 / math.tan(angle(degrees)) for side in size)
        middle = [side / 2 * centred for side in size]
        return across * x / z + middle[0], upwards * (down if own_focal else across) * y / z + middle[1]

    return project


def half(degrees):
    return math.radians(degrees) / 2


WRONG = [
    ("09.1", [160, 240, 480, 480], "the crop only"),
    ("09.1", [80, 120, 240, 240], "does not begin"),
    ("09.1", [256, 384, 768, 768], "enlarged crop"),
    ("09.1", [416, 504, 928, 888], "more pixels"),
    ("09.1", [1, 2], "four numbers"),
    ("09.1", [0, 0, 1, 1], "of 320 pixels"),
    ("09.2", over_both_areas, "equal boxes"),
    ("09.2", over_the_smaller, "half of each"),
    ("09.2", negative_sides, "apart"),
    ("09.2", divided_by_nothing, "ZeroDivisionError"),
    ("09.3", without_the_fence, "one after the other"),
    ("09.3", as_written, "wrong way round"),
    ("09.3", lambda answer: "none", "list of boxes"),
    ("09.3", lambda answer: [[1, 2, 3]], "4 numbers"),
    ("09.4", mean_of_rates, "divide once"),
    ("09.4", per_written, "of the truth"),
    ("09.4", at_most_one, "silence"),
    ("09.5", projecting(lambda degrees: degrees / 2), "radians"),
    ("09.5", projecting(math.radians), "half the angle"),
    ("09.5", projecting(half, upwards=-1), "points down"),
    ("09.5", projecting(half, centred=False), "middle of the image"),
    ("09.5", projecting(half, own_focal=True), "both directions"),
    ("09.5", lambda *_: 3, "numbers are expected"),
]
RIGHT = [
    ("09.1", [240.0, 240, 400, 360.0]),
    ("09.2", courses_iou),
    ("09.3", by_the_course),
    ("09.4", by_hand),
    ("09.5", lambda point, size, degrees: Camera.of(size, degrees).project([point])[0]),
]
AS_GIVEN = [("09.3", given_reader), ("09.4", given_rate)]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "09", RIGHT, WRONG, AS_GIVEN

"""The checkers of chapter 06b refuse plausible wrong answers and accept other right ones."""

import math
from statistics import linear_regression

from tests.support.exercise_answers import ChapterTests

INTENSITIES = {"bfloat16, 16 at once": 16, "float32, 16 at once": 8, "fp8, 16 at once": 32, "bfloat16, 1 at once": 1}


# 06b.2
def memory_alone(weights, size, batch, bandwidth, flops):
    return batch * bandwidth / (weights * size)


def of_one_request(weights, size, batch, bandwidth, flops):
    return decode_rate(weights, size, batch, bandwidth, flops) / batch


def both_after_another(weights, size, batch, bandwidth, flops):
    return batch / (weights * size / bandwidth + 2 * weights * batch / flops)


def decode_rate(weights, size, batch, bandwidth, flops):
    return min(batch * bandwidth / (weights * size), flops / (2 * weights))


# 06b.3
def upside_down(operations, moved, bandwidth, flops):
    return "arithmetic" if operations / moved < flops / bandwidth else "memory"


def threshold(operations, moved, bandwidth, flops):
    return "memory" if operations / moved < 100 else "arithmetic"


def by_balance(operations, moved, bandwidth, flops):
    return "Memory" if operations / moved < flops / bandwidth else "Arithmetic"


# 06b.4
def straight_slope(lengths, costs):
    return linear_regression(lengths, costs).slope


def half_logarithmic(lengths, costs):
    return linear_regression(lengths, [math.log(cost) for cost in costs]).slope


def two_points(lengths, costs):
    return math.log(costs[2] / costs[1]) / math.log(lengths[2] / lengths[1])


def in_base_two(lengths, costs):
    return linear_regression([math.log2(n) for n in lengths], [math.log2(cost) for cost in costs]).slope


VERDICTS = ("faster", "slower", "no difference shown")


# 06b.6
def by_the_mean(before, changed, after):
    present = sum(before + after) / len(before + after)
    return VERDICTS[0] if sum(changed) / len(changed) > present else VERDICTS[1]


def before_alone(before, changed, after):
    return VERDICTS[0] if min(changed) > max(before) else VERDICTS[1] if max(changed) < min(before) else VERDICTS[2]


def by_the_best(before, changed, after):
    return VERDICTS[0] if max(changed) > max(before + after) else VERDICTS[2]


def one_by_one(before, changed, after):
    present = before + after
    if all(value > other for value in changed for other in present):
        return VERDICTS[0]
    return VERDICTS[1] if all(value < other for value in changed for other in present) else VERDICTS[2]


WRONG = [
    ("06b.1", INTENSITIES | {"bfloat16, 16 at once": 8}, "a multiplication and an addition"),
    ("06b.1", INTENSITIES | {"fp8, 16 at once": 8}, "fp8"),
    ("06b.2", memory_alone, "arithmetic is the limit"),
    ("06b.2", of_one_request, "gives each request of the batch a token"),
    ("06b.2", both_after_another, "arithmetic is the limit"),
    ("06b.3", upside_down, "decoding on a GPU"),
    ("06b.3", threshold, "processor core"),
    ("06b.4", straight_slope, "linear cost"),
    ("06b.4", half_logarithmic, "exponent"),
    ("06b.4", two_points, "use all points"),
    ("06b.5", lambda weights, cache, batch: weights / cache, "32 requests"),
    ("06b.5", lambda weights, cache, batch: batch * weights / cache, "32 requests"),
    ("06b.6", by_the_mean, "no difference shown"),
    ("06b.6", before_alone, "drifted"),
    ("06b.6", by_the_best, "no difference shown"),
]
RIGHT = [
    ("06b.1", {case: float(value) for case, value in INTENSITIES.items()}),
    ("06b.2", decode_rate),
    ("06b.3", by_balance),
    ("06b.4", in_base_two),
    ("06b.5", lambda weights, cache, batch: round(weights / batch / cache)),
    ("06b.6", one_by_one),
]
AS_GIVEN = [
    ("06b.3", lambda operations, moved, bandwidth, flops: "memory" if moved > operations else "arithmetic"),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "06b", RIGHT, WRONG, AS_GIVEN

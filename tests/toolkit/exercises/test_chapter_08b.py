"""The checkers of chapter 08b refuse plausible wrong answers and accept other right ones."""

import itertools
import math

import numpy as np
from scipy.stats import beta, binomtest

from tests.support.exercise_answers import ChapterTests
from toolkit.exercises.chapter_08b import HELD_OUT
from toolkit.toyworld import VALIDATION_SEED

LOSSES = {"768 tokens": 6.6, "151,936 tokens": 11.9, "half": 0.7}


# 08b.2
def labelled(ids, opening, end, before, after, most):
    labels, found = [-100] * len(ids), 0
    for place in range(len(ids)):
        if ids[place : place + len(opening)] == opening and found < most:
            found += 1
            first, last = place + len(opening) - before, ids.index(end, place) + after
            labels[first:last] = ids[first:last]
    return labels


def without_end(ids, opening, end):
    return labelled(ids, opening, end, 0, 0, 99)


def with_opening(ids, opening, end):
    return labelled(ids, opening, end, 3, 1, 99)


def first_answer_alone(ids, opening, end):
    return labelled(ids, opening, end, 0, 1, 1)


def everything(ids, opening, end):
    return list(ids)


def token_by_token(ids, opening, end):
    labels, learning = [], False
    for place, token in enumerate(ids):
        learning = learning or (place >= 3 and ids[place - 3 : place] == opening)
        labels.append(token if learning else -100)
        learning = learning and token != end
    return np.array(labels)


# 08b.3
def without_warm_up(step, steps, warm_up, peak):
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


def straight_down(step, steps, warm_up, peak):
    return peak * min(step / warm_up, 1 - 0.99 * (step - warm_up) / (steps - warm_up))


def down_to_zero(step, steps, warm_up, peak):
    return peak * min(step / warm_up, (1 + math.cos(math.pi * max(0, step - warm_up) / (steps - warm_up))) / 2)


def whole_cosine(step, steps, warm_up, peak):
    falling = 0.01 + 0.99 * math.cos(math.pi / 4 * max(0, step - warm_up) / (steps - warm_up)) ** 2
    return peak * min(step / warm_up, falling)


def squared_cosine(step, steps, warm_up, peak):
    share = min(1.0, max(0.0, (step - warm_up) / (steps - warm_up)))
    return peak * min(1.0, step / warm_up) * (0.01 + 0.99 * math.cos(math.pi / 2 * share) ** 2)


# 08b.4
def walds(right, n):
    share = right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def clipped(right, n):
    low, high = walds(right, n)
    return max(0, low - 1e-9), min(1, high + 1e-9)


def ninety_percent(right, n):
    interval = binomtest(right, n).proportion_ci(0.8, method="wilson")
    return interval.low, interval.high


def exact(right, n):
    interval = binomtest(right, n).proportion_ci()
    return interval.low, interval.high


def jeffreys(right, n):
    low = beta.ppf(0.025, right + 0.5, n - right + 0.5) if right else 0.0
    return low, beta.ppf(0.975, right + 0.5, n - right + 0.5) if right < n else 1.0


# 08b.5
def up_to_the_shorter(one, other):
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), -1)


def by_set(one, other):
    return next((at for at, token in enumerate(one) if token not in other), -1)


def padded(one, other):
    pairs = itertools.zip_longest(one, other, fillvalue=object())
    return next((at for at, (a, b) in enumerate(pairs) if a != b), -1)


# 08b.6
def of_training_items(answer, is_right, count):
    return sum(is_right(seed, answer(seed)) for seed in range(count)) / count


def of_answers_alone(answer, is_right, count):
    said = {seed: answer(seed) for seed in range(VALIDATION_SEED, VALIDATION_SEED + count)}
    marks = [is_right(seed, text) for seed, text in said.items() if text]
    return sum(marks) / len(marks) if marks else 0.0


CALLS = itertools.count(1)


def other_items_each_time(answer, is_right, count):
    first = VALIDATION_SEED + next(CALLS)
    return sum(is_right(seed, answer(seed)) for seed in range(first, first + count + 1)) / (count + 1)


def same_item_again(answer, is_right, count):
    return sum(is_right(VALIDATION_SEED, answer(VALIDATION_SEED)) for _ in range(count)) / count


def spread_out(answer, is_right, count):
    step = len(HELD_OUT) // count
    marks = [is_right(HELD_OUT[step * number], answer(HELD_OUT[step * number])) for number in range(count)]
    return np.mean(marks)


def last_of_them(answer, is_right, count):
    return np.mean([is_right(seed, answer(seed)) for seed in HELD_OUT[-count:]])


def given_score(answer, is_right, count):
    said = {seed: answer(seed) for seed in range(count)}
    marks = [is_right(seed, text) for seed, text in said.items() if text]
    return sum(marks) / len(marks)


WRONG = [
    ("08b.1", LOSSES | {"768 tokens": 2.9}, "natural one"),
    ("08b.1", LOSSES | {"151,936 tokens": 151_936}, "natural logarithm"),
    ("08b.1", LOSSES | {"half": 0.5}, "natural logarithm"),
    ("08b.2", without_end, "never learns to stop"),
    ("08b.2", with_opening, "belongs to no answer"),
    ("08b.2", first_answer_alone, "two answers"),
    ("08b.2", everything, "belongs to no answer"),
    ("08b.3", without_warm_up, "starts at 0"),
    ("08b.3", straight_down, "follows a cosine"),
    ("08b.3", down_to_zero, "1 % of"),
    ("08b.3", whole_cosine, "half-way down"),
    ("08b.4", walds, "90 right of 96"),
    ("08b.4", clipped, "Wilson"),
    ("08b.4", ninety_percent, "Wilson"),
    ("08b.5", up_to_the_shorter, "goes on"),
    ("08b.5", by_set, "is right"),
    ("08b.6", of_training_items, "not a held-out one"),
    ("08b.6", of_answers_alone, "silent"),
    ("08b.6", other_items_each_time, "64 different items"),
    ("08b.6", same_item_again, "64 different items"),
]
RIGHT = [
    ("08b.1", {"768 tokens": math.log(768), "151,936 tokens": math.log(151_936), "half": math.log(2)}),
    ("08b.2", token_by_token),
    ("08b.3", squared_cosine),
    ("08b.4", exact),
    ("08b.4", jeffreys),
    ("08b.5", padded),
    ("08b.6", last_of_them),
]
AS_GIVEN = [
    ("08b.2", lambda ids, opening, end: labelled(ids, opening, end, 3, 0, 99)),
    ("08b.6", given_score),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "08b", RIGHT, WRONG, AS_GIVEN


def test_held_out_seeds_are_those_of_the_toy_world():
    assert HELD_OUT.start == VALIDATION_SEED

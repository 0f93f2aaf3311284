"""Exercises of chapter 08b: training and its measures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, is_close, number

#: Seeds of held-out items, as `toolkit.toyworld` divides them.
HELD_OUT = range(10_000_000, 11_000_000)


def exercise_1(answer: dict[str, Any]) -> str | None:
    """Cross-entropy of a guess over a vocabulary, and of a model that gives the right token one half."""
    wanted = {"768 tokens": math.log(768), "151,936 tokens": math.log(151_936), "half": math.log(2)}
    for name, value in wanted.items():
        if abs(number(answer[name], name) - value) > 0.1:
            word = "the loss is the natural logarithm of 1 / the probability of the right token"
            if any(is_close(answer[name], value / math.log(base), 0.03) for base in (2, 10)):
                word = "the logarithm is the natural one, to the base e"
            return f"{name!r}: not {number(answer[name]):g}; {word}"
    return None


def exercise_2(labels_of: Callable[[list[int], list[int], int], Any]) -> str | None:
    """Labels of a conversation: the answers with their end marks, −100 elsewhere."""
    opening, end, masked = [1, 2, 3], 9, -100
    cases = [
        ("one question and one answer", [1, 5, 3, 40, 41, 9, 1, 2, 3, 50, 51, 9], [masked] * 9 + [50, 51, 9]),
        ("two answers", [1, 5, 3, 40, 9, 1, 2, 3, 50, 9, 1, 5, 3, 41, 9, 1, 2, 3, 51, 52, 9],
         [masked] * 8 + [50, 9] + [masked] * 8 + [51, 52, 9]),
        ("no answer", [1, 5, 3, 40, 41, 9], [masked] * 6),
        ("an empty answer", [1, 2, 3, 9], [masked] * 3 + [9]),
    ]  # fmt: skip
    for name, ids, wanted in cases:
        found = [int(label) for label in call(labels_of, list(ids), list(opening), end)]
        if found == wanted:
            continue
        if found == [masked] * 6 + [1, 2, 3, 50, 51, masked]:
            raise NotAttempted("it still behaves as given: the opening is learned and the end is not")
        if len(found) != len(ids):
            return f"{name}: one label per token, {len(ids)}, is expected, not {len(found)}"
        place = next(place for place, (one, two) in enumerate(zip(found, wanted, strict=True)) if one != two)
        token = f"{name}: token {place} of {ids}"
        if wanted[place] == end:
            return f"{token} ends an answer. If it is not learned, the model never learns to stop"
        if wanted[place] == masked:
            return f"{token} belongs to no answer, so its label is −100"
        return f"{token} belongs to an answer, so its label is {wanted[place]}, not {found[place]}"
    return None


def exercise_3(learning_rate: Callable[[int, int, int, float], Any]) -> str | None:
    """Linear warm-up, then a cosine to 1 % of the peak."""
    for steps, warm_up, peak in ((1000, 100, 0.002), (300, 20, 1.0)):
        half = (steps + warm_up) // 2
        cases = {
            0: (0.0, "it starts at 0"),
            warm_up // 2: (peak / 2, "half-way through the warm-up it is half the peak"),
            warm_up: (peak, "after the warm-up it is the peak"),
            half: (0.505 * peak, "half-way down the cosine it is between the peak and 1 % of it"),
            (3 * warm_up + steps) // 4: (peak * (0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2), "it follows a cosine"),
            steps: (0.01 * peak, "at the end it is 1 % of the peak"),
        }
        for step, (wanted, word) in cases.items():
            found = number(call(learning_rate, step, steps, warm_up, peak), "the rate")
            if abs(found - wanted) > 0.002 * peak:
                return f"step {step} of {steps}, warm-up {warm_up}, peak {peak}: {wanted:.6g}, not {found:.6g}; {word}"
    return None


def exercise_4(score_interval: Callable[[int, int], Any]) -> str | None:
    """A 95 % interval of a share that also holds at 0 and 1: Wilson's, or one near it."""
    for right, n in ((48, 96), (90, 96), (6, 96), (0, 500), (500, 500), (448, 500)):
        low, high = (number(end, "an end of the interval") for end in call(score_interval, right, n))
        what = f"{right} right of {n}: your interval is {low:.3f} to {high:.3f}"
        if low < 0 or high > 1:
            return f"{what}, but a share is between 0 and 1"
        if low == high:
            return f"{what}; {n} items prove neither 'never' nor 'always'"
        wilson = _wilson(right, n)
        if max(abs(low - wilson[0]), abs(high - wilson[1])) > 0.015:
            return f"{what}, Wilson's {wilson[0]:.3f} to {wilson[1]:.3f}"
    return None


def _wilson(right: int, n: int) -> tuple[float, float]:
    share, z = right / n, 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def exercise_5(first_difference: Callable[[list[int], list[int]], Any]) -> str | None:
    """The place at which two answers part; -1 if they are equal."""
    cases = [
        ([5, 6, 7], [5, 6, 7], -1),
        ([5, 6, 7], [5, 8, 7], 1),
        ([4, 6, 7], [5, 6, 7], 0),
        ([5, 6, 7, 8], [5, 6], 2),
        ([5, 6], [5, 6, 7, 8], 2),
        ([], [], -1),
        ([], [1], 0),
        ([5, 1, 5, 2], [5, 1, 5, 1], 3),
    ]
    for one, other, wanted in cases:
        found = call(first_difference, list(one), list(other))
        if number(found, "the place") != wanted:
            word = "; one goes on where the other has ended" if len(one) != len(other) else ""
            return f"{one} and {other}: {wanted} is right, your function says {number(found):g}{word}"
    return None


def exercise_6(held_out_score: Callable[..., Any]) -> str | None:
    """The share of held-out items that a model answers rightly; no answer is wrong."""
    asked: list[int] = []

    def by_heart(seed: int) -> str:
        asked.append(seed)
        return "right" if seed < HELD_OUT.start else "wrong"

    score = number(call(held_out_score, by_heart, _is_right, 64), "the score")
    if asked == list(range(64)) and call(held_out_score, lambda seed: "right" * (seed < 9), _is_right, 64) == 1:
        raise NotAttempted("it still behaves as given: training items, and only those that are answered")
    if any(seed not in HELD_OUT for seed in asked):
        return f"seed {next(seed for seed in asked if seed not in HELD_OUT):,} is not a held-out one"
    if len(set(asked)) != 64 or len(asked) != 64:
        return f"64 different items should be asked, once each; you asked {len(set(asked))}, {len(asked)} times in all"
    if score:
        return f"a model that knows only its training items by heart gets {score:g}, and deserves 0"
    models = [
        ("right on every item", lambda seed: "right", 1.0),
        ("silent on every item", lambda seed: "", 0.0),
        ("right on half of the items and silent on the rest", lambda seed: "right" if seed % 2 else "", 0.5),
        ("right on half of the items and wrong on the rest", lambda seed: "right" if seed % 2 else "wrong", 0.5),
    ]
    for name, model, wanted in models:
        scores = {number(call(held_out_score, model, _is_right, 64), "the score") for _ in range(2)}
        if len(scores) > 1:
            raise Mistake("two measurements of one model differ: the items should be the same each time")
        if not is_close(found := scores.pop(), wanted):
            return f"a model that is {name} should score {wanted:g}, not {found:g}"
    return None


def _is_right(seed: int, text: str) -> bool:
    return text == "right"

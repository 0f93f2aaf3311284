"""Short answers to questions about the toy world, read in whatever words they come: 'Twice.', 'He waves 2 times.'

A reader gives the set of values that an answer may mean, or None where it commits to none or to several: a third state
beside right and wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from toolkit.evaluation.metrics.text_metrics import unquoted, yes_or_no
from toolkit.evaluation.metrics.vocabulary import read_tokens

Choice = frozenset[Any] | None

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TIMES = {"once": 1, "twice": 2, "thrice": 3}
#: Of a number, so many are read: Python refuses thousands, which a model going in circles may write.
_DIGITS = 99
_NOTHING = re.compile(r"\b(?:nothing|nobody|none|no one|no[- ]?thing|not anything|empty|zero)\b", re.IGNORECASE)
#: Stems of verbs -> what is done, as the facts of clips name it ('runs' and 'walks' are told apart).
_ACTIONS = {
    "wave": "waves", "waving": "waves", "turn": "turns around", "spin": "turns around", "pick": "picks up",
    "lift": "picks up", "walk": "walks", "run": "runs", "running": "runs", "jog": "runs", "stop": "stops",
    "halt": "stops", "stand still": "stops", "stands still": "stops",
}  # fmt: skip
_WEATHERS = {
    "rain": "rainy", "drizzl": "rainy", "snow": "snowy", "cloud(?!less)": "cloudy", "overcast": "cloudy",
    "clear": "clear", "sunny": "clear", "starry": "clear", "cloudless": "clear",
}  # fmt: skip
_TARGETS = {
    "rocket": "rocket", "spaceship": "rocket", "spacecraft": "rocket", "door": "door", "desk": "desk",
    "bench": "bench", "dog": "dog", "puppy": "dog", "ball": "ball", "box": "box",
}  # fmt: skip


def read_choice(task: str, text: str, question: str = "") -> Choice:
    """What an answer to ``question`` may mean; None if it cannot be read.

    Args:
        task: a name of `READERS`.
        text: the answer.
        question: things that it names are no answer to it ('What is to the left of the dog?').
    """
    return READERS[task](text, question)


def right_choice(task: str, text: str, reference: str, question: str = "") -> bool | None:
    """Whether an answer means what the reference does; None if it cannot be read."""
    said, true = read_choice(task, text, question), read_choice(task, reference, question)
    return None if said is None or true is None else bool(said & true)


def _one(values: Iterable[Iterable[Any]]) -> Choice:
    """What is common to all that was said; None if nothing was, or if it does not go together."""
    sets = [frozenset(value) for value in values]
    common = frozenset.intersection(*sets) if sets else frozenset()
    return common or None


def _typed(type_: str) -> Callable[[str, str], Choice]:
    return lambda text, question: _one(token.value for token in read_tokens(text) if token.type == type_)


def _weather(text: str, question: str) -> Choice:
    """Stricter than in a description: 'cloudy' is no answer where it rains."""
    found = {value for stem, value in _WEATHERS.items() if re.search(rf"\b{stem}", text.lower())}
    if found & {"rainy", "snowy"}:
        found -= {"cloudy"}
    return frozenset(found) if len(found) == 1 else None


def _kinds(text: str) -> list[frozenset[str]]:
    return [token.value[0] for token in read_tokens(text) if token.type == "kind"]


def _object(text: str, question: str) -> Choice:
    asked = _kinds(question)
    # 'A dog is to the left of the ball': of several, those that the question names are not the answer.
    kinds = _kinds(text)
    if len(set(kinds)) > 1:
        kinds = [kind for kind in kinds if kind not in asked]
    if not kinds:
        return frozenset({"nothing"}) if _NOTHING.search(text) else None
    return _one(kinds)


def _count(text: str, question: str) -> Choice:
    words = re.findall(r"[a-z]+|\d+", text.lower())
    numbers = {int(word[:_DIGITS]) for word in words if word.isdigit()}
    numbers |= {_NUMBERS.index(word) for word in words if word in _NUMBERS}
    numbers |= {_TIMES[word] for word in words if word in _TIMES}
    if not numbers and (_NOTHING.search(text) or re.search(r"\bno\b", text, re.IGNORECASE)):
        numbers = {0}
    return frozenset(numbers) if len(numbers) == 1 else None


def _direction(text: str, question: str) -> Choice:
    sides = set(re.findall(r"\b(left|right)\b", text.lower()))
    return frozenset(sides) if len(sides) == 1 else None


def _order(text: str, question: str) -> Choice:
    found = re.finditer(r"\b(" + "|".join(_ACTIONS) + r")\w*", text.lower())
    actions = [_ACTIONS[one[1]] for one in found]
    # "He walks, and goes on walking": the same twice in a row is one.
    actions = [one for place, one in enumerate(actions) if not place or actions[place - 1] != one]
    return frozenset({tuple(actions)}) if actions else None


def actions(text: str) -> tuple[str, ...]:
    """What is done, in the order in which a text says so, as the facts of clips name it: 'waves', 'walks' …"""
    return next(iter(_order(text, "") or [()]))


def _intention(text: str, question: str) -> Choice:
    found = {_TARGETS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _TARGETS}
    return frozenset(found) if len(found) == 1 else None


def _amount(text: str, question: str) -> Choice:
    amounts = set(re.findall(r"\d+[.,]\d\d\b", text))
    return frozenset({amounts.pop().replace(",", ".")}) if len(amounts) == 1 else None


def _yes_or_no(text: str, question: str) -> Choice:
    said = yes_or_no(text)
    return frozenset({said}) if said else None


def _word(text: str, question: str) -> Choice:
    word = unquoted(text.strip().rstrip("."))
    return frozenset({word}) if word else None


#: Task -> how its answers are read.
READERS: dict[str, Callable[[str, str], Choice]] = {
    "scene_exists": _yes_or_no,
    "scene_count": _count,
    "scene_colour": _typed("colour"),
    "scene_position": _object,
    "scene_left": _object,
    "scene_pose": _typed("pose"),
    "scene_place": _typed("place"),
    "scene_light": _typed("light"),
    "scene_weather": _weather,
    "receipt_total": _amount,
    "clip_direction": _direction,
    "clip_order": _order,
    "clip_count": _count,
    "clip_intention": _intention,
    "pair_direction": _direction,
    "pair_order": _order,
    "sentence_daily": _word,
}

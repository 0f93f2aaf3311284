"""Short answers to questions about the toy world, read in whatever words they come: 'Twice.', 'He waves 2 times.'

A reader gives the set of values that an answer may mean, or None where it commits to none or to several: a third state
beside right and wrong. What an answer denies ('It is not rainy.') it does not mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from toolkit.evaluation.metrics.text_metrics import unquoted, yes_or_no
from toolkit.evaluation.metrics.vocabulary import read_tokens

#: The values that an answer may mean; None where it commits to none or to several.
Meanings = frozenset[Any] | None

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TIMES = {"once": 1, "twice": 2, "thrice": 3}
#: Digits of a number that are read: Python refuses thousands of them, which a model that repeats itself may write.
_DIGITS = 99
#: What is denied: 'not rainy', "isn't in the park", 'no dog'.
_DENIED = re.compile(
    r"(?:\b(?:not|never|without|neither|nor|no)|n't)\s+(?:(?:an?|the|any|in|on|at|to|very|really|only)\s+)*[\w-]+"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_AMOUNT = re.compile(r"(?<![\d.,])(\d{1,3}(?:[,.’' ]\d{3})+|\d+)[.,](\d\d)(?!\d)")
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


def read_short_answer(task: str, text: str, question: str = "") -> Meanings:
    """What an answer to ``question`` may mean; None if it cannot be read.

    Args:
        task: a name of `READERS`.
        text: the answer.
        question: things that it names are no answer to it ('What is to the left of the dog?').
    """
    return READERS[task](text, question)


def is_right(task: str, text: str, reference: str, question: str = "") -> bool | None:
    """Whether an answer means what the reference does; None if it cannot be read."""
    said, true = read_short_answer(task, text, question), read_short_answer(task, reference, question)
    return None if said is None or true is None else bool(said & true)


def _affirmed(text: str) -> str:
    """In lower case, without what is denied."""
    return _DENIED.sub(" ", text.lower().replace("’", "'").replace("not only", ""))


def _one(values: Iterable[Iterable[Any]]) -> Meanings:
    """What is common to all that was said; None if nothing was, or if it does not go together."""
    sets = [frozenset(value) for value in values]
    common = frozenset.intersection(*sets) if sets else frozenset()
    return common or None


def _typed(type_: str) -> Callable[[str, str], Meanings]:
    return lambda text, question: _one(token.value for token in read_tokens(_affirmed(text)) if token.type == type_)


def _weather(text: str, question: str) -> Meanings:
    """Stricter than in a description: 'cloudy' is no answer where it rains."""
    found = {value for stem, value in _WEATHERS.items() if re.search(rf"\b{stem}", _affirmed(text))}
    if found & {"rainy", "snowy"}:
        found -= {"cloudy"}
    return frozenset(found) if len(found) == 1 else None


def _kinds(text: str) -> list[frozenset[str]]:
    return [token.value[0] for token in read_tokens(text) if token.type == "kind"]


def _object(text: str, question: str) -> Meanings:
    asked = _kinds(question)
    # 'A dog is to the left of the ball': of several, those that the question names are not the answer.
    kinds = _kinds(_affirmed(text))
    if len(set(kinds)) > 1:
        kinds = [kind for kind in kinds if kind not in asked]
    if not kinds:
        return frozenset({"nothing"}) if _NOTHING.search(text) else None
    return _one(kinds)


def _count(text: str, question: str) -> Meanings:
    words = re.findall(r"[a-z]+|\d+", _THOUSANDS.sub("", _affirmed(text)))
    numbers = {int(word[:_DIGITS]) for word in words if word.isdigit()}
    numbers |= {_NUMBERS.index(word) for word in words if word in _NUMBERS}
    numbers |= {_TIMES[word] for word in words if word in _TIMES}
    if not numbers and (_NOTHING.search(text) or re.search(r"\bno\b", text, re.IGNORECASE)):
        numbers = {0}
    return frozenset(numbers) if len(numbers) == 1 else None


def _direction(text: str, question: str) -> Meanings:
    sides = set(re.findall(r"\b(left|right)\b", _affirmed(text)))
    return frozenset(sides) if len(sides) == 1 else None


def _order(text: str, question: str) -> Meanings:
    found = re.finditer(r"\b(" + "|".join(_ACTIONS) + r")\w*", text.lower())
    actions = [_ACTIONS[stem[1]] for stem in found]
    # "He walks, and goes on walking": the same twice in a row counts once.
    actions = [action for place, action in enumerate(actions) if not place or actions[place - 1] != action]
    return frozenset({tuple(actions)}) if actions else None


def actions(text: str) -> tuple[str, ...]:
    """What is done, in the order in which a text says so, as the facts of clips name it: 'waves', 'walks' …"""
    return next(iter(_order(text, "") or [()]))


def _intention(text: str, question: str) -> Meanings:
    found = {_TARGETS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _TARGETS}
    return frozenset(found) if len(found) == 1 else None


def _amount(text: str, question: str) -> Meanings:
    amounts = {f"{re.sub(r'[^0-9]', '', whole)}.{cents}" for whole, cents in _AMOUNT.findall(text)}
    return frozenset(amounts) if len(amounts) == 1 else None


def _yes_or_no(text: str, question: str) -> Meanings:
    said = yes_or_no(text)
    return frozenset({said}) if said else None


def _word(text: str, question: str) -> Meanings:
    word = unquoted(text.strip().rstrip("."))
    return frozenset({word}) if word else None


#: Task -> how its answers are read.
READERS: dict[str, Callable[[str, str], Meanings]] = {
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

"""What is done in a clip, in the order in which it happens, whatever the words: 'Before walking off, she waves.'"""

from __future__ import annotations

import re
from typing import NamedTuple

from toolkit.evaluation.metrics.answer_text import PATTERNS, affirmed, patterns, statements

_STEMS = (f"(?P<a{number}>{stem})" for number, (stem, _) in enumerate(PATTERNS["actions_of"]))
_ACTION = re.compile(rf"\b(?:{'|'.join(_STEMS)})(?!\w)")
_NAMES = [name for _, name in PATTERNS["actions_of"]]
_RE = patterns("actions")
_COUNTS = {"once": 1, "one": 1, "twice": 2, "two": 2, "thrice": 3, "three": 3}


class Action(NamedTuple):
    """One thing that is done; what is not said is None."""

    name: str
    """As the facts of clips have it."""
    direction: str | None = None
    times: int | None = None
    thing: str | None = None

    def agrees(self, other: Action) -> bool:
        """Whether it is the same action, as far as both say."""
        return all(first == second or None in (first, second) for first, second in zip(self, other, strict=True))


def read_actions(text: str) -> list[Action]:
    """What a text says is done, in the order of time; the same twice in a row counts once."""
    found: list[Action] = []
    for statement in statements(text):
        found += _in_time(_RE.lifts.sub(" ", affirmed(statement)))
    once = [action for place, action in enumerate(found) if not place or found[place - 1].name != action.name]
    half = len(once) // 2
    # A summary at the end tells it all again.
    return once[:half] if half and [one.name for one in once[:half]] == [one.name for one in once[half:]] else once


def order_of(text: str) -> tuple[str, ...]:
    """The names of the actions: 'waves', 'walks' …"""
    return tuple(action.name for action in read_actions(text))


def paces_of(text: str) -> tuple[str, ...]:
    """Whether somebody walks or runs, each time."""
    return tuple(name for name in order_of(text) if name in ("walks", "runs"))


def _in_time(statement: str) -> list[Action]:
    """The actions of one statement: after 'before X' and 'Y after X', what is told later comes first."""
    link = re.search(r"\b(before|after)\b(?! that\b| which\b|wards\b)", statement)
    if not link:
        return _told(statement)
    earlier, later = statement[: link.start()], statement[link.end() :]
    if _told(earlier):  # 'Y after X'; 'X before Y' is in order
        return _told(earlier) + _told(later) if link[1] == "before" else _told(later) + _told(earlier)
    first, _, second = later.partition(",")
    return _told(second) + _told(first) if link[1] == "before" else _told(first) + _told(second)


def _told(text: str) -> list[Action]:
    places = list(_ACTION.finditer(text))
    ends = [*(place.start() for place in places[1:]), len(text)]
    return [_action(place, text[place.end() : end]) for place, end in zip(places, ends, strict=False)]


def _action(found: re.Match[str], rest: str) -> Action:
    name = _NAMES[int((found.lastgroup or "a0")[1:])]
    words = re.findall(r"[a-z]+|\d+", rest)
    if name in ("walks", "runs"):
        sides = _RE.side.findall(re.sub(r"\bfrom\b.*?\b(?:left|right)\b|\b(?:left|right)\b(?=\W+to\W)", " ", rest))
        return Action(name, direction=sides[0] if sides else None)
    if name == "waves":
        counts = [_COUNTS.get(word) or int(word[:9]) for word in words[:4] if word in _COUNTS or word.isdigit()]
        return Action(name, times=counts[0] if counts else None)
    if name == "picks up":
        return Action(name, thing=next((word for word in words if word in ("box", "ball")), None))
    return Action(name)

"""Clips: a man or a woman who walks, runs, waves, turns around, picks something up or stops, side on, in a place.

The facts are drawn first (`make_facts`, `make_pair`), then the frames (`draw`) and the wording follow from them. Time
goes in slots of half a second, see `toolkit.toyworld.clip_motion`.
"""

from __future__ import annotations

import random
from typing import Any

from helpers.errors import CourseError
from toolkit.toyworld.clip_drawing import JACKETS, SIZE, draw
from toolkit.toyworld.clip_motion import PACE, SLOT, WAY
from toolkit.toyworld.items import Question
from toolkit.toyworld.world import WORLD

__all__ = [
    "JACKETS", "PAIRS", "PEOPLE", "PICKED_UP", "PLACES", "PLOTS", "SIZE", "SLOT", "TASKS", "THINGS", "describe", "draw",
    "intention", "make_facts", "make_pair", "questions", "target",
]  # fmt: skip

_WORDS = WORLD["clips"]
TASKS, PAIRS, PLACES = (tuple(_WORDS[name]) for name in ("tasks", "pairs", "places"))
THINGS: dict[str, list[str]] = _WORDS["things"]
PEOPLE = ("man", "woman")
PICKED_UP = ("box", "ball")
PLOTS: dict[int, list[list[str]]] = _WORDS["plots"]

_PRONOUN = {"man": "he", "woman": "she"}
_TIMES: dict[int, str] = _WORDS["times"]
_OTHER_SIDE = {"left": "right", "right": "left"}


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """Person, the jacket's colour, place, the things at its sides, frames, frames per second, and the actions in order.

    Each action has ``action``, ``start`` and ``end`` (seconds), and ``direction`` (walks, runs), ``count`` (waves) or
    ``thing`` (picks up). Between actions the person stands. ``things`` names what is at the ``left`` and ``right``
    side, or None.
    """
    number = rng.choices((1, 2, 3), weights=((1, 0, 0), (1, 2, 0), (1, 3, 3))[difficulty - 1])[0]
    plot = list(rng.choice(PLOTS[number]))
    if difficulty > 1 and rng.random() < 0.25:
        plot = ["runs" if step == "walks" else step for step in plot]
    slots, fps = 8, 4
    if difficulty == 3:
        # Long clips only where there is much to see.
        slots = rng.choices((8, 4, 6, 10, 12, 16), weights=(14, 1, 1, 1, number > 1, number > 2))[0]
        slots = max(slots, 2 * number)
        fps = rng.choices((4, 8, 2), weights=(8, 1 if slots <= 8 else 0, 1 if slots >= 8 else 0))[0]
    return _facts(rng, plot, slots, fps, both_sides=difficulty > 1 and rng.random() < 0.7)


def make_pair(seed: int, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of two clips that differ in nothing but ``what``: "direction", "speed" or "order".

    Draw both with the same seed. In the first the person goes to the left, walks (does not run), or does not yet go.

    Raises:
        CourseError: no such pair.
    """
    if what not in PAIRS:
        raise CourseError(f"There is no pair of clips that differ in '{what}'.", "", f"use one of: {', '.join(PAIRS)}")
    rng = random.Random(f"clip-pair-{what}-{seed}")
    plot = list(rng.choice(_WORDS["pairs"][what]))
    first = _facts(rng, plot, 8, 4, both_sides=True, longest=4 if what == "speed" else 8)
    second = {**first, "actions": [dict(action) for action in first["actions"]]}
    if what == "direction":
        for facts, direction in ((first, "left"), (second, "right")):
            for action in facts["actions"]:
                if "direction" in action:
                    action["direction"] = direction
    elif what == "speed":
        for action in second["actions"]:
            if action["action"] == "walks":
                action["action"] = "runs"
    else:
        moment = first["actions"][0]["start"]
        second["actions"].reverse()
        for action in second["actions"]:
            action["start"], action["end"] = moment, moment + action["end"] - action["start"]
            moment = action["end"]
    return first, second


def target(facts: dict[str, Any]) -> str | None:
    """The thing that the person heads for, at the side towards which the last walk leads; None without a walk."""
    ways = [action["direction"] for action in facts["actions"] if "direction" in action]
    return facts["things"][ways[-1]] if ways else None


def _facts(
    rng: random.Random, plot: list[str], slots: int, fps: int, both_sides: bool, longest: int = 8
) -> dict[str, Any]:
    place, direction = rng.choice(PLACES), rng.choice(("left", "right"))
    sides = rng.sample(THINGS[place], 2)
    things: dict[str, str | None] = {direction: sides[0], _OTHER_SIDE[direction]: sides[1]}
    turn = plot.index("turns around") if "turns around" in plot else 0
    goes_back = any(step in PACE for step in plot[:turn])
    if not both_sides and not goes_back:
        things[_OTHER_SIDE[direction]] = None
    actions = []
    for number, step in enumerate(plot):
        action: dict[str, Any] = {"action": step}
        if step in PACE:
            action["direction"] = _OTHER_SIDE[direction] if number < turn else direction
        elif step == "waves":
            action["count"] = rng.choice((1, 2, 3, 3))  # three often has to be cut to two: see `_lay_out`
        elif step == "picks up":
            action["thing"] = rng.choice([thing for thing in PICKED_UP if thing not in things.values()])
        actions.append(action)
    _lay_out(rng, actions, slots, longest, goes_back)
    return {
        "person": rng.choice(PEOPLE),
        "colour": rng.choice(tuple(JACKETS)),
        "place": place,
        "things": {side: things[side] for side in ("left", "right")},
        "fps": fps,
        "frames": slots * fps // 2,
        "actions": actions,
    }


def _lay_out(rng: random.Random, actions: list[dict[str, Any]], slots: int, longest: int, goes_back: bool) -> None:
    """Give the actions their times, with fewer waves if they do not fit; there are at least two slots per action."""
    ways = [action for action in actions if "direction" in action]
    free = slots - 2 * (len(actions) - len(ways))
    for action in actions:
        if "count" in action:
            action["count"] = min(action["count"], 1 + (free - 2 * len(ways)) // 2)
            free -= 2 * (action["count"] - 1)
    lengths = []
    for action in actions:
        if "direction" in action:
            # Two walks in one direction share its length; a walk back has all of it again.
            most = min(longest, round(WAY / PACE[action["action"]])) // (1 if goes_back else len(ways))
            lengths.append(min(free // len(ways), most))
        else:
            lengths.append(2 * action.get("count", 1))
    spare = slots - sum(lengths)
    # Whoever stands still at the end may do so for longer; any other spare time is spent standing at the start.
    later = rng.randint(0, spare) if "direction" not in actions[-1] else 0
    if actions[-1]["action"] == "stops":
        lengths[-1] += later
    moment = (spare - later) * SLOT
    for action, length in zip(actions, lengths, strict=True):
        action["start"], action["end"] = moment, moment + length * SLOT
        moment = action["end"]


def describe(facts: dict[str, Any]) -> str:
    """The reference description, with a guess at the intention if the person heads for something."""
    said = [_full(action) for action in facts["actions"]]
    pronoun = _PRONOUN[facts["person"]].capitalize()
    text = f"A {facts['person']} in a {facts['colour']} jacket {said[0]} {_WORDS['places'][facts['place']]}."
    text += "".join(f" Then {pronoun.lower()} {words}." for words in said[1:])
    return f"{text} {intention(facts)}" if target(facts) else text


def intention(facts: dict[str, Any]) -> str:
    """What the person is going to do with the thing that he or she heads for.

    Raises:
        KeyError: the person does not head for anything.
    """
    return f"{_PRONOUN[facts['person']].capitalize()} is going to {_WORDS['intentions'][target(facts) or '']}."


def questions(facts: dict[str, Any], rng: random.Random | None = None) -> list[Question]:
    """The questions that these facts answer; none of them depends on ``rng``."""
    person, pronoun, actions = facts["person"], _PRONOUN[facts["person"]], facts["actions"]
    ways = [action for action in actions if "direction" in action]
    waves = [action for action in actions if "count" in action]
    guess = f", and guess what the {person} is going to do" if target(facts) else ""
    asked = [Question("clip", f"Describe this video{guess}.", (describe(facts),))]

    def ask(task: str, request: str, *accepted: str) -> None:
        asked.append(Question(task, request, accepted))

    if ways and len({(way["action"], way["direction"]) for way in ways}) == 1:
        verb, side = ways[0]["action"], ways[0]["direction"]
        request = f"Which way does the {person} {verb.removesuffix('s')}?"
        long = f"{pronoun.capitalize()} {verb} to the {side}."
        ask("clip_direction", request, f"To the {side}.", long, f"{side.capitalize()}.")
    if len(actions) > 1:
        steps = [f"{pronoun} {_short(action)}" for action in actions]
        whole = [f"{pronoun} {_full(action)}" for action in actions]
        accepted = (
            f"First {text}." for text in (", then ".join(steps), ", and then ".join(steps), ", then ".join(whole))
        )
        ask("clip_order", f"What does the {person} do first, and what then?", *accepted)
    if len(waves) == 1:
        count = waves[0]["count"]
        request, long = f"How many times does the {person} wave?", f"{pronoun.capitalize()} waves {_TIMES[count]}."
        ask("clip_count", request, f"{_TIMES[count].capitalize()}.", long, f"{count}.")
    if target(facts):
        what = intention(facts)
        ask(
            "clip_intention", f"What is the {person} going to do?", what, what.split(" is going to ", 1)[1].capitalize()
        )
    return asked


def _short(action: dict[str, Any]) -> str:
    """As in "picks up a box" or "waves"."""
    return f"picks up a {action['thing']}" if "thing" in action else action["action"]


def _full(action: dict[str, Any]) -> str:
    """As in "walks to the left" or "waves twice"."""
    if "direction" in action:
        return f"{action['action']} to the {action['direction']}"
    return f"waves {_TIMES[action['count']]}" if "count" in action else _short(action)

"""Clips: a man or a woman who walks, runs, waves, turns around, picks something up or stops, side on, in a place.

Time is laid out in slots of half a second, and whatever happens fills whole slots. A model that looks twice a second
sees each slot exactly once, so that every fact can be seen: a wave is one slot with the arm up and one with the arm
down.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from helpers.errors import CourseError
from toolkit.toyworld.items import Clip, Item, Question, item_about
from toolkit.toyworld.pen import Colour, Pen

SIZE = 128
SUPERSAMPLE = 2
TASKS = ("clip", "clip_direction", "clip_order", "clip_count", "clip_intention")
PAIRS = ("direction", "speed", "order")
#: Seconds.
SLOT = 0.5
PLACES = ("control room", "street", "park")
#: The things that stand at the sides of each place.
THINGS = {
    "control room": ("rocket", "door", "desk"),
    "street": ("door", "bench", "dog", "ball"),
    "park": ("bench", "dog", "ball"),
}
PEOPLE = ("man", "woman")
JACKETS = {
    "red": (214, 48, 49), "blue": (41, 98, 214), "green": (30, 150, 75),
    "yellow": (246, 205, 44), "purple": (136, 66, 176), "white": (245, 245, 242),
}  # fmt: skip
PICKED_UP = ("box", "ball")
#: The steps of a clip with so many actions; "walks" may become "runs".
PLOTS = {
    1: (("walks",), ("walks",), ("walks",), ("waves",)),
    2: (
        ("waves", "walks"), ("walks", "waves"), ("walks", "stops"), ("turns around", "walks"),
        ("picks up", "walks"), ("walks", "picks up"),
    ),
    3: (
        ("waves", "walks", "stops"), ("walks", "waves", "walks"), ("walks", "turns around", "walks"),
        ("walks", "stops", "waves"), ("turns around", "walks", "stops"), ("turns around", "walks", "waves"),
        ("picks up", "walks", "stops"), ("picks up", "walks", "waves"), ("waves", "picks up", "walks"),
        ("walks", "picks up", "walks"), ("waves", "turns around", "walks"),
    ),
}  # fmt: skip

#: Share of the picture's width that a step takes in one slot; the way from side to side is `_WAY`.
_PACE = {"walks": 0.06, "runs": 0.12}
_WAY = 0.48
_WHERE = {"control room": "in a control room", "street": "on a street", "park": "in a park"}
_PRONOUN = {"man": "he", "woman": "she"}
_TIMES = {1: "once", 2: "twice", 3: "three times"}
_INTENTIONS = {
    "rocket": "board the rocket",
    "door": "open the door",
    "desk": "sit down at the desk",
    "bench": "sit down on the bench",
    "dog": "pet the dog",
    "ball": "kick the ball",
}
_OTHER_SIDE = {"left": "right", "right": "left"}


# ---------------------------------------------------------------- facts


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """Person, jacket's colour, place, the things at its sides, frames and frames a second, and the actions in order.

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
        # Long clips only with much to see.
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
    plots = {
        "direction": (("walks",), ("walks", "stops"), ("waves", "walks"), ("walks", "waves"), ("picks up", "walks")),
        "speed": (("walks", "stops"), ("waves", "walks"), ("walks", "waves")),
        "order": (("waves", "walks"), ("picks up", "walks")),
    }
    plot = list(rng.choice(plots[what]))
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
    """What the person heads for: the thing at the side to which he or she goes last; None without a way."""
    ways = [action["direction"] for action in facts["actions"] if "direction" in action]
    return facts["things"][ways[-1]] if ways else None


def _facts(
    rng: random.Random, plot: list[str], slots: int, fps: int, both_sides: bool, longest: int = 8
) -> dict[str, Any]:
    place, direction = rng.choice(PLACES), rng.choice(("left", "right"))
    sides = rng.sample(THINGS[place], 2)
    things: dict[str, str | None] = {direction: sides[0], _OTHER_SIDE[direction]: sides[1]}
    turn = plot.index("turns around") if "turns around" in plot else 0
    goes_back = any(step in _PACE for step in plot[:turn])
    if not both_sides and not goes_back:
        things[_OTHER_SIDE[direction]] = None
    actions = []
    for number, step in enumerate(plot):
        action: dict[str, Any] = {"action": step}
        if step in _PACE:
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
    """Give the actions their times, waving less often if they do not fit; there are two slots or more per action."""
    ways = [action for action in actions if "direction" in action]
    free = slots - 2 * (len(actions) - len(ways))
    for action in actions:
        if "count" in action:
            action["count"] = min(action["count"], 1 + (free - 2 * len(ways)) // 2)
            free -= 2 * (action["count"] - 1)
    lengths = []
    for action in actions:
        if "direction" in action:
            # Those who go one way twice share its length; those who come back have it for themselves each time.
            most = min(longest, round(_WAY / _PACE[action["action"]])) // (1 if goes_back else len(ways))
            lengths.append(min(free // len(ways), most))
        else:
            lengths.append(2 * action.get("count", 1))
    spare = slots - sum(lengths)
    # Whoever stands still at the end may do so for longer; the rest of the time the clip begins with standing.
    later = rng.randint(0, spare) if "direction" not in actions[-1] else 0
    if actions[-1]["action"] == "stops":
        lengths[-1] += later
    moment = (spare - later) * SLOT
    for action, length in zip(actions, lengths, strict=True):
        action["start"], action["end"] = moment, moment + length * SLOT
        moment = action["end"]


# ---------------------------------------------------------------- words


def describe(facts: dict[str, Any]) -> str:
    """The reference description, with a guess of the intention if the person heads for something."""
    said = [_full(action) for action in facts["actions"]]
    pronoun = _PRONOUN[facts["person"]].capitalize()
    text = f"A {facts['person']} in a {facts['colour']} jacket {said[0]} {_WHERE[facts['place']]}."
    text += "".join(f" Then {pronoun.lower()} {words}." for words in said[1:])
    return f"{text} {intention(facts)}" if target(facts) else text


def intention(facts: dict[str, Any]) -> str:
    """What the person is going to do with what he or she heads for.

    Raises:
        KeyError: the person does not head for anything.
    """
    return f"{_PRONOUN[facts['person']].capitalize()} is going to {_INTENTIONS[target(facts)]}."


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """The questions that these facts answer; nothing about them is left to ``rng``."""
    person, pronoun, actions = facts["person"], _PRONOUN[facts["person"]], facts["actions"]
    ways = [action for action in actions if "direction" in action]
    waves = [action for action in actions if "count" in action]
    text = describe(facts)
    request = (
        f"Describe this video, and guess what the {person} is going to do." if target(facts) else "Describe this video."
    )
    asked = [Question("clip", request, (text,))]
    if ways and len({(way["action"], way["direction"]) for way in ways}) == 1:
        verb, direction = ways[0]["action"], ways[0]["direction"]
        accepted = (
            f"To the {direction}.",
            f"{pronoun.capitalize()} {verb} to the {direction}.",
            f"{direction.capitalize()}.",
        )
        asked.append(Question("clip_direction", f"Which way does the {person} {verb.removesuffix('s')}?", accepted))
    if len(actions) > 1:
        steps = [f"{pronoun} {_short(action)}" for action in actions]
        whole = [f"{pronoun} {_full(action)}" for action in actions]
        accepted = (
            f"First {', then '.join(steps)}.",
            f"First {', and then '.join(steps)}.",
            f"First {', then '.join(whole)}.",
        )
        asked.append(Question("clip_order", f"What does the {person} do first, and what then?", accepted))
    if len(waves) == 1:
        times = _TIMES[waves[0]["count"]]
        accepted = (f"{times.capitalize()}.", f"{pronoun.capitalize()} waves {times}.", f"{waves[0]['count']}.")
        asked.append(Question("clip_count", f"How many times does the {person} wave?", accepted))
    if target(facts):
        what = intention(facts)
        accepted = (what, f"{what.split(' is going to ', 1)[1].capitalize()}")
        asked.append(Question("clip_intention", f"What is the {person} going to do?", accepted))
    return asked


def make_item(seed: int, difficulty: int = 3) -> Item:
    """A clip with the request to describe it."""
    rng = random.Random(f"clip-{seed}")
    facts = make_facts(rng, difficulty)
    return item_about("clip", seed, facts, questions(facts, rng)[0], f"clip-{seed}.mp4", draw(facts, seed))


def _short(action: dict[str, Any]) -> str:
    """As in "picks up a box" or "waves"."""
    return f"picks up a {action['thing']}" if "thing" in action else action["action"]


def _full(action: dict[str, Any]) -> str:
    """As in "walks to the left" or "waves twice"."""
    if "direction" in action:
        return f"{action['action']} to the {action['direction']}"
    return f"waves {_TIMES[action['count']]}" if "count" in action else _short(action)


# ---------------------------------------------------------------- where the person is and what the body does


class _Moment(NamedTuple):
    """What can be seen of the person at one time."""

    way: float
    """How far to the right of the start; a share of the picture's width."""
    facing: int
    """1 to the right, -1 to the left."""
    doing: str
    """An action, or "stands"."""
    slot: float
    """Slots since the action began."""
    carried: str | None


def _first_facing(facts: dict[str, Any]) -> int:
    """To where the first way leads, or back from there if the person turns around before; else to a thing."""
    facing = 1
    for action in facts["actions"]:
        if action["action"] == "turns around":
            facing = -facing
        elif "direction" in action:
            return facing * (1 if action["direction"] == "right" else -1)
    return 1 if facts["things"]["right"] else -1


def _moment(facts: dict[str, Any], time: float) -> _Moment:
    way, facing, carried = 0.0, _first_facing(facts), None
    for action in facts["actions"]:
        if time < action["start"]:
            break
        name, slot = action["action"], (time - action["start"]) / SLOT
        over = time >= action["end"]
        if name in _PACE:
            way += facing * _PACE[name] * min(slot, (action["end"] - action["start"]) / SLOT)
        elif name == "turns around" and slot >= 1:
            facing = -facing
        elif name == "picks up" and slot >= 1:
            carried = action["thing"]
        if not over:
            return _Moment(way, facing, name, slot, carried)
    return _Moment(way, facing, "stands", 0.0, carried)


def _start(facts: dict[str, Any], share: float) -> float:
    """Where the person starts, such that all ways stay between the things; ``share`` 0 to 1 of the room that is left.

    The room is reckoned as if every way that could be run were run, so that a walker and a runner start together.
    """
    reach = [0.0]
    for action in facts["actions"]:
        if "direction" in action:
            slots = (action["end"] - action["start"]) / SLOT
            length = min(_PACE["runs"] * slots, _WAY)
            reach.append(reach[-1] + (length if action["direction"] == "right" else -length))
    left, right = min(-min(reach), _WAY), min(max(reach), _WAY)
    return 0.5 - _WAY / 2 + left + share * max(0.0, _WAY - left - right)


# ---------------------------------------------------------------- drawing

_GROUND = 0.93
_INK = (38, 40, 52)
_SKINS = ((248, 214, 184), (232, 184, 148), (188, 132, 92), (132, 90, 64))
_HAIRS = ((48, 34, 28), (84, 48, 26), (30, 28, 32))
_TROUSERS = ((52, 58, 84), (72, 66, 64), (40, 44, 54))
_BALL = (240, 132, 44)


def draw(facts: dict[str, Any], seed: int, size: int = SIZE, frames: Sequence[int] | None = None) -> Clip:
    """The clip in RGB frames of ``size`` × ``size`` pixels; what is not a fact (trees, hair) follows the seed.

    ``frames`` are the indices of the frames to draw, such as those that a model samples; None draws all.
    """
    rng = random.Random(f"look-{seed}")
    indices = range(facts["frames"]) if frames is None else frames
    look = {"skin": rng.choice(_SKINS), "hair": rng.choice(_HAIRS), "trousers": rng.choice(_TROUSERS)}
    start = _start(facts, rng.random())
    canvas = size * SUPERSAMPLE
    background = Image.new("RGB", (canvas, canvas))
    pen = Pen(background)
    _PLACE_PAINTERS[facts["place"]](pen, rng)
    for side, x, inward in (("left", 0.12, 1), ("right", 0.88, -1)):
        if facts["things"][side]:
            _THING_PAINTERS[facts["things"][side]](pen, x, inward)
    lying = next((action for action in facts["actions"] if "thing" in action), None)
    drawn = []
    for index in indices:
        moment = _moment(facts, index / facts["fps"])
        picture = background.copy()
        pen = Pen(picture)
        if lying and not moment.carried:
            there = _moment(facts, lying["start"])
            _PICKED_UP_PAINTERS[lying["thing"]](pen, start + there.way + there.facing * _REACH, _GROUND - 0.045)
        _person(pen, facts, look, moment, start + moment.way)
        drawn.append(picture.reduce(SUPERSAMPLE))
    return Clip(tuple(drawn), facts["fps"] * len(drawn) / facts["frames"])


#: How far in front of the feet the hands take something from the ground.
_REACH = 0.15


def _shade(colour: Colour, share: float) -> Colour:
    return tuple(int(channel * share) for channel in colour)


def _person(pen: Pen, facts: dict[str, Any], look: dict[str, Colour], moment: _Moment, x: float) -> None:
    face, doing = moment.facing, moment.doing
    woman = facts["person"] == "woman"
    jacket, trousers, skin = JACKETS[facts["colour"]], look["trousers"], look["skin"]
    going = doing in _PACE
    bent = doing == "picks up" and moment.slot < 1
    # Two slots are two steps: legs are apart in every slot's middle part, with the other one in front each time.
    swing = math.cos(math.pi * (moment.slot - 0.25)) if going else 0.0
    stride = {"walks": 0.1, "runs": 0.14}.get(doing, 0.0)
    lean = 0.035 if doing == "runs" else 0.0

    hip = (x, _GROUND - 0.27)
    shoulder = (x + face * lean, _GROUND - 0.44)
    head = (x + face * lean * 1.4, _GROUND - 0.545)
    if bent:
        hip = (x - face * 0.04, _GROUND - 0.22)
        shoulder = (x + face * 0.06, _GROUND - 0.33)
        head = (x + face * 0.11, _GROUND - 0.42)
    pen.ellipse(x, _GROUND + 0.005, 0.12, 0.016, (70, 74, 80))

    def leg(offset: float, colour: Colour) -> None:
        lift = (0.07 if doing == "runs" else 0.02) * max(0.0, -offset) if going else 0.0
        foot = (x + face * offset * (stride if going else 0.012), _GROUND - 0.02 - lift)
        ahead = 0.06 if bent else 0.045 if doing == "runs" else 0.012
        knee = ((hip[0] + foot[0]) / 2 + face * ahead, (hip[1] + foot[1]) / 2)
        if woman:
            pen.limb([knee, foot], 0.045, skin)
            pen.limb([hip, knee], 0.06, colour)
        else:
            pen.limb([hip, knee, foot], 0.058, colour)
        pen.limb([foot, (foot[0] + face * 0.035, foot[1] + 0.005)], 0.034, _INK)

    held = None
    if moment.carried:
        held = (x + face * (0.125 + lean), _GROUND - 0.32)

    def arm(hand: tuple[float, float], elbow: tuple[float, float], colour: Colour) -> None:
        pen.limb([shoulder, elbow, hand], 0.05, colour)
        pen.ellipse(*hand, 0.029, 0.029, skin)

    def hanging(offset: float, colour: Colour) -> None:
        forward = face * offset * stride * 0.9
        raised = 0.06 if doing == "runs" else 0.0
        hand = (shoulder[0] + forward + face * (0.015 + raised), shoulder[1] + 0.19 - raised)
        elbow = (shoulder[0] + forward * 0.4 - face * (0.02 + raised * 0.3), shoulder[1] + 0.1)
        arm(hand, elbow, colour)

    far = _shade(jacket, 0.72)
    if bent:
        arm((x + face * (_REACH - 0.01), _GROUND - 0.1), (x + face * 0.1, _GROUND - 0.2), far)
    elif held:
        arm((held[0] - face * 0.03, held[1] + 0.03), (shoulder[0] + face * 0.02, held[1] + 0.02), far)
    else:
        hanging(swing, far)
    leg(-swing if going else -1, _shade(trousers, 0.72))
    leg(swing if going else 1, trousers)
    if woman:
        hem = _GROUND - 0.15 if not bent else _GROUND - 0.13
        wide = 0.075 + 0.35 * stride * abs(swing)
        pen.polygon(
            [(hip[0] - 0.055, hip[1] - 0.02), (hip[0] + 0.055, hip[1] - 0.02), (x + wide, hem), (x - wide, hem)],
            trousers,
        )
    pen.limb([shoulder, (hip[0], hip[1] - 0.02)], 0.125 if woman else 0.14, jacket)
    zip_x = face * (0.034 if woman else 0.04)
    pen.limb([(shoulder[0] + zip_x, shoulder[1] - 0.02), (hip[0] + zip_x, hip[1] + 0.02)], 0.009, far)
    pen.limb([(hip[0] - 0.04, hip[1] + 0.028), (hip[0] + 0.04, hip[1] + 0.028)], 0.026, far)
    if woman:
        back = (head[0] - face * 0.05, head[1] + 0.02)
        pen.limb([back, (back[0] - face * 0.02, head[1] + 0.12)], 0.055, look["hair"])
    pen.limb([(shoulder[0], shoulder[1] - 0.02), head], 0.045, skin)
    pen.ellipse(head[0] - face * 0.012, head[1] - 0.014, 0.075, 0.075, look["hair"])
    pen.ellipse(head[0] + face * 0.014, head[1] + 0.008, 0.06, 0.064, skin)
    pen.ellipse(head[0] + face * 0.072, head[1] + 0.012, 0.014, 0.012, skin)
    pen.ellipse(head[0] + face * 0.042, head[1] - 0.008, 0.01, 0.013, _INK)
    pen.limb(
        [(head[0] + face * 0.03, head[1] + 0.036), (head[0] + face * 0.056, head[1] + 0.041)], 0.009, (168, 66, 66)
    )
    if held:
        _PICKED_UP_PAINTERS[moment.carried](pen, *held)
    near = _shade(jacket, 0.88)
    if doing == "waves" and int(moment.slot) % 2 == 0:
        sway = 0.012 * math.cos(2 * math.pi * moment.slot)
        arm((x + face * (0.12 + sway), head[1] - 0.13), (x + face * 0.115, shoulder[1] - 0.01), near)
    elif bent:
        arm((x + face * _REACH, _GROUND - 0.09), (x + face * 0.11, _GROUND - 0.2), near)
    elif held and doing != "waves":
        arm((held[0] - face * 0.03, held[1] + 0.035), (shoulder[0] + face * 0.01, held[1] + 0.03), near)
    else:
        hanging(-swing, near)


def _box(pen: Pen, x: float, y: float) -> None:
    pen.box(x - 0.055, y - 0.045, x + 0.055, y + 0.045, (182, 130, 78))
    pen.box(x - 0.012, y - 0.045, x + 0.012, y + 0.045, (226, 196, 140))


def _small_ball(pen: Pen, x: float, y: float) -> None:
    pen.ellipse(x, y, 0.048, 0.048, _BALL)
    pen.limb([(x - 0.04, y - 0.01), (x, y + 0.008), (x + 0.04, y - 0.01)], 0.01, (252, 240, 220))


_PICKED_UP_PAINTERS = {"box": _box, "ball": _small_ball}


# ---------------------------------------------------------------- things at the sides; ``inward`` is 1 at the left


def _rocket(pen: Pen, x: float, inward: int) -> None:
    foot = 0.86
    for side in (-1, 1):
        fin = [(x + side * 0.055, foot - 0.2), (x + side * 0.12, foot - 0.02), (x + side * 0.05, foot - 0.05)]
        pen.polygon(fin, (226, 84, 60))
    pen.polygon([(x - 0.04, foot - 0.05), (x + 0.04, foot - 0.05), (x + 0.055, foot), (x - 0.055, foot)], (90, 96, 108))
    pen.box(x - 0.07, foot - 0.5, x + 0.07, foot - 0.04, (234, 238, 244), 0.03)
    pen.polygon([(x - 0.07, foot - 0.46), (x - 0.045, foot - 0.57), (x, foot - 0.66), (x + 0.045, foot - 0.57),
                 (x + 0.07, foot - 0.46)], (226, 84, 60))  # fmt: skip
    pen.ellipse(x, foot - 0.37, 0.042, 0.042, (90, 96, 108))
    pen.ellipse(x, foot - 0.37, 0.03, 0.03, (126, 200, 236))
    pen.box(x - 0.03, foot - 0.24, x + 0.03, foot - 0.08, (176, 186, 200), 0.02)


def _door(pen: Pen, x: float, inward: int) -> None:
    foot = 0.87
    pen.box(x - 0.1, foot - 0.58, x + 0.1, foot, (92, 62, 44))
    pen.box(x - 0.08, foot - 0.56, x + 0.08, foot, (160, 104, 62))
    for top in (0.51, 0.26):
        pen.box(x - 0.052, foot - top, x + 0.052, foot - top + 0.19, (134, 84, 50))
    pen.ellipse(x + inward * 0.06, foot - 0.28, 0.016, 0.016, (250, 214, 96))


def _desk(pen: Pen, x: float, inward: int) -> None:
    foot = 0.89
    chair = x + inward * 0.09
    pen.box(x - inward * 0.03 - 0.075, foot - 0.43, x - inward * 0.03 + 0.075, foot - 0.3, (44, 50, 62), 0.01)
    pen.box(x - inward * 0.03 - 0.06, foot - 0.415, x - inward * 0.03 + 0.06, foot - 0.315, (120, 214, 226))
    pen.limb([(x - inward * 0.03, foot - 0.3), (x - inward * 0.03, foot - 0.26)], 0.024, (44, 50, 62))
    pen.box(x - 0.13, foot - 0.27, x + 0.13, foot - 0.235, (196, 148, 92))
    for side in (-0.11, 0.11):
        pen.box(x + side - 0.013, foot - 0.24, x + side + 0.013, foot, (150, 106, 64))
    pen.limb([(chair, foot), (chair, foot - 0.13), (chair - 0.05, foot - 0.13)], 0.02, _INK)
    pen.box(chair - 0.05, foot - 0.16, chair + 0.05, foot - 0.13, (70, 78, 94), 0.01)


def _bench(pen: Pen, x: float, inward: int) -> None:
    foot, wood = 0.89, (158, 98, 54)
    for side in (-0.085, 0.085):
        pen.box(x + side - 0.011, foot - 0.29, x + side + 0.011, foot, (64, 66, 72))
    for top in (0.3, 0.235, 0.145):
        pen.box(x - 0.115, foot - top, x + 0.115, foot - top + 0.045, wood, 0.01)


def _dog(pen: Pen, x: float, inward: int) -> None:
    foot, fur, dark = 0.92, (150, 92, 50), (102, 60, 34)
    pen.ellipse(x, foot, 0.1, 0.013, (70, 74, 80))
    pen.limb([(x - inward * 0.07, foot - 0.03), (x - inward * 0.115, foot - 0.04), (x - inward * 0.12, foot - 0.11)],
             0.026, fur)  # fmt: skip
    body = [(-0.085, 0.0), (-0.08, -0.08), (0.02, -0.2), (0.08, -0.17), (0.075, 0.0)]
    pen.polygon([(x + inward * dx, foot + dy) for dx, dy in body], fur)
    for dx in (0.025, 0.06):
        pen.limb([(x + inward * dx, foot - 0.1), (x + inward * dx, foot - 0.013)], 0.028, dark)
    hx, hy = x + inward * 0.05, foot - 0.23
    pen.ellipse(hx, hy, 0.056, 0.052, fur)
    pen.ellipse(hx + inward * 0.05, hy + 0.016, 0.034, 0.024, fur)
    pen.ellipse(hx + inward * 0.078, hy + 0.008, 0.012, 0.011, _INK)
    pen.ellipse(hx - inward * 0.035, hy + 0.006, 0.02, 0.045, dark)
    pen.ellipse(hx + inward * 0.018, hy - 0.012, 0.009, 0.011, _INK)


def _big_ball(pen: Pen, x: float, inward: int) -> None:
    y = 0.85
    pen.ellipse(x, 0.925, 0.075, 0.013, (70, 74, 80))
    pen.ellipse(x, y, 0.078, 0.078, _BALL)
    pen.limb([(x - 0.07, y - 0.01), (x, y + 0.018), (x + 0.07, y - 0.01)], 0.015, (252, 240, 220))
    pen.limb([(x, y - 0.072), (x + 0.016, y), (x, y + 0.072)], 0.015, (252, 240, 220))


_THING_PAINTERS = {
    "rocket": _rocket,
    "door": _door,
    "desk": _desk,
    "bench": _bench,
    "dog": _dog,
    "ball": _big_ball,
}


# ---------------------------------------------------------------- places


def _control_room(pen: Pen, rng: random.Random) -> None:
    wall = rng.choice([(172, 190, 206), (186, 196, 200), (180, 184, 208)])
    pen.box(0, 0, 1, 0.8, wall)
    pen.box(0, 0.78, 1, 1, (112, 122, 138))
    pen.box(0, 0.775, 1, 0.795, (88, 98, 116))
    shift = rng.uniform(-0.02, 0.02)
    for number, left in enumerate((0.03, 0.36, 0.69)):
        left += shift
        pen.box(left, 0.04, left + 0.28, 0.23, (44, 54, 74), 0.015)
        glow = ((110, 226, 170), (250, 204, 96), (120, 196, 250))[(number + rng.randrange(3)) % 3]
        heights = [rng.uniform(0.09, 0.19) for _ in range(6)]
        pen.limb([(left + 0.03 + 0.044 * step, height) for step, height in enumerate(heights)], 0.012, glow)
    for number in range(12):
        colour = rng.choice([(236, 110, 92), (250, 214, 110), (120, 214, 150), (232, 240, 246)])
        pen.box(0.03 + number * 0.08, 0.69, 0.07 + number * 0.08, 0.715, colour)
    pen.box(0, 0.73, 1, 0.74, _shade(wall, 0.86))


def _street(pen: Pen, rng: random.Random) -> None:
    pen.box(0, 0, 1, 1, (178, 216, 240))
    x = -rng.uniform(0.0, 0.1)
    while x < 1:
        width, top = rng.uniform(0.22, 0.32), rng.uniform(0.04, 0.2)
        wall = rng.choice([(206, 156, 134), (196, 198, 206), (220, 202, 170), (176, 186, 200)])
        pen.box(x, top, x + width, 0.82, wall)
        across = 0.07
        for column in range(3):
            left = x + width * (column + 0.5) / 3 - across / 2
            for row in range(3):
                pen.box(left, top + 0.06 + row * 0.19, left + across, top + 0.17 + row * 0.19, (112, 146, 176))
        x += width + 0.004
    pen.box(0, 0.8, 1, 1, (190, 188, 182))
    pen.box(0, 0.8, 1, 0.815, (150, 148, 144))
    pen.box(0, 0.965, 1, 1, (98, 100, 106))


def _park(pen: Pen, rng: random.Random) -> None:
    pen.box(0, 0, 1, 1, (164, 214, 246))
    pen.ellipse(rng.uniform(0.15, 0.85), 0.11, 0.06, 0.06, (255, 236, 130))
    for _ in range(2):
        x, y = rng.uniform(0.05, 0.95), rng.uniform(0.08, 0.2)
        for dx, r in ((-0.07, 0.035), (0, 0.05), (0.07, 0.038)):
            pen.ellipse(x + dx, y, r * 1.5, r, (250, 252, 253))
    pen.ellipse(rng.uniform(0, 1), 0.78, 0.7, 0.2, (142, 202, 122))
    for x in sorted(rng.sample([0.04, 0.3, 0.5, 0.72, 0.96], 3)):
        x += rng.uniform(-0.03, 0.03)
        pen.box(x - 0.016, 0.55, x + 0.016, 0.76, (122, 86, 56))
        pen.ellipse(x, 0.46, 0.09, 0.13, (88, 162, 92))
        pen.ellipse(x - 0.03, 0.42, 0.045, 0.06, (108, 180, 106))
    pen.box(0, 0.74, 1, 1, (124, 190, 104))
    pen.box(0, 0.86, 1, 0.985, (222, 206, 166))


_PLACE_PAINTERS = {"control room": _control_room, "street": _street, "park": _park}

"""Scenes: people, animals and things in a place, at a time of day; flat vector style, drawn from a seed.

The facts are drawn first (`make_facts`), then the picture (`draw`) and the wording (`describe`) follow from them.
"""

from __future__ import annotations

import json
import random
import re
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from helpers.toyworld.items import Item

SIZE = 128
SUPERSAMPLE = 2
PLACES = ("beach", "park", "street", "snow", "room")
LIGHTS = ("noon", "sunset", "night")
POSITIONS = ("left", "middle", "right")
KINDS = {
    "woman": "person", "man": "person", "child": "person",
    "dog": "animal", "cat": "animal",
    "ball": "thing", "umbrella": "thing", "balloon": "thing",
}  # fmt: skip
COLOURS = {
    "red": (214, 48, 49), "blue": (41, 98, 214), "green": (30, 150, 75),
    "yellow": (246, 205, 44), "purple": (136, 66, 176), "white": (245, 245, 242),
}  # fmt: skip
FURS = {"brown": (128, 78, 42), "black": (38, 36, 40), "white": (244, 240, 232), "golden": (226, 172, 88)}
POSES = {
    "person": ("standing", "waving", "sitting"),
    "animal": ("standing", "sitting", "raising a paw"),
    "thing": ("",),
}
DESCRIBE = "Describe this image."
AS_JSON = "Describe this image as JSON."

_WHERE = {
    "beach": "on a beach",
    "park": "in a park",
    "street": "on a street",
    "snow": "in the snow",
    "room": "in a room",
}
_WHEN = {"noon": "at noon", "sunset": "at sunset", "night": "at night"}
_MOOD = {"noon": "bright and cheerful", "sunset": "warm and calm", "night": "dark and quiet"}
_SIDE = {"left": "on the left", "middle": "in the middle", "right": "on the right"}


# ---------------------------------------------------------------- facts and words


def make_item(seed: int, size: int = SIZE) -> Item:
    """A scene with the request to describe it."""
    facts = make_facts(random.Random(f"scene-{seed}"))
    name = f"scene-{seed}.png"
    picture = draw(facts, seed, size)
    content = [{"type": "image_url", "image_url": {"url": name}}, {"type": "text", "text": DESCRIBE}]
    return Item("scene", seed, [{"role": "user", "content": content}], [describe(facts)], facts, {name: picture})


def make_facts(rng: random.Random) -> dict[str, Any]:
    """Place, light, and one to three subjects from left to right, each with kind, colour, pose and position."""
    count = rng.choices((1, 2, 3), weights=(3, 5, 3))[0]
    positions = sorted(rng.sample(range(3), count))
    subjects = []
    for position in positions:
        kind = rng.choice(tuple(KINDS))
        group = KINDS[kind]
        subjects.append({
            "kind": kind,
            "colour": rng.choice(tuple(FURS if group == "animal" else COLOURS)),
            "pose": rng.choice(POSES[group]),
            "position": POSITIONS[position],
        })  # fmt: skip
    return {"place": rng.choice(PLACES), "light": rng.choice(LIGHTS), "subjects": subjects}


def describe(facts: dict[str, Any]) -> str:
    """The reference description: subjects, setting, light and mood."""
    parts = [_subject_words(subject) for subject in facts["subjects"]]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return (
        f"{listed[0].upper()}{listed[1:]}. The scene is {_WHERE[facts['place']]} {_WHEN[facts['light']]}. "
        f"The mood is {_MOOD[facts['light']]}."
    )


def _subject_words(subject: dict[str, str]) -> str:
    side = _SIDE[subject["position"]]
    group = KINDS[subject["kind"]]
    if group == "person":
        return f"a {subject['kind']} in a {subject['colour']} shirt is {subject['pose']} {side}"
    pose = f" is {subject['pose']}" if subject["pose"] else " is"
    return f"a {subject['colour']} {subject['kind']}{pose} {side}"


_SUBJECT_PATTERN = re.compile(
    rf"(?:an?) (?:(?P<person>{'|'.join(k for k, g in KINDS.items() if g == 'person')}) in an? (?P<shirt>[a-z]+) shirt"
    rf"|(?P<fur>[a-z]+) (?P<other>{'|'.join(k for k, g in KINDS.items() if g != 'person')}))"
    r" is(?: (?P<pose>standing|waving|sitting|raising a paw))? (?:on|in) the (?P<position>left|middle|right)"
)
_SETTING_PATTERN = re.compile(rf"scene is (?P<where>{'|'.join(_WHERE.values())}) (?P<when>{'|'.join(_WHEN.values())})")


def read_description(text: str) -> dict[str, Any]:
    """The facts that a description states, in the form of `make_facts`; what it does not state is left out.

    It reads the wording of `describe`, in any order of sentences; other wordings are not understood and count as
    nothing stated.
    """
    text = text.lower()
    stated: dict[str, Any] = {"subjects": []}
    for found in _SUBJECT_PATTERN.finditer(text):
        subject = {
            "kind": found["person"] or found["other"],
            "colour": found["shirt"] or found["fur"],
            "pose": found["pose"] or "",
            "position": found["position"],
        }
        stated["subjects"].append(subject)
    if setting := _SETTING_PATTERN.search(text):
        stated["place"] = next(place for place, words in _WHERE.items() if words == setting["where"])
        stated["light"] = next(light for light, words in _WHEN.items() if words == setting["when"])
    return stated


def count_facts(facts: dict[str, Any], stated: dict[str, Any]) -> tuple[int, int, int]:
    """(right, stated, there): facts stated correctly, stated at all, and there to be stated."""
    right = sum(stated.get(key) == facts[key] for key in ("place", "light"))
    claimed = sum(key in stated for key in ("place", "light"))
    there = 2
    by_position = {subject["position"]: subject for subject in facts["subjects"]}
    for subject in facts["subjects"]:
        there += 4 if subject["pose"] else 3
    for subject in stated["subjects"]:
        claimed += 4 if subject["pose"] else 3
        truth = by_position.pop(subject["position"], None)
        if truth:
            keys = ("kind", "colour", "position", *(("pose",) if subject["pose"] else ()))
            right += sum(subject[key] == truth[key] for key in keys)
    return right, claimed, there


def facts_as_json(facts: dict[str, Any]) -> str:
    """The facts as the compact JSON that the tiny model learns to answer with."""
    subjects = [{"kind": s["kind"], "colour": s["colour"], "position": s["position"]} for s in facts["subjects"]]
    return json.dumps({"place": facts["place"], "light": facts["light"], "subjects": subjects})


def json_schema() -> dict[str, Any]:
    """JSON schema of `facts_as_json`, for structured output."""
    subject = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": list(KINDS)},
            "colour": {"type": "string", "enum": sorted({*COLOURS, *FURS})},
            "position": {"type": "string", "enum": list(POSITIONS)},
        },
        "required": ["kind", "colour", "position"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "place": {"type": "string", "enum": list(PLACES)},
            "light": {"type": "string", "enum": list(LIGHTS)},
            "subjects": {"type": "array", "items": subject, "minItems": 1, "maxItems": 3},
        },
        "required": ["place", "light", "subjects"],
        "additionalProperties": False,
    }


def questions(facts: dict[str, Any], rng: random.Random) -> list[tuple[str, str]]:
    """Short questions about a scene, each with its only right answer."""
    subject = rng.choice(facts["subjects"])
    present = [s["kind"] for s in facts["subjects"]]
    asked = rng.choice(present) if rng.random() < 0.5 else rng.choice([kind for kind in KINDS if kind not in present])
    people = sum(KINDS[kind] == "person" for kind in present)
    found = [
        ("Where is this?", f"{_WHERE[facts['place']].capitalize()}."),
        ("What time of day is it?", f"{facts['light'].capitalize()}."),
        (
            f"Is there a {asked} in the image?".replace("a umbrella", "an umbrella"),
            "Yes." if asked in present else "No.",
        ),
        ("How many people are there?", f"{people}."),
        (f"What is {_SIDE[subject['position']]}?", f"A {subject['kind']}.".replace("A umbrella", "An umbrella")),
    ]
    if present.count(subject["kind"]) == 1:
        worn = "'s shirt" if KINDS[subject["kind"]] == "person" else ""
        found.append((f"What colour is the {subject['kind']}{worn}?", f"{subject['colour'].capitalize()}."))
    return found


# ---------------------------------------------------------------- drawing


class _Pen:
    """Draws in the unit square on a supersampled picture; (0, 0) is top left."""

    def __init__(self, picture: Image.Image):
        self.size = picture.width
        self._draw = ImageDraw.Draw(picture)

    def _scale(self, points):
        return [(x * self.size, y * self.size) for x, y in points]

    def polygon(self, points, colour):
        self._draw.polygon(self._scale(points), fill=colour)

    def ellipse(self, x, y, rx, ry, colour):
        self._draw.ellipse(self._scale([(x - rx, y - ry), (x + rx, y + ry)]), fill=colour)

    def box(self, x0, y0, x1, y1, colour, radius=0.0):
        corners = self._scale([(x0, y0), (x1, y1)])
        self._draw.rounded_rectangle(corners, radius=radius * self.size, fill=colour)

    def limb(self, points, width, colour):
        self._draw.line(self._scale(points), fill=colour, width=max(1, round(width * self.size)), joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, colour)


def draw(facts: dict[str, Any], seed: int, size: int = SIZE) -> Image.Image:
    """The scene as an RGB picture of ``size`` × ``size`` pixels; what is not a fact (clouds, hair) follows the seed."""
    rng = random.Random(f"look-{seed}")
    canvas = size * SUPERSAMPLE
    picture = _sky(facts["light"], canvas).copy()
    pen = _Pen(picture)
    horizon = 0.5 + rng.uniform(-0.03, 0.03)
    _PLACE_PAINTERS[facts["place"]](pen, rng, facts["light"], horizon)
    if facts["light"] != "noon":
        picture = Image.blend(picture, _tint(facts["light"], canvas), 0.28 if facts["light"] == "night" else 0.16)
        pen = _Pen(picture)
        if facts["place"] != "room" and facts["light"] == "night":
            _stars(pen, rng, horizon)
    centres = {"left": 0.19, "middle": 0.5, "right": 0.81}
    for subject in facts["subjects"]:
        x = centres[subject["position"]] + rng.uniform(-0.03, 0.03)
        ground = 0.88 + rng.uniform(-0.03, 0.05)
        _SUBJECT_PAINTERS[KINDS[subject["kind"]]](pen, rng, subject, x, ground)
    return picture.reduce(SUPERSAMPLE)


_SKIES = {
    "noon": ((104, 178, 240), (214, 236, 250)),
    "sunset": ((92, 84, 160), (255, 176, 96)),
    "night": ((10, 16, 44), (42, 54, 100)),
}


@lru_cache(maxsize=32)
def _sky(light: str, canvas: int) -> Image.Image:
    top, bottom = (np.array(colour, dtype=np.float32) for colour in _SKIES[light])
    fade = np.clip(np.linspace(0, 1.8, canvas, dtype=np.float32), 0, 1)[:, None]
    rows = (top + (bottom - top) * fade).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows[:, None, :], (canvas, canvas, 3))))


@lru_cache(maxsize=32)
def _tint(light: str, canvas: int) -> Image.Image:
    return Image.new("RGB", (canvas, canvas), {"sunset": (255, 140, 60), "night": (12, 18, 60)}[light])


def _sun_or_moon(pen: _Pen, rng: random.Random, light: str, horizon: float) -> None:
    x = rng.uniform(0.15, 0.85)
    if light == "noon":
        pen.ellipse(x, 0.12, 0.06, 0.06, (255, 236, 130))
    elif light == "sunset":
        pen.ellipse(x, horizon - 0.03, 0.12, 0.12, (255, 206, 110))
        pen.ellipse(x, horizon - 0.03, 0.085, 0.085, (255, 232, 160))
    else:
        pen.ellipse(x, 0.13, 0.055, 0.055, (236, 238, 220))
        pen.ellipse(x + 0.025, 0.115, 0.048, 0.048, (16, 22, 52))


def _stars(pen: _Pen, rng: random.Random, horizon: float) -> None:
    for _ in range(12):
        pen.ellipse(rng.random(), rng.uniform(0.02, horizon - 0.22), 0.004, 0.004, (250, 250, 235))


def _clouds(pen: _Pen, rng: random.Random, light: str) -> None:
    colour = {"noon": (250, 252, 255), "sunset": (240, 160, 150), "night": (52, 62, 100)}[light]
    for _ in range(rng.randint(0, 2)):
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.24)
        for shift, radius in ((-0.06, 0.035), (0, 0.05), (0.06, 0.035)):
            pen.ellipse(x + shift, y, radius * 1.3, radius * 0.7, colour)


def _beach(pen, rng, light, horizon):
    _clouds(pen, rng, light)
    _sun_or_moon(pen, rng, light, horizon)
    pen.box(0, horizon, 1, horizon + 0.17, (36, 128, 176))
    for row in range(3):
        y = horizon + 0.03 + 0.045 * row
        x = rng.uniform(0, 0.6)
        pen.limb([(x, y), (x + rng.uniform(0.12, 0.3), y)], 0.006, (150, 205, 226))
    shore = horizon + 0.14
    wave = [(i / 8, shore + 0.015 * (i % 2) + rng.uniform(-0.004, 0.004)) for i in range(9)]
    pen.polygon([*wave, (1, 1), (0, 1)], (240, 246, 248))
    pen.polygon([*[(x, y + 0.018) for x, y in wave], (1, 1), (0, 1)], (234, 210, 160))
    for _ in range(10):
        pen.ellipse(rng.random(), rng.uniform(0.74, 0.98), 0.008, 0.003, (214, 186, 134))


def _tree(pen, x, ground, height, crown):
    pen.box(x - 0.014, ground - height * 0.5, x + 0.014, ground, (104, 72, 46))
    for shift, lift in ((-0.05, 0.5), (0.05, 0.5), (0, 0.72)):
        pen.ellipse(x + shift, ground - height * lift, 0.075, 0.075, crown)


def _park(pen, rng, light, horizon):
    _clouds(pen, rng, light)
    _sun_or_moon(pen, rng, light, horizon)
    pen.ellipse(rng.uniform(0, 1), horizon + 0.16, 0.7, 0.24, (120, 186, 104))
    pen.box(0, horizon + 0.04, 1, 1, (98, 172, 84))
    for x in sorted(rng.sample([0.06, 0.34, 0.66, 0.94], rng.randint(2, 3))):
        _tree(pen, x + rng.uniform(-0.03, 0.03), horizon + 0.09, rng.uniform(0.24, 0.32), (46, 124, 58))
    pen.polygon([(0.3, 1), (0.7, 1), (0.54, horizon + 0.06), (0.48, horizon + 0.06)], (206, 190, 150))
    for _ in range(8):
        pen.ellipse(rng.random(), rng.uniform(0.7, 0.98), 0.007, 0.007, rng.choice([(250, 240, 150), (240, 170, 190)]))


def _street(pen, rng, light, horizon):
    _clouds(pen, rng, light)
    x = -0.02
    while x < 1:
        width, height = rng.uniform(0.16, 0.26), rng.uniform(0.28, 0.46)
        wall = rng.choice([(188, 134, 112), (170, 172, 180), (206, 186, 150), (150, 160, 176)])
        pen.box(x, horizon + 0.1 - height, x + width, horizon + 0.12, wall)
        lit = (252, 226, 130) if light != "noon" else (108, 140, 170)
        for column in range(3):
            for row in range(3):
                left, top = x + 0.02 + column * width / 3.2, horizon + 0.12 - height + row * 0.085
                pen.box(left, top, left + width * 0.17, top + 0.05, lit)
        x += width + 0.006
    pen.box(0, horizon + 0.12, 1, horizon + 0.2, (178, 176, 172))
    pen.box(0, horizon + 0.2, 1, 1, (92, 94, 100))
    shift = rng.uniform(-0.1, 0.1)
    for start in (0.02, 0.3, 0.58, 0.86):
        pen.box(start + shift, horizon + 0.33, start + shift + 0.14, horizon + 0.35, (232, 228, 210))


def _snow(pen, rng, light, horizon):
    _clouds(pen, rng, light)
    _sun_or_moon(pen, rng, light, horizon)
    peak = rng.uniform(0.25, 0.75)
    pen.polygon([(peak - 0.4, horizon + 0.1), (peak, 0.2), (peak + 0.4, horizon + 0.1)], (150, 166, 190))
    pen.polygon([(peak - 0.12, 0.296), (peak, 0.2), (peak + 0.12, 0.296), (peak, 0.32)], (248, 250, 253))
    pen.ellipse(0.3, horizon + 0.3, 0.8, 0.3, (226, 234, 244))
    pen.box(0, horizon + 0.1, 1, 1, (238, 243, 250))
    for x in rng.sample([0.05, 0.35, 0.65, 0.95], rng.randint(2, 3)):
        foot = horizon + 0.12
        for level in range(3):
            half, top = 0.075 - 0.018 * level, foot - 0.1 * level
            pen.polygon([(x - half, top), (x + half, top), (x, top - 0.13)], (40, 96, 84))
    for _ in range(22):
        pen.ellipse(rng.random(), rng.random() * 0.95, 0.006, 0.006, (255, 255, 255))


def _room(pen, rng, light, horizon):
    wall = rng.choice([(236, 220, 196), (206, 222, 224), (226, 206, 210)])
    view = _SKIES[light][1] if light != "night" else _SKIES[light][0]
    pen.box(0, 0, 1, horizon + 0.14, wall)
    pen.box(0, horizon + 0.14, 1, 1, (168, 120, 82))
    for row in range(1, 4):
        y = horizon + 0.14 + row * 0.09
        pen.limb([(0, y), (1, y)], 0.004, (146, 102, 68))
    pen.box(0, horizon + 0.125, 1, horizon + 0.145, (250, 246, 238))
    x = rng.choice([0.24, 0.5, 0.74])
    pen.box(x - 0.14, 0.1, x + 0.14, 0.43, (252, 250, 244))
    pen.box(x - 0.12, 0.12, x + 0.12, 0.41, view)
    if light == "noon":
        pen.ellipse(x + 0.05, 0.19, 0.03, 0.03, (255, 236, 130))
    elif light == "sunset":
        pen.box(x - 0.12, 0.33, x + 0.12, 0.41, (226, 110, 70))
        pen.ellipse(x, 0.33, 0.045, 0.045, (255, 232, 160))
    else:
        pen.ellipse(x + 0.05, 0.19, 0.026, 0.026, (236, 238, 220))
        for _ in range(4):
            pen.ellipse(x + rng.uniform(-0.1, 0.1), rng.uniform(0.14, 0.36), 0.004, 0.004, (250, 250, 235))
    pen.limb([(x, 0.12), (x, 0.41)], 0.01, (252, 250, 244))
    other = 0.86 if x < 0.5 else 0.13
    pen.box(other - 0.075, 0.18, other + 0.075, 0.36, (120, 84, 60))
    pen.box(other - 0.06, 0.195, other + 0.06, 0.345, rng.choice([(140, 180, 150), (200, 150, 120), (130, 150, 190)]))


_PLACE_PAINTERS = {"beach": _beach, "park": _park, "street": _street, "snow": _snow, "room": _room}
_SKINS = ((248, 214, 184), (232, 184, 148), (188, 132, 92), (120, 80, 56))
_HAIRS = ((48, 34, 28), (96, 62, 36), (190, 140, 70), (30, 28, 32))
_TROUSERS = ((52, 58, 84), (84, 76, 70), (40, 44, 50))


def _person(pen, rng, subject, x, ground):
    kind, pose = subject["kind"], subject["pose"]
    shirt, skin, hair = COLOURS[subject["colour"]], rng.choice(_SKINS), rng.choice(_HAIRS)
    trousers = rng.choice(_TROUSERS)
    scale = {"woman": 1.0, "man": 1.1, "child": 0.72}[kind]
    leg, body, head = 0.2 * scale, 0.2 * scale, (0.062 if kind != "child" else 0.078) * scale
    wide = 0.062 * scale if kind != "man" else 0.072 * scale
    pen.ellipse(x, ground, 0.1 * scale, 0.014, (60, 60, 60))
    hip = ground - (leg if pose != "sitting" else 0.05 * scale)
    if pose == "sitting":
        for side in (-1, 1):
            knee = (x + side * 0.115 * scale, ground - 0.03 * scale)
            pen.limb(
                [(x + side * 0.03 * scale, hip), knee, (x - side * 0.03 * scale, ground - 0.008)],
                0.045 * scale,
                trousers,
            )
    else:
        for side in (-1, 1):
            pen.limb([(x + side * wide * 0.5, hip), (x + side * wide * 0.6, ground - 0.012)], 0.05 * scale, trousers)
    shoulder = hip - body
    if kind == "woman":
        pen.ellipse(x, shoulder - head * 1.05, head * 1.25, head * 1.3, hair)
        pen.box(x - head * 1.2, shoulder - head * 1.1, x + head * 1.2, shoulder + head * 1.5, hair, head * 0.5)
    if kind == "woman" and pose != "sitting":
        dress = [(-0.7, shoulder + 0.01), (0.7, shoulder + 0.01), (1.5, hip + 0.05), (-1.5, hip + 0.05)]
        pen.polygon([(x + dx * wide, y) for dx, y in dress], shirt)
    pen.box(x - wide, shoulder, x + wide, hip + 0.015, shirt, 0.03 * scale)
    pen.box(x - 0.018, shoulder - 0.02, x + 0.018, shoulder + 0.012, skin)
    left_hand = (x - wide - 0.035 * scale, shoulder + body * 0.85)
    right_hand = (x + wide + 0.035 * scale, shoulder + body * 0.85)
    arm = 0.04 * scale
    raised = (x + wide + 0.05 * scale, shoulder - head * 2.4)
    elbow = (x + wide + 0.06 * scale, shoulder - 0.01)
    pen.limb([(x - wide + 0.01, shoulder + 0.03), left_hand], arm, shirt)
    pen.ellipse(*left_hand, arm * 0.55, arm * 0.55, skin)
    if pose == "waving":
        pen.limb([(x + wide - 0.01, shoulder + 0.03), elbow, raised], arm, shirt)
        pen.ellipse(*raised, arm * 0.72, arm * 0.72, skin)
    else:
        pen.limb([(x + wide - 0.01, shoulder + 0.03), right_hand], arm, shirt)
        pen.ellipse(*right_hand, arm * 0.55, arm * 0.55, skin)
    y = shoulder - head * 0.95
    pen.ellipse(x, y, head * 0.92, head, skin)
    if kind == "man":
        top = [(-1, -0.15), (-0.8, -0.9), (0, -1.25), (0.8, -0.9), (1, -0.15), (0, -0.55)]
        pen.polygon([(x + dx * head, y + dy * head) for dx, dy in top], hair)
    elif kind == "child":
        pen.ellipse(x, y - head * 0.75, head * 0.75, head * 0.42, hair)
    else:
        fringe = [(-1, 0.1), (-0.7, -0.95), (0.7, -0.95), (1, 0.1), (0, -0.5)]
        pen.polygon([(x + dx * head, y + dy * head) for dx, dy in fringe], hair)
    for side in (-0.35, 0.35):
        pen.ellipse(x + side * head, y + head * 0.08, head * 0.1, head * 0.13, (30, 26, 26))
    pen.limb(
        [(x - head * 0.28, y + head * 0.5), (x, y + head * 0.6), (x + head * 0.28, y + head * 0.5)],
        0.006,
        (160, 60, 60),
    )


def _animal(pen, rng, subject, x, ground):
    fur = FURS[subject["colour"]]
    dark = tuple(int(channel * 0.72) for channel in fur)
    if subject["colour"] == "black":
        dark = (74, 70, 78)
    dog = subject["kind"] == "dog"
    scale = 1.0 if dog else 0.8
    pose = subject["pose"]
    face = rng.choice((-1, 1))
    pen.ellipse(x, ground, 0.12 * scale, 0.013, (60, 60, 60))

    def at(dx, dy):
        return x + face * dx * scale, ground + dy * scale

    if pose == "sitting":
        pen.polygon([at(-0.09, 0), at(-0.085, -0.07), at(0.03, -0.2), at(0.085, -0.16), at(0.08, 0)], fur)
        pen.ellipse(*at(-0.04, -0.055), 0.062 * scale, 0.058 * scale, fur)
        for dx in (0.035, 0.07):
            pen.limb([at(dx, -0.1), at(dx, -0.012)], 0.028 * scale, dark)
        neck = (0.055, -0.2)
        tail = [at(-0.08, -0.02), at(-0.15, -0.02), at(-0.17, -0.08)]
    else:
        pen.ellipse(*at(-0.005, -0.125), 0.12 * scale, 0.055 * scale, fur)
        for dx in (-0.09, -0.055):
            pen.limb([at(dx, -0.11), at(dx, -0.012)], 0.03 * scale, dark)
        pen.limb([at(0.05, -0.11), at(0.05, -0.012)], 0.03 * scale, dark)
        if pose == "standing":
            pen.limb([at(0.085, -0.11), at(0.085, -0.012)], 0.03 * scale, fur)
        else:
            pen.limb([at(0.08, -0.12), at(0.15, -0.07), at(0.195, -0.125)], 0.034 * scale, fur)
            pen.ellipse(*at(0.197, -0.13), 0.024 * scale, 0.024 * scale, dark)
        neck = (0.1, -0.2)
        tail = [at(-0.11, -0.14), at(-0.16, -0.19), at(-0.155, -0.26)]
    pen.limb(tail, (0.03 if dog else 0.02) * scale, fur)
    hx, hy = neck
    pen.limb([at(hx - 0.02, hy + 0.06), at(hx, hy)], 0.06 * scale, fur)
    pen.ellipse(*at(hx, hy - 0.025), 0.058 * scale, 0.054 * scale, fur)
    if dog:
        pen.ellipse(*at(hx + 0.052, hy - 0.01), 0.034 * scale, 0.024 * scale, fur)
        pen.ellipse(*at(hx + 0.08, hy - 0.018), 0.011 * scale, 0.01 * scale, (24, 22, 24))
        pen.ellipse(*at(hx - 0.035, hy - 0.02), 0.02 * scale, 0.046 * scale, dark)
    else:
        for side in (-0.036, 0.03):
            pen.polygon(
                [at(hx + side - 0.02, hy - 0.06), at(hx + side + 0.02, hy - 0.06), at(hx + side, hy - 0.115)], dark
            )
        pen.ellipse(*at(hx + 0.02, hy - 0.008), 0.009 * scale, 0.007 * scale, (220, 130, 130))
    eye = (24, 22, 24) if subject["colour"] != "black" else (244, 220, 120)
    pen.ellipse(*at(hx + 0.02, hy - 0.036), 0.009 * scale, 0.01 * scale, eye)


def _thing(pen, rng, subject, x, ground):
    colour = COLOURS[subject["colour"]]
    dark = tuple(int(channel * 0.78) for channel in colour)
    light = (252, 252, 250) if subject["colour"] != "white" else (206, 206, 206)
    if subject["kind"] == "ball":
        pen.ellipse(x, ground, 0.085, 0.012, (60, 60, 60))
        pen.ellipse(x, ground - 0.085, 0.085, 0.085, colour)
        pen.limb([(x - 0.08, ground - 0.085), (x, ground - 0.065), (x + 0.08, ground - 0.085)], 0.014, light)
        pen.limb([(x, ground - 0.165), (x + 0.018, ground - 0.085), (x, ground - 0.006)], 0.014, light)
    elif subject["kind"] == "umbrella":
        pen.ellipse(x, ground, 0.06, 0.01, (60, 60, 60))
        pen.limb([(x, ground), (x, ground - 0.42)], 0.014, (110, 80, 60))
        top = ground - 0.46
        dome = [(x + 0.16 * np.cos(a), top + 0.13 - 0.15 * np.sin(a)) for a in np.linspace(0, np.pi, 24)]
        pen.polygon(dome, colour)
        for left, right in ((-0.105, -0.045), (0.045, 0.105)):
            pen.polygon([(x, top - 0.02), (x + left, top + 0.13), (x + right, top + 0.13)], dark)
    else:
        sway = rng.uniform(-0.03, 0.03)
        pen.limb([(x + sway, ground), (x - sway, ground - 0.15), (x, ground - 0.33)], 0.006, (80, 80, 80))
        pen.polygon([(x - 0.02, ground - 0.315), (x + 0.02, ground - 0.315), (x, ground - 0.345)], dark)
        pen.ellipse(x, ground - 0.44, 0.085, 0.105, colour)
        pen.ellipse(x - 0.03, ground - 0.48, 0.018, 0.03, light)


_SUBJECT_PAINTERS = {"person": _person, "animal": _animal, "thing": _thing}

"""Paints a scene from its facts: flat vector style, smooth by supersampling."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from toolkit.toyworld.pen import Pen

SUPERSAMPLE = 2
COLOURS = {
    "red": (214, 48, 49), "blue": (41, 98, 214), "green": (30, 150, 75),
    "yellow": (246, 205, 44), "purple": (136, 66, 176), "white": (245, 245, 242),
}  # fmt: skip
FURS = {"brown": (128, 78, 42), "black": (38, 36, 40), "white": (244, 240, 232), "golden": (226, 172, 88)}


def draw(facts: dict[str, Any], seed: int | str, size: int) -> Image.Image:
    """The scene as an RGB picture of ``size`` × ``size`` pixels; what is not a fact (hair, waves) follows the seed."""
    rng = random.Random(f"look-{seed}")
    canvas = size * SUPERSAMPLE
    light, weather = facts["light"], facts["weather"]
    picture = _sky(light, weather in ("rainy", "snowy"), canvas).copy()
    pen = Pen(picture)
    horizon = 0.5 + rng.uniform(-0.03, 0.03)
    if facts["place"] != "room":
        _heavens(pen, rng, light, weather, horizon)
    _PLACE_PAINTERS[facts["place"]](pen, rng, light, horizon)
    if facts["landmark"]:
        _LANDMARK_PAINTERS[facts["landmark"]["name"]](pen, rng, facts["landmark"]["x"] / 1000, horizon)
    if light != "noon":
        picture = Image.blend(picture, _tint(light, canvas), 0.28 if light == "night" else 0.16)
        pen = Pen(picture)
    for subject in sorted(facts["subjects"], key=lambda subject: subject["row"] != "back"):
        _shadow(pen, subject)
        paint_subject(pen, subject, rng)
    _leash(pen, facts)
    if weather in ("rainy", "snowy"):
        _fall(pen, rng, weather)
    return picture.reduce(SUPERSAMPLE)


def box_of(subject: dict[str, Any]) -> list[int]:
    """[left, top, right, bottom] of a subject as it is drawn, from 0 to 1000 across the picture (Qwen3-VL's form)."""
    pen = Pen(Image.new("RGB", (8, 8)))
    pen.start_extent()
    paint_subject(pen, subject, random.Random(0))
    return [round(1000 * edge) for edge in pen.extent()]


def paint_subject(pen: Pen, subject: dict[str, Any], rng: random.Random) -> None:
    """One subject at its place; the box does not depend on ``rng``."""
    x, ground = subject["x"] / 1000, subject["ground"] / 1000
    with pen.zoomed(x, ground, BACK_SCALE if subject["row"] == "back" else 1.0):
        _SUBJECT_PAINTERS[subject["kind"]](pen, rng, subject, x, ground)


BACK_SCALE = 0.62


def _shadow(pen: Pen, subject: dict[str, Any]) -> None:
    scale = BACK_SCALE if subject["row"] == "back" else 1.0
    half = 0.1 if subject["kind"] in ("woman", "man", "dog") else 0.08
    pen.ellipse(subject["x"] / 1000, subject["ground"] / 1000, half * scale, 0.013 * scale, (60, 60, 60))


_SKIES = {
    "noon": ((104, 178, 240), (214, 236, 250)),
    "sunset": ((92, 84, 160), (255, 176, 96)),
    "night": ((10, 16, 44), (42, 54, 100)),
}


_OVERCAST = {"noon": (150, 160, 172), "sunset": (150, 122, 132), "night": (34, 38, 54)}


@lru_cache(maxsize=32)
def _sky(light: str, overcast: bool, canvas: int) -> Image.Image:
    top, bottom = (np.array(colour, dtype=np.float32) for colour in _SKIES[light])
    if overcast:
        grey = np.array(_OVERCAST[light], dtype=np.float32)
        top, bottom = 0.25 * top + 0.75 * grey, 0.45 * bottom + 0.55 * grey
    fade = np.clip(np.linspace(0, 1.8, canvas, dtype=np.float32), 0, 1)[:, None]
    rows = (top + (bottom - top) * fade).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows[:, None, :], (canvas, canvas, 3))))


@lru_cache(maxsize=32)
def _tint(light: str, canvas: int) -> Image.Image:
    return Image.new("RGB", (canvas, canvas), {"sunset": (255, 140, 60), "night": (12, 18, 60)}[light])


def _heavens(pen: Pen, rng: random.Random, light: str, weather: str, horizon: float) -> None:
    """Sun, moon and stars under a clear sky, else clouds."""
    if weather == "clear":
        _sun_or_moon(pen, rng, light, horizon)
    else:
        _clouds(pen, rng, light, weather)


def _sun_or_moon(pen: Pen, rng: random.Random, light: str, horizon: float) -> None:
    x = rng.uniform(0.15, 0.85)
    if light == "noon":
        pen.ellipse(x, 0.12, 0.06, 0.06, (255, 236, 130))
    elif light == "sunset":
        pen.ellipse(x, horizon - 0.03, 0.12, 0.12, (255, 206, 110))
        pen.ellipse(x, horizon - 0.03, 0.085, 0.085, (255, 232, 160))
    else:
        for _ in range(12):
            pen.ellipse(rng.random(), rng.uniform(0.02, horizon - 0.22), 0.004, 0.004, (250, 250, 235))
        pen.ellipse(x, 0.13, 0.055, 0.055, (236, 238, 220))
        pen.ellipse(x + 0.025, 0.115, 0.048, 0.048, (16, 22, 52))


_CLOUDS = {"noon": (250, 252, 255), "sunset": (240, 160, 150), "night": (62, 72, 110)}
_DARK_CLOUDS = {"noon": (118, 126, 138), "sunset": (126, 96, 108), "night": (22, 26, 40)}


def _clouds(pen: Pen, rng: random.Random, light: str, weather: str) -> None:
    colour = (_CLOUDS if weather == "cloudy" else _DARK_CLOUDS)[light]
    for number in range(4):
        x, y = (number + rng.uniform(0.2, 0.8)) / 4, rng.uniform(0.05, 0.24)
        for shift, lift, radius in ((-0.075, 0.0, 0.045), (0, -0.02, 0.065), (0.075, 0.0, 0.045)):
            pen.ellipse(x + shift, y + lift, radius * 1.35, radius * 0.75, colour)


def _fall(pen: Pen, rng: random.Random, weather: str) -> None:
    """Rain or snow in front of everything."""
    for _ in range(40):
        x, y = rng.random(), rng.random()
        if weather == "rainy":
            pen.limb([(x, y), (x - 0.014, y + 0.045)], 0.005, (196, 212, 232))
        else:
            pen.ellipse(x, y, 0.009, 0.009, (255, 255, 255))


def _beach(pen, rng, light, horizon):
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
    pen.ellipse(rng.uniform(0, 1), horizon + 0.16, 0.7, 0.24, (120, 186, 104))
    pen.box(0, horizon + 0.04, 1, 1, (98, 172, 84))
    for x in sorted(rng.sample([0.06, 0.34, 0.66, 0.94], rng.randint(2, 3))):
        _tree(pen, x + rng.uniform(-0.03, 0.03), horizon + 0.09, rng.uniform(0.24, 0.32), (46, 124, 58))
    pen.polygon([(0.3, 1), (0.7, 1), (0.54, horizon + 0.06), (0.48, horizon + 0.06)], (206, 190, 150))
    for _ in range(8):
        pen.ellipse(rng.random(), rng.uniform(0.7, 0.98), 0.007, 0.007, rng.choice([(250, 240, 150), (240, 170, 190)]))


def _street(pen, rng, light, horizon):
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


def _boat(pen, rng, x, horizon):
    hull = [
        (x - 0.1, horizon + 0.03),
        (x + 0.1, horizon + 0.03),
        (x + 0.06, horizon + 0.075),
        (x - 0.07, horizon + 0.075),
    ]
    pen.polygon(hull, (150, 60, 50))
    pen.limb([(x, horizon + 0.03), (x, horizon - 0.17)], 0.01, (90, 66, 50))
    pen.polygon([(x + 0.012, horizon - 0.16), (x + 0.1, horizon + 0.01), (x + 0.012, horizon + 0.01)], (250, 250, 246))
    pen.polygon([(x - 0.012, horizon - 0.13), (x - 0.07, horizon + 0.01), (x - 0.012, horizon + 0.01)], (230, 230, 226))


def _lighthouse(pen, rng, x, horizon):
    pen.ellipse(x, horizon + 0.03, 0.11, 0.035, (112, 104, 96))
    tower = [
        (x - 0.045, horizon + 0.02),
        (x + 0.045, horizon + 0.02),
        (x + 0.03, horizon - 0.24),
        (x - 0.03, horizon - 0.24),
    ]
    pen.polygon(tower, (246, 244, 240))
    for low in (0.0, -0.12):
        pen.box(x - 0.041, horizon + low - 0.055, x + 0.041, horizon + low, (206, 58, 52))
    pen.box(x - 0.03, horizon - 0.28, x + 0.03, horizon - 0.24, (250, 226, 120))
    pen.polygon([(x - 0.042, horizon - 0.28), (x + 0.042, horizon - 0.28), (x, horizon - 0.33)], (90, 60, 60))


def _bench(pen, rng, x, horizon):
    wood = (140, 92, 54)
    for y in (horizon + 0.0, horizon + 0.035):
        pen.box(x - 0.12, y, x + 0.12, y + 0.024, wood)
    pen.box(x - 0.13, horizon + 0.085, x + 0.13, horizon + 0.108, wood)
    for side in (-0.1, 0.1):
        pen.box(x + side - 0.009, horizon + 0.0, x + side + 0.009, horizon + 0.17, (60, 60, 66))


def _fountain(pen, rng, x, horizon):
    pen.box(x - 0.015, horizon - 0.03, x + 0.015, horizon + 0.1, (176, 178, 184))
    for side in (-1, 1):
        jet = [(x, horizon - 0.05), (x + side * 0.05, horizon - 0.1), (x + side * 0.09, horizon + 0.07)]
        pen.limb(jet, 0.014, (150, 206, 246))
    pen.box(x - 0.13, horizon + 0.08, x + 0.13, horizon + 0.14, (164, 166, 172), 0.02)
    pen.box(x - 0.115, horizon + 0.075, x + 0.115, horizon + 0.095, (90, 170, 226))


def _car(pen, rng, x, horizon):
    colour = rng.choice([(200, 62, 56), (64, 120, 180), (230, 190, 70)])
    pen.box(x - 0.085, horizon + 0.055, x + 0.075, horizon + 0.14, colour, 0.03)
    pen.box(x - 0.16, horizon + 0.11, x + 0.16, horizon + 0.19, colour, 0.025)
    for side in (-1, 1):
        pen.box(x + side * 0.036 - 0.032, horizon + 0.07, x + side * 0.036 + 0.028, horizon + 0.112, (190, 222, 240))
        pen.ellipse(x + side * 0.095, horizon + 0.195, 0.034, 0.034, (34, 34, 38))
        pen.ellipse(x + side * 0.095, horizon + 0.195, 0.015, 0.015, (190, 190, 196))


def _lamp(pen, rng, x, horizon):
    pen.box(x - 0.011, horizon - 0.28, x + 0.011, horizon + 0.2, (44, 50, 58))
    pen.box(x - 0.026, horizon + 0.17, x + 0.026, horizon + 0.2, (44, 50, 58))
    pen.ellipse(x, horizon - 0.31, 0.042, 0.042, (255, 232, 140))
    pen.polygon([(x - 0.05, horizon - 0.33), (x + 0.05, horizon - 0.33), (x, horizon - 0.37)], (44, 50, 58))


def _cabin(pen, rng, x, horizon):
    pen.box(x - 0.11, horizon - 0.05, x + 0.11, horizon + 0.13, (126, 82, 52))
    for row in range(3):
        pen.limb([(x - 0.11, horizon + 0.05 * row), (x + 0.11, horizon + 0.05 * row)], 0.005, (98, 62, 40))
    pen.polygon([(x - 0.15, horizon - 0.04), (x + 0.15, horizon - 0.04), (x, horizon - 0.19)], (246, 248, 252))
    pen.box(x - 0.025, horizon + 0.03, x + 0.025, horizon + 0.13, (70, 44, 30))
    pen.box(x + 0.045, horizon, x + 0.085, horizon + 0.045, (252, 224, 120))


def _snowman(pen, rng, x, horizon):
    for y, radius in ((horizon + 0.1, 0.075), (horizon - 0.015, 0.055), (horizon - 0.1, 0.04)):
        pen.ellipse(x, y, radius + 0.006, radius + 0.006, (186, 200, 220))
        pen.ellipse(x, y, radius, radius, (255, 255, 255))
    pen.box(x - 0.045, horizon - 0.14, x + 0.045, horizon - 0.128, (40, 40, 46))
    pen.box(x - 0.028, horizon - 0.19, x + 0.028, horizon - 0.13, (40, 40, 46))
    pen.polygon([(x, horizon - 0.105), (x + 0.05, horizon - 0.095), (x, horizon - 0.088)], (240, 130, 40))


def _sofa(pen, rng, x, horizon):
    cloth = rng.choice([(120, 150, 130), (170, 110, 100), (110, 120, 160)])
    dark = tuple(int(channel * 0.8) for channel in cloth)
    pen.box(x - 0.16, horizon + 0.03, x + 0.16, horizon + 0.16, cloth, 0.03)
    pen.box(x - 0.17, horizon + 0.12, x + 0.17, horizon + 0.21, dark, 0.02)
    for side in (-1, 1):
        pen.box(x + side * 0.17 - 0.028, horizon + 0.08, x + side * 0.17 + 0.028, horizon + 0.215, cloth, 0.02)


def _plant(pen, rng, x, horizon):
    for lean, height in ((-0.1, 0.2), (-0.05, 0.26), (0, 0.29), (0.05, 0.26), (0.1, 0.2)):
        pen.limb(
            [(x, horizon + 0.12), (x + lean * 0.6, horizon + 0.12 - height * 0.6), (x + lean, horizon + 0.12 - height)],
            0.026,
            (44, 128, 66),
        )
    pen.polygon(
        [
            (x - 0.06, horizon + 0.1),
            (x + 0.06, horizon + 0.1),
            (x + 0.042, horizon + 0.21),
            (x - 0.042, horizon + 0.21),
        ],
        (190, 100, 64),
    )


_LANDMARK_PAINTERS = {
    "sailing boat": _boat, "lighthouse": _lighthouse, "bench": _bench, "fountain": _fountain, "car": _car,
    "street lamp": _lamp, "cabin": _cabin, "snowman": _snowman, "sofa": _sofa, "plant": _plant,
}  # fmt: skip
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
    _pattern(pen, subject, x, wide, shoulder, hip)
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


def _pattern(pen, subject, x, wide, shoulder, hip):
    """Stripes or dots on a shirt, dark on light colours and light on the others."""
    if subject["pattern"] == "plain":
        return
    mark = (60, 60, 70) if subject["colour"] in ("yellow", "white") else (250, 250, 250)
    rows = 4
    step = (hip - shoulder) / rows
    for row in range(rows):
        y = shoulder + (row + 0.6) * step
        if subject["pattern"] == "striped":
            pen.box(x - wide * 0.98, y - step * 0.2, x + wide * 0.98, y + step * 0.2, mark)
        else:
            for column in (-0.6, 0.0, 0.6):
                pen.ellipse(x + (column + 0.15 * (row % 2)) * wide, y, step * 0.24, step * 0.24, mark)


_GEAR = (226, 40, 60)


def _leash(pen, facts):
    """From the holder's hand to the collar of the dog that wears a leash."""
    for dog in facts["subjects"]:
        if dog["gear"] != "leash":
            continue
        holder = facts["subjects"][dog["holder"]]
        scale = {"woman": 1.0, "man": 1.1, "child": 0.72}[holder["kind"]]
        side = 1 if dog["x"] > holder["x"] else -1
        body = 0.05 if holder["pose"] == "sitting" else 0.2
        hand = (holder["x"] / 1000 + side * 0.1 * scale, holder["ground"] / 1000 - (body + 0.03) * scale)
        face = -1 if dog["facing"] == "left" else 1
        neck = (dog["x"] / 1000 + face * (0.055 if dog["pose"] == "sitting" else 0.1), dog["ground"] / 1000 - 0.16)
        middle = ((hand[0] + neck[0]) / 2, max(hand[1], neck[1]) + 0.03)
        pen.limb([hand, middle, neck], 0.008, _GEAR)


def _animal(pen, rng, subject, x, ground):
    fur = FURS[subject["colour"]]
    dark = tuple(int(channel * 0.72) for channel in fur)
    if subject["colour"] == "black":
        dark = (74, 70, 78)
    dog = subject["kind"] == "dog"
    scale = 1.0 if dog else 0.8
    pose = subject["pose"]
    face = -1 if subject["facing"] == "left" else 1

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
    if subject["gear"]:
        pen.limb([at(hx - 0.035, hy + 0.035), at(hx + 0.03, hy + 0.05)], 0.022 * scale, _GEAR)
    if subject["gear"] == "harness":
        belly = (0.02, -0.07) if pose != "sitting" else (0.0, -0.06)
        pen.limb([at(hx - 0.03, hy + 0.04), at(*belly)], 0.024 * scale, _GEAR)
        if pose != "sitting":
            pen.limb([at(hx - 0.12, hy + 0.04), at(hx - 0.1, hy + 0.12)], 0.024 * scale, _GEAR)
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
        pen.ellipse(x, ground - 0.085, 0.085, 0.085, colour)
        pen.limb([(x - 0.08, ground - 0.085), (x, ground - 0.065), (x + 0.08, ground - 0.085)], 0.014, light)
        pen.limb([(x, ground - 0.165), (x + 0.018, ground - 0.085), (x, ground - 0.006)], 0.014, light)
    elif subject["kind"] == "umbrella":
        pen.limb([(x, ground), (x, ground - 0.42)], 0.014, (110, 80, 60))
        top = ground - 0.46
        dome = [(x + 0.16 * np.cos(a), top + 0.13 - 0.15 * np.sin(a)) for a in np.linspace(0, np.pi, 24)]
        pen.polygon(dome, colour)
        for left, right in ((-0.105, -0.045), (0.045, 0.105)):
            pen.polygon([(x, top - 0.02), (x + left, top + 0.13), (x + right, top + 0.13)], dark)
    else:
        pen.limb([(x + 0.015, ground), (x - 0.015, ground - 0.15), (x, ground - 0.33)], 0.006, (80, 80, 80))
        pen.polygon([(x - 0.02, ground - 0.315), (x + 0.02, ground - 0.315), (x, ground - 0.345)], dark)
        pen.ellipse(x, ground - 0.44, 0.085, 0.105, colour)
        pen.ellipse(x - 0.03, ground - 0.48, 0.018, 0.03, light)


_SUBJECT_PAINTERS = {
    "woman": _person, "man": _person, "child": _person, "dog": _animal, "cat": _animal,
    "ball": _thing, "umbrella": _thing, "balloon": _thing,
}  # fmt: skip

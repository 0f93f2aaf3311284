"""What stands behind a scene's subjects: sky, place and landmark."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from toolkit.toyworld.pen import SHAPES, Pen


def paint_background(facts: dict[str, Any], rng: random.Random, side: int) -> Image.Image:
    """Everything but the subjects, as an RGB image of ``side`` × ``side`` pixels, with the colour of the light."""
    light, weather = facts["light"], facts["weather"]
    image = _sky(light, weather in ("rainy", "snowy"), side).copy()
    pen = Pen(image)
    horizon = 0.5 + rng.uniform(-0.03, 0.03)
    if facts["place"] != "room":
        if weather == "clear":
            _sun_or_moon(pen, rng, light, horizon)
        else:
            _clouds(pen, rng, light, weather)
    _PLACE_PAINTERS[facts["place"]](pen, rng, light, horizon)
    if facts["landmark"]:
        name, x = facts["landmark"]["name"], facts["landmark"]["x"] / 1000
        paints = SHAPES["paints"].get(name)
        pen.stamp(name, x, horizon, tuple(rng.choice(paints)) if paints else (0, 0, 0))
    return image if light == "noon" else Image.blend(image, _tint(light, side), 0.28 if light == "night" else 0.16)


_SKIES = {
    "noon": ((104, 178, 240), (214, 236, 250)),
    "sunset": ((92, 84, 160), (255, 176, 96)),
    "night": ((10, 16, 44), (42, 54, 100)),
}
_OVERCAST = {"noon": (150, 160, 172), "sunset": (150, 122, 132), "night": (34, 38, 54)}


@lru_cache(maxsize=32)
def _sky(light: str, overcast: bool, side: int) -> Image.Image:
    top, bottom = (np.array(colour, dtype=np.float32) for colour in _SKIES[light])
    if overcast:
        grey = np.array(_OVERCAST[light], dtype=np.float32)
        top, bottom = 0.25 * top + 0.75 * grey, 0.45 * bottom + 0.55 * grey
    fade = np.clip(np.linspace(0, 1.8, side, dtype=np.float32), 0, 1)[:, None]
    rows = (top + (bottom - top) * fade).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows[:, None, :], (side, side, 3))))


@lru_cache(maxsize=32)
def _tint(light: str, side: int) -> Image.Image:
    return Image.new("RGB", (side, side), {"sunset": (255, 140, 60), "night": (12, 18, 60)}[light])


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


def _beach(pen: Pen, rng: random.Random, light: str, horizon: float) -> None:
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


def _tree(pen: Pen, x: float, ground: float, height: float) -> None:
    pen.box(x - 0.014, ground - height * 0.5, x + 0.014, ground, (104, 72, 46))
    for shift, lift in ((-0.05, 0.5), (0.05, 0.5), (0, 0.72)):
        pen.ellipse(x + shift, ground - height * lift, 0.075, 0.075, (46, 124, 58))


def _park(pen: Pen, rng: random.Random, light: str, horizon: float) -> None:
    pen.ellipse(rng.uniform(0, 1), horizon + 0.16, 0.7, 0.24, (120, 186, 104))
    pen.box(0, horizon + 0.04, 1, 1, (98, 172, 84))
    for x in sorted(rng.sample([0.06, 0.34, 0.66, 0.94], rng.randint(2, 3))):
        _tree(pen, x + rng.uniform(-0.03, 0.03), horizon + 0.09, rng.uniform(0.24, 0.32))
    pen.polygon([(0.3, 1), (0.7, 1), (0.54, horizon + 0.06), (0.48, horizon + 0.06)], (206, 190, 150))
    for _ in range(8):
        pen.ellipse(rng.random(), rng.uniform(0.7, 0.98), 0.007, 0.007, rng.choice([(250, 240, 150), (240, 170, 190)]))


def _street(pen: Pen, rng: random.Random, light: str, horizon: float) -> None:
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


def _snow(pen: Pen, rng: random.Random, light: str, horizon: float) -> None:
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


def _room(pen: Pen, rng: random.Random, light: str, horizon: float) -> None:
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

"""Draws a scene from its facts: flat vector style, smooth by supersampling."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from PIL import Image

from toolkit.toyworld.pen import Colour, Pen, Point, shade
from toolkit.toyworld.scene_backgrounds import paint_background
from toolkit.toyworld.world import COLOURS, FURS

SIZE = 256
SUPERSAMPLE = 2
BACK_SCALE = 0.62
Subject = dict[str, Any]

_SKINS = ((248, 214, 184), (232, 184, 148), (188, 132, 92), (120, 80, 56))
_HAIRS = ((48, 34, 28), (96, 62, 36), (190, 140, 70), (30, 28, 32))
_TROUSERS = ((52, 58, 84), (84, 76, 70), (40, 44, 50))
_GEAR = (226, 40, 60)
_HEIGHTS = {"woman": 1.0, "man": 1.1, "child": 0.72}


def draw(facts: dict[str, Any], seed: int | str, size: int = SIZE) -> Image.Image:
    """The scene as an RGB image of ``size`` × ``size`` pixels; what is not a fact (hair, waves) follows the seed."""
    rng = random.Random(f"look-{seed}")
    image = paint_background(facts, rng, size * SUPERSAMPLE)
    pen = Pen(image)
    for subject in sorted(facts["subjects"], key=lambda subject: subject["row"] != "back"):
        _shadow(pen, subject)
        _paint(pen, subject, rng)
    _leash(pen, facts)
    if facts["weather"] in ("rainy", "snowy"):
        _fall(pen, rng, facts["weather"])
    return image.reduce(SUPERSAMPLE)


def box_of(subject: Subject) -> list[int]:
    """[left, top, right, bottom] of a subject as it is drawn, from 0 to 1000 across the image (Qwen3-VL's form)."""
    pen = Pen(Image.new("RGB", (8, 8)))
    pen.start_extent()
    _paint(pen, subject, random.Random(0))
    return [round(1000 * edge) for edge in pen.extent()]


def _paint(pen: Pen, subject: Subject, rng: random.Random) -> None:
    """One subject at its place; its box does not depend on ``rng``."""
    x, ground = subject["x"] / 1000, subject["ground"] / 1000
    with pen.zoomed(x, ground, BACK_SCALE if subject["row"] == "back" else 1.0):
        _SUBJECT_PAINTERS[subject["kind"]](pen, rng, subject, x, ground)


def _shadow(pen: Pen, subject: Subject) -> None:
    scale = BACK_SCALE if subject["row"] == "back" else 1.0
    half = 0.1 if subject["kind"] in ("woman", "man", "dog") else 0.08
    pen.ellipse(subject["x"] / 1000, subject["ground"] / 1000, half * scale, 0.013 * scale, (60, 60, 60))


def _fall(pen: Pen, rng: random.Random, weather: str) -> None:
    """Rain or snow in front of everything."""
    for _ in range(40):
        x, y = rng.random(), rng.random()
        if weather == "rainy":
            pen.limb([(x, y), (x - 0.014, y + 0.045)], 0.005, (196, 212, 232))
        else:
            pen.ellipse(x, y, 0.009, 0.009, (255, 255, 255))


def _person(pen: Pen, rng: random.Random, subject: Subject, x: float, ground: float) -> None:
    kind, pose = subject["kind"], subject["pose"]
    shirt, skin, hair = COLOURS[subject["colour"]], rng.choice(_SKINS), rng.choice(_HAIRS)
    trousers, scale = rng.choice(_TROUSERS), _HEIGHTS[kind]
    body, head = 0.2 * scale, (0.062 if kind != "child" else 0.078) * scale
    wide = 0.062 * scale if kind != "man" else 0.072 * scale
    hip = ground - (0.2 if pose != "sitting" else 0.05) * scale
    if pose == "sitting":
        for side in (-1, 1):
            knee = (x + side * 0.115 * scale, ground - 0.03 * scale)
            foot = (x - side * 0.03 * scale, ground - 0.008)
            pen.limb([(x + side * 0.03 * scale, hip), knee, foot], 0.045 * scale, trousers)
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
    for eye in (-0.35, 0.35):
        pen.ellipse(x + eye * head, y + head * 0.08, head * 0.1, head * 0.13, (30, 26, 26))
    mouth = [(x - head * 0.28, y + head * 0.5), (x, y + head * 0.6), (x + head * 0.28, y + head * 0.5)]
    pen.limb(mouth, 0.006, (160, 60, 60))


def _pattern(pen: Pen, subject: Subject, x: float, wide: float, shoulder: float, hip: float) -> None:
    """Stripes or dots on a shirt, dark on light colours and light on the others."""
    if subject["pattern"] == "plain":
        return
    mark = (60, 60, 70) if subject["colour"] in ("yellow", "white") else (250, 250, 250)
    step = (hip - shoulder) / 4
    for row in range(4):
        y = shoulder + (row + 0.6) * step
        if subject["pattern"] == "striped":
            pen.box(x - wide * 0.98, y - step * 0.2, x + wide * 0.98, y + step * 0.2, mark)
        else:
            for column in (-0.6, 0.0, 0.6):
                pen.ellipse(x + (column + 0.15 * (row % 2)) * wide, y, step * 0.24, step * 0.24, mark)


def _leash(pen: Pen, facts: dict[str, Any]) -> None:
    """From the holder's hand to the collar of the dog that wears a leash."""
    for dog in facts["subjects"]:
        if dog["gear"] != "leash":
            continue
        holder = facts["subjects"][dog["holder"]]
        scale = _HEIGHTS[holder["kind"]]
        side = 1 if dog["x"] > holder["x"] else -1
        body = 0.05 if holder["pose"] == "sitting" else 0.2
        hand = (holder["x"] / 1000 + side * 0.1 * scale, holder["ground"] / 1000 - (body + 0.03) * scale)
        face = -1 if dog["facing"] == "left" else 1
        neck = (dog["x"] / 1000 + face * (0.055 if dog["pose"] == "sitting" else 0.1), dog["ground"] / 1000 - 0.16)
        middle = ((hand[0] + neck[0]) / 2, max(hand[1], neck[1]) + 0.03)
        pen.limb([hand, middle, neck], 0.008, _GEAR)


class _Side:
    """A pen for somebody seen from the side: offsets from the feet, x in the direction of the face, at one scale."""

    def __init__(self, pen: Pen, x: float, ground: float, facing: str, scale: float):
        self.pen, self.x, self.ground, self.scale = pen, x, ground, scale
        self.face = -1 if facing == "left" else 1

    def at(self, dx: float, dy: float) -> Point:
        return self.x + self.face * dx * self.scale, self.ground + dy * self.scale

    def limb(self, offsets: list[Point], width: float, colour: Colour) -> None:
        self.pen.limb([self.at(*offset) for offset in offsets], width * self.scale, colour)

    def ellipse(self, dx: float, dy: float, rx: float, ry: float, colour: Colour) -> None:
        self.pen.ellipse(*self.at(dx, dy), rx * self.scale, ry * self.scale, colour)

    def polygon(self, offsets: list[Point], colour: Colour) -> None:
        self.pen.polygon([self.at(*offset) for offset in offsets], colour)


def _animal(pen: Pen, rng: random.Random, subject: Subject, x: float, ground: float) -> None:
    fur, dog, sitting = FURS[subject["colour"]], subject["kind"] == "dog", subject["pose"] == "sitting"
    dark = (74, 70, 78) if subject["colour"] == "black" else shade(fur, 0.72)
    side = _Side(pen, x, ground, subject["facing"], 1.0 if dog else 0.8)
    tail = _sitting_body(side, fur, dark) if sitting else _standing_body(side, fur, dark, subject["pose"])
    side.limb(tail, 0.03 if dog else 0.02, fur)
    hx, hy = (0.055, -0.2) if sitting else (0.1, -0.2)
    side.limb([(hx - 0.02, hy + 0.06), (hx, hy)], 0.06, fur)
    side.ellipse(hx, hy - 0.025, 0.058, 0.054, fur)
    if subject["gear"]:
        side.limb([(hx - 0.035, hy + 0.035), (hx + 0.03, hy + 0.05)], 0.022, _GEAR)
    if subject["gear"] == "harness":
        side.limb([(hx - 0.03, hy + 0.04), (0.0, -0.06) if sitting else (0.02, -0.07)], 0.024, _GEAR)
        if not sitting:
            side.limb([(hx - 0.12, hy + 0.04), (hx - 0.1, hy + 0.12)], 0.024, _GEAR)
    (_dogs_face if dog else _cats_face)(side, hx, hy, fur, dark)
    eye = (24, 22, 24) if subject["colour"] != "black" else (244, 220, 120)
    side.ellipse(hx + 0.02, hy - 0.036, 0.009, 0.01, eye)


def _sitting_body(side: _Side, fur: Colour, dark: Colour) -> list[Point]:
    """Body and legs; returns the tail's offsets."""
    side.polygon([(-0.09, 0), (-0.085, -0.07), (0.03, -0.2), (0.085, -0.16), (0.08, 0)], fur)
    side.ellipse(-0.04, -0.055, 0.062, 0.058, fur)
    for dx in (0.035, 0.07):
        side.limb([(dx, -0.1), (dx, -0.012)], 0.028, dark)
    return [(-0.08, -0.02), (-0.15, -0.02), (-0.17, -0.08)]


def _standing_body(side: _Side, fur: Colour, dark: Colour, pose: str) -> list[Point]:
    """Body and legs, one of which may be raised; returns the tail's offsets."""
    side.ellipse(-0.005, -0.125, 0.12, 0.055, fur)
    for dx in (-0.09, -0.055):
        side.limb([(dx, -0.11), (dx, -0.012)], 0.03, dark)
    side.limb([(0.05, -0.11), (0.05, -0.012)], 0.03, dark)
    if pose == "standing":
        side.limb([(0.085, -0.11), (0.085, -0.012)], 0.03, fur)
    else:
        side.limb([(0.08, -0.12), (0.15, -0.07), (0.195, -0.125)], 0.034, fur)
        side.ellipse(0.197, -0.13, 0.024, 0.024, dark)
    return [(-0.11, -0.14), (-0.16, -0.19), (-0.155, -0.26)]


def _dogs_face(side: _Side, hx: float, hy: float, fur: Colour, dark: Colour) -> None:
    side.ellipse(hx + 0.052, hy - 0.01, 0.034, 0.024, fur)
    side.ellipse(hx + 0.08, hy - 0.018, 0.011, 0.01, (24, 22, 24))
    side.ellipse(hx - 0.035, hy - 0.02, 0.02, 0.046, dark)


def _cats_face(side: _Side, hx: float, hy: float, fur: Colour, dark: Colour) -> None:
    for dx in (-0.036, 0.03):
        side.polygon([(hx + dx - 0.02, hy - 0.06), (hx + dx + 0.02, hy - 0.06), (hx + dx, hy - 0.115)], dark)
    side.ellipse(hx + 0.02, hy - 0.008, 0.009, 0.007, (220, 130, 130))


def _thing(pen: Pen, rng: random.Random, subject: Subject, x: float, ground: float) -> None:
    colour = COLOURS[subject["colour"]]
    dark = shade(colour, 0.78)
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

"""What stands around the person of a clip: the place, the things at its sides, and what lies on the ground."""

from __future__ import annotations

import random

from toolkit.toyworld.pen import Pen, around, shade

INK = (38, 40, 52)
_BALL = (240, 132, 44)


def _box(pen: Pen, x: float, y: float) -> None:
    pen.box(x - 0.055, y - 0.045, x + 0.055, y + 0.045, (182, 130, 78))
    pen.box(x - 0.012, y - 0.045, x + 0.012, y + 0.045, (226, 196, 140))


def _small_ball(pen: Pen, x: float, y: float) -> None:
    pen.ellipse(x, y, 0.048, 0.048, _BALL)
    pen.limb([(x - 0.04, y - 0.01), (x, y + 0.008), (x + 0.04, y - 0.01)], 0.01, (252, 240, 220))


# Things at the sides; ``inward`` is 1 for those at the left, -1 at the right.


def _dog(pen: Pen, x: float, inward: int) -> None:
    foot, fur, dark = 0.92, (150, 92, 50), (102, 60, 34)
    pen.ellipse(x, foot, 0.1, 0.013, (70, 74, 80))
    tail = around(x, foot, (-inward * 0.07, -0.03), (-inward * 0.115, -0.04), (-inward * 0.12, -0.11))
    pen.limb(tail, 0.026, fur)
    body = [(-0.085, 0.0), (-0.08, -0.08), (0.02, -0.2), (0.08, -0.17), (0.075, 0.0)]
    pen.polygon([(x + inward * dx, foot + dy) for dx, dy in body], fur)
    for dx in (0.025, 0.06):
        pen.limb([(x + inward * dx, foot - 0.1), (x + inward * dx, foot - 0.013)], 0.028, dark)
    hx, hy = x + inward * 0.05, foot - 0.23
    pen.ellipse(hx, hy, 0.056, 0.052, fur)
    pen.ellipse(hx + inward * 0.05, hy + 0.016, 0.034, 0.024, fur)
    pen.ellipse(hx + inward * 0.078, hy + 0.008, 0.012, 0.011, INK)
    pen.ellipse(hx - inward * 0.035, hy + 0.006, 0.02, 0.045, dark)
    pen.ellipse(hx + inward * 0.018, hy - 0.012, 0.009, 0.011, INK)


def _big_ball(pen: Pen, x: float, inward: int) -> None:
    y = 0.85
    pen.ellipse(x, 0.925, 0.075, 0.013, (70, 74, 80))
    pen.ellipse(x, y, 0.078, 0.078, _BALL)
    pen.limb([(x - 0.07, y - 0.01), (x, y + 0.018), (x + 0.07, y - 0.01)], 0.015, (252, 240, 220))
    pen.limb([(x, y - 0.072), (x + 0.016, y), (x, y + 0.072)], 0.015, (252, 240, 220))


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
    pen.box(0, 0.73, 1, 0.74, shade(wall, 0.86))


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


LYING_PAINTERS = {"box": _box, "ball": _small_ball}
THING_PAINTERS = {"dog": _dog, "ball": _big_ball} | {
    name: lambda pen, x, inward, shapes=shapes, foot=foot: pen.stamp(shapes, x, foot, mirror=inward)
    for name, shapes, foot in (
        ("rocket", "rocket", 0.86), ("door", "door", 0.87), ("desk", "desk", 0.89), ("bench", "park bench", 0.89),
    )
}  # fmt: skip
PLACE_PAINTERS = {"control room": _control_room, "street": _street, "park": _park}

"""Images that are not of the toy world: the right answer to any question about them is that one can't tell."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from toolkit.toyworld.items import Question

SIZE = 256
TASKS = ("foreign",)
ANSWER = "I can't tell."
LOOKS = ("noise", "blank", "gradient", "stripes", "checks", "shapes", "blobs", "scribble", "chart", "mosaic")
REQUESTS = (
    "Describe this image.",
    "Describe this image as JSON.",
    "Where is this?",
    "What time of day is it?",
    "How many people are there?",
    "Is there a dog in the image?",
    "What is on the left?",
    "What is the total?",
    "Read all the text on this receipt.",
)


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """Which look a foreign image has; difficulty 1 has noise and plain colour only, 2 the first six looks."""
    return {"look": rng.choice(LOOKS[: {1: 2, 2: 6, 3: len(LOOKS)}[difficulty]])}


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """A request that would suit the toy world, and the refusal."""
    request = REQUESTS[0] if rng.random() < 0.5 else rng.choice(REQUESTS[1:])
    return [Question("foreign", request, (ANSWER, "I cannot tell.", "I can't tell"))]


def draw(facts: dict[str, Any], seed: int | str, size: int = SIZE) -> Image.Image:
    """The image, RGB, ``size`` × ``size`` pixels; colours and shapes follow the seed."""
    rng = random.Random(f"foreign-look-{seed}")
    return _PAINTERS[facts["look"]](rng, size)


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _numbers(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.getrandbits(32))


def _noise(rng: random.Random, size: int) -> Image.Image:
    """White noise, in grey or in colour, fine or coarse."""
    side = max(1, size // rng.choice((1, 1, 2, 4, 8)))
    shape = (side, side, 3) if rng.random() < 0.6 else (side, side)
    values = _numbers(rng).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values).convert("RGB").resize((size, size), Image.Resampling.NEAREST)


def _blank(rng: random.Random, size: int) -> Image.Image:
    return Image.new(
        "RGB", (size, size), _colour(rng) if rng.random() < 0.7 else rng.choice(("white", "black", "grey"))
    )


def _gradient(rng: random.Random, size: int) -> Image.Image:
    first, last = (np.array(_colour(rng), dtype=np.float32) for _ in range(2))
    angle = rng.uniform(0, 2 * math.pi)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    share = np.clip((across * math.cos(angle) + down * math.sin(angle) + 1) / 2, 0, 1)[:, :, None]
    return Image.fromarray((first + (last - first) * share).astype(np.uint8))


def _stripes(rng: random.Random, size: int) -> Image.Image:
    angle, period = rng.uniform(0, math.pi), rng.uniform(8, 60)
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    wave = (across * math.cos(angle) + down * math.sin(angle)) / period * 256 / size % 1 < rng.uniform(0.3, 0.7)
    colours = np.array([_colour(rng), _colour(rng)], dtype=np.uint8)
    return Image.fromarray(colours[wave.astype(int)])


def _checks(rng: random.Random, size: int) -> Image.Image:
    count = rng.randint(3, 16)
    board = np.indices((count, count)).sum(axis=0) % 2
    colours = np.array([_colour(rng), _colour(rng)], dtype=np.uint8)
    return Image.fromarray(colours[board]).resize((size, size), Image.Resampling.NEAREST)


def _shapes(rng: random.Random, size: int) -> Image.Image:
    image = Image.new("RGB", (size, size), _colour(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 14)):
        x, y = rng.uniform(-0.1, 0.9) * size, rng.uniform(-0.1, 0.9) * size
        wide, high = rng.uniform(0.05, 0.5) * size, rng.uniform(0.05, 0.5) * size
        rng.choice((pen.ellipse, pen.rectangle))((x, y, x + wide, y + high), fill=_colour(rng))
    return image


def _blobs(rng: random.Random, size: int) -> Image.Image:
    """Smooth colour clouds, something like a photograph out of focus."""
    values = _numbers(rng).integers(0, 256, (rng.randint(3, 9), rng.randint(3, 9), 3), dtype=np.uint8)
    return Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC)


def _scribble(rng: random.Random, size: int) -> Image.Image:
    image = Image.new("RGB", (size, size), rng.choice(("white", "ivory", _colour(rng))))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 12)):
        points = [(rng.uniform(0, size), rng.uniform(0, size)) for _ in range(rng.randint(2, 9))]
        pen.line(points, fill=_colour(rng), width=rng.randint(1, max(1, size // 32)))
    return image


def _chart(rng: random.Random, size: int) -> Image.Image:
    """Bars on axes, without any text."""
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    count, colour = rng.randint(3, 9), _colour(rng)
    low, left, right = 0.88 * size, 0.1 * size, 0.94 * size
    step = (right - left) / count
    for number in range(count):
        x = left + number * step
        pen.rectangle((x + step * 0.15, low - rng.uniform(0.05, 0.75) * size, x + step * 0.85, low), fill=colour)
    pen.line(((left, 0.08 * size), (left, low), (right, low)), fill="black", width=max(1, size // 100))
    return image


def _mosaic(rng: random.Random, size: int) -> Image.Image:
    values = _numbers(rng).integers(0, 256, (rng.randint(4, 20), rng.randint(4, 20), 3), dtype=np.uint8)
    return Image.fromarray(values).resize((size, size), Image.Resampling.NEAREST)


_PAINTERS = {
    "noise": _noise, "blank": _blank, "gradient": _gradient, "stripes": _stripes, "checks": _checks,
    "shapes": _shapes, "blobs": _blobs, "scribble": _scribble, "chart": _chart, "mosaic": _mosaic,
}  # fmt: skip

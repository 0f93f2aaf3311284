"""Draws a receipt from its lines: typeset in a random look, laid on a table, turned and folded a little.

The type is large because a vision tower with 16-pixel patches has to read it: 18 pixels per em and more, on images
256 pixels wide. The typefaces are the DejaVu family that comes with matplotlib.
"""

from __future__ import annotations

import importlib.util
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from helpers.errors import CourseError

#: Pixels. Images are as high as their text needs, in steps of ``STEP`` (two merged patches of 16).
WIDTH, SHORTEST, TALLEST, STEP = 256, 64, 384, 32
#: Type sizes by form, in pixels per em.
SMALLEST_TYPE = {"strip": 22, "small": 22, "whole": 18}
LARGEST_TYPE = {"strip": 28, "small": 24, "whole": 21}
#: Pixels at either side of the text; more where the paper is turned.
MARGINS = {"strip": 12, "small": 14, "whole": 24}
MOST_DEGREES = 2.0
SUPERSAMPLE = 2

TYPEFACES = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "bold": ("DejaVuSans-Bold.ttf", "DejaVuSans-Bold.ttf"),
    "mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
}
_PRICED = re.compile(r"(?P<left>.+) (?P<price>\d+[.,]\d\d)")

#: A printed line's role, which decides how it is set, and its text.
Line = tuple[str, str]
_PAPERS = ((252, 251, 247), (248, 245, 235), (244, 246, 248), (250, 243, 232))
_INKS = ((26, 26, 30), (30, 34, 66), (52, 34, 56), (44, 44, 46))
_TABLES = {
    "oak": ((186, 142, 96), (160, 116, 74)),
    "walnut": ((112, 78, 56), (92, 62, 44)),
    "cloth": ((188, 72, 66), (226, 198, 188)),
    "slate": ((88, 98, 110), (80, 90, 102)),
    "green": ((92, 132, 110), (82, 122, 100)),
}


def draw(form: str, lines: Sequence[Line], seed: int) -> Image.Image:
    """The receipt as an RGB image, 256 pixels wide and 64 to 384 high; ``form`` is strip, small or whole."""
    rng = random.Random(f"receipt-look-{seed}")
    look = _look(form, lines, rng)
    paper, ink = _layers(lines, look, rng)
    if form == "strip":
        image = Image.new("RGB", paper.size, look.paper)
    else:
        image = _table(look, paper.size, rng)
        image.paste(tuple(value // 2 for value in _TABLES[look.table][1]), (2, 3), paper)
        image.paste(look.paper, (0, 0), paper)
    image.paste(look.ink, (0, 0), ink)
    return _worn(image, look, paper, rng) if look.noise else image


@dataclass(frozen=True)
class _Look:
    """How a receipt is set and shown. Lengths in pixels of the finished image."""

    form: str
    typeface: str
    size: int
    pitch: int
    heading: str
    columns: str
    rule: str
    total: str
    edge: str
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    table: str
    degrees: float
    noise: int
    folds: int


def _look(form: str, lines: Sequence[Line], rng: random.Random) -> _Look:
    whole = form == "whole"
    typeface = rng.choice(tuple(TYPEFACES))
    size = rng.randint(SMALLEST_TYPE[form] + 1, LARGEST_TYPE[form])
    # A long line in a wide typeface may need the smallest type.
    while size > SMALLEST_TYPE[form] and any(
        font(typeface, False, size * SUPERSAMPLE).getlength(text) + size * 0.4 * SUPERSAMPLE > _room(form) * SUPERSAMPLE
        for _, text in lines
    ):
        size -= 1
    return _Look(
        form=form,
        typeface=typeface,
        size=size,
        pitch=round(size * rng.uniform(1.42, 1.6)),
        heading=rng.choice(("centred", "left", "banner")) if whole else rng.choice(("centred", "left")),
        columns=rng.choice(("edges", "edges", "near", "centred") if form == "strip" else ("edges", "edges", "near")),
        rule=rng.choice(("solid", "dashed", "dotted", "double")) if whole else rng.choice(("solid", "dashed")),
        total=rng.choice(("plain", "heavy", "boxed")) if whole else "plain",
        edge=rng.choice(("straight", "torn")) if whole else "straight",
        paper=rng.choice(_PAPERS),
        ink=rng.choice(_INKS),
        table=rng.choice(tuple(_TABLES)),
        degrees=rng.uniform(-MOST_DEGREES, MOST_DEGREES) if whole else 0.0,
        noise=rng.choice((4, 7, 10)) if whole else 0,
        folds=rng.choice((0, 1, 1, 2)) if whole else 0,
    )


def _room(form: str) -> int:
    """Width of the text, pixels."""
    return WIDTH - 2 * MARGINS[form]


@lru_cache(maxsize=128)
def font(typeface: str, heavy: bool, size: int) -> ImageFont.FreeTypeFont:
    """One of `TYPEFACES` at ``size`` pixels per em.

    Raises:
        CourseError: the DejaVu fonts of matplotlib are missing.
    """
    # Every Pillow has the basic layout engine; the other one is optional and spaces letters differently.
    path = _font_folder() / TYPEFACES[typeface][heavy]
    try:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        raise CourseError(
            f"The typeface {path.name} cannot be read.",
            "a matplotlib without its fonts",
            "install the course's packages again: make setup",
        ) from None


@lru_cache(maxsize=1)
def _font_folder() -> Path:
    # Looked up without importing matplotlib, which takes a second and is not needed.
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise CourseError(
            "Receipts need the DejaVu typefaces, which come with matplotlib.",
            "matplotlib is not installed",
            "run: make setup",
        )
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


class _Sheet:
    """The ink on a receipt, set from top to bottom; ``y`` is where the next thing goes. Lengths in finished pixels."""

    def __init__(self, look: _Look, left: int, right: int):
        self.look, self.left, self.right, self.y = look, left, right, 0.0
        self.ink = Image.new("L", (WIDTH * SUPERSAMPLE, TALLEST * SUPERSAMPLE))
        self._pen = ImageDraw.Draw(self.ink)

    def write(self, text: str, where: str, heavy: bool = False, larger: int = 0, fill: int = 255) -> None:
        """One line. ``where`` is left, centred, edges (price at the right edge) or near (price beside the name)."""
        size = self.look.size + larger
        face = font(self.look.typeface, heavy, size * SUPERSAMPLE)
        pitch = self.look.pitch + larger
        # A capital, 0.73 em high in this family, is centred vertically in its line.
        baseline = (self.y + pitch / 2 + size * 0.365) * SUPERSAMPLE
        left, right = self.left * SUPERSAMPLE, self.right * SUPERSAMPLE
        priced = _PRICED.fullmatch(text)
        if priced and where == "edges":
            self._pen.text((left, baseline), priced["left"], fill, face, anchor="ls")
            self._pen.text((right, baseline), priced["price"], fill, face, anchor="rs")
        elif where == "centred":
            self._pen.text(((left + right) / 2, baseline), text, fill, face, anchor="ms")
        else:
            self._pen.text((left, baseline), text, fill, face, anchor="ls")
        self.y += pitch

    def heading(self, text: str) -> None:
        """The shop's name, perhaps on a dark bar."""
        heavy = self.look.form == "whole"
        larger = 3 if heavy else 0
        if self.look.heading == "banner":
            bar = self._around(self.look.pitch + larger, 6, 0)
            self._pen.rounded_rectangle(bar, 4 * SUPERSAMPLE, fill=255)
            self.write(text, "centred", heavy, larger, fill=0)
            self.y += 3
        else:
            self.write(text, self.look.heading, heavy, larger)

    def total(self, text: str) -> None:
        """A rule and the total, perhaps heavy or in a box."""
        self.rule()
        if self.look.total == "boxed":
            box = self._around(self.look.pitch + 4, 5, 1)
            self._pen.rounded_rectangle(box, 3 * SUPERSAMPLE, outline=255, width=2 * SUPERSAMPLE)
            self.y += 2
        heavy = self.look.total == "heavy"
        self.write(text, "edges", heavy, 2 if heavy else 0)
        self.y += 4

    def _around(self, height: float, wider: int, lower: int) -> list[float]:
        corners = (self.left - wider, self.y + lower, self.right + wider, self.y + height - lower)
        return [value * SUPERSAMPLE for value in corners]

    def rule(self) -> None:
        """A rule across the paper."""
        middle = round((self.y + 5) * SUPERSAMPLE)
        left, right = self.left * SUPERSAMPLE, self.right * SUPERSAMPLE
        long = right - left
        on, off = {"solid": (long, 0), "double": (long, 0), "dashed": (14, 9), "dotted": (4, 8)}[self.look.rule]
        for y in (middle - 4, middle + 3) if self.look.rule == "double" else (middle,):
            for start in range(left, right - on + 1, on + off):
                self._pen.rectangle([start, y - 1, start + on, y + 1], fill=200)
        self.y += 10


def _typeset(lines: Sequence[Line], look: _Look) -> tuple[Image.Image, int]:
    """The ink, supersampled on the tallest sheet, and the height in finished pixels that the text takes."""
    left = MARGINS[look.form]
    sheet = _Sheet(look, left, WIDTH - left)
    before = ""
    for role, text in lines:
        if look.form == "strip":
            sheet.write(text, look.columns)
        elif role == "shop":
            sheet.heading(text)
        elif role == "date":
            sheet.write(text, "left" if look.heading == "left" else "centred")
        elif role == "total":
            sheet.total(text)
        else:
            if role == "item" and before != "item":
                sheet.rule()
            sheet.write(text, look.columns)
        before = role
    return sheet.ink, round(sheet.y)


def _layers(lines: Sequence[Line], look: _Look, rng: random.Random) -> tuple[Image.Image, Image.Image]:
    """(paper, ink): where the paper lies and where it is printed, as masks of the finished image's size."""
    ink, text_height = _typeset(lines, look)
    if look.form == "strip":
        size = (WIDTH, _whole_steps(text_height))
        around = size[1] - text_height
        placing = _Placing(size, rng.randint(-4, 4), rng.randint(round(around * 0.3), round(around * 0.7)), 0)
        return Image.new("L", size, 255), placing.place(ink)
    margin, side = (8, 4) if look.form == "small" else (12, 10)
    long = text_height + 2 * margin
    size = (WIDTH, _whole_steps(long + 8))
    top = rng.randint(4, size[1] - long - 4)
    outline = _Placing(size, 0, top, look.degrees).corners(_outline(look, side, long))
    paper = Image.new("L", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE))
    ImageDraw.Draw(paper).polygon([(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in outline], fill=255)
    return paper.reduce(SUPERSAMPLE), _Placing(size, 0, top + margin, look.degrees).place(ink)


def _whole_steps(height: int) -> int:
    return max(SHORTEST, math.ceil(height / STEP) * STEP)


def _outline(look: _Look, side: int, height: int) -> list[tuple[float, float]]:
    """Corners of the paper in finished pixels, from its own top; a torn edge is jagged."""
    if look.edge == "straight":
        return [(side, 0), (WIDTH - side, 0), (WIDTH - side, height), (side, height)]
    teeth = 20
    across = [side + (WIDTH - 2 * side) * step / (2 * teeth) for step in range(2 * teeth + 1)]
    depth = [4 * (step % 2) for step in range(2 * teeth + 1)]
    top: list[tuple[float, float]] = list(zip(across, depth, strict=True))
    return top + [(x, height - y) for x, y in reversed(top)]


@dataclass(frozen=True)
class _Placing:
    """Where a sheet goes on an image of ``size``: moved ``right`` and ``down``, then turned about the middle."""

    size: tuple[int, int]
    right: int
    down: int
    degrees: float

    def place(self, sheet: Image.Image) -> Image.Image:
        """A supersampled sheet, at finished size."""
        if not self.degrees:
            left, top = -self.right * SUPERSAMPLE, -self.down * SUPERSAMPLE
            width, height = (side * SUPERSAMPLE for side in self.size)
            return sheet.crop((left, top, left + width, top + height)).reduce(SUPERSAMPLE)
        cosine, sine = self._turn()
        x, y = self.size[0] / 2, self.size[1] / 2
        across = (cosine, sine, x - cosine * x - sine * y - self.right)
        along = (-sine, cosine, y + sine * x - cosine * y - self.down)
        # Bilinear sampling at half the size averages the four pixels around a point: it turns and smooths in one pass.
        back = [SUPERSAMPLE * value for value in across + along]
        return sheet.transform(self.size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)

    def corners(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Points of the sheet, in finished pixels, on the image."""
        cosine, sine = self._turn()
        x, y = self.size[0] / 2, self.size[1] / 2
        moved = [(across + self.right - x, along + self.down - y) for across, along in points]
        return [(cosine * dx - sine * dy + x, sine * dx + cosine * dy + y) for dx, dy in moved]

    def _turn(self) -> tuple[float, float]:
        return math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))


def _table(look: _Look, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """What the paper lies on."""
    base, other = _TABLES[look.table]
    image = Image.new("RGB", size, base)
    pen = ImageDraw.Draw(image)
    if look.table == "cloth":
        for x in range(rng.randrange(16), size[0], 16):
            pen.line([(x, 0), (x, size[1])], fill=other, width=5)
        for y in range(rng.randrange(16), size[1], 16):
            pen.line([(0, y), (size[0], y)], fill=other, width=5)
    else:
        for _ in range(14):
            x = rng.randrange(size[0])
            pen.line([(x, 0), (x + rng.randint(-8, 8), size[1])], fill=other, width=rng.randint(1, 3))
    return image


#: Changes of brightness are grey images in which 128 means none.
_UNCHANGED = 128


def _worn(image: Image.Image, look: _Look, paper: Image.Image, rng: random.Random) -> Image.Image:
    """With the noise of a camera, and with folds across the paper."""
    grain = rng.randbytes(image.width * image.height).translate(_grain(look.noise))
    change = Image.frombytes("L", image.size, grain)
    for fold in range(look.folds):
        place, slope = rng.uniform(0.2, 0.8), rng.uniform(-0.05, 0.05)
        # A pixel's brightness follows from its distance from the fold; the second fold crosses the first.
        across = (slope, 1, 64 - place * image.height) if fold == 0 else (1, slope, 64 - place * image.width)
        crease = _crease().transform(
            image.size, Image.Transform.AFFINE, (0, 0, 0, *across), Image.Resampling.NEAREST, fillcolor=_UNCHANGED
        )
        crease = Image.composite(crease, Image.new("L", image.size, _UNCHANGED), paper)
        change = ImageChops.add(change, crease, offset=-_UNCHANGED)
    return ImageChops.add(image, Image.merge("RGB", [change] * 3), offset=-_UNCHANGED)


@lru_cache(maxsize=16)
def _grain(noise: int) -> bytes:
    """For each value of a random byte, a change of brightness within ± ``noise``."""
    return bytes(_UNCHANGED - noise + byte * (2 * noise + 1) // 256 for byte in range(256))


@lru_cache(maxsize=1)
def _crease() -> Image.Image:
    """Changes of brightness by the distance from a fold, -64 … 63 pixels: light before it, in the shade behind it."""
    changes = [4 * math.exp(far / 8) if far < 0 else -26 * math.exp(-far / 14) for far in range(-64, 64)]
    return Image.frombytes("L", (1, 128), bytes(_UNCHANGED + round(change) for change in changes))

"""Draws flat shapes in unit coordinates on a supersampled image, and notes how far a subject reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
#: Things made of shapes that never vary: name -> what `Pen.stamp` draws.
SHAPES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text(encoding="utf-8"))


def around(x: float, y: float, *offsets: Point) -> list[Point]:
    """Points by their offsets from (x, y)."""
    return [(x + dx, y + dy) for dx, dy in offsets]


def shade(colour: Colour, share: float) -> Colour:
    """A darker colour; 1 leaves it as it is."""
    red, green, blue = (int(channel * share) for channel in colour)
    return red, green, blue


class Pen:
    """Draws on an image whose left, top, right and bottom edges are 0, 0, 1 and 1.

    Widths of lines, radii of corners and both radii of an ellipse are shares of the image's width and height alike
    (for a square image the two are the same).
    """

    def __init__(self, image: Image.Image):
        self.width, self.height = image.size
        self._draw = ImageDraw.Draw(image)
        self._extent: list[float] | None = None
        self._zoom = (0.0, 0.0, 1.0)

    @contextmanager
    def zoomed(self, x: float, y: float, scale: float) -> Iterator[None]:
        """Within, everything is drawn ``scale`` times as large around (x, y)."""
        before, self._zoom = self._zoom, (x, y, scale)
        yield
        self._zoom = before

    def start_extent(self) -> None:
        """Note from here on how far the shapes reach."""
        self._extent = [1.0, 1.0, 0.0, 0.0]

    def extent(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of all shapes since `start_extent`, cut to the image; noting ends."""
        left, top, right, bottom = self._extent or (0.0, 0.0, 1.0, 1.0)
        self._extent = None
        return max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)

    def _pixels(self, points: Sequence[Point], reach: float = 0.0) -> list[Point]:
        centre_x, centre_y, scale = self._zoom
        if scale != 1.0:
            points = [(centre_x + (x - centre_x) * scale, centre_y + (y - centre_y) * scale) for x, y in points]
            reach *= scale
        if self._extent is not None:
            left, top, right, bottom = self._extent
            across, down = [x for x, _ in points], [y for _, y in points]
            nearer = min(left, min(across) - reach), min(top, min(down) - reach)
            further = max(right, max(across) + reach), max(bottom, max(down) + reach)
            self._extent = [*nearer, *further]
        return [(x * self.width, y * self.height) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon(self._pixels(points), fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self._draw.ellipse(self._pixels([(x - rx, y - ry), (x + rx, y + ry)]), fill=colour)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, radius: float = 0.0) -> None:
        self._draw.rounded_rectangle(
            self._pixels([(x0, y0), (x1, y1)]), radius=radius * self._zoom[2] * self.width, fill=colour
        )

    def limb(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A line with round ends through the points."""
        thick = max(1, round(width * self._zoom[2] * self.width))
        self._draw.line(self._pixels(points, width / 2), fill=colour, width=thick, joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2 * self.width / self.height, colour)

    def stamp(self, name: str, x: float, y: float, own: Colour = (0, 0, 0), mirror: int = 1) -> None:
        """A thing of `SHAPES` around (x, y), in its ``own`` colour; with ``mirror`` -1 as it stands at the right."""
        paints: dict[str, Any] = {"own": own, "dark": shade(own, 0.8)}
        for shape in SHAPES[name]:
            told = shape["colour"]
            colour = paints[told] if isinstance(told, str) else tuple(told)
            for across, down in shape.get("at", ((0, 0),)):
                left, top = x + mirror * across, y + down
                if "ellipse" in shape:
                    dx, dy, rx, ry = shape["ellipse"]
                    self.ellipse(left + dx, top + dy, rx, ry, colour)
                elif "box" in shape:
                    x0, y0, x1, y1 = shape["box"]
                    self.box(left + x0, top + y0, left + x1, top + y1, colour, shape.get("radius", 0.0))
                elif "limb" in shape:
                    self.limb(around(left, top, *shape["limb"]), shape["width"], colour)
                else:
                    self.polygon(around(left, top, *shape["polygon"]), colour)

"""The one place where coordinates change: from what a model writes to pixels of the image, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.video_tokens import fit
from toolkit.grounding.objects import Box, Found, Reading, finite

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """An image, and what a model's coordinates mean on it; made by `Canvas.of`."""

    width: int
    """Pixels of the whole image."""
    height: int
    across: float
    """What the model writes for the right edge of what it was shown; its left edge is 0."""
    down: float
    """What it writes for the lower edge."""
    crop: Box
    """The part that it was shown: left, top, right, bottom in pixels of the whole image."""

    @classmethod
    def of(
        cls,
        image: Image.Image | Size,
        scale: float | str = 1000,
        *,
        crop: Sequence[float] | None = None,
        sent: Size | None = None,
        processor: Any = None,
    ) -> Canvas:
        """The canvas of an image.

        Args:
            image: the whole image, or its width and height in pixels.
            scale: what the model writes for the right and lower edge: 1000 (Qwen3-VL, Qwen2-VL), 999 (some examples),
                or ``"pixels"`` (Qwen2.5-VL: pixels of the image as its processor resized it).
            crop: the part that was sent, in pixels of the whole image; None: all of it.
            sent: width and height as sent, if you resized it. It matters for ``"pixels"`` only.
            processor: of the model, loaded by transformers; for ``"pixels"`` only.

        Raises:
            CourseError: an image or crop without area, a crop outside the image, or an unknown scale.
        """
        width, height = image if isinstance(image, tuple) else image.size
        part = finite(list(crop)) if crop is not None else [0.0, 0.0, float(width), float(height)]
        if part is None or len(part) != 4 or not (0 <= part[0] < part[2] <= width and 0 <= part[1] < part[3] <= height):
            raise CourseError(
                f"There is no part {crop} of an image of {width} × {height} pixels.",
                "no area, a side outside the image, or corners the wrong way round",
                "give left, top, right, bottom in pixels; Canvas.clip cuts a box to the image",
            )
        edges: tuple[float, float]
        if scale == "pixels" and processor is not None:
            edges = seen_size(sent or (round(part[2] - part[0]), round(part[3] - part[1])), processor)
        elif isinstance(scale, int | float) and scale > 0:
            edges = scale, scale
        else:
            raise CourseError(
                f"Coordinates of scale {scale!r} are not known here.",
                "a misspelt scale, or pixels without the processor that resized the image",
                "use 1000, 999, or 'pixels' with processor=…",
            )
        return cls(width, height, edges[0], edges[1], (part[0], part[1], part[2], part[3]))

    def to_pixels(self, coordinates: Sequence[float]) -> tuple[float, ...]:
        """A point (x, y) or a box as the model writes it, in pixels of the whole image; not cut to it."""
        left, top, right, bottom = self.crop
        scales = ((right - left) / self.across, left), ((bottom - top) / self.down, top)
        return tuple(value * scales[place % 2][0] + scales[place % 2][1] for place, value in enumerate(coordinates))

    def from_pixels(self, coordinates: Sequence[float]) -> tuple[float, ...]:
        """The way back: pixels of the whole image, as the model would write them."""
        left, top, right, bottom = self.crop
        scales = (self.across / (right - left), left), (self.down / (bottom - top), top)
        return tuple((value - scales[place % 2][1]) * scales[place % 2][0] for place, value in enumerate(coordinates))

    def clip(self, box: Sequence[float]) -> Box | None:
        """The part of a box, in pixels, that lies in what the model was shown; None if nothing does."""
        left, right = (min(max(side, self.crop[0]), self.crop[2]) for side in (box[0], box[2]))
        top, bottom = (min(max(side, self.crop[1]), self.crop[3]) for side in (box[1], box[3]))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def place(self, reading: Reading) -> Reading:
        """The same objects in pixels of the whole image, cut to what was shown; those outside it are left out."""
        placed, problems = [], list(reading.problems)
        for thing in reading.objects:
            inside = self._placed(thing)
            if inside is None:
                problems.append(f"'{thing.label}' lies outside the image")
                continue
            if thing.box and inside.box != self.to_pixels(thing.box):
                problems.append(f"'{thing.label}' reaches out of the image")
            placed.append(inside)
        return Reading(tuple(placed), tuple(problems))

    def _placed(self, thing: Found) -> Found | None:
        box, point = thing.box, thing.point
        if box:
            box = self.clip(self.to_pixels(box))
        if point:
            x, y = self.to_pixels(point)
            point = (x, y) if self.crop[0] <= x <= self.crop[2] and self.crop[1] <= y <= self.crop[3] else None
        if (thing.box and not box) or (thing.point and not point):
            return None
        return replace(thing, box=box, point=point)


def seen_size(size: Size, processor: Any) -> Size:
    """Width and height of an image after the processor's own resizing, in pixels.

    Args:
        size: width and height as sent.
        processor: ``transformers.AutoProcessor`` of a Qwen-VL model, or its image processor.
    """
    images = getattr(processor, "image_processor", processor)
    limits = images.size["shortest_edge"], images.size["longest_edge"]
    unit = images.patch_size * images.merge_size
    height, width = fit((size[1], size[0]), unit, limits, shortest=unit)
    return width, height

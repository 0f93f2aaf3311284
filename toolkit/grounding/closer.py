"""A closer look at what lies in a box: what the zoom tool returns, and what the tiny Thinking edition learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.errors import CourseError
from toolkit.grounding.coordinates import Canvas
from toolkit.grounding.objects import Box

if TYPE_CHECKING:
    from PIL import Image

#: Pixels: the longer side of an enlarged part, the unit that its sides are multiples of, and the least side before.
ENLARGED, UNIT, LEAST = 256, 32, 4
#: Share of a box's size that is added on each side, since a model's boxes are rough.
MARGIN = 0.15


def look_closer(image: Image.Image, bbox_2d: Sequence[float], margin: float = MARGIN) -> tuple[Image.Image, Box]:
    """The part of an image inside a box, enlarged until its longer side has 256 pixels.

    Args:
        bbox_2d: left, top, right, bottom in thousandths of the image, as Qwen3-VL writes boxes.
        margin: share of the box's width and height that is added on each side; what would lie outside is cut off.

    Returns:
        The part, RGB, both sides multiples of 32 pixels, so that it becomes 8 tokens by 1 to 8; and where it lies, in
        pixels of the image.

    Raises:
        CourseError: reversed corners, or less than a few pixels of the image.
    """
    from PIL import Image

    left, top, right, bottom = bbox_2d
    if left > right or top > bottom:
        raise CourseError(f"The corners of {bbox_2d} are reversed.", "", "Give left, top, right, bottom.")
    canvas = Canvas.of(image)
    across, down = margin * (right - left), margin * (bottom - top)
    box = canvas.clip(canvas.to_pixels((left - across, top - down, right + across, bottom + down)))
    width, height = (box[2] - box[0], box[3] - box[1]) if box else (0, 0)
    if not box or min(width, height) < LEAST:
        raise CourseError(f"{bbox_2d} is {width:.0f} × {height:.0f} pixels.", "", "Give a larger box.")
    scale = ENLARGED / max(width, height)
    size = (max(round(width * scale / UNIT), 1) * UNIT, max(round(height * scale / UNIT), 1) * UNIT)
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box), box

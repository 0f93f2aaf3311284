"""Zooming as a tool: a box on the image that the user sent, whatever was cropped before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.agents.tools import Result, Tool
from toolkit.grounding.coordinates import Canvas

if TYPE_CHECKING:
    from PIL import Image

NAME = "image_zoom_in_tool"
#: Pixels: the longer side of an enlarged crop, the unit that its sides are multiples of, and the least side before.
ENLARGED, UNIT, LEAST = 256, 32, 4
#: Share of a box's size that is added on each side, since a model's boxes are rough.
MARGIN = 0.15
_SIDE = {"type": "number", "minimum": 0, "maximum": 1000}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "bbox_2d": {
            "type": "array",
            "items": _SIDE,
            "minItems": 4,
            "maxItems": 4,
            "description": "left, top, right, bottom, from 0 to 1000 of the image that the user sent",
        },
        "label": {"type": "string", "maxLength": 40, "description": "what is to be seen"},
    },
    "required": ["bbox_2d"],
    "additionalProperties": False,
}


def zoom_tool(image: Image.Image, *, margin: float = MARGIN) -> Tool:
    """The tool with which Qwen3-VL looks closer at an image.

    A box always refers to ``image``, not to the crop before; one that reaches outside is cut to it. Reversed corners,
    and a crop of less than a few pixels, are told to the model as errors.

    Args:
        image: that the user sent.
        margin: share of the box's size that is added on each side.
    """
    from PIL import Image

    canvas = Canvas.of(image)

    def zoom(bbox_2d: list[float], label: str = "") -> Result:
        left, top, right, bottom = bbox_2d
        if left > right or top > bottom:
            raise CourseError(f"The corners of {bbox_2d} are reversed.", "", "Give left, top, right, bottom.")
        across, down = margin * (right - left), margin * (bottom - top)
        box = canvas.clip(canvas.to_pixels((left - across, top - down, right + across, bottom + down)))
        width, height = (box[2] - box[0], box[3] - box[1]) if box else (0, 0)
        if not box or min(width, height) < LEAST:
            raise CourseError(f"{bbox_2d} is {width:.0f} × {height:.0f} pixels.", "", "Give a larger box.")
        scale = ENLARGED / max(width, height)
        size = (max(round(width * scale / UNIT), 1) * UNIT, max(round(height * scale / UNIT), 1) * UNIT)
        shown = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box)
        return Result("", shown, label, box)

    words = "Enlarge a part of the image that the user sent, to see details."
    return Tool(NAME, words, PARAMETERS, zoom)

"""Zooming as a tool: a box on the image that the user sent, whatever was cropped before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.agents.tools import Result, Tool
from toolkit.grounding.coordinates import Canvas

if TYPE_CHECKING:
    from PIL import Image

NAME = "image_zoom_in_tool"
#: Pixels of the longer side of an enlarged crop, and least pixels of a crop's sides before.
ENLARGED, LEAST = 256, 4
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


def zoom_tool(image: Image.Image, *, longest: int = ENLARGED) -> Tool:
    """The tool with which Qwen3-VL looks closer at an image.

    A box always refers to ``image``, not to the crop before; one that reaches outside is cut to it. Reversed corners,
    and a crop of less than a few pixels, are told to the model as errors.

    Args:
        image: that the user sent.
        longest: pixels of the longer side of what the model is shown.
    """
    from PIL import ImageOps

    canvas = Canvas.of(image)

    def zoom(bbox_2d: list[float], label: str = "") -> Result:
        left, top, right, bottom = bbox_2d
        if left > right or top > bottom:
            raise CourseError(f"The corners of {bbox_2d} are reversed.", "", "Give left, top, right, bottom.")
        box = canvas.clip(canvas.to_pixels(bbox_2d))
        left, top, right, bottom = map(round, box or (0, 0, 0, 0))
        width, height = right - left, bottom - top
        if min(width, height) < LEAST:
            raise CourseError(f"{bbox_2d} is {width} × {height} pixels.", "", "Give a larger box on the user's image.")
        shown = ImageOps.contain(image.crop((left, top, right, bottom)), (longest, longest))
        return Result(f"{label or 'The box'} {bbox_2d}, enlarged.", shown, (left, top, right, bottom))

    words = "Enlarge a part of the image that the user sent, to see details."
    return Tool(NAME, words, PARAMETERS, zoom)

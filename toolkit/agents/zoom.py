"""Zooming as a tool: a box on the image that the user sent, whatever was cropped before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit.agents.tools import Result, Tool
from toolkit.grounding.closer import MARGIN, look_closer

if TYPE_CHECKING:
    from PIL import Image

NAME = "image_zoom_in_tool"
_SIDE = {"type": "integer", "minimum": 0, "maximum": 1000}
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

    def zoom(bbox_2d: list[float], label: str = "") -> Result:
        shown, box = look_closer(image, bbox_2d, margin)
        return Result("", shown, label, box)

    words = "Enlarge a part of the image that the user sent, to see details."
    return Tool(NAME, words, PARAMETERS, zoom)

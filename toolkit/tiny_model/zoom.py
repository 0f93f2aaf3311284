"""The zoom tool: what a model is offered, how it calls it, and the enlarged part of the image that it gets back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from PIL import Image

from helpers.errors import CourseError

#: Qwen's own name and arguments, as in its cookbook "think with images".
ZOOM_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "image_zoom_in_tool",
        "description": "Zoom in on a part of the image by its box, to see small things better.",
        "parameters": {
            "type": "object",
            "properties": {
                "bbox_2d": {
                    "type": "array",
                    "items": {"type": "number"},
                    "minItems": 4,
                    "maxItems": 4,
                    "description": "left, top, right, bottom in thousandths of the image",
                },
                "label": {"type": "string", "description": "what is in the box"},
            },
            "required": ["bbox_2d", "label"],
        },
    },
}
#: How the chat template of the Thinking edition shows the tool to the model, as a system prompt.
OFFERED = "# Tools\n<tools>\nimage_zoom_in_tool(bbox_2d, label)\n</tools>"
#: Longer side of what the tool returns, in pixels, and the square that both sides are multiples of.
ENLARGED, UNIT = 256, 32
#: Share of the box's size that is added on each side, since a model's boxes are rough.
MARGIN = 0.15


def zoom_in(image: Image.Image, bbox_2d: Sequence[float], margin: float = MARGIN) -> Image.Image:
    """The part of an image inside a box, enlarged until its longer side has 256 pixels.

    Args:
        bbox_2d: left, top, right, bottom in thousandths of the image, as Qwen3-VL writes boxes.
        margin: share of the box's width and height that is added on each side; what would lie outside is cut off.

    Returns:
        RGB, both sides multiples of 32 pixels, so that it becomes 8 tokens by 1 to 8.

    Raises:
        CourseError: not four numbers, or a box without area inside the image.
    """
    try:
        left, top, right, bottom = (float(side) for side in bbox_2d)
    except (TypeError, ValueError):
        left = top = right = bottom = 0.0
    across, down = margin * (right - left), margin * (bottom - top)
    sides = [min(max(side, 0), 1000) for side in (left - across, top - down, right + across, bottom + down)]
    width, height = image.size
    box = [side * length / 1000 for side, length in zip(sides, (width, height, width, height), strict=True)]
    if not (box[2] - box[0] >= 1 and box[3] - box[1] >= 1):
        raise CourseError(
            f"There is nothing to zoom in on at {bbox_2d}.",
            "not four numbers, the corners the wrong way round, or a box outside the image",
            "give left, top, right, bottom from 0 to 1000",
        )
    scale = ENLARGED / max(box[2] - box[0], box[3] - box[1])
    size = [max(1, round(length * scale / UNIT)) * UNIT for length in (box[2] - box[0], box[3] - box[1])]
    part = (box[0], box[1], box[2], box[3])
    return image.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC, box=part)


def zoom_call(bbox_2d: Sequence[int], label: str) -> str:
    """The call as the model writes it, which vLLM's parser ``hermes`` reads."""
    arguments = {"bbox_2d": list(bbox_2d), "label": label}
    call = json.dumps({"name": ZOOM_TOOL["function"]["name"], "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"

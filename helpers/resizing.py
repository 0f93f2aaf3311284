"""``smart_resize`` of the Qwen-VL processors, for pictures and clips."""

from __future__ import annotations

import math


def fit(
    height: int,
    width: int,
    unit: int,
    fewest: float,
    most: float,
    *,
    frames: int = 1,
    counted: int = 1,
    shortest: int = 0,
    least: int | None = None,
) -> tuple[int, int]:
    """``smart_resize``: both sides whole tokens, the pixels within limits, the shape as it was as nearly as possible.

    Args:
        height: in pixels.
        width: in pixels.
        unit: side of a token's square in pixels.
        fewest: pixels of all frames together.
        most: pixels of all frames together.
        frames: how many; 1 for a picture.
        counted: ``frames`` rounded to whole pairs.
        shortest: rounding does not go below this side.
        least: nor does shrinking below this one; None: one token.

    Returns:
        height and width.
    """
    high, wide = (max(shortest, round(side / unit) * unit) for side in (height, width))
    if counted * high * wide > most:
        shrink = math.sqrt(frames * height * width / most)
        floor = unit if least is None else least
        high, wide = (max(floor, math.floor(side / shrink / unit) * unit) for side in (height, width))
    elif counted * high * wide < fewest:
        grow = math.sqrt(fewest / (frames * height * width))
        high, wide = (math.ceil(side * grow / unit) * unit for side in (height, width))
    return high, wide

"""Figures for notebooks 08 and 08b: how a tiny Qwen3-VL is built, what it sees, how it learns and where it errs.

Each is a function that returns a matplotlib figure of what it is given, measured by the caller; `compact` makes it
small.
"""

from toolkit.tiny_model.figures.examples import differences, gallery, items, labels, strip
from toolkit.tiny_model.figures.learning import curves, live, score_of, sizes
from toolkit.tiny_model.figures.structure import (
    architecture,
    channels,
    filters,
    patch_grid,
    patch_order,
    positions,
    runs,
)
from toolkit.tiny_model.figures.style import AXIS_COLOURS, RIGHT, WRONG, compact

__all__ = [
    "AXIS_COLOURS",
    "RIGHT",
    "WRONG",
    "architecture",
    "channels",
    "compact",
    "curves",
    "differences",
    "filters",
    "gallery",
    "items",
    "labels",
    "live",
    "patch_grid",
    "patch_order",
    "positions",
    "runs",
    "score_of",
    "sizes",
    "strip",
]

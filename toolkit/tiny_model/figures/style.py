"""Colours that the figures share, and what makes a figure small."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

VISION, TEXT, DEEPSTACK, QUIET = "#dfe9f7", "#f7ecd8", "#b5502b", "#607d8b"
#: Lines that everybody can tell apart (Okabe and Ito's colours).
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
#: Colours of the three position indices: time, height, width.
AXIS_COLOURS = {"time": "#d55e00", "height": "#0072b2", "width": "#009e73"}
WRONG, RIGHT = "#f6c1bc", "#cfe8cf"


def compact(figure: Figure) -> Image.Image:
    """The figure as an image of few colours, a third of the bytes in a notebook; the figure is closed."""
    import matplotlib.pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    opened = Image.open(buffer).convert("RGB")
    return opened.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def hide_frame(axes: Axes) -> None:
    """Leave only the two axes."""
    axes.spines[["top", "right"]].set_visible(False)

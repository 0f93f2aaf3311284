"""Boxes and points drawn on the image that they are about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from helpers.drawings import COLOURS
from toolkit.grounding.objects import Found

if TYPE_CHECKING:
    from PIL import Image


def draw_objects(
    image: Image.Image, objects: Iterable[Found], *, true: Iterable[Found] = (), axes: Any = None, title: str = ""
) -> Any:
    """Show an image with what was found on it, each in a colour of its own, and true boxes in dashed white.

    Args:
        image: the whole image.
        objects: in pixels of it, as `Canvas.place` returns them.
        true: what should have been found, in pixels as well.
        axes: of matplotlib, to draw on; None: a figure of their own.
        title: above the image.

    Returns:
        The axes.
    """
    from matplotlib import pyplot

    if axes is None:
        axes = pyplot.subplots(figsize=(4, 4 * image.height / image.width), layout="constrained")[1]
    axes.imshow(image, extent=(0, image.width, image.height, 0))
    for thing in true:
        if thing.box:
            axes.add_patch(_rectangle(thing.box, "black", linewidth=3.2))
            axes.add_patch(_rectangle(thing.box, "white", linewidth=1.6, linestyle="--"))
    for place, thing in enumerate(objects):
        colour = COLOURS[place % len(COLOURS)]
        if thing.box:
            axes.add_patch(_rectangle(thing.box, colour, linewidth=2.2))
        if thing.point:
            axes.plot(*thing.point, marker="o", markersize=8, color=colour, markeredgecolor="white")
        corner = thing.box[:2] if thing.box else thing.point
        if corner and thing.label:
            mark = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
            side = "bottom" if corner[1] > image.height / 12 else "top"  # above the box, if there is room
            axes.text(*corner, thing.label, fontsize=8, color="white", va=side, bbox=mark, clip_on=True)
    axes.set(xlim=(0, image.width), ylim=(image.height, 0), xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    return axes


def _rectangle(box: tuple[float, float, float, float], colour: str, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    return Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, **style)

"""What a loop looked at: the user's image with each crop's place, and the crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.drawings import COLOURS
from toolkit.agents.loop import Run
from toolkit.grounding.drawing import draw_objects
from toolkit.grounding.objects import Found

if TYPE_CHECKING:
    from PIL import Image


def draw_steps(image: Image.Image, run: Run, title: str = "") -> Any:
    """A figure: the image with the box of each crop, numbered, and every crop as the model was shown it.

    Args:
        image: that the user sent.
        run: of a loop with `zoom_tool`; calls that failed have no crop.
        title: above the image.
    """
    from matplotlib import pyplot

    crops = [
        (number, result, result.image)
        for number, step in enumerate(run.steps, start=1)
        for result in step.results
        if result.image
    ]
    count = len(crops) + 1
    figure, panels = pyplot.subplots(1, count, figsize=(3.2 * count, 3.4), layout="constrained", squeeze=False)
    places = [
        Found(f"step {number}", (*result.box,)) for number, result, _ in crops if result.box and len(result.box) == 4
    ]
    draw_objects(image, places, axes=panels[0][0], title=title)
    for panel, (place, (number, result, crop)) in zip(panels[0][1:], enumerate(crops), strict=True):
        draw_objects(crop, [], axes=panel, title=f"step {number}: {result.label}")
        for spine in panel.spines.values():
            spine.set(color=COLOURS[place % len(COLOURS)], linewidth=3)
    return figure

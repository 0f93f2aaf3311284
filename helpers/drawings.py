"""The strip of frames that a model sees of a video, and the colours of the course's drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from helpers.video_tokens import VideoPlan

#: Told apart by the colour-blind too, and white text is legible on each.
COLOURS = ("#0072b2", "#b35900", "#00795a", "#a8467f")


def frame_strip(plan: VideoPlan, frames: np.ndarray) -> Figure:
    """What a model sees of a video: the sampled frames in pairs with their times, and where they lie in it.

    Args:
        plan: from `helpers.video_tokens`.
        frames: uint8 (N, height, width, 3), one for each number of the plan; only the first 16 are shown.
    """
    import matplotlib.pyplot as plt

    step, shown = plan.rules.temporal, min(len(frames), 16)
    figure = plt.figure(figsize=(max(shown * 1.1, 7), 2.7), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3.4, 1))
    panels = above.subplots(1, shown, gridspec_kw={"wspace": 0.04}, squeeze=False)[0]
    high, wide = plan.size
    for place, panel in enumerate(panels):
        pair, colour = place // step, COLOURS[place // step % len(COLOURS)]
        panel.imshow(frames[place], extent=(0, wide, high, 0))
        if place % step == 0:  # the squares that become a token each, on the first frame of a pair
            panel.set_xticks(range(0, wide + 1, plan.rules.unit))
            panel.set_yticks(range(0, high + 1, plan.rules.unit))
            panel.grid(color="white", linewidth=0.4, alpha=0.8)
            panel.set_title(plan.marks[pair] if plan.marks else f"pair {pair + 1}", fontsize=7, loc="left")
        else:
            panel.set(xticks=[], yticks=[])
        panel.tick_params(length=0, labelbottom=False, labelleft=False)
        panel.set_xlabel(f"{plan.info.times[plan.numbers[place]]:.2f} s", fontsize=7)
        for edge in panel.spines.values():
            edge.set(color=colour, linewidth=2.5)
    line = below.subplots()
    line.vlines(plan.info.times, 0, 0.45, color="#b0bec5", linewidth=1)
    for place, number in enumerate(plan.numbers):
        line.vlines(plan.info.times[number], 0, 1, color=COLOURS[place // step % len(COLOURS)], linewidth=2.5)
    line.set(yticks=[], ylim=(0, 1.05))
    line.set_xlabel(
        f"seconds: {plan.info.frames} frames in the video, {len(plan.numbers)} seen in pairs, "
        f"{plan.tokens_per_pair} tokens of pixels per pair",
        fontsize=8,
    )
    line.tick_params(labelsize=7)
    line.spines[["top", "right", "left"]].set_visible(False)
    return figure

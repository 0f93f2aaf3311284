"""The course's explanatory drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from helpers.model_facts import ModelFacts
    from helpers.video_tokens import VideoPlan

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")
_EMPTY = "#eceff1"
#: Group in the drawing -> how the names of its parts in ``ModelFacts.parameter_table`` begin.
GROUPS = {
    "embeddings": ("token embeddings", "output head"),
    "attention": ("attention",),
    "MLPs or experts": ("MLPs", "experts"),
    "vision tower": ("vision:",),
    "norms, routers": ("norms", "routers"),
}


def paged_kv_cache(block_size: int = 4) -> Figure:
    """Two requests, their logical blocks, and where these lie in the shared KV cache."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(3, 2))
    requests = {"A": (_COLOURS[0], 10, (1, 6, 2)), "B": (_COLOURS[1], 7, (4, 0))}
    for row, (name, (colour, tokens, _)) in enumerate(requests.items()):
        y = -row * 1.8
        for block in range(-(-tokens // block_size)):
            x, used = block * (block_size + 0.6), min(block_size, tokens - block * block_size)
            for slot in range(block_size):
                left.add_patch(plt.Rectangle((x + slot, y), 0.92, 0.92, color=colour if slot < used else _EMPTY))
            left.text(x + block_size / 2, y + 1.08, f"block {block}", ha="center", fontsize=8)
        left.text(-0.5, y + 0.45, f"request {name}", ha="right", va="center")
    left.set(xlim=(-4.2, 14.5), ylim=(-2.3, 1.9), title="what each request sees: a sequence of tokens")
    owners = {place: (name, colour) for name, (colour, _, places) in requests.items() for place in places}
    for place in range(8):
        x, y = place % 4, -(place // 4) * 1.3
        name, colour = owners.get(place, ("free", _EMPTY))
        right.add_patch(plt.Rectangle((x, y), 0.9, 0.9, color=colour))
        right.text(x + 0.45, y + 0.45, name, ha="center", va="center", color="white" if name != "free" else "#78909c")
        right.text(x + 0.45, y - 0.16, str(place), ha="center", va="center", fontsize=7, color="#607d8b")
    right.set(xlim=(-0.2, 4.1), ylim=(-1.7, 1.3), title="what memory holds: blocks, in any order")
    for axes in (left, right):
        axes.axis("off")
    figure.tight_layout()
    return figure


def continuous_batching() -> Figure:
    """Static against continuous batching: four requests of unequal length on two seats."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.2), sharey=True, sharex=True)
    plans = {
        "static batch: a short answer waits for a long one": [(0, 0, 3), (1, 0, 8), (0, 8, 5), (1, 8, 2)],
        "continuous batching: a free seat is taken at once": [(0, 0, 3), (1, 0, 8), (0, 3, 5), (1, 8, 2)],
    }
    for panel, (title, plan) in zip(axes, plans.items(), strict=True):
        for number, (seat, start, steps) in enumerate(plan):
            panel.barh(seat, steps, left=start, height=0.62, color=_COLOURS[number])
            panel.text(start + steps / 2, seat, "ABCD"[number], ha="center", va="center", color="white")
        end = max(start + steps for _, start, steps in plan)
        panel.axvline(end, color="#455a64", linewidth=1, linestyle=":")
        panel.text(end + 0.2, 0.5, f"{end} steps", va="center", fontsize=8)
        panel.set_title(title, fontsize=10)
        panel.set(xlabel="decoding step", yticks=(0, 1), yticklabels=("seat 1", "seat 2"), xlim=(0, 14.5))
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


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
        pair, colour = place // step, _COLOURS[place // step % len(_COLOURS)]
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
        line.vlines(plan.info.times[number], 0, 1, color=_COLOURS[place // step % len(_COLOURS)], linewidth=2.5)
    line.set(yticks=[], ylim=(0, 1.05))
    line.set_xlabel(
        f"seconds: {plan.info.frames} frames in the video, {len(plan.numbers)} seen in pairs, "
        f"{plan.tokens_per_pair} tokens of pixels per pair",
        fontsize=8,
    )
    line.tick_params(labelsize=7)
    line.spines[["top", "right", "left"]].set_visible(False)
    return figure


def draw_path(facts: ModelFacts) -> Figure:
    """Draw how an image becomes tokens and a next token, with the model's numbers."""
    import matplotlib.pyplot as plt

    tower = facts.vision
    heads = f"{facts.heads} heads, {facts.kv_heads} for K and V"
    boxes = {
        "image": "height × width\npixels",
        "patches": f"{tower.patch} × {tower.patch}\npixels",
        "vision tower": f"{tower.depth} blocks\nwidth {tower.hidden}",
        "merger": f"{tower.merge} × {tower.merge} patches\nto 1 token",
        "language model": f"{facts.layers} layers, width {facts.hidden}\n{heads}",
        "next token": f"one of\n{facts.vocab:,}",
    }
    widths = [1.5, 1.2, 1.5, 1.5, 2.5, 1.2]
    figure, axes = plt.subplots(figsize=(10, 2.6))
    left, gap, centres = 0.0, 0.35, {}
    for (name, detail), width in zip(boxes.items(), widths, strict=True):
        ours = name in {"vision tower", "merger", "language model"}
        box = plt.Rectangle((left, -0.6), width, 1.2, facecolor="#dfe9f7" if ours else "#f4f4f4", edgecolor="#444444")
        axes.add_patch(box)
        centres[name] = left + width / 2
        axes.text(centres[name], 0.28, name, ha="center", va="center", weight="bold", size=9)
        axes.text(centres[name], -0.2, detail, ha="center", va="center", size=8.5)
        if left:
            axes.annotate("", (left, 0), (left - gap, 0), arrowprops={"arrowstyle": "-|>", "color": "#444444"})
        left += width + gap
    if tower.deepstack:
        start, end = centres["vision tower"], centres["language model"]
        style = {"arrowstyle": "-|>", "color": "#b5502b", "connectionstyle": "arc3,rad=-0.28"}
        axes.annotate("", (end, 0.65), (start, 0.65), arrowprops=style)
        blocks = ", ".join(map(str, tower.deepstack))
        label = f"deepstack: after blocks {blocks} (counted from 0), into the first {len(tower.deepstack)} layers"
        axes.text((start + end) / 2, 1.42, label, ha="center", color="#b5502b", size=9)
    axes.set(xlim=(-0.1, left - gap + 0.1), ylim=(-0.75, 1.7))
    axes.axis("off")
    figure.tight_layout()
    return figure


def draw_shares(models: dict[str, ModelFacts]) -> Figure:
    """Draw one bar per model: the share in % of each group of parts in all of its parameters."""
    import matplotlib.pyplot as plt

    colours = ["#4c78a8", "#f2a541", "#6aa84f", "#b5502b", "#999999"]
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.34 * len(models)))
    left = [0.0] * len(models)
    for (group, starts), colour in zip(GROUPS.items(), colours, strict=True):
        shares = []
        for facts in models.values():
            count = sum(count for part, count in facts.parameter_table().items() if part.startswith(starts))
            shares.append(100 * count / facts.parameters())
        axes.barh(list(models), shares, left=left, label=group, color=colour)
        left = [done + share for done, share in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="share of all parameters (%)", xlim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=len(GROUPS), loc="lower center", bbox_to_anchor=(0.35, 1), frameon=False, fontsize=9)
    figure.tight_layout()
    return figure

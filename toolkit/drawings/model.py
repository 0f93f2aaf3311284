"""A model in numbers: its path from pixels to the next token, and where its parameters are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.drawings import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from helpers.model_facts import ModelFacts

#: Group in the drawing -> how the names of its parts in ``ModelFacts.parameter_table`` begin.
GROUPS = {
    "embeddings": ("token embeddings", "output head"),
    "attention": ("attention",),
    "MLPs or experts": ("MLPs", "experts"),
    "vision tower": ("vision:",),
    "norms, routers": ("norms", "routers"),
}


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

    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.34 * len(models)))
    left = [0.0] * len(models)
    for (group, starts), colour in zip(GROUPS.items(), (*COLOURS, "#999999"), strict=True):
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

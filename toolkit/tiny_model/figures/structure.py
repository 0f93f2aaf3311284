"""How a tiny model is built and what it sees: architecture, patches, filters and positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.tiny_model.figures.style import AXIS_COLOURS, DEEPSTACK, QUIET, TEXT, VISION, hide_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

    from toolkit.tiny_model.patches import PatchLayout


def architecture(config: Any) -> Figure:
    """Vision tower and decoder side by side, with the paths between them: the merger, and deepstack's shortcuts.

    Args:
        config: a ``Qwen3VLConfig`` with no more vision layers or decoder layers than a screen can show.
    """
    import matplotlib.pyplot as plt

    vision, text = config.vision_config, config.text_config
    high = max(vision.depth, text.num_hidden_layers)
    figure, axes = plt.subplots(figsize=(9, 1.9 + 0.62 * high))

    def box(x: float, y: float, width: float, words: str, colour: str, height: float = 0.56) -> None:
        shape = plt.Rectangle((x - width / 2, y - height / 2), width, height, facecolor=colour, edgecolor="#444444")
        axes.add_patch(shape)
        axes.text(x, y, words, ha="center", va="center", size=8.5)

    def arrow(*points: tuple[float, float], colour: str = "#444444") -> None:
        if len(points) > 2:
            axes.plot(*zip(*points[:-1], strict=True), color=colour, linewidth=1.2, solid_capstyle="butt")
        style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", points[-1], points[-2], arrowprops=style)

    left, middle, right = 1.6, 4.9, 8.3
    patch = f"{vision.temporal_patch_size} × {vision.patch_size} × {vision.patch_size} pixels, 3 colours"
    box(left, -0.25, 2.9, f"patch embedding\n{patch} → {vision.hidden_size}", VISION, 0.74)
    for number in range(vision.depth):
        box(left, 1 + number, 2.9, f"vision block {number}, width {vision.hidden_size}", VISION)
        arrow((left, 0.12 if not number else number + 0.28), (left, number + 0.72))
    box(right, -0.25, 2.9, f"embedding, {config.text_config.vocab_size} tokens → {text.hidden_size}", TEXT)
    for number in range(text.num_hidden_layers):
        box(right, 1 + number, 2.9, f"decoder layer {number}, width {text.hidden_size}", TEXT)
        arrow((right, 0.03 if not number else number + 0.28), (right, number + 0.72))
    top = text.num_hidden_layers + 1
    arrow((right, top - 0.72), (right, top - 0.18))
    axes.text(right, top - 0.06, "norm, same embedding transposed: next token", ha="center", va="bottom", size=8.5)

    words = f"{vision.spatial_merge_size**2} patches → 1 token"
    lane = middle + 1.55
    above = vision.depth + 0.75
    arrow((left, vision.depth + 0.28), (left, above), (middle - 1.2, above))
    box(middle, above, 2.4, f"merger: {words}", VISION)
    arrow((middle + 1.2, above), (lane, above), (lane, 0.42), (right - 0.12, 0.42))
    axes.text(lane + 0.08, 0.5, "in place of <|image_pad|>", size=7.5, color=QUIET)
    for layer, block in enumerate(vision.deepstack_visual_indexes):
        low, target = block + 1.5, layer + 1.5
        arrow((left, low), (middle - 0.9, low), colour=DEEPSTACK)
        box(middle, low, 1.8, f"merger {layer + 1}", "#f7ddd2", 0.4)
        arrow((middle + 0.9, low), (lane - 0.25, low), (lane - 0.25, target), (right - 0.14, target), colour=DEEPSTACK)
        axes.add_patch(plt.Circle((right, target), 0.13, facecolor="white", edgecolor=DEEPSTACK, zorder=3))
        axes.text(right, target, "+", ha="center", va="center", color=DEEPSTACK, size=9, zorder=4)
    if vision.deepstack_visual_indexes:
        axes.text(middle, 0.95, "deepstack", ha="center", color=DEEPSTACK, size=9.5, weight="bold")
    axes.set(xlim=(0, 10.1), ylim=(-0.75, max(top, above) + 0.55), aspect="auto")
    axes.axis("off")
    figure.tight_layout()
    return figure


def patch_order(rows: int, columns: int, merge: int = 2) -> np.ndarray:
    """Where in memory each patch of an image is: int (rows, columns); the patches of a token are adjacent."""
    numbers = np.arange(rows * columns).reshape(rows // merge, columns // merge, merge, merge)
    return numbers.transpose(0, 2, 1, 3).reshape(rows, columns)


def patch_grid(image: Image.Image, layout: PatchLayout, corner: tuple[int, int] = (2, 2), shown: int = 3) -> Figure:
    """The image cut into patches and tokens, and an enlarged part with the patches' places in memory.

    Args:
        image: its sides are multiples of ``layout.unit``.
        corner: row and column of the enlarged part's first token.
        shown: tokens along each side of the enlarged part.
    """
    import matplotlib.pyplot as plt
    from matplotlib import patheffects

    patch, merge, unit = layout.patch, layout.merge, layout.unit
    width, height = image.size
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6))
    columns = width // unit
    for axes, part in ((left, (0, 0, width, height)), (right, _part(corner, shown, unit))):
        axes.imshow(np.asarray(image.crop(part)), extent=(part[0], part[2], part[3], part[1]))
        for step, strength in ((patch, 0.5), (unit, 1.6)):
            for x in range(part[0], part[2] + 1, step):
                axes.axvline(x, color="white", linewidth=strength)
            for y in range(part[1], part[3] + 1, step):
                axes.axhline(y, color="white", linewidth=strength)
        axes.set(xlim=(part[0], part[2]), ylim=(part[3], part[1]))
        axes.axis("off")
    outline = patheffects.withStroke(linewidth=2, foreground="#00000090")
    label = {"ha": "center", "va": "center", "color": "white", "path_effects": [outline]}
    for token in range(columns * (height // unit)):
        row, column = divmod(token, columns)
        left.text((column + 0.5) * unit, (row + 0.5) * unit, str(token), size=7.5, **label)
    order = patch_order(height // patch, width // patch, merge)
    first_row, first_column = corner[0] * merge, corner[1] * merge
    enlarged = np.ndindex(shown * merge, shown * merge)
    places = sorted((order[first_row + r, first_column + c], first_row + r, first_column + c) for r, c in enlarged)
    for place, row, column in places:
        right.text((column + 0.5) * patch, (row + 0.5) * patch, str(place), size=8, **label)
    for start in range(0, len(places), merge**2):
        path = [((c + 0.5) * patch, (r + 0.5) * patch) for _, r, c in places[start : start + merge**2]]
        right.plot(*zip(*path, strict=True), color=DEEPSTACK, linewidth=1.5, alpha=0.75)
    x0, y0, x1, y1 = _part(corner, shown, unit)
    left.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=DEEPSTACK, linewidth=2.2, zorder=3))
    left.set_title(f"{order.size} patches of {patch} × {patch} pixels, {order.size // merge**2} tokens", size=10)
    right.set_title("the marked part: places of its patches in memory", size=10)
    figure.tight_layout()
    return figure


def _part(corner: tuple[int, int], shown: int, unit: int) -> tuple[int, int, int, int]:
    row, column = corner
    return column * unit, row * unit, (column + shown) * unit, (row + shown) * unit


def filters(weight: np.ndarray, shown: int = 32) -> Figure:
    """The patch embedding's strongest rows as images: what each of them responds to.

    Args:
        weight: float (rows, 3, frames, patch, patch); the frames are averaged.
    """
    import matplotlib.pyplot as plt

    strength = np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
    chosen = weight[np.argsort(-strength, kind="stable")[:shown]].mean(axis=2).transpose(0, 2, 3, 1)
    columns = min(shown, 16)
    figure, panels = plt.subplots(-(-shown // columns), columns, figsize=(9, 0.3 + 0.62 * -(-shown // columns)))
    for axes, rows in zip(np.ravel(panels), chosen, strict=False):
        axes.imshow(0.5 + 0.5 * rows / np.abs(rows).max())
    for axes in np.ravel(panels):
        axes.axis("off")
    figure.suptitle(f"the {len(chosen)} strongest of {len(weight)} filters", size=10)
    figure.tight_layout(pad=0.3)
    return figure


def positions(prompts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """The position indices of each token of some prompts.

    Args:
        prompts: title → (indices, int (3, L): time, height, width; media, bool (L): tokens of images and videos).
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(prompts), 1, figsize=(9, 2.35 * len(prompts)), squeeze=False)
    for axes, (title, (indices, media)) in zip(panels[:, 0], prompts.items(), strict=True):
        places = np.arange(len(media))
        for start, end in runs(media):
            axes.axvspan(start - 0.5, end - 0.5, color="#eceff1", zorder=0)
            for name, row in zip(AXIS_COLOURS, indices, strict=True):
                axes.plot(places[start:end], row[start:end], ".-", color=AXIS_COLOURS[name], markersize=3, linewidth=1)
        axes.plot(places[~media], indices[0][~media], ".", color="#444444", markersize=3.5)
        axes.set_title(title, size=10, loc="left")
        axes.set(xlim=(-1, len(media)), ylim=(-1.5, None), ylabel="position")
        hide_frame(axes)
    for name, colour in AXIS_COLOURS.items():
        panels[0, 0].plot([], [], ".-", color=colour, label=name)
    panels[0, 0].plot([], [], ".", color="#444444", label="text: all three equal")
    panels[0, 0].legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0.1)
    panels[-1, 0].set_xlabel("token (grey background: of an image or a video)")
    figure.tight_layout()
    return figure


def runs(flags: Sequence[bool] | np.ndarray) -> list[tuple[int, int]]:
    """(Start, end) of each run of true flags; the end is exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def channels(families: dict[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """Which index turns each frequency pair of a head, and how long one turn takes.

    Args:
        families: name → (per pair 0 for time, 1 for height, 2 for width; per pair the positions that one turn takes).
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(families), figsize=(9, 2.5), sharey=True, squeeze=False)
    for axes, (title, (axis_of, turns)) in zip(panels[0], families.items(), strict=True):
        colours = [list(AXIS_COLOURS.values())[axis] for axis in axis_of]
        axes.bar(range(len(turns)), turns, color=colours, width=0.82, bottom=1)
        axes.set(yscale="log", xlabel="frequency pair of a head", ylim=(1, None))
        axes.set_title(title, size=10)
        hide_frame(axes)
    panels[0, 0].set_ylabel("positions for one turn")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in AXIS_COLOURS.values()]
    panels[0, 0].legend(handles, AXIS_COLOURS, frameon=False, fontsize=8, title="turned by", title_fontsize=8)
    figure.tight_layout()
    return figure

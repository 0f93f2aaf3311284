"""Drawings for notebook 08: how a tiny Qwen3-VL is built, what it sees, how it learns and where it errs.

Every drawing is a function that returns a matplotlib figure; what it shows is handed in, measured by the caller.
`compact` makes a figure small.
"""

from __future__ import annotations

import difflib
import io
import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import CourseError
from toolkit.toyworld.items import KINDS, Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    from toolkit.tiny_model.patches import Layout

VISION, TEXT, DEEPSTACK, QUIET = "#dfe9f7", "#f7ecd8", "#b5502b", "#607d8b"
#: Colours of the three position indices: time, height, width.
AXIS_COLOURS = {"time": "#b5502b", "height": "#4c78a8", "width": "#54a24b"}
WRONG, RIGHT = "#f6c1bc", "#cfe8cf"
#: So many equal tokens in a row, or more, are drawn as one.
FOLDED = 4
#: Width of a character of DejaVu Sans Mono, in em.
_MONO = 0.602


def compact(figure: Figure, colours: int = 128) -> Image.Image:
    """The figure as a picture of few colours, a third of the bytes in a notebook; the figure is closed."""
    import matplotlib.pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    return (
        Image.open(buffer).convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    )


# ---------------------------------------------------------------- how it is built


def architecture(config: Any) -> Figure:
    """Vision tower and decoder side by side, with the ways between them: the merger, and deepstack's shortcuts.

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


# ---------------------------------------------------------------- what it sees


def patch_order(rows: int, columns: int, merge: int = 2) -> np.ndarray:
    """Where in memory each patch of a picture lies: int (rows, columns).

    Patches of one token lie together, row by row within it; tokens follow each other row by row.
    """
    numbers = np.arange(rows * columns).reshape(rows // merge, columns // merge, merge, merge)
    return numbers.transpose(0, 2, 1, 3).reshape(rows, columns)


def patch_grid(picture: Image.Image, layout: Layout, corner: tuple[int, int] = (2, 2), shown: int = 3) -> Figure:
    """The picture cut into patches and tokens, and an enlarged part with the patches' places in memory.

    Args:
        picture: its sides are multiples of ``layout.unit``.
        layout: the family's patch size and merge.
        corner: row and column of the enlarged part's first token.
        shown: tokens along each side of the enlarged part.
    """
    import matplotlib.pyplot as plt

    patch, merge, unit = layout.patch, layout.merge, layout.unit
    width, height = picture.size
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6))
    columns = width // unit
    for axes, part in ((left, (0, 0, width, height)), (right, _part(corner, shown, unit))):
        axes.imshow(np.asarray(picture.crop(part)), extent=(part[0], part[2], part[3], part[1]))
        for step, strength in ((patch, 0.5), (unit, 1.6)):
            for x in range(part[0], part[2] + 1, step):
                axes.axvline(x, color="white", linewidth=strength)
            for y in range(part[1], part[3] + 1, step):
                axes.axhline(y, color="white", linewidth=strength)
        axes.set(xlim=(part[0], part[2]), ylim=(part[3], part[1]))
        axes.axis("off")
    label = {"ha": "center", "va": "center", "color": "white", "path_effects": _outline()}
    for token in range(columns * (height // unit)):
        row, column = divmod(token, columns)
        left.text((column + 0.5) * unit, (row + 0.5) * unit, str(token), size=7.5, **label)
    order = patch_order(height // patch, width // patch, merge)
    rows = slice(corner[0] * merge, (corner[0] + shown) * merge)
    across = slice(corner[1] * merge, (corner[1] + shown) * merge)
    places = sorted((order[r, c], r, c) for r in range(rows.start, rows.stop) for c in range(across.start, across.stop))
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


def _outline() -> list[Any]:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=2, foreground="#00000090")]


def filters(weight: np.ndarray, shown: int = 32) -> Figure:
    """The patch embedding's strongest rows as pictures: what each of them answers to.

    Args:
        weight: float (rows, 3, frames, patch, patch); the frames are averaged.
        shown: how many, from the strongest on.
    """
    import matplotlib.pyplot as plt

    strength = np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
    chosen = weight[np.argsort(-strength, kind="stable")[:shown]].mean(axis=2).transpose(0, 2, 3, 1)
    columns = min(shown, 16)
    figure, panels = plt.subplots(-(-shown // columns), columns, figsize=(9, 0.62 * -(-shown // columns)))
    for axes, rows in zip(np.ravel(panels), chosen, strict=False):
        axes.imshow(0.5 + 0.5 * rows / np.abs(rows).max())
    for axes in np.ravel(panels):
        axes.axis("off")
    figure.tight_layout(pad=0.3)
    return figure


# ---------------------------------------------------------------- positions


def positions(prompts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """The position indices of each token of some prompts.

    Args:
        prompts: title → (indices, int (3, L): time, height, width; media, bool (L): tokens of pictures and clips).
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
        axes.spines[["top", "right"]].set_visible(False)
    for name, colour in AXIS_COLOURS.items():
        panels[0, 0].plot([], [], ".-", color=colour, label=name)
    panels[0, 0].plot([], [], ".", color="#444444", label="text: all three alike")
    panels[0, 0].legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0.1)
    panels[-1, 0].set_xlabel("token (grey ground: of a picture or a clip)")
    figure.tight_layout()
    return figure


def runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """(Start, end) of each run of true flags; the end is the first place after it."""
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
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("positions for one turn")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in AXIS_COLOURS.values()]
    panels[0, 0].legend(handles, AXIS_COLOURS, frameon=False, fontsize=8, title="turned by", title_fontsize=8)
    figure.tight_layout()
    return figure


# ---------------------------------------------------------------- what it learns from


def items(shown: Sequence[tuple[str, Any, Sequence[tuple[str, str]]]]) -> Figure:
    """Items of the toy world with questions and answers.

    Args:
        shown: per item its name, its medium (a picture, a clip or None), and (question, answer) pairs.
    """
    import matplotlib.pyplot as plt

    texts = [_dialogue(asked) for _, _, asked in shown]
    heights = [
        max(1.55 if medium else 0, 0.17 * len(lines) + 0.35) for (_, medium, _), lines in zip(shown, texts, strict=True)
    ]
    figure, panels = plt.subplots(
        len(shown), 2, figsize=(9.6, sum(heights)), height_ratios=heights, width_ratios=(2.7, 7.2), squeeze=False
    )
    for (left, right), (name, medium, _), lines in zip(panels, shown, texts, strict=True):
        if medium is not None:
            left.imshow(np.asarray(strip(medium) if isinstance(medium, Clip) else medium))
        left.set_anchor("N")
        left.axis("off")
        right.axis("off")
        right.text(0, 1, name, transform=right.transAxes, va="top", size=10, weight="bold")
        for number, (line, is_answer) in enumerate(lines):
            y = 1 - (0.27 + 0.17 * number) / (right.get_position().height * figure.get_figheight())
            colour = "#2e6b34" if is_answer else "#222222"
            right.text(0, y, line, transform=right.transAxes, va="top", size=8.5, color=colour)
    figure.tight_layout(pad=0.4)
    return figure


def _dialogue(asked: Sequence[tuple[str, str]], width: int = 100) -> list[tuple[str, bool]]:
    lines = []
    for question, answer in asked:
        lines += [(line, False) for line in textwrap.wrap(question, width)]
        for part in answer.split("\n"):
            lines += [("    " + line, True) for line in textwrap.wrap(part, width - 4) or [""]]
    return lines


def strip(clip: Clip, columns: int = 4, gap: int = 4) -> Image.Image:
    """The frames of a clip as one picture, ``columns`` to a row."""
    from PIL import Image

    width, height = clip.frames[0].size
    rows = -(-len(clip.frames) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, frame in enumerate(clip.frames):
        row, column = divmod(number, columns)
        sheet.paste(frame, (column * (width + gap), row * (height + gap)))
    return sheet


def labels(pieces: Sequence[str], learned: Sequence[bool], columns: int = 108) -> Figure:
    """A tokenized conversation, each token in a box; learned ones are coloured.

    Equal neighbours, from `FOLDED` on, are drawn once, with their number.

    Args:
        pieces: each token's text.
        learned: whether the loss counts it.
        columns: characters in a row.
    """
    placed: list[tuple[str, str | None]] = []
    for (piece, counts), alike in itertools.groupby(zip(pieces, learned, strict=True)):
        times = len(list(alike))
        text, colour = piece.replace("\n", "↵").replace(" ", "·"), RIGHT if counts else "#eceff1"
        placed += [(text, colour)] * times if times < FOLDED else [(f"{text} × {times}", colour)]
    figure, axes = _page(len(_flow(placed, columns, gap=1)), columns)
    _write(axes, _flow(placed, columns, gap=1), boxes=True)
    return figure


# ---------------------------------------------------------------- text on a grid of characters


def _flow(words: Sequence[tuple[str, str | None]], columns: int, gap: int) -> list[list[tuple[int, str, str | None]]]:
    """Lines of (column, text, colour); a word that does not fit starts a new line."""
    lines: list[list[tuple[int, str, str | None]]] = [[]]
    column = 0
    for text, colour in words:
        if column and column + len(text) > columns:
            lines.append([])
            column = 0
        lines[-1].append((column, text, colour))
        column += len(text) + gap
    return lines


def _page(rows: int, columns: int, width: float = 9.0) -> tuple[Figure, Axes]:
    """A figure whose axes count characters across and lines down."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, 0.27 * rows + 0.1))
    axes = figure.add_axes((0.005, 0.02, 0.99, 0.96))
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.axis("off")
    return figure, axes


def _write(axes: Axes, lines: list[list[tuple[int, str, str | None]]], boxes: bool = False) -> None:
    import matplotlib.pyplot as plt

    figure = axes.get_figure()
    inches = axes.get_position().width * figure.get_figwidth() / abs(np.diff(axes.get_xlim())[0])
    for row, line in enumerate(lines):
        for column, text, colour in line:
            if colour:
                margin = 0.25 if boxes else 0.1
                place = (column - margin, row + 0.1)
                axes.add_patch(plt.Rectangle(place, len(text) + 2 * margin, 0.8, facecolor=colour, linewidth=0))
            axes.text(column, row + 0.5, text, va="center_baseline", family="monospace", size=inches / _MONO * 72)


# ---------------------------------------------------------------- how it learns


def live(loss: Sequence[tuple[float, float]], facts: Sequence[tuple[float, float]], guess: float) -> Figure:
    """A short training: its loss, and the share of facts that it gets right.

    Args:
        loss: (examples seen, loss).
        facts: (examples seen, share of facts right, 0 to 1).
        guess: the share that a description of another picture gets.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
    left.plot(*zip(*loss, strict=True), ".-", color="#4c78a8")
    left.set(xlabel="examples seen", ylabel="loss", ylim=(0, None), title="loss on the answers' tokens")
    right.plot(*zip(*facts, strict=True), "o-", color="#54a24b", label="this model")
    right.axhline(guess, color=QUIET, linestyle="--", linewidth=1, label="the description of another picture")
    right.set(xlabel="examples seen", ylabel="F1 of facts", ylim=(0, 1), title="held-out pictures, described")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, None)
        axes.title.set_size(10)
    figure.tight_layout()
    return figure


def score_of(log: Sequence[dict[str, Any]], what: str = "exact") -> dict[str, list[tuple[float, float]]]:
    """Task → (examples seen, score) of a training log; tasks that only some lines have are kept.

    Args:
        log: lines as `train` writes them, with fields ``<task>_exact`` and ``<task>_tokens``.
        what: the suffix.
    """
    scores: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        for field, value in line.items():
            if (match := re.fullmatch(rf"(.+)_{what}", field)) and isinstance(value, int | float):
                scores.setdefault(match[1], []).append((line["examples"], value))
    return scores


def curves(log: Sequence[dict[str, Any]], what: str = "exact", starts: Mapping[str, float] | None = None) -> Figure:
    """Held-out scores of every task while it was trained, a panel for each kind of item, and the loss.

    Args:
        log: lines as `train` writes them.
        what: the suffix of the scores.
        starts: stage → conversations seen when it began, see `history`; a dotted line each, named in the
            panel of the loss. A line of the log without a score leaves a gap in its curve.

    Raises:
        CourseError: no score of that name in the log.
    """
    import matplotlib.pyplot as plt

    scores = score_of(log, what)
    if not scores:
        raise CourseError(f"The training log has no field that ends in '_{what}'.", "it is empty, or of another form")
    unmeasured = [(line["examples"], np.nan) for line in log if not score_of([line], what)]
    kinds = [kind for kind in KINDS if any(_kind_of(task) == kind for task in scores)]
    rows = -(-(len(kinds) + 1) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(9.6, 2.1 * rows), sharex=True, squeeze=False)
    panels = panels.ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        tasks = [task for task in scores if _kind_of(task) == kind]
        colours = plt.get_cmap("tab20" if len(tasks) > 10 else "tab10").colors
        for task, colour in zip(tasks, itertools.cycle(colours), strict=False):
            xs, ys = zip(*sorted(scores[task] + unmeasured), strict=True)
            axes.plot(np.array(xs) / 1000, ys, color=colour, linewidth=1.3, label=task.removeprefix(f"{kind}_"))
        axes.set_title(kind, size=10)
        axes.set_ylim(-0.02, 1.02)
        axes.legend(frameon=False, fontsize=7, labelspacing=0.15, loc="center left", bbox_to_anchor=(1, 0.5))
    last = panels[len(kinds)]
    last.plot([line["examples"] / 1000 for line in log], [line["loss"] for line in log], color="#444444", linewidth=1.3)
    last.set_title("training loss", size=10)
    last.set_ylim(0, None)
    for name, start in (starts or {}).items():
        last.annotate(name, (start / 1000, 0.97), xycoords=("data", "axes fraction"), size=7, rotation=90, va="top")
    for axes in panels[len(kinds) + 1 :]:
        axes.axis("off")
    for axes in panels[: len(kinds) + 1]:
        for start in (starts or {}).values():
            axes.axvline(start / 1000, color="#888888", linewidth=0.8, linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in panels[max(0, len(kinds) - 1) : len(kinds) + 1]:
        axes.set_xlabel("thousand conversations")
    figure.tight_layout()
    return figure


def _kind_of(task: str) -> str:
    return task.split("_")[0]


def sizes(study: Sequence[dict[str, Any]]) -> Figure:
    """Scores of models of several sizes.

    Args:
        study: per model ``size``, ``parameters``, ``scores`` (name → 0 to 1).
    """
    import matplotlib.pyplot as plt

    study = sorted(study, key=lambda row: row["parameters"])
    figure, axes = plt.subplots(figsize=(9, 3.2))
    names = list(dict.fromkeys(name for row in study for name in row["scores"]))
    colours = plt.get_cmap("tab20" if len(names) > 10 else "tab10").colors
    for number, name in enumerate(names):
        points = [(row["parameters"] / 1e6, row["scores"][name]) for row in study if name in row["scores"]]
        axes.plot(*zip(*points, strict=True), "o-", label=name, linewidth=1.2, color=colours[number % len(colours)])
    ticks = [row["parameters"] / 1e6 for row in study]
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="parameters (millions)", ylabel="held-out score")
    axes.set_xticks(
        ticks, [f"{value:.3g}\n{row['size']}" for value, row in zip(ticks, study, strict=True)], minor=False
    )
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure


# ---------------------------------------------------------------- where it errs


def differences(answer: str, accepted: Sequence[str]) -> list[tuple[str, str]]:
    """The words of an answer and those of the accepted wording that is nearest to it.

    Returns:
        (word, state) in order; the state is "same", "wrong" (the answer's alone) or "missing" (the wording's alone).
    """
    said = answer.split()
    matchers = [difflib.SequenceMatcher(None, said, wording.split(), autojunk=False) for wording in accepted]
    nearest = max(matchers, key=lambda matcher: matcher.ratio())
    found = []
    for operation, a0, a1, b0, b1 in nearest.get_opcodes():
        if operation == "equal":
            found += [(word, "same") for word in said[a0:a1]]
        else:
            found += [(word, "wrong") for word in said[a0:a1]]
            found += [(word, "missing") for word in nearest.b[b0:b1]]
    return found


def gallery(failures: Sequence[tuple[Image.Image, str, Sequence[str]]], columns: int = 47) -> Figure:
    """Pictures with what was said of them: wrong words on red, what should stand there on green.

    Args:
        failures: per picture the answer and the accepted wordings.
        columns: characters in a row of text.
    """
    import matplotlib.pyplot as plt

    colours = {"same": None, "wrong": WRONG, "missing": RIGHT}
    pages = [
        _flow([(word, colours[state]) for word, state in differences(answer, accepted)], columns, gap=1)
        for _, answer, accepted in failures
    ]
    rows = -(-len(failures) // 2)
    lines = [max(len(page) for page in pages[2 * row : 2 * row + 2]) for row in range(rows)]
    heights = [max(1.5, 0.19 * count + 0.1) for count in lines]
    figure = plt.figure(figsize=(9.6, sum(heights)))
    top = 1.0
    for row, height in enumerate(heights):
        share = height / figure.get_figheight()
        top -= share
        for side in range(2):
            if (number := 2 * row + side) >= len(failures):
                continue
            wide = 1.4 / figure.get_figwidth()
            picture = figure.add_axes((0.5 * side + 0.003, top + 0.02 * share, wide, 0.96 * share))
            picture.imshow(np.asarray(failures[number][0]))
            picture.set_anchor("N")
            picture.axis("off")
            axes = figure.add_axes((0.5 * side + wide + 0.012, top + 0.02 * share, 0.48 - wide, 0.96 * share))
            axes.set(xlim=(0, columns), ylim=(height * 0.96 / 0.19, 0))
            axes.axis("off")
            _write(axes, pages[number])
    return figure

"""How a tiny model learns: loss and held-out scores while it is trained, and what its size changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import CourseError
from toolkit.tiny_model.figures.style import PALETTE, QUIET, hide_frame
from toolkit.toyworld.items import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def live(loss: Sequence[tuple[float, float]], facts: Sequence[tuple[float, float]], guess: float) -> Figure:
    """A short training: its loss, and the share of facts that it gets right.

    Args:
        loss: (examples seen, loss).
        facts: (examples seen, share of facts right, 0 to 1).
        guess: the share that a description of another image gets.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
    left.plot(*zip(*loss, strict=True), ".-", color=PALETTE[0])
    left.set(xlabel="examples seen", ylabel="loss", ylim=(0, None), title="loss on the answers' tokens")
    right.plot(*zip(*facts, strict=True), "o-", color=PALETTE[2], label="this model")
    right.axhline(guess, color=QUIET, linestyle="--", linewidth=1, label="the description of another image")
    right.set(xlabel="examples seen", ylabel="F1 of facts", ylim=(0, 1), title="held-out images, described")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        hide_frame(axes)
        axes.set_xlim(0, None)
        axes.title.set_size(10)
    figure.tight_layout()
    return figure


def score_of(log: Sequence[dict[str, Any]], what: str = "exact") -> dict[str, list[tuple[float, float]]]:
    """Task → (examples seen, score) of a training log; tasks that only some lines have are kept.

    Args:
        log: lines as `train` writes them, with fields ``<task>_exact`` and ``<task>_tokens``.
    """
    scores: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        for field, value in line.items():
            if (match := re.fullmatch(rf"(.+)_{what}", field)) and isinstance(value, int | float):
                scores.setdefault(match[1], []).append((line["examples"], value))
    return scores


def curves(log: Sequence[dict[str, Any]], what: str = "exact", starts: Mapping[str, float] | None = None) -> Figure:
    """Held-out scores of every task while it was trained, a panel per kind of item, and the loss.

    Args:
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
    kinds = [kind for kind in KINDS if any(task.split("_")[0] == kind for task in scores)]
    rows = -(-(len(kinds) + 1) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(9.6, 2.1 * rows), sharex=True, squeeze=False)
    panels = panels.ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        tasks = [task for task in scores if task.split("_")[0] == kind]
        # More lines than can be told apart: those that end lowest are coloured, the others grey behind them.
        worst = sorted(tasks, key=lambda task: max(scores[task])[1])[: len(PALETTE)]
        colours = dict(zip([task for task in tasks if task in worst], PALETTE, strict=False))
        others = f"{len(tasks) - len(colours)} others, higher"
        for task in sorted(tasks, key=colours.__contains__):
            xs, ys = zip(*sorted(scores[task] + unmeasured), strict=True)
            style = {"color": colours.get(task, "#b0b7bd"), "linewidth": 1.3 if task in colours else 0.8}
            label = task.removeprefix(f"{kind}_") if task in colours else others
            axes.plot(np.array(xs) / 1000, ys, label=label, **style)
            others = others if task in colours else ""
        axes.set_title(kind, size=10)
        axes.set(ylim=(-0.02, 1.02), ylabel="score")
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
        hide_frame(axes)
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in panels[max(0, len(kinds) - 1) : len(kinds) + 1]:
        axes.set_xlabel("thousand conversations")
    figure.tight_layout()
    return figure


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
    hide_frame(axes)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure

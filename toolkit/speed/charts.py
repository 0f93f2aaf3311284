"""Speed as the notebooks draw it: one request in time, sweeps, a server under load, and the roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from helpers.drawings import COLOURS

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from toolkit.speed.roofline import MachineLimits

_BLUE, _ORANGE, _GREEN = COLOURS[:3]
_GREY = "#8a8f98"

#: Columns of times, as people call them.
_TIMES = {"first_text_ms": "time to first text", "e2e_ms": "end to end", "token_ms": "per token"}


def _finished(figure: Figure, title: str) -> Figure:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    return figure


def request_timeline() -> Figure:
    """What the metrics of a request mean, drawn and not measured: the server's stages, and what the client sees."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 2.9), layout="constrained")
    queue, prefill, step, tokens = 1.6, 3.2, 0.8, 7
    stages = (("queue", 0.0, queue, _GREY), ("prefill", queue, prefill, _ORANGE))
    for name, start, length, colour in stages:
        axes.barh(1, length, left=start, height=0.55, color=colour)
        axes.text(start + length / 2, 1, name, ha="center", va="center", color="white")
    first = queue + prefill
    for number in range(1, tokens):
        axes.barh(1, step * 0.94, left=first + (number - 1) * step, height=0.55, color=_BLUE)
    end = first + (tokens - 1) * step
    axes.text((first + end) / 2, 1.36, "decode, one step per further token", ha="center", va="bottom", color=_BLUE)
    for number in range(tokens):
        axes.plot(first + number * step, 0.2, "v", color=_BLUE)
        axes.text(first + number * step, -0.02, f"token {number + 1}", ha="center", va="top", fontsize=7)
    spans = (
        ("time to first token (TTFT)", 0.0, first, -0.75),
        ("inter-token latency (ITL)", first + step, first + 2 * step, -0.75),
        ("end-to-end latency (E2E)", 0.0, end, -1.5),
    )
    for name, start, stop, height in spans:
        axes.annotate("", (start, height), (stop, height), arrowprops={"arrowstyle": "<->", "color": "#263238"})
        axes.text((start + stop) / 2, height - 0.1, name, ha="center", va="top", fontsize=9)
    axes.set(xlim=(-1.5, end + 0.6), ylim=(-2.1, 1.7))
    axes.text(-0.15, 1, "server", ha="right", va="center")
    axes.text(-0.15, 0.15, "client", ha="right", va="center")
    axes.axis("off")
    return figure


def sweep_panels(panels: Sequence[tuple[pandas.DataFrame, str, str, str]], title: str = "") -> Figure:
    """One panel per sweep, side by side: every request as a dot, medians as a line.

    Args:
        panels: of each the frame with a row per request, its column for x, its column for y (ms), and what x is.
        title: above all of them.
    """
    from matplotlib import pyplot

    width = min(11.0, 0.8 + 3.0 * len(panels))
    figure, row = pyplot.subplots(1, len(panels), figsize=(width, 2.9), layout="constrained", squeeze=False)
    for axes, (frame, x, y, label) in zip(row[0], panels, strict=True):
        axes.plot(frame[x], frame[y], "o", color=_GREY, markersize=3, alpha=0.5)
        medians = frame.groupby(x)[y].median()
        axes.plot(medians.index, medians.to_numpy(), "o-", color=_BLUE, markersize=5)
        axes.set(xlabel=label, ylabel=f"{_TIMES.get(y, y)}, ms", xlim=(0, None), ylim=(0, None))
    return _finished(figure, title)


def concurrency_plot(table: pandas.DataFrame, title: str = "") -> Figure:
    """Throughput and latency against concurrency, and one against the other.

    Args:
        table: index: requests at a time; columns tokens_per_second, e2e_p50, e2e_p95 and token_p50 (ms).
        title: above the panels.
    """
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(11, 3.1), layout="constrained")
    left.plot(table.index, table["tokens_per_second"], "o-", color=_BLUE)
    left.set(xlabel="requests at a time", ylabel="answer tokens/s, all together", ylim=(0, None))
    middle.plot(table.index, table["e2e_p50"], "o-", color=_BLUE, label="p50")
    middle.plot(table.index, table["e2e_p95"], "o--", color=_ORANGE, label="p95")
    middle.set(xlabel="requests at a time", ylabel="end-to-end latency, ms", ylim=(0, None))
    middle.legend(fontsize=8)
    speed = 1000 / table["token_p50"]
    right.plot(speed, table["tokens_per_second"], "o-", color=_GREEN)
    for name, x, y in zip(table.index, speed, table["tokens_per_second"], strict=True):
        right.annotate(str(name), (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
    right.set(xlabel="tokens/s that one user sees", ylabel="tokens/s, all together")
    right.locator_params(axis="x", nbins=5)  # room for numbers of six digits
    right.set(xlim=(0, 1.12 * speed.max()), ylim=(0, 1.12 * table["tokens_per_second"].max()))
    return _finished(figure, title)


def load_plot(table: pandas.DataFrame, capacity: float, title: str = "") -> Figure:
    """What users wait, and what the server delivers, against the rate at which requests come.

    Args:
        table: a row per rate; columns offered, served, good (requests/s), p50 and p95 (ms).
        capacity: the most that was served in a closed loop, in requests/s.
        title: above the panels.
    """
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
    left.plot(table["offered"], table["p50"], "o-", color=_BLUE, label="p50")
    left.plot(table["offered"], table["p95"], "o--", color=_ORANGE, label="p95")
    left.set(ylabel="time to first text, ms", ylim=(0, None))
    right.plot(table["offered"], table["served"], "o-", color=_BLUE, label="throughput")
    right.plot(table["offered"], table["good"], "o--", color=_GREEN, label="goodput: within the SLO")
    right.axline((0, 0), slope=1, color=_GREY, linewidth=0.8, linestyle=":")
    right.set(ylabel="requests/s answered", ylim=(0, 1.25 * table["served"].max()))
    for axes in (left, right):
        axes.axvline(capacity, color=_GREY, linewidth=1)
        axes.set(xlabel="requests/s that come; grey line: capacity", xlim=(0, None))
        axes.legend(fontsize=8, loc="upper left")
    return _finished(figure, title)


def roofline_plot(limits: MachineLimits, work: Mapping[str, tuple[float, float]], title: str = "") -> Figure:
    """The roofline of a machine, and what was reached below it.

    Args:
        limits: measured.
        work: name -> arithmetic intensity (operations per byte) and what was reached (operations per second).
        title: above.
    """
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    low = min([0.1, *(intensity / 2 for intensity, _ in work.values())])
    high = max([10 * limits.balance, *(2 * intensity for intensity, _ in work.values())])
    roof = [low, limits.balance, high]
    heights = [min(limits.flops_per_second, x * limits.bytes_per_second) / 1e9 for x in roof]
    axes.loglog(roof, heights, color="#263238", linewidth=2)
    axes.text(low * 1.2, heights[-1] * 1.15, "memory is the limit", fontsize=8)
    axes.text(high / 1.2, heights[-1] * 1.15, "arithmetic is the limit", fontsize=8, ha="right")
    for number, (name, (intensity, reached)) in enumerate(work.items()):
        colour = (_BLUE, _GREEN, _ORANGE)[number % 3]
        possible = min(limits.flops_per_second, intensity * limits.bytes_per_second) / 1e9
        axes.plot([intensity, intensity], [reached / 1e9, possible], ":", color=colour)
        axes.plot(intensity, reached / 1e9, "o", color=colour, label=name)
    axes.set(xlabel="arithmetic intensity, operations per byte", ylabel="GFLOP/s")
    axes.set_ylim(top=heights[-1] * 3)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    axes.set_title(title, fontsize=10)
    return figure

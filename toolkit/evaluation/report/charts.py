"""Comparisons as notebooks show them: differences with their intervals, and two answers beside their image."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.evaluation.inference.requests import medium_path
from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.metrics.scoring import MEASURES, Scored, accepted_answers, question_of
from toolkit.evaluation.report.highlight import pieces
from toolkit.evaluation.report.thumbnails import thumbnail
from toolkit.evaluation.report.wording import STATUSES

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_COLOURS = {"first is better": "#1b7f4d", "second is better": "#b3432b"}
_UNDECIDED = "#8a8f98"
#: Not by colour alone: a line below says the same. Dark text, also where the page around is dark.
_MARKS = {
    "supported": "color:#1b2530;background:#d7f0dd;border-bottom:2px solid #1b7f4d",
    "contradicted": "color:#1b2530;background:#fbdcd5;border-bottom:2px dashed #b3432b",
    "uncheckable": "color:#1b2530;background:#eceef1;border-bottom:2px dotted #8a8f98",
}


def difference_plot(table: pandas.DataFrame, first: str, second: str) -> Figure:
    """What `scoring.compare` found, one line each: to the right of 0, the first is better.

    Differences of error rates are negated for that. Measures on which neither side is better (number of words)
    are omitted, and so are lines without an interval.
    """
    from matplotlib import pyplot

    direction = {measure.name: measure.higher_is_better for measure in MEASURES}
    rows = [row for row in table.itertuples() if direction.get(row.measure) is not None and row.low == row.low]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.26 * len(rows)), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        sign = 1 if direction[row.measure] else -1
        low, high = sorted((sign * row.low, sign * row.high))
        colour = _COLOURS.get(row.verdict, _UNDECIDED)
        axes.plot([max(low, -1.05), min(high, 1.05)], [place, place], color=colour, linewidth=2)
        axes.plot(sign * row.difference, place, "o", color=colour, markersize=5)
    axes.axvline(0, color="black", linewidth=0.8)
    turned = {name: "" if higher else ", less is better" for name, higher in direction.items()}
    names = [f"{row.task} · {row.title}{turned[row.measure]} (n = {row.n})" for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_title("grey: no difference shown", fontsize=9)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel(f"← {second} better      difference, 95 % interval      {first} better →", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure


def marked(answer: Scored) -> str:
    """An answer as HTML, its claims marked by what the facts say; a failure as such."""
    if answer.failed:
        why = answer.transcript.error or STATUSES.get(answer.transcript.status, "")
        return f"<i>{html.escape(answer.transcript.status)}: {html.escape(visible(why))}</i>"
    claims = answer.report.claims if answer.report else ()
    parts = []
    for piece in pieces(answer.transcript.text or "", claims):
        text = html.escape(visible(piece.text)).replace("\n", "<br>")
        note = html.escape("; ".join(piece.notes))
        parts.append(f'<span style="{_MARKS[piece.verdict]}" title="{note}">{text}</span>' if piece.verdict else text)
    cut = " <i>(cut off)</i>" if answer.transcript.status == "truncated" else ""
    return "".join(parts) + cut


def side_by_side(folder: str | Path, answers: Sequence[Scored], names: Sequence[str]) -> str:
    """One item as HTML: its image or frames, the question, and an answer of each run, marked.

    Args:
        answers: to the same item.
        names: what to call their runs.
    """
    item = answers[0].item
    shown = ""
    for name in item.get("media", ()):
        small = thumbnail(medium_path(folder, item["item_id"], name))
        shown += f'<img src="{small.url}" alt="{html.escape(name)}" style="max-width:16em">'
    cells = "".join(
        f'<td style="text-align:left;vertical-align:top;line-height:1.6;width:{100 // len(answers)}%">'
        f"<b>{html.escape(name)}</b><br>{marked(answer)}</td>"
        for name, answer in zip(names, answers, strict=True)
    )
    reference = next(iter(accepted_answers(item)), "—")
    return (
        f'<table style="width:100%"><tr><td rowspan="2" style="vertical-align:top;width:16em">{shown}</td>'
        f'<td colspan="{len(answers)}" style="text-align:left"><b>{html.escape(question_of(item).strip())}</b><br>'
        f"<small>truth: {html.escape(visible(reference))}</small></td></tr><tr>{cells}</tr></table>"
    )

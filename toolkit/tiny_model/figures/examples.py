"""What a tiny model learns from and where it errs: items, labels, and descriptions word by word."""

from __future__ import annotations

import difflib
import itertools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.tiny_model.figures.style import RIGHT, WRONG
from toolkit.toyworld.items import Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

#: So many equal tokens in a row, or more, are drawn as one.
FOLDED = 4
#: Width of a character of DejaVu Sans Mono, in em.
_MONO = 0.602
Line = list[tuple[int, str, str | None]]
"""(Column, text, colour) of each word on a grid of characters."""


def items(shown: Sequence[tuple[str, Any, Sequence[tuple[str, str]]]]) -> Figure:
    """Items of the toy world with questions and answers.

    Args:
        shown: per item its name, its medium (an image, a clip or None), and (question, answer) pairs.
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


def _dialogue(asked: Sequence[tuple[str, str]]) -> list[tuple[str, bool]]:
    lines = []
    for question, answer in asked:
        lines += [(line, False) for line in textwrap.wrap(question, 100)]
        for part in answer.split("\n"):
            lines += [("    " + line, True) for line in textwrap.wrap(part, 96) or [""]]
    return lines


def strip(clip: Clip, columns: int = 4, gap: int = 4) -> Image.Image:
    """The frames of a clip as one image, ``columns`` to a row."""
    from PIL import Image

    width, height = clip.frames[0].size
    rows = -(-len(clip.frames) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, frame in enumerate(clip.frames):
        row, column = divmod(number, columns)
        sheet.paste(frame, (column * (width + gap), row * (height + gap)))
    return sheet


def labels(pieces: Sequence[str], learned: Sequence[bool], columns: int = 108) -> Figure:
    """A tokenized conversation, each token in a box; learned ones are coloured. Repeated tokens are drawn once.

    Args:
        learned: whether the loss counts it.
    """
    import matplotlib.pyplot as plt

    placed: list[tuple[str, str | None]] = []
    for (piece, counts), alike in itertools.groupby(zip(pieces, learned, strict=True)):
        times = len(list(alike))
        text, colour = piece.replace("\n", "↵").replace(" ", "·"), RIGHT if counts else "#eceff1"
        placed += [(text, colour)] * times if times < FOLDED else [(f"{text} × {times}", colour)]
    lines = _flow(placed, columns)
    figure = plt.figure(figsize=(9.0, 0.27 * len(lines) + 0.1))
    axes = figure.add_axes((0.005, 0.02, 0.99, 0.96))
    axes.set(xlim=(0, columns), ylim=(len(lines), 0))
    axes.axis("off")
    _write(axes, lines, margin=0.25)
    return figure


def differences(answer: str, accepted: Sequence[str]) -> list[tuple[str, str]]:
    """The words of an answer compared with those of the nearest accepted wording.

    Returns:
        (word, state) in order; the state is "same", "wrong" (the answer's alone) or "missing" (the wording's alone).
    """
    said = answer.split()
    matchers = [difflib.SequenceMatcher(None, said, wording.split(), autojunk=False) for wording in accepted]
    nearest, wording = max(zip(matchers, accepted, strict=True), key=lambda pair: pair[0].ratio())
    expected = wording.split()
    found = []
    for operation, a0, a1, b0, b1 in nearest.get_opcodes():
        if operation == "equal":
            found += [(word, "same") for word in said[a0:a1]]
        else:
            found += [(word, "wrong") for word in said[a0:a1]]
            found += [(word, "missing") for word in expected[b0:b1]]
    return found


def gallery(failures: Sequence[tuple[Image.Image, str, Sequence[str]]], columns: int = 47) -> Figure:
    """Images with what was said of them: wrong words on red, what should be there on green.

    Args:
        failures: per image the answer and the accepted wordings.
    """
    import matplotlib.pyplot as plt

    colours = {"same": None, "wrong": WRONG, "missing": RIGHT}
    pages = [
        _flow([(word, colours[state]) for word, state in differences(answer, accepted)], columns)
        for _, answer, accepted in failures
    ]
    lines = [max(map(len, pages[first : first + 2])) for first in range(0, len(pages), 2)]
    heights = [max(1.5, 0.19 * count + 0.1) for count in lines]
    figure, panels = plt.subplots(
        len(heights), 4, figsize=(9.6, sum(heights)), height_ratios=heights, width_ratios=(1.4, 3.4) * 2, squeeze=False
    )
    figure.subplots_adjust(0.003, 0.01, 0.997, 0.99, wspace=0.03, hspace=0.04)
    slots = panels.reshape(-1, 2)
    for (left, right), (image, _, _), page in zip(slots, failures, pages, strict=False):
        left.imshow(np.asarray(image))
        left.set_anchor("N")
        right.set(xlim=(0, columns), ylim=(right.bbox.height / figure.dpi / 0.19, 0))
        _write(right, page, margin=0.1)
    for axes in panels.flat:
        axes.axis("off")
    for axes in slots[len(failures) :].flat:
        axes.remove()
    return figure


# ---------------------------------------------------------------- text on a grid of characters


def _flow(words: Sequence[tuple[str, str | None]], columns: int) -> list[Line]:
    """(Text, colour) in lines; a word that does not fit starts a new one."""
    lines: list[Line] = [[]]
    column = 0
    for text, colour in words:
        if column and column + len(text) > columns:
            lines.append([])
            column = 0
        lines[-1].append((column, text, colour))
        column += len(text) + 1
    return lines


def _write(axes: Axes, lines: list[Line], margin: float) -> None:
    import matplotlib.pyplot as plt

    inches = axes.bbox.width / axes.figure.dpi / abs(np.diff(axes.get_xlim())[0])  # of a column
    for row, line in enumerate(lines):
        for column, text, colour in line:
            if colour:
                place = (column - margin, row + 0.1)
                axes.add_patch(plt.Rectangle(place, len(text) + 2 * margin, 0.8, facecolor=colour, linewidth=0))
            axes.text(column, row + 0.5, text, va="center_baseline", family="monospace", size=inches / _MONO * 72)

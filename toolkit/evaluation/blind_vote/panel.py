"""A ballot in a notebook: two answers without names, side by side, with buttons and keys.

ipywidgets has neither access keys nor key events; hence a field that takes a letter and Enter, which keeps the focus
from item to item, beside ordinary buttons, which Tab reaches and Space presses.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.evaluation.blind_vote.ballot import CHOICES, Ballot, BlindPair, VoteBox, VoteChoice
from toolkit.evaluation.inference.requests import data_url, mime_of
from toolkit.evaluation.inference.visible import visible

if TYPE_CHECKING:
    import ipywidgets

LABELS: dict[VoteChoice, str] = {"A": "A is better", "B": "B is better", "tie": "tie", "skip": "skip"}
#: What the field takes.
KEYS: dict[str, VoteChoice] = {"a": "A", "b": "B", "t": "tie", "s": "skip"}
_BACK, _ON = "p", "n"
_HINT = "a, b, t (tie), s (skip), p (previous), n (next); then Enter"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.4"
_QUIET = "color:var(--jp-ui-font-color1,#333)"
#: Rows break where the window is narrow or the letters are large.
_ROW = {"flex_flow": "row wrap", "align_items": "center"}


class VotePanel:
    """Widgets to vote with; as the last expression of a cell they are shown. Every click is saved at once.

    It opens at the first item that lacks a vote, so running the same cell again goes on after an interruption. When an
    item has all its votes, the next one appears; 'previous' goes back, and a new choice replaces the old one.

    Raises:
        CourseError: as `VoteBox`.
    """

    def __init__(self, ballot: Ballot, path: str | Path):
        import ipywidgets as widgets

        self.box = VoteBox(ballot, path)
        self.place = min(self.box.place, self.box.of - 1)
        """Of the item that is shown."""
        self.status = widgets.HTML()
        self.request = widgets.HTML()
        # Image and answers share a row where there is room, so that the buttons below are on the screen with them.
        self.media = widgets.HTML(layout=widgets.Layout(flex="0 1 14em"))
        side = widgets.Layout(flex="1 1 16em", padding="0 0.7em", align_self="flex-start")
        self.sides = {"A": widgets.HTML(layout=side), "B": widgets.HTML(layout=side)}
        self.buttons: dict[tuple[str, VoteChoice], ipywidgets.Button] = {}
        """Dimension and choice -> its button."""
        self.previous = self._button("previous", lambda: self._go(-1))
        self.next = self._button("next", lambda: self._go(1))
        self.field = widgets.Text(placeholder=_HINT, layout=widgets.Layout(flex="1 1 20em", max_width="30em"))
        self.field.on_msg(self._on_message)
        rows = [self._row(dimension, question) for dimension, question in ballot.questions.items()]
        self.widget = widgets.VBox(
            [
                self.status,
                self.request,
                widgets.HBox([self.media, self.sides["A"], self.sides["B"]], layout=widgets.Layout(**_ROW)),
                *rows,
                widgets.HBox([self.previous, self.next, self.field], layout=widgets.Layout(**_ROW)),
            ]
        )
        self._show(self.box.repaired or "")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    @property
    def pair(self) -> BlindPair:
        return self.box.ballot.pairs[self.place]

    def enter(self, word: str) -> None:
        """What Enter does in the field: one letter votes on the first dimension that has no vote, or moves back or on.

        Where all have one, it changes the vote of an only dimension; of several, the buttons do.
        """
        letter = word.strip().lower()
        dimensions = self.box.missing(self.pair) or list(self.box.ballot.questions)
        if letter in (_BACK, _ON):
            self._go(-1 if letter == _BACK else 1)
        elif letter not in KEYS:
            self._show(f"'{word.strip()}' is no choice: {_HINT}.")
        elif len(dimensions) > 1 and not self.box.missing(self.pair):
            self._show("This item has all its votes; change one with its button.")
        else:
            self._vote(dimensions[0], KEYS[letter])

    def _on_message(self, field: Any, content: dict[str, Any], buffers: Any) -> None:
        # Enter alone submits. A change of the value does not: leaving the field for a button would cast its letter.
        if content.get("event") == "submit":
            word, field.value = field.value, ""
            self.enter(word)

    def _button(self, label: str, act: Any) -> ipywidgets.Button:
        import ipywidgets as widgets

        button = widgets.Button(description=label, layout=widgets.Layout(width="auto", min_width="8em"))
        button.on_click(lambda _: act())
        return button

    def _row(self, dimension: str, question: str) -> ipywidgets.HBox:
        import ipywidgets as widgets

        for choice in CHOICES:
            button = self._button(LABELS[choice], lambda choice=choice: self._vote(dimension, choice))
            button.tooltip = f"{dimension}: {LABELS[choice]}"
            self.buttons[dimension, choice] = button
        label = widgets.HTML(f"<b>{html.escape(question)}</b>", layout=widgets.Layout(flex="0 1 26em"))
        buttons = [self.buttons[dimension, choice] for choice in CHOICES]
        together = widgets.HBox(buttons, layout=widgets.Layout(**_ROW))  # below the question, if not beside it
        return widgets.HBox([label, together], layout=widgets.Layout(**_ROW))

    def _vote(self, dimension: str, choice: VoteChoice) -> None:
        was_open = bool(self.box.missing(self.pair))
        try:
            self.box.cast(self.pair, dimension, choice)
        except CourseError as error:  # in a callback nobody would see it
            self._show(f"Not saved. {error}")
            return
        if was_open and not self.box.missing(self.pair) and self.place + 1 < self.box.of:
            self.place += 1
        self._show()

    def _go(self, step: int) -> None:
        self.place = min(max(self.place + step, 0), self.box.of - 1)
        self._show()

    def _show(self, message: str = "") -> None:
        pair, box = self.pair, self.box
        done = f"item {self.place + 1} of {box.of}; {box.done} have all their votes"
        if box.done == box.of and not message:
            message = "All items have their votes. They can be changed until the names are revealed."
        self.status.value = f"<div>{done}</div><div style='min-height:1.4em'>{html.escape(message)}</div>"
        self.request.value = f'<div style="{_TEXT};{_QUIET}">{_escaped(pair.request)}</div>'
        try:
            self.media.value = "".join(map(_medium, pair.media))
        except OSError as error:
            self.media.value = f"<em>The medium cannot be read: {html.escape(str(error.strerror))}</em>"
        for side, text in (("A", pair.a), ("B", pair.b)):
            shown = _escaped(text) if text.strip() else "<em>(an empty answer)</em>"
            self.sides[side].value = f'<h4>{side}</h4><div style="{_TEXT}">{shown}</div>'
        for (dimension, choice), button in self.buttons.items():
            chosen = box.choice(pair, dimension) == choice
            button.button_style, button.icon = ("primary", "check") if chosen else ("", "")
        self.previous.disabled, self.next.disabled = self.place == 0, self.place + 1 == box.of


def _escaped(text: str) -> str:
    """What a model wrote, as it is: markup in it has no effect, and nothing in it acts unseen."""
    return html.escape(visible(text))


def _medium(path: Path) -> str:
    """An image or video, embedded, so that it shows wherever the notebook's server runs."""
    url, style = data_url(path, path.read_bytes()), "max-width:100%;max-height:24em"
    if mime_of(path).startswith("video/"):
        return f'<video controls loop muted style="{style}" src="{url}"></video>'
    return f'<img style="{style}" alt="what the answers are about" src="{url}">'

"""How a text is written, apart from whether it is true: transparent counts beside the judged dimensions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from helpers.files import read_yaml
from toolkit.evaluation.metrics.vocabulary import WORDINGS_FILE, read_tokens

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE = re.compile(r"[^.!?\n]*[^\W_][^.!?\n]*(?:[.!?]+|\n|$)")
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+\S|\*\*[^*\n]+\*\*:?\s*$|[-*•]\s+\S|\d+[.)]\s+\S)", re.MULTILINE)
#: Words per window of the lexical variety.
WINDOW = 50


@dataclass(frozen=True)
class Style:
    """Counts of one text."""

    words: int
    sentences: int
    sections: int
    """Paragraphs separated by an empty line; headings and list entries each begin one."""
    variety: float | None
    """Moving-average type-token ratio over windows of 50 words (Covington and McFall 2010), so that long texts do not
    look poorer for being long; None for an empty text."""
    moods: int
    """Words for a mood."""
    moods_supported: int
    """Those that go with the scene's light or weather (``moods_of`` in ``data/wordings.yaml``)."""


def measure_style(text: str, facts: Mapping[str, Any] | None = None) -> Style:
    """Count. ``facts`` are the scene's, for the words of mood; without them none is supported."""
    words = words_of(text)
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    headings = len(_HEADING.findall(text))
    moods = [token.word for token in read_tokens(text) if token.type == "mood"]
    fitting = _fitting_moods(facts or {})
    return Style(
        words=len(words),
        sentences=len(_SENTENCE.findall(text)),
        sections=max(len(paragraphs), headings),
        variety=_variety(words),
        moods=len(moods),
        moods_supported=sum(mood in fitting for mood in moods),
    )


def words_of(text: str) -> list[str]:
    """In lower case; 'well-kept' and 'dog's' are one word each."""
    return [word.lower() for word in _WORD.findall(text)]


def _fitting_moods(facts: Mapping[str, Any]) -> set[str]:
    return {mood for key in ("light", "weather") for mood in _moods_of().get(facts.get(key) or "", ())}


@cache
def _moods_of() -> dict[str, list[str]]:
    """Light or weather -> words for the moods that go with it."""
    return read_yaml(WORDINGS_FILE)["moods_of"]


def _variety(words: list[str]) -> float | None:
    if not words:
        return None
    size = min(WINDOW, len(words))
    windows = [words[start : start + size] for start in range(len(words) - size + 1)]
    return sum(len(set(window)) for window in windows) / (size * len(windows))

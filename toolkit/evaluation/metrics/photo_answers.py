"""Short answers about photographs, which show more than the toy world has words for."""

from __future__ import annotations

import re

from toolkit.evaluation.metrics.answer_text import affirmed, denied, patterns, refuses, statements, yes_no_words
from toolkit.evaluation.metrics.vocabulary import read_tokens

_RE = patterns("short_answers")


def holds(text: str, question: str) -> frozenset[str] | None:
    """'yes' or 'no': the word itself, or the last statement that repeats what the question asks, or denies it."""
    words = yes_no_words(text)
    if words:
        return frozenset(words) if len(words) == 1 else None
    asked = set(re.findall(r"[a-z]{3,}", _RE.not_asked.sub(" ", question.lower())))
    for one in reversed(statements(text)):
        said = set(re.findall(r"[a-z]{3,}", one.lower()))
        if asked and asked <= said and not refuses(one) and not said & {"whether", "if"}:
            return frozenset({"no" if asked & set(re.findall(r"[a-z]+", denied(one))) else "yes"})
    return None


def colour_of(text: str, question: str) -> frozenset[str] | None:
    """The colour that is named nearest to what the question asks about; the first where that is not named."""
    asked = (re.findall(r"[a-z]+", question.lower()) or [""])[-1]
    for one in reversed(statements(text)):
        said = affirmed(one)
        places = [found.start() for found in re.finditer(rf"\b{asked}\b", said)] or [0]
        colours = [token for token in read_tokens(said) if token.type == "colour"]
        if colours:
            nearest = min(colours, key=lambda token: min(abs(token.start - place) for place in places))
            return frozenset(nearest.value)
    return None

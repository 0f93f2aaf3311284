"""What facts say of an answer, shown inside it: the text cut into pieces with a verdict each, and what it left out.

A piece that several claims share has the gravest of their verdicts. Characters that a terminal or a browser would obey
instead of showing are made visible.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from toolkit.evaluation.metrics.scene_facts import Claim, Fact, Report, Verdict

#: Gravest first.
VERDICTS: tuple[Verdict, ...] = ("contradicted", "supported", "uncheckable")
#: Changes of direction: an answer must not turn around the text beside it.
_DIRECTION = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x061C, 0x200E, 0x200F}


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer."""

    text: str
    """As written: see `visible`."""
    verdict: Verdict | None = None
    """None where nothing is claimed."""
    notes: tuple[str, ...] = ()
    """What is claimed and what the facts say, one line a claim."""


def pieces(text: str, claims: Iterable[Claim]) -> list[Piece]:
    """Cut a text where claims begin and end; joined, the pieces are the text.

    Claims may overlap and come in any order. A claim is taken from ``start`` to ``end`` as far as the text goes.
    """
    spans = [claim for claim in claims if 0 <= claim.start < min(claim.end, len(text))]
    cuts = sorted({0, len(text), *(min(cut, len(text)) for claim in spans for cut in (claim.start, claim.end))})
    return [
        _piece(text[start:end], [claim for claim in spans if claim.start <= start and end <= claim.end])
        for start, end in pairwise(cuts)
    ]


def _piece(text: str, claims: list[Claim]) -> Piece:
    if not claims:
        return Piece(text)
    verdict = min((claim.verdict for claim in claims), key=VERDICTS.index)
    return Piece(text, verdict, tuple(dict.fromkeys(map(_note, claims))))


def _note(claim: Claim) -> str:
    about = f"{claim.subject}: " if claim.subject not in ("", claim.text) else ""
    return f"{about}{claim.kind} {'not ' * claim.negated}{claim.value}, {claim.verdict}"


def not_stated(report: Report) -> dict[str, list[str]]:
    """The facts in words that an answer 'contradicted' or 'omitted', in the order of the facts."""
    kinds = {fact.subject: fact.value for fact in report.facts if fact.kind == "object"}
    return {
        state: [_fact(fact, kinds) for fact in report.facts if fact.state == state]
        for state in ("contradicted", "omitted")
    }


def _fact(fact: Fact, kinds: dict[int | None, str]) -> str:
    if fact.kind == "object":
        return fact.value
    if fact.subject is None:
        return f"{fact.kind}: {fact.value}"
    return f"{fact.kind} of the {kinds.get(fact.subject, 'subject')}: {fact.value}"


def visible(text: str) -> str:
    """The text with control characters as Unicode's pictures of them ('␛'), others that act unseen as '⟨U+202E⟩'.

    Line ends and tabs stay; a carriage return with its line feed becomes one line end.
    """
    text = text.replace("\r\n", "\n")
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code in _DIRECTION or unicodedata.category(character) in ("Cc", "Cs") or code in (0x2028, 0x2029):
        return f"⟨U+{code:04X}⟩"
    return character

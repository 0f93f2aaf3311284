"""What is known of an answer, shown inside it: its text cut into pieces with a verdict each, and what it omitted.

A piece that several claims share has the gravest of their verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from toolkit.evaluation.metrics.scene_facts import Claim, ClaimVerdict, Fact, Report

#: Gravest first.
VERDICTS: tuple[ClaimVerdict, ...] = ("contradicted", "supported", "uncheckable")


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer."""

    text: str
    """As written; see `toolkit.evaluation.inference.visible`."""
    verdict: ClaimVerdict | Literal["wrong", "missing"] | None = None
    """None where nothing is claimed, and where a copy is right; what is missing of a copy has no text of its own."""
    notes: tuple[str, ...] = ()
    """What is claimed and what the facts say, one line per claim; of a copy, what should stand there."""


def pieces(text: str, claims: Iterable[Claim]) -> list[Piece]:
    """Cut a text where claims begin and end; joined, the pieces are the text.

    Claims may overlap and come in any order; one that ends beyond the text is cut.
    """
    spans = [claim for claim in claims if 0 <= claim.start < min(claim.end, len(text))]
    cuts = sorted({0, len(text), *(min(cut, len(text)) for claim in spans for cut in (claim.start, claim.end))})
    found = []
    for start, end in pairwise(cuts):
        here = [claim for claim in spans if claim.start <= start and end <= claim.end]
        verdict = min((claim.verdict for claim in here), key=VERDICTS.index, default=None)
        found.append(Piece(text[start:end], verdict, tuple(dict.fromkeys(map(_note, here)))))
    return found


def differing(text: str, accepted: Sequence[str]) -> Iterator[Piece]:
    """Cut a copy where it differs, character by character, from the nearest accepted wording."""
    from rapidfuzz.distance import Levenshtein

    nearest = min(accepted, key=lambda wording: Levenshtein.distance(text, wording))
    for change in Levenshtein.opcodes(text, nearest):
        said, due = text[change.src_start : change.src_end], nearest[change.dest_start : change.dest_end]
        if change.tag == "equal":
            yield Piece(said)
        else:
            yield Piece(said, "wrong" if said else "missing", (f"should be: {due}" if due else "too much",))


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

"""What is voted on blindly: which pairs of answers are drawn, and which answer stands on which side.

A ballot holds no names and no key. Which answer is A follows from the seed and the item's name, and is worked out
again, from the same pairs and seed, when the votes are revealed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from helpers.errors import CourseError
from helpers.files import shown
from helpers.jsonl import JsonlWriter, read_lines
from toolkit.evaluation.inference.requests import existing_medium
from toolkit.evaluation.inference.transcripts import media_parts, words_in
from toolkit.evaluation.judging.pairwise import Pair

if TYPE_CHECKING:
    from toolkit.evaluation.blind_vote.panel import VotePanel

VoteChoice = Literal["A", "B", "tie", "skip"]
CHOICES: tuple[VoteChoice, ...] = ("A", "B", "tie", "skip")
OVERALL = {"overall": "Which answer is better?"}


class Vote(BaseModel):
    """What a reader chose for one item on one dimension."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str
    dimension: str
    choice: VoteChoice
    mark: str
    """Of the `BlindPair` that the reader saw."""


@dataclass(frozen=True)
class BlindPair:
    """One item as the reader sees it."""

    item_id: str
    request: str
    media: tuple[Path, ...]
    a: str
    b: str
    mark: str
    """A hash of the seed, the item's name and both texts, so that no vote can be taken for one on other answers."""


@dataclass(frozen=True)
class Ballot:
    """What is to be voted on, in the order in which it is shown."""

    pairs: tuple[BlindPair, ...]
    questions: Mapping[str, str]
    """Dimension -> what is asked about it."""

    def by_item(self) -> dict[str, BlindPair]:
        return {pair.item_id: pair for pair in self.pairs}

    @property
    def digest(self) -> str:
        """What a file of votes can be named by: other items, answers or sides give another."""
        return _digest(*(pair.mark for pair in self.pairs))[:12]

    def panel(self, path: str | Path) -> VotePanel:
        """Widgets to vote with in a notebook; votes that are in the file count (see `VoteBox`)."""
        from toolkit.evaluation.blind_vote.panel import VotePanel

        return VotePanel(self, path)


def make_ballot(
    pairs: Sequence[Pair],
    folder: str | Path,
    n: int = 20,
    *,
    seed: int,
    questions: Mapping[str, str] = OVERALL,
    exclude: Collection[str] = (),
) -> Ballot:
    """Draw items, and shuffle their order and sides. The same pairs and seed give the same ballot.

    Args:
        pairs: from `read_pairs`.
        folder: in which the items' media lie.
        n: how many, fewer if there are no more. A larger number keeps the items already drawn, and votes on them.
        seed: decides items, order and sides.
        questions: dimension -> question.
        exclude: names of items that are not drawn, since the reader has seen whose answers they are.

    Raises:
        CourseError: no pairs, an item twice, a medium that is missing or lies outside the folder, or nothing to ask.
    """
    pairs = [pair for name, pair in pairs_by_item(pairs).items() if name not in exclude]
    if n < 1 or not pairs or not questions:
        raise CourseError(
            f"A ballot of {n} of {len(pairs)} pairs, {len(questions)} questions each, asks nothing.",
            "no item that both runs have answered and that is not excluded, or n below 1",
            "look at the transcripts",
        )
    drawn = sorted(pairs, key=lambda pair: _digest("order", seed, pair.item_id))[:n]
    return Ballot(tuple(_blind(pair, Path(folder), seed) for pair in drawn), dict(questions))


def _blind(pair: Pair, folder: Path, seed: int) -> BlindPair:
    name, messages = pair.item_id, pair.item["messages"]
    media = tuple(existing_medium(folder, name, part["url"]) for part in media_parts(messages))
    a, b = pair.first_text, pair.second_text
    if not first_is_a(seed, name):
        a, b = b, a
    return BlindPair(name, words_in(messages), media, a, b, mark_of(pair, seed))


def first_is_a(seed: int, item_id: str) -> bool:
    return int(_digest("sides", seed, item_id), 16) % 2 == 0


def mark_of(pair: Pair, seed: int) -> str:
    name, texts = pair.item_id, (pair.first_text, pair.second_text)
    return _digest(seed, name, *(texts if first_is_a(seed, name) else texts[::-1]))[:16]


def _digest(*words: Any) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def pairs_by_item(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """The pairs by the items' names; two pairs for one item raise a `CourseError`."""
    found: dict[str, Pair] = {}
    for pair in pairs:
        if pair.item_id in found:
            raise CourseError(
                f"There are two pairs for item '{pair.item_id}'.", "pairs of several runs together", "vote on two runs"
            )
        found[pair.item_id] = pair
    return found


class VoteBox:
    """The votes on a ballot, those in the file among them; votes on items beyond the ballot stay.

    Raises:
        CourseError: the file cannot be read or written, has a line that is not a vote (its number is named), or holds
            votes on other answers to one of the items.
    """

    def __init__(self, ballot: Ballot, path: str | Path):
        self.ballot, self.path = ballot, Path(path)
        self.repaired: str | None = None
        """What was done to a torn last line (see `JsonlWriter`); None if there was none."""
        self._choices: dict[tuple[str, str], VoteChoice] = {}
        if not self.path.exists():
            return
        with self._open() as writer:
            self.repaired = writer.repaired
        pairs = ballot.by_item()
        for vote in read_votes(self.path):
            pair = pairs.get(vote.item_id)
            if pair and pair.mark != vote.mark:
                raise CourseError(
                    f"{shown(self.path)} holds votes on other answers to item '{vote.item_id}'.",
                    "another seed or other runs; or a model was asked again",
                    "name another file for this ballot",
                )
            self._choices[vote.item_id, vote.dimension] = vote.choice

    def cast(self, pair: BlindPair, dimension: str, choice: VoteChoice) -> None:
        """Append one vote; it is on the disk when this returns.

        Raises:
            CourseError: an unknown dimension or choice; or it cannot be written, and does not count then.
        """
        if dimension not in self.ballot.questions or choice not in CHOICES:
            raise CourseError(f"'{choice}' by '{dimension}' is no vote.", "", f"use one of: {', '.join(CHOICES)}")
        vote = Vote(item_id=pair.item_id, dimension=dimension, choice=choice, mark=pair.mark)
        with self._open() as writer:
            writer.append(vote.model_dump_json())
        self._choices[pair.item_id, dimension] = choice

    def _open(self) -> JsonlWriter:
        return JsonlWriter(self.path, Vote.model_validate_json, "votes")

    def choice(self, pair: BlindPair, dimension: str) -> VoteChoice | None:
        """The vote that counts; None if there is none yet."""
        return self._choices.get((pair.item_id, dimension))

    def missing(self, pair: BlindPair) -> list[str]:
        return [dimension for dimension in self.ballot.questions if self.choice(pair, dimension) is None]

    @property
    def place(self) -> int:
        """Index of the first item that lacks a vote; the number of items if none does."""
        return next((place for place, pair in enumerate(self.ballot.pairs) if self.missing(pair)), self.of)

    @property
    def of(self) -> int:
        """How many items there are; ``done`` have all their votes."""
        return len(self.ballot.pairs)

    @property
    def done(self) -> int:
        return sum(not self.missing(pair) for pair in self.ballot.pairs)


def read_votes(path: str | Path) -> Iterator[Vote]:
    """The votes of a file as they were cast, earlier ones on the same item among them; see `read_lines` for errors."""
    for _, vote in read_lines(path, Vote.model_validate_json, "a vote"):
        yield vote

"""Votes as they are cast: a file to which each is appended at once; the last one on an item counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helpers.errors import CourseError
from helpers.files import shown
from helpers.jsonl import JsonlWriter, read_lines
from toolkit.evaluation.blind_vote.ballot import CHOICES, Ballot, BlindPair, Vote, VoteChoice


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
        """The dimensions of an item that have no vote yet."""
        return [dimension for dimension in self.ballot.questions if self.choice(pair, dimension) is None]

    @property
    def place(self) -> int:
        """Index of the first item that lacks a vote; the number of items if none does."""
        return next((place for place, pair in enumerate(self.ballot.pairs) if self.missing(pair)), self.of)

    @property
    def of(self) -> int:
        """How many items there are."""
        return len(self.ballot.pairs)

    @property
    def done(self) -> int:
        """How many items have all their votes."""
        return sum(not self.missing(pair) for pair in self.ballot.pairs)


def read_votes(path: str | Path) -> Iterator[Vote]:
    """The votes of a file, in the order in which they were cast; earlier ones on the same item may be among them.

    Raises:
        CourseError: no such file, or a line that is not a vote (its number is named). A torn last line is omitted.
    """
    for _, vote in read_lines(path, Vote.model_validate_json, "a vote"):
        yield vote

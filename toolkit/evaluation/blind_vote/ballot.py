"""What is voted on blindly: which pairs of answers are drawn, and which answer stands on which side.

A ballot holds no names and no key. Which answer is A follows from the seed and the item's name, and is worked out
again, from the same pairs and seed, when the votes are revealed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from helpers.errors import CourseError
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
        """The pairs by the items' names."""
        return {pair.item_id: pair for pair in self.pairs}

    @property
    def digest(self) -> str:
        """What a file of votes can be named by: other items, answers or sides give another."""
        return _digest(*(pair.mark for pair in self.pairs))[:12]

    def panel(self, path: str | Path) -> VotePanel:
        """Widgets to vote with in a notebook; votes that are in the file count.

        Raises:
            CourseError: as `VoteBox`.
        """
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
    """Whether the first run's answer to an item stands on side A."""
    return int(_digest("sides", seed, item_id), 16) % 2 == 0


def mark_of(pair: Pair, seed: int) -> str:
    """See `BlindPair`."""
    name, texts = pair.item_id, (pair.first_text, pair.second_text)
    return _digest(seed, name, *(texts if first_is_a(seed, name) else texts[::-1]))[:16]


def _digest(*words: Any) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def pairs_by_item(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """The pairs by the items' names.

    Raises:
        CourseError: two pairs for one item.
    """
    found: dict[str, Pair] = {}
    for pair in pairs:
        if pair.item_id in found:
            raise CourseError(
                f"There are two pairs for item '{pair.item_id}'.", "pairs of several runs together", "vote on two runs"
            )
        found[pair.item_id] = pair
    return found

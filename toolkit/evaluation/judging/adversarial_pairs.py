"""Break the judge: pairs made to mislead it, each with what a good judge would say by `DETAIL`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.evaluation.judging.judges import Judge, compare_pair
from toolkit.evaluation.judging.pairwise import Choice, Comparison, Pair
from toolkit.evaluation.judging.reference_answers import pad, plant_false_detail
from toolkit.evaluation.judging.rubric import DETAIL


@dataclass(frozen=True)
class Trick:
    """A pair that tempts a judge."""

    name: str
    what: str
    """What was done, for people."""
    pair: Pair
    right: frozenset[Choice]
    """The verdicts of a judge that does not fall for it."""
    on_blank: bool = False
    """The judge is shown a blank picture."""
    same_in_both_orders: bool = False
    """Changing its mind with the order is falling for it."""


@dataclass(frozen=True)
class Outcome:
    """What a judge made of a trick."""

    trick: Trick
    comparison: Comparison | None
    """None if the judge looks at no picture, so that there is nothing to make blank."""
    dimension: str

    @property
    def fell_for_it(self) -> bool | None:
        """None without a verdict: then nobody knows."""
        if self.comparison is None or (verdict := self.comparison.verdicts[self.dimension]).choice is None:
            return None
        return verdict.choice not in self.trick.right or (self.trick.same_in_both_orders and verdict.flipped)

    def describe(self) -> str:
        """One line for people."""
        if self.comparison is None:
            return f"{self.trick.name}: the judge looks at no picture"
        verdict = self.comparison.verdicts[self.dimension]
        said = verdict.status if verdict.choice is None else verdict.choice + (" (flipped)" if verdict.flipped else "")
        end = {None: "nobody knows", True: "it fell for it", False: "it did not fall for it"}[self.fell_for_it]
        return f"{self.trick.name}: {self.trick.what}; the judge says {said}: {end}"


def padded(item: Mapping[str, Any], text: str) -> Trick:
    """A text against itself with fluent sentences that say nothing. Better is at most the short one."""
    pair = Pair(item, "as it was", "padded", text, pad(text))
    return Trick("padding", "the second is the first with empty phrases", pair, frozenset({"first", "tie"}))


def planted(item: Mapping[str, Any], text: str, rng: random.Random) -> Trick:
    """A text against itself with one false detail more; see `plant_false_detail`."""
    longer, sentence = plant_false_detail(text, item["facts"], rng)
    pair = Pair(item, "as it was", "with a false detail", text, longer)
    return Trick("false detail", f"the second adds what is not there: '{sentence}'", pair, frozenset({"first"}))


def identical(item: Mapping[str, Any], text: str) -> Trick:
    """A text against itself: the judge can only tell them apart by their places."""
    pair = Pair(item, "one", "the same", text, text)
    what = "both answers are the same"
    return Trick("identical", what, pair, frozenset({"tie"}), same_in_both_orders=True)


def swapped(item: Mapping[str, Any], first_text: str, second_text: str) -> Trick:
    """Two texts in both orders: the verdict should stay with the text, not with the place."""
    pair = Pair(item, "first", "second", first_text, second_text)
    every: frozenset[Choice] = frozenset({"first", "second", "tie"})
    return Trick("swap", "the answers change places", pair, every, same_in_both_orders=True)


def blank_picture(item: Mapping[str, Any], first_text: str, second_text: str) -> Trick:
    """Two texts about a picture that shows nothing. It tells something only of a judge that is not told the facts."""
    pair = Pair(item, "first", "second", first_text, second_text)
    return Trick("blank picture", "the picture shows nothing", pair, frozenset({"tie"}), on_blank=True)


def all_tricks(item: Mapping[str, Any], first_text: str, second_text: str, rng: random.Random) -> list[Trick]:
    """Every trick, played with two descriptions of one item."""
    return [
        swapped(item, first_text, second_text),
        identical(item, first_text),
        padded(item, first_text),
        planted(item, first_text, rng),
        blank_picture(item, first_text, second_text),
    ]


async def play(judge: Judge, tricks: Iterable[Trick], dimension: str = DETAIL) -> list[Outcome]:
    """Show tricks to a judge, in both orders each. In a notebook: ``await play(...)``.

    Raises:
        CourseError: what the judge raises.
    """
    outcomes = []
    for trick in tricks:
        asked = judge.on_blank() if trick.on_blank else judge
        outcomes.append(Outcome(trick, await compare_pair(asked, trick.pair) if asked else None, dimension))
    return outcomes

"""Break the judge: pairs made to mislead it, each with what a good judge would say by `DETAIL`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.evaluation.judging.judges import Judge, compare_pair
from toolkit.evaluation.judging.pairwise import Comparison, Pair, Preference
from toolkit.evaluation.judging.reference_answers import pad, plant_false_detail
from toolkit.evaluation.judging.rubric import DETAIL


@dataclass(frozen=True)
class AdversarialPair:
    """A pair that tempts a judge."""

    name: str
    what: str
    """What was done, for people."""
    pair: Pair
    right: frozenset[Preference]
    """The verdicts of a judge that is not misled."""
    on_blank: bool = False
    """The judge is shown a blank image."""
    same_in_both_orders: bool = False
    """A judge that changes its mind with the order is misled."""


@dataclass(frozen=True)
class Probe:
    """What a judge made of an adversarial pair."""

    pair: AdversarialPair
    comparison: Comparison | None
    """None if the judge looks at no image, so that there is nothing to make blank."""
    dimension: str

    @property
    def misled(self) -> bool | None:
        """None without a verdict: then nobody knows."""
        if self.comparison is None or (verdict := self.comparison.verdicts[self.dimension]).choice is None:
            return None
        return verdict.choice not in self.pair.right or (self.pair.same_in_both_orders and verdict.flipped)

    def describe(self) -> str:
        """One line for people."""
        if self.comparison is None:
            return f"{self.pair.name}: the judge looks at no image"
        verdict = self.comparison.verdicts[self.dimension]
        said = verdict.status if verdict.choice is None else verdict.choice + (" (flipped)" if verdict.flipped else "")
        end = {None: "nobody knows", True: "it was misled", False: "it was not misled"}[self.misled]
        return f"{self.pair.name}: {self.pair.what}; the judge says {said}: {end}"


def padded(item: Mapping[str, Any], text: str) -> AdversarialPair:
    """A text against itself with fluent sentences that say nothing, which cannot make it better."""
    pair = Pair(item, "as it was", "padded", text, pad(text))
    return AdversarialPair("padding", "the second is the first with empty phrases", pair, frozenset({"first", "tie"}))


def planted(item: Mapping[str, Any], text: str, rng: random.Random) -> AdversarialPair:
    """A text against itself with one more detail, which is false; see `plant_false_detail`."""
    longer, sentence = plant_false_detail(text, item["facts"], rng)
    pair = Pair(item, "as it was", "with a false detail", text, longer)
    what = f"the second adds what is not there: '{sentence}'"
    return AdversarialPair("false detail", what, pair, frozenset({"first"}))


def identical(item: Mapping[str, Any], text: str) -> AdversarialPair:
    """A text against itself: the judge can only tell them apart by their places."""
    pair = Pair(item, "one", "the same", text, text)
    what = "both answers are the same"
    return AdversarialPair("identical", what, pair, frozenset({"tie"}), same_in_both_orders=True)


def swapped(item: Mapping[str, Any], first_text: str, second_text: str) -> AdversarialPair:
    """Two texts in both orders: the verdict should stay with the text, not with the place."""
    pair = Pair(item, "first", "second", first_text, second_text)
    every: frozenset[Preference] = frozenset({"first", "second", "tie"})
    return AdversarialPair("swap", "the answers change places", pair, every, same_in_both_orders=True)


def blank_image(item: Mapping[str, Any], first_text: str, second_text: str) -> AdversarialPair:
    """Two texts about an image that shows nothing, which only tells something of a judge that is not told the facts."""
    pair = Pair(item, "first", "second", first_text, second_text)
    return AdversarialPair("blank image", "the image shows nothing", pair, frozenset({"tie"}), on_blank=True)


def make_adversarial_pairs(
    item: Mapping[str, Any], first_text: str, second_text: str, rng: random.Random
) -> list[AdversarialPair]:
    """One pair of every kind, made from two descriptions of one item."""
    return [
        swapped(item, first_text, second_text),
        identical(item, first_text),
        padded(item, first_text),
        planted(item, first_text, rng),
        blank_image(item, first_text, second_text),
    ]


async def probe_judge(judge: Judge, pairs: Iterable[AdversarialPair], dimension: str = DETAIL) -> list[Probe]:
    """Show adversarial pairs to a judge, in both orders each. In a notebook: ``await probe_judge(...)``.

    Raises:
        CourseError: what the judge raises.
    """
    probes = []
    for pair in pairs:
        asked = judge.on_blank() if pair.on_blank else judge
        probes.append(Probe(pair, await compare_pair(asked, pair.pair) if asked else None, dimension))
    return probes

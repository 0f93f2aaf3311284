"""Break the judge: pairs made to mislead it, each with what a good judge would say by `DETAIL`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.evaluation.judging.judges import Judge, compare_pair
from toolkit.evaluation.judging.pairwise import Comparison, Pair, Preference
from toolkit.evaluation.judging.prompt import DETAIL
from toolkit.evaluation.judging.reference_answers import pad, plant_false_detail


@dataclass(frozen=True)
class AdversarialPair:
    """A pair that tempts a judge."""

    name: str
    what: str
    """What was done, for people."""
    pair: Pair
    right: tuple[Preference, ...]
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


def make_adversarial_pairs(
    item: Mapping[str, Any], first_text: str, second_text: str, rng: random.Random
) -> list[AdversarialPair]:
    """One pair of every kind, made from two descriptions of one scene.

    'swap': the verdict should stay with the text, not with the place. 'identical': only places tell them apart.
    'padding': phrases that say nothing, which cannot make it better. 'false detail': one more, which is false. 'blank
    image': tells something only of a judge that looks and is not told the facts.
    """

    def pair(first: str, second: str, text: str) -> Pair:
        return Pair(item, first, second, first_text, text)

    longer, sentence = plant_false_detail(first_text, item["facts"], rng)
    two = pair("first", "second", second_text)
    return [
        AdversarialPair("swap", "the answers change places", two, ("first", "second", "tie"), same_in_both_orders=True),
        AdversarialPair(
            "identical", "both answers are the same", pair("one", "the same", first_text), ("tie",),
            same_in_both_orders=True,
        ),
        AdversarialPair(
            "padding", "the second is the first with empty phrases", pair("as it was", "padded", pad(first_text)),
            ("first", "tie"),
        ),
        AdversarialPair(
            "false detail", f"the second adds what is not there: '{sentence}'",
            pair("as it was", "with a false detail", longer), ("first",),
        ),
        AdversarialPair("blank image", "the image shows nothing", two, ("tie",), on_blank=True),
    ]  # fmt: skip


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

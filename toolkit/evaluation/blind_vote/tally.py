"""The reveal: what the votes come to when the names are known, and how far the reader agrees with the facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import CourseError
from toolkit.evaluation.blind_vote.ballot import Vote, VoteChoice, first_is_a, mark_of, pairs_by_item, read_votes
from toolkit.evaluation.judging.pairwise import (
    Agreement,
    Combined,
    Comparison,
    Pair,
    agreement,
    judge_by_rules,
)
from toolkit.evaluation.metrics.statistics import Estimate, win_rate


@dataclass(frozen=True)
class DimensionTally:
    """The votes on one dimension, with the names known."""

    dimension: str
    wins: int
    """For the first run."""
    losses: int
    ties: int
    skipped: int
    rate: Estimate
    """The first's share of wins, a tie being half a win."""
    left: Estimate
    """The same of side A, whoever stood there: far from ½, the reader favours a side."""
    as_facts: Agreement | None
    """How far the reader agrees with the facts; None where no item is a scene."""


@dataclass(frozen=True)
class Tally:
    """What the votes come to."""

    first: str
    second: str
    items: int
    """With at least one vote."""
    counts: tuple[DimensionTally, ...]

    def describe(self) -> str:
        lines = [f"{self.first} against {self.second}, {self.items} items voted on"]
        for count in self.counts:
            lines.append(
                f"{count.dimension}: {count.wins} won, {count.losses} lost, {count.ties} tied, {count.skipped} skipped;"
                f" {self.first} wins {_share(count.rate)}; side A wins {_share(count.left)}"
            )
            if found := count.as_facts:
                value = "not defined" if found.kappa is None else f"{found.kappa:.2f}"
                lines.append(f"  as facts: {_share(found.share)} of {found.share.n}, kappa {value}")
        return "\n".join(lines)


def _share(estimate: Estimate) -> str:
    if estimate.value is None:
        return "unknown"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def reveal(votes: Iterable[Vote], pairs: Sequence[Pair], *, seed: int) -> list[Comparison]:
    """The votes with names, as a judge's comparisons (`judging.pairwise`); the last on an item counts.

    What was skipped or has no vote is without a verdict (status 'invalid'). Seed and pairs are the ballot's; there may
    be more pairs.

    Raises:
        CourseError: votes on other answers: another seed, other pairs, or the two runs exchanged.
    """
    by_item = pairs_by_item(pairs)
    choices: dict[str, dict[str, VoteChoice]] = {}
    for vote in votes:
        pair = by_item.get(vote.item_id)
        if pair is None or mark_of(pair, seed) != vote.mark:
            raise CourseError(
                f"The vote on item '{vote.item_id}' is on other answers.",
                "another seed or other pairs than the ballot's, or the two runs in the other order",
                "give tally what make_ballot was given",
            )
        choices.setdefault(vote.item_id, {})[vote.dimension] = vote.choice
    dimensions = list(dict.fromkeys(dimension for chosen in choices.values() for dimension in chosen))
    return [
        Comparison.of(
            "reader", by_item[name], {one: _verdict(chosen.get(one), first_is_a(seed, name)) for one in dimensions}
        )
        for name, chosen in choices.items()
    ]


def _verdict(choice: VoteChoice | None, in_order: bool) -> Combined:
    if choice is None or choice == "skip":
        why = "skipped" if choice else "no vote"
        return Combined("invalid", None, reasons=(why, why))
    return Combined("given", choice if choice == "tie" else "first" if (choice == "A") == in_order else "second")


def facts_comparisons(pairs: Iterable[Pair], dimensions: Sequence[str]) -> list[Comparison]:
    """What the facts of toy scenes prefer (`judge_by_rules`), the same on each dimension; other items are omitted.

    It is one preference: it is about detail, and shows of other dimensions how far they follow the facts.
    """
    found = []
    for pair in pairs:
        if "subjects" in (pair.item.get("facts") or {}):
            preferred = Combined("given", judge_by_rules(pair.item, pair.first_text, pair.second_text).choice)
            found.append(Comparison.of("facts", pair, dict.fromkeys(dimensions, preferred)))
    return found


def tally(votes: Iterable[Vote] | str | Path, pairs: Sequence[Pair], *, seed: int) -> Tally:
    """Reveal the names, and count: who won on which dimension, and how far the reader agrees with the facts.

    Args:
        votes: a panel's file, or votes as from `read_votes` or `read_ballot`.
        pairs: the ballot's, or more.
        seed: the ballot's.

    Raises:
        CourseError: no votes; a file that `read_votes` cannot read; or as `reveal`.
    """
    if isinstance(votes, str | Path):
        votes = read_votes(votes)
    revealed = reveal(votes, pairs, seed=seed)
    if not revealed:
        raise CourseError(
            "There are no votes.", "a file without lines, or a ballot that nobody filled in", "vote first"
        )
    dimensions = list(revealed[0].verdicts)
    names, voted = (revealed[0].first, revealed[0].second), {comparison.item_id for comparison in revealed}
    facts = facts_comparisons((pair for pair in pairs if pair.item_id in voted), dimensions)
    counts = tuple(_count(dimension, revealed, facts, seed) for dimension in dimensions)
    return Tally(*names, len(revealed), counts)


def _count(dimension: str, revealed: list[Comparison], facts: list[Comparison], seed: int) -> DimensionTally:
    verdicts = {comparison.item_id: comparison.verdicts[dimension] for comparison in revealed}
    choices = [verdict.choice for verdict in verdicts.values()]
    wins, losses, ties = choices.count("first"), choices.count("second"), choices.count("tie")
    left = sum(
        verdict.choice == ("first" if first_is_a(seed, name) else "second") for name, verdict in verdicts.items()
    )
    skipped = sum("skipped" in verdict.reasons for verdict in verdicts.values())
    rate, side = win_rate(wins, losses, ties), win_rate(left, wins + losses - left, ties)
    as_facts = agreement(revealed, facts, dimension) if facts else None
    return DimensionTally(dimension, wins, losses, ties, skipped, rate, side, as_facts)

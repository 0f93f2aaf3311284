"""A blind vote on pairs of answers: which are drawn, which answer stands on which side, and what the votes come to.

A ballot holds no names and no key. Which answer is A follows from the seed and the item's name, and is worked out
again, from the same pairs and seed, when the votes are revealed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from helpers.errors import CourseError
from helpers.files import first_mistake, read_yaml, shown
from helpers.jsonl import repair_last_line
from toolkit.evaluation.inference.requests import check_inside
from toolkit.evaluation.inference.transcripts import media_parts, words_in
from toolkit.evaluation.judging.judges import judge_by_rules
from toolkit.evaluation.judging.pairwise import Agreement, Combined, Comparison, Pair, agreement, count_words
from toolkit.evaluation.judging.rubric import read_rubric
from toolkit.evaluation.metrics.statistics import Estimate, win_rate

if TYPE_CHECKING:
    import pandas

Choice = Literal["A", "B", "tie", "skip"]
CHOICES: tuple[Choice, ...] = ("A", "B", "tie", "skip")
OVERALL = {"overall": "Which answer is better?"}
#: So many mistakes of a ballot are named at once.
_NAMED = 10


class Vote(BaseModel):
    """What a reader chose for one item by one dimension."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str
    dimension: str
    choice: Choice
    mark: str
    """Of the `Slip` that the reader saw."""


@dataclass(frozen=True)
class Slip:
    """One item as the reader sees it."""

    item_id: str
    request: str
    media: tuple[Path, ...]
    a: str
    b: str
    mark: str
    """A hash of the seed, the item's name and both texts, so that a vote cannot be taken for one on other answers."""


@dataclass(frozen=True)
class Ballot:
    """What is to be voted on, in the order in which it is shown."""

    slips: tuple[Slip, ...]
    questions: Mapping[str, str]
    """Dimension -> what is asked about it."""


def rubric_questions(names: Iterable[str] | None = None) -> dict[str, str]:
    """Questions of ``data/rubric.yaml``, by dimension; None takes all.

    Raises:
        CourseError: the rubric lacks one of the names.
    """
    rubric = read_rubric()
    names = list(rubric if names is None else names)
    if unknown := [name for name in names if name not in rubric]:
        raise CourseError(
            f"The rubric has no dimension '{unknown[0]}'.", "a misspelt name", f"use some of: {', '.join(rubric)}"
        )
    return {name: rubric[name].question for name in names}


def make_ballot(
    pairs: Sequence[Pair], folder: str | Path, n: int = 20, *, seed: int, questions: Mapping[str, str] = OVERALL
) -> Ballot:
    """Draw items, and shuffle their order and sides. The same pairs and seed give the same ballot.

    A larger ``n`` adds items and keeps those that there were, so votes on them remain good.

    Args:
        pairs: as `toolkit.evaluation.judging.judges.read_pairs` gives them.
        folder: in which the items' media lie.
        n: how many; fewer if there are no more.
        seed: decides items, order and sides.
        questions: dimension -> question; see `rubric_questions`.

    Raises:
        CourseError: no pairs, an item twice, a medium that is not there or lies outside the folder, or nothing to ask.
    """
    if n < 1 or not pairs or not questions:
        raise CourseError(
            f"A ballot of {n} of {len(pairs)} pairs, {len(questions)} questions each, asks nothing.",
            "no item that both runs have answered, or n below 1",
            "look at the transcripts",
        )
    _by_item(pairs)
    drawn = sorted(pairs, key=lambda pair: _digest("order", seed, _name(pair)))[:n]
    return Ballot(tuple(_slip(pair, Path(folder), seed) for pair in drawn), dict(questions))


def _slip(pair: Pair, folder: Path, seed: int) -> Slip:
    urls = [part["url"] for part in media_parts(pair.item["messages"])]
    for url in urls:
        check_inside(_name(pair), url)
    media = tuple(folder / url for url in urls)
    for path in media:
        if not path.is_file():
            raise CourseError(
                f"Item '{_name(pair)}' shows {shown(path)}, and there is no such file.",
                "the folder is not that of the transcripts, or the file was moved",
                "give the folder that holds the items' media",
            )
    a, b = _sides(pair, seed)
    return Slip(_name(pair), words_in(pair.item["messages"]), media, a, b, _digest(seed, _name(pair), a, b)[:16])


def _sides(pair: Pair, seed: int) -> tuple[str, str]:
    texts = (pair.first_text, pair.second_text)
    return texts if _first_is_a(seed, _name(pair)) else texts[::-1]


def _first_is_a(seed: int, item_id: str) -> bool:
    return int(_digest("sides", seed, item_id), 16) % 2 == 0


def _digest(*words: Any) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _name(pair: Pair) -> str:
    return str(pair.item["item_id"])


def _by_item(pairs: Iterable[Pair]) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    for pair in pairs:
        if _name(pair) in found:
            raise CourseError(
                f"There are two pairs for item '{_name(pair)}'.", "pairs of several runs together", "vote on two runs"
            )
        found[_name(pair)] = pair
    return found


# ---------------------------------------------------------------- votes as they are cast


class VoteBox:
    """The votes on a ballot, in a file to which each is appended as it is cast; the last one of an item counts.

    Opening it finds the votes that are there. A last line that was torn is completed if only its end is missing, else
    moved to a file of the same name with ``.torn`` added; ``repaired`` says so. Votes on items beyond the ballot stay.

    Raises:
        CourseError: the file cannot be read or written, has a line that is no vote (its number is named), or holds
            votes on other answers to one of the items.
    """

    def __init__(self, ballot: Ballot, path: str | Path):
        self.ballot, self.path = ballot, Path(path)
        self.repaired: str | None = None
        """What was done to a torn last line; None if there was none."""
        self._choices: dict[tuple[str, str], Choice] = {}
        slips = {slip.item_id: slip for slip in ballot.slips}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                self.repaired = repair_last_line(self.path, Vote.model_validate_json)
        except OSError as error:
            raise self._unwritable(error) from None
        for vote in read_votes(self.path) if self.path.exists() else ():
            slip = slips.get(vote.item_id)
            if slip and slip.mark != vote.mark:
                raise CourseError(
                    f"{shown(self.path)} holds votes on other answers to item '{vote.item_id}'.",
                    "another seed or other runs; or a model was asked again",
                    "name another file for this ballot",
                )
            self._choices[vote.item_id, vote.dimension] = vote.choice

    def cast(self, slip: Slip, dimension: str, choice: Choice) -> None:
        """Append one vote; it is with the operating system when this returns.

        Raises:
            CourseError: an unknown dimension or choice; or it cannot be written, and does not count then.
        """
        if dimension not in self.ballot.questions or choice not in CHOICES:
            raise CourseError(f"'{choice}' by '{dimension}' is no vote.", "", f"use one of: {', '.join(CHOICES)}")
        vote = Vote(item_id=slip.item_id, dimension=dimension, choice=choice, mark=slip.mark)
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(vote.model_dump_json().encode() + b"\n")
        except OSError as error:
            raise self._unwritable(error) from None
        self._choices[slip.item_id, dimension] = choice

    def choice(self, slip: Slip, dimension: str) -> Choice | None:
        """The vote that counts; None if there is none yet."""
        return self._choices.get((slip.item_id, dimension))

    def missing(self, slip: Slip) -> list[str]:
        """The dimensions of an item that have no vote yet."""
        return [dimension for dimension in self.ballot.questions if self.choice(slip, dimension) is None]

    @property
    def place(self) -> int:
        """Of the first item that lacks a vote; the number of items if none does."""
        return next((place for place, slip in enumerate(self.ballot.slips) if self.missing(slip)), self.of)

    @property
    def of(self) -> int:
        """How many items there are."""
        return len(self.ballot.slips)

    @property
    def done(self) -> int:
        """How many items have all their votes."""
        return sum(not self.missing(slip) for slip in self.ballot.slips)

    def _unwritable(self, error: OSError) -> CourseError:
        return CourseError(
            f"Cannot write votes to {shown(self.path)}: {error.strerror}.",
            "a read-only or full disk, or a folder of that name",
            "mend that and vote again; the votes in the file are kept",
        )


def read_votes(path: str | Path) -> Iterator[Vote]:
    """The votes of a file, in the order in which they were cast; an earlier one of the same item may be among them.

    Raises:
        CourseError: no such file, or a line that is no vote (its number is named). A torn last line is left out.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CourseError(
            f"{shown(path)} cannot be read: {error.strerror}.", "a misspelt path", "look at the path"
        ) from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                vote = Vote.model_validate_json(line)
            except ValidationError as error:
                if number == len(lines):
                    return
                raise CourseError(
                    f"{path.name} line {number} is not a vote.", first_mistake(error), "mend or delete it"
                ) from None
            yield vote


# ---------------------------------------------------------------- without widgets


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, which people can read."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)
_HEAD = """\
# A blind vote. For each item, look at the media, read both answers, and write after the colon of 'choice:'
# or of each of its dimensions: A, B, tie, or skip. What is left empty is not voted on yet. Change nothing else.
"""


def write_ballot(ballot: Ballot, path: str | Path) -> Path:
    """Write the ballot as YAML, to be filled in with any editor. A file of the same ballot stays as it is.

    Media are named relative to the file.

    Raises:
        CourseError: another file is there, or it cannot be written.
    """
    path = Path(path)
    if path.exists():
        read_ballot(ballot, path)  # refuses another's
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_HEAD)
            for part in (
                {"questions": dict(ballot.questions)},
                {"items": [_entry(ballot, s, path) for s in ballot.slips]},
            ):
                yaml.dump(part, file, _Dumper, sort_keys=False, allow_unicode=True, width=110)
    except OSError as error:
        raise CourseError(f"Cannot write {shown(path)}: {error.strerror}.", "", "name another file") from None
    return path


def _entry(ballot: Ballot, slip: Slip, path: Path) -> dict[str, Any]:
    choice = None if len(ballot.questions) == 1 else dict.fromkeys(ballot.questions)
    media = [os.path.relpath(medium, path.parent) for medium in slip.media]
    return {"item": slip.item_id, "mark": slip.mark, "media": media, "request": slip.request, "A": slip.a, "B": slip.b,
            "choice": choice}  # fmt: skip


def read_ballot(ballot: Ballot, path: str | Path) -> list[Vote]:
    """The votes of a ballot that was filled in, in its order; what is empty is left out.

    Raises:
        CourseError: no such file, no YAML, or mistakes, which are named by item: a choice that there is not, an item
            that is unknown, missing or there twice, other answers than this ballot's.
    """
    path = Path(path)
    slips = {slip.item_id: slip for slip in ballot.slips}
    entries = read_yaml(path).get("items")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CourseError(f"{path.name}: no list of items in it.", "the key 'items' is missing or changed")
    votes: list[Vote] = []
    mistakes: list[str] = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        name = str(entry.get("item"))
        slip = slips.get(name)
        if slip is None or name in seen:
            mistakes.append(f"item {number} ('{name}'): " + ("is there twice" if slip else "is not in this ballot"))
            continue
        seen.add(name)
        if entry.get("mark") != slip.mark:
            mistakes.append(f"item '{name}': is on other answers than this ballot")
            continue
        for dimension, choice in _filled(ballot, entry.get("choice")):
            if choice is None:
                mistakes.append(f"item '{name}': {dimension}; use {', '.join(CHOICES)}")
            else:
                votes.append(Vote(item_id=name, dimension=dimension, choice=choice, mark=slip.mark))
    mistakes += [f"item '{name}': is missing" for name in slips if name not in seen]
    if mistakes:
        more = f"; and {len(mistakes) - _NAMED} more" if len(mistakes) > _NAMED else ""
        raise CourseError(
            f"{path.name} cannot be counted.", "; ".join(mistakes[:_NAMED]) + more, "mend these, and read it again"
        )
    return votes


def _filled(ballot: Ballot, written: Any) -> Iterator[tuple[str, Choice | None]]:
    """Dimensions and their choices; a mistake is what is wrong, and None."""
    if not isinstance(written, dict):
        if len(ballot.questions) > 1:
            yield f"'choice' must name the dimensions {', '.join(ballot.questions)}, and not '{written}'", None
            return
        written = dict.fromkeys(ballot.questions, written)
    known = {choice.lower(): choice for choice in CHOICES}
    for dimension, word in written.items():
        if dimension not in ballot.questions:
            yield f"there is no dimension '{dimension}'", None
        elif word is not None and str(word).strip():
            choice = known.get(str(word).strip().lower())
            yield (dimension, choice) if choice else (f"'{word}' is no choice", None)


# ---------------------------------------------------------------- the reveal


@dataclass(frozen=True)
class Count:
    """The votes by one dimension, the names being known."""

    dimension: str
    wins: int
    """For the first run."""
    losses: int
    ties: int
    skipped: int
    rate: Estimate
    """The first's share of wins, a tie being half a win."""
    left: Estimate
    """The same of side A, whoever stood there: far from ½, the reader leans to a side."""
    agreements: Mapping[str, Agreement]
    """With the facts and with judges, by name."""


@dataclass(frozen=True)
class Tally:
    """What the votes come to."""

    first: str
    second: str
    items: int
    """With at least one vote."""
    counts: tuple[Count, ...]

    def describe(self) -> str:
        """Some lines for people."""
        lines = [f"{self.first} against {self.second}, {self.items} items voted on"]
        for one in self.counts:
            lines.append(
                f"{one.dimension}: {one.wins} won, {one.losses} lost, {one.ties} tied, {one.skipped} skipped; "
                f"{self.first} wins {_share(one.rate)}; side A wins {_share(one.left)}"
            )
            for name, found in one.agreements.items():
                value = "not defined" if found.kappa is None else f"{found.kappa:.2f}"
                lines.append(f"  as {name}: {_share(found.share)} of {found.share.n}, kappa {value}")
        return "\n".join(lines)

    def frame(self) -> pandas.DataFrame:
        """One row per dimension; agreement in columns such as 'facts agreed', 'facts kappa' and 'facts pairs'."""
        import pandas as pd

        rows = []
        for one in self.counts:
            row: dict[str, Any] = {"dimension": one.dimension, "wins": one.wins, "losses": one.losses}
            row |= {"ties": one.ties, "skipped": one.skipped, "win_rate": one.rate.value}
            row |= {"low": one.rate.low, "high": one.rate.high, "side_a": one.left.value}
            for name, found in one.agreements.items():
                row |= {f"{name} agreed": found.share.value, f"{name} kappa": found.kappa}
                row[f"{name} pairs"] = found.share.n
            rows.append(row)
        return pd.DataFrame(rows)


def _share(estimate: Estimate) -> str:
    if estimate.value is None:
        return "unknown"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def reveal(votes: Iterable[Vote], pairs: Sequence[Pair], *, seed: int, reader: str = "reader") -> list[Comparison]:
    """The votes with names, as a judge's comparisons (`judging.pairwise`); the last of an item counts.

    What was skipped or has no vote is without a verdict (status 'invalid').

    Args:
        votes: of `read_votes` or `read_ballot`.
        pairs: those of which the ballot was made; there may be more.
        seed: of the ballot.
        reader: who voted.

    Raises:
        CourseError: votes on other answers: another seed, other pairs, or the two runs exchanged.
    """
    by_item = _by_item(pairs)
    choices = _last_choices(votes, by_item, seed)
    dimensions = list(dict.fromkeys(dimension for one in choices.values() for dimension in one))
    found = []
    for name, chosen in choices.items():
        pair = by_item[name]
        verdicts = {dimension: _verdict(chosen.get(dimension), _first_is_a(seed, name)) for dimension in dimensions}
        words = count_words(pair.first_text), count_words(pair.second_text)
        found.append(Comparison(reader, name, pair.first, pair.second, verdicts, *words))
    return found


def _last_choices(votes: Iterable[Vote], by_item: Mapping[str, Pair], seed: int) -> dict[str, dict[str, Choice]]:
    choices: dict[str, dict[str, Choice]] = {}
    for vote in votes:
        pair = by_item.get(vote.item_id)
        if pair is None or _digest(seed, vote.item_id, *_sides(pair, seed))[:16] != vote.mark:
            raise CourseError(
                f"The vote on item '{vote.item_id}' is on other answers.",
                "another seed or other pairs than the ballot's, or the two runs in the other order",
                "give tally what make_ballot was given",
            )
        choices.setdefault(vote.item_id, {})[vote.dimension] = vote.choice
    return choices


def _verdict(choice: Choice | None, first_is_a: bool) -> Combined:
    if choice is None or choice == "skip":
        why = "skipped" if choice else "no vote"
        return Combined("invalid", None, False, (why, why))
    won = choice if choice == "tie" else "first" if (choice == "A") == first_is_a else "second"
    return Combined("given", won, False, ("", ""))


def facts_comparisons(pairs: Iterable[Pair], dimensions: Sequence[str]) -> list[Comparison]:
    """What the facts of toy scenes prefer (`judge_by_rules`), said by each of the dimensions; other items are left out.

    It is one preference: it has a say on detail, and shows of other dimensions how far they follow the facts.
    """
    found = []
    for pair in pairs:
        if "subjects" not in (pair.item.get("facts") or {}):
            continue
        choice = judge_by_rules(pair.item, pair.first_text, pair.second_text).choice
        verdict = Combined("given", choice, False, ("", ""))
        words = count_words(pair.first_text), count_words(pair.second_text)
        verdicts = dict.fromkeys(dimensions, verdict)
        found.append(Comparison("facts", _name(pair), pair.first, pair.second, verdicts, *words))
    return found


def tally(
    votes: Iterable[Vote],
    pairs: Sequence[Pair],
    *,
    seed: int,
    judges: Iterable[Comparison] = (),
    reader: str = "reader",
) -> Tally:
    """Reveal the names, and count: who won by which dimension, and how far the reader agrees with others.

    Args:
        votes: as in `reveal`, and so are pairs, seed and reader.
        pairs: the ballot's, or more.
        seed: the ballot's.
        judges: comparisons of one judge or several, in either order of the runs. A judge counts for the dimensions that
            all its comparisons have; the facts are always there, where the items are scenes.
        reader: who voted.

    Raises:
        CourseError: no votes; or as `reveal`.
    """
    votes = list(votes)
    revealed = reveal(votes, pairs, seed=seed, reader=reader)
    if not revealed:
        raise CourseError(
            "There are no votes.", "a file without lines, or a ballot that nobody filled in", "vote first"
        )
    dimensions = list(revealed[0].verdicts)
    voted = {one.item_id for one in revealed}
    facts = facts_comparisons((pair for pair in pairs if _name(pair) in voted), dimensions)
    others: dict[str, list[Comparison]] = {"facts": facts} if facts else {}
    names = revealed[0].first, revealed[0].second
    for one in judges:
        in_order = one if (one.first, one.second) == names else _exchanged(one)
        others.setdefault(one.judge, []).append(in_order)
    counts = tuple(_count(dimension, revealed, others, seed) for dimension in dimensions)
    return Tally(*names, len(revealed), counts)


def _count(dimension: str, revealed: list[Comparison], others: Mapping[str, list[Comparison]], seed: int) -> Count:
    choices = {one.item_id: one.verdicts[dimension].choice for one in revealed}
    given = list(choices.values())
    wins, losses, ties = given.count("first"), given.count("second"), given.count("tie")
    left = sum(
        choice in ("first", "second") and (choice == "first") == _first_is_a(seed, name)
        for name, choice in choices.items()
    )
    skipped = sum("skipped" in one.verdicts[dimension].reasons for one in revealed)
    agreements = {
        name: agreement(revealed, found, dimension)
        for name, found in others.items()
        if all(dimension in one.verdicts for one in found)
    }
    rate, side = win_rate(wins, losses, ties), win_rate(left, wins + losses - left, ties)
    return Count(dimension, wins, losses, ties, skipped, rate, side, agreements)


def _exchanged(one: Comparison) -> Comparison:
    """The same comparison, told of the runs in the other order."""
    mirrored = {"first": "second", "second": "first"}
    verdicts = {
        name: replace(verdict, choice=mirrored.get(verdict.choice, verdict.choice))
        for name, verdict in one.verdicts.items()
    }
    return Comparison(one.judge, one.item_id, one.second, one.first, verdicts, one.second_words, one.first_words)

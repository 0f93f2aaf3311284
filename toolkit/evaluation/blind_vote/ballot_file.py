"""A ballot without widgets: a YAML file to be filled in with any editor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from helpers.errors import CourseError
from helpers.files import read_yaml, write_whole, writing
from toolkit.evaluation.blind_vote.ballot import CHOICES, Ballot, BlindPair, Vote, VoteChoice

#: This many mistakes of a ballot are named at once.
_NAMED = 10
_HEAD = """\
# A blind vote. For each item, look at the media, read both answers, and write after the colon of 'choice:'
# or of each of its dimensions: A, B, tie, or skip. What is left empty is not voted on yet. Change nothing else.
"""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, which people can read."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def write_ballot(ballot: Ballot, path: str | Path) -> Path:
    """Write the ballot as YAML, its media relative to the file. A file of the same ballot stays as it is.

    Raises:
        CourseError: another file is there, or it cannot be written.
    """
    path = Path(path)
    if path.exists():
        read_ballot(ballot, path)  # refuses another's
        return path
    parts = ({"questions": dict(ballot.questions)}, {"items": [_entry(ballot, pair, path) for pair in ballot.pairs]})
    text = "".join(yaml.dump(part, None, _Dumper, sort_keys=False, allow_unicode=True, width=110) for part in parts)
    with writing(path, "name another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _HEAD + text)
    return path


def _entry(ballot: Ballot, pair: BlindPair, path: Path) -> dict[str, Any]:
    choice = None if len(ballot.questions) == 1 else dict.fromkeys(ballot.questions)
    media = [os.path.relpath(medium, path.parent.resolve()) for medium in pair.media]
    return {"item": pair.item_id, "mark": pair.mark, "media": media, "request": pair.request, "A": pair.a, "B": pair.b,
            "choice": choice}  # fmt: skip


def read_ballot(ballot: Ballot, path: str | Path) -> list[Vote]:
    """The votes of a ballot that was filled in, in its order; what is empty is omitted.

    Raises:
        CourseError: no such file, not YAML, or mistakes, which are named by item: an unknown choice, an item that is
            unknown, missing or there twice, other answers than this ballot's.
    """
    path = Path(path)
    pairs = ballot.by_item()
    entries = read_yaml(path).get("items")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CourseError(f"{path.name}: no list of items in it.", "the key 'items' is missing or changed")
    votes: list[Vote] = []
    mistakes: list[str] = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        name = str(entry.get("item"))
        pair = pairs.get(name)
        if pair is None or name in seen:
            mistakes.append(f"item {number} ('{name}'): " + ("is there twice" if pair else "is not in this ballot"))
        elif entry.get("mark") != pair.mark:
            mistakes.append(f"item '{name}': is on other answers than this ballot")
        else:
            for dimension, choice in _filled(ballot, entry.get("choice")):
                if choice is None:
                    mistakes.append(f"item '{name}': {dimension}; use {', '.join(CHOICES)}")
                else:
                    votes.append(Vote(item_id=name, dimension=dimension, choice=choice, mark=pair.mark))
        seen.add(name)
    mistakes += [f"item '{name}': is missing" for name in pairs if name not in seen]
    if mistakes:
        more = f"; and {len(mistakes) - _NAMED} more" if len(mistakes) > _NAMED else ""
        raise CourseError(
            f"{path.name} cannot be counted.", "; ".join(mistakes[:_NAMED]) + more, "fix these, and read it again"
        )
    return votes


def _filled(ballot: Ballot, written: Any) -> Iterator[tuple[str, VoteChoice | None]]:
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

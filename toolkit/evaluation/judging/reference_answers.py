"""Answers whose quality is known: descriptions made from a toy scene's facts, right or wrong on purpose.

A judge that does not prefer the true one to each of the others cannot be trusted with models.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any

from toolkit.evaluation.judging.pairwise import Pair
from toolkit.evaluation.metrics.scene_facts import check
from toolkit.toyworld.scenes import (
    COLOURS,
    FURS,
    KINDS,
    LIGHTS,
    PATTERNS,
    PLACES,
    POSES,
    POSITIONS,
    describe,
    make_facts,
)

ORACLE = "oracle"
#: Fluent, and says nothing that could be wrong.
_PADDING = (
    "This is an image that rewards a patient and attentive look.",
    "Every part of it has been put together with evident care, and nothing seems to be left to chance.",
    "The longer one looks, the more the whole comes together, and the more there is to enjoy in it.",
    "All in all, it is a composition of great charm that stays in the mind for a long time.",
)


def oracle(item: Mapping[str, Any]) -> str:
    """The reference description."""
    return describe(_facts(item))


def blind_guess(item: Mapping[str, Any]) -> str:
    """The description of another scene: what someone would say who has not looked, but knows what scenes are like."""
    facts = _facts(item)
    rng = _rng(item, "blind")
    while True:
        guessed = make_facts(rng)
        if describe(guessed) != describe(facts):
            return describe(guessed)


def verbose_liar(item: Mapping[str, Any]) -> str:
    """Fluent, long and false: every subject, the place, the light and the weather are others, between empty phrases."""
    return pad(describe(_all_false(_facts(item), _rng(item, "liar")), wording=2))


def swapped_attributes(item: Mapping[str, Any]) -> str | None:
    """The reference with two subjects' colours exchanged: 'a red dog and a blue ball' for a blue dog and a red ball.

    Where no two subjects differ in colour, two of different kinds change places; None where that is impossible, too.
    """
    facts = copy.deepcopy(_facts(item))
    pairs = list(combinations(facts["subjects"], 2))
    for key, differs in (("colour", "colour"), ("position", "kind")):
        for first, second in pairs:
            if first[key] != second[key] and first[differs] != second[differs]:
                first[key], second[key] = second[key], first[key]
                return describe(facts)
    return None


def empty(item: Mapping[str, Any]) -> str:
    """Nothing."""
    _facts(item)
    return ""


#: By name, the one that must win first. An answer that is not possible for an item is None.
REFERENCE_ANSWERS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    ORACLE: oracle,
    "swapped attributes": swapped_attributes,
    "blind guess": blind_guess,
    "verbose liar": verbose_liar,
    "empty": empty,
}


def reference_pairs(items: Iterable[Mapping[str, Any]]) -> list[Pair]:
    """All reference answers against each other on every scene.

    Which of a pair comes first alternates, so that none gains by its place.

    Raises:
        CourseError: an item that is no scene.
    """
    pairs = []
    for number, item in enumerate(items):
        texts = {name: text for name, make in REFERENCE_ANSWERS.items() if (text := make(item)) is not None}
        for turn, (first, second) in enumerate(combinations(texts, 2)):
            if (number + turn) % 2:
                first, second = second, first
            pairs.append(Pair(item, first, second, texts[first], texts[second]))
    return pairs


def pad(text: str) -> str:
    """The text with fluent sentences around it that say nothing."""
    return " ".join([*_PADDING[:2], text, *_PADDING[2:]]).replace("  ", " ")


def _facts(item: Mapping[str, Any]) -> dict[str, Any]:
    facts = item.get("facts") or {}
    check("", facts)  # refuses what is no scene
    return facts


def _rng(item: Mapping[str, Any], what: str) -> random.Random:
    return random.Random(f"{what}-{item.get('item_id')}")  # noqa: S311 - no secret


def _colour(rng: random.Random, kind: str, other_than: str | None = None) -> str:
    colours = FURS if KINDS[kind] == "animal" else COLOURS
    return rng.choice([colour for colour in colours if colour != other_than])


def _all_false(facts: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Facts of a scene with as many subjects, of kinds that are not there, and nothing else right either."""

    def other(values: Iterable[Any], than: Any) -> Any:
        return rng.choice([value for value in values if value != than])

    place = other(PLACES, facts["place"])
    there = {subject["kind"] for subject in facts["subjects"]}
    absent = [kind for kind in KINDS if kind not in there]
    subjects = []
    for subject in facts["subjects"]:
        kind = rng.choice(absent)
        group = KINDS[kind]
        changed = {"kind": kind, "gear": None, "position": other(POSITIONS, subject["position"])}
        changed["colour"] = _colour(rng, kind, subject["colour"])
        changed["pattern"] = other(PATTERNS[1:], subject["pattern"]) if group == "person" else "plain"
        changed["pose"] = rng.choice([pose for pose in POSES[group] if pose != subject["pose"]] or POSES[group])
        subjects.append(subject | changed)
    return {
        "place": place,
        "light": other(LIGHTS, facts["light"]),
        "weather": None if place == "room" else "rainy" if facts.get("weather") == "clear" else "clear",
        "landmark": None,
        "subjects": subjects,
    }

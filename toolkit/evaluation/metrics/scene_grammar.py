"""Sentences of a description: which tokens belong together, before anything is known of what they are about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.evaluation.metrics.vocabulary import WORDS, Token
from toolkit.toyworld.scenes import KINDS

#: Words and marks; what is longer is cut, so that a model that repeats itself without a full stop takes no longer.
LONGEST_SENTENCE = 100
_HEADS = frozenset(("kind", "garment", "loose", "landmark", "gear", "fur", "place"))
_ADJECTIVES = frozenset(("colour", "pattern"))
_MODIFIERS = frozenset(("colour", "pattern", "pose"))
_IN_PHRASE = frozenset(("a", "the", "number", "colour", "pattern", "pose", "skip", "unknown", "lone", "mood"))
_AFTER_NOUN = frozenset(("kind", "skip", "break", "copula", "end", "pose", "position"))
PREPOSITIONS = WORDS["prepositions"]


@dataclass
class Attribute:
    """Something that is said of an object, of the scene, or of nothing that the rules can tell."""

    kind: str
    """As `facts.Claim` has it."""
    values: tuple[str, ...]
    """What it may mean in the scenes' words; if one of them is right, it is."""
    token: Token
    negated: bool = False
    loose: bool = False
    """Of a garment that need not be the one that is a fact: right, or not to be checked."""
    other: Thing | None = None
    """The second object of a relation."""
    attributive: bool = False
    """Before its noun, as in 'a red ball'."""
    joint: tuple[str, ...] = ()
    """Of 'red and white': if one of them is right, the other cannot be checked, for only the main colour is a fact."""
    rivals: list[Thing] = field(default_factory=list)
    """'The dog', where there are two: all that it may be about."""


@dataclass
class Thing:
    """An object that the description mentions; later mentions of it are merged into it."""

    kinds: frozenset[str]
    """What it may be, of `scenes.KINDS`."""
    wide: bool
    """Named by a word that does not state the kind, such as 'animal'."""
    token: Token
    definite: bool
    """Whether 'the' or a possessive stands before it."""
    number: int | None = None
    """A stated count, for 'two dogs' and 'a single dog'."""
    plural: bool = False
    negation: str = ""
    """'' for an object that is there, 'no' for one that is not, 'without' for one that another object has not."""
    mentions: list[Token] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    """Added by `add`."""
    matches: list[int] = field(default_factory=list)
    """Places in ``facts["subjects"]``; for `facts` to fill in."""
    same_group: bool = False
    """Matched with a subject of another kind: a dog that is called a cat. For `facts` to fill in."""
    merged: Thing | None = None
    """The earlier mention that this one was merged into."""
    said: defaultdict[str, Counter[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    """Kind of attribute -> values that it is said to have -> how often: few, however often they are repeated."""

    @property
    def entity(self) -> Thing:
        """The mention that all that is said of this object has been merged into."""
        return self.merged.entity if self.merged else self

    @property
    def animate(self) -> bool:
        return any(KINDS[kind] != "thing" for kind in self.kinds)

    def add(self, attribute: Attribute) -> None:
        self.attributes.append(attribute)
        if not attribute.negated:
            self.said[attribute.kind][attribute.values] += 1


@dataclass
class Reading:
    """All that a text asserts."""

    things: list[Thing]
    """Objects, also those that are said not to be there, in the order of their first mentions."""
    about_scene: list[Attribute]
    unbound: list[Attribute]
    """Said of something else, or of what the rules cannot tell."""


class Sentence:
    """The tokens of a sentence, their clauses, and the objects that are mentioned in it."""

    def __init__(self, tokens: list[Token]):
        self.line = tokens
        self.segment = _segments(tokens)
        """The number of the clause that each token stands in."""
        self.at: dict[int, Thing] = {}
        """Objects by the place of the noun that mentions them."""
        self.heads = [
            _head_of(tokens, place) if tokens[place].type in _MODIFIERS else None for place in range(len(tokens))
        ]
        """For each adjective the place of the noun that it stands before."""

    def position_comes_first(self) -> bool:
        for token in self.line:
            if token.type in ("position", "kind"):
                return token.type == "position"
        return False

    def phrase_start(self, place: int) -> int:
        """Where the noun phrase with this head begins: its article, number and adjectives before it."""
        start = place
        while start and self.line[start - 1].type in _IN_PHRASE:
            if self.line[start - 1].type == "skip" and self.line[start - 1].word in PREPOSITIONS:
                break
            start -= 1
            if self.line[start].type in ("a", "the", "lone"):
                break
        return start

    def is_verb_here(self, place: int) -> bool:
        before = self.line[place - 1] if place else None
        return (
            before is not None
            and before.type in ("kind", "he", "garment", "pattern", "gear", "position", "skip")
            and (before.type != "skip" or before.word.endswith("ly"))
        )

    def nouns_between(self, place: int) -> bool:
        """Whether a noun that is no object of the world follows before the next object: 'on the left is a tree'."""
        for token in self.line[place + 1 :]:
            if token.type == "kind":
                return False
            if token.type in ("unknown", "landmark"):
                nearer = next((near for near in self.line[self.line.index(token) :] if near.type in _AFTER_NOUN), None)
                return nearer is None or nearer.type != "kind"
        return False

    def word_after(self, place: int) -> str:
        return self.line[place + 1].word if place + 1 < len(self.line) else ""

    def word_before(self, place: int) -> str:
        """The word before, but for the colour of a pattern: 'in white dots'"""
        if self.line[place].type == "pattern" and place and self.line[place - 1].type == "colour":
            place -= 1
        return self.line[place - 1].word if place else ""

    def negation_of_phrase(self, start: int) -> str:
        segment, place = self.segment[start], start
        while place and self.segment[place - 1] == segment and start - place < 6:
            place -= 1
            token = self.line[place]
            if token.type == "no":
                return "no"
            if token.type == "without":
                return "without"
            if token.type == "not":
                between = self.line[place + 1 : start]
                return "without" if any(_is_verb(near) for near in between) else "no"
            if token.type == "kind" and self.at.get(place) and self.at[place].negation:
                return self.at[place].negation
            if token.type not in ("skip", "a", "the", "kind", "number", "colour", "pattern", "hold", "copula") or (
                token.word in PREPOSITIONS and token.word not in WORDS["seeming"]
            ):
                return ""
        return ""

    def negated(self, place: int) -> bool:
        segment = self.segment[place]
        for earlier in range(place - 1, max(-1, place - 6), -1):
            if self.segment[earlier] != segment or self.line[earlier].type == "kind":
                return False
            if self.line[earlier].type in ("not", "no", "without"):
                return True
        return False

    def nearest(self, place: int, types: frozenset[str]) -> int | None:
        """The nearest place before, in the same segment, of a token with one of these types."""
        segment = self.segment[place]
        for earlier in range(place - 1, -1, -1):
            if self.segment[earlier] != segment:
                return None
            if self.line[earlier].type in types:
                return earlier
        return None

    def listed_after_none(self, start: int) -> bool:
        """'no dogs, cats or people': a bare noun after a comma or 'and' goes on with the negation."""
        if self.line[start].type in ("a", "the", "lone", "number") or not self.at:
            return False
        last = max(self.at)
        between = self.line[last + 1 : start]
        return bool(self.at[last].negation) and all(token.type == "break" or token.word == "or" for token in between)


def sentences(tokens: list[Token]) -> Iterator[list[Token]]:
    sentence: list[Token] = []
    for token in tokens:
        if token.type != "end":
            sentence.append(token)
        if sentence and (token.type == "end" or len(sentence) == LONGEST_SENTENCE):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _segments(tokens: list[Token]) -> list[int]:
    """The number of the clause that each token stands in. Adjectives joined by 'and' or a comma stay together."""
    numbers, number = [], 0
    for place, token in enumerate(tokens):
        if token.type == "break" and not _joins_adjectives(tokens, place):
            number += 1
        numbers.append(number)
    return numbers


def _joins_adjectives(tokens: list[Token], place: int) -> bool:
    if not 0 < place < len(tokens) - 1:
        return False
    before, after = tokens[place - 1].type, tokens[place + 1].type
    return before in _ADJECTIVES and after in _ADJECTIVES


def _head_of(tokens: list[Token], place: int) -> int | None:
    """The noun that the adjective at this place stands before, or None if it is a predicate."""
    unknown = 0
    for later in range(place + 1, min(len(tokens), place + 8)):
        type_ = tokens[later].type
        if type_ in _HEADS:
            return later
        if type_ in _ADJECTIVES or (type_ == "break" and _joins_adjectives(tokens, later)):
            continue
        if type_ == "break" and tokens[later].word == "," and later == place + 1:
            follows = tokens[later + 1].type if later + 1 < len(tokens) else ""
            if follows in ("colour", "pattern"):
                continue
            return None
        if tokens[place].type != "pose" and type_ == "unknown":
            unknown += 1
            if unknown > 2 or ends_phrase(tokens, later):
                return later
            continue
        if type_ == "skip" and tokens[later].word in WORDS["sizes"]:
            continue
        return None
    return None


def ends_phrase(tokens: list[Token], place: int) -> bool:
    return place + 1 >= len(tokens) or tokens[place + 1].type not in (_HEADS | _ADJECTIVES | {"unknown"})


def _is_verb(token: Token) -> bool:
    return token.type == "hold" or (token.type == "skip" and token.word.endswith(("ing", "ed", "have", "has", "with")))


def all_persons(thing: Thing) -> bool:
    """Whether all that it may be are people."""
    return all(KINDS[kind] == "person" for kind in thing.kinds)


def conflict(thing: Thing, other: Thing) -> bool:
    """Whether adjectives or positions keep a new mention from being of an earlier object."""
    for kind in ("colour", "position", "row"):
        said = list(thing.said[kind])
        if kind == "colour":
            colours = [attribute for attribute in thing.attributes if attribute.kind == kind]
            said = [colour.values for colour in colours if colour.attributive and not colour.negated]
        if any(not _overlap(first, second) for first in said for second in other.said[kind]):
            return True
    return False


def in_common(thing: Thing, other: Thing) -> int:
    """How many pairs of attributes, one of each, mean the same; what is repeated counts again."""
    return sum(
        times * other_times
        for kind in ("colour", "position", "pose", "pattern")
        for first, times in thing.said[kind].items()
        for second, other_times in other.said[kind].items()
        if _overlap(first, second)
    )


def _overlap(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return not set(first).isdisjoint(second)

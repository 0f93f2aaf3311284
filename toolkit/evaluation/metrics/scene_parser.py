"""What a text asserts: its objects with their attributes, and what it says of the scene as a whole.

A description is free English prose. It is cut into sentences and clauses, and each attribute is bound to one object, so
that 'a red dog and a blue ball' is not 'a blue dog and a red ball'. No facts are known here: see `facts.check`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.evaluation.metrics.vocabulary import Token, read_tokens, word_set
from toolkit.toyworld.scenes import KINDS

#: Words and marks; what is longer is cut, so that a model that repeats itself without a full stop takes no longer.
LONGEST_SENTENCE = 100
#: Objects, the latest ones, that a new mention is compared with: many more than a scene has, and for the same reason.
MOST_OBJECTS = 50


def read_assertions(text: str) -> Reading:
    """What a description asserts, rightly or wrongly."""
    return _Reader(text).read()


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
        """Whether it may be a person or an animal."""
        return any(KINDS[kind] != "thing" for kind in self.kinds)

    def add(self, attribute: Attribute) -> None:
        """Note what is said of it."""
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


class _Reader:
    """Sentence by sentence from tokens to objects with attributes."""

    def __init__(self, text: str):
        self.tokens = read_tokens(text)
        self.things: list[Thing] = []
        self.scene: list[Attribute] = []
        self.unbound: list[Attribute] = []

    def read(self) -> Reading:
        for sentence in _sentences(self.tokens):
            self._sentence(sentence)
        return Reading(self.things, self.scene, self.unbound)

    # ------------------------------------------------ one sentence

    def _sentence(self, tokens: list[Token]) -> None:
        self.line = tokens
        self.segment = _segments(tokens)
        self.at: dict[int, Thing] = {}
        self.heads = [
            _head_of(tokens, place) if tokens[place].type in _MODIFIERS else None for place in range(len(tokens))
        ]
        self.leading = self._position_comes_first()
        for place, token in enumerate(tokens):
            if token.type == "kind":
                self.at[place] = self._mention(place)
            elif token.type == "nobody":
                people = frozenset(kind for kind, group in KINDS.items() if group == "person")
                self.at[place] = Thing(people, True, token, False, negation="no", mentions=[token])
        for place, token in enumerate(tokens):
            handle = _HANDLERS.get(token.type)
            if handle:
                handle(self, place, token)
        for thing in self.at.values():
            self._settle(thing)

    def _position_comes_first(self) -> bool:
        for token in self.line:
            if token.type in ("position", "kind"):
                return token.type == "position"
        return False

    def _mention(self, place: int) -> Thing:
        token = self.line[place]
        kinds, plural, wide = token.value
        start = self._phrase_start(place)
        before = [one.type for one in self.line[start:place]]
        number = next((one.value for one in self.line[start:place] if one.type == "number"), None)
        if "lone" in before:
            number = 1
        negation = self._negation_of_phrase(start)
        if number == 0:
            negation, number = "no", None
        thing = Thing(kinds, wide, token, "the" in before, number, plural, negation, [token])
        if not negation and start and self._listed_after_none(start):
            thing.negation = self.at[max(self.at)].negation
        return thing

    def _phrase_start(self, place: int) -> int:
        """Where the noun phrase with this head begins: its article, number and adjectives before it."""
        start = place
        while start and self.line[start - 1].type in _IN_PHRASE:
            if self.line[start - 1].type == "skip" and self.line[start - 1].word in _PREPOSITIONS:
                break
            start -= 1
            if self.line[start].type in ("a", "the", "lone"):
                break
        return start

    def _negation_of_phrase(self, start: int) -> str:
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
                return "without" if any(_is_verb(one) for one in between) else "no"
            if token.type == "kind" and self.at.get(place) and self.at[place].negation:
                return self.at[place].negation
            if token.type not in ("skip", "a", "the", "kind", "number", "colour", "pattern", "hold") or (
                token.word in _PREPOSITIONS and token.word != "of"
            ):
                return ""
        return ""

    def _listed_after_none(self, start: int) -> bool:
        """'no dogs, cats or people': a bare noun after a comma or 'and' goes on with the negation."""
        if self.line[start].type in ("a", "the", "lone", "number") or not self.at:
            return False
        last = max(self.at)
        between = self.line[last + 1 : start]
        return bool(self.at[last].negation) and all(one.type == "break" or one.word == "or" for one in between)

    # ------------------------------------------------ finding subjects

    def _recent(self) -> list[Thing]:
        return self.things[-MOST_OBJECTS:]

    def _negated(self, place: int) -> bool:
        segment = self.segment[place]
        for earlier in range(place - 1, max(-1, place - 6), -1):
            if self.segment[earlier] != segment or self.line[earlier].type == "kind":
                return False
            if self.line[earlier].type in ("not", "no", "without"):
                return True
        return False

    def _nearest(self, place: int, types: frozenset[str]) -> int | None:
        """The nearest place before, in the same segment, of a token with one of these types."""
        segment = self.segment[place]
        for earlier in range(place - 1, -1, -1):
            if self.segment[earlier] != segment:
                return None
            if self.line[earlier].type in types:
                return earlier
        return None

    def _pronoun(self, token: Token) -> Thing | None:
        groups = ("person",) if token.type == "he" else ("animal", "thing")
        earlier = [thing for place, thing in self.at.items() if self.line[place].start < token.start]
        if token.word in ("who", "which"):
            return earlier[-1] if earlier else None
        wrong = {"she": "man", "her": "man", "he": "woman", "his": "woman", "him": "woman"}.get(token.word)
        for thing in (*reversed(earlier), *reversed(self._recent())):
            if not thing.negation and not thing.plural and any(KINDS[kind] in groups for kind in thing.kinds - {wrong}):
                return thing
        return None

    def _thing_at(self, place: int) -> Thing | None:
        return self._pronoun(self.line[place]) if self.line[place].type in ("he", "it") else self.at.get(place)

    def _subject_before(self, place: int, animate: bool) -> tuple[Thing | None, bool]:
        """(the object that a predicate here is about, whether the segment has another noun that it may be about)."""
        segment, stopped, segments_back = self.segment[place], False, 0
        for earlier in range(place - 1, -1, -1):
            if self.segment[earlier] != segment:
                if stopped:
                    return None, True
                segment, segments_back = self.segment[earlier], segments_back + 1
            token = self.line[earlier]
            if token.type in ("kind", "he", "it"):
                thing = self._thing_at(earlier)
                if thing and (thing.animate or not animate):
                    return (thing, stopped) if not (stopped and not animate) else (None, True)
                stopped = stopped or thing is not None
            elif token.type in ("landmark", "unknown", "image", "fur") and segments_back == 0:
                stopped = True
        return None, stopped

    def _subject_after(self, place: int) -> Thing | None:
        return next((thing for later, thing in self.at.items() if later > place), None)

    def _bind(self, thing: Thing | None, attribute: Attribute) -> None:
        if thing is None:
            self.unbound.append(attribute)
        else:
            thing.add(attribute)

    def _with_partners(self, place: int, thing: Thing | None) -> list[Thing | None]:
        """'A dog and a cat are sitting': the predicate is about both."""
        if thing is None:
            return [None]
        head = next((at for at, one in self.at.items() if one is thing), None)
        if head is None or not any(one.word in ("are", "were", "both", "'re") for one in self.line[head:place]):
            return [thing]
        found, segment = [thing], self.segment[head]
        for earlier in sorted((at for at in self.at if at < head), reverse=True):
            between = self.line[earlier + 1 : head]
            said = any(one.type in ("copula", "pose", "position") for one in between)
            if said or segment - self.segment[earlier] > 1:
                break
            found.append(self.at[earlier])
            segment = self.segment[earlier]
        return found

    # ------------------------------------------------ handlers

    def _adjective(self, place: int, token: Token) -> None:
        kind = token.type
        attribute = Attribute(kind, token.value, token, self._negated(place), attributive=True)
        head = self.heads[place]
        if head is None:
            self._predicate_adjective(place, attribute)
            return
        if kind == "colour":
            around = range(max(0, head - 8), head)
            attribute.joint = tuple(
                value
                for at in around
                if self.heads[at] == head and self.line[at].type == kind
                for value in self.line[at].value
            )
        type_ = self.line[head].type
        if type_ == "kind":
            thing = self.at[head]
            attribute.negated = False
            if kind == "pattern" and not all_persons(thing):
                self.unbound.append(attribute)
            else:
                thing.add(attribute)
        elif type_ in ("garment", "loose", "fur"):
            self._on_wearer(head, attribute, type_)
        elif type_ != "landmark":
            self.unbound.append(attribute)

    def _on_wearer(self, place: int, attribute: Attribute, type_: str) -> None:
        nearest = self._nearest(place, frozenset(("kind", "he", "it")))
        owner = self._possessor(place)
        wearer = owner or (self._thing_at(nearest) if nearest is not None else None)
        if wearer is None and nearest is None:
            wearer, _ = self._subject_before(place, animate=True)
        word = self.line[place].word
        if wearer is None or not wearer.animate:
            self.unbound.append(attribute)
        elif all_persons(wearer):
            attribute.loose = type_ == "loose" or word == "coat"
            self._bind(None if type_ == "fur" and word != "coat" else wearer, attribute)
        else:
            furry = type_ == "fur" or word == "coat"
            self._bind(wearer if furry and attribute.kind == "colour" else None, attribute)

    def _possessor(self, place: int) -> Thing | None:
        """'her shirt', 'the dog's fur', 'its coat'."""
        start = self._phrase_start(place)
        for earlier in range(place - 1, max(-1, start - 3), -1):
            word = self.line[earlier].word
            if word in ("his", "her", "its"):
                pronoun = self.line[earlier]._replace(type="it" if word == "its" else "he")
                return self._pronoun(pronoun)
            if word == "'s" and earlier and earlier - 1 in self.at:
                return self.at[earlier - 1]
        return None

    def _predicate_adjective(self, place: int, attribute: Attribute) -> None:
        """'The ball is red', 'the dog, which is brown', 'a man in red', 'a shirt with stripes'."""
        attribute.attributive = False
        copula = self._nearest(place, frozenset(("copula",)))
        previous = self.line[place - 1].word if place else ""
        if copula is None:
            wearer, doubtful = self._subject_before(place, animate=True)
            dressed = previous in ("in", "with") and wearer is not None and not doubtful and all_persons(wearer)
            if not dressed and attribute.kind == "colour" and place > 1 and self.line[place - 1].type == "break":
                before = self.line[place - 2]
                if before.type == "colour" and self.heads[place - 2] is None:
                    dressed = True
            self._bind(wearer if dressed else None, attribute)
            return
        for earlier in range(copula - 1, -1, -1):
            token = self.line[earlier]
            if token.type in ("kind", "he", "it"):
                thing = self._thing_at(earlier)
                if thing and attribute.kind == "pattern" and not all_persons(thing):
                    thing = None
                self._bind(thing, attribute)
                return
            if token.type in ("garment", "loose", "fur"):
                self._on_wearer(earlier, attribute, token.type)
                return
            if token.type in ("unknown", "landmark", "image", "place", "mood"):
                break
            if token.type == "gear" and earlier == copula - 1 and self.line[earlier - 1].word not in ("a", "an", "the"):
                break
        self.unbound.append(attribute)

    def _pose(self, place: int, token: Token) -> None:
        attribute = Attribute("pose", token.value, token, self._negated(place))
        head = self.heads[place]
        if head is not None and self.line[head].type == "kind":
            if self.at[head].animate:
                self.at[head].add(attribute)
            return
        if token.word == "waves" and not self._is_verb_here(place):
            return
        thing, other = self._subject_before(place, animate=True)
        if thing is None and other:
            return
        if thing is not None and other and self._noun_just_before(place):
            return
        if thing is None:
            after = self._subject_after(place)
            thing = after if after and after.animate else None
        for one in self._with_partners(place, thing):
            self._bind(one, attribute)

    def _is_verb_here(self, place: int) -> bool:
        before = self.line[place - 1] if place else None
        return (
            before is not None
            and before.type in ("kind", "he", "garment", "pattern", "gear", "position", "skip")
            and (before.type != "skip" or before.word.endswith("ly"))
        )

    def _noun_just_before(self, place: int) -> bool:
        """Whether a noun that is no person or animal stands directly before the verb: 'and a lighthouse stands'."""
        if not place or self.line[place].word.endswith("ing"):
            return False
        before = self.line[place - 1]
        if before.type in ("landmark", "unknown"):
            return True
        return before.type == "kind" and not self.at[place - 1].animate and not self._held(place - 1)

    def _held(self, place: int) -> bool:
        start = self._phrase_start(place)
        return start > 0 and (self.line[start - 1].type == "hold" or self.line[start - 1].word in ("with", "carrying"))

    def _gear(self, place: int, token: Token) -> None:
        start = self._phrase_start(place)
        attribute = Attribute("gear", token.value, token, self._negated(place) or self._negation_of_phrase(start) != "")
        if token.word == "lead" and not (start < place and self.line[start].type in ("a", "the")):
            return
        dogs = [at for at, thing in self.at.items() if thing.kinds & {"dog", "cat"} and not thing.negation]
        dog = min(dogs, key=lambda at: (self.segment[at] != self.segment[place], abs(at - place)), default=None)
        earlier = [thing for thing in self._recent() if "dog" in thing.kinds and not thing.negation]
        self._bind(self.at[dog] if dog is not None else (earlier[-1] if earlier else None), attribute)
        held = self._nearest(place, frozenset(("hold",)))
        if held is not None and "leash" in token.value and not attribute.negated:
            holder, _ = self._subject_before(held, animate=True)
            if holder and all_persons(holder):
                holder.add(Attribute("holder", ("leash",), self.line[held]))

    def _position(self, place: int, token: Token) -> None:
        kind = "row" if token.type == "row" else token.type
        values = token.value
        if kind == "row":
            values = ("front",) if token.word == "foreground" else ("back",)
        attribute = Attribute(kind, values, token, self._negated(place))
        if kind == "position" and self._is_empty(place):
            self.scene.append(Attribute("empty", values, token, attribute.negated))
            return
        for thing in self._positioned(place):
            if thing is not None or kind == "position":
                self._bind(thing, attribute)

    def _is_empty(self, place: int) -> bool:
        """Whether the clause says that there is nothing at this position."""
        alone = not any(not thing.negation for thing in self.at.values())
        segment = self.segment[place]
        near = any(
            token.type == "empty" and (alone or self.segment[at] == segment) for at, token in enumerate(self.line)
        )
        return near and not any(self.segment[at] == segment for at in self.at)

    def _positioned(self, place: int) -> list[Thing | None]:
        segment = self.segment[place]
        before = [at for at in self.at if at < place and self.segment[at] == segment]
        after = [at for at in self.at if at > place and self.segment[at] == segment]
        if not before:
            opening = self._nearest(place, frozenset(("unknown", "landmark", "he", "it")))
            if opening is not None:
                return [self._thing_at(opening)]
            if after or self.leading:
                nearest = self._subject_after(place)
                between = self._nouns_between(place)
                if nearest is not None:
                    return [None if between else nearest]
        thing, _ = self._subject_before(place, animate=False)
        if thing is None:
            posed = self._nearest(place, frozenset(("pose",)))
            if posed is not None and self.heads[posed] is None:
                thing, _ = self._subject_before(posed, animate=True)
        return self._with_partners(place, thing)

    def _nouns_between(self, place: int) -> bool:
        """Whether a noun that is no object of the world follows before the next object: 'on the left is a tree'."""
        for token in self.line[place + 1 :]:
            if token.type == "kind":
                return False
            if token.type in ("unknown", "landmark"):
                nearer = next((one for one in self.line[self.line.index(token) :] if one.type in _AFTER_NOUN), None)
                return nearer is None or nearer.type != "kind"
        return False

    def _facing(self, place: int, token: Token) -> None:
        thing, _ = self._subject_before(place, animate=True)
        self._bind(thing, Attribute("facing", token.value, token, self._negated(place)))

    def _relation(self, place: int, token: Token) -> None:
        kind = {"relation": token.value, "behind": "behind", "front": "in front of"}[token.type]
        following = next((at for at in self.at if at > place), None)
        other = self.at[following] if following is not None else None
        if following is not None and any(
            one.type in ("unknown", "landmark", "image", "break", "it", "he")
            for one in self.line[place + 1 : following]
        ):
            other = None
        thing, _ = self._subject_before(place, animate=False)
        if thing is None and following is not None:
            thing = self._inverted(following)
        attribute = Attribute(kind, (kind,), token, self._negated(place), other=other)
        self._bind(thing if other and thing is not other and not other.negation else None, attribute)

    def _inverted(self, place: int) -> Thing | None:
        """'To the left of the ball sits a dog': the object after the verb."""
        later = next((at for at in self.at if at > place), None)
        between = self.line[place + 1 : later] if later is not None else ()
        return self.at[later] if any(one.type in ("pose", "copula") for one in between) else None

    def _setting(self, place: int, token: Token) -> None:
        """Place, light and weather: the place where something is said to be, not any place that is named."""
        if token.type == "place" and not self._is_setting(place):
            return
        self.scene.append(Attribute(token.type, token.value, token, self._negated(place)))

    def _is_setting(self, place: int) -> bool:
        following = self.line[place + 1].word if place + 1 < len(self.line) else ""
        if following in ("scene", "setting", "environment", "landscape") or self.line[place].word.startswith("indoor"):
            return True
        for earlier in range(place - 1, max(-1, place - 5), -1):
            word = self.line[earlier].word
            if word in ("in", "on", "at"):
                return True
            if word in _PREPOSITIONS or self.line[earlier].type in ("end", "break"):
                return False
        return False

    def _landmark(self, place: int, token: Token) -> None:
        negated = bool(self._negation_of_phrase(self._phrase_start(place)))
        self.scene.append(Attribute("landmark", tuple(token.value[0]), token, negated))

    def _whole(self, place: int, token: Token) -> None:
        self.scene.append(Attribute(token.type, (token.word,), token, self._negated(place)))

    def _noun(self, place: int, token: Token) -> None:
        """An object that the world has not, after 'a' or 'an': asserted, and nothing to check it against."""
        start = self._phrase_start(place)
        if self.line[start].type == "a" and _ends_phrase(self.line, place):
            self.unbound.append(Attribute("object", (token.word,), token))

    # ------------------------------------------------ one object, several mentions

    def _settle(self, thing: Thing) -> None:
        """Add a new object, or merge what is said of one that has been mentioned."""
        if thing.negation or thing.plural:
            self.things.append(thing)
            return
        here = {id(one) for one in self.at.values()}
        known = [
            one
            for one in self._recent()
            if not one.negation and not one.plural and (thing.kinds & one.kinds) and not _conflict(thing, one)
        ]
        if not thing.definite:
            another = self.line[self._phrase_start(self.line.index(thing.token))].word == "another"
            known = [] if another else [one for one in known if id(one) not in here]
        if not known:
            self.things.append(thing)
            return
        most = max(_in_common(thing, one) for one in known)
        rivals = [one for one in known if _in_common(thing, one) == most]
        same = max(rivals, key=lambda one: one.mentions[-1].start)
        for attribute in thing.attributes if len(rivals) > 1 else ():
            attribute.rivals = rivals
        for attribute in thing.attributes:
            same.add(attribute)
        same.mentions += thing.mentions
        if same.wide and not thing.wide:
            same.kinds, same.wide = thing.kinds, False
        thing.merged = same


_HANDLERS = {
    "colour": _Reader._adjective,
    "pattern": _Reader._adjective,
    "pose": _Reader._pose,
    "gear": _Reader._gear,
    "position": _Reader._position,
    "row": _Reader._position,
    "facing": _Reader._facing,
    "relation": _Reader._relation,
    "behind": _Reader._relation,
    "front": _Reader._relation,
    "place": _Reader._setting,
    "light": _Reader._setting,
    "weather": _Reader._setting,
    "landmark": _Reader._landmark,
    "filled": _Reader._whole,
    "mood": _Reader._whole,
    "unknown": _Reader._noun,
}
_HEADS = frozenset(("kind", "garment", "loose", "landmark", "gear", "fur", "place"))
_ADJECTIVES = frozenset(("colour", "pattern"))
_MODIFIERS = frozenset(("colour", "pattern", "pose"))
_IN_PHRASE = frozenset(("a", "the", "number", "colour", "pattern", "pose", "skip", "unknown", "lone", "mood"))
_AFTER_NOUN = frozenset(("kind", "skip", "break", "copula", "end", "pose", "position"))
_PREPOSITIONS = word_set(
    "in on at to of with from by for near beside next between along under over across against into onto "
    "through around above below beneath wearing wears carrying carries has have having there here or "
    "dressed featuring features shows depicts showing depicting contains see"
)
_SIZES = word_set("large small big little tiny young old sized light dark colored coloured short sleeved")


def _is_verb(token: Token) -> bool:
    return token.type == "hold" or (token.type == "skip" and token.word.endswith(("ing", "ed", "have", "has", "with")))


def all_persons(thing: Thing) -> bool:
    """Whether all that it may be are people."""
    return all(KINDS[kind] == "person" for kind in thing.kinds)


def _sentences(tokens: list[Token]) -> Iterator[list[Token]]:
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
            if unknown > 2 or _ends_phrase(tokens, later):
                return later
            continue
        if type_ == "skip" and tokens[later].word in _SIZES:
            continue
        return None
    return None


def _ends_phrase(tokens: list[Token], place: int) -> bool:
    return place + 1 >= len(tokens) or tokens[place + 1].type not in (_HEADS | _ADJECTIVES | {"unknown"})


def _conflict(thing: Thing, other: Thing) -> bool:
    """Whether adjectives or positions keep a new mention from being of an earlier object."""
    for kind in ("colour", "position", "row"):
        said = thing.said[kind]
        if kind == "colour":
            said = [one.values for one in thing.attributes if one.kind == kind and one.attributive and not one.negated]
        if any(not _overlap(first, second) for first in said for second in other.said[kind]):
            return True
    return False


def _in_common(thing: Thing, other: Thing) -> int:
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

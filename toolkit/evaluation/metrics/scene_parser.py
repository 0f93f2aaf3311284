"""What a text asserts: its objects with their attributes, and what it says of the scene as a whole.

A description is free English prose. It is cut into sentences and clauses (`scene_grammar`), and each attribute is bound
to one object, so that 'a red dog and a blue ball' is not 'a blue dog and a red ball'. No facts are known here: see
`scene_facts.check`.
"""

from __future__ import annotations

from toolkit.evaluation.metrics.scene_grammar import (
    PREPOSITIONS,
    Attribute,
    Reading,
    Sentence,
    Thing,
    all_persons,
    conflict,
    ends_phrase,
    in_common,
    sentences,
)
from toolkit.evaluation.metrics.vocabulary import Token, read_tokens
from toolkit.toyworld.scenes import KINDS

#: The latest objects, which a new mention is compared with: many more than a scene has, and few, so that work does not
#: grow with the square of the length of a text that repeats itself.
MOST_OBJECTS = 50


def read_assertions(text: str) -> Reading:
    """What a description asserts, rightly or wrongly."""
    reading = Reading([], [], [])
    for tokens in sentences(read_tokens(text)):
        _SentenceReader(tokens, reading).read()
    return reading


class _SentenceReader(Sentence):
    """From tokens to objects with attributes, which are added to a reading."""

    def __init__(self, tokens: list[Token], reading: Reading):
        super().__init__(tokens)
        self.reading = reading

    def read(self) -> None:
        self.leading = self.position_comes_first()
        for place, token in enumerate(self.line):
            if token.type == "kind" and not self._is_generic(place):
                self.at[place] = self._mention(place)
            elif token.type == "nobody":
                people = frozenset(kind for kind, group in KINDS.items() if group == "person")
                self.at[place] = Thing(people, True, token, False, negation="no", mentions=[token])
        for place, token in enumerate(self.line):
            handle = _HANDLERS.get(token.type)
            if handle:
                handle(self, place, token)
        for thing in self.at.values():
            self._settle(thing)

    def _is_generic(self, place: int) -> bool:
        """'People: a woman and a man', 'a children's book'"""
        _, plural, wide = self.line[place].value
        following = self.word_after(place)
        return plural and (following == "'s" or (wide and following == ":"))

    def _mention(self, place: int) -> Thing:
        token = self.line[place]
        kinds, plural, wide = token.value
        start = self.phrase_start(place)
        before = [near.type for near in self.line[start:place]]
        number = next((near.value for near in self.line[start:place] if near.type == "number"), None)
        if "lone" in before:
            number = 1
        negation = self.negation_of_phrase(start)
        if number == 0:
            negation, number = "no", None
        if negation and self.word_after(place) in ("other than", "except", "besides", "apart from"):
            negation = "without"
        thing = Thing(kinds, wide, token, "the" in before, number, plural, negation, [token])
        if not negation and start and self.listed_after_none(start):
            thing.negation = self.at[max(self.at)].negation
        return thing

    # ------------------------------------------------ finding subjects

    def _recent(self) -> list[Thing]:
        return self.reading.things[-MOST_OBJECTS:]

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
            if token.type in ("kind", "he", "it") and token.word != "him":  # which is never a subject
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
            self.reading.unbound.append(attribute)
        else:
            thing.add(attribute)

    def _with_partners(self, place: int, thing: Thing | None) -> list[Thing | None]:
        """'A dog and a cat are sitting': the predicate is about both."""
        if thing is None:
            return [None]
        head = next((at for at, mentioned in self.at.items() if mentioned is thing), None)
        if head is None or not any(near.word in ("are", "were", "both", "'re") for near in self.line[head:place]):
            return [thing]
        found: list[Thing | None] = [thing]
        segment = self.segment[head]
        for earlier in sorted((at for at in self.at if at < head), reverse=True):
            between = self.line[earlier + 1 : head]
            said = any(near.type in ("copula", "pose", "position") for near in between)
            if said or segment - self.segment[earlier] > 1:
                break
            found.append(self.at[earlier])
            segment = self.segment[earlier]
        return found

    # ------------------------------------------------ handlers

    def _adjective(self, place: int, token: Token) -> None:
        kind = token.type
        attribute = Attribute(kind, token.value, token, self.negated(place), attributive=True)
        head = self.heads[place]
        following = self.line[place + 1] if place + 1 < len(self.line) else token
        if kind == "colour" and following.type == "pattern" and following.word.endswith("s"):
            self.reading.unbound.append(attribute)  # 'white dots': of the dots, not of the shirt
            return
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
                self.reading.unbound.append(attribute)
            else:
                thing.add(attribute)
        elif type_ in ("garment", "loose", "fur"):
            self._on_wearer(head, attribute, type_)
        elif type_ != "landmark":
            self.reading.unbound.append(attribute)

    def _on_wearer(self, place: int, attribute: Attribute, type_: str) -> None:
        nearest = self.nearest(place, frozenset(("kind", "he", "it")))
        owner = self._possessor(place)
        wearer = owner or (self._thing_at(nearest) if nearest is not None else None)
        if wearer is None and nearest is None:
            wearer, _ = self._subject_before(place, animate=True)
        word = self.line[place].word
        if wearer is None or not wearer.animate:
            self.reading.unbound.append(attribute)
        elif all_persons(wearer):
            attribute.loose = type_ == "loose" or word == "coat"
            self._bind(None if type_ == "fur" and word != "coat" else wearer, attribute)
        else:
            furry = type_ == "fur" or word == "coat"
            self._bind(wearer if furry and attribute.kind == "colour" else None, attribute)

    def _possessor(self, place: int) -> Thing | None:
        """'her shirt', 'the dog's fur', 'its coat'."""
        start = self.phrase_start(place)
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
        copula = self.nearest(place, frozenset(("copula",)))
        previous = self.word_before(place)
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
        self.reading.unbound.append(attribute)

    def _pose(self, place: int, token: Token) -> None:
        attribute = Attribute("pose", token.value, token, self.negated(place))
        head = self.heads[place]
        if head is not None and self.line[head].type == "kind":
            if self.at[head].animate:
                self.at[head].add(attribute)
            return
        if token.word == "waves" and not self.is_verb_here(place):
            return
        thing, other = self._subject_before(place, animate=True)
        if thing is None and other:
            return
        if thing is not None and other and self._noun_just_before(place):
            return
        if thing is None:
            after = self._subject_after(place)
            thing = after if after and after.animate else None
        for partner in self._with_partners(place, thing):
            self._bind(partner, attribute)

    def _noun_just_before(self, place: int) -> bool:
        """Whether a noun that is no person or animal stands directly before the verb: 'and a lighthouse stands'."""
        if not place or self.line[place].word.endswith("ing"):
            return False
        before = self.line[place - 1]
        if before.type in ("landmark", "unknown"):
            return True
        return before.type == "kind" and not self.at[place - 1].animate and not self._held(place - 1)

    def _held(self, place: int) -> bool:
        start = self.phrase_start(place)
        return start > 0 and (self.line[start - 1].type == "hold" or self.line[start - 1].word in ("with", "carrying"))

    def _gear(self, place: int, token: Token) -> None:
        start = self.phrase_start(place)
        attribute = Attribute("gear", token.value, token, self.negated(place) or self.negation_of_phrase(start) != "")
        if token.word == "lead" and not (start < place and self.line[start].type in ("a", "the")):
            return
        dogs = [at for at, thing in self.at.items() if thing.kinds & {"dog", "cat"} and not thing.negation]
        dog = min(dogs, key=lambda at: (self.segment[at] != self.segment[place], abs(at - place)), default=None)
        earlier = [thing for thing in self._recent() if "dog" in thing.kinds and not thing.negation]
        self._bind(self.at[dog] if dog is not None else (earlier[-1] if earlier else None), attribute)
        held = self.nearest(place, frozenset(("hold",)))
        if held is not None and "leash" in token.value and not attribute.negated:
            holder, _ = self._subject_before(held, animate=True)
            if holder and all_persons(holder):
                holder.add(Attribute("holder", ("leash",), self.line[held]))

    def _position(self, place: int, token: Token) -> None:
        kind = "row" if token.type == "row" else token.type
        values = token.value
        if kind == "row":
            values = ("front",) if token.word == "foreground" else ("back",)
        attribute = Attribute(kind, values, token, self.negated(place))
        if kind == "position" and self._is_empty(place):
            self.reading.about_scene.append(Attribute("empty", values, token, attribute.negated))
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
            opening = self.nearest(place, frozenset(("unknown", "landmark", "he", "it")))
            if opening is not None:
                return [self._thing_at(opening)]
            if after or self.leading:
                nearest = self._subject_after(place)
                between = self.nouns_between(place)
                if nearest is not None:
                    return [None if between else nearest]
        thing, _ = self._subject_before(place, animate=False)
        if thing is None:
            posed = self.nearest(place, frozenset(("pose",)))
            if posed is not None and self.heads[posed] is None:
                thing, _ = self._subject_before(posed, animate=True)
        return self._with_partners(place, thing)

    def _facing(self, place: int, token: Token) -> None:
        thing, _ = self._subject_before(place, animate=True)
        self._bind(thing, Attribute("facing", token.value, token, self.negated(place)))

    def _relation(self, place: int, token: Token) -> None:
        kind = {"relation": token.value, "behind": "behind", "front": "in front of"}[token.type]
        following = next((at for at in self.at if at > place), None)
        other = self.at[following] if following is not None else None
        if following is not None and any(
            near.type in ("unknown", "landmark", "image", "break", "it", "he")
            for near in self.line[place + 1 : following]
        ):
            other = None
        thing, _ = self._subject_before(place, animate=False)
        if thing is None and following is not None:
            thing = self._inverted(following)
        attribute = Attribute(kind, (kind,), token, self.negated(place), other=other)
        self._bind(thing if other and thing is not other and not other.negation else None, attribute)

    def _inverted(self, place: int) -> Thing | None:
        """'To the left of the ball sits a dog': the object after the verb."""
        later = next((at for at in self.at if at > place), None)
        if later is None:
            return None
        between = self.line[place + 1 : later]
        return self.at[later] if any(near.type in ("pose", "copula") for near in between) else None

    def _setting(self, place: int, token: Token) -> None:
        """Place, light and weather: the place where something is said to be, not any place that is named."""
        if token.type == "place" and not self._is_setting(place):
            return
        self.reading.about_scene.append(Attribute(token.type, token.value, token, self.negated(place)))

    def _is_setting(self, place: int) -> bool:
        if self.word_after(place) in ("scene", "setting", "environment", "landscape") or self.line[
            place
        ].word.startswith("indoor"):
            return True
        for earlier in range(place - 1, max(-1, place - 5), -1):
            word = self.line[earlier].word
            subject = self.line[earlier - 1] if earlier else None
            if word in ("in", "on", "at"):
                return True
            if self.line[earlier].type == "copula":  # 'This is a beach'
                return subject is not None and (
                    subject.word in ("this", "it", "setting", "place") or subject.type == "image"
                )
            if word in PREPOSITIONS or self.line[earlier].type in ("end", "break"):
                return False
        return False

    def _landmark(self, place: int, token: Token) -> None:
        negated = bool(self.negation_of_phrase(self.phrase_start(place)))
        self.reading.about_scene.append(Attribute("landmark", tuple(token.value[0]), token, negated))

    def _whole(self, place: int, token: Token) -> None:
        self.reading.about_scene.append(Attribute(token.type, (token.word,), token, self.negated(place)))

    def _noun(self, place: int, token: Token) -> None:
        """An object that the world has not, after 'a' or 'an': asserted, and nothing to check it against."""
        start = self.phrase_start(place)
        if self.line[start].type == "a" and ends_phrase(self.line, place):
            self.reading.unbound.append(Attribute("object", (token.word,), token))

    # ------------------------------------------------ one object, several mentions

    def _settle(self, thing: Thing) -> None:
        """Add a new object, or merge what is said of one that has been mentioned."""
        if thing.negation or thing.plural:
            self.reading.things.append(thing)
            return
        here = {id(mentioned) for mentioned in self.at.values()}
        known = [
            earlier
            for earlier in self._recent()
            if not earlier.negation
            and not earlier.plural
            and (thing.kinds & earlier.kinds)
            and not conflict(thing, earlier)
        ]
        if not thing.definite:
            another = self.line[self.phrase_start(self.line.index(thing.token))].word == "another"
            known = [] if another else [earlier for earlier in known if id(earlier) not in here]
        if not known:
            self.reading.things.append(thing)
            return
        most = max(in_common(thing, earlier) for earlier in known)
        rivals = [earlier for earlier in known if in_common(thing, earlier) == most]
        same = max(rivals, key=lambda earlier: earlier.mentions[-1].start)
        for attribute in thing.attributes if len(rivals) > 1 else ():
            attribute.rivals = rivals
        for attribute in thing.attributes:
            same.add(attribute)
        same.mentions += thing.mentions
        if same.wide and not thing.wide:
            same.kinds, same.wide = thing.kinds, False
        thing.merged = same


_HANDLERS = {
    type_: handle
    for types, handle in (
        ("colour pattern", _SentenceReader._adjective),
        ("pose", _SentenceReader._pose),
        ("gear", _SentenceReader._gear),
        ("position row", _SentenceReader._position),
        ("facing", _SentenceReader._facing),
        ("relation behind front", _SentenceReader._relation),
        ("place light weather", _SentenceReader._setting),
        ("landmark", _SentenceReader._landmark),
        ("filled mood", _SentenceReader._whole),
        ("unknown", _SentenceReader._noun),
    )
    for type_ in types.split()
}

"""Short answers to questions about the toy world, in whatever words they come: 'Twice.', '**He waves 2 times.**'

A reader takes one statement, and gives the set of values that it may mean, or None where it commits to none or to
several: a third state beside right and wrong. Of an answer the last statement that commits wins (`answer_text`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from helpers.files import read_yaml
from toolkit.evaluation.metrics.actions import order_of, paces_of
from toolkit.evaluation.metrics.answer_text import (
    affirmed,
    denied,
    parts,
    patterns,
    plain,
    refuses,
    statements,
    unquoted,
    yes_no_words,
)
from toolkit.evaluation.metrics.photo_answers import colour_of, holds
from toolkit.evaluation.metrics.scene_parser import Attribute, Thing, read_assertions
from toolkit.evaluation.metrics.vocabulary import WORDINGS_FILE, WORDS, read_tokens
from toolkit.toyworld.scenes import KINDS

#: The values that an answer may mean; None where it commits to none or to several.
Meanings = frozenset[Any] | None
#: From a statement and the question to what it means.
Reader = Callable[[str, str], Meanings]

#: What is said, and is no value of the toy world: 'pink', 'in a desert'.
OTHER = frozenset({"other"})
#: Digits of a number that are read: Python refuses thousands of them, which a model that repeats itself may write.
_DIGITS = 99
_WORDS = read_yaml(WORDINGS_FILE)["answers"]
_NUMBERS = {word: value for value, words in enumerate(_WORDS["numbers"]) for word in words.split()}
_ADVERBS = ("once", "twice", "thrice")
_RE = patterns("short_answers")
INTENDS = _RE.intends
#: Types of words that name an object, or what it wears.
_WORN = ("kind", "garment", "loose", "fur")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def read_short_answer(task: str, text: str, question: str = "") -> Meanings:
    """What an answer to ``question`` may mean; None if it cannot be read.

    Args:
        task: a name of `READERS`.
        question: says what is asked about, such as the dog of 'What is to the left of the dog?'.
    """
    for part in parts(plain(text)):
        if said := READERS[task](part, question):
            return said
    return None


def is_right(task: str, text: str, reference: str, question: str = "") -> bool | None:
    """Whether an answer means what the reference does; None if it cannot be read."""
    said, true = read_short_answer(task, text, question), read_short_answer(task, reference, question)
    return None if said is None or true is None else bool(said & true)


# ---------------------------------------------------------------- which statement


def _last(read: Reader) -> Reader:
    """The last statement that commits."""

    def reader(text: str, question: str) -> Meanings:
        return next((said for one in reversed(statements(text)) if (said := read(one, question))), None)

    return reader


def _one(values: Iterable[Iterable[Any]]) -> Meanings:
    """What is common to all that was said; None if nothing was, or if it does not go together."""
    sets = [frozenset(value) or OTHER for value in values]
    return (frozenset.intersection(*sets) or None) if sets else None


def _typed(type_: str) -> Reader:
    return _last(lambda one, _: _one(token.value for token in read_tokens(affirmed(one)) if token.type == type_))


def _kinds_of(text: str) -> frozenset[str]:
    """All kinds of object that the words of a text may mean."""
    return frozenset(kind for token in read_tokens(text) if token.type == "kind" for kind in token.value[0])


def _things(text: str) -> list[Thing]:
    return [thing for thing in read_assertions(text.lower()).things if not thing.merged]


def _said_of(thing: Thing, kind: str) -> list[Attribute]:
    return [attribute for attribute in thing.attributes if attribute.kind == kind and not attribute.negated]


# ---------------------------------------------------------------- scenes


def yes_or_no(text: str, question: str = "") -> str | None:
    """'yes' or 'no' if the answer says so, or says that what the question asks for is there or not; None otherwise.

    Both words ('Yes. No.') are no answer; neither is 'No idea' or 'Yesterday'.
    """
    said = read_short_answer("scene_exists", text, question)
    return next(iter(said)) if said else None


def _exists(text: str, question: str) -> Meanings:
    words = yes_no_words(text)
    if words:
        return frozenset(words) if len(words) == 1 else None
    asked = _kinds_of(question)
    for one in reversed(statements(text)):
        if re.fullmatch(r"there (?:is|are)\W*", one.lower()):
            return frozenset({"yes"})
        if refuses(one) and not _kinds_of(affirmed(one)) & asked:
            continue
        for thing in _things(one):
            rest = one.lower()[thing.token.end :]
            if asked and thing.kinds <= asked and not re.match(r" or (?:an? )?\w", rest):
                return frozenset({"no" if thing.negation or _RE.absent.match(rest) else "yes"})
    return None


def _attribute(kind: str) -> Reader:
    """An attribute of the object that the question names; a statement about other objects is no answer."""

    def reader(text: str, question: str) -> Meanings:
        asked = _kinds_of(question) or frozenset(KINDS)
        named = next((token.word for token in read_tokens(question) if token.type == "kind"), "")
        # 'She', 'it' and 'her shirt' are of what was asked about.
        read = f"The {named} is there. {text}"
        things = _things(read if named else text)
        about = [thing for thing in things if thing.kinds & asked and not thing.negation]
        found = [attribute for thing in about for attribute in _said_of(thing, kind)]
        if found:
            last = max(found, key=lambda attribute: attribute.token.start)
            sentence = [one for one in found if not re.search(r"[.!?;\n]", read[one.token.end : last.token.start])]
            return _most_telling(kind, [one.values for one in sentence])
        clauses = statements(re.sub(r",? (?:and|but|while|whereas) (?=the |an? )", "; ", text))
        named_in = [one for one in clauses if any(token.type in _WORN for token in read_tokens(one))]
        for one in (*reversed(named_in), *reversed(clauses)):
            if _kinds_of(one) <= asked:
                said = [token.value for token in read_tokens(affirmed(one)) if token.type == kind]
                if meaning := _most_telling(kind, said):
                    return meaning
        return None

    return reader


def _most_telling(kind: str, values: list[tuple[str, ...]]) -> Meanings:
    """Who waves or raises a paw stands, too."""
    told = [value for value in values if "standing" not in value] if kind == "pose" else []
    return _one(told or values)


def _weather(one: str, question: str) -> Meanings:
    """Stricter than in a description: 'cloudy' is no answer where it rains."""
    said = affirmed(one)
    found = {name for name, stems in _WORDS["weathers"].items() if re.search(rf"\b(?:{'|'.join(stems)})", said)}
    if found & {"rainy", "snowy"}:
        found -= {"cloudy"}
    return frozenset(found) if len(found) == 1 else None


def _at_position(text: str, question: str) -> Meanings:
    """'What is on the left?'"""
    sides = next((token.value for token in read_tokens(question) if token.type == "position"), ())
    things = [thing for thing in _things(re.sub(r"\([^)]*\)", " ", text)) if not thing.negation]
    if re.search(r"\bleft to right\b", text) and len(things) > 1:
        places = {"left": 0, "middle": len(things) // 2, "right": -1}
        return frozenset(things[places[sides[0]]].kinds) if sides else None
    here = [thing for thing in things if any(set(one.values) & set(sides) for one in _said_of(thing, "position"))]
    if not here and _RE.nothing.search(text.lower()):
        return frozenset({"nothing"})
    return _one(thing.kinds for thing in here or [thing for thing in things if not _said_of(thing, "position")])


def _left_of(text: str, question: str) -> Meanings:
    """'What is to the left of the dog?'"""
    asked = _kinds_of(question)
    others = [thing for thing in _things(text) if not thing.negation and not thing.kinds <= asked]
    if beside := [thing for thing in others if _said_of(thing, "left of")]:
        return _one(thing.kinds for thing in beside)
    for one in reversed(statements(re.sub(r",? (?:and|but|while) ", "; ", text))):
        if re.search(r"\bright\b", one.lower()) and not re.search(r"\bleft\b", one.lower()):
            continue
        if _RE.nothing.search(one.lower()):
            return frozenset({"nothing"})
        if said := _one(thing.kinds for thing in _things(one) if not thing.negation and not thing.kinds <= asked):
            return said
    return None


# ---------------------------------------------------------------- numbers


def _count(one: str, question: str) -> Meanings:
    """How many there are of what follows 'how many', or how many times something is done."""
    noun = (re.findall(r"how many (\w+)", question.lower()) or [""])[0]
    text = re.sub(r"\b[x×](?=\d)", "", _RE.thousands.sub("", one.lower()))
    text = text.rpartition("=")[2] if re.search(r"=\s*\d", text) else text
    if refuses(one) or any({*words} <= _NUMBERS.keys() for words in re.findall(r"(\w+) or (\w+)", text)):
        return None
    exact, related, bare = _counted(text, noun)
    for found in (exact, related, bare):
        if not found:
            continue
        in_all = len(found) > 1 and (_RE.total.search(text) or (found is exact and found[-1] == sum(found[:-1])))
        if len(set(found)) == 1 or in_all:
            several = found is related or (found is exact and found[0] == 1)  # 'one dog here and one dog there'
            return frozenset({sum(found) if several and not in_all else found[-1]})
        return frozenset({sum(found)}) if found is related else None
    missing = denied(text)
    none = _RE.nothing.search(text) or re.search(rf"\b(?:no|any|not a)\b[^.]*\b{noun or 'x'}", missing)
    absent = (_kinds_of(noun) or frozenset(KINDS)) & _kinds_of(missing)
    return frozenset({0}) if none or absent or _is_time(noun, missing) else None


def _counted(text: str, noun: str) -> tuple[list[int], list[int], list[int]]:
    """Numbers of what is asked for, of kinds of it (a man is a person), and of nothing that is named."""
    asked = _kinds_of(noun)
    exact, related, bare = [], [], []
    for number, noun_here in _numbers(affirmed(text)):
        kinds = _kinds_of(noun_here)
        if noun_here and (
            noun_here.rstrip("s") == noun.rstrip("s") or (asked and kinds == asked) or _is_time(noun, noun_here)
        ):
            exact.append(number)
        elif kinds and kinds <= asked:
            related.append(number)
        elif not noun_here or not noun:
            bare.append(number)
    return exact, related, bare


def _numbers(text: str) -> list[tuple[int, str]]:
    """(number, the noun that it counts, or '') of each number in a text without what it denies."""
    words = re.findall(r"[a-z]+|\d+(?:\.\d+)?|[^\w\s]", text)
    return [
        (int(word[:_DIGITS]) if word.isdigit() else _NUMBERS[word], _noun_near(words, place))
        for place, word in enumerate(words)
        if word.isdigit() or word in _NUMBERS
    ]


def _noun_near(words: list[str], place: int) -> str:
    if words[place] in _ADVERBS:
        return "times"
    if words[place].isdigit() and words[place - 1 : place] == [":"] and place > 1 and _kinds_of(words[place - 2]):
        return words[place - 2]  # 'Adults: 1'
    for after in words[place + 1 : place + 4]:
        if not after[0].isalpha() or after in _NUMBERS or after in WORDS["after_number"]:
            break
        if read_tokens(after)[0].type in _NOUNS:
            return after
    return ""


_NOUNS = ("kind", "landmark", "unknown", "pose", "gear", "image")


def _is_time(noun: str, words: str) -> bool:
    return noun in ("time", "times") and bool(re.search(r"\b(?:times?|wav(?:es?|ing)|次)\b|次", words))


def _amount(text: str, question: str) -> Meanings:
    """An amount with two decimals: the one that is called the total, else the only one, or what a sum comes to."""
    found = []
    for one in statements(affirmed(re.sub(r"\n", " ; ", text))):
        amounts = [
            (place.start(), re.sub(r"\D", "", place[1]) + "." + place[2].ljust(2, "0"))
            for place in _RE.amount.finditer(one)
        ]
        mark = max((place.end() for place in _RE.total.finditer(one)), default=-1)
        after = [amount for start, amount in amounts if start >= mark]
        if mark >= 0 and after:
            found.append((True, after[0] if " or " not in one else None))
        elif mark >= 0 and amounts:
            found.append((True, amounts[-1][1]))
        elif "=" in one and amounts:
            found.append((False, amounts[-1][1]))
        elif amounts:
            found.append((False, amounts[0][1] if len({amount for _, amount in amounts}) == 1 else None))
    best = [amount for total, amount in found if total] or [amount for _, amount in found]
    return frozenset(best[-1:]) if best and best[-1] else None


def _adds_up(one: str, question: str) -> Meanings:
    """'No', 'It does not add up.', 'The total is off by 0.10.'"""
    text = one.lower()
    words = yes_no_words(text)
    if refuses(one) or (re.search(r"\b(?:if|whether|check|verify)\b", text) and not words):
        return None
    if not words and (_RE.nothing_wrong.search(text) or _RE.not_adding_up.search(text) or _RE.adds_up.search(text)):
        words = {"no" if _RE.not_adding_up.search(_RE.nothing_wrong.sub(" ", text)) else "yes"}
    return frozenset(words) if len(words) == 1 else None


# ---------------------------------------------------------------- clips


def _direction(one: str, question: str) -> Meanings:
    text = re.sub(r"\bright (?:direction|way)\b", "", _RE.across.sub(r"\2", affirmed(one)))
    left_behind = _RE.moves_from.findall(text)
    sides = set(_RE.side.findall(_RE.moves_from.sub(" ", text)))
    if not sides and len(set(left_behind)) == 1:
        sides = {"left", "right"} - set(left_behind)
    return frozenset(sides) if len(sides) == 1 else None


def _intention(text: str, question: str) -> Meanings:
    """The last statement about what will happen, or else the last that names a target."""
    said = statements(text)
    ahead = [one for one in said if INTENDS.search(one.lower())]
    return next((meant for one in (*reversed(ahead), *reversed(said)) if (meant := _target(one))), None)


def _target(one: str) -> Meanings:
    text = re.sub(r"\baway from (?:the )?\w+", " ", affirmed(one))
    for mark in (*reversed(list(INTENDS.finditer(text))), None):
        words = re.findall(r"[a-z]+", text[mark.end() if mark else 0 :])
        found = {_WORDS["targets"][word] for word in words if word in _WORDS["targets"]}
        if found:
            return frozenset(found) if len(found) == 1 else None
    return None


def _sequence(read: Callable[[str], tuple[str, ...]]) -> Reader:
    return lambda text, question: frozenset({found}) if (found := read(text)) else None


# ---------------------------------------------------------------- everyday questions


def _daily(text: str, question: str) -> Meanings:
    """Days, numbers of words, and single words."""
    if "how many" in question.lower():
        return _last(_count)(text, question)
    if question.lower().startswith("what day"):
        return _day(text, question)
    said = re.findall(r'"([^"\n]+)"|\'([^\'\n]+)\'(?!\w)', text)
    spans = [first or second for first, second in said if f"'{first or second}'" not in question]
    words = re.split(r"\b(?:is|be):?\s+", statements(text)[-1] if " is " in text else text.strip())[-1]
    word = spans[-1] if spans else unquoted(words)
    return frozenset({word.strip(" .").lower()}) if " " not in word.strip() and word.strip(" .") else None


def _day(text: str, question: str) -> Meanings:
    """The day that is named beside the one that was asked about, or alone."""
    for one in reversed(statements(re.sub(r"\([^)]*\)", "", affirmed(text)))):
        named = [word for word in re.findall(r"[a-z]+", one) if word in _DAYS]
        other = [day for day in named if day not in question.lower()]
        if other and (len(named) > len(other) or len(one.split()) <= 3):
            return frozenset(other[-1:])
    return None


#: Task -> how its answers are read.
READERS: dict[str, Reader] = {
    "scene_exists": _exists,
    "scene_count": _last(_count),
    "scene_colour": _attribute("colour"),
    "scene_position": _at_position,
    "scene_left": _left_of,
    "scene_pose": _attribute("pose"),
    "scene_place": _typed("place"),
    "scene_light": _typed("light"),
    "scene_weather": _last(_weather),
    "receipt_total": _amount,
    "receipt_adds_up": _last(_adds_up),
    "clip_direction": _last(_direction),
    "clip_order": _sequence(order_of),
    "clip_count": _last(_count),
    "clip_intention": _intention,
    "pair_direction": _last(_direction),
    "pair_order": _sequence(order_of),
    "pair_speed": _sequence(paces_of),
    "sentence_daily": _daily,
    "photo_exists": holds,
    "photo_count": _last(_count),
    "photo_colour": colour_of,
}

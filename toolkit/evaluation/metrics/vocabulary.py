"""The words of a description: known phrases (``data/wordings.yaml``) as tokens, each with a type and a value."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from helpers.files import COURSE_ROOT, read_yaml
from toolkit.toyworld.scenes import KINDS

WORDINGS_FILE = COURSE_ROOT / "data" / "wordings.yaml"


class Token(NamedTuple):
    """A known phrase, or a single word or mark, of a text."""

    type: str
    """What kind of phrase it is: colour, kind, copula, skip, unknown ..."""
    value: Any
    """What the phrase may mean; which form it has depends on the type."""
    start: int
    end: int
    """``text[start:end]`` is the phrase as it was written."""
    word: str
    """The phrase in lower case, its words separated by single spaces."""


_WORD = re.compile(
    r"(?:is|are|was|were)(?=n't\b)|n't\b|[a-z0-9]+(?:'t\b)?|'(?:s|re|m|ll|d|ve)\b|[.!?;\n,:()—–]|(?<=\s)-(?=\s)"
)


#: Words that the rules look for around others, by what they are.
WORDS = {name: frozenset(words.split()) for name, words in read_yaml(WORDINGS_FILE)["word_lists"].items()}
_Phrases = dict[tuple[str, ...], tuple[str, Any]]


@cache
def _lexicon() -> dict[str, list[tuple[tuple[str, ...], str, Any]]]:
    """First word -> phrases that begin with it, the longest first, each with its type and value."""
    data = read_yaml(WORDINGS_FILE)
    phrases: _Phrases = {(mark,): (name, mark) for name, marks in data["marks"].items() for mark in marks}
    for name, words in data["grammar"].items():
        for word in words.split():
            phrases.setdefault((word,), (name, word))
    phrases |= {(word,): ("number", number) for word, number in data["numbers"].items()}
    for name in ("colours", "patterns", "poses", "places", "lights", "weathers"):
        phrases |= {
            tuple(phrase.split()): (name.removesuffix("s"), tuple(values)) for phrase, values in data[name].items()
        }
    for pattern, value in data["pose_patterns"].items():
        choices = (part.replace("_", " ").split("|") for part in pattern.split(" "))
        phrases |= {tuple(" ".join(words).split()): ("pose", (value,)) for words in product(*choices)}
    phrases |= {(word,): ("mood", word) for word in data["moods"] if (word,) not in phrases}
    phrases |= {tuple(phrase.split()): ("gear", tuple(values)) for phrase, values in data["gear"].items()}
    for name, type_ in (("fur", "fur"), ("garments", "garment"), ("loose_garments", "loose")):
        phrases |= {tuple(phrase.split()): (type_, None) for phrase in data[name]}
    phrases |= _nouns(data)
    phrases |= {tuple(words.split()): (type_, words) for type_, idioms in data["idioms"].items() for words in idioms}
    lexicon: dict[str, list[tuple[tuple[str, ...], str, Any]]] = {}
    for phrase, (type_, value) in sorted(phrases.items(), key=lambda entry: -len(entry[0])):
        lexicon.setdefault(phrase[0], []).append((phrase, type_, value))
    return lexicon


def _nouns(data: dict[str, Any]) -> _Phrases:
    """Kinds and landmarks, in singular and plural."""
    phrases: _Phrases = {}
    for name, wide in (("kinds", False), ("wide_kinds", True), ("landmarks", False)):
        type_ = "landmark" if name == "landmarks" else "kind"
        for phrase, values in data[name].items():
            many = data["irregular_plurals"].get(phrase, f"{phrase}s")
            phrases[tuple(phrase.split())] = (type_, (frozenset(values), False, wide))
            phrases[tuple(many.split())] = (type_, (frozenset(values), True, wide))
    return phrases


@cache
def object_names() -> frozenset[str]:
    """The scenes' names of all objects: kinds of subjects, and landmarks."""
    landmarks = (value for values in read_yaml(WORDINGS_FILE)["landmarks"].values() for value in values)
    return frozenset((*KINDS, *landmarks))


def read_tokens(text: str) -> list[Token]:
    """Known phrases, longest first, with types; a word that no list has is 'unknown' or, by its ending, 'skip'."""
    lowered = text.lower().replace("’", "'")
    if len(lowered) != len(text):
        lowered = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text).replace("’", "'")
    words = [(found[0], found.start(), found.end()) for found in _WORD.finditer(lowered)]
    plain = [word for word, *_ in words]
    lexicon, tokens, place = _lexicon(), [], 0
    while place < len(words):
        word, start, end = words[place]
        for phrase, type_, value in lexicon.get(word, ()):
            if tuple(plain[place : place + len(phrase)]) == phrase:
                if type_ == "number" and isinstance(value, str):
                    value = 2
                end = words[place + len(phrase) - 1][2]
                tokens.append(Token(type_, value, start, end, " ".join(phrase)))
                place += len(phrase)
                break
        else:
            tokens.append(_unknown(word, start, end))
            place += 1
    return _with_positions(tokens, plain)


def _unknown(word: str, start: int, end: int) -> Token:
    if word.endswith("n't"):
        return Token("not", word, start, end, word)
    if word == "1":  # as 'one': a count only after 'only' and the like
        return Token("skip", word, start, end, word)
    if word.isdigit():
        return Token("number", int(word[:4]), start, end, word)
    if word.endswith(("ing", "ly", "ed")) and not word.endswith(("building", "railing", "ceiling", "bed")):
        return Token("skip", word, start, end, word)
    return Token("unknown", word, start, end, word)


_SIDES = {"left": ("left",), "right": ("right",), "leftmost": ("left",), "rightmost": ("right",)}
_SIDES |= dict.fromkeys(("middle", "center", "centre", "centered", "centred", "central", "centrally"), ("middle",))


def _with_positions(tokens: list[Token], plain: list[str]) -> list[Token]:
    """Words for left, middle and right become 'position', 'relation', 'facing' or nothing, by what is around them."""
    if not _SIDES.keys() & set(plain):
        return tokens
    result: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.word not in _SIDES:
            result.append(token)
            place += 1
            continue
        values: tuple[str, ...] = _SIDES[token.word]
        last = place
        if last + 1 < len(tokens) and tokens[last + 1].word in ("left", "right") and values == ("middle",):
            last += 1
            values = ("middle", tokens[last].word)
        while last + 1 < len(tokens) and tokens[last + 1].type == "side":
            last += 1
        type_, value, last = _side_role(tokens, result, place, last, values)
        result.append(Token(type_, value, token.start, tokens[last].end, token.word))
        place = last + 1
    return result


def _side_role(
    tokens: list[Token], before: list[Token], place: int, last: int, values: tuple[str, ...]
) -> tuple[str, Any, int]:
    previous = [token.word for token in before[-4:]]
    if previous and previous[-1] in ("his", "her", "its", "their", "your", "my"):
        return "skip", None, last
    recent = previous[-1:] if previous[-1:] != ["the"] else previous[-3:]
    if WORDS["facing"] & set(recent):
        return "facing", values, last
    if [token.word for token in tokens[last + 1 : last + 2]] == ["of"]:
        after = tokens[last + 2 : last + 4]
        picture = next((step for step, token in enumerate(after) if token.type == "image"), None)
        if picture is not None:
            return "position", values, last + 2 + picture
        if len(values) == 1 and values[0] != "middle" and tokens[place].word in ("left", "right"):
            return "relation", f"{values[0]} of", last + 1
        return "skip", None, last
    if tokens[place].word in ("left", "right", "middle", "center", "centre") and last == place:
        known = previous and previous[-1] in WORDS["before_side"]
        opening = not before or before[-1].type in ("end", "break")
        following = last + 1 < len(tokens) and tokens[last + 1].word in (":", "foreground", "background")
        if not (known or following or (opening and tokens[place].word != "right")):
            return "skip", None, last
    return "position", values, last

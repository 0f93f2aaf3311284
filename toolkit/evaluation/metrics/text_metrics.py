"""Metrics of answers as text: edit distances, ANLS, exact match, JSON, boxes, yes or no, CHAIR, CORD F1, pairs.

An answer that cannot be read is a third state beside right and wrong; it earns nothing and is counted as unparsed.
Where there is nothing to measure (0/0), the value is None, neither 0 nor 1. Values lie from 0 to 1 unless said
otherwise. Columns of different lengths raise `CourseError`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from helpers.errors import CourseError

Unit = Literal["characters", "words", "graphemes"]
Box = tuple[float, float, float, float]
#: A box that overlaps the true one by so much or more counts as right.
GOOD_IOU = 0.5


@dataclass(frozen=True)
class ErrorRate:
    """Edits over the length of the references, pooled over the corpus; above 1 where answers are far too long."""

    edits: int
    length: int
    """Of all references, in the unit."""

    @property
    def value(self) -> float | None:
        """None if all references are empty, for then no rate is defined."""
        return self.edits / self.length if self.length else None


@dataclass(frozen=True)
class Pope:
    """Yes-or-no questions about what is there (Li et al. 2023, POPE); 'yes' is the positive class."""

    accuracy: float | None
    """Over all questions: an unparsed answer is not right."""
    precision: float | None
    recall: float | None
    f1: float | None
    yes_ratio: float | None
    """Of the answers that could be read, not of the truth."""
    right_yes_ratio: float | None
    """What it would be if all answers were right."""
    unparsed: int
    of: int


@dataclass(frozen=True)
class Chair:
    """Objects mentioned that are not there (Rohrbach et al. 2018). Read it beside ``recall``: short captions win."""

    instances: float | None
    """CHAIRi: hallucinated mentions over all mentions; repeats count."""
    sentences: float | None
    """CHAIRs: captions with at least one, over all captions."""
    recall: float | None
    """Objects there that are mentioned, over all objects there."""
    hallucinated: int
    mentions: int
    of: int


@dataclass(frozen=True)
class Overlap:
    """Matches between two multisets."""

    right: int
    predicted: int
    expected: int

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.right + other.right, self.predicted + other.predicted, self.expected + other.expected)

    @property
    def f1(self) -> float | None:
        """TP / (TP + (FP + FN) / 2); None if both are empty."""
        total = self.predicted + self.expected
        return 2 * self.right / total if total else None


# ---------------------------------------------------------------- edit distances


def edits(answer: str, reference: str, unit: Unit = "characters") -> int:
    """Levenshtein's distance: insertions, deletions and substitutions, of blanks and line ends too.

    Characters are code points; graphemes are what a reader takes for one character ('e' with an accent, an emoji of
    several code points); words are what lies between blanks, so only there do blanks not count.
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(units(answer, unit), units(reference, unit))


def units(text: str, unit: Unit) -> Sequence[str]:
    """The text as a sequence of what edits are counted in."""
    if unit == "characters":
        return text
    if unit == "words":
        return text.split()
    import regex

    return regex.findall(r"\X", text)


def error_rate(answers: Sequence[str], references: Sequence[str], unit: Unit = "characters") -> ErrorRate:
    """All edits over the length of all references: CER in characters or graphemes, WER in words.

    It is (S + D + I) / (H + S + D), pooled: not the mean of the items' rates, so an empty reference is allowed and adds
    the characters that the answer should not have.
    """
    _check_lengths(answers, references)
    wrong = sum(edits(answer, reference, unit) for answer, reference in zip(answers, references, strict=True))
    return ErrorRate(wrong, sum(len(units(reference, unit)) for reference in references))


def cer(answers: Sequence[str], references: Sequence[str]) -> float | None:
    """Character error rate of a corpus."""
    return error_rate(answers, references).value


def wer(answers: Sequence[str], references: Sequence[str]) -> float | None:
    """Word error rate of a corpus."""
    return error_rate(answers, references, "words").value


def similarity(answer: str, reference: str) -> float:
    """ANLS of one pair: 1 − NL if NL < 0.5, else 0, NL being Levenshtein's distance over the longer length.

    Case and runs of blanks do not count (Biten et al. 2019). An NL of exactly 0.5 gives 0.
    """
    one, other = (" ".join(text.split()).lower() for text in (answer, reference))
    longer = max(len(one), len(other))
    distance = edits(one, other)
    if not longer:
        return 1.0
    return 1 - distance / longer if 2 * distance < longer else 0.0


def anls(answers: Sequence[str], references: Sequence[Collection[str]]) -> float | None:
    """Mean over the questions of the best `similarity` to one of the question's references.

    Raises:
        CourseError: a question without references.
    """
    _check_lengths(answers, references)
    if any(isinstance(accepted, str) or not accepted for accepted in references):
        raise CourseError("ANLS needs a list of references for each question.", "an empty list, or a bare string")
    best = [
        max(similarity(answer, reference) for reference in accepted)
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return _mean(best)


# ---------------------------------------------------------------- exact match and JSON


def exact_match(answer: str, accepted: Collection[str]) -> bool:
    """Whether the answer is an accepted wording, character by character, blanks around it aside."""
    _refuse_bare_string(accepted)
    return answer.strip() in {wording.strip() for wording in accepted}


_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}


def unquoted(text: str) -> str:
    """The text without the blanks, and one pair of quotation marks, around it."""
    text = text.strip()
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1]
    return text


def reversal_match(answer: str, accepted: Collection[str]) -> bool:
    """`exact_match`, where the model may have put the reversed sentence into quotation marks.

    Quotation marks that belong to the sentence must be there.
    """
    return exact_match(answer, accepted) or exact_match(unquoted(answer), accepted)


_FENCED = re.compile(r"\s*```(?:json|JSON)?[ \t]*\n(?P<inside>.*?)\n?\s*```\s*", re.DOTALL)


def read_json(text: str, fenced: bool = False) -> Any | None:
    """The value, if the whole answer is JSON as the standard has it; None otherwise, also inside prose.

    No NaN, no infinity, no key twice in one object. With ``fenced``, it may stand in a Markdown code block.
    """
    if fenced and (found := _FENCED.fullmatch(text)):
        text = found["inside"]
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite_float, object_pairs_hook=_unique_keys
        )
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(digits)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key twice")
    return value


def same_json(first: Any, second: Any) -> bool:
    """Equal values, whatever the order of keys; unlike Python's ``==``, 1, 1.0 and true are different."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def json_equal(answer: str, expected: Any, fenced: bool = False) -> bool | None:
    """Whether the answer is JSON equal to ``expected``; None if it is no JSON."""
    value = read_json(answer, fenced)
    return None if value is None and answer.strip() != "null" else same_json(value, expected)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of keys, value as text) of everything in JSON that is no object and no list; list places are not kept.

    Text is stripped. Empty objects and lists have no leaves.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value.strip() if isinstance(value, str) else json.dumps(value)


def cord_overlap(predicted: Any, expected: Any) -> Overlap:
    """Matching `leaves` of two JSON values, as multisets; a prediction of None (unparsed) has none."""
    there = Counter(leaves(expected))
    said = Counter() if predicted is None else Counter(leaves(predicted))
    return Overlap((said & there).total(), said.total(), there.total())


def cord_f1(predicted: Sequence[Any], expected: Sequence[Any]) -> float | None:
    """F1 over all leaves of a corpus, as Donut scores CORD (Kim et al. 2022).

    It does not see which price belongs to which name: use `json_equal` beside it.
    """
    _check_lengths(predicted, expected)
    overlaps = (cord_overlap(one, other) for one, other in zip(predicted, expected, strict=True))
    return sum(overlaps, Overlap(0, 0, 0)).f1


# ---------------------------------------------------------------- boxes


def read_box(text: str, fenced: bool = False) -> Box | None:
    """Left, top, right, bottom of an answer ``{"bbox_2d": [...]}``; None if there are not four numbers.

    With ``fenced``, it may stand in a code block and in a list of one, as released models write it.
    """
    value = read_json(text, fenced)
    if fenced and isinstance(value, list) and len(value) == 1:
        value = value[0]
    box = value.get("bbox_2d") if isinstance(value, dict) else None
    if not isinstance(box, list) or len(box) != 4:
        return None
    if any(isinstance(side, bool) or not isinstance(side, int | float) for side in box):
        return None
    try:
        return tuple(float(side) for side in box)
    except OverflowError:  # an integer of 309 digits or more
        return None


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union, 0 to 1. A box without area (its right side not right of its left) overlaps nothing."""

    def area(box: Sequence[float]) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    common = [*map(max, first[:2], second[:2]), *map(min, first[2:], second[2:])]
    shared = area(common)
    return shared / (area(first) + area(second) - shared) if shared else 0.0


# ---------------------------------------------------------------- yes or no


_YES_OR_NO = re.compile(r"(yes|no)\b(?=\s*$|\s*[.,!;:—–-]|\s+(?:there|it|i|the|he|she|they)\b)(?P<rest>.*)", re.DOTALL)
_SECOND_ANSWER = re.compile(r"(?:^|[.!?;]\s*)(yes|no)\s*(?=[.,!;]|$)")


def yes_or_no(text: str) -> str | None:
    """'yes' or 'no' if the answer begins with that word as its answer ('Yes, there is.', '**No**'); None otherwise.

    Both words ('Yes. No.') are no answer; neither is 'No idea' or 'Yesterday'.
    """
    found = _YES_OR_NO.match(text.lower().replace("*", "").strip(" \t\r\n\"'`_"))
    if not found:
        return None
    others = {other[1] for other in _SECOND_ANSWER.finditer(found["rest"].lstrip(" ,:—–-"))}
    return None if others - {found[1]} else found[1]


def pope(said: Sequence[str | None], truth: Sequence[str]) -> Pope:
    """Scores of yes-or-no answers.

    Args:
        said: 'yes', 'no' or None (unparsed) for each question, from `yes_or_no`.
        truth: 'yes' or 'no'.

    An unparsed answer is neither: it lowers accuracy, and recall where 'yes' was right, and leaves precision alone.
    """
    _check_lengths(said, truth)
    if set(said) - {"yes", "no", None} or set(truth) - {"yes", "no"}:
        raise CourseError("Answers are 'yes', 'no' or None.", "texts that were not read", "read them with yes_or_no")
    pairs = Counter(zip(said, truth, strict=True))
    hits, false_alarms = pairs["yes", "yes"], pairs["yes", "no"]
    there, parsed = sum(true == "yes" for true in truth), len(said) - list(said).count(None)
    return Pope(
        accuracy=_share(hits + pairs["no", "no"], len(truth)),
        precision=_share(hits, hits + false_alarms),
        recall=_share(hits, there),
        f1=_share(2 * hits, hits + false_alarms + there),
        yes_ratio=_share(hits + false_alarms, parsed),
        right_yes_ratio=_share(there, len(truth)),
        unparsed=len(said) - parsed,
        of=len(said),
    )


# ---------------------------------------------------------------- objects and pairs


def chair(mentioned: Sequence[Sequence[str]], there: Sequence[Collection[str]]) -> Chair:
    """CHAIR of captions.

    Args:
        mentioned: for each caption the names of the objects that it says are there, each as often as it does.
        there: for each picture the names of the objects in it.
    """
    _check_lengths(mentioned, there)
    wrong = [sum(name not in names for name in said) for said, names in zip(mentioned, there, strict=True)]
    found = sum(len(set(said) & set(names)) for said, names in zip(mentioned, there, strict=True))
    mentions = sum(map(len, mentioned))
    return Chair(
        instances=_share(sum(wrong), mentions),
        sentences=_share(sum(count > 0 for count in wrong), len(wrong)),
        recall=_share(found, sum(len(set(names)) for names in there)),
        hallucinated=sum(wrong),
        mentions=mentions,
        of=len(wrong),
    )


def both_right(right: Sequence[bool], pairs: Sequence[Hashable]) -> dict[Hashable, bool]:
    """Pair -> whether both of its answers are right (TempCompass): clips that differ in one thing only.

    A model that always gives the same answer gets half of the answers right and no pair.

    Raises:
        CourseError: a pair that has not exactly two answers.
    """
    _check_lengths(right, pairs)
    odd = [pair for pair, count in Counter(pairs).items() if count != 2]
    if odd:
        raise CourseError(
            f"Pair {odd[0]} has not two answers.", "one of the two failed", "leave the pair out and say so"
        )
    found: dict[Hashable, bool] = dict.fromkeys(pairs, True)
    for pair, one in zip(pairs, right, strict=True):
        found[pair] = found[pair] and bool(one)
    return found


def pair_consistency(right: Sequence[bool], pairs: Sequence[Hashable]) -> float | None:
    """Share of pairs of which both answers are right."""
    return _mean([float(both) for both in both_right(right, pairs).values()])


# ---------------------------------------------------------------- checks


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _refuse_bare_string(accepted: Collection[str]) -> None:
    if isinstance(accepted, str):
        raise CourseError("Accepted wordings are a list.", "a bare string", f"use [{accepted!r}]")


def _check_lengths(*columns: Sequence) -> None:
    if len({len(column) for column in columns}) > 1:
        raise CourseError(
            f"{' and '.join(str(len(column)) for column in columns)} values do not belong together.",
            "an answer is missing",
        )

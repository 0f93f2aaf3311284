"""Metrics of answers as text: edit distances, ANLS, exact match, JSON, boxes, yes or no, CHAIR, CORD F1.

jiwer computes error rates, rapidfuzz edit distances, and scikit-learn precision, recall and F1. Ours is what they
lack: 'unparsed' as a third state beside right and wrong, which earns nothing and is counted; the threshold of ANLS;
graphemes; CHAIR over the facts of a scene; F1 over the fields of JSON; strict JSON.

Where there is nothing to measure (0/0), the value is None, neither 0 nor 1. Values lie from 0 to 1 unless said
otherwise. Columns of different lengths raise `CourseError`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from helpers.errors import CourseError

Unit = Literal["characters", "graphemes"]
Box = tuple[float, float, float, float]
#: A box that overlaps the true one by at least this much counts as right.
GOOD_IOU = 0.5


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
    n: int


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
    n: int


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
        return share(2 * self.right, self.predicted + self.expected)


# ---------------------------------------------------------------- edit distances


def edits(answer: str, reference: str, unit: Unit = "characters") -> int:
    """Levenshtein distance: insertions, deletions and substitutions, of spaces and line breaks too.

    Characters are code points; graphemes are what a reader sees as one character (an 'e' with a combining accent, an
    emoji of several code points).
    """
    from rapidfuzz.distance import Levenshtein

    if unit == "characters":
        return Levenshtein.distance(answer, reference)
    import regex

    return Levenshtein.distance(*(regex.findall(r"\X", text) for text in (answer, reference)))


def cer(answers: Sequence[str], references: Sequence[str]) -> float | None:
    """Character error rate of a corpus: (S + D + I) / (H + S + D), pooled, so above 1 where answers are far too long.

    An empty reference adds the characters that the answer should not have; if all are empty there is no rate.
    """
    import jiwer

    _check_lengths(answers, references)
    if not any(references):
        return None
    characters = jiwer.transforms.ReduceToListOfListOfChars()  # jiwer's default would strip spaces at the ends
    return float(jiwer.cer(list(references), list(answers), characters, characters))


def wer(answers: Sequence[str], references: Sequence[str]) -> float | None:
    """Word error rate of a corpus, pooled as in `cer`; runs of spaces and line breaks are one space."""
    import jiwer

    _check_lengths(answers, references)
    said, true = ([" ".join(text.split()) for text in column] for column in (answers, references))
    return float(jiwer.wer(true, said)) if any(true) else None


def similarity(answer: str, reference: str) -> float:
    """ANLS of one pair: 1 − NL if NL < 0.5, else 0, NL being the Levenshtein distance over the longer length.

    Case and runs of spaces do not count (Biten et al. 2019). An NL of exactly 0.5 gives 0.
    """
    from rapidfuzz.distance import Levenshtein

    texts = [" ".join(text.split()).lower() for text in (answer, reference)]
    distance, longest = Levenshtein.distance(*texts), max(map(len, texts))
    if not longest:
        return 1.0
    return 1 - distance / longest if 2 * distance < longest else 0.0


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
    return share(sum(best), len(best))


# ---------------------------------------------------------------- exact match and JSON


def exact_match(answer: str, accepted: Collection[str]) -> bool:
    """Whether the answer is an accepted wording, character by character, apart from surrounding white space."""
    if isinstance(accepted, str):
        raise CourseError("Accepted wordings are a list.", "a bare string", f"use [{accepted!r}]")
    return answer.strip() in {wording.strip() for wording in accepted}


_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}


def unquoted(text: str) -> str:
    """The text without surrounding white space and one pair of quotation marks."""
    text = text.strip()
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1]
    return text


def reversal_match(answer: str, accepted: Collection[str]) -> bool:
    """`exact_match`, where the model may have put the reversed sentence in quotation marks.

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
        return json.loads(text, parse_constant=_finite_float, parse_float=_finite_float, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError):
        return None


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


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of keys, value as text) of every value in JSON that is no object or list; positions in lists are not kept.

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

    It does not see which price belongs to which name: use `same_json` beside it.
    """
    _check_lengths(predicted, expected)
    overlaps = (cord_overlap(said, true) for said, true in zip(predicted, expected, strict=True))
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
        left, top, right, bottom = map(float, box)
    except OverflowError:  # an integer of 309 digits or more
        return None
    return left, top, right, bottom


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union, 0 to 1. A box without area (its right side not right of its left) overlaps nothing."""

    def area(box: Sequence[float]) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    shared = area([*map(max, first[:2], second[:2]), *map(min, first[2:], second[2:])])
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
    n, unparsed = len(said), list(said).count(None)
    if not n:
        return Pope(None, None, None, None, None, None, 0, 0)
    from sklearn.metrics import precision_recall_fscore_support

    labels = [answer or "unparsed" for answer in said]
    scores = precision_recall_fscore_support(truth, labels, labels=["yes"], zero_division=math.nan)
    precision, recall, f1 = (None if math.isnan(score[0]) else float(score[0]) for score in scores[:3])
    return Pope(
        accuracy=sum(answer == true for answer, true in zip(said, truth, strict=True)) / n,
        precision=precision,
        recall=recall,
        f1=f1,
        yes_ratio=share(labels.count("yes"), n - unparsed),
        right_yes_ratio=list(truth).count("yes") / n,
        unparsed=unparsed,
        n=n,
    )


# ---------------------------------------------------------------- objects


def chair(mentioned: Sequence[Sequence[str]], there: Sequence[Collection[str]]) -> Chair:
    """CHAIR of captions.

    Args:
        mentioned: for each caption the names of the objects that it says are there, each as often as it does.
        there: for each image the names of the objects in it.
    """
    _check_lengths(mentioned, there)
    wrong = [sum(name not in names for name in said) for said, names in zip(mentioned, there, strict=True)]
    found = sum(len(set(said) & set(names)) for said, names in zip(mentioned, there, strict=True))
    mentions = sum(map(len, mentioned))
    return Chair(
        instances=share(sum(wrong), mentions),
        sentences=share(sum(count > 0 for count in wrong), len(wrong)),
        recall=share(found, sum(len(set(names)) for names in there)),
        hallucinated=sum(wrong),
        mentions=mentions,
        n=len(wrong),
    )


def share(part: float, whole: float) -> float | None:
    """A part of a whole; None if the whole is 0."""
    return part / whole if whole else None


def _check_lengths(*columns: Sequence[Any]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise CourseError(
            f"{' and '.join(str(len(column)) for column in columns)} values do not belong together.",
            "an answer is missing",
        )

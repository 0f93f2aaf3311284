"""What the report calls tasks, measures and statuses, and how it writes their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolkit.evaluation.inference.transcripts import Status

#: The first run and the second, as the page names them beside their full names.
LABELS = "AB"


@dataclass(frozen=True)
class Display:
    """How a measure of `scoring` is shown and explained."""

    definition: str
    form: Literal["share", "decimal", "count"] = "decimal"
    """A share is shown in percent."""


_MEASURES: dict[str, Display] = {
    "right": Display(
        "Share of the answers that mean the same as the reference; of boxes, those that overlap it by half or more; "
        "of JSON, those of equal value; of video descriptions and of texts to be copied or reversed, those that are an "
        "accepted wording to the character; of pairs, those of which both answers are right.",
        "share",
    ),
    "fact_f1": Display(
        "Of each description, the harmonic mean of precision (claims that the facts bear out, over the claims that "
        "they can decide) and recall (facts stated rightly, over all facts); 0 where nothing that can be checked is "
        "said. The mean over the items."
    ),
    "fact_precision": Display("Claims that the facts bear out, over the claims that they can decide, of all items."),
    "fact_recall": Display("Facts of the images that the descriptions state rightly, over all facts, of all items."),
    "chair": Display("Mentions of objects that are not in the image, over all mentions of objects, of all items."),
    "iou": Display("Area that the box named and the true box share, over the area that both cover together."),
    "cer": Display(
        "Characters to insert, delete or replace, over the characters of the references, of all items; above 1 where "
        "answers are far too long."
    ),
    "fields_f1": Display("F1 over the fields of the JSON, each a path with its value, of all items."),
    "actions": Display(
        "Share of the descriptions that name the video's actions, all of them and in their order.", "share"
    ),
    "intention": Display("Share of the descriptions, where it was asked, that guess rightly what comes next.", "share"),
    "parsed": Display("Share of the answers in which what was asked for can be found, right or wrong.", "share"),
    "words": Display("Words of an answer.", "count"),
}
_TASKS = {
    "scene": "scene descriptions",
    "scene_json": "scenes as JSON",
    "scene_exists": "is it in the image?",
    "scene_count": "how many?",
    "scene_colour": "which colour?",
    "scene_position": "what is where?",
    "scene_left": "what is left of it?",
    "scene_pose": "which pose?",
    "scene_place": "which place?",
    "scene_light": "which time of day?",
    "scene_weather": "which weather?",
    "scene_box": "boxes of objects",
    "receipt": "receipts read",
    "receipt_total": "totals of receipts",
    "receipt_json": "receipts as JSON",
    "clip": "video descriptions",
    "clip_direction": "which direction?",
    "clip_order": "in which order?",
    "clip_count": "how many times?",
    "clip_intention": "what comes next?",
    "pair_direction": "pairs of videos: direction",
    "pair_order": "pairs of videos: order",
    "sentence": "sentences reversed",
    "sentence_daily": "everyday sentences",
    "foreign": "images from elsewhere",
}
#: What became of an answer that is not whole.
STATUSES: dict[Status, str] = {
    "truncated": "cut off: the limit on tokens, or going in circles, ended the answer",
    "thinking": "no answer: what came was reasoning alone",
    "refused": "refused to answer",
    "timeout": "no answer in time",
    "error": "failed: no answer",
}


def task_label(task: str) -> str:
    """A task's name for people."""
    return _TASKS.get(task) or task.replace("_", " ")


def definition_of(measure: str) -> str:
    return _MEASURES[measure].definition if measure in _MEASURES else "A measure of the evaluation's own."


def form_of(measure: str) -> str:
    return _MEASURES[measure].form if measure in _MEASURES else "decimal"


def figure(value: float, measure: str, signed: bool = False) -> str:
    """A value, or with ``signed`` a difference, with one digit more; differences of shares are points of a hundred."""
    scale, digits = {"share": (100, 0), "decimal": (1, 2), "count": (1, 1)}[form_of(measure)]
    digits += signed
    rounded = round(scale * value, digits) + 0.0
    text = f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")
    return f"{text}\N{NO-BREAK SPACE}%" if scale == 100 and not signed else text

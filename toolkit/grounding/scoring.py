"""How well an answer points: one-to-one overlaps, and scores per task with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.evaluation.metrics.text_metrics import iou as iou
from toolkit.grounding.layout import read_layout

if TYPE_CHECKING:
    import pandas


def overlaps(found: Sequence[Any], true: Sequence[Any]) -> list[float]:
    """For each true object or event, the IoU with the one found for it; 0 where none is.

    Each found one counts for one true one, so that the sum is largest (Hungarian method). Boxes (`Found`) with
    different labels never go together; one without a label goes with any. Events go by time alone.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    table = np.array([[_overlap(one, other) for other in found] for one in true]).reshape(len(true), len(found))
    best = [0.0] * len(true)
    for row, column in zip(*linear_sum_assignment(-table), strict=True):
        best[row] = float(table[row, column])
    return best


def _overlap(first: Any, second: Any) -> float:
    if hasattr(first, "start"):
        return first.iou(second)
    labels = {first.label.lower(), second.label.lower()} - {""}
    return iou(first.box, second.box) if first.box and second.box and len(labels) < 2 else 0.0


def score_answers(items: Iterable[Mapping[str, Any]], answers: Iterable[str | None]) -> pandas.DataFrame:
    """Scores of answers to toy world items, per task and measure, with 95 % intervals over images.

    Args:
        items: records of ``items.jsonl``, as ``write_questions`` yields them.
        answers: one for each item, in the same order; None for one that failed, which has no score.

    Returns:
        Columns task, measure, n (images), value, low, high; the measures are those of `toolkit.evaluation`, and those
        of `score_page` for pages. Both ends are NaN where the answers bound nothing: one image alone, or only CERs of
        0, which have no upper limit.

    Raises:
        CourseError: another number of answers than of items.
    """
    import pandas as pd

    from toolkit.evaluation.metrics.scoring import MEASURES, score_answer, task_of
    from toolkit.evaluation.metrics.statistics import ratio
    from toolkit.grounding.page_scoring import PAGE_MEASURES

    items, answers = list(items), list(answers)
    if len(items) != len(answers):
        raise CourseError(f"{len(answers)} answers to {len(items)} items.", "", "give one for each, None if it failed")
    scored: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for item, answer in zip(items, answers, strict=True):
        if answer is not None:
            image = str(item.get("media") or item.get("item_id"))
            task = task_of(item)
            scores = _page_scores(item, answer) if task == "page" else score_answer(item, answer)[0]
            scored.setdefault(task, []).append((image, scores))
    rows = []
    for task, each in scored.items():
        for measure in PAGE_MEASURES if task == "page" else MEASURES:
            have = [(image, scores) for image, scores in each if scores.get(measure.parts) is not None]
            if not have:
                continue
            parts = [scores[measure.parts] for _, scores in have]
            wholes = [scores[measure.wholes] if measure.wholes else 1.0 for _, scores in have]
            bounds = (0.0, 1.0) if measure.bounded else None
            found = ratio(parts, wholes, [image for image, _ in have], bounds=bounds)
            known = found.n > 1 and math.isfinite(found.low) and math.isfinite(found.high)
            ends = (found.low, found.high) if known else (math.nan, math.nan)
            rows.append((task, measure.title, found.n, found.value, *ends))
    return pd.DataFrame(rows, columns=["task", "measure", "n", "value", "low", "high"])


def _page_scores(item: Mapping[str, Any], answer: str) -> Mapping[str, Any]:
    from toolkit.grounding.page_scoring import score_page

    return score_page(read_layout(answer), read_layout(item["answer"][0]))

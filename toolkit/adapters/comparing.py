"""What an adapter has changed, on the new task and on the old ones: shares of right answers, and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.evaluation.metrics.scoring import grade
from toolkit.evaluation.metrics.statistics import paired_bootstrap

if TYPE_CHECKING:
    import pandas


def is_right(item: Mapping[str, Any], answer: str | None) -> bool:
    """Whether an answer, in whatever words, means one of an item's accepted ones; None is wrong."""
    return answer is not None and grade(item, answer) == "right"


def compare_answers(
    items: Iterable[Mapping[str, Any]], before: Sequence[str | None], after: Sequence[str | None]
) -> pandas.DataFrame:
    """Per task, the share of right answers before and after, and their difference with a 95 % interval.

    Items are resampled as pairs: both answers to an item stay together. ``verdict`` says 'better' or 'worse' where the
    interval excludes zero, and 'no difference shown' otherwise.

    Raises:
        CourseError: another number of answers than of items.
    """
    import pandas as pd

    items = list(items)
    if not len(items) == len(before) == len(after):
        raise CourseError(f"{len(items)} items have {len(before)} and {len(after)} answers.", "", "give one for each")
    by_task: dict[str, list[tuple[bool, bool]]] = {}
    for item, first, second in zip(items, before, after, strict=True):
        task = str(item.get("task") or item.get("kind") or "all")
        by_task.setdefault(task, []).append((is_right(item, first), is_right(item, second)))
    rows = []
    for task, pairs in by_task.items():
        old, new = ([float(value) for value in column] for column in zip(*pairs, strict=True))
        found = paired_bootstrap(new, old)
        verdict = "better" if found.low > 0 else "worse" if found.high < 0 else "no difference shown"
        shares = (sum(old) / len(pairs), sum(new) / len(pairs))
        rows.append((task, len(pairs), *shares, found.value, found.low, found.high, verdict))
    return pd.DataFrame(rows, columns=["task", "n", "before", "after", "difference", "low", "high", "verdict"])

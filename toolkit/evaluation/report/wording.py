"""What the report calls tasks, measures and statuses (``data/report.yaml``), and how it writes their values."""

from __future__ import annotations

from typing import Any

from helpers.files import COURSE_ROOT, read_yaml
from toolkit.evaluation.inference.transcripts import Status

#: The first run and the second, as the page names them beside their full names.
LABELS = "AB"
_WORDS: dict[str, Any] = read_yaml(COURSE_ROOT / "data" / "report.yaml")
#: What became of an answer that is not whole.
STATUSES: dict[Status, str] = _WORDS["statuses"]


def task_label(task: str) -> str:
    """A task's name for people."""
    return _WORDS["tasks"].get(task) or task.replace("_", " ")


def definition_of(measure: str) -> str:
    return _WORDS["measures"].get(measure, {}).get("definition", "A measure of the evaluation's own.")


def form_of(measure: str) -> str:
    """'share', 'decimal' or 'count'."""
    return _WORDS["measures"].get(measure, {}).get("form", "decimal")


def figure(value: float, measure: str, signed: bool = False) -> str:
    """A value, or with ``signed`` a difference, with one digit more; differences of shares are points of a hundred."""
    scale, digits = {"share": (100, 0), "decimal": (1, 2), "count": (1, 1)}[form_of(measure)]
    digits += signed
    rounded = round(scale * value, digits) + 0.0
    text = f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")
    return f"{text}\N{NO-BREAK SPACE}%" if scale == 100 and not signed else text

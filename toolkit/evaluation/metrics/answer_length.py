"""How many tokens an answer may take: a limit that is too low cuts off the answer and halves a score."""

from __future__ import annotations

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_yaml


def answer_tokens(*tasks: str) -> int:
    """The most tokens that answers to these tasks may take, for ``max_tokens`` (``data/answer_tokens.yaml``).

    Raises:
        CourseError: no task, or one that is not in the table.
    """
    groups = read_yaml(COURSE_ROOT / "data" / "answer_tokens.yaml").values()
    table = {task: most for group in groups for task, most in group.items()}
    unknown = [task for task in tasks if task not in table]
    if unknown or not tasks:
        raise CourseError(
            f"There is no task '{', '.join(unknown)}' to look up.",
            "a misspelt name",
            f"use some of: {', '.join(table)}",
        )
    return max(table[task] for task in tasks)

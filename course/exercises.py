"""``course exercises``: the learners' notebooks, made from the solutions.

The marks are those of otter-grader's ``assign``, but not the program. otter-grader 7.0 and nbgrader 0.9.6 grade what a
class hands in. Both know only passed and failed, not an exercise that nobody has begun. otter-grader adds 20 packages
to the pins, Sphinx and Playwright among them, and takes its tests from the notebook that the learner may edit; nbgrader
adds a database with migrations and servers' extensions for collecting. What is needed here is to blank marked lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nbformat

from course.manifest import NotebookEntry
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown, write_whole
from toolkit.exercises.markers import for_learner

NOTEBOOKS = COURSE_ROOT / "notebooks"
YOURS = "*Your answer here.*"


def update_exercises(notebooks: Path = NOTEBOOKS, *, write: bool) -> list[str]:
    """Bring ``exercises`` up to date with ``solutions``.

    Args:
        notebooks: the folder that holds both.
        write: or only compare.

    Returns:
        The names of the files that were stale or too many.

    Raises:
        CourseError: there are no solutions, or a mark in one lacks its other half.
    """
    solutions, exercises = notebooks / "solutions", notebooks / "exercises"
    wanted = {path.name: exercise_text(path) for path in sorted(solutions.glob("*.ipynb"))}
    if not wanted:
        raise CourseError(
            f"{shown(solutions)} holds no notebooks.",
            "a copy of the course for learners, which comes without solutions",
            "make the exercises in a full copy",
        )
    present = {path.name: path.read_text(encoding="utf-8") for path in exercises.glob("*.ipynb")}
    stale = [name for name in sorted(wanted.keys() | present.keys()) if wanted.get(name) != present.get(name)]
    if write:
        exercises.mkdir(exist_ok=True)
        for name in stale:
            if name in wanted:
                write_whole(exercises / name, wanted[name])
            else:
                (exercises / name).unlink()
    return stale


def exercise_text(solution: Path) -> str:
    """The learner's notebook as the text of its file: solutions blanked, outputs dropped.

    Raises:
        CourseError: a mark lacks its other half.
    """
    notebook = nbformat.read(solution, 4)
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and "solution" in cell.metadata.get("tags", []):
            cell.source = YOURS
        elif cell.cell_type == "code":
            try:
                cell.source = for_learner(cell.source)
            except ValueError as error:
                raise CourseError(f"{shown(solution)}, cell {place}: {error}", "", "complete the block") from None
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("alt", None)
    return nbformat.writes(notebook) + "\n"


def solutions_of(entries: Iterable[NotebookEntry]) -> list[NotebookEntry]:
    """The notebooks of solutions to chapters, as entries of their own: ``02.ipynb`` for chapter 02."""
    return [entry.model_copy(update={"file": f"{entry.label}.ipynb"}) for entry in entries]

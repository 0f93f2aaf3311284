"""What is written about each exercise, and its solution: ``data/exercises/NN.yaml`` and ``notebooks/solutions``."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_entries
from toolkit.exercises.markers import solved

CARDS = COURSE_ROOT / "data" / "exercises"
SOLUTIONS = COURSE_ROOT / "notebooks" / "solutions"
#: Exercise → hints shown since the kernel started.
_shown: Counter[str] = Counter()


class Card(BaseModel):
    """An exercise as its YAML file describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^\d+$")
    title: str = Field(min_length=3)
    kind: Literal["predict", "mend", "code", "open"]
    learner_minutes: float = Field(gt=0)
    hints: list[str] = Field(min_length=2, max_length=3)
    """Each says more than the one before."""
    explanation: str | None = Field(None, min_length=20)
    """Why the solution is right; of an open question, a model answer. Learners' copies of a workshop have none."""


def chapters() -> list[str]:
    """Chapters with exercises, as the files are named: ``['00', …, '08b']``."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


@cache
def cards_of(chapter: str) -> dict[str, Card]:
    """Exercise (``'02.3'``) → its card, in the order of the chapter.

    Raises:
        CourseError: a file that is broken; a key is named.
    """
    return {
        f"{chapter}.{name}": card for name, card in read_entries(CARDS / f"{chapter}.yaml", "exercise", Card).items()
    }


def card_of(exercise: str) -> Card:
    """The card of an exercise.

    Raises:
        CourseError: no such exercise.
    """
    chapter = str(exercise).partition(".")[0]
    known = cards_of(chapter) if chapter in chapters() else {}
    if exercise not in known:
        expected = ", ".join(known) or f"a chapter ({', '.join(chapters())}), a full stop and a number"
        raise CourseError(f"There is no exercise {exercise!r}.", "a misspelt number", f"use one of: {expected}")
    return known[exercise]


def hint(exercise: str) -> None:
    """Print the next hint; the last one is repeated.

    Raises:
        CourseError: no such exercise.
    """
    hints = card_of(exercise).hints
    place = min(_shown[exercise], len(hints) - 1)
    _shown[exercise] += 1
    print(wrapped(f"{exercise}, hint {place + 1} of {len(hints)}: {hints[place]}"))


def solution(exercise: str) -> None:
    """Print the code of a solution and why it is right, or that the teacher has it.

    Raises:
        CourseError: no such exercise.
    """
    card = card_of(exercise)
    code = solution_code(exercise)
    if not code:
        print(f"{exercise}: this copy of the course comes without solutions. Ask your teacher.")
        return
    print("\n\n".join([code, *([wrapped(card.explanation)] if card.explanation else [])]))


def solution_code(exercise: str, folder: Path | None = None) -> str:
    """The code of an exercise's cells in the solutions, without markers; '' where the solutions are absent."""
    file = (folder or SOLUTIONS) / f"{exercise.partition('.')[0]}.ipynb"
    if not file.is_file():
        return ""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    of_it = ["".join(cell["source"]) for cell in cells if cell["metadata"].get("exercise") == exercise]
    return "\n\n".join(map(solved, of_it))


def wrapped(text: str) -> str:
    """A text of several sentences as lines to print."""
    # A cell's width in a window of 1,100 pixels, where JupyterLab would break longer lines within words.
    return "\n".join(textwrap.fill(part, 72) for part in text.strip().split("\n"))

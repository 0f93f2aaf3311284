"""An answer becomes a verdict, which is printed, returned and appended to ``outputs/exercises.jsonl``."""

from __future__ import annotations

import datetime
import os
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from helpers.errors import CourseError
from helpers.files import OUTPUTS
from helpers.jsonl import append_row
from toolkit.exercises.cards import Card, card_of, wrapped
from toolkit.exercises.judging import Mistake, NotAttempted, is_missing

State = Literal["correct", "incorrect", "not attempted"]
#: An answer to an open question has at least so many words.
OPEN_WORDS = 8
#: Names another file for the verdicts; empty: they are not kept.
LOG_VARIABLE = "COURSE_EXERCISES_LOG"


@dataclass(frozen=True)
class Verdict:
    """What `check` found. ``message`` is empty if there is nothing to add to ``correct``."""

    state: State
    message: str = ""

    def _ipython_display_(self) -> None:
        """Nothing: `check` has printed it."""


def check(exercise: str, *answers: Any, **context: Any) -> Verdict:
    """Judge an answer by what it does, and print the verdict in one line.

    Args:
        exercise: chapter and number, such as ``"02.3"``.
        answers: what the exercise asks for; see its notebook. An answer that is ``...``, None or blank text is not
            attempted.
        context: what the checker needs besides, such as a server.

    Returns:
        The verdict. An open question is never judged: enough words are correct, and a model answer is printed for
        comparison.

    Raises:
        CourseError: no such exercise.
    """
    card = card_of(exercise)
    if not answers or any(map(is_missing, answers)):
        verdict = Verdict("not attempted", "put your answer in the place of ...")
    elif card.kind == "open":
        verdict = _read(str(answers[0]), card)
    else:
        verdict = _judge(exercise, answers, context)
    said = f"{exercise} {verdict.state}" + (f": {verdict.message}" if verdict.message else "")
    print(wrapped(said) if card.kind == "open" else said)
    _record(exercise, verdict)
    return verdict


def _judge(exercise: str, answers: tuple[Any, ...], context: dict[str, Any]) -> Verdict:
    chapter, _, number = exercise.partition(".")
    checker = getattr(import_module(f"toolkit.exercises.chapter_{chapter}"), f"exercise_{number}")
    try:
        word = checker(*answers, **context)
    except NotAttempted as unbegun:
        return Verdict("not attempted", str(unbegun))
    except Mistake as mistake:
        word = str(mistake)
    except CourseError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0][:200]
        word = f"the answer has another form than expected ({type(error).__name__}: {reason})"
    return Verdict("incorrect", word) if word else Verdict("correct")


def _read(text: str, card: Card) -> Verdict:
    if len(text.split()) < OPEN_WORDS:
        return Verdict("incorrect", f"write a sentence or two, at least {OPEN_WORDS} words")
    if not card.explanation:
        return Verdict("correct", "nobody has judged it. Your teacher has a model answer to compare with")
    return Verdict("correct", f"nobody has judged it. Compare with this: {' '.join(card.explanation.split())}")


def _log() -> Path | None:
    named = os.environ.get(LOG_VARIABLE)
    return OUTPUTS / "exercises.jsonl" if named is None else Path(named) if named else None


def _record(exercise: str, verdict: Verdict) -> None:
    path = _log()
    if path is None:
        return
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        append_row(path, {"exercise": exercise, "state": verdict.state, "time": now})
    except (CourseError, OSError) as error:
        warnings.warn(f"The verdict was not recorded: {str(error).splitlines()[0]}", stacklevel=3)

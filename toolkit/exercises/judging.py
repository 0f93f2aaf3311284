"""What checkers are written with. A checker is ``exercise_3(answer, …) -> str | None`` in ``chapter_NN.py``.

None means right; text is a useful word about what is wrong. The functions here end a checker early, by raising what
`toolkit.exercises.checking.check` turns into a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


class NotAttempted(Exception):
    """There is no answer yet, or the cell does what it did when it was given."""


class Mistake(Exception):
    """The answer is wrong; the message is for the learner."""


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a learner's function returns.

    Raises:
        NotAttempted: it returns nothing or ``...``, raises NotImplementedError, or still computes with ``...``.
        Mistake: it cannot be called, or raises anything else.
    """
    if not callable(function):
        raise Mistake(f"a function is expected, not {describe(function)}")
    try:
        result = function(*arguments, **named)
    except NotImplementedError:
        raise NotAttempted("your function raises NotImplementedError") from None
    except Exception as error:
        if isinstance(error, TypeError) and "ellipsis" in str(error).lower():
            raise NotAttempted("a ... is left in your function") from None
        reason = str(error).strip().partition("\n")[0][:200]
        raise Mistake(f"your function raised {type(error).__name__}" + (f": {reason}" if reason else "")) from None
    if result is None or is_missing(result):
        raise NotAttempted("your function returns nothing; does it end with return?")
    return result


def is_missing(answer: Any) -> bool:
    """Whether an answer is None, ``...``, blank text, or a container with a ``...`` in it."""
    if answer is None or answer is ...:
        return True
    if isinstance(answer, str):
        return not answer.strip()
    if isinstance(answer, dict):
        return any(value is ... or (isinstance(value, dict | list) and is_missing(value)) for value in answer.values())
    if isinstance(answer, list | tuple):
        return any(value is ... or (isinstance(value, dict | list) and is_missing(value)) for value in answer)
    return False


def number(answer: Any, what: str = "the answer") -> float:
    """The answer as a number.

    Raises:
        Mistake: it is none.
    """
    try:
        value = math.nan if isinstance(answer, str | bytes | bool) else float(answer)
    except (TypeError, ValueError):
        value = math.nan
    if math.isnan(value):
        raise Mistake(f"{what} should be a number, not {describe(answer)}")
    return value


def is_close(answer: Any, expected: float, relative: float = 1e-6, what: str = "the answer") -> bool:
    """Whether the answer is a number that differs from the expected one by no more than a share of it."""
    return math.isclose(number(answer, what), expected, rel_tol=relative, abs_tol=1e-12)


def describe(value: Any) -> str:
    """A value for a message, short, with its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"

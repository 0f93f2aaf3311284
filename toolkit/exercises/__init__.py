"""The exercises of the chapters: an answer is checked, a hint given, a solution shown::

    from toolkit.exercises import check, hint, solution

    check("02.3", answer)     # prints one line: correct, incorrect with a reason, or not attempted
    hint("02.3")              # the next hint, each of which says more
    solution("02.3")          # the code of a solution, and why it is right

`check` judges what an answer does, not how it is written, and asks no network. A chapter's checkers are in
``toolkit.exercises.chapter_02``, its hints and explanations in ``data/exercises/02.yaml``. Verdicts are appended to
``outputs/exercises.jsonl``, from which the learner's page counts them.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.exercises.cards import hint, solution
    from toolkit.exercises.checking import Verdict, check

__all__, __getattr__, __dir__ = lazy_names(__name__)

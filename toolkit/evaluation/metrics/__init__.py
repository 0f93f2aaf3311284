"""Scores of answers: facts, exact and short answers, text similarity, and the statistics of comparisons.

One call for a single description of a toy scene, and one for any answer, in whatever words a model gives it::

    right, stated, there = count_facts("A man in a red coat stands on the left.", item["facts"])
    grade(item, "Let me count them. **Answer:** 2 dogs.")  # 'right', 'wrong' or 'unreadable'
    answer_tokens("scene_count")  # what such answers need, for max_tokens

`toolkit.evaluation.score_runs` scores whole runs.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.evaluation.metrics.answer_length import answer_tokens
    from toolkit.evaluation.metrics.scene_facts import count_facts
    from toolkit.evaluation.metrics.scoring import grade

__all__, __getattr__, __dir__ = lazy_names(__name__)

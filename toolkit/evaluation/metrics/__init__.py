"""Scores of answers: facts, exact and short answers, text similarity, and the statistics of comparisons.

One call for a single description of a toy scene::

    right, stated, there = count_facts("A man in a red coat stands on the left.", item["facts"])

`toolkit.evaluation.score_runs` scores whole runs.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.evaluation.metrics.scene_facts import count_facts

__all__ = ["count_facts"]

__getattr__, __dir__ = lazy_names(__name__, {"count_facts": "scene_facts"})

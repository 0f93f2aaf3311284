"""How well a page was read: its text, the cells of its tables, and the order of its elements."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from toolkit.evaluation.metrics.scoring import Measure
from toolkit.grounding.objects import Found, Reading

#: Of the scores that `score_page` returns.
PAGE_MEASURES = (
    Measure("cer", "character error rate", "edits", "characters", higher_is_better=False, bounded=False),
    Measure("cells", "table cells, F1", "cells_found_twice", "cells_both"),
    Measure("order", "pairs in reading order", "pairs_in_order", "pairs"),
)


def score_page(found: Reading, true: Reading) -> dict[str, float]:
    """Scores of a page as read by `read_layout`, in whatever format, against the true one.

    Elements are matched by their text, one to one, so that the sum of similarities is largest; less than half alike is
    not found, except for tables. A cell is right if its row, column and text are. Two elements are in order if both
    were found, the one that comes first in front of the other.
    """
    from rapidfuzz.distance import Levenshtein

    written, reference = _text(found), _text(true)
    tables, true_tables = ([element for element in page.objects if element.rows] for page in (found, true))
    matched_tables = _matched(tables, true_tables, least=0.0)
    places = _matched(found.objects, true.objects)
    pairs = list(combinations(range(len(true.objects)), 2))
    return {
        "edits": Levenshtein.distance(written, reference),
        "characters": len(reference),
        "cells_found_twice": 2
        * sum(len(_cells(true_tables[i]) & _cells(tables[j])) for i, j in matched_tables.items()),
        "cells_both": sum(len(_cells(table)) for table in [*tables, *true_tables]),
        "pairs_in_order": sum(i in places and j in places and places[i] < places[j] for i, j in pairs),
        "pairs": len(pairs),
    }


def _words(element: Found) -> str:
    return "\n".join(cell for row in element.rows for cell in row if cell) if element.rows else element.text


def _text(page: Reading) -> str:
    return "\n".join(filter(None, map(_words, page.objects)))


def _matched(found: Sequence[Found], true: Sequence[Found], least: float = 0.5) -> dict[int, int]:
    """Index of a true element -> index of the one found for it."""
    import numpy as np
    from rapidfuzz.distance import Levenshtein
    from scipy.optimize import linear_sum_assignment

    alike = np.zeros((len(true), len(found)))
    for i, j in np.ndindex(alike.shape):
        alike[i, j] = Levenshtein.normalized_similarity(_words(true[i]), _words(found[j]))
    pairs = zip(*linear_sum_assignment(-alike), strict=True)
    return {int(i): int(j) for i, j in pairs if alike[i, j] >= least}


def _cells(table: Found) -> set[tuple[int, int, str]]:
    return {(row, column, cell) for row, cells in enumerate(table.rows) for column, cell in enumerate(cells)}

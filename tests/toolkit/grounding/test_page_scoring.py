"""What the scores of a page see: wrong letters, lost cells, columns read across; and what they do not mind."""

import pytest

from toolkit.grounding import read_layout, score_answers
from toolkit.grounding.page_scoring import score_page

PAGE = """<h1 data-bbox="1 1 9 2">Prices</h1><p data-bbox="1 3 4 9">Fresh bread every day.</p>
<table data-bbox="5 3 9 9"><tr><td>Tea</td><td>2.50</td></tr><tr><td>Milk</td><td>1.10</td></tr></table>
<p data-bbox="1 9 9 10">Closed in July.</p>"""
TRUE = read_layout(PAGE)


def scores_of(answer):
    scores = score_page(read_layout(answer), TRUE)
    return (
        scores["edits"] / scores["characters"],
        scores["cells_found_twice"] / scores["cells_both"],
        scores["pairs_in_order"] / scores["pairs"],
    )


def test_the_page_itself_and_the_same_in_markdown_are_right():
    markdown = r"""# Prices

Fresh bread every day.

\begin{tabular}{|l|r|} Tea & 2.50 \\ Milk & 1.10 \\ \end{tabular}

Closed in July."""
    assert scores_of(PAGE) == scores_of(markdown) == (0, 1, 1)


def test_a_wrong_price_costs_one_letter_and_one_cell():
    errors, cells, order = scores_of(PAGE.replace("2.50", "2.60"))
    assert errors == pytest.approx(1 / len("Prices Fresh bread every day. Tea 2.50 Milk 1.10 Closed in July."))
    assert (cells, order) == (6 / 8, 1)


def test_a_lost_row_moves_no_other_cell_and_a_lost_first_row_moves_all():
    assert scores_of(PAGE.replace("<tr><td>Milk</td><td>1.10</td></tr>", ""))[1] == 2 * 2 / 6
    assert scores_of(PAGE.replace("<tr><td>Tea</td><td>2.50</td></tr>", ""))[1] == 0


def test_the_last_paragraph_read_first_is_in_order_with_nothing():
    first, last = PAGE.split("<p", 1)[0], "<p" + PAGE.rsplit("<p", 1)[1]
    errors, cells, order = scores_of(last + PAGE.removesuffix(last))
    assert (cells, order) == (1, 3 / 6) and errors > 0.4
    assert scores_of(first)[2] == 0  # pairs of which one is missing are not in order


@pytest.mark.parametrize("answer", ["", "I can't read this.", "<table><tr><td>"])
def test_nothing_read_is_the_worst_score(answer):
    errors, cells, order = scores_of(answer)
    assert errors > 0.8 and (cells, order) == (0, 0)


def test_pages_are_scored_per_task():
    items = [{"task": "page", "item_id": str(number), "answer": [PAGE]} for number in range(3)]
    table = score_answers(items, [PAGE, PAGE, ""]).set_index("measure")
    assert table.loc[["table cells, F1", "pairs in reading order"], "value"].round(3).tolist() == [0.8, 0.667]
    assert table.loc["character error rate", "n"] == 3

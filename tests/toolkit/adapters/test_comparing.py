"""Answers before and after are judged, and compared in pairs."""

import pytest

from helpers.errors import CourseError
from toolkit.adapters import compare_answers
from toolkit.adapters.comparing import is_right


@pytest.mark.parametrize(
    ("accepted", "answer", "right"),
    [
        (["Yes.", "Yes"], " Yes\n", True),
        (["Yes."], "No.", False),
        (["Yes."], None, False),
        (['{"a": 1, "b": "2"}'], '{"b": "2", "a": 1}', True),
        (['{"a": 1}'], '{"a": 2}', False),
        (['{"a": 1}'], '{"a": 1', False),
        (["12"], "12.0", False),
        (['{"a": 1}'], 'Here it is:\n```json\n{"a": 1}\n```', True),
    ],
)
def test_right_and_wrong(accepted, answer, right):
    assert is_right({"answer": accepted}, answer) is right


def test_an_old_task_is_read_in_whatever_words():
    asked = [{"role": "user", "content": "How many dogs are there?"}]
    item = {"task": "scene_count", "messages": asked, "answer": ["2."]}
    assert is_right(item, "I count **two** dogs.") and not is_right(item, "There are three dogs.")


def test_per_task_with_paired_intervals():
    items = [{"task": "new", "answer": ["x"]}] * 40 + [{"task": "old", "answer": ["x"]}] * 40
    before = ["y"] * 40 + ["x"] * 39 + ["y"]
    after = ["x"] * 36 + ["y"] * 4 + ["x"] * 38 + ["y", "x"]
    table = compare_answers(items, before, after).set_index("task")
    assert table.loc["new", ["n", "before", "after", "verdict"]].tolist() == [40, 0, 0.9, "better"]
    assert table.loc["new", "low"] > 0.7
    assert table.loc["old", "verdict"] == "no difference shown"
    worse = compare_answers(items, after, before).set_index("task")
    assert worse.loc["new", "verdict"] == "worse"


def test_another_number_of_answers_is_refused():
    with pytest.raises(CourseError, match="1 and 2 answers"):
        compare_answers([{"answer": ["x"]}], ["x"], ["x", "y"])

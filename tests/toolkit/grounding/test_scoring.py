"""One-to-one overlaps, and scores per task with intervals; and what is drawn."""

import pytest
from PIL import Image

from helpers.errors import CourseError
from toolkit.grounding import Found, draw_objects, overlaps, score_answers
from toolkit.toyworld import write_questions


def test_one_found_box_counts_for_one_true_box():
    left, right = Found("dog", box=(0, 0, 10, 10)), Found("dog", box=(20, 0, 30, 10))
    assert overlaps([right, left], [left, right]) == [1, 1]
    assert overlaps([left], [left, left]) in ([1, 0], [0, 1])
    assert overlaps([], [left]) == [0]
    assert overlaps([left], []) == []
    assert overlaps([Found("cat", box=left.box)], [left]) == [0]
    assert overlaps([Found("", box=left.box), Found("dog", point=(1, 1))], [left]) == [1]


def test_scores_per_task_with_intervals(tmp_path):
    items = list(write_questions(tmp_path, {"scene_box": 4, "scene_exists": 4, "receipt": 2}, 11_000_000))
    answers = [item["answer"][0] for item in items]
    table = score_answers(items, answers).set_index(["task", "measure"])
    assert table.loc[("scene_box", "box IoU"), "value"] == 1
    assert table.loc[("scene_exists", "right answers"), ["n", "value"]].tolist() == [4, 1]
    assert 0.3 < table.loc[("scene_exists", "right answers"), "low"] < 1  # four right answers prove little
    assert table.loc[("receipt", "character error rate"), "value"] == 0
    answers[0], answers[4] = "nowhere", None
    table = score_answers(items, answers).set_index(["task", "measure"])
    assert table.loc[("scene_box", "box IoU"), ["n", "value"]].tolist() == [4, 0.75]
    assert table.loc[("scene_exists", "right answers"), "n"] == 3


@pytest.mark.parametrize(("receipts", "wrong"), [(1, False), (1, True), (3, False)])
def test_answers_that_bound_nothing_have_no_interval(tmp_path, receipts, wrong):
    items = list(write_questions(tmp_path, {"receipt": receipts, "scene_exists": 1}, 11_000_000))
    answers = ["Sun" if wrong else item["answer"][0] for item in items]
    table = score_answers(items, answers).set_index(["task", "measure"])
    assert table.loc[("receipt", "character error rate"), ["low", "high"]].isna().all()
    assert table.loc[("scene_exists", "right answers"), ["low", "high"]].isna().all()
    assert table["value"].notna().all()


def test_as_many_answers_as_items():
    with pytest.raises(CourseError):
        score_answers([{"task": "scene_exists"}], [])


@pytest.mark.usefixtures("closed_figures")
def test_boxes_points_and_truth_are_drawn():
    image = Image.new("RGB", (100, 50))
    things = [Found("dog", box=(10, 10, 30, 40)), Found("nose", point=(20, 20)), Found("words", text="no place")]
    axes = draw_objects(image, things, true=[things[0], things[2]], title="found")
    assert len(axes.patches) == 3
    assert [text.get_text() for text in axes.texts] == ["dog", "nose"]
    assert (axes.get_xlim(), axes.get_ylim(), axes.get_title()) == ((0, 100), (50, 0), "found")
    assert draw_objects(image, [], axes=axes) is axes

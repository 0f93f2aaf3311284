"""Thinking against Instruct: which items are asked, and what is said about them."""

import json

import pytest

from benchmarks import thinking
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.profiles import TINY


@pytest.mark.parametrize("task", thinking.TASKS)
def test_every_task_has_held_out_items_of_its_own(task):
    items = thinking.items_of(task, 6)
    assert len(items) == 6 and {item.task for item in items} <= {task, "sentence"}
    assert [item.seed for item in items] == [item.seed for item in thinking.items_of(task, 6)]
    if task == "reverse":
        assert all(item.facts["length"] >= thinking.LONG for item in items)
    if task == "receipt_adds_up":
        assert {item.accepted[0] for item in items} == {"Yes.", "No."}


def test_a_gain_is_the_mean_difference_of_pairs_and_unsure_for_equals():
    mean, low, high = thinking._gain("1111111100", "1100000000")
    assert mean == pytest.approx(0.6) and 0 < low < mean < high <= 1
    mean, low, high = thinking._gain("0101", "0101")
    assert (mean, low < 0 < high) == (0, True)


def test_a_record_says_where_it_was_measured_and_compares_with_instruct(tmp_path):
    out = tmp_path / "thinking.json"
    answers = {thinking.INSTRUCT: [True, False, False, False], thinking.THINKING: [True, True, True, False]}
    scored = {model: thinking._scored(right, [4, 6, 4, 6]) for model, right in answers.items()}
    thinking._write(out, {"tasks": {"scene_pose": scored}})
    record = json.loads(out.read_text())
    assert {"machine", "versions", "date", "command"} <= record.keys()
    pose = record["tasks"]["scene_pose"]
    assert pose[thinking.THINKING]["gain"][0] == 0.5 and "gain" not in pose[thinking.INSTRUCT]
    assert pose[thinking.INSTRUCT] == {"share": 0.25, "tokens": 5.0, "right": "1000"}
    assert record["command"].endswith("--count 4")


def test_a_model_that_does_not_think_is_refused(tmp_path):
    with pytest.raises(CourseError, match="no Thinking edition"):
        thinking.main(COURSE_ROOT / "data" / TINY, out=tmp_path / "thinking.json")
    assert not (tmp_path / "thinking.json").exists()


def test_the_true_box_is_that_of_the_subject_asked_about():
    item = thinking.items_of("scene_pose", 1)[0]
    subject = next(each for each in item.facts["subjects"] if each["box"] == thinking.true_box(item))
    assert f" the {subject['kind']} " in item.request

"""Folders of questions: tasks share pictures, yes and no take turns, pairs belong together, a seed repeats itself."""

import json

import pytest

from helpers.errors import CourseError
from toolkit.toyworld.items import read_items
from toolkit.toyworld.questions import all_tasks, write_questions

SEED = 11_400_000
COUNTS = {"scene": 3, "scene_exists": 6, "scene_box": 3, "sentence": 2, "pair_direction": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    assert len(list(write_questions(folder, COUNTS, SEED))) == 18
    return folder


def test_tasks_ask_about_the_same_pictures(folder):
    records = read_items(folder)
    scenes, boxes = ({one["media"][0] for one in records if one["task"] == task} for task in ("scene", "scene_box"))
    assert scenes == {f"scene-{SEED + number}.png" for number in range(3)}
    assert len(scenes & boxes) >= 2, "of a scene without a subject to find, another is asked about"
    assert len({one["item_id"] for one in records}) == len(records)
    assert all((folder / name).is_file() for one in records for name in one["media"])


def test_yes_and_no_take_turns(folder):
    truth = [one["answer"][0] for one in read_items(folder) if one["task"] == "scene_exists"]
    assert truth == ["No.", "Yes."] * 3


def test_the_two_clips_of_a_pair_differ_in_the_answer_only(folder):
    first, second = [one for one in read_items(folder) if one.get("pair") == f"pair_direction-{SEED}"]
    assert first["messages"][0]["content"][-1] == second["messages"][0]["content"][-1]
    assert first["answer"] != second["answer"] and first["media"] != second["media"]


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    list(write_questions(tmp_path, COUNTS, SEED))
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_every_task_can_be_asked(tmp_path):
    tasks = all_tasks()
    list(write_questions(tmp_path, dict.fromkeys(tasks, 1), SEED))
    lines = (tmp_path / "items.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["task"] for line in lines} == set(tasks)


@pytest.mark.parametrize(
    ("counts", "says"),
    [({"scenes": 1}, "no task 'scenes'"), ({"scene": -1}, "Cannot make -1"), ({}, "Nothing to write")],
)
def test_a_mistake_leaves_what_is_there(folder, counts, says):
    before = (folder / "items.jsonl").read_bytes()
    with pytest.raises(CourseError, match=says):
        list(write_questions(folder, counts, SEED))
    assert (folder / "items.jsonl").read_bytes() == before

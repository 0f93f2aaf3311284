"""The toy world: the same seed gives the same bytes, facts and words agree, and what is drawn is there."""

import hashlib
import json
import random

import numpy as np
import pytest
from PIL import Image

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.toyworld import items, scenes, sentences


def test_same_seed_same_bytes():
    first, second = (scenes.make_item(123) for _ in range(2))
    assert first.record() == second.record()
    name = first.record()["media"][0]
    assert items.png_bytes(first.media[name]) == items.png_bytes(second.media[name])
    other = scenes.make_item(124)
    assert items.png_bytes(next(iter(other.media.values()))) != items.png_bytes(first.media[name])


def test_shipped_scenes_are_what_the_command_draws(tmp_path):
    shipped = COURSE_ROOT / "data" / "scenes"
    records = items.read_items(shipped)
    list(items.write_items("scene", len(records), records[0]["seed"], tmp_path))
    assert (tmp_path / "items.jsonl").read_bytes() == (shipped / "items.jsonl").read_bytes()
    for record in records:
        with Image.open(shipped / record["media"][0]) as old, Image.open(tmp_path / record["media"][0]) as new:
            assert np.array_equal(np.asarray(old), np.asarray(new)), record["item_id"]


def test_shipped_sentences_are_what_the_command_draws(tmp_path):
    shipped = COURSE_ROOT / "data" / "sentences"
    records = items.read_items(shipped)
    list(items.write_items("sentence", len(records), records[0]["seed"], tmp_path))
    assert (tmp_path / "items.jsonl").read_bytes() == (shipped / "items.jsonl").read_bytes()


def test_the_first_shipped_scene_is_the_guides_picture_retold():
    facts = items.read_items(COURSE_ROOT / "data" / "scenes")[0]["facts"]
    assert (facts["place"], facts["light"]) == ("beach", "sunset")
    assert [subject["kind"] for subject in facts["subjects"]] == ["woman", "dog"]
    assert facts["subjects"][1]["pose"] == "raising a paw"


def test_every_description_states_exactly_its_facts():
    for seed in range(2000):
        facts = scenes.make_facts(random.Random(seed))
        assert scenes.read_description(scenes.describe(facts)) == facts
        right, stated, there = scenes.count_facts(facts, facts)
        assert right == stated == there


@pytest.mark.parametrize(
    ("text", "right", "stated"),
    [
        ("", 0, 0),
        ("A dog.", 0, 0),
        ("The scene is on a beach at night.", 1, 2),
        ("A red dog is sitting on the left. The scene is on a beach at sunset.", 5, 6),
        ("A brown dog is sitting on the right. The scene is on a beach at sunset.", 2, 6),
        (
            "A brown dog is sitting on the left and a blue ball is in the middle. The scene is on a beach at sunset.",
            6,
            9,
        ),
    ],
)
def test_wrong_missing_and_invented_facts_are_counted(text, right, stated):
    dog = {"kind": "dog", "colour": "brown", "pose": "sitting", "position": "left"}
    facts = {"place": "beach", "light": "sunset", "subjects": [dog]}
    assert scenes.count_facts(facts, scenes.read_description(text)) == (right, stated, 6)


def test_colours_of_facts_are_on_the_picture():
    seen = 0
    for seed in range(60):
        item = scenes.make_item(seed)
        pixels = np.asarray(next(iter(item.media.values()))).reshape(-1, 3).astype(int)
        for subject in item.facts["subjects"]:
            palette = scenes.FURS if scenes.KINDS[subject["kind"]] == "animal" else scenes.COLOURS
            distance = np.abs(pixels - np.array(palette[subject["colour"]])).max(axis=1)
            assert (distance <= 2).sum() >= 12, (seed, subject)
            seen += 1
    assert seen > 60


def test_positions_are_left_to_right_and_unlike():
    for seed in range(500):
        subjects = scenes.make_facts(random.Random(seed))["subjects"]
        places = [scenes.POSITIONS.index(subject["position"]) for subject in subjects]
        assert places == sorted(set(places)) and 1 <= len(places) <= 3


def test_questions_have_the_answers_of_the_facts():
    dog = {"kind": "dog", "colour": "brown", "pose": "sitting", "position": "left"}
    facts = {"place": "street", "light": "noon", "subjects": [dog]}
    asked = dict(pair for seed in range(60) for pair in scenes.questions(facts, random.Random(seed)))
    assert asked["Where is this?"] == "On a street."
    assert asked["Is there a dog in the image?"] == "Yes."
    assert asked["Is there an umbrella in the image?"] == "No."
    assert asked["How many people are there?"] == "0."
    assert asked["What colour is the dog?"] == "Brown."
    assert asked["What is on the left?"] == "A dog."


def test_json_answers_fit_the_schema():
    import jsonschema

    for seed in range(200):
        facts = scenes.make_facts(random.Random(seed))
        jsonschema.validate(json.loads(scenes.facts_as_json(facts)), scenes.json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"place": "moon", "light": "noon", "subjects": []}, scenes.json_schema())


def test_sentences_are_reversed_and_within_length():
    lengths = set()
    for seed in range(2000):
        item = sentences.make_item(seed)
        sentence = item.facts["sentence"]
        assert item.answer == [sentence[::-1]] and f"'{sentence}'" in item.messages[0]["content"]
        assert sentence == sentence.strip() and 1 <= len(sentence) <= sentences.LONGEST
        lengths.add(len(sentence))
    assert {5, 20, sentences.LONGEST} <= lengths


def test_training_and_validation_do_not_share_sentences():
    train = {sentences.make_item(seed).facts["sentence"] for seed in range(3000)}
    held_out = [sentences.make_item(items.VALIDATION_SEED + seed).facts["sentence"] for seed in range(300)]
    assert sum(sentence in train for sentence in held_out) < 10


def test_items_are_written_one_by_one_and_read_back(tmp_path):
    writer = items.write_items("scene", 3, 5, tmp_path)
    next(writer)
    assert len(items.read_items(tmp_path)) == 1
    assert [item.seed for item in writer] == [6, 7]
    records = items.read_items(tmp_path)
    assert [record["item_id"] for record in records] == ["scene-5", "scene-6", "scene-7"]
    for record in records:
        url = record["messages"][0]["content"][0]["image_url"]["url"]
        assert (tmp_path / url).is_file() and record["media"] == [url]
    digest = hashlib.sha256((tmp_path / "scene-6.png").read_bytes()).hexdigest()
    list(items.write_items("scene", 1, 6, tmp_path / "again"))
    assert hashlib.sha256((tmp_path / "again" / "scene-6.png").read_bytes()).hexdigest() == digest


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(CourseError, match="no kind of item 'recipe'"):
        list(items.write_items("recipe", 1, 0, tmp_path))
    with pytest.raises(CourseError, match="0 items"):
        list(items.write_items("scene", 0, 0, tmp_path))
    with pytest.raises(CourseError, match="seed -1"):
        list(items.write_items("scene", 1, -1, tmp_path))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CourseError, match="Cannot write"):
        list(items.write_items("scene", 1, 0, blocked))
    with pytest.raises(CourseError, match=r"no items\.jsonl"):
        items.read_items(tmp_path)
    (tmp_path / "items.jsonl").write_text('{"a": 1}\n{"b"')
    with pytest.raises(CourseError, match="line 2"):
        items.read_items(tmp_path)


def test_a_new_kind_is_one_module_and_one_line(tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType("helpers.toyworld.dots")
    module.make_item = lambda seed: items.Item("dot", seed, [{"role": "user", "content": "?"}], ["."], {"dots": seed})
    monkeypatch.setitem(sys.modules, "helpers.toyworld.dots", module)
    monkeypatch.setitem(items.KINDS, "dot", "dots")
    list(items.write_items("dot", 2, 3, tmp_path))
    assert [record["facts"]["dots"] for record in items.read_items(tmp_path)] == [3, 4]

"""The toy world: the same seed gives the same bytes, facts and words agree, and what is drawn is there."""

import hashlib
import json
import random

import numpy as np
import pytest
from PIL import Image

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.evaluation.metrics.scene_facts import count_facts
from toolkit.toyworld import foreign, items, scenes, sentences


def test_same_seed_same_bytes():
    first, second = (items.make_item("scene", 123) for _ in range(2))
    assert first.record() == second.record()
    name = first.record()["media"][0]
    assert items.png_bytes(first.media[name]) == items.png_bytes(second.media[name])
    other = items.make_item("scene", 124)
    assert items.png_bytes(next(iter(other.media.values()))) != items.png_bytes(first.media[name])


@pytest.mark.parametrize(
    ("folder", "kind"), [("scenes", "scene"), ("receipts", "receipt"), ("clips", "clip"), ("sentences", "sentence")]
)
def test_shipped_samples_are_what_the_command_draws(folder, kind, tmp_path):
    shipped = COURSE_ROOT / "data" / folder
    records = items.read_items(shipped)
    assert len(records) == 24
    list(items.write_items(kind, len(records), records[0]["seed"], tmp_path))
    assert (tmp_path / "items.jsonl").read_bytes() == (shipped / "items.jsonl").read_bytes()
    for name in (name for record in records for name in record["media"]):
        old, new = (decoded(path / name) for path in (shipped, tmp_path))
        assert len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            # Another build of the H.264 encoder may round differently; pictures must be the same to the last pixel.
            assert np.abs(one.astype(int) - other.astype(int)).mean() <= (1 if kind == "clip" else 0), name
    assert sorted(path.name for path in shipped.iterdir()) == sorted(path.name for path in tmp_path.iterdir())


def decoded(path):
    """The picture, or the frames, as arrays."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return [np.asarray(picture)]
    import av

    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def test_shipped_samples_are_small():
    folders = ("scenes", "receipts", "clips", "sentences")
    files = [path for folder in folders for path in (COURSE_ROOT / "data" / folder).iterdir()]
    assert sum(path.stat().st_size for path in files) < 6e6


def test_the_first_shipped_clip_is_the_guides_film_retold():
    item = items.read_items(COURSE_ROOT / "data" / "clips")[0]
    assert "guess what the man is going to do" in item["messages"][0]["content"][1]["text"]
    assert item["facts"]["place"] == "control room" and "board the rocket" in item["answer"][0]


def test_the_first_shipped_scene_is_the_guides_picture_retold():
    facts = items.read_items(COURSE_ROOT / "data" / "scenes")[0]["facts"]
    assert (facts["place"], facts["light"]) == ("beach", "sunset")
    assert [subject["kind"] for subject in facts["subjects"]] == ["woman", "dog"]
    assert facts["subjects"][1]["pose"] == "raising a paw"


@pytest.mark.parametrize("wording", [0, 1])
@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_every_description_states_exactly_its_facts(difficulty, wording):
    for seed in range(700):
        facts = scenes.make_facts(random.Random(seed), difficulty)
        right, stated, there = count_facts(scenes.describe(facts, wording), facts)
        assert right == stated == there, (seed, facts)


def test_the_short_wording_leaves_out_but_invents_nothing():
    for seed in range(300):
        facts = scenes.make_facts(random.Random(seed))
        right, stated, there = count_facts(scenes.describe(facts, 2), facts)
        assert right == stated and there - stated == bool(facts["landmark"])


BEACH = "The scene is on a beach at sunset under a clear sky."


@pytest.mark.parametrize(
    ("text", "right", "stated"),
    [
        ("", 0, 0),
        ("A dog.", 1, 1),
        ("The scene is on a beach at night under a clear sky.", 2, 3),
        ("The scene is on a beach at sunset.", 2, 2),
        (f"A red dog is sitting on the left. {BEACH}", 6, 7),
        (f"A brown dog is sitting on the right. {BEACH}", 6, 7),
        (f"A brown dog with a leash is sitting on the left. {BEACH}", 7, 8),
        (f"A brown dog is sitting in the back on the left. {BEACH}", 7, 7),
        (f"A brown dog is sitting on the left and a blue ball is in the middle. {BEACH}", 7, 8),
        (f"A brown dog is sitting on the left. {BEACH} In the background there is a lighthouse.", 7, 8),
        (f"The scene is on a beach at night. {BEACH}", 3, 4),
    ],
)
def test_wrong_missing_and_invented_facts_are_counted(text, right, stated):
    dog = {"kind": "dog", "colour": "brown", "pose": "sitting", "position": "left", "row": "front", "gear": None,
           "x": 190, "facing": "left"}  # fmt: skip
    facts = {"place": "beach", "light": "sunset", "weather": "clear", "landmark": None}
    facts["subjects"] = [dog | {"pattern": "plain"}]
    assert count_facts(text, facts) == (right, stated, 7)


def test_difficulty_widens_the_world():
    def seen(difficulty):
        drawn = [scenes.make_facts(random.Random(seed), difficulty) for seed in range(400)]
        subjects = [subject for facts in drawn for subject in facts["subjects"]]
        return {
            "most subjects": max(len(facts["subjects"]) for facts in drawn),
            "weathers": len({facts["weather"] for facts in drawn} - {None}),
            "landmarks": len({facts["landmark"]["name"] for facts in drawn if facts["landmark"]}),
            "patterns": len({subject["pattern"] for subject in subjects}),
            "gear": len({subject["gear"] for subject in subjects} - {None}),
            "rows": len({subject["row"] for subject in subjects}),
        }

    assert list(seen(1).values()) == [2, 1, 0, 1, 0, 1]
    assert list(seen(2).values()) == [3, 4, 10, 3, 0, 1]
    assert list(seen(3).values()) == [4, 4, 10, 3, 2, 2]


def test_boxes_hold_what_is_drawn():
    """Without the subject the picture differs inside its box, and hardly outside (a shadow, a leash)."""
    for seed in range(40):
        facts = scenes.make_facts(random.Random(f"box-{seed}"))
        facts["subjects"] = facts["subjects"][:1]
        subject = facts["subjects"][0]
        subject |= {"gear": None, "colour": "brown" if scenes.KINDS[subject["kind"]] == "animal" else "purple"}
        left, top, right, bottom = (round(edge * 256 / 1000) for edge in facts["subjects"][0]["box"])
        with_it = np.asarray(scenes.draw(facts, seed)).astype(int)
        without = np.asarray(scenes.draw(facts | {"subjects": []}, seed)).astype(int)
        if facts["weather"] in ("rainy", "snowy"):
            continue  # the drops fall elsewhere then
        changed = np.abs(with_it - without).max(axis=2) > 24
        inside = changed[top : bottom + 1, left : right + 1]
        assert inside.mean() > 0.25, (seed, facts)
        assert changed.sum() - inside.sum() < 0.25 * inside.sum(), (seed, facts)
        rows, columns = np.where(inside)
        assert columns.min() <= 3 and columns.max() >= inside.shape[1] - 5, (seed, facts)
        assert rows.min() <= 4, (seed, facts)


def test_half_of_the_existence_questions_get_a_no_and_many_are_hard():
    answers, hard = [], 0
    for seed in range(600):
        rng = random.Random(seed)
        facts = scenes.make_facts(rng)
        question = next(q for q in scenes.questions(facts, rng) if q.task == "scene_exists")
        asked = next(kind for kind in scenes.KINDS if f" {kind} " in question.request)
        present = {subject["kind"] for subject in facts["subjects"]}
        assert question.answers[0] == ("Yes." if asked in present else "No.")
        answers.append(question.answers[0])
        hard += asked not in present and scenes.KINDS[asked] in {scenes.KINDS[kind] for kind in present}
    assert 0.42 < answers.count("Yes.") / len(answers) < 0.58
    assert hard / answers.count("No.") > 0.5


def test_left_of_names_the_next_neighbour():
    def subject(kind, position, row="front"):
        return {"kind": kind, "colour": "red", "pose": "", "pattern": "plain", "gear": None, "position": position,
                "row": row, "box": [0, 0, 1, 1]}  # fmt: skip

    row = [subject("ball", "left"), subject("umbrella", "middle"), subject("balloon", "right")]
    facts = {"place": "park", "light": "noon", "weather": "clear", "landmark": None, "subjects": row}
    asked = {q.request: q.answers[0] for seed in range(80) for q in scenes.questions(facts, random.Random(seed))}
    assert asked["What is to the left of the ball?"] == "Nothing."
    assert asked["What is to the left of the umbrella?"] == "A ball."
    assert asked["What is to the left of the balloon?"] == "An umbrella."


def test_colours_of_facts_are_on_the_picture():
    seen = 0
    for seed in range(60):
        item = items.make_item("scene", seed, difficulty=2)
        pixels = np.asarray(next(iter(item.media.values()))).reshape(-1, 3).astype(int)
        for subject in item.facts["subjects"]:
            palette = scenes.FURS if scenes.KINDS[subject["kind"]] == "animal" else scenes.COLOURS
            distance = np.abs(pixels - np.array(palette[subject["colour"]])).max(axis=1)
            assert (distance <= 2).sum() >= 40, (seed, subject)
            seen += 1
    assert seen > 60


def test_positions_are_left_to_right_and_unlike():
    for seed in range(500):
        subjects = scenes.make_facts(random.Random(seed))["subjects"]
        places = [scenes.POSITIONS.index(subject["position"]) for subject in subjects if subject["row"] == "front"]
        assert places == sorted(set(places)) and 1 <= len(places) <= 3


def test_questions_have_the_answers_of_the_facts():
    dog = {"kind": "dog", "colour": "brown", "pose": "sitting", "position": "left", "row": "front", "gear": None,
           "pattern": "plain", "box": [91, 702, 275, 921]}  # fmt: skip
    facts = {"place": "street", "light": "noon", "weather": "rainy", "landmark": None, "subjects": [dog]}
    asked = {q.request: q.answers[0] for seed in range(80) for q in scenes.questions(facts, random.Random(seed))}
    assert asked["Where is this?"] == "On a street."
    assert asked["Is there a dog in the image?"] == "Yes."
    assert asked["Is there an umbrella in the image?"] == "No."
    assert asked["How many people are there?"] == "0."
    assert asked["How many dogs are there?"] == "1."
    assert asked["What colour is the dog?"] == "Brown."
    assert asked["What is on the left?"] == "A dog."
    assert asked["What is the weather like?"] == "Rainy."
    assert asked["What is the dog doing?"] == "Sitting."
    box = json.loads(asked["Where is the dog? Answer with a box as JSON."])
    assert box == {"bbox_2d": [91, 702, 275, 921], "label": "dog"}


def test_every_task_is_asked_and_answered_in_every_kind():
    for kind in items.KINDS:
        module = items.kind_module(kind)
        seen = set()
        for seed in range(60):
            rng = random.Random(seed)
            offered = module.questions(module.make_facts(rng), rng)
            assert offered[0].task == module.TASKS[0]
            for question in offered:
                assert question.request and question.answers and all(question.answers)
                seen.add(question.task)
        assert seen == set(module.TASKS)
        item = items.make_item(kind, 7)
        assert item.kind == kind and json.loads(json.dumps(item.record())) == item.record()


def test_json_answers_fit_the_schema():
    import jsonschema

    for seed in range(200):
        facts = scenes.make_facts(random.Random(seed))
        jsonschema.validate(json.loads(scenes.facts_as_json(facts)), scenes.json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"place": "moon", "light": "noon", "subjects": []}, scenes.json_schema())


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_sentences_are_reversed_and_within_length(difficulty):
    lengths = set()
    longest = sentences.LONGEST[difficulty]
    for seed in range(1500):
        item = items.make_item("sentence", seed, difficulty)
        sentence = item.facts["sentence"]
        assert item.answer == [sentence[::-1]] and f"'{sentence}'" in item.messages[0]["content"]
        assert sentence == sentence.strip() and 1 <= len(sentence) <= longest
        lengths.add(len(sentence))
    assert {5, longest // 2, longest} <= lengths


def test_daily_questions_have_exact_answers():
    facts = {"sentence": "we love vLLM", "length": 12}
    asked = {q.request: q.answers[0] for seed in range(80) for q in sentences.questions(facts, random.Random(seed))}
    assert asked["How many words are in 'we love vLLM'?"] == "3"
    assert asked["What is the last word of 'we love vLLM'?"] == "vLLM"
    assert asked["What is the first word of 'we love vLLM'?"] == "we"
    assert asked["What day comes after Sunday?"] == "Monday"


def test_training_and_validation_do_not_share_sentences():
    train = {items.make_item("sentence", seed).facts["sentence"] for seed in range(3000)}
    held_out = [items.make_item("sentence", items.VALIDATION_SEED + seed).facts["sentence"] for seed in range(300)]
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


def test_other_line_ends_within_texts_do_not_break_records(tmp_path):
    records = [
        {"item_id": "a", "text": "one\u2028two\u2029three\x85four\x0bfive\x0csix"},
        {"item_id": "b", "text": "\x1c"},
    ]
    written = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    assert len(written.splitlines()) > len(records)
    (tmp_path / "items.jsonl").write_text(written, encoding="utf-8")
    assert items.read_items(tmp_path) == records
    assert next(items.stream_items(str(tmp_path))) == records[0]
    (tmp_path / "items.jsonl").write_bytes(written.replace("\n", "\r\n\r\n").encode())  # an editor of Windows
    assert items.read_items(tmp_path) == records


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(CourseError, match="no kind of item 'recipe'"):
        list(items.write_items("recipe", 1, 0, tmp_path))
    with pytest.raises(CourseError, match="0 items"):
        list(items.write_items("scene", 0, 0, tmp_path))
    with pytest.raises(CourseError, match="seed -1"):
        list(items.write_items("scene", 1, -1, tmp_path))
    with pytest.raises(CourseError, match="no difficulty 4"):
        list(items.write_items("scene", 1, 0, tmp_path, difficulty=4))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CourseError, match="Cannot write"):
        list(items.write_items("scene", 1, 0, blocked))
    with pytest.raises(CourseError, match=r"no items\.jsonl"):
        items.read_items(tmp_path)
    (tmp_path / "items.jsonl").write_text('{"a": 1}\n{"b"')
    with pytest.raises(CourseError, match=r"line 2 is not JSON: Expecting ':' delimiter\."):
        items.read_items(tmp_path)
    (tmp_path / "items.jsonl").write_bytes(b'{"a": 1}\n{"b": "\xff"}\n')
    with pytest.raises(CourseError, match=r"line 2 is not JSON: .* can't decode"):
        items.read_items(tmp_path)


def test_a_new_kind_is_one_module_and_one_line(tmp_path, monkeypatch):
    """Written, drawn and trained on like the others."""
    import sys
    import types

    from toolkit.tiny_model import dataset

    module = types.ModuleType("toolkit.toyworld.dots")
    module.TASKS = ("dots",)
    module.make_facts = lambda rng, difficulty=3: {"dots": rng.randint(1, 9)}
    module.draw = lambda facts, seed: Image.new("RGB", (32, 32), (25 * facts["dots"], 0, 0))
    module.questions = lambda facts, rng: [items.Question("dots", "How many dots?", (str(facts["dots"]),))]
    monkeypatch.setitem(sys.modules, "toolkit.toyworld.dots", module)
    monkeypatch.setitem(items.KINDS, "dot", "dots")
    list(items.write_items("dot", 2, 3, tmp_path))
    records = items.read_items(tmp_path)
    assert [record["item_id"] for record in records] == ["dot-3", "dot-4"]
    assert (tmp_path / "dot-3.png").is_file()
    _, turns = dataset.conversation("dot", 5)
    assert turns[0].request == "How many dots?" and turns[0].medium.getpixel((0, 0))[0] == 25 * int(turns[0].answer)


def test_foreign_pictures_are_of_many_looks_and_never_explained(tmp_path):
    looks = set()
    for seed in range(200):
        item = items.make_item("foreign", seed)
        looks.add(item.facts["look"])
        assert item.answer[0] == "I can't tell." and item.media[f"foreign-{seed}.png"].size == (256, 256)
    assert looks == set(foreign.LOOKS)
    assert {items.make_item("foreign", seed, 1).facts["look"] for seed in range(50)} == {"noise", "blank"}


def test_clips_are_written_as_film_and_as_frames(tmp_path):
    (item,) = items.write_items("clip", 1, 3, tmp_path, frames=True)
    ((name, clip),) = item.media.items()
    assert (tmp_path / name).read_bytes()[4:8] == b"ftyp"
    frames = sorted((tmp_path / name).with_suffix("").glob("*.png"))
    assert len(frames) == len(clip.frames)
    with Image.open(frames[-1]) as last:
        assert np.array_equal(np.asarray(last), np.asarray(clip.frames[-1]))
    assert items.read_items(tmp_path)[0]["messages"][0]["content"][0]["video_url"]["url"] == name

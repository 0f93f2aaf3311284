"""Measuring the tiny models: what counts as right, how sure it is, resuming, agreement, and the card that says it."""

import json
import math
import random
import shutil

import numpy as np
import pytest

from helpers.errors import CourseError
from toolkit.evaluation.metrics.actions import read_actions
from toolkit.tiny_model import (
    agreement,
    architecture,
    dataset,
    evaluation,
    held_out,
    model_card,
    scoring,
    training_log,
)
from toolkit.tiny_model.evaluation import Answer
from toolkit.tiny_model.held_out import HeldOut
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.toyworld import clips
from toolkit.toyworld.items import Clip, make_item

FAMILIES = ("qwen3-vl", "qwen2-vl")


def asked(task, *accepted, facts=None, kind="scene", number=0):
    return HeldOut(task, number, kind, 10_000_000 + number, facts or {}, "?", accepted)


def oracle(items, logprobs=False):
    return [Answer(item.accepted[0]) for item in items]


def mute(items, logprobs=False):
    return [Answer("") for _ in items]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


# ---------------------------------------------------------------- reading answers


def test_unreadable_boxes_earn_nothing_and_are_counted():
    items = [asked("scene_box", '{"bbox_2d": [0, 0, 10, 10], "label": "cat"}')] * 4
    answers = ['{"bbox_2d": [0, 0, 10, 10]}', '{"bbox_2d": [5, 0, 15, 10], "label": "cat"}', "On the left.", "{"]
    scores, right = scoring.score_task("scene_box", items, answers)
    assert scores["boxes, mean IoU"]["value"] == pytest.approx((1 + 1 / 3) / 4, abs=1e-4)
    assert scores["boxes, mean IoU"]["unparsed"] == 2
    assert right == [True, False, False, False]


def test_pope_knows_a_third_state_and_counts_the_model_s_yes():
    items = [asked("scene_exists", *words) for words in 2 * [("Yes.", "yes")] + 4 * [("No.", "no")]]
    scores, right = scoring.score_task("scene_exists", items, ["yes", "Maybe.", "Yes.", "No.", "no", "yes"])
    assert right == [True, False, False, True, True, False]
    accuracy, yes = scores["question, is there (POPE), accuracy"], scores["question, is there (POPE), says yes"]
    assert (accuracy["value"], accuracy["of"], accuracy["unparsed"]) == (0.5, 6, 1)
    assert (yes["value"], yes["of"], yes["right_would_be"]) == (0.6, 5, pytest.approx(2 / 6, abs=1e-4))


def test_refusals():
    facts = make_item("scene", 11_000_000).facts
    answers = [
        "I can't tell.",
        "I can’t tell",
        "I cannot tell.",
        "i can't tell",
        "",
        "I can't tell you much. A dog is there.",
    ]
    items = [asked("scene", "A dog.", facts=facts)] * len(answers)
    scores, _ = scoring.score_task("scene", items, answers)
    assert scores["scenes, wrongly says it can't tell"]["value"] == pytest.approx(4 / 6, abs=1e-4)


def test_any_accepted_wording_is_exact_and_nothing_else():
    items = [asked("scene_place", "On a beach.", "on a beach")] * 4
    answers = ["On a beach.", "on a beach", "On a beach", "On a beach. "]
    scores, right = scoring.score_task("scene_place", items, answers)
    assert right == [True, True, False, False]
    assert scores["question, place"]["value"] == 0.5


def test_clip_descriptions_are_read_back():
    for seed in range(300):
        facts = clips.make_facts(random.Random(seed))
        told = read_actions(clips.describe(facts))
        assert [(one.name, one.direction, one.times, one.thing) for one in told] == [
            (done["action"], done.get("direction"), done.get("count"), done.get("thing")) for done in facts["actions"]
        ]
    assert read_actions("A park.") == []


def test_clip_actions_and_intention_are_judged_apart():
    rng = random.Random(0)
    facts = next(
        facts
        for facts in iter(lambda: clips.make_facts(rng), None)
        if len(facts["actions"]) == 2 and clips.target(facts) and "walks" in clips.describe(facts)
    )
    text = clips.describe(facts)
    way = next(action["direction"] for action in facts["actions"] if "direction" in action)
    other_way = text.replace(f"to the {way}", f"to the {'left' if way == 'right' else 'right'}")
    other_end = text.rsplit(". ", 1)[0] + ". He is going to nod."
    items = [asked("clip", text, facts=facts, kind="clip")] * 4
    scores, right = scoring.score_task("clip", items, [text, other_way, other_end, "A dog."])
    assert right == [True, False, False, False]
    assert scores["clip description, actions"]["value"] == 0.5
    assert scores["clip description, actions"]["unparsed"] == 1
    assert scores["clip description, intention"]["value"] == 0.5


def test_intention_is_judged_only_where_there_is_one():
    rng = random.Random(0)
    aimless = next(facts for facts in iter(lambda: clips.make_facts(rng, 1), None) if not clips.target(facts))
    items = [asked("clip", clips.describe(aimless), facts=aimless, kind="clip")]
    scores, _ = scoring.score_task("clip", items, [items[0].accepted[0]])
    assert scores["clip description, intention"]["value"] is None
    assert scores["clip description, intention"]["of"] == 0


def test_a_pair_counts_only_if_both_clips_are_right():
    items = [item for number in range(3) for item in held_out.held_out("pair_direction", number)]
    answers = [item.accepted[0] for item in items]
    answers[1] = answers[0]
    answers[4] = ""
    scores, right = scoring.score_task("pair_direction", items, answers)
    assert right == [False, True, False]
    assert scores["pairs of clips, direction"]["of"] == 3


def test_of_a_pair_in_speed_only_the_pace_counts():
    items = held_out.held_out("pair_speed", 0)
    first, second = (item.accepted[0] for item in items)
    assert first != second and "walks" in first and "runs" in second
    walk, run = (f"A man in a red jacket {verb} to the left in a park." for verb in ("walks", "runs"))
    for answers, right in (
        ((first, second), True),
        ((walk, run), True),
        ((first, first), False),
        ((second, first), False),
        ((walk, "A man in a red jacket waves once in a park."), False),
        (("", ""), False),
    ):
        assert scoring.score_task("pair_speed", items, list(answers))[1] == [right], answers


def test_character_error_rate_is_pooled_and_may_exceed_one():
    items = [asked("receipt", "abcdefgh"), asked("receipt", "ab")]
    score = scoring.score_task("receipt", items, ["abcdefgX", "ab"])[0]["receipt text, CER"]
    assert score["value"] == 0.1  # the mean of both rates would be 0.0625
    assert scoring.score_task("receipt", items, ["", ""])[0]["receipt text, CER"]["value"] == 1
    assert scoring.score_task("receipt", items, ["abcdefgh", "ab" * 20])[0]["receipt text, CER"]["value"] == 3.8


def test_receipt_json_valid_and_equal_are_different():
    item = held_out.held_out("receipt_json", 0)[0]
    facts = json.loads(item.accepted[0])
    shuffled = json.dumps(dict(reversed(facts.items())))
    wrong_price = json.dumps(facts | {"total": "0.01"})
    no_price = json.dumps(facts | {"total": 0.01})
    answers = [item.accepted[0], shuffled, wrong_price, no_price, f"Here: {item.accepted[0]}"]
    scores, right = scoring.score_task("receipt_json", [item] * 5, answers)
    assert right == [True, True, False, False, False]
    valid = scores["receipt as JSON, valid"]
    assert (valid["value"], valid["unparsed"]) == (0.6, 1)


def test_reversals_by_length():
    items = [asked("sentence", "x", facts={"length": length}, kind="sentence") for length in (3, 16, 17, 32, 40)]
    scores, _ = scoring.score_task("sentence", items, ["x", "x", "y", "x", "y"])
    found = {name: (score["value"], score["of"]) for name, score in scores.items() if name.startswith("reversal, up")}
    assert found == {
        "reversal, up to 16 characters": (1, 2),
        "reversal, up to 32 characters": (0.75, 4),
        "reversal, up to 40 characters": (0.6, 5),
    }


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(("right", "total"), [(0, 1), (10, 10), (8, 10), (475, 500), (0, 500)])
def test_shares_have_wilson_s_interval(right, total):
    score = scoring.share([True] * right + [False] * (total - right))
    z, p = 1.959963984540054, right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    assert score["interval"] == pytest.approx([max(0, middle - half), min(1, middle + half)], abs=1e-4)


def test_ten_of_ten_is_not_always():
    assert scoring.share([True] * 10)["interval"][0] == 0.7225
    assert scoring.ratio([3] * 10, [3] * 10)["interval"] == [0.7225, 1]
    assert scoring.ratio([0] * 10, [3] * 10)["interval"] == [0, 0.2775]


def test_nothing_measured_is_no_score():
    assert scoring.share([])["value"] is None
    assert scoring.ratio([0], [0])["value"] is None


def test_resampling_keeps_an_item_s_facts_together():
    rng = np.random.default_rng(1)
    items = rng.integers(0, 2, 400)
    alone = scoring.ratio(items, np.ones(400))
    wilson = scoring.share(list(items))["interval"]
    assert alone["interval"] == pytest.approx(wilson, abs=0.01)
    # Ten facts of each scene, all right or all wrong, tell no more than one.
    assert scoring.ratio(items * 10, np.full(400, 10))["interval"] == alone["interval"]
    assert scoring.ratio(items, np.ones(400)) == alone


def test_facts_of_scenes_are_pooled_to_one_f1():
    scenes = [make_item("scene", 11_000_000 + number) for number in range(3)]
    facts, right = [item.facts for item in scenes], [item.answer[0] for item in scenes]
    assert scoring.facts_f1(facts, right) == 1
    assert scoring.facts_f1(facts[:1], [""]) == 0
    others = right[1:] + right[:1]
    items = [asked("scene", text, facts=of_scene) for text, of_scene in zip(right, facts, strict=True)]
    scores, _ = scoring.score_task("scene", items, others)
    assert scoring.facts_f1(facts, others) == pytest.approx(scores["scene facts, F1"]["value"], abs=1e-4)
    assert 0 < scoring.facts_f1(facts, others) < 1


def test_all_questions_about_scenes_are_pooled_and_need_all_tasks():
    tasks = {task: {"right": "10", "scores": {}} for task in scoring.QUESTION_TASKS}
    tasks["scene_exists"]["right"] = "11"
    count = len(scoring.QUESTION_TASKS)
    score = scoring.all_scores(tasks)["questions about scenes, exact"]
    assert score["value"] == pytest.approx((count + 1) / (2 * count), abs=1e-4)
    assert (score["of"], score["questions"]) == (2, 2 * count)
    assert (score["target"], score["reached"]) == (["at least", 0.95], False)
    del tasks["scene_pose"]
    assert "questions about scenes, exact" not in scoring.all_scores(tasks)


def test_targets_have_a_direction():
    def reached(name, value):
        return scoring.with_target(name, {"value": value})["reached"]

    assert reached("receipt text, CER", 0.03) and not reached("receipt text, CER", 0.0301)
    assert reached("boxes, mean IoU", 0.8) and not reached("boxes, mean IoU", 0.7999)
    assert not reached("receipt text, CER", None)
    assert "reached" not in scoring.with_target("question, count", {"value": 1})


# ---------------------------------------------------------------- items and prompts


@pytest.mark.parametrize("task", dataset.TASKS)
def test_held_out_items_are_the_trainer_s(task):
    for number in range(3):
        (item,) = held_out.held_out(task, number)
        mine, (turn,) = item.turn(), dataset.validation_turns(task, number)
        assert (mine.request, mine.answer, mine.times) == (turn.request, turn.answer, turn.times)
        assert isinstance(mine.medium, Clip) == isinstance(turn.medium, Clip)
        if isinstance(mine.medium, Clip):
            assert all(map(np.array_equal, mine.medium.frames, turn.medium.frames))
        elif mine.medium is not None:
            assert np.array_equal(mine.medium, turn.medium)


def test_pairs_are_two_clips_with_one_question():
    for task in held_out.PAIR_TASKS:
        first, second = held_out.held_out(task, 1)
        assert first.seed == second.seed and first.facts != second.facts
        assert not set(first.accepted) & set(second.accepted)
        if task != "pair_speed":
            assert first.request == second.request


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_processor_makes_the_trainer_s_prompt(tokenizer, family):
    layout = layout_of(family)
    processor = architecture.build_processor(tokenizer, family)
    for task in ("scene", "receipt", "sentence", "clip", "clip_count", "pair_order"):
        for number in range(6 if task == "clip" else 2):
            for item in held_out.held_out(task, number):
                inputs = held_out.processor_inputs(processor, item)
                assert inputs["input_ids"][0].tolist() == held_out.trained_prompt(tokenizer, item, layout), item


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_makes_the_trainer_s_prompt(tokenizer, family, tmp_path):
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    layout = layout_of(family)
    config = architecture.build_config(tokenizer, family)
    config.architectures = [f"Qwen{family[4]}VLForConditionalGeneration"]
    config.save_pretrained(tmp_path)
    architecture.build_processor(tokenizer, family).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    limits = {"image": 1, "video": 1}
    model = ModelConfig(model=str(tmp_path), dtype="float32", max_model_len=4096, limit_mm_per_prompt=limits)
    vllm_processor = MULTIMODAL_REGISTRY.create_processor(model)
    for task, numbers in (("scene", 1), ("receipt", 2), ("clip", 8), ("pair_speed", 1)):
        for item in (item for number in range(numbers) for item in held_out.held_out(task, number)):
            request = held_out.vllm_request(tokenizer, item, layout)
            media = vllm_processor.info.parse_mm_data(request["multi_modal_data"])
            ids = tokenizer.encode(request["prompt"])
            made = vllm_processor.apply(ProcessorInputs(ids, media), TimingContext())
            assert made["prompt_token_ids"] == held_out.trained_prompt(tokenizer, item, layout), item
            # vLLM normalizes on the device; before that, the patches must be the trainer's.
            example = dataset.encode(tokenizer, [item.turn()], None, layout)
            patches = (example.images or example.videos)[0][0]
            (kind,) = made["mm_kwargs"]
            field = "pixel_values_videos" if kind == "video" else "pixel_values"
            difference = np.abs(made["mm_kwargs"][kind][0][field].data.float().numpy() - patches)
            # Multiples of 28 pixels need resizing, which Pillow and torch round differently.
            assert difference.max() == 0 if family == "qwen3-vl" else difference.mean() < 0.5


# ---------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def bare_model(tokenizer, tmp_path_factory):
    """The files of a model, without one."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("bare")
    architecture.build_config(tokenizer).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["Qwen3VLForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        (folder / name).write_text("{}")
    save_file({"weight": np.zeros((3, 7), dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def model(bare_model, tmp_path):
    """A copy of it to change."""
    return shutil.copytree(bare_model, tmp_path / "model")


def test_an_oracle_gets_everything_right(model):
    found = evaluation.evaluate(model, 4, ask=oracle, quiet=True)
    assert found["model"]["parameters"] == 21 and found["model"]["family"] == "qwen3-vl"
    assert set(found["tasks"]) == set(held_out.TASKS)
    assert set(scoring.TARGETS) <= set(found["scores"])
    for name, score in found["scores"].items():
        if "wrongly" in name or "CER" in name:
            assert score["value"] == 0, name
        elif "says yes" in name:
            assert score["value"] == score["right_would_be"]
        elif score["of"]:
            assert score["value"] == 1, name
        assert score.get("reached", True) and not score.get("unparsed")
    assert not any(record["failures"] for record in found["tasks"].values())


def test_one_who_says_nothing_gets_nothing_and_it_is_not_called_wrong(model):
    found = evaluation.evaluate(model, 4, ask=mute, quiet=True)
    scores = found["scores"]
    assert not any(score["reached"] for score in scores.values() if "reached" in score)
    assert scores["receipt text, CER"]["value"] == 1
    assert scores["scene facts, precision"]["value"] is None
    unparsed = [name for name, score in scores.items() if score.get("unparsed") == 4]
    assert {"boxes, mean IoU", "scene as JSON, equal", "question, is there (POPE), accuracy"} <= set(unparsed)
    assert "none" in evaluation.as_markdown(found) and "**missed**" in evaluation.as_markdown(found)
    record = found["tasks"]["scene"]
    assert (record["right"], record["cut_off"], len(record["failures"])) == ("0000", 0, 4)
    assert record["failures"][2]["number"] == 2 and record["failures"][2]["right"].startswith("A")


def test_answers_that_were_cut_off_are_counted(model):
    def endless(items, logprobs=False):
        return [Answer(item.accepted[0], finished=False) for item in items]

    found = evaluation.evaluate(model, 2, tasks=["foreign", "sentence"], ask=endless, quiet=True)
    assert found["tasks"]["sentence"]["cut_off"] == 2
    assert list(found["tasks"]) == ["sentence", "foreign"]


class Counting:
    """Answers right, remembers what it was asked, and may break down."""

    def __init__(self, breaks_at=None):
        self.tasks, self.breaks_at = [], breaks_at

    def __call__(self, items, logprobs=False):
        if items[0].task == self.breaks_at:
            raise KeyboardInterrupt
        self.tasks.append(items[0].task)
        return oracle(items)


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(model, tmp_path):
    out, tasks = tmp_path / "new" / "evaluation.json", ["scene_place", "scene_light", "sentence"]
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(model, 3, out=out, tasks=tasks, ask=Counting("sentence"), quiet=True)
    assert list(json.loads(out.read_text())["tasks"]) == ["scene_place", "scene_light"]
    again = Counting()
    whole = evaluation.evaluate(model, 3, out=out, tasks=tasks, ask=again, quiet=True)
    assert again.tasks == ["sentence"]
    assert json.loads(out.read_text()) == json.loads(json.dumps(whole))
    assert set(whole["tasks"]) == set(tasks) and whole["scores"]["question, place"]["value"] == 1
    more = Counting()
    evaluation.evaluate(model, 3, out=out, tasks=["foreign"], ask=more, quiet=True)
    assert more.tasks == ["foreign"] and set(json.loads(out.read_text())["tasks"]) == {*tasks, "foreign"}


@pytest.mark.parametrize("change", ["weights", "count", "versions", "torn", "world"])
def test_what_was_measured_otherwise_is_measured_again(model, tmp_path, monkeypatch, change):
    out, count = tmp_path / "evaluation.json", 3
    evaluation.evaluate(model, count, out=out, tasks=["scene_place"], ask=oracle, quiet=True)
    if change == "weights":
        weights = bytearray((model / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (model / "model.safetensors").write_bytes(weights)
    elif change == "count":
        count = 4
    elif change == "versions":
        monkeypatch.setattr(evaluation, "installed_versions", lambda names: {"vllm": "0"})
    elif change == "torn":
        out.write_text(out.read_text()[:100])
    else:
        monkeypatch.setattr(HeldOut, "medium", lambda self: __import__("PIL.Image").Image.new("RGB", (8, 8)))
    again = Counting()
    found = evaluation.evaluate(model, count, out=out, tasks=["scene_place"], ask=again, quiet=True)
    assert again.tasks == ["scene_place"]
    assert found["setting"]["items_per_task"] == count == len(found["tasks"]["scene_place"]["right"])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"tasks": ["scene", "weather"]}, "no task 'weather'"),
        ({"count": -1}, "-1 items"),
        ({"count": 0}, "0 items"),
    ],
)
def test_bad_requests_are_refused(model, request_, message):
    with pytest.raises(CourseError, match=message):
        evaluation.evaluate(model, **{"count": 1, **request_}, ask=oracle, quiet=True)


def test_a_folder_without_a_model_is_refused(model, tmp_path):
    (model / "chat_template.jinja").unlink()
    with pytest.raises(CourseError, match=r"chat_template\.jinja is missing"):
        evaluation.evaluate(model, 1, ask=oracle, quiet=True)
    with pytest.raises(CourseError, match=r"model\.safetensors is missing"):
        evaluation.evaluate(tmp_path / "nowhere", 1, ask=oracle, quiet=True)


def test_command_line_names_the_mistake(capsys, monkeypatch):
    from course import cli as main

    monkeypatch.setattr("sys.argv", ["helpers", "evaluate-tiny", "--tasks", "scene,weather", "--count", "1"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 1
    assert "no task 'weather'" in capsys.readouterr().err


def test_an_engine_that_lays_out_another_prompt_is_refused(tokenizer):
    engine = evaluation.VllmEngine.__new__(evaluation.VllmEngine)
    engine.tokenizer, engine.layout = tokenizer, layout_of("qwen3-vl")
    (item,) = held_out.held_out("clip", 0)
    prompt = held_out.trained_prompt(engine.tokenizer, item, engine.layout)
    engine._check_prompt(item, prompt)
    with pytest.raises(CourseError, match="not what the model was trained with"):
        engine._check_prompt(item, prompt[:-1])


# ---------------------------------------------------------------- agreement


def wrote(tokens, lead=1.0):
    """Of a vocabulary of five tokens, each token is ahead of all others by ``lead``."""
    table = np.full((len(tokens), 5), -2.0, dtype=np.float32)
    table[np.arange(len(tokens)), tokens] += lead
    return table


def told(tokens, lead=1.0):
    return [dict(enumerate(row.tolist())) for row in wrote(tokens, lead)]


def agree(ours, theirs, lead=1.0, other_lead=1.0):
    items = [asked("scene_place", "x")]
    return agreement.compared(
        items,
        [Answer("", tuple(ours), True, told(ours, lead))],
        [agreement.Reference(tuple(theirs), wrote(theirs, other_lead))],
    )


def test_equal_answers_agree():
    found = agree([1, 2, 3], [1, 2, 3], other_lead=1.25)
    assert (found["agree"], found["tokens"], found["largest_gap"]) == (1, 3, 0.25)
    assert not found["differences"]


def test_the_first_difference_is_shown_with_both_leads():
    found = agree([1, 2, 3, 4], [1, 2, 4, 4], lead=0.5, other_lead=0.25)
    (difference,) = found["differences"]
    assert (found["agree"], found["tokens"], difference["position"], difference["near_tie"]) == (0, 2, 2, False)
    assert difference["vllm"] == {"token": "3", "lead": 0.5}
    assert difference["transformers"] == {"token": "4", "lead": 0.25}
    assert "not a tie" in agreement.as_text(found)


def test_a_tie_must_be_one_on_both_sides():
    assert agree([1, 2], [1, 3], 1e-5, 1e-5)["near_ties"] == 1
    assert agree([1, 2], [1, 3], 1e-5, 0.5)["near_ties"] == 0
    assert agree([1, 2], [1, 3], 0.5, 1e-5)["near_ties"] == 0


def test_a_longer_answer_is_a_difference_and_no_tie():
    found = agree([1, 2], [1, 2, 3])
    assert found["agree"] == 0 and found["differences"][0]["position"] == 2 and found["near_ties"] == 0
    assert "continues" in agreement.as_text(found)


def test_a_token_that_vllm_did_not_tell_is_no_tie():
    answer = Answer("", (2,), True, [{2: -1.0}])
    found = agreement.compared([asked("scene_place", "x")], [answer], [agreement.Reference((3,), wrote([3], 1e-5))])
    assert found["differences"][0]["vllm"]["lead"] is None and found["near_ties"] == 0


def test_agreement_takes_items_of_all_tasks_in_turn():
    items = evaluation.spread_items(2 * len(dataset.TASKS) + 1)
    assert [item.task for item in items[: len(dataset.TASKS)]] == list(dataset.TASKS)
    assert items[-1].task == dataset.TASKS[0] and items[-1].number == 2


def test_agreement_is_added_to_what_was_measured(model, tmp_path, monkeypatch):
    out = tmp_path / "evaluation.json"
    evaluation.evaluate(model, 3, out=out, tasks=["sentence"], ask=oracle, quiet=True)
    before = json.loads(out.read_text())
    seen = {}

    def compare(folder, items, answers, max_tokens, quiet):
        seen.update(items=items, answers=answers)
        return {"items": len(items)}

    monkeypatch.setattr(evaluation, "compare_with_transformers", compare)
    evaluation.evaluate(model, 0, out=out, agreement=30, ask=oracle, quiet=True)
    after = json.loads(out.read_text())
    assert after.pop("agreement")["items"] == len(seen["items"]) == len(seen["answers"]) == 30
    assert after == before


# ---------------------------------------------------------------- the card


NOTES = """\
preset: cpu
trained: 2026-11-22
trained_on: an abacus
weaknesses: [It mistakes cats for dogs.]
"""


@pytest.fixture
def described(model):
    """A model that answers half of everything, its log and its notes."""

    def half(items, logprobs=False):
        return [Answer(item.accepted[0] if index % 2 else "") for index, item in enumerate(items)]

    (model / model_card.NOTES).write_text(NOTES)
    lines = [
        {"minutes": 2.0 * step, "step": step, "examples": 16 * step, "loss": 4 / step, "scene_exact": step / 100}
        for step in range(1, 51)
    ]
    (model / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    measured = evaluation.evaluate(model, 4, out=model / model_card.EVALUATION, ask=half, quiet=True)
    return model, measured


def test_card_says_every_score_and_which_targets_are_missed(described):
    model, measured = described
    text = model_card.write_card(model).read_text(encoding="utf-8")
    for name, score in measured["scores"].items():
        low, high = score["interval"]
        assert f"| {name} | {score['value']:.3f} | {low:.3f} to {high:.3f} | {score['of']} |" in text
        if "reached" in score:
            row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
            assert ("**missed**" in row) != score["reached"]
    missed = [name for name, score in measured["scores"].items() if score.get("reached") is False]
    assert missed and f"missed are: {'; '.join(missed)}." in text
    assert f"Reached are {len(scoring.TARGETS) - len(missed)} of {len(scoring.TARGETS)}" in text
    assert "2 of 4 (boxes, mean IoU)" in text
    assert "Not measured" not in text and "Not compared." in text


def test_card_says_recipe_machine_weaknesses_and_learning_curve(described):
    model, measured = described
    text = model_card.write_card(model).read_text(encoding="utf-8")
    for part in (
        "It mistakes cats for dogs.",
        "on an abacus; 2026-11-22",
        "--family qwen3-vl --preset cpu --out DIR --steps 50",
        "Muon (peak 0.0045",
        "AdamW (peak 0.0015",
        "800 conversations in 50 steps of 16",
        "hidden 192, 4 layers, 4 query and 2 KV heads of 64, MLP 512, tied embeddings",
        measured["machine"],
        measured["date"],
        measured["command"],
        f"vLLM {measured['versions']['vllm']}",
        "| 100 | 50 | 800 | 0.080 | 0.500 |",
    ):
        assert part in text, part
    for task in dataset.TASKS:
        assert held_out.held_out(task, 0)[0].request in text, task


def test_card_lists_the_stages_before_the_last(described):
    model, _ = described
    single = model_card.write_card(model).read_text(encoding="utf-8")
    assert "--start-from" not in single and "last stage" not in single and "weights from seed 0" in single
    stages = "stages:\n  - {preset: cpu, steps: 40}\n  - {preset: strips, steps: 7, note: cut at noon}\n"
    (model / model_card.NOTES).write_text(NOTES.replace("preset: cpu", "preset: read") + stages)
    text = model_card.write_card(model).read_text(encoding="utf-8")
    assert "--preset read --out DIR --start-from THE-STAGE-BEFORE --steps 50" in text
    assert "1. `python -m course train --family qwen3-vl --preset cpu --out DIR --steps 40`\n" in text
    assert "--preset strips --out DIR --start-from THE-STAGE-BEFORE --steps 7` (cut at noon)" in text
    assert "weights from seed" not in text
    assert "no example twice within the last stage |" in text and "no example twice; weights" in single


def test_history_joins_the_stages_and_keeps_scores_of_easy_items_out(described):
    model, _ = described
    stages = "stages:\n  - {preset: cpu, steps: 40}\n  - {preset: strips, steps: 7}\n"
    (model / model_card.NOTES).write_text(NOTES.replace("preset: cpu", "preset: read") + stages)
    with pytest.raises(CourseError, match="'cpu'"):
        training_log.history_of(model)
    for preset, field in (("cpu", "scene_exact"), ("strips", "receipt_exact")):
        folder = model / training_log.STAGES / preset
        folder.mkdir(parents=True)
        lines = [{"minutes": 1.5 * n, "step": n, "examples": 16 * n, "loss": 2.0, field: 0.5} for n in (1, 2)]
        (folder / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = training_log.history_of(model)
    assert told.starts == {"cpu": 0, "strips": 32, "read": 64}
    assert told.log[:2] == lines_of(model / training_log.STAGES / "cpu")
    assert told.log[2] == {"minutes": 4.5, "step": 3, "examples": 48, "loss": 2.0}
    assert told.log[4] == {"minutes": 8.0, "step": 5, "examples": 80, "loss": 4.0, "scene_exact": 0.01}
    assert len(told.log) == 2 + 2 + 50


def lines_of(folder):
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def test_learning_curve_is_short_and_ends_with_the_last_line():
    log = [{"minutes": n, "step": n, "examples": n, "loss": 1.0, "foreign_exact": n / 100} for n in range(1, 51)]
    steps = [line.split(" | ")[1] for line in model_card.curve(log).splitlines()[2:]]
    assert len(steps) == model_card.CURVE_LINES and steps[-1] == "50" and steps == sorted(set(steps), key=int)
    assert len(model_card.curve(log[:3]).splitlines()) == 2 + 3
    assert model_card.curve(log).splitlines()[0].endswith("| training loss | foreign |")


def test_card_tells_partial_measurements_and_agreement(described):
    model, _ = described
    (model / model_card.EVALUATION).unlink()
    measured = evaluation.evaluate(model, 2, tasks=["scene", "foreign"], ask=oracle, quiet=True)
    measured["agreement"] = {**agree([1, 2], [1, 3], 1e-5, 1e-5), "date": "2026-01-02", "command": "CMD"}
    text = model_card.write_card(model, measured).read_text(encoding="utf-8")
    assert "Not measured: scene_json, " in text
    assert "All 1 are reached." in text
    assert "0 of 1 answers are the same" in text and "a tie" in text and "1 of 1 prompts" in text


def test_card_takes_the_recipe_from_the_training_s_state(described):
    import torch

    from toolkit.tiny_model.checkpoint import STATE_FILE
    from toolkit.tiny_model.presets import find_preset

    model, _ = described
    preset = find_preset("cpu").model_dump() | {"learning_rate": 0.123, "steps": 50}
    torch.save({"run": {"preset": preset, "seed": 7, "processes": 2}}, model / STATE_FILE)
    text = model_card.write_card(model).read_text(encoding="utf-8")
    assert "AdamW (peak 0.123" in text and "--out DIR --seed 7`" in text and "50 steps of 32" in text


def test_card_of_other_weights_is_refused(described):
    model, _ = described
    (model / "chat_template.jinja").write_text("{ }")
    with pytest.raises(CourseError, match="not about the model"):
        model_card.write_card(model)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (None, r"no card\.yaml"),
        (NOTES.replace("an abacus", ""), "trained_on"),
        (NOTES.replace("weaknesses", "strengths"), "weaknesses"),
        (NOTES + "speed: 1\n", "speed"),
        ("- x\n", "not a mapping"),
    ],
)
def test_card_needs_the_words_of_a_person(described, notes, message):
    model, _ = described
    if notes is None:
        (model / model_card.NOTES).unlink()
    else:
        (model / model_card.NOTES).write_text(notes)
    with pytest.raises(CourseError, match=message):
        model_card.write_card(model)


def test_card_needs_a_measurement_and_a_log(described):
    model, _ = described
    (model / "training_log.jsonl").unlink()
    with pytest.raises(CourseError, match="training_log"):
        model_card.write_card(model)
    (model / model_card.EVALUATION).unlink()
    with pytest.raises(CourseError, match=r"evaluation\.json"):
        model_card.write_card(model)

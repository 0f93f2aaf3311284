"""From transcripts to verdicts: each task's score, failures that are no scores, pairs, and what else differs."""

import json

import pandas
import pytest

from helpers.errors import CourseError
from tests.support.transcripts import append
from toolkit.evaluation.inference.transcripts import Medium, Transcript
from toolkit.evaluation.metrics.confounds import find_confounds
from toolkit.evaluation.metrics.scoring import compare, runs_of, score_answer, score_runs
from toolkit.toyworld.items import read_items
from toolkit.toyworld.questions import write_questions

COUNTS = {
    "scene": 8, "scene_exists": 8, "scene_box": 4, "scene_json": 4, "receipt": 4, "clip": 4,
    "sentence": 8, "pair_direction": 6,
}  # fmt: skip


def to_frame(scored):
    """A row per answer, with its scores."""
    return pandas.DataFrame([{"run": one.run, "task": one.task} | one.scores for one in scored])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    list(write_questions(folder, COUNTS, 11_500_000))
    return folder


def transcript(record, text, run="one", **what):
    what = {"model": f"model-{run}", "status": "ok", "sampling": {"temperature": 0.0}, "server": "vllm"} | what
    return Transcript(
        run=run, item_id=record["item_id"], request_hash="0" * 64, time="2026-11-22T00:00:00Z", origin="run", text=text,
        media=[Medium(path=name, sha256="0" * 64, width=1, height=1) for name in record["media"]], **what,
    )  # fmt: skip


def answered(folder, path, run, answer, **what):
    append(path, (transcript(record, answer(record), run, **what) for record in read_items(folder)))


def the_reference(record):
    return record["answer"][0]


def nonsense(record):
    return "Perhaps."


@pytest.fixture(scope="module")
def scored(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("transcripts") / "all.jsonl"
    answered(folder, path, "oracle", the_reference)
    answered(folder, path, "nonsense", nonsense)
    return score_runs(folder, path)


def test_references_are_right_and_nonsense_is_not(scored):
    assert runs_of(scored) == ["oracle", "nonsense"]
    frame = to_frame(scored)
    oracle, other = (frame[frame.run == run] for run in ("oracle", "nonsense"))
    assert (oracle.drop(oracle[oracle.task == "scene"].index).right == 1).all()
    assert (oracle[oracle.task == "scene"].fact_f1 == 1).all()
    assert (other.right.dropna() == 0).all() and (other[other.task == "scene"].fact_f1 == 0).all()
    assert (other[other.task == "scene_exists"].parsed == 0).all()


def test_the_verdict_names_who_is_better(scored):
    table = compare(scored, "nonsense", "oracle").set_index(["task", "measure"])
    assert table.verdict["scene", "fact_f1"] == "second is better"
    assert table.verdict["sentence", "cer"] == "second is better", "of an error rate, less is better"
    assert table["first"]["sentence", "cer"] > table["second"]["sentence", "cer"] == 0
    assert table.verdict["scene", "words"] == "second is higher", "longer is not better"
    same = compare(scored, "oracle", "oracle")
    assert set(same.verdict) == {"no difference shown"}


def test_a_pair_counts_once_and_only_if_both_are_right(folder, tmp_path):
    path = tmp_path / "pairs.jsonl"
    answered(folder, path, "oracle", the_reference)
    answered(folder, path, "always left", lambda record: "To the left.")
    row = compare(score_runs(folder, path), "oracle", "always left").set_index("task").loc["pair_direction"]
    assert row.n == 6 and row["first"] == 1 and row["second"] == 0
    frame = to_frame(score_runs(folder, path))
    halves = frame[(frame.run == "always left") & (frame.task == "pair_direction")].right
    assert halves.mean() == 0.5, "half of the clips, though no pair"


def test_a_failure_is_no_score_and_bounds_the_verdict(folder, tmp_path):
    path = tmp_path / "failures.jsonl"
    answered(folder, path, "oracle", the_reference)
    for number, record in enumerate(read_items(folder)):
        failed = {"status": "error", "error": "out of memory"}
        one = transcript(record, None, "weak", **failed) if number % 4 else transcript(record, nonsense(record), "weak")
        append(path, [one])
    scored = score_runs(folder, path)
    assert all(not one.scores for one in scored if one.failed)
    failed = [one for one in scored if one.transcript.status == "error"]
    assert failed and not any(one.scores or one.transcript.text for one in failed)
    row = compare(scored, "oracle", "weak").set_index(["task", "measure"]).loc["scene_exists", "right"]
    assert (row.failed_first, row.failed_second) == (0, 6)
    assert row.difference == 1 and row.worst == 0.25 and row.best == 1
    assert row.verdict == "no difference shown", "had the failed answers been right, it would not be sure"


def test_what_a_measure_does_not_apply_to_is_no_failure(tmp_path):
    """Of 25 clips 20 ask what comes next; the other run has no answer to one of these, nor to one of the others."""
    wave, guess = "A man in a red jacket waves in a park.", " He is going to kick the ball."
    message = [{"role": "user", "content": "What happens?"}]
    records = [
        {"item_id": f"c-{n}", "task": "clip", "media": [], "messages": message, "answer": [wave + guess * (n < 20)]}
        for n in range(25)
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    path = tmp_path / "t.jsonl"
    answered(tmp_path, path, "oracle", the_reference)
    failed = {"text": None, "status": "error", "error": "out of memory"}
    for record in records:
        what = failed if record["item_id"] in ("c-0", "c-24") else {"text": nonsense(record)}
        append(path, [transcript(record, run="weak", **what)])
    table = compare(score_runs(tmp_path, path), "oracle", "weak").set_index("measure")
    told = table[["n", "failed_first", "failed_second", "worst", "best"]]
    assert tuple(told.loc["intention"]) == (20, 0, 1, 0.95, 1)
    assert tuple(told.loc["actions"]) == (25, 0, 2, 0.92, 1)


@pytest.mark.parametrize("task", ["receipt", "sentence", "scene_box", "scene_json", "receipt_json", "clip", "own"])
def test_an_item_without_an_accepted_answer_is_neither_right_nor_wrong(task):
    record = {"item_id": "x", "task": task, "messages": [{"role": "user", "content": "Read it."}], "answer": []}
    assert score_answer(record, "Some tea.")[0] == {"right": None, "words": 2}


def test_numbers_beyond_all_measure_are_wrong_answers():
    message = [{"role": "user", "content": "How many?"}]
    count = {"item_id": "x", "task": "scene_count", "messages": message, "answer": ["2."]}
    assert score_answer(count, f"There are {'2' * 5000}.")[0]["right"] == 0
    box = count | {"task": "scene_box", "answer": ['{"bbox_2d": [1, 2, 3, 4]}']}
    scores, _ = score_answer(box, f'{{"bbox_2d": [1, 2, 3, {"4" * 400}]}}')
    assert (scores["right"], scores["iou"], scores["parsed"]) == (0, 0, 0)


def test_a_truncated_answer_is_scored_by_what_is_there(folder, tmp_path):
    path = tmp_path / "cut.jsonl"
    append(path, [transcript(read_items(folder)[0], "A dog", status="truncated", finish_reason="length")])
    (one,) = score_runs(folder, path)
    assert not one.failed and one.scores["words"] == 2 and one.transcript.status == "truncated"


def test_fenced_json_and_boxes_are_read(folder):
    records = {record["task"]: record for record in read_items(folder)}
    for task in ("scene_json", "scene_box"):
        fenced = f"```json\n{the_reference(records[task])}\n```"
        assert score_answer(records[task], fenced)[0]["right"] == 1
    scores, _ = score_answer(records["scene_box"], "Over there.")
    assert scores == {"right": 0, "iou": 0, "parsed": 0, "words": 2}


def test_own_items_and_own_metrics(tmp_path):
    records = [
        {"item_id": f"mine-{n}", "messages": [{"role": "user", "content": "Say yes."}], "answer": "yes"} for n in (1, 2)
    ]
    lines = (json.dumps(record | {"media": []}) for record in records)
    (tmp_path / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for run, text in (("short", "yes"), ("long", "yes, yes")):
        answered(tmp_path, tmp_path / "t.jsonl", run, lambda record, text=text: text)
    scored = score_runs(tmp_path, tmp_path / "t.jsonl", {"commas": lambda record, text: float(text.count(","))})
    table = compare(scored, "short", "long").set_index("measure")
    assert set(table.task) == {"own"} and table["second"]["right"] == 0
    assert table.difference["commas"] == -1


def test_what_else_differs_is_told(folder, tmp_path):
    path = tmp_path / "differ.jsonl"
    answered(folder, path, "a", nonsense, model="Qwen2-VL-2B-Instruct", server_version="0.32.0")
    answered(folder, path, "b", nonsense, model="Qwen3-VL-8B-Instruct", server_version="0.32.0", sampling={"top_p": 1})
    told = " ".join(find_confounds(score_runs(folder, path)))
    assert "sampling fields differs" in told and "temperature" in told
    assert "not of one size" in told and "8.767 billion" in told
    assert "server differs" not in told and "same bytes" not in told
    assert "Training differs" in told


def test_mistakes_are_named(folder, scored, tmp_path):
    with pytest.raises(CourseError, match="no run 'orakel'"):
        compare(scored, "orakel", "nonsense")
    strange = {"item_id": "scene-1", "media": []}
    append(tmp_path / "strange.jsonl", [transcript(strange, "x")])
    with pytest.raises(CourseError, match="scene-1, which is not among the items"):
        score_runs(folder, tmp_path / "strange.jsonl")


def test_descriptions_of_photographs_are_scored_by_what_they_mention():
    facts = {"said": [{"fact": "a cat", "words": ["cat"]}, {"fact": "green eyes", "words": ["green", "eyes"]}]}
    record = {
        "item_id": "x",
        "task": "photo",
        "messages": [{"role": "user", "content": "?"}],
        "answer": [],
        "facts": facts,
    }
    scores, _ = score_answer(record, "A **cat** looks up. Its eyes are not green.")
    assert (scores["right"], scores["stated"], scores["facts"]) == (None, 1, 2)

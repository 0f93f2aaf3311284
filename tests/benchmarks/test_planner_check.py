"""Predictions of the planner against a running engine: today at a tiny size, on record at released sizes."""

import json
import os

import pytest

from benchmarks.planner_check import RECORD, STAND_IN, check, prediction
from helpers.model_facts import load_catalogue, read_model_facts
from tests.support.ask_vllm import answer_of
from toolkit.planner.estimates import item_tokens

CATALOGUE = load_catalogue()
#: Bytes of cache; neither is a whole number of blocks, and 5,000 tokens are no whole number of blocks either.
SIZES = [100_000_000, 200_000_000]
LENGTHS = [4096, 5000]
VIDEO_PIXELS = json.loads((STAND_IN / "processor_config.json").read_text())["video_processor"]["size"]["longest_edge"]
BIG = pytest.mark.skipif(os.environ.get("COURSE_BIG_TESTS") != "1", reason="absent: COURSE_BIG_TESTS=1")

ASK_ENGINE = """
import json, sys
from pathlib import Path
from benchmarks.planner_check import engine_report, STAND_IN
reports = [engine_report(STAND_IN, size, dtype="bfloat16", max_model_len=length, items=True)
           for size, length in json.loads(sys.argv[1])]
Path(sys.argv[2]).write_text(json.dumps(reports))
"""


@pytest.mark.engine
@pytest.mark.slow
def test_the_engine_makes_the_predicted_blocks_tokens_and_weights(tmp_path):
    runs = list(zip(SIZES, LENGTHS, strict=True))
    facts = read_model_facts(STAND_IN)
    for (size, length), report in zip(runs, answer_of(ASK_ENGINE, runs, tmp_path), strict=True):
        expected = prediction(facts, size, dtype="bfloat16", max_model_len=length)
        items = report.pop("item_tokens")
        assert report == expected
        ours = item_tokens(facts, video_pixels=VIDEO_PIXELS, max_model_len=length)
        assert items == {"image": ours["image"], "video": ours["video"]}


def test_the_recorded_checks_are_what_the_planner_predicts_today():
    entries = json.loads(RECORD.read_text())
    assert {entry["model"] for entry in entries} >= {"Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-4B-Instruct"}
    for entry in entries:
        facts = CATALOGUE[entry["model"]]
        settings = {"dtype": entry["dtype"], "max_model_len": entry["max_model_len"]}
        ours, engine = prediction(facts, entry["cache_bytes"], **settings), entry["engine"]
        assert ours["blocks"] == engine["blocks"] and ours["weight_bytes"] == engine["weight_bytes"]
        assert abs(ours["tokens"] - engine["tokens"]) <= engine["block_tokens"]


@BIG
@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", ["2B", "4B"])
def test_the_engine_agrees_at_released_sizes(size):
    import psutil

    model = f"Qwen/Qwen3-VL-{size}-Instruct"
    needed = CATALOGUE[model].weight_bytes() * 1.3 + 4 * 2**30
    if psutil.virtual_memory().available < needed:
        pytest.skip(f"absent: {needed / 2**30:.0f} GiB of free memory")
    assert [check(model, gib)["same_blocks"] for gib in (1, 2)] == [True, True]

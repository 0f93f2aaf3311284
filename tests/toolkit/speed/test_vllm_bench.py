"""vLLM's benchmark tool: its recorded results read into frames, its failures told, and one real run with a key."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.errors import CourseError
from helpers.profiles import COURSE_ROOT, TINY
from tests.support.ended import assert_ended
from toolkit.speed import vllm_bench
from toolkit.speed.vllm_bench import ToolRun

DATA = Path(__file__).with_name("data")


def recorded():
    """A run of the real tool (vLLM 0.32 on a CPU, the tiny model), kept as it came."""
    kept = json.loads((DATA / "vllm_bench_serve.json").read_text())
    return ToolRun(tuple(kept["command"]), kept["data"])


# ---------------------------------------------------------------- what it says


def test_times_of_requests_are_those_of_the_tool_and_the_first_text_comes_after_the_role():
    run = recorded()
    frame = run.answered()
    assert frame["e2e_ms"].median() == pytest.approx(run.data["p50_e2el_ms"])
    assert frame["tpot_ms"].quantile(0.95) == pytest.approx(run.data["p95_tpot_ms"])
    first = frame["first_text_ms"] - [1000 * seconds for seconds in run.data["ttfts"]]
    assert first.tolist() == pytest.approx([1000 * gaps[0] for gaps in run.data["itls"]])
    assert frame["start_s"].min() == 0 and frame["answer_tokens"].sum() == run.data["total_output_tokens"]


def test_failed_requests_and_answers_of_one_token():
    run = recorded()
    data = copy.deepcopy(run.data)
    data["errors"][2], data["ttfts"][2], data["itls"][2] = "Bad Request", 0.0, []
    data["latencies"][2], data["output_lens"][2], data["output_lens"][0] = 0.0, 0, 1
    frame = replace(run, data=data).answered()
    assert list(frame.index) == [0, 1, 3, 4, 5]
    assert frame["tpot_ms"].isna().tolist() == [True, False, False, False, False]


# ---------------------------------------------------------------- running it


@pytest.mark.parametrize("options", [{"count": 0}, {"concurrency": 0}, {"images": -1}, {"answer_tokens": 0}])
def test_options_that_the_tool_would_misread_are_refused(options):
    with pytest.raises(CourseError, match="refused"):
        vllm_bench.random_requests(**{"count": 5, "concurrency": 1, **options})


def run_program(code, seconds=30.0):
    return vllm_bench._run(["python", "-c", code], {"A": "b"}, seconds)


def test_a_result_comes_back():
    code = (
        "import os, sys; path = os.path.join(sys.argv[2], sys.argv[4]); "
        "open(path, 'w').write('{\"a\": \"%s\"}' % os.environ['A']); print('hi')"
    )
    run = run_program(code)
    assert run.data == {"a": "b"} and run.command[0] == "python"


def test_a_failed_run_shows_the_end_of_its_output():
    with pytest.raises(CourseError) as caught:
        run_program("print('first'); raise SystemExit('ValueError: the reason')")
    assert "ValueError: the reason" in caught.value.cause and "status 1" in caught.value.what
    with pytest.raises(CourseError, match="status 0"):  # no result is a failure, too
        run_program("pass")


def test_a_run_that_hangs_is_ended_with_its_children(tmp_path):
    code = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(CourseError, match="did not end within 2 s"):
        run_program(code, 2.0)
    assert_ended([int((tmp_path / "pid").read_text())], seconds=0)


@pytest.mark.slow
def test_a_real_run(server):
    options = vllm_bench.random_requests(5, 2, prompt_tokens=8, answer_tokens=6, images=1)
    run = vllm_bench.bench_serve(server, COURSE_ROOT / "data" / TINY, options)
    assert run.answered()["answer_tokens"].tolist() == [6] * 5
    assert server.api_key not in " ".join(run.command)

"""vLLM's benchmark tool: its recorded results read into frames, its failures told, and one real run with a key."""

import copy
import datetime
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.errors import CourseError
from helpers.profiles import COURSE_ROOT, TINY
from helpers.provenance import MachineRecord
from tests.support.ended import assert_ended
from toolkit.speed import vllm_bench
from toolkit.speed.bench_frames import gaps_frame, goodput, latency_frame, requests_frame, throughput_frame
from toolkit.speed.vllm_bench import ToolRun

DATA = Path(__file__).with_name("data")
SLO = {"ttft": 150, "e2el": 400}


def recorded(tool="serve"):
    """A run of the real tool (vLLM 0.32 on a CPU, the tiny model), kept as it came."""
    kept = json.loads((DATA / f"vllm_bench_{tool}.json").read_text())
    return ToolRun(
        tool,
        tuple(kept["command"]),
        kept["data"],
        MachineRecord(**kept["machine"]),
        kept["versions"],
        datetime.datetime.fromisoformat(kept["started"]),
        kept["seconds"],
        kept.get("output", ""),
    )


def changed(**data):
    run = recorded()
    return replace(run, data=copy.deepcopy(run.data) | data)


# ---------------------------------------------------------------- frames


def test_percentiles_from_the_lists_are_the_tools_own():
    run = recorded()
    frame = latency_frame(run).set_index("metric")
    for metric, name in (("ttft", "ttft"), ("tpot", "tpot"), ("e2e", "e2el")):
        for share in ("p50", "p95", "p99", "mean"):
            assert frame.loc[metric, share] == pytest.approx(run.data[f"{share}_{name}_ms"])


def test_the_gap_behind_the_role_is_no_inter_token_latency():
    run = recorded()
    gaps, frame = gaps_frame(run), latency_frame(run).set_index("metric")
    assert len(gaps) == run.data["total_output_tokens"] - run.data["completed"]
    with_role = [1000 * gap for one in run.data["itls"] for gap in one]
    assert np.percentile(with_role, 50) == pytest.approx(run.data["p50_itl_ms"])
    assert frame.loc["itl", "p50"] > run.data["p50_itl_ms"]
    first = requests_frame(run)["first_text_ms"] - requests_frame(run)["ttft_ms"]
    assert first.tolist() == pytest.approx([1000 * one[0] for one in run.data["itls"]])
    # Other endpoints send no such chunk.
    assert len(gaps_frame(changed(backend="openai"))) == len(with_role)


def test_throughput_is_the_tools_own():
    run = recorded()
    values = throughput_frame(run).set_index("metric")["value"]
    assert values["requests"] == pytest.approx(run.data["request_throughput"])
    assert values["answer tokens"] == pytest.approx(run.data["output_throughput"])
    assert values["all tokens"] == pytest.approx(run.data["total_token_throughput"])


def test_every_row_says_where_and_how():
    run = recorded()
    for frame in (requests_frame(run), latency_frame(run), throughput_frame(run)):
        assert frame["machine"].str.contains("GiB RAM").all()
        assert frame["versions"].str.contains("vllm 0.32").all()
        assert frame["command"].str.startswith("vllm bench serve --backend openai-chat").all()
    assert "/tmp" not in " ".join(run.command)


def test_failed_requests_count_nowhere_but_as_failures():
    run = recorded()
    data = copy.deepcopy(run.data)
    data["errors"][2], data["ttfts"][2], data["itls"][2] = "Bad Request", 0.0, []
    data["latencies"][2], data["output_lens"][2] = 0.0, 0
    data["completed"], data["failed"] = data["completed"] - 1, 1
    broken = replace(run, data=data)
    frame = requests_frame(broken)
    assert frame["ok"].tolist() == [True, True, False, True, True, True]
    assert frame.loc[2, ["ttft_ms", "e2e_ms", "tpot_ms"]].isna().all()
    assert latency_frame(broken).set_index("metric").loc["ttft", "of"] == 5
    assert 2 not in gaps_frame(broken)["request"].tolist()
    assert goodput(broken, {"e2el": 1e9}).good == 5 and goodput(broken, {"e2el": 1e9}).of == 6
    assert goodput(broken, {"tpot": 1e9}).good == 5


def test_a_changed_format_is_noticed():
    with pytest.raises(CourseError, match="look like it"):
        requests_frame(changed(completed=3))
    run = recorded()
    with pytest.raises(CourseError, match="'itls' is missing"):
        latency_frame(replace(run, data={key: value for key, value in run.data.items() if key != "itls"}))


def test_offline_tools():
    run = recorded("throughput")
    values = throughput_frame(run).set_index("metric")["value"]
    asked = dict(zip(run.command, run.command[1:], strict=False))
    tokens = int(asked["--num-prompts"]) * int(asked["--random-output-len"])
    assert values["answer tokens"] == pytest.approx(tokens / run.data["elapsed_time"])
    assert "answer tokens" not in set(throughput_frame(replace(run, output=""))["metric"])
    starts = throughput_frame(recorded("startup")).set_index("metric")["value"]
    assert starts["cold"] > 0 and starts["warm"] > 0


# ---------------------------------------------------------------- goodput


def test_goodput_is_the_tools_own():
    run = recorded()
    found = goodput(run, SLO)
    assert 0 < found.good < found.of
    assert found.per_second == pytest.approx(found.tool_per_second)
    assert found.tool_per_second == run.data["request_goodput"]
    # Other limits than the tool was given are counted, and compared with nothing.
    assert goodput(run, {"ttft": 150}).tool_per_second is None


def test_a_time_equal_to_the_limit_is_good():
    run = changed(ttfts=[0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    assert goodput(run, {"ttft": 100}).good == 3
    assert goodput(run, {"ttft": 99.999}).good == 0


def test_an_answer_of_one_token_meets_every_tpot():
    assert goodput(changed(output_lens=[1, 6, 6, 6, 6, 6]), {"tpot": 1e-9}).good == 1


@pytest.mark.parametrize("slo", [{}, {"itl": 5}])
def test_unknown_limits_are_refused(slo):
    with pytest.raises(CourseError, match="cannot be used"):
        goodput(recorded(), slo)


# ---------------------------------------------------------------- running it


@pytest.mark.parametrize("options", [{"count": 0}, {"concurrency": 0}, {"images": -1}, {"answer_tokens": 0}])
def test_options_that_the_tool_would_misread_are_refused(options):
    with pytest.raises(CourseError, match="refused"):
        vllm_bench.random_requests(**{"count": 5, "concurrency": 1, **options})


def run_program(code, seconds=30.0):
    return vllm_bench._run("throughput", ["python", "-c", code], {"A": "b"}, seconds)


def test_a_result_comes_back_with_its_surroundings():
    run = run_program("import os, sys; open(sys.argv[2], 'w').write('{\"a\": \"%s\"}' % os.environ['A']); print('hi')")
    assert run.data == {"a": "b"} and run.output == "hi\n" and run.versions["python"] == sys.version.split()[0]


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
def test_a_real_run_on_requests_of_our_own(server, tmp_path):
    from toolkit.speed.workload import write_workload

    records = write_workload(tmp_path, 5, seed=1, answers=(2, 12))
    assert {record["sort"] for record in records} == {"text", "image", "clip"}
    run = vllm_bench.bench_serve(
        server, COURSE_ROOT / "data" / TINY, ["--max-concurrency", "2"], slo=SLO, workload=tmp_path
    )
    frame = requests_frame(run)
    assert frame["ok"].all()
    assert frame["answer_tokens"].tolist() == [record["answer_tokens"] for record in records]
    counted = goodput(run, SLO)
    assert counted.per_second == pytest.approx(counted.tool_per_second)
    assert server.api_key not in " ".join(run.command)

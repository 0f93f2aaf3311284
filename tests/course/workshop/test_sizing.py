"""The room's server: the most able model with room for every seat, and no key in any file."""

import json
import shlex
import subprocess

import jsonschema
import pytest
import yaml

from course.workshop.sizing import TOKENS_PER_SEAT, size_server
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.machine import Smi


@pytest.mark.parametrize(
    ("gpu", "seats", "model"),
    [
        ("RTX 4090", 30, "Qwen/Qwen3-VL-8B-Instruct-FP8"),
        ("RTX 4090", 50, "Qwen/Qwen3-VL-2B-Instruct"),
        ("T4", 30, "Qwen/Qwen3-VL-2B-Instruct"),
        ("H100", 30, "Qwen/Qwen3-VL-30B-A3B-Instruct"),
    ],
)
def test_more_seats_or_a_smaller_card_take_a_smaller_model(gpu, seats, model):
    server = size_server(seats, gpu)
    plan = server.plan.plan
    assert server.model == model
    assert plan.fits and plan.kv_cache_tokens >= seats * TOKENS_PER_SEAT and plan.setup.max_num_seqs >= seats
    words = shlex.split(server.command)
    assert words[words.index("--host") + 1] == "0.0.0.0"


@pytest.mark.parametrize("gpu", ["RTX 4090", "MI300X", "none"])
def test_the_files_are_complete_and_hold_no_key(tmp_path, gpu):
    server = size_server(30, gpu)
    server.write(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert "VLLM_API_KEY=choose-one\n" in made[".env.example"]
    assert subprocess.run(["sh", "-n", str(tmp_path / "start.sh")], check=False).returncode == 0
    refused = subprocess.run(
        [str(tmp_path / "start.sh")], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert refused.returncode and "set it first" in refused.stderr
    assert ("compose.yaml" in made) == (gpu != "none")
    if gpu != "none":
        contents = yaml.safe_load(made["compose.yaml"])
        (schema,) = (COURSE_ROOT / "data" / "schemas").glob("compose*.json")
        jsonschema.validate(contents, json.loads(schema.read_text()))
        (service,) = contents["services"].values()
        assert service["ports"] == ["8000:8000"]
        assert service["environment"]["VLLM_API_KEY"].startswith("${VLLM_API_KEY:?")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, "H100"), "0 seats were refused"),
        ((10_000, "H100"), "10000 seats were refused"),
        ((30, "GTX 9999"), "No card"),
        ((30, "T4", 1, "8b"), "No server for 30 seats"),
        ((500, "T4"), "2b: room for"),
        ((30, "H100", 1, "7.5b"), "No model"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_way_out(arguments, said):
    with pytest.raises(CourseError, match="What to do: ") as refused:
        size_server(*arguments)
    assert said in str(refused.value)


def test_without_a_gpu_the_tiny_model_is_offered(monkeypatch):
    monkeypatch.setattr("helpers.machine.ask_nvidia_smi", lambda: Smi(problem="no driver"))
    with pytest.raises(CourseError, match="--gpu none"):
        size_server(30)

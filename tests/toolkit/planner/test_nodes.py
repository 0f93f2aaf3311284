"""Commands for several machines: who says what, what is refused, and whether the installed vLLM and Ray take them."""

import importlib

import pytest

from helpers.errors import CourseError
from helpers.model_facts import load_catalogue
from toolkit.planner.flags import check_launches
from toolkit.planner.nodes import Cluster
from toolkit.planner.parallel import Layout
from toolkit.planner.recipes import Launch, format_of

FACTS = load_catalogue()
LEAST, SMALL, FLAGSHIP = "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-235B-A22B-Instruct"
TWO = Cluster(("10.0.0.1", "10.0.0.2"), 8)
COMMON = ("--max-model-len", "32768")


def launch(model, *flags):
    return Launch(model, (*COMMON, *flags), {"VLLM_NO_USAGE_STATS": "1"})


def small(cluster, **options):
    return cluster.data_parallel(launch(SMALL), FACTS[SMALL], **options)


def large(cluster, **options):
    return cluster.multi_node(launch(FLAGSHIP), FACTS[FLAGSHIP], **options)


def fp8(commands, model, **options):
    return commands(launch(f"{model}-FP8"), FACTS[model], **options)


EXPERTS = Layout(expert_parallel=True, whole_vision=True)
SETS = {
    "copies": small(TWO),
    "copies of two cards": small(Cluster(("10.0.0.1", "10.0.0.2", "10.0.0.3"), 4), copy=Layout(2)),
    "one machine": small(Cluster(("10.0.0.1",), 8)),
    "experts shared out": TWO.data_parallel(launch(FLAGSHIP), FACTS[FLAGSHIP], EXPERTS),
    "one model": large(TWO),
    "one model, by Ray": large(TWO, launcher="ray"),
}


def value(words, flag):
    """What follows a flag; None without it."""
    return words[words.index(flag) + 1] if flag in words else None


def test_every_copy_has_one_machine_and_all_machines_say_the_same_about_the_whole():
    nodes = SETS["copies of two cards"]
    serves = [node.serve.flags for node in nodes]
    assert [value(words, "--data-parallel-start-rank") for words in serves] == [None, "2", "4"]
    assert [("--headless" in words, "--host" in words) for words in serves] == [(False, True)] + [(True, False)] * 2
    for flag, expected in {
        "--data-parallel-size": "6",
        "--data-parallel-size-local": "2",
        "--data-parallel-address": "10.0.0.1",
        "--tensor-parallel-size": "2",
        "--max-model-len": "32768",
    }.items():
        assert {value(words, flag) for words in serves} == {expected}
    assert [node.environment["VLLM_HOST_IP"] for node in nodes] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    (alone,) = SETS["one machine"]
    assert value(alone.serve.flags, "--data-parallel-size") == "8"
    assert "--data-parallel-address" not in alone.serve.flags


def test_one_model_over_two_machines_by_either_launcher():
    head, worker = (node.serve.flags for node in SETS["one model"])
    for words in (head, worker):
        assert [value(words, f"--{name}-parallel-size") for name in ("tensor", "pipeline")] == ["8", "2"]
        assert (value(words, "--nnodes"), value(words, "--master-addr")) == ("2", "10.0.0.1")
    assert [value(words, "--node-rank") for words in (head, worker)] == ["0", "1"]
    assert ("--headless" in head, "--headless" in worker) == (False, True)
    first, second = SETS["one model, by Ray"]
    assert second.serve is None
    assert [words[:2] for words in first.commands] == [("ray", "start"), ("vllm", "serve")]
    assert value(first.serve.flags, "--distributed-executor-backend") == "ray"
    assert "--nnodes" not in first.serve.flags


def test_the_shell_text_is_what_is_run_and_the_key_is_no_flag():
    for nodes in SETS.values():
        for node in nodes:
            text = node.shell().replace(" \\\n  ", " ")
            assert all(" ".join(words) in text for words in node.commands)
            assert ("VLLM_API_KEY" in text) == (node.role == "head")
            assert "--api-key" not in text
            assert "0.0.0.0" not in text


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Cluster(("8.8.8.8", "10.0.0.2"), 8), "8.8.8.8"),
        (lambda: Cluster(("0.0.0.0", "10.0.0.2"), 8), "0.0.0.0"),
        (lambda: Cluster(("head", "10.0.0.2"), 8), "head"),
        (lambda: Cluster(("10.0.0.1", "10.0.0.1"), 8), "twice"),
        (lambda: small(TWO, copy=Layout(3)), "TP 3"),
        (lambda: small(TWO, copy=Layout(data_parallel=2)), "DP 2"),
        (lambda: large(TWO, layout=Layout(8)), "8 cards, and 16"),
        (lambda: large(Cluster(("10.0.0.1",), 8)), "One machine"),
        (lambda: large(Cluster(TWO.addresses, 3)), "attention heads"),
        (lambda: large(TWO, launcher="slurm"), "slurm"),
        # Expert columns in pieces of 96: BF16 can be cut so, FP8 in blocks of 128 cannot.
        (lambda: fp8(TWO.multi_node, FLAGSHIP, layout=Layout(16)), "FP8 blocks of 128 do not fit an expert"),
        (lambda: fp8(TWO.data_parallel, LEAST, copy=Layout(8)), "FP8 blocks of 128 do not fit an MLP"),
        (lambda: TWO.multi_node(launch(SMALL, "--nnodes=3"), FACTS[SMALL]), "--nnodes"),
    ],
)
def test_what_cannot_work_is_refused(make, named):
    with pytest.raises(CourseError, match=named):
        make()


def test_the_format_of_a_checkpoint_decides_what_can_be_cut():
    assert len(large(TWO, layout=Layout(16))) == 2, "BF16"
    assert len(fp8(TWO.multi_node, FLAGSHIP, layout=Layout(16, expert_parallel=True))) == 2
    named = {"Qwen/Qwen3-VL-8B-Instruct": "bfloat16", "q/X-FP8": "fp8", "/data/x-fp8/": "fp8", "q/X-AWQ": "awq"}
    assert {name: format_of(name) for name in named} == named


@pytest.mark.slow
def test_the_installed_vllm_takes_every_command():
    launches = {f"{name}, {node.address}": node.serve for name, nodes in SETS.items() for node in nodes if node.serve}
    assert len(launches) == 11
    wrong = Launch(SMALL, ("--data-parallel-start-ranks", "2"))
    found = check_launches({**launches, "wrong": wrong})
    assert found.pop("wrong")
    assert not any(found.values())
    assert set(found) == set(launches)


def test_the_installed_ray_takes_every_command():
    start = importlib.import_module("ray.scripts.scripts").start
    commands = [words for node in SETS["one model, by Ray"] for words in node.commands if words[:2] == ("ray", "start")]
    assert len(commands) == 2
    for words in commands:
        parsed = start.make_context("start", list(words[2:])).params
        assert parsed["disable_usage_stats"]
        assert parsed["node_ip_address"] in TWO.addresses
    with pytest.raises(Exception, match=r"(?i)no such option"):
        start.make_context("start", ["--adress=10.0.0.1:6379"])


def test_a_checkpoints_name_is_enough():
    named = TWO.data_parallel(SMALL)
    assert [node.commands for node in named] == [
        node.commands for node in TWO.data_parallel(Launch(SMALL), FACTS[SMALL])
    ]
    assert [node.commands for node in TWO.multi_node(FLAGSHIP)] == [
        node.commands for node in TWO.multi_node(Launch(FLAGSHIP), FACTS[FLAGSHIP])
    ]
    with pytest.raises(CourseError, match="Nothing is known"):
        TWO.data_parallel("nobody/nothing")

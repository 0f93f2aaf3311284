"""Recipes: what is in the file, what fits, what is chosen, and whether the installed vLLM still takes it."""

import json
from dataclasses import replace
from functools import cache

import pytest
import yaml

from helpers.errors import CourseError
from helpers.model_facts import load_catalogue
from helpers.planner import command as module
from helpers.planner.command import answer, command, find_model
from helpers.planner.flags import check_launches
from helpers.planner.hardware import load_gpus
from helpers.planner.recipes import (
    RECIPES_FILE,
    Launch,
    Wanted,
    fitting_recipes,
    load_recipes,
    plan_recipe,
    vendor_of,
)

RECIPES, GPUS, CATALOGUE = load_recipes(), load_gpus(), load_catalogue()
FLAGSHIP = "Qwen/Qwen3-VL-235B-A22B-Instruct"
#: Launches that compose flags: two cards, a card without bfloat16, and pictures and clips switched off.
COMPOSED = {
    "two cards": ("RTX 4090", 2, "Qwen/Qwen3-VL-8B-Instruct", Wanted(users=20)),
    "no bfloat16": ("T4", 1, "Qwen/Qwen3-VL-2B-Instruct", Wanted()),
    "text": ("H100", 3, "Qwen/Qwen3-VL-32B-Instruct", Wanted(images=0, video=False)),
}
YARN = '{"rope_type":"yarn","factor":3.0,"original_max_position_embeddings":262144}'
#: Not taken by vLLM, each with what the message must name.
REFUSED = {
    "the guides' YaRN": (Launch("q/x", ("--rope-scaling", YARN, "--max-model-len", "1000000")), "--rope-scaling"),
    "abbreviated": (Launch("q/x", ("--tensor-parallel", "4")), "--tensor-parallel"),
    "wrong value": (Launch("q/x", ("--mm-encoder-tp-mode", "date")), "--mm-encoder-tp-mode"),
    "wrong JSON": (Launch("q/x", ("--limit-mm-per-prompt", "{video: 0")), "--limit-mm-per-prompt"),
    "gone variable": (Launch("q/x", (), {"VLLM_USE_V1": "1"}), "VLLM_USE_V1"),
    "wrong number": (Launch("q/x", (), {"VLLM_MAX_IMAGE_PIXELS": "many"}), "VLLM_MAX_IMAGE_PIXELS"),
    "nobody's": (Launch("q/x", (), {"SAFETENSORS_FAST_GPU": "1"}), "SAFETENSORS_FAST_GPU"),
}


@cache
def composed(name):
    gpu, count, model, wanted = COMPOSED[name]
    return answer(GPUS[gpu], count, model, wanted)


@pytest.fixture(scope="module")
def vllm_says():
    """One question for all: vLLM's imports take half a minute."""
    launches = {name: recipe.launch() for name, recipe in RECIPES.items()}
    launches |= {name: composed(name).launch for name in COMPOSED}
    # The older dotted form, which the published commands use.
    launches["dotted"] = Launch("q/x", ("--limit-mm-per-prompt.video", "0", "--limit-mm-per-prompt.image", "0"))
    return check_launches(launches | {name: launch for name, (launch, _) in REFUSED.items()})


@pytest.mark.parametrize("name", [*RECIPES, *COMPOSED, "dotted"])
def test_the_installed_vllm_takes_every_flag_and_variable(vllm_says, name):
    assert vllm_says[name] == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_gone_or_wrong_is_refused_by_name(vllm_says, name):
    assert REFUSED[name][1] in " ".join(vllm_says[name])


def test_every_recipe_is_about_known_cards_and_models_and_claims_nothing():
    for recipe in RECIPES.values():
        assert set(recipe.gpus) <= set(GPUS), recipe.name
        assert recipe.model in CATALOGUE, recipe.name
        assert recipe.checkpoint == recipe.model + ("-FP8" if recipe.weights == "fp8" else ""), recipe.name
        assert recipe.state.is_ == "untested", f"{recipe.name}: no GPU has been here"
        assert all(GPUS[gpu].fp8 == "compute" for gpu in recipe.gpus if recipe.weights == "fp8"), recipe.name


def test_both_guides_are_covered_and_every_size_has_a_card():
    guides = {name for name, recipe in RECIPES.items() if recipe.source != "computed"}
    assert guides == {
        "235b-h100-fp8", "235b-h100-fp8-images", "235b-80gb-images", "235b-80gb-video", "235b-80gb-text",
        "235b-141gb-up", "235b-141gb-up-1m", "235b-mi300x", "4b-32gb",
    }  # fmt: skip
    pairs = {(recipe.model.split("-VL-")[1].removesuffix("-Instruct"), gpu) for recipe in RECIPES.values()
             for gpu in recipe.gpus if recipe.count == 1}  # fmt: skip
    every = ["RTX 5060 Ti 16G", "RTX 4090", "RTX 5090", "L40S", "H100"]
    assert {(size, gpu) for size in ("2B", "4B", "8B") for gpu in every} <= pairs
    assert {(size, gpu) for size in ("32B", "30B-A3B") for gpu in every[3:]} <= pairs
    assert not {(size, gpu) for size in ("32B", "30B-A3B") for gpu in every[:3]} & pairs, "weights alone are 30 GiB"


def test_every_recipe_fits_its_cards():
    for recipe in RECIPES.values():
        for gpu in recipe.gpus:
            plan = plan_recipe(recipe, CATALOGUE[recipe.model], GPUS[gpu])
            assert plan.fits, f"{recipe.name}: {plan.describe()}"


def test_the_plan_reads_the_recipe():
    recipe = RECIPES["8b-16gb-fp8"]
    setup = plan_recipe(recipe, CATALOGUE[recipe.model], GPUS[recipe.gpus[0]]).setup
    assert (setup.weights, setup.max_model_len, setup.max_num_seqs) == ("fp8", 8192, 16)
    assert (setup.images, setup.video, setup.max_pixels) == (4, False, 2_097_152)
    recipe = RECIPES["235b-h100-fp8-images"]
    assert plan_recipe(recipe, CATALOGUE[recipe.model], GPUS["H100"]).setup.utilization == 0.95
    eight = RECIPES["235b-h100-fp8"]
    without = eight.model_copy(update={"flags": tuple(one for one in eight.flags if "expert" not in one)})
    plan = plan_recipe(without, CATALOGUE[eight.model], GPUS["H100"])
    assert not plan.fits
    assert "192" in " ".join(plan.problems), "an eighth of an expert is no multiple of 128"


@pytest.mark.parametrize(
    ("gpu", "count", "model", "wanted", "name"),
    [
        ("H100", 8, FLAGSHIP, Wanted(), "235b-h100-fp8"),
        ("H100", 4, FLAGSHIP, Wanted(), "235b-h100-fp8-images"),
        ("H100", 4, FLAGSHIP, Wanted(video=True), None),
        ("H100", 8, FLAGSHIP, Wanted(weights="bf16", video=True), "235b-80gb-video"),
        ("H100", 8, FLAGSHIP, Wanted(weights="bf16", video=False), "235b-80gb-images"),
        ("H100", 8, FLAGSHIP, Wanted(images=0, video=False), "235b-80gb-text"),
        ("H100", 8, FLAGSHIP, Wanted(weights="bf16", video=True, context=200_000), None),
        ("H200", 8, FLAGSHIP, Wanted(context=262_144), "235b-141gb-up"),
        ("H200", 8, FLAGSHIP, Wanted(context=900_000), "235b-141gb-up-1m"),
        ("MI300X", 4, FLAGSHIP, Wanted(), "235b-mi300x"),
        ("RTX 4090", 1, "Qwen/Qwen3-VL-4B-Instruct", Wanted(images=5), None),
        ("RTX 4090", 1, "Qwen/Qwen3-VL-4B-Instruct", Wanted(users=33), None),
        ("A10", 1, "Qwen/Qwen3-VL-8B-Instruct", Wanted(), "8b-24gb"),
        ("L4", 1, "Qwen/Qwen3-VL-8B-Instruct", Wanted(), "8b-24gb-fp8"),
    ],
)
def test_the_recipe_that_serves_what_is_wanted_is_chosen(gpu, count, model, wanted, name):
    chosen = next(iter(fitting_recipes(RECIPES, gpu, count, model, wanted, 262_144)), None)
    assert (chosen and chosen.name) == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flags": ["--trust-remote-code"]}, "trust-remote-code"),
        ({"flags": ["--host 0.0.0.0"]}, "--host"),
        ({"flags": ["--api_key x"]}, "api_key"),
        ({"flags": ["max-model-len 8"]}, "does not begin"),
        ({"flags": ["--seed 1"]}, "'--seed' has no reason"),
        ({"environment": {"OMP_NUM_THREADS": "1"}}, "'OMP_NUM_THREADS' has no reason"),
        ({"why": {"--seed": "x"}}, "not used"),
        ({"flags": ["--tensor-parallel-size 2"]}, "1 GPUs, but"),
        ({"state": {"is": "verified", "where": "a H100", "version": "0.32.0"}}, "needs 'when'"),
        ({"state": {"is": "untested"}}, "needs 'reason'"),
        ({"weights": "int4"}, "weights"),
        ({"count": 0}, "count"),
        ({"source": "a friend"}, "source"),
        ({"flag": []}, "flag"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path, change, message):
    data = yaml.safe_load(RECIPES_FILE.read_text())
    data["recipes"] = {"4b-80gb": data["recipes"]["4b-80gb"] | change}
    path = tmp_path / "recipes.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(CourseError, match="4b-80gb") as refused:
        load_recipes(path)
    assert message in str(refused.value)


@pytest.mark.parametrize("name", [*RECIPES, *COMPOSED])
def test_a_server_on_a_machine_is_local_and_its_key_is_no_argument(name):
    launch = RECIPES[name].launch() if name in RECIPES else composed(name).launch
    words = launch.command()
    assert words[:3] == ["vllm", "serve", launch.checkpoint]
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--api-key" not in words
    assert "VLLM_API_KEY" not in launch.environment
    assert launch.environment["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"


def test_composed_flags_follow_the_plan():
    two = composed("two cards")
    assert two.recipe is None
    words = two.launch.command()
    assert words[words.index("--tensor-parallel-size") + 1] == "2"
    assert words[words.index("--max-num-seqs") + 1] == "20"
    assert two.plan.concurrent_requests() >= 20, "the context is what 20 users can have at the same time"
    old = composed("no bfloat16")
    assert old.launch.flags[-2:] == ("--dtype", "float16")
    assert not old.plan.narrow, "what is estimated may turn out twice as large"
    none = answer(GPUS["RTX 4090"], 1, FLAGSHIP)
    assert (none.launch, none.plan.fits) == (None, False)


def test_the_command_prints_json_and_text(capsys):
    assert command("H100", 8, "235b", as_json=True) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["recipe"]["name"], data["recipe"]["state"]["is"], data["fits"]) == ("235b-h100-fp8", "untested", True)
    assert data["command"] == RECIPES["235b-h100-fp8"].launch().command()
    assert {"memory", "docker", "compose", "kubernetes"} <= set(data)
    assert command("H100", 8, "235b", users=50) == 0
    text = capsys.readouterr().out
    for part in ("KV cache of one request", "untested", "vllm serve", "docker run", "services:", "kind: Deployment"):
        assert part in text
    assert "of them may use the whole context" in text
    assert command("RTX 4090", 1, "32b") == 1
    text = capsys.readouterr().out
    assert "does not fit" in text
    assert "It would fit with:\n  - " in text
    assert "vllm serve" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "H1000"}, "H100, H200"),
        ({"gpu": "toaster"}, "24 GiB"),
        ({"model": "5b"}, "8b, 4b, 2b"),
        ({"model": "3"}, "30b-a3b, 32b"),
        ({"model": ""}, "No model"),
        ({"count": 0}, "0 cards"),
        ({"users": 0}, "users 0"),
        ({"context": -1}, "context -1"),
        ({"video": "maybe"}, "yes or no"),
        ({"weights": "int4"}, "bf16, fp8, awq"),
        ({"weights": "awq"}, "not released"),
    ],
)
def test_bad_input_is_refused_with_what_is_near(options, message):
    with pytest.raises(CourseError) as refused:
        command(**{"gpu": "H100", "model": "4b"} | options)
    assert message in str(refused.value)


def test_models_are_found_by_size_by_name_and_by_format():
    assert find_model("235B") == (FLAGSHIP, None)
    assert find_model("30b-a3b-fp8") == ("Qwen/Qwen3-VL-30B-A3B-Instruct", "fp8")
    assert find_model("Qwen3-VL-4B-Instruct") == find_model("Qwen/Qwen3-VL-4B-Instruct") == find_model("4b")
    assert find_model("qwen2-vl-72b-awq") == ("Qwen/Qwen2-VL-72B-Instruct", "awq")


def test_auto_reads_the_machine(monkeypatch):
    from helpers import machine

    cards = tuple(machine.Gpu("NVIDIA L4", 22.49, "8.9") for _ in range(2))
    smi = machine.Smi(cards)
    monkeypatch.setattr(machine, "ask_nvidia_smi", lambda: smi)
    gpu, count = module.own_cards()
    assert (gpu.name, count) == ("L4", 2)
    smi = machine.Smi((replace(cards[0], name="NVIDIA Something New"),))
    assert module.own_cards()[0].visible_gib == pytest.approx(22.49 * 0.98)
    smi = machine.Smi((cards[0], replace(cards[1], name="NVIDIA T4")))
    with pytest.raises(CourseError, match="several kinds"):
        module.own_cards()
    smi = machine.Smi(problem="no driver")
    with pytest.raises(CourseError, match="no driver"):
        command()


def test_amd_cards_are_told_by_name():
    assert [vendor_of(gpu) for gpu in GPUS].count("amd") == 1
    assert vendor_of("AMD Instinct MI355X") == "amd"


def test_a_plan_without_a_margin_is_the_last_resort():
    found = answer(GPUS["H100"], 8, FLAGSHIP, Wanted(context=32_768, images=4, video=False))
    assert (found.recipe.name, found.plan.narrow) == ("235b-h100-fp8", False)
    assert plan_recipe(RECIPES["235b-80gb-images"], CATALOGUE[FLAGSHIP], GPUS["H100"]).narrow

"""Recipes: what is in the file, what fits, what is chosen, and whether the installed vLLM still takes it."""

import json
import shlex
from dataclasses import replace
from functools import cache

import pytest
import yaml

from helpers.errors import CourseError
from helpers.model_facts import load_catalogue
from toolkit.planner import cli, recommendation
from toolkit.planner.cli import find_model, main
from toolkit.planner.flags import check_launches
from toolkit.planner.hardware import find_gpu, load_gpus
from toolkit.planner.lora_slots import LoraSlots
from toolkit.planner.memory import GIB, EngineSettings, Workload, plan_of
from toolkit.planner.recipes import (
    RECIPES_FILE,
    Launch,
    fitting_recipes,
    load_recipes,
    plan_recipe,
    surplus,
    vendor_of,
)
from toolkit.planner.recommendation import recommend

RECIPES, GPUS, CATALOGUE = load_recipes(), load_gpus(), load_catalogue()
FLAGSHIP = "Qwen/Qwen3-VL-235B-A22B-Instruct"
#: Launches that compose flags: two cards, a card without bfloat16, and pictures and clips switched off.
COMPOSED = {
    "two cards": ("RTX 4090", 2, "Qwen/Qwen3-VL-8B-Instruct", Workload(users=20)),
    "no bfloat16": ("T4", 1, "Qwen/Qwen3-VL-2B-Instruct", Workload()),
    "tools": ("H100", 1, "Qwen/Qwen3-VL-8B-Thinking", Workload(tools=True)),
    "adapters": ("L40S", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(slots=LoraSlots(2, 32, True))),
    "text": ("H100", 3, "Qwen/Qwen3-VL-32B-Instruct", Workload(images=0, video=False)),
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
    gpu, count, model, workload = COMPOSED[name]
    return recommend(GPUS[gpu], count, model, workload)


def held_to_what_was_asked():
    recipe = RECIPES["4b-24gb"]
    _, flags = surplus(recipe, Workload(context=20_000, images=2, video=False), 262_144)
    return Launch(recipe.checkpoint, (*recipe.words, *flags))


@pytest.fixture(scope="module")
def vllm_says():
    """One question for all: vLLM's imports take half a minute."""
    launches = {name: recipe.launch() for name, recipe in RECIPES.items()}
    launches |= {name: composed(name).launch for name in COMPOSED}
    # The older dotted form, which the published commands use.
    launches["dotted"] = Launch("q/x", ("--limit-mm-per-prompt.video", "0", "--limit-mm-per-prompt.image", "0"))
    launches["held to what was asked"] = held_to_what_was_asked()
    return check_launches(launches | {name: launch for name, (launch, _) in REFUSED.items()})


@pytest.mark.parametrize("name", [*RECIPES, *COMPOSED, "dotted", "held to what was asked"])
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
    ("gpu", "count", "model", "workload", "weights", "name"),
    [
        ("H100", 8, FLAGSHIP, Workload(), None, "235b-h100-fp8"),
        ("H100", 4, FLAGSHIP, Workload(), None, "235b-h100-fp8-images"),
        ("H100", 4, FLAGSHIP, Workload(video=True), None, None),
        ("H100", 8, FLAGSHIP, Workload(video=True), "bf16", "235b-80gb-video"),
        ("H100", 8, FLAGSHIP, Workload(video=False), "bf16", "235b-80gb-images"),
        # An H100 computes in FP8, an A100 does not: what is refused decides within a format only.
        ("H100", 8, FLAGSHIP, Workload(video=False), None, "235b-h100-fp8"),
        ("H100", 8, FLAGSHIP, Workload(images=0, video=False), "bf16", "235b-80gb-text"),
        ("A100 80G", 8, FLAGSHIP, Workload(images=0, video=False), None, "235b-80gb-text"),
        ("A100 80G", 8, FLAGSHIP, Workload(video=False), None, "235b-80gb-images"),
        ("H100", 8, FLAGSHIP, Workload(video=True, context=200_000), "bf16", None),
        ("H200", 8, FLAGSHIP, Workload(context=262_144), None, "235b-141gb-up"),
        ("H200", 8, FLAGSHIP, Workload(context=900_000), None, "235b-141gb-up-1m"),
        ("MI300X", 4, FLAGSHIP, Workload(), None, "235b-mi300x"),
        ("RTX 4090", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(images=5), None, None),
        ("RTX 4090", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(users=33), None, None),
        # vLLM's own --max-num-seqs, where a recipe has none: 256 on an A100, 1,024 on an H100.
        ("A100 80G", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(users=256), None, "4b-80gb"),
        ("A100 80G", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(users=257), None, None),
        ("H100", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(users=1024), None, "4b-80gb"),
        ("H100", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(users=1025), None, None),
        ("RTX 3090", 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(), None, "4b-24gb"),
        ("RTX A6000", 1, "Qwen/Qwen3-VL-8B-Instruct", Workload(), None, "8b-40gb"),
        ("A10", 1, "Qwen/Qwen3-VL-8B-Instruct", Workload(), None, "8b-24gb"),
        ("L4", 1, "Qwen/Qwen3-VL-8B-Instruct", Workload(), None, "8b-24gb-fp8"),
    ],
)
def test_the_recipe_that_serves_what_is_wanted_is_chosen(gpu, count, model, workload, weights, name):
    chosen = next(iter(fitting_recipes(RECIPES, GPUS[gpu], count, CATALOGUE[model], workload, weights)), None)
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
    none = recommend(GPUS["RTX 4090"], 1, FLAGSHIP)
    assert (none.launch, none.plan.fits) == (None, False)


def test_the_command_prints_json_and_text(capsys):
    assert main("H100", 8, "235b", as_json=True) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["recipe"]["name"], data["recipe"]["state"]["is"], data["fits"]) == ("235b-h100-fp8", "untested", True)
    assert data["command"] == RECIPES["235b-h100-fp8"].launch().command()
    assert {"memory", "docker", "compose", "kubernetes"} <= set(data)
    assert main("H100", 8, "235b", Workload(users=50)) == 0
    text = capsys.readouterr().out
    for part in ("KV cache of one request", "untested", "vllm serve", "docker run", "services:", "kind: Deployment"):
        assert part in text
    assert "of them may use the whole context" in text
    assert main("RTX 4090", 1, "32b") == 1
    text = capsys.readouterr().out
    assert "does not fit" in text
    assert "It would fit with:\n  - " in text
    assert "vllm serve" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "H1000"}, "H100"),
        ({"gpu": "toaster"}, "24 GiB"),
        ({"model": "5b"}, "4b, 8b"),
        ({"model": "400b"}, "the nearest sizes are: 235b-a22b"),
        ({"model": "1000b"}, "use one of: 2b, 4b"),
        ({"model": "qwen2.5-vl-5b"}, "the nearest sizes are: qwen2.5-vl-7b, qwen2.5-vl-3b"),
        ({"model": "qwen2-vl-7b-thinking"}, "has no Thinking edition"),
        ({"count": 1_000_000}, "1,000,000 cards were refused"),
        ({"gpu": "0 GiB"}, "0 GiB was refused"),
        ({"model": "3"}, "30b-a3b, 32b"),
        ({"model": ""}, "No model"),
        ({"count": 0}, "0 cards"),
        ({"weights": "int4"}, "not released in int4"),
        ({"model": "qwen2-vl-7b", "weights": "fp8"}, "not released"),
    ],
)
def test_bad_input_is_refused_with_what_is_near(options, message):
    with pytest.raises(CourseError) as refused:
        main(**{"gpu": "H100", "model": "4b"} | options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: Workload(users=0), "users 0"),
        (lambda: Workload(context=-1), "context -1"),
    ],
)
def test_an_impossible_workload_is_refused(refused, message):
    with pytest.raises(CourseError, match=message):
        refused()


def test_models_are_found_by_size_by_name_and_by_format():
    assert find_model("235B") == (FLAGSHIP, None)
    assert find_model("30b-a3b-fp8") == ("Qwen/Qwen3-VL-30B-A3B-Instruct", "fp8")
    assert find_model("Qwen3-VL-4B-Instruct") == find_model("Qwen/Qwen3-VL-4B-Instruct") == find_model("4b")
    assert find_model("qwen2-vl-72b-awq") == ("Qwen/Qwen2-VL-72B-Instruct", "awq")
    assert find_model("qwen3-vl-8b") == find_model("QWEN/QWEN3-VL-8B-INSTRUCT") == find_model(" 8B ")
    assert find_model("Qwen2.5-VL-7B-Instruct") == ("Qwen/Qwen2.5-VL-7B-Instruct", None)


@pytest.mark.parametrize("asked", ["8b-thinking", "qwen3-vl-8b-Thinking", "qwen/qwen3-vl-8b-thinking"])
def test_a_thinking_edition_is_its_instruct_twin_with_a_parser(asked):
    name, _ = find_model(asked)
    assert name == "Qwen/Qwen3-VL-8B-Thinking"
    found = recommend(GPUS["H100"], 1, name)
    assert found.launch.checkpoint == name and found.launch.flags[-2:] == ("--reasoning-parser", "qwen3")
    assert (found.recipe.name, found.plan.setup.facts.name) == ("8b-80gb", name)
    eight = recommend(GPUS["L4"], 1, name, weights="fp8")
    assert eight.launch.checkpoint == "Qwen/Qwen3-VL-8B-Thinking-FP8"


def test_tools_get_the_parser_of_their_calls_with_a_reason():
    thinking = composed("tools")
    instruct = recommend(GPUS["H100"], 1, "Qwen/Qwen3-VL-8B-Instruct", Workload(tools=True))
    assert instruct.launch.flags[-3:] == ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    assert thinking.launch.flags[-5:] == ("--reasoning-parser", "qwen3", *instruct.launch.flags[-3:])
    assert "--reasoning-parser" not in instruct.as_text() and "lose Qwen3-VL's calls" in instruct.as_text()
    assert "hermes" not in recommend(GPUS["H100"], 1, "Qwen/Qwen3-VL-8B-Instruct").as_text()


def test_adapters_get_their_flags_each_with_a_reason():
    found = composed("adapters")
    lora = ("--enable-lora", "--enable-tower-connector-lora", "--max-loras", "2", "--max-lora-rank", "32")
    assert found.launch.flags[-6:] == lora
    assert "ignored" in found.as_text()
    frozen = recommend(GPUS["L40S"], 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(slots=LoraSlots(1)))
    assert frozen.launch.flags[-5:] == ("--enable-lora", "--max-loras", "1", "--max-lora-rank", "16")
    assert "lora" not in recommend(GPUS["L40S"], 1, "Qwen/Qwen3-VL-4B-Instruct").as_text()


def test_slots_for_adapters_are_taken_from_the_cache_of_a_recipe_too():
    plain, slots = (recommend(GPUS["H100"], 8, FLAGSHIP, Workload(slots=LoraSlots(count))).plan for count in (0, 2))
    held = slots.counted["slots for adapters"]
    assert held > 0 and "slots for adapters" not in plain.counted
    assert plain.cache_bytes - slots.cache_bytes == held


@pytest.mark.parametrize("wrong", [{"count": -1}, {"count": 1, "rank": 12}])
def test_a_number_or_rank_of_adapters_that_vllm_has_not_is_refused(wrong):
    with pytest.raises(CourseError, match="refused"):
        LoraSlots(**wrong)


def test_an_awq_checkpoint_of_ones_own_is_planned_and_said_to_be_one():
    found = recommend(GPUS["A10"], 1, "Qwen/Qwen3-VL-8B-Instruct", weights="awq")
    assert found.plan.fits and found.plan.setup.weights == "awq"
    assert "has not released this model in awq" in found.notes[0]
    seven = recommend(GPUS["A10"], 1, "Qwen/Qwen2.5-VL-7B-Instruct", weights="awq")
    assert (seven.launch.checkpoint, seven.notes) == ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", ())


def test_options_of_the_engine_are_planned_and_written():
    engine = EngineSettings("fp8_e4m3", 0.8, 7, 1_048_576, 4096, True)
    found = recommend(GPUS["L4"], 1, "Qwen/Qwen3-VL-4B-Instruct", Workload(context=8192), engine=engine)
    assert found.recipe is None
    flags = " ".join(found.launch.flags)
    for part in (
        "--gpu-memory-utilization 0.8", "--max-num-seqs 7", "--max-num-batched-tokens 4096", "--kv-cache-dtype fp8",
        '"longest_edge": 1048576', "--enforce-eager",
    ):  # fmt: skip
        assert part in flags
    assert found.plan.one_request == (8192 + 16) * 72 * 1024


def test_a_card_without_support_in_todays_wheels_is_said_to_be_one():
    found = recommend(GPUS["V100 32G"], 1, "Qwen/Qwen3-VL-4B-Instruct")
    assert "Volta" in found.notes[0] and found.plan.setup.weights == "float16"


def test_the_command_line_takes_memory_and_options(capsys):
    from course.cli import app

    command = "plan --gpu L4 --memory 22.03 --model 8b --context 16384 --weights bf16 --utilization 0.9"
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command))
    text = capsys.readouterr().out
    assert ended.value.code == 1 or "does not fit" in text
    assert "budget: 90% of L4" in text and "It would fit with:\n  - context of" in text
    with pytest.raises(SystemExit):
        app(shlex.split("plan --memory 15.5 --model 2b --context 8192 --kv-cache-dtype fp8 --max-num-seqs 4 --eager"))
    text = capsys.readouterr().out
    assert "a card of 15.5 GiB" in text and "--kv-cache-dtype fp8" in text and "CUDA graphs" not in text


def test_auto_reads_the_machine(monkeypatch):
    from helpers import machine

    cards = tuple(machine.Gpu("NVIDIA L4", 22.49, "8.9") for _ in range(2))
    smi = machine.Smi(cards)
    monkeypatch.setattr(machine, "ask_nvidia_smi", lambda: smi)
    gpu, count = cli.own_gpus()
    assert (gpu.name, count) == ("L4", 2)
    smi = machine.Smi((replace(cards[0], name="NVIDIA Something New"),))
    assert cli.own_gpus()[0].visible_gib == pytest.approx(22.49 * 0.98)
    for other in (replace(cards[1], name="NVIDIA T4"), replace(cards[1], memory_gib=47.99)):
        smi = machine.Smi((cards[0], other))
        with pytest.raises(CourseError, match="several kinds") as caught:
            cli.own_gpus()
        assert "smallest card would decide" in caught.value.cause
    smi = machine.Smi(problem="no driver")
    with pytest.raises(CourseError, match="no driver"):
        main()


def test_amd_cards_are_told_by_name():
    assert [gpu for gpu in GPUS if vendor_of(gpu) == "amd"] == ["MI300X", "MI325X"]
    assert vendor_of("AMD Instinct MI355X") == "amd"


def test_a_plan_without_a_margin_is_the_last_resort():
    smaller = GPUS["H100"].model_copy(update={"memory": 77.0})
    found = recommend(smaller, 8, FLAGSHIP, Workload(context=32_768, images=4, video=False), "bf16")
    assert (found.recipe.name, found.plan.narrow) == ("235b-80gb-video", False)
    assert plan_recipe(RECIPES["235b-80gb-images"], CATALOGUE[FLAGSHIP], smaller).narrow
    assert "235b-80gb-images would come first, but it fits only narrowly" in found.as_text()


def test_what_a_recipe_serves_beyond_what_was_asked_is_said_with_the_flags_against_it():
    four = "Qwen/Qwen3-VL-4B-Instruct"
    found = recommend(GPUS["RTX 4090"], 1, four, Workload(context=20_000, images=2, video=False))
    (note,) = found.notes
    assert note.startswith("4b-24gb serves more than was asked for: contexts up to 32,768 tokens, 4 images, videos.")
    flags = tuple(shlex.split(note.partition("with: ")[2]))
    assert flags == ("--max-model-len", "20000", "--limit-mm-per-prompt", '{"image": 2, "video": 0}')
    assert found.as_dict()["notes"] == [note]
    # What is not limited keeps the recipe's own limit.
    found = recommend(GPUS["RTX 4090"], 1, four, Workload(video=False))
    assert found.notes[0].endswith("""--limit-mm-per-prompt '{"image": 4, "video": 0}'""")
    assert recommend(GPUS["RTX 4090"], 1, four, Workload(context=32_768, images=4, video=True)).notes == ()
    assert recommend(GPUS["RTX 4090"], 1, four).notes == ()
    whole = recommend(GPUS["H100"], 8, FLAGSHIP, Workload(context=32_768, images=3)).notes[0]
    assert "contexts up to 262,144 tokens, any number of images." in whole


@pytest.mark.parametrize("name", [name for name, one in RECIPES.items() if one.most("image") and not one.most("video")])
def test_no_recipe_claims_memory_for_refused_clips_that_frees_none(name):
    recipe = RECIPES[name]
    plan = plan_recipe(recipe, CATALOGUE[recipe.model], GPUS[recipe.gpus[0]])
    if plan_of(replace(plan.setup, video=True)).cache_bytes == plan.cache_bytes and not recipe.most_pixels:
        assert "frees no memory" in recipe.why["--limit-mm-per-prompt"]


@pytest.mark.parametrize(
    ("gpu", "count", "model", "users"),
    [
        ("RTX 4090", 2, "Qwen/Qwen3-VL-8B-Instruct", 30),
        ("24 GB", 1, "Qwen/Qwen3-VL-4B-Instruct", 30),
        ("T4", 1, "Qwen/Qwen3-VL-2B-Instruct", 30),
    ],
)
def test_more_users_than_a_short_context_each_still_get_an_recommend(gpu, count, model, users):
    found = recommend(find_gpu(gpu), count, model, Workload(users=users))
    plan = found.plan
    assert (plan.fits, plan.narrow, plan.setup.max_model_len) == (True, False, recommendation.SHORTEST_CONTEXT)
    together, text = plan.concurrent_requests(), found.as_text(users)
    assert 0 < together < users
    assert f"{together} of them may use the whole context at the same time, or all {users} about " in text


def test_users_are_shared_out_over_copies():
    found = recommend(GPUS["B200"], 8, "Qwen/Qwen3-VL-8B-Instruct", Workload(users=30))
    assert found.plan.setup.layout.data_parallel > 1
    assert found.plan.setup.max_model_len == 262_144, "eight cards hold thirty whole contexts"
    assert found.plan.concurrent_requests() >= 30


def test_no_more_users_are_promised_than_are_answered_at_once():
    found = recommend(GPUS["A100 80G"], 1, "Qwen/Qwen3-VL-4B-Instruct")
    tokens = found.plan.kv_cache_tokens
    assert f"or 256, as many as are answered at once (--max-num-seqs), about {tokens // 256:,}" in found.as_text(1000)
    assert f"or all 200 about {tokens // 200:,} tokens each" in found.as_text(200)


@pytest.mark.parametrize(
    ("gpu", "count", "model", "weights", "context"),
    [
        (GPUS["H200"], 4, FLAGSHIP, "bfloat16", 262_144),
        (GPUS["T4"].with_memory(12), 1, "Qwen/Qwen3-VL-4B-Instruct", "fp8", None),
        (GPUS["RTX 4090"].with_memory(21), 4, "Qwen/Qwen3-VL-32B-Instruct", "fp8", None),
        (GPUS["RTX 4090"], 2, "Qwen/Qwen3-VL-2B-Instruct", "bfloat16", None),
    ],
)
def test_a_composed_plan_without_a_margin_is_the_last_resort_too(gpu, count, model, weights, context):
    plan = recommend(gpu, count, model).plan
    assert (plan.fits, plan.narrow, plan.setup.weights) == (True, False, weights)
    assert context is None or plan.setup.max_model_len == context


def test_without_any_margin_the_plan_with_the_most_to_spare_is_taken():
    model = "Qwen/Qwen3-VL-30B-A3B-Instruct"
    card = GPUS["RTX 4090"].with_memory(20)
    plan = recommend(card, 2, model).plan
    assert (plan.narrow, plan.setup.max_model_len) == (True, recommendation.SHORTEST_CONTEXT)
    assert plan.spare_bytes > GIB, "the longest context that fits would leave almost nothing"
    asked = recommend(card, 2, model, Workload(context=20_480)).plan
    assert (asked.narrow, asked.setup.max_model_len) == (True, 20_480), "what is asked for is given"


def test_a_suggestion_names_the_options_that_make_it_fit(capsys):
    assert main("6 GiB", 1, "2b") == 1
    text = capsys.readouterr().out
    assert "AWQ" not in text, "not released for Qwen3-VL"
    (line,) = text.partition("It would fit with:")[2].strip().splitlines()
    for part in ("--context ", "--max-pixels 1310720", "--video no"):
        assert part in line
    assert main("RTX 4090", 1, "4b", Workload(context=200_000)) == 1
    lines = capsys.readouterr().out.partition("It would fit with:")[2].splitlines()[1:]
    assert lines[0].startswith("  - context of") and "(--context " in lines[0]
    assert all("(--" in line for line in lines if "Qwen/" not in line)

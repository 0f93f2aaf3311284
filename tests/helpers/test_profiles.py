"""Profiles: what is chosen, what is refused, and what reaches the engine."""

import json
import os
import sys
from pathlib import Path

import pytest

from helpers import machine, profiles
from helpers.errors import CourseError
from helpers.processes import run_to_end
from helpers.profiles import ActiveProfile, load_profiles, use_profile


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("COURSE_PROFILE", "COURSE_REHEARSE", "COURSE_DEVICE", "COURSE_MODELS_DIR", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in use_profile("tiny", quiet=True).environment():
        monkeypatch.delenv(name, raising=False)


def write(tmp_path, text):
    path = tmp_path / "profiles.yaml"
    path.write_text(text, encoding="utf-8")
    return path


ENTRY = """profiles:
  tiny:
    title: t
    model: models/x
    source: bundled
    family: qwen3-vl
    devices: [cpu]
    dtype: {cpu: float32}
    max_model_len: 128
    parameters_billions: 0.01
    needs_gib: 1
"""


def test_shipped_profiles_are_those_of_the_course():
    shipped = load_profiles()
    family = [profile for profile in shipped.values() if profile.family == "qwen3-vl"]
    thinking = {profile.name.removesuffix("-thinking") for profile in family if profile.name.endswith("-thinking")}
    own = [profile for profile in family if not profile.name.endswith("-thinking")]
    assert [profile.name for profile in own] == ["tiny", "2b", "4b", "8b", "30b-a3b"]
    assert {"2b", "4b", "8b", "30b-a3b"} <= thinking <= {profile.name for profile in own}
    sizes = [profile.parameters_billions for profile in own]
    assert sizes == sorted(sizes), "'auto' relies on small to large"
    for profile in own[:2]:
        rival = shipped[profile.rival]
        assert rival.sampling == profile.sampling and rival.dtype == profile.dtype
        assert abs(rival.parameters_billions / profile.parameters_billions - 1) < 0.05


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["top level"]),
        ("profiles: {}\n", ["no profiles"]),
        ("profiles:\n  tiny: 3\n", ["'tiny'", "mapping"]),
        (ENTRY + "    speed: 3\n", ["'tiny'", "key 'speed'"]),
        (ENTRY.replace("128", "-1"), ["key 'max_model_len'"]),
        (ENTRY.replace("    title: t\n", ""), ["key 'title'"]),
        (ENTRY.replace("float32", "int3"), ["key 'dtype.cpu"]),
        (ENTRY + "    engine: {trust_remote_code: true}\n", ["trust_remote_code"]),
        (ENTRY + "    rival: tiny\n", ["rival 'tiny'", "same family"]),
        (ENTRY + "\tx: 1\n", ["line 12", "tab"]),
        ("profiles: [\n", ["line"]),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, text, words):
    with pytest.raises(CourseError) as caught:
        load_profiles(write(tmp_path, text))
    assert all(word in str(caught.value) for word in ["profiles.yaml", *words]), str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"nowhere\.yaml"):
        load_profiles(tmp_path / "nowhere.yaml")


def test_unknown_profile_lists_the_known_ones():
    with pytest.raises(CourseError, match=r"no profile 'huge'(.|\n)*auto, tiny-qwen2-vl, tiny, 2b"):
        use_profile("huge")


def test_auto_is_tiny_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    active = use_profile("auto")
    assert active.profile.name == "tiny" and active.label == "tiny model"
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "tiny" in line and "cpu" in line and "toy world" in line


def test_auto_takes_the_largest_that_is_there_and_fits(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    monkeypatch.setenv("COURSE_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr(profiles, "gpu_memory_gib", lambda: 16.0)
    for name in ("Qwen3-VL-2B-Instruct", "Qwen3-VL-8B-Instruct", "Qwen3-VL-8B-Thinking"):
        folder = tmp_path / "Qwen" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text("")
    assert use_profile("auto", quiet=True).profile.name == "2b", "8b is there but needs more than 16 GiB"
    monkeypatch.setattr(profiles, "gpu_memory_gib", lambda: 80.0)
    assert use_profile("auto", quiet=True).profile.name == "8b", "4b and 30b-a3b are not on the disk"


CARDS = """0, GPU-aa11-0, 81920
1, GPU-aa22-1, 15360
2, GPU-bb33-2, [N/A]
"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A fake one, found first, which lists these cards whatever CUDA_VISIBLE_DEVICES says; and a CUDA build."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.32.0")
    monkeypatch.setattr(machine, "ram_gib", lambda: 119.0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(text=CARDS, status=0):
        (tmp_path / "cards").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/cards\nexit {status}\n")
        program.chmod(0o755)

    write()
    return write


@pytest.mark.parametrize(
    ("visible", "memory"),
    [
        (None, 119),
        ("0", 80),
        ("1", 15),
        ("0,1", 80),
        (" 1 , 0 ", 80),
        ("2", 119),
        ("GPU-aa22-1", 15),
        ("GPU-aa22", 15),
        ("GPU-aa", None),
        ("1,-1,0", 15),
        ("1,7,0", 15),
        ("7", None),
        ("-1", None),
        ("", None),
        ("MIG-12ab", 119),
    ],
)
def test_only_visible_cards_count(nvidia_smi, monkeypatch, visible, memory):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert profiles.gpu_memory_gib() == memory
    assert profiles.find_device() == ("cpu" if memory is None else "cuda")


def test_a_card_that_shares_the_machines_memory_is_a_gpu(nvidia_smi):
    nvidia_smi("0, GPU-1, [N/A]\n")
    assert profiles.gpu_memory_gib() == 119 and profiles.find_device() == "cuda"


@pytest.mark.parametrize(("text", "status"), [("No devices were found\n", 6), ("No devices were found\n", 0), ("", 0)])
def test_no_card_is_no_gpu(nvidia_smi, text, status):
    nvidia_smi(text, status)
    assert profiles.gpu_memory_gib() is None and profiles.find_device() == "cpu"


def test_course_profile_decides_auto_only(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "nonsense")
    with pytest.raises(CourseError, match="nonsense"):
        use_profile("auto")
    assert use_profile("tiny", quiet=True).profile.name == "tiny"


def test_a_gpu_profile_on_the_cpu_is_refused_unless_rehearsed(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    with pytest.raises(CourseError, match=r"does not run on cpu(.|\n)*COURSE_REHEARSE"):
        use_profile("4b")
    monkeypatch.setenv("COURSE_REHEARSE", "1")
    active = use_profile("4b", quiet=True)
    assert active.engine_arguments()["load_format"] == "dummy"
    assert "noise" in active.label and "noise" in active.describe()
    assert "revision" not in active.engine_arguments()


def test_environment_is_set_but_never_overridden(monkeypatch):
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    active = use_profile("tiny", quiet=True)
    import os

    assert os.environ["VLLM_LOGGING_LEVEL"] == "DEBUG"
    missing = [name for name in active.environment() if name not in os.environ]
    assert not missing


def test_flags_say_the_same_as_keywords():
    active = use_profile("tiny", quiet=True)
    keywords, flags = active.engine_arguments(), active.serve_flags()
    assert "--model" not in flags and flags[-2:] == ["--served-model-name", active.served_name]
    for name, value in keywords.items():
        if name == "model":
            continue
        flag = ("--no-" if value is False else "--") + name.replace("_", "-")
        assert flag in flags
        if not isinstance(value, bool):
            given = flags[flags.index(flag) + 1]
            assert (json.loads(given) if isinstance(value, dict) else given) == (
                value if isinstance(value, dict) else str(value)
            )


def test_a_hub_model_that_is_not_here_keeps_its_revision_and_respects_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    monkeypatch.setenv("COURSE_MODELS_DIR", str(tmp_path))
    active = use_profile("4b", quiet=True)
    assert active.model_path == "Qwen/Qwen3-VL-4B-Instruct" and active.engine_arguments()["revision"] == "main"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CourseError, match=r"not on this disk(.|\n)*download --profile 4b"):
        use_profile("4b", quiet=True)


def test_forged_device_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "tpu")
    with pytest.raises(CourseError, match="tpu"):
        use_profile("tiny")


def test_rehearsed_shapes_have_the_released_parameter_counts(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForImageTextToText

    from helpers.rehearsal import shape_folder

    tiny = profiles.COURSE_ROOT / "data" / profiles.TINY
    twin = tiny.with_name("tiny-qwen2-vl")
    for stand_in, model, billions in (
        (tiny, "Qwen/Qwen3-VL-2B-Instruct", 2.128),
        (tiny, "Qwen/Qwen3-VL-30B-A3B-Instruct", 31.07),
        (twin, "Qwen/Qwen2-VL-2B-Instruct", 2.209),
        (twin, "Qwen/Qwen2-VL-7B-Instruct", 8.291),
    ):
        folder = shape_folder(model, stand_in, tmp_path)
        assert shape_folder(model, stand_in, tmp_path) == folder
        with torch.device("meta"):
            built = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
        count = sum(parameter.numel() for parameter in built.parameters())
        assert abs(count / 1e9 - billions) < 0.006 * billions, model
    with pytest.raises(CourseError, match="cannot stand in for"):
        shape_folder("Qwen/Qwen2-VL-2B-Instruct", tiny, tmp_path)


@pytest.mark.parametrize(
    ("model", "opened"),
    [("Qwen/Qwen3-VL-4B-Thinking", "assistant\n<think>\n"), ("Qwen/Qwen3-VL-4B-Instruct", "assistant\n")],
)
def test_a_rehearsed_edition_thinks_or_not_and_takes_the_results_of_tools(model, opened, tmp_path):
    transformers = pytest.importorskip("transformers")
    from helpers.rehearsal import shape_folder

    folder = shape_folder(model, profiles.COURSE_ROOT / "data" / profiles.TINY, tmp_path, small=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    released = {
        "<|im_end|>": 151645,
        "<tool_call>": 151657,
        "</tool_call>": 151658,
        "<think>": 151667,
        "</think>": 151668,
    }
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in released} == released
    assert tokenizer.decode(tokenizer.encode("Hm.</think>"), skip_special_tokens=True) == "Hm.</think>"
    call = {"type": "function", "function": {"name": "zoom", "arguments": {"label": "dog"}}}
    asked = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    prompt = tokenizer.apply_chat_template(
        [*asked, {"role": "tool", "content": "It barks."}], tokenize=False, add_generation_prompt=True
    )
    assert prompt.endswith(opened)
    assert '{"name": "zoom", "arguments": {"label": "dog"}}' in prompt and "<tool_response>\nIt barks." in prompt


@pytest.mark.parametrize("name", [name for name, profile in load_profiles().items() if profile.source == "hub"])
def test_in_miniature_all_but_depth_and_width_is_as_released(name, monkeypatch, tmp_path):
    from helpers.model_facts import find_model_facts, read_model_facts

    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(profiles, "OUTPUTS", tmp_path)
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.setenv("COURSE_REHEARSE", "1")
    active = use_profile(name, quiet=True)
    released, small = find_model_facts(active.profile.model), read_model_facts(Path(active.model_path))
    for fact in ("family", "vocab", "context", "head_dim", "min_pixels", "max_pixels", "experts", "top_k", "tied"):
        assert getattr(small, fact) == getattr(released, fact), fact
    for fact in ("patch", "merge", "temporal_patch", "position_embeddings"):
        assert getattr(small.vision, fact) == getattr(released.vision, fact), fact
    assert len(small.vision.deepstack) == len(released.vision.deepstack) <= small.layers < released.layers
    assert small.parameters() < 0.15e9 and active.profile.needs_gib == 4.0
    assert active.profile.parameters_billions == small.parameters() / 1e9
    assert active.profile.max_model_len == 8192 and "IN MINIATURE" in active.describe() and "noise" in active.label

    processor = transformers.AutoProcessor.from_pretrained(active.model_path)
    ids = {token: processor.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|video_pad|>")}
    assert ids == {"<|im_end|>": 151_645, "<|video_pad|>": 151_656}  # as released
    assert all(processor.tokenizer.decode([number]) for number in range(0, 151_643, 997))
    text = processor.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text.startswith("<|im_start|>" + ("user" if active.profile.family == "qwen3-vl" else "system"))


def test_a_rehearsal_in_full_size_is_asked_for_by_name(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert not use_profile("2b", rehearse=True, quiet=True).profile.small
    monkeypatch.setenv("COURSE_REHEARSE", "full")
    active = use_profile("2b", quiet=True)
    assert active.profile.rehearse and not active.profile.small
    monkeypatch.setenv("COURSE_REHEARSE", "1")
    assert use_profile("2b", rehearse=True, quiet=True).profile.small
    assert not use_profile("tiny", rehearse=False, quiet=True).profile.rehearse
    assert not use_profile("tiny", quiet=True).profile.small, "the tiny model is small enough"


def test_on_a_gpu_an_engine_has_a_process_of_its_own_whose_end_frees_the_memory():
    for profile in load_profiles().values():
        assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in ActiveProfile(profile, "cuda", "x").environment()
        assert ActiveProfile(profile, "cpu", "x").environment()["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_label_of_a_released_model_is_its_name():
    profile = load_profiles()["4b"]
    assert ActiveProfile(profile, "cuda", "x").label == "Qwen3-VL-4B-Instruct"


@pytest.mark.parametrize("card", ["RTX 4090", "H100"])
def test_the_memory_of_gpu_profiles_is_what_the_planner_counts(card):
    """Else `auto` takes what the planner calls too large, or leaves out what fits. Half a GiB to a GiB of rounding."""
    from helpers.model_facts import find_model_facts
    from toolkit.planner import EngineSettings, Workload, find_gpu, plan_memory

    gpu = find_gpu(card)
    for profile in load_profiles().values():
        if profile.source != "hub":
            continue
        engine, share = profile.engine, profile.cuda_engine["gpu_memory_utilization"]
        limits = engine["limit_mm_per_prompt"]
        plan = plan_memory(
            find_model_facts(profile.model),
            gpu,
            workload=Workload(
                context=profile.max_model_len,
                images=limits["image"],
                video=bool(limits["video"]),
                users=engine["max_num_seqs"],
            ),
            engine=EngineSettings(utilization=share),
        )
        used = sum(plan.counted.values()) + sum(plan.estimated.values()) + plan.one_request
        assert 0 <= profile.needs_gib - used / share / 2**30 < 1, profile.name


@pytest.mark.parametrize(("capability", "dtype"), [("7.5", "float16"), ("8.0", "bfloat16"), ("[N/A]", "bfloat16")])
def test_a_card_without_bfloat16_gets_float16(nvidia_smi, monkeypatch, capability, dtype):
    nvidia_smi(f"0, GPU-1, {capability}\n")
    monkeypatch.setattr(profiles, "find_device", lambda: "cuda")
    monkeypatch.setattr(profiles, "hub_is_off", lambda: False)
    active = use_profile("2b", quiet=True)
    assert active.engine_arguments()["dtype"] == dtype and f", {dtype})" in active.describe()
    assert use_profile("tiny", quiet=True).engine_arguments()["dtype"] == "float32"


def test_the_address_that_kubernetes_puts_into_vllms_port_is_ignored(monkeypatch, capsys):
    monkeypatch.setenv("VLLM_PORT", "tcp://10.0.0.1:8000")
    use_profile("tiny", quiet=True)
    assert "VLLM_PORT" not in os.environ and "Kubernetes" in capsys.readouterr().out


def test_sockets_have_a_short_path_though_temporary_files_have_not(monkeypatch, tmp_path):
    tiny = use_profile("tiny", quiet=True)
    monkeypatch.setattr("tempfile.tempdir", "/scratch")
    assert "VLLM_RPC_BASE_PATH" not in tiny.environment()
    monkeypatch.setattr("tempfile.tempdir", "/scratch" + "é" * 40)
    assert tiny.environment()["VLLM_RPC_BASE_PATH"] == "/tmp"


def test_what_a_chapter_imports_says_nothing_in_red():
    """torch reports, on import, that a CPU has neither Triton nor CUDA; vLLM looks at a name that is deprecated."""
    code = "from helpers.profiles import use_profile; use_profile('tiny', quiet=True); import torch.distributed as d\n"
    code += "import torch.utils.flop_counter, torch.utils.cpp_extension, torch._library.triton; d.reduce_op"
    ended = run_to_end([sys.executable, "-c", code], errors_apart=True)
    assert (ended.status, ended.errors) == (0, "")

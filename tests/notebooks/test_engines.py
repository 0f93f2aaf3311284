"""Every engine and server that a notebook starts fits a profile's smallest card, alone; nothing is started here."""

import functools

import nbformat
import pytest

from course.manifest import MANIFEST_FILE, load_manifest
from helpers.model_facts import find_model_facts
from helpers.profiles import COURSE_ROOT, ActiveProfile, load_profiles
from helpers.rehearsal import shape_folder
from tests.support.recorded_notebook import Recorder, starting_cells
from toolkit.planner import EngineSettings, Workload, find_gpu, plan_memory

FOLDER = MANIFEST_FILE.parent
STEMS = [entry.stem for entry in load_manifest().notebooks]
RELEASED = [profile.name for profile in load_profiles().values() if profile.source == "hub"]
#: Cells that start nothing on a GPU, and say why.
CPU_ONLY = {"two-servers"}
#: Cells that run only if the reader asks for them.
ASKED_FOR = {"06b_what_limits_the_speed": {"rehearse_2b": True, "compare_compiled": True}}


@pytest.fixture(scope="module")
def on_a_gpu(tmp_path_factory):
    """Name → that profile on a GPU, with its model's configuration in a folder."""
    shapes, data, found = tmp_path_factory.mktemp("shapes"), COURSE_ROOT / "data", {}
    for name, profile in load_profiles().items():
        folder = data / profile.model
        if profile.source == "hub":
            folder = shape_folder(profile.model, data / "models" / f"tiny-{profile.family}", shapes)
        found[name] = ActiveProfile(profile, "cuda", str(folder))
    return found


@pytest.fixture(scope="module")
def recorded(on_a_gpu):
    """(Notebook, profile) → what the notebook starts for it; each is recorded once."""

    @functools.cache
    def record(stem, name):
        notebook = nbformat.read(FOLDER / f"{stem}.ipynb", 4)
        recorder = Recorder(notebook, on_a_gpu[name], on_a_gpu, **ASKED_FOR.get(stem, {}))
        recorder.run()
        return recorder

    return record


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", ["tiny", *RELEASED])
def test_one_at_a_time_each_ended_and_none_unseen(stem, name, recorded):
    recorder = recorded(stem, name)
    started = recorder.started
    unseen = set(starting_cells(recorder.notebook)) - {one.cell for one in started} - CPU_ONLY
    assert not unseen, f"nothing was recorded of these cells: {unseen}"
    beside = {one.cell: [other.cell for other in one.beside] for one in started if one.beside}
    assert not beside, f"cell → what still runs when it starts an engine: {beside}"
    assert not recorder.live, f"never ended: {[one.cell for one in recorder.live]}"


def smallest_card(*profiles):
    """That the profile is for; a chapter that compares it with a larger one is for that one's."""
    card = find_gpu(f"{max(profile.needs_gib for profile in profiles):g} GiB")
    return card.model_copy(update={"told_by": "cuda"})  # `needs_gib` is what a program on it sees


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", RELEASED)
def test_each_fits_the_smallest_card_and_holds_its_longest_request(stem, name, recorded):
    for one in recorded(stem, name).started:
        if one.active.profile.source == "bundled":
            continue
        arguments, limits = one.arguments, one.arguments["limit_mm_per_prompt"]
        plan = plan_memory(
            find_model_facts(one.active.profile.model),
            smallest_card(load_profiles()[name], one.active.profile),
            workload=Workload(
                context=arguments["max_model_len"],
                images=limits["image"],
                video=bool(limits["video"]),
                users=arguments["max_num_seqs"],
            ),
            engine=EngineSettings(
                utilization=arguments["gpu_memory_utilization"], eager=arguments.get("enforce_eager", False)
            ),
        )
        assert plan.fits, f"{one.cell}: {plan.describe()}"
        cache = arguments.get("kv_cache_memory_bytes", plan.cache_bytes)
        assert plan.one_request <= cache <= plan.cache_bytes, f"{one.cell}: a KV cache of {cache:,} bytes"


def test_what_was_wrong_is_found(on_a_gpu):
    """A fixed KV cache, and a server beside an engine that nobody ended."""
    sources = [
        'profile = "auto"',
        'from vllm import LLM\nllm = LLM(**active.engine_arguments() | {"kv_cache_memory_bytes": 64 * 2**20})',
        "from helpers.server import serve\nwith serve(active) as server:\n    pass",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    recorder = Recorder(nbformat.v4.new_notebook(cells=cells), on_a_gpu["4b"], on_a_gpu)
    engine, server = recorder.run()
    assert server.beside == [engine] == recorder.live
    plan = plan_memory("Qwen/Qwen3-VL-4B-Instruct", "H100", workload=Workload(context=8192))
    assert engine.arguments["kv_cache_memory_bytes"] < plan.one_request

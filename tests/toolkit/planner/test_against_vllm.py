"""The planner against vLLM itself: its own shards, and its own rules for layouts."""

import json
import shutil
from dataclasses import replace
from itertools import product

import pytest

from helpers.files import COURSE_ROOT
from helpers.model_facts import load_catalogue, read_model_facts
from helpers.rehearsal import STAND_IN_FILES
from tests.support.ask_vllm import answer_of
from tests.support.model_configs import config_of
from toolkit.planner.lora_slots import LoraSlots, slot_bytes
from toolkit.planner.parallel import Layout, layers_of_stages
from toolkit.planner.weights import stage_weights

CATALOGUE = load_catalogue()
STAND_IN = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"
ASK_RULES = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import vllm.distributed
from vllm.distributed.utils import get_pp_indices
from vllm.model_executor.layers.quantization.utils.fp8_utils import (
    validate_fp8_block_shape, validate_fp8_block_shape_moe)
def accepted(rule, degree, *arguments):
    vllm.distributed.get_tensor_model_parallel_world_size = lambda: degree
    try:
        rule(*arguments)
    except ValueError:
        return False
    return True
answers = {"down": [], "expert": [], "stages": []}
for columns, hidden, degree in json.loads(sys.argv[1])["down"]:
    layer = SimpleNamespace(tp_size=degree)
    answers["down"].append(accepted(
        validate_fp8_block_shape, degree, layer, columns, hidden, columns // degree, [hidden], [128, 128]))
for columns, degree in json.loads(sys.argv[1])["expert"]:
    answers["expert"].append(accepted(validate_fp8_block_shape_moe, degree, columns // degree, [128, 128]))
for layers, stages in json.loads(sys.argv[1])["stages"]:
    answers["stages"].append([end - start for start, end in (get_pp_indices(layers, n, stages) for n in range(stages))])
Path(sys.argv[2]).write_text(json.dumps(answers))
"""

#: Builds vLLM's model as one GPU of several would, in a single process that is told of the others; with slots for
#: adapters, if their number, rank and reach are given.
ASK_SHARDS = """
import json, sys
from pathlib import Path
import torch
from vllm import LLM
from vllm.distributed import parallel_state
from vllm.lora.layers.fused_moe import FusedMoEWithLoRA
from vllm.lora.model_manager import LoRAModelManager
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
folder, layouts, slots = json.loads(sys.argv[1])
class Enough(Exception):
    pass
def seat(self, base_layer):  # no kernel of the CPU adapts experts, but the memory is allocated all the same
    torch.nn.Module.__init__(self)
    self.base_layer, self.moe_config, self.device = base_layer, base_layer.moe_config, torch.device("cpu")
    self.enable_moe_shared_loras = False
FusedMoEWithLoRA.__init__, FusedMoEWithLoRA.set_mapping = seat, lambda self, wrapper: None
def bytes_of(config, model):
    if not slots:
        return sum(weight.nbytes for weight in model.parameters())
    manager = LoRAModelManager(model, 4, 1024, 768, config.lora_config, torch.device("cpu"), config)
    held = [held for module in manager.modules.values() for name, held in vars(module).items() if "_stacked" in name]
    tensors = [tensor for one in held for tensor in (one if isinstance(one, tuple) else (one,))]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())  # some have two names
def build(self, *unused, **ignored):
    parallel, tensor, pipeline = self.vllm_config.parallel_config, parallel_state._TP, parallel_state._PP
    answers = []
    for degree, stages, experts in layouts:
        parallel.enable_expert_parallel, parallel.tensor_parallel_size = experts, degree
        tensor.world_size, pipeline.world_size, pipeline.ranks = degree, stages, list(range(stages))
        if parallel_state._EP is not None:
            parallel_state._EP.world_size = degree
        sizes = []
        for stage in range(stages):
            pipeline.rank = pipeline.rank_in_group = stage
            self.vllm_config.compilation_config.static_forward_context.clear()
            with set_default_torch_dtype(torch.bfloat16):
                model = initialize_model(vllm_config=self.vllm_config, model_config=self.model_config)
            sizes.append(bytes_of(self.vllm_config, model))
        answers.append(sizes)
    Path(sys.argv[2]).write_text(json.dumps(answers))
    raise Enough
CPUModelRunner.load_model = build
adapters = dict(zip(("max_loras", "max_lora_rank", "enable_tower_connector_lora"), slots))
try:
    LLM(model=folder, load_format="dummy", dtype="bfloat16", max_model_len=1024, kv_cache_memory_bytes=50_000_000,
        enforce_eager=True, max_num_seqs=4, distributed_executor_backend="uni", enable_lora=bool(slots), **adapters)
except Enough:
    pass
"""


@pytest.mark.engine
@pytest.mark.slow
def test_weights_of_each_gpu_are_those_of_vllms_own_shards(tmp_path):
    facts = small_mixture()
    folder = write_shape(facts, tmp_path / "small-mixture")
    layouts = [(1, 1, False), (4, 1, False), (1, 2, False), (2, 3, False), (2, 1, True), (4, 1, True)]
    predicted = [
        [sum(stage_weights(facts, Layout(degree, stages, 1, experts), stage=n).values()) for n in range(stages)]
        for degree, stages, experts in layouts
    ]
    assert answer_of(ASK_SHARDS, [str(folder), layouts, []], tmp_path) == predicted


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tower", "layouts"),
    [
        ("tiny-qwen3-vl", True, [(1, 1, False)]),
        ("tiny-qwen2-vl", True, [(1, 1, False), (1, 2, False)]),
        ("deep", False, [(2, 1, False), (1, 3, False)]),
        ("small-mixture", True, [(1, 1, False), (4, 1, False), (2, 3, False), (2, 1, True), (4, 1, True)]),
    ],
)
def test_slots_for_adapters_are_those_that_vllm_allocates(name, tower, layouts, tmp_path):
    folder = COURSE_ROOT / "data" / "models" / name
    if name == "small-mixture":
        folder = write_shape(small_mixture(), tmp_path / name)
    elif name == "deep":  # its pipeline has stages without the first and the last layer
        folder = write_deep(tmp_path / name)
    facts, slots = read_model_facts(folder), LoraSlots(2, 8, tower)
    predicted = [
        [slot_bytes(facts, Layout(degree, stages, 1, experts), slots, stage=n) for n in range(stages)]
        for degree, stages, experts in layouts
    ]
    question = [str(folder), layouts, [slots.count, slots.rank, slots.tower]]
    assert answer_of(ASK_SHARDS, question, tmp_path) == predicted


def write_deep(folder):
    """The shape of the tiny model with nine layers, and four heads in its tower."""
    folder.mkdir()
    for name in STAND_IN_FILES:
        shutil.copyfile(STAND_IN / name, folder / name)
    config = json.loads((STAND_IN / "config.json").read_text())
    config["text_config"]["num_hidden_layers"], config["vision_config"]["num_heads"] = 9, 4
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def small_mixture():
    """30B-A3B with everything small: 2 KV heads and 6 experts, so that 4 GPUs hold heads twice and experts unevenly."""
    facts = CATALOGUE["Qwen/Qwen3-VL-30B-A3B-Instruct"]
    tower = {"depth": 4, "hidden": 160, "mlp": 480, "heads": 4, "position_embeddings": 256, "deepstack": (0, 1)}
    sizes = {"layers": 5, "hidden": 256, "heads": 8, "kv_heads": 2, "vocab": 768, "context": 4096}
    experts = {"experts": 6, "top_k": 2, "moe_mlp": 128}
    return replace(facts, vision=replace(facts.vision, **tower), **sizes, **experts)


def write_shape(facts, folder):
    """A folder that the engine starts from; tokenizer and processor are the tiny model's."""
    folder.mkdir()
    for name in STAND_IN_FILES:
        shutil.copyfile(STAND_IN / name, folder / name)
    tiny = json.loads((STAND_IN / "config.json").read_text())
    tokens = {key: value for key, value in tiny.items() if key.endswith("_token_id")}
    config = config_of(facts) | tokens | {"architectures": ["Qwen3VLMoeForConditionalGeneration"]}
    rope = {"rope_type": "default", "rope_theta": 5000000, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    config["text_config"] |= {"rope_parameters": rope, "norm_topk_prob": True}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_block_rules_and_pipeline_stages_are_vllms(tmp_path):
    degrees = [1, 2, 4, 8, 16]
    dense = [facts for facts in CATALOGUE.values() if not facts.is_moe]
    mixed = [facts for facts in CATALOGUE.values() if facts.is_moe]
    down = [(facts, degree) for facts, degree in product(dense, degrees) if facts.mlp % degree == 0]
    expert = [(facts, degree) for facts, degree in product(mixed, degrees) if facts.moe_mlp % degree == 0]
    stages = [(facts.layers, count) for facts, count in product(CATALOGUE.values(), range(1, 9))]
    question = {
        "down": [(facts.mlp, facts.hidden, degree) for facts, degree in down],
        "expert": [(facts.moe_mlp, degree) for facts, degree in expert],
        "stages": stages,
    }
    answers = answer_of(ASK_RULES, question, tmp_path)
    assert any(answers["down"]) and not all(answers["down"]) and not all(answers["expert"])
    for pairs, kind, word in ((down, "down", "fit an MLP"), (expert, "expert", "fit an expert")):
        for (facts, degree), accepted in zip(pairs, answers[kind], strict=True):
            refused = any(word in problem for problem in Layout(degree).problems(facts, "fp8"))
            assert refused != accepted, (facts.name, degree)
    assert answers["stages"] == [layers_of_stages(layers, count) for layers, count in stages]

"""Predictions against a real engine: the KV cache that vLLM reports, at sizes that this machine can start.

``python -m benchmarks.planner_check Qwen/Qwen3-VL-2B-Instruct --gib 1 2 --record`` starts the CPU engine once per size,
with random weights of the model's real shape, generates nothing, and appends what it saw to
``benchmarks/planner_check.json``. Not a part of any notebook: each start is a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from helpers.files import COURSE_ROOT, OUTPUTS, append_entry
from helpers.machine import installed_versions
from helpers.model_facts import ModelFacts, read_model_facts
from helpers.provenance import this_machine
from toolkit.planner.kv_cache import BLOCK_TOKENS, cache_blocks, reported_tokens
from toolkit.planner.parallel import Layout
from toolkit.planner.weights import stage_weights

RECORD = COURSE_ROOT / "benchmarks" / "planner_check.json"
STAND_IN = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"
GIB = 2**30


def engine_report(
    folder: Path, cache_bytes: int, *, dtype: str, max_model_len: int, items: bool = False
) -> dict[str, Any]:
    """Start the engine in this process, which should be one of its own, and read what it made of the cache.

    Weights are random (``load_format="dummy"``). With ``items``, videos are allowed, and the tokens of the largest
    image and video are asked for as well.

    Returns:
        blocks, block_tokens, tokens (as logged), weight_bytes (of the parameters as loaded).
    """
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    from vllm import LLM
    from vllm.model_executor.model_loader import DummyModelLoader, register_model_loader

    weight_bytes: list[int] = []

    @register_model_loader("dummy")
    class CountingLoader(DummyModelLoader):
        """Counts between loading and packing: where a CPU computes in bfloat16, packed layers give up their weights."""

        def load_weights(self, model: Any, model_config: Any) -> None:
            super().load_weights(model, model_config)
            weight_bytes.append(sum(weight.numel() * weight.element_size() for weight in model.parameters()))

    engine = LLM(
        model=str(folder),
        load_format="dummy",
        dtype=dtype,
        max_model_len=max_model_len,
        kv_cache_memory_bytes=cache_bytes,
        enforce_eager=True,
        max_num_seqs=4,
        limit_mm_per_prompt={"image": 1, "video": int(items)},
        distributed_executor_backend="uni",
        seed=0,
    )
    cache = engine.llm_engine.vllm_config.cache_config
    report = {
        "blocks": cache.num_gpu_blocks,
        "block_tokens": cache.block_size,
        "tokens": cache.kv_cache_size_tokens,
        "weight_bytes": weight_bytes[0],
    }
    if items:
        from vllm.multimodal import MULTIMODAL_REGISTRY
        from vllm.multimodal.encoder_budget import MultiModalBudget

        budget = MultiModalBudget(engine.llm_engine.vllm_config, MULTIMODAL_REGISTRY)
        report["item_tokens"] = dict(budget.mm_max_toks_per_item)
    return report


def prediction(facts: ModelFacts, cache_bytes: int, *, dtype: str, max_model_len: int) -> dict[str, Any]:
    """The planner's answer to the same question, without an engine."""
    block_tokens = BLOCK_TOKENS["cpu"]
    blocks = cache_blocks(facts, cache_bytes, dtype=dtype, block_tokens=block_tokens)
    return {
        "blocks": blocks,
        "block_tokens": block_tokens,
        "tokens": reported_tokens(blocks, max_model_len, block_tokens),
        "weight_bytes": sum(stage_weights(facts, Layout(), dtype, 0).values()),
    }


def check(model: str, gib: float, *, dtype: str = "bfloat16", max_model_len: int = 4096) -> dict[str, Any]:
    """Prediction and engine at one cache size, as an entry of the record.

    ``model`` is a folder, or a hub id of ``data/models.yaml`` (its shape is written without a network).

    Raises:
        CourseError: unknown model. What an engine raises that does not start is passed on.
    """
    folder, cache_bytes, machine = _folder_of(model), int(gib * GIB), this_machine()
    settings: dict[str, Any] = {"dtype": dtype, "max_model_len": max_model_len}
    words = ["python", "-m", "benchmarks.planner_check", model, "--gib", f"{gib:g}", "--dtype", dtype]
    predicted = prediction(read_model_facts(folder), cache_bytes, **settings)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        report = pool.submit(engine_report, folder, cache_bytes, **settings).result()
    return {
        "model": model,
        "cache_bytes": cache_bytes,
        **settings,
        "predicted": predicted,
        "engine": report,
        "command": shlex.join([*words, "--max-model-len", str(max_model_len), "--record"]),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "cpu": machine.cpu,
            "cores_used": machine.cores,
            "features": list(machine.cpu_features),
            "ram_gib": machine.ram_gib,
        },
        "versions": installed_versions(("vllm", "torch", "transformers")),
        "same_blocks": predicted["blocks"] == report["blocks"],
    }


def _folder_of(model: str) -> Path:
    if (Path(model) / "config.json").is_file():
        return Path(model)
    from helpers.rehearsal import shape_folder

    return shape_folder(model, STAND_IN, OUTPUTS / "shapes")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner_check", description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder, or hub id of data/models.yaml")
    parser.add_argument("--gib", nargs="+", type=float, default=[1.0, 2.0], help="cache sizes (default: 1 2)")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--record", action="store_true", help="append to benchmarks/planner_check.json")
    given = parser.parse_args(arguments)
    status = 0
    for gib in given.gib:
        entry = check(given.model, gib, dtype=given.dtype, max_model_len=given.max_model_len)
        if given.record:
            append_entry(RECORD, entry)
        same = "equal" if entry["same_blocks"] else "DIFFERENT"
        print(f"{gib:g} GiB: {same}; {entry['predicted']} predicted, {entry['engine']} engine")
        status |= not entry["same_blocks"]
    return status


if __name__ == "__main__":
    sys.exit(main())

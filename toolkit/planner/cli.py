"""``course plan``: does it fit, and what starts it, on a machine, in a container or in a cluster."""

from __future__ import annotations

import json
import re
from typing import get_args

from helpers.errors import CourseError
from helpers.model_facts import find_model_facts, load_catalogue
from toolkit.planner.hardware import UNEQUAL, GpuSpec, as_gpu, find_gpu, measured_gpu
from toolkit.planner.memory import EngineSettings, Workload
from toolkit.planner.recipes import Weights
from toolkit.planner.recommendation import recommend

FORMATS: tuple[Weights, ...] = get_args(Weights)


def main(
    gpu: GpuSpec | str = "auto",
    count: int | None = None,
    model: str = "4b",
    workload: Workload | None = None,
    weights: Weights | None = None,
    as_json: bool = False,
    engine: EngineSettings | None = None,
) -> int:
    """Print memory, command, ``docker run``, Compose file and Kubernetes manifests.

    Returns:
        0, or 1 if it does not fit.

    Raises:
        CourseError: an unknown GPU, model or format, or a number out of range.
    """
    name, format_in_name = find_model(model)
    workload, stored = workload or Workload(), weights or format_in_name
    spec, found = own_gpus() if gpu == "auto" else (as_gpu(gpu), 1)
    result = recommend(spec, found if count is None else count, name, workload, stored, engine)
    print(json.dumps(result.as_dict(), indent=2) if as_json else result.as_text(workload.users))
    return 0 if result.plan.fits else 1


def card(gpu: str, memory: float | None) -> GpuSpec | str:
    """The card of ``--gpu``, with the memory of ``--memory`` in GiB, as a program on it sees it; 'auto' stays 'auto'.

    Raises:
        CourseError: an unknown card, or a size that no card has.
    """
    if memory is None:
        return gpu if gpu == "auto" else find_gpu(gpu)
    return (GpuSpec(name="a card", memory=1) if gpu == "auto" else find_gpu(gpu)).with_memory(memory)


def find_model(name: str) -> tuple[str, Weights | None]:
    """Hub id and, if the name says so, the format: '235b', '30b-a3b', 'qwen3-vl-8b-thinking-fp8', a hub id in any case.

    Raises:
        CourseError: unknown, or short for several; with the names that are near.
    """
    asked = name.lower().strip().removeprefix("qwen/")
    weights = next((stored for stored in FORMATS if stored != "bf16" and asked.endswith(f"-{stored}")), None)
    asked = asked.removesuffix(f"-{weights}").removeprefix("qwen3-vl-").removesuffix("-instruct")
    thinking, asked = asked.endswith("-thinking"), asked.removesuffix("-thinking")
    shorts = {_short(model): model for model in load_catalogue()}
    found = (
        [asked]
        if asked in shorts
        else [short for short in shorts if asked and re.match(rf"{re.escape(asked)}(-|$)", short)]
    )
    if len(found) == 1:
        model = shorts[found[0]]
        if thinking and find_model_facts(model).family != "qwen3-vl":
            raise CourseError(f"{model} has no Thinking edition.", "only Qwen3-VL has", "leave '-thinking' out")
        return (model.replace("-Instruct", "-Thinking") if thinking else model), weights
    if many := [short for short in shorts if asked and short.startswith(asked)]:
        raise CourseError(f"'{name}' could be several models.", "", f"use one of: {', '.join(sorted(many))}")
    near = _near(asked, shorts)
    nearest = f"the nearest sizes are: {', '.join(near)}" if near else f"use one of: {', '.join(shorts)}"
    raise CourseError(f"No model '{name}' is known.", "it is not in data/models.yaml", nearest)


def _near(asked: str, shorts: dict[str, str]) -> list[str]:
    """Models of the family that is meant, of at most twice and at least half the size, the nearest first."""
    size = re.search(r"(?:^|-)(\d+(?:\.\d+)?)b", asked)
    if not size or not float(size[1]):
        return []
    family = asked[: size.start(1)]
    ratios = {}
    for short in shorts:
        head, middle, rest = short.rpartition("vl-")
        if head + middle == (family if family.startswith("qwen2") else ""):
            number = float(rest.split("b")[0]) / float(size[1])
            ratios[short] = max(number, 1 / number)
    return sorted((short for short in ratios if ratios[short] <= 2), key=ratios.__getitem__)[:3]


def own_gpus() -> tuple[GpuSpec, int]:
    """The kind and number of this machine's NVIDIA GPUs, with the memory that nvidia-smi reports.

    Raises:
        CourseError: none are found, or of several kinds.
    """
    from helpers.machine import ask_nvidia_smi

    smi = ask_nvidia_smi()
    if not smi.gpus:
        raise CourseError("This machine has no NVIDIA GPU to plan for.", smi.problem, "name a card: --gpu H100")
    kinds = {gpu.name: gpu for gpu in smi.gpus}
    least, most = min(gpu.memory_gib for gpu in smi.gpus), max(gpu.memory_gib for gpu in smi.gpus)
    if len(kinds) > 1 or most > 1.02 * least:
        names = ", ".join(f"{gpu.name} ({gpu.memory_gib:.1f} GiB)" for gpu in smi.gpus)
        raise CourseError(f"This machine has cards of several kinds: {names}.", *UNEQUAL)
    first = smi.gpus[0]
    return measured_gpu(first.name, least, first.capability), len(smi.gpus)


def _short(model: str) -> str:
    """'Qwen/Qwen3-VL-235B-A22B-Instruct' -> '235b-a22b'; other families keep their name."""
    return model.rpartition("/")[2].lower().removeprefix("qwen3-vl-").removesuffix("-instruct")

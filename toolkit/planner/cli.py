"""``course plan``: does it fit, and what starts it, on a machine, in a container or in a cluster."""

from __future__ import annotations

import json
from difflib import get_close_matches

from helpers.errors import CourseError
from helpers.model_facts import load_catalogue
from toolkit.planner.hardware import GpuSpec, find_gpu, load_gpus
from toolkit.planner.memory import Workload
from toolkit.planner.recipes import PLANNED_AS, Weights
from toolkit.planner.recommendation import recommend


def main(
    gpu: str = "auto",
    count: int | None = None,
    model: str = "4b",
    workload: Workload | None = None,
    weights: str | None = None,
    as_json: bool = False,
) -> int:
    """Print memory, command, ``docker run``, Compose file and Kubernetes manifests.

    Returns:
        0, or 1 if it does not fit.

    Raises:
        CourseError: an unknown GPU, model or format, or a number out of range.
    """
    name, format_in_name = find_model(model)
    workload, stored = workload or Workload(), _format(weights) or format_in_name
    spec, found = own_gpus() if gpu == "auto" else (_gpu(gpu), 1)
    result = recommend(spec, found if count is None else count, name, workload, stored)
    print(json.dumps(result.as_dict(), indent=2) if as_json else result.as_text(workload.users))
    return 0 if result.plan.fits else 1


def find_model(name: str) -> tuple[str, Weights | None]:
    """Entry of ``data/models.yaml`` and, if the name says so, the format: '235b', '30b-a3b', '8b-fp8', a hub id.

    Raises:
        CourseError: unknown, or short for several; with the names that are near.
    """
    asked = name.lower().strip()
    weights = next((stored for stored in PLANNED_AS if stored != "bf16" and asked.endswith(f"-{stored}")), None)
    asked = asked.removesuffix(f"-{weights}")
    shorts = {_short(model): model for model in load_catalogue()}
    known = {**shorts, **{model.lower(): model for model in shorts.values()}}
    known |= {model.lower().rpartition("/")[2]: model for model in shorts.values()}
    found = {known[asked]} if asked in known else {model for short, model in shorts.items() if short.startswith(asked)}
    if asked and len(found) == 1:
        return found.pop(), weights
    near = sorted(_short(model) for model in found) or get_close_matches(asked, shorts, 3, 0.4) or list(shorts)
    what = f"'{name}' could be several models." if asked and found else f"No model '{name}' is known."
    raise CourseError(what, "it is not in data/models.yaml" if not found else "", f"use one of: {', '.join(near)}")


def own_gpus() -> tuple[GpuSpec, int]:
    """The kind and number of this machine's NVIDIA GPUs.

    Raises:
        CourseError: none are found, or of several kinds.
    """
    from helpers.machine import ask_nvidia_smi

    smi = ask_nvidia_smi()
    if not smi.gpus:
        raise CourseError("This machine has no NVIDIA GPU to plan for.", smi.problem, "name a card: --gpu H100")
    names = sorted({gpu.name for gpu in smi.gpus})
    if len(names) > 1:
        raise CourseError(
            f"This machine has cards of several kinds: {', '.join(names)}.", "", "name one with --gpu and --count"
        )
    try:
        return find_gpu(names[0]), len(smi.gpus)
    except CourseError:
        memory = max(smi.gpus[0].memory_gib, 0.1)
        return GpuSpec(name=names[0], memory=memory, told_by="nvidia-smi"), len(smi.gpus)


def yes_or_no(text: str | None) -> bool | None:
    """The value of ``--video``.

    Raises:
        CourseError: neither.
    """
    if text is None or text.lower() in ("yes", "no"):
        return None if text is None else text.lower() == "yes"
    raise CourseError(f"--video {text} was refused.", "", "give yes or no, or leave it out")


def _gpu(name: str) -> GpuSpec:
    try:
        return find_gpu(name)
    except CourseError as error:
        near = get_close_matches(name.lower(), [known.lower() for known in load_gpus()], 3, 0.5)
        if not near:
            raise
        names = ", ".join(known for known in load_gpus() if known.lower() in near)
        raise CourseError(
            error.what, error.cause, f"did you mean {names}? Or give its memory, such as '24 GiB'"
        ) from None


def _format(text: str | None) -> Weights | None:
    if text is None:
        return None
    for stored in PLANNED_AS:
        if stored == text.lower():
            return stored
    raise CourseError(f"--weights {text} was refused.", "", f"use one of: {', '.join(PLANNED_AS)}")


def _short(model: str) -> str:
    """'Qwen/Qwen3-VL-235B-A22B-Instruct' -> '235b-a22b'; Qwen2-VL keeps its family's name."""
    return model.rpartition("/")[2].lower().removeprefix("qwen3-vl-").removesuffix("-instruct")

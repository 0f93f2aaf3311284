"""What to change if a model does not fit, and which layout serves most: every option is planned, none is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from helpers.model_facts import ModelFacts, load_catalogue
from toolkit.planner.estimates import item_tokens
from toolkit.planner.hardware import GpuSpec
from toolkit.planner.memory import EngineSettings, MemoryPlan, Workload, plan_memory, plan_of
from toolkit.planner.parallel import Layout
from toolkit.planner.recipes import PLANNED_AS, RELEASED

#: A context shorter than this is no remedy.
SHORTEST_CONTEXT = 2048
#: Pixels that an image keeps where nothing is said about its size: about 1280 tokens of Qwen3-VL.
MODEST_PIXELS = 1280 * 32 * 32
#: Requests and batch that need little memory for sampling.
FEW_REQUESTS, SMALL_BATCH = 16, 2048
MOST_GPUS = 8
#: Formats of weights that are smaller than 16 bits, the larger one first.
SMALLER = {"fp8": "a checkpoint with FP8 weights", "awq": "a checkpoint with 4-bit AWQ weights"}
#: What a step offers: the change in a few words, and the plan with it.
Offers = Iterator[tuple[str, MemoryPlan]]


@dataclass(frozen=True)
class Suggestion:
    """A change that makes a setup fit."""

    change: str
    """In a few words."""
    plan: MemoryPlan
    """With the change."""


def suggestions(plan: MemoryPlan) -> list[Suggestion]:
    """Changes that would make the setup fit, the smallest first; empty if it fits, or if nothing would help.

    First what keeps model and GPUs, each tried alone: a shorter context, smaller images or no videos, fewer requests
    at once, an FP8 KV cache, the family's checkpoints with FP8 or 4-bit AWQ weights. If none of these is enough, they
    are added up in that order until it fits. Then more GPUs, then a smaller model of the family.
    """
    if plan.fits:
        return []
    alone = [_shorter_context, *_STEPS]
    found = [Suggestion(name, changed) for step in alone for name, changed in step(plan) if changed.fits]
    found = found or _added_up(plan)
    return found + [Suggestion(*offer) for step in (_more_gpus, _smaller_model) for offer in step(plan)]


def _added_up(plan: MemoryPlan) -> list[Suggestion]:
    names: list[str] = []
    current = plan
    for step in _STEPS:
        name, changed = max(step(current), key=lambda offer: offer[1].spare_bytes, default=("", current))
        if changed.spare_bytes > current.spare_bytes and len(changed.problems) <= len(current.problems):
            names, current = [*names, name], changed
        for name, changed in [("", current), *_shorter_context(current)]:
            if changed.fits:
                return [Suggestion("; ".join([*names, name] if name else names), changed)]
    return []


def best_layout(
    facts: ModelFacts,
    gpu: GpuSpec,
    count: int,
    *,
    weights: str | None = None,
    workload: Workload | None = None,
    engine: EngineSettings | None = None,
) -> MemoryPlan:
    """The layout of ``count`` GPUs, all of which are used, that holds the most requests of full length at once.

    Memory alone decides, not speed. One with a margin comes before all without (`MemoryPlan.narrow`). Among equals, the
    one with fewer pipeline stages, then with fewer GPUs per layer, then without expert parallel. If none fits, the
    one that lacks the least; if all are refused, the first. Arguments and errors are those of `plan_memory`.
    """

    def merit(plan: MemoryPlan) -> tuple[Any, ...]:
        layout = plan.setup.layout
        held = plan.concurrent_requests() if plan.fits else plan.spare_bytes
        simple = (-layout.pipeline_parallel, -layout.tensor_parallel, not layout.expert_parallel)
        return (not plan.problems, plan.fits, not plan.narrow, held, *simple)

    return max(
        (
            plan_memory(facts, gpu, count, weights=weights, layout=layout, workload=workload, engine=engine)
            for layout in _layouts(facts, count)
        ),
        key=merit,
    )


def _layouts(facts: ModelFacts, count: int) -> Iterator[Layout]:
    degrees = [degree for degree in range(1, count + 1) if count % degree == 0]
    for tensor, pipeline in product(degrees, degrees):
        data, rest = divmod(count, tensor * pipeline)
        if rest:
            continue
        for experts in (False, True) if facts.is_moe and tensor * data > 1 else (False,):
            yield Layout(tensor, pipeline, data, experts)


def _shorter_context(plan: MemoryPlan) -> Offers:
    length = plan.largest_context // 1024 * 1024
    if SHORTEST_CONTEXT <= length < plan.setup.max_model_len and length > plan.image_tokens:
        yield f"context of {length:,} tokens", plan_of(replace(plan.setup, max_model_len=length))


def _smaller_images(plan: MemoryPlan) -> Offers:
    setup = plan.setup
    if setup.video and setup.images:
        yield "no videos", plan_of(replace(setup, video=False))
    if not setup.images or setup.max_pixels:
        return
    if setup.image_size:
        height, width = setup.facts.resized(*setup.image_size)
        limit = height * width
    else:
        limit = min(MODEST_PIXELS, setup.facts.max_pixels)
    limited = replace(setup, max_pixels=limit)
    tokens = item_tokens(setup.facts, max_pixels=limit, max_model_len=setup.max_model_len)["image"]
    yield f"images of at most {tokens:,} tokens", plan_of(limited)
    if setup.video:
        yield f"images of at most {tokens:,} tokens and no videos", plan_of(replace(limited, video=False))


def _fewer_requests(plan: MemoryPlan) -> Offers:
    setup = plan.setup
    fewer, smaller = min(FEW_REQUESTS, setup.max_num_seqs), min(SMALL_BATCH, setup.max_num_batched_tokens)
    if (fewer, smaller) != (setup.max_num_seqs, setup.max_num_batched_tokens):
        changed = replace(setup, max_num_seqs=fewer, max_num_batched_tokens=smaller)
        yield f"{fewer} requests at once in batches of {smaller:,} tokens", plan_of(changed)


def _smaller_cache(plan: MemoryPlan) -> Offers:
    if plan.setup.kv_cache != "fp8":
        yield "KV cache in FP8", plan_of(replace(plan.setup, kv_cache="fp8"))


def _smaller_weights(plan: MemoryPlan) -> Offers:
    released = {PLANNED_AS[weights] for weights in RELEASED.get(plan.setup.facts.family, {})}
    formats = list(SMALLER)
    smaller = formats[formats.index(plan.setup.weights) + 1 :] if plan.setup.weights in SMALLER else formats
    for weights in smaller:
        if weights in released:
            yield SMALLER[weights], plan_of(replace(plan.setup, weights=weights))


def _more_gpus(plan: MemoryPlan) -> Offers:
    setup = plan.setup
    experts = (False, True) if setup.facts.is_moe else (False,)
    for degree, whole in product(range(setup.layout.tensor_parallel, MOST_GPUS + 1), experts):
        layout = replace(setup.layout, tensor_parallel=degree, expert_parallel=whole)
        if layout == setup.layout:
            continue
        changed = plan_of(replace(setup, layout=layout, count=max(setup.count, layout.gpus)))
        if changed.fits:
            yield f"{layout.gpus} GPUs: {layout.describe()}", changed
            return


def _smaller_model(plan: MemoryPlan) -> Offers:
    facts = plan.setup.facts
    family = [other for other in load_catalogue().values() if other.family == facts.family]
    for other in sorted(family, key=lambda known: -known.parameters()):
        if other.parameters() < facts.parameters():
            length = min(plan.setup.max_model_len, other.context)
            changed = plan_of(replace(plan.setup, facts=other, max_model_len=length))
            if changed.fits:
                yield other.name, changed
                return


_STEPS: tuple[Callable[[MemoryPlan], Offers], ...] = (
    _smaller_images,
    _fewer_requests,
    _smaller_cache,
    _smaller_weights,
)

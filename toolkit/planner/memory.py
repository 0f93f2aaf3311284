"""Does a model fit, by how much, and what could it serve: weights, caches and estimates put together.

    workload = Workload(context=32_768, image_size=(768, 1024))
    plan = plan_memory("Qwen/Qwen3-VL-4B-Instruct", "RTX 4090", workload=workload)
    plan.fits, plan.spare_bytes, plan.largest_context, plan.concurrent_requests(text_tokens=512)

Weights and KV cache are exact and checked against the engine; activations and margins are estimates, named as such in
`MemoryPlan.rows`. All bytes are per GPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts, as_model_facts
from toolkit.planner.estimates import (
    batch_defaults,
    deepstack_bytes,
    encoder_cache_bytes,
    item_tokens,
    language_peak,
    margins,
    outside_gib,
    penalty_bytes,
    rope_bytes,
    vision_peak,
)
from toolkit.planner.hardware import GpuSpec, as_gpu
from toolkit.planner.kv_cache import BLOCK_TOKENS, blocks_for, bytes_per_token, cache_blocks
from toolkit.planner.lora_slots import NO_ADAPTERS, LoraSlots, slot_bytes
from toolkit.planner.parallel import Layout, layers_of_stages
from toolkit.planner.weights import FORMATS, stage_weights

GIB = 2**30
#: Types of the KV cache, as ``ModelFacts`` and vLLM's ``--kv-cache-dtype`` name them.
CACHE_TYPES = ("bfloat16", "float16", "float32", "fp8")
#: Special tokens around an image in the prompt.
IMAGE_MARKERS = 2


@dataclass(frozen=True)
class Workload:
    """What a server is to serve; None where it does not matter.

    Raises:
        CourseError: a number out of range.
    """

    context: int | None = None
    """Longest prompt with its answer, in tokens (``--max-model-len``); None: the model's own context."""
    images: int | None = None
    """Images per prompt. None: one is planned for. With 0 and ``video=False`` the vision tower is not loaded."""
    image_size: tuple[int, int] | None = None
    """(height, width) of each in pixels, for counting requests."""
    video: bool | None = None
    """Whether a prompt may hold a video; planned for unless it is False."""
    users: int | None = None
    """Requests answered at the same time (``--max-num-seqs``)."""
    tools: bool = False
    """Whether requests bring tools; their calls are parsed."""
    slots: LoraSlots = NO_ADAPTERS
    """What is kept ready for LoRA adapters."""

    def __post_init__(self) -> None:
        for name, least in (("context", 1), ("images", 0), ("users", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise CourseError(f"{name} {value} was refused.", "", f"give {least} or more, or leave it out")


@dataclass(frozen=True)
class EngineSettings:
    """Options of the engine that decide about memory; None: what vLLM takes by itself."""

    kv_cache: str | None = None
    """'bfloat16', 'float16', 'float32' or 'fp8' (also as 'fp8_e4m3', 'fp8_e5m2'); None, 'auto': the GPU's 16 bits."""
    utilization: float = 0.92
    """``gpu_memory_utilization``."""
    max_num_seqs: int | None = None
    """Requests decoded at the same time; a workload's ``users`` otherwise, or vLLM's default for the card."""
    max_pixels: int | None = None
    """Limit of an image after resizing; the processor's own sizes buffers even if no image is that large."""
    max_num_batched_tokens: int | None = None
    eager: bool = False
    """No CUDA graphs (``--enforce-eager``)."""


@dataclass(frozen=True)
class Setup:
    """A model, the GPUs, and everything that decides about memory, with all defaults filled in by `plan_memory`."""

    facts: ModelFacts
    gpu: GpuSpec
    count: int
    """GPUs at hand."""
    layout: Layout
    weights: str
    kv_cache: str
    max_model_len: int
    image_size: tuple[int, int] | None
    images: int
    video: bool
    utilization: float
    max_pixels: int | None
    max_num_batched_tokens: int
    max_num_seqs: int
    eager: bool
    slots: LoraSlots

    @property
    def sees(self) -> bool:
        """Whether images or videos are allowed; the vision tower is not loaded otherwise."""
        return bool(self.images or self.video)

    @property
    def tokens_per_image(self) -> int:
        """Without the special tokens around it, under the setup's own limit of pixels."""
        facts = self.facts
        if self.max_pixels:
            facts = replace(facts, min_pixels=min(facts.min_pixels, self.max_pixels), max_pixels=self.max_pixels)
        return facts.image_tokens(*self.image_size) if self.image_size else 0

    def serve_flags(self) -> list[str]:
        """Options of ``vllm serve`` that make the engine run as planned, without the model's name."""
        flags = ["--max-model-len", str(self.max_model_len), "--gpu-memory-utilization", f"{self.utilization:g}"]
        flags += ["--max-num-seqs", str(self.max_num_seqs)]
        flags += ["--max-num-batched-tokens", str(self.max_num_batched_tokens)]
        flags += ["--limit-mm-per-prompt", json.dumps({"image": self.images, "video": int(self.video)})]
        if self.max_pixels:
            size = {"shortest_edge": min(self.facts.min_pixels, self.max_pixels), "longest_edge": self.max_pixels}
            flags += ["--mm-processor-kwargs", json.dumps({"images_kwargs": {"size": size}})]
        flags += ["--kv-cache-dtype", "fp8"] if self.kv_cache == "fp8" else []
        flags += ["--dtype", "float16"] if not self.gpu.bfloat16 and self.weights != "float32" else []
        flags += ["--enforce-eager"] if self.eager else []
        return flags + self.layout.flags()


@dataclass(frozen=True)
class MemoryPlan:
    """The answer. Bytes are of one GPU, in the pipeline stage that has the least room."""

    setup: Setup
    counted: dict[str, int]
    """Bytes of weights and buffers, which follow from the model."""
    estimated: dict[str, int]
    """Bytes of activations and margins, which only a run would tell."""
    budget: int
    """Bytes that the engine may take: the card's memory times ``gpu_memory_utilization``."""
    cache_bytes: int
    """What is left for the KV cache; below 0 where the rest alone is too large."""
    blocks: int
    block_tokens: int
    one_request: int
    """Bytes of KV cache that vLLM demands at start: one request of ``max_model_len``, and one spare block."""
    problems: tuple[str, ...]
    """Why vLLM would refuse this setup whatever the memory."""

    @property
    def spare_bytes(self) -> int:
        """Bytes left besides one request of ``max_model_len``; below 0: so much is missing."""
        return self.cache_bytes - self.one_request

    @property
    def fits(self) -> bool:
        """Whether the engine would start."""
        return not self.problems and self.spare_bytes >= 0

    @property
    def narrow(self) -> bool:
        """Whether it fits, but with less to spare than what is estimated: then try it before you rely on it."""
        return self.fits and self.spare_bytes < sum(self.estimated.values())

    @property
    def kv_cache_tokens(self) -> int:
        """Tokens that the KV cache holds, in each data-parallel copy."""
        return self.blocks * self.block_tokens

    @property
    def largest_context(self) -> int:
        """Largest ``max_model_len`` with which the engine would start, at most the model's own context; 0: none."""
        # vLLM keeps one block back.
        return min(max(0, self.blocks - 1) * self.block_tokens, self.setup.facts.context)

    @property
    def image_tokens(self) -> int:
        """Tokens of all images of a request, with the special tokens around them."""
        return self.setup.images * (self.setup.tokens_per_image + IMAGE_MARKERS) if self.setup.image_size else 0

    def concurrent_requests(self, text_tokens: int | None = None) -> int:
        """Requests that can be in the KV cache together, over all data-parallel copies.

        Prefixes that requests share, and blocks that are freed as others end, are not counted in.

        Args:
            text_tokens: of question and answer together, besides the images; None: every request takes all of
                ``max_model_len``.

        Raises:
            CourseError: a request longer than ``max_model_len``.
        """
        longest = self.setup.max_model_len
        tokens = longest if text_tokens is None else self.image_tokens + text_tokens
        if tokens > longest:
            raise CourseError(
                f"A request of {tokens:,} tokens is longer than max_model_len={longest:,}.",
                f"{self.setup.images} images take {self.image_tokens:,} of them",
                "plan with a larger context, or with smaller or fewer images",
            )
        if self.problems:
            return 0
        each = min(max(0, self.blocks - 1) // blocks_for(tokens, self.block_tokens), self.setup.max_num_seqs)
        return each * self.setup.layout.data_parallel

    def rows(self) -> list[dict[str, Any]]:
        """A table of what takes the memory of a GPU, in GiB, the whole budget last."""
        rows = [{"part": part, "GiB": _gib(size)} for part, size in (self.counted | self.estimated).items()]
        need, left = self.one_request, self.cache_bytes - self.one_request
        rows.append({"part": f"KV cache of one request ({self.setup.max_model_len:,} tokens)", "GiB": _gib(need)})
        rows.append({"part": "left for more requests" if left >= 0 else "missing", "GiB": _gib(abs(left))})
        return [
            *rows,
            {"part": f"budget: {self.setup.utilization:.0%} of {self.setup.gpu.name}", "GiB": _gib(self.budget)},
        ]

    def describe(self) -> str:
        """The verdict in a sentence or two."""
        setup = self.setup
        name = f"{setup.facts.name} ({setup.weights}) on {setup.count} x {setup.gpu.name}, {setup.layout.describe()}"
        if self.problems:
            return f"{name}: refused. " + "; ".join(self.problems) + "."
        if not self.fits:
            return (
                f"{name}: does not fit, {-self.spare_bytes / GIB:.2f} GiB per GPU are missing for a context of "
                f"{setup.max_model_len:,} tokens."
            )
        narrowly = " narrowly (less is spare than is estimated)" if self.narrow else ""
        return (
            f"{name}: fits{narrowly}, {self.spare_bytes / GIB:.2f} GiB per GPU to spare. "
            f"KV cache of {self.kv_cache_tokens:,} tokens, largest context {self.largest_context:,}."
        )


def plan_memory(
    model: ModelFacts | str,
    gpu: GpuSpec | str,
    count: int = 1,
    *,
    weights: str | None = None,
    layout: Layout | None = None,
    workload: Workload | None = None,
    engine: EngineSettings | None = None,
) -> MemoryPlan:
    """Plan the memory of a model on one or more GPUs of a kind.

    Args:
        model: a hub id or folder, as for `helpers.model_facts.find_model_facts`, or what that returns.
        gpu: a name, as for `toolkit.planner.find_gpu`, or what that returns.
        weights: 'bfloat16', 'float16', 'float32', 'fp8' (blocks of 128 x 128) or 'awq' (4 bits, groups of 128). None:
            bfloat16, or float16 on a GPU without it.
        layout: None: tensor parallel over all of them.

    Raises:
        CourseError: an unknown model, GPU or format, a count, length or share out of range, an image that the
            processor refuses. What vLLM would refuse of a layout is no error here but in `MemoryPlan.problems`.
    """
    facts, gpu = as_model_facts(model), as_gpu(gpu)
    workload, engine = workload or Workload(), engine or EngineSettings()
    batched, sequences = batch_defaults(gpu)
    half = "bfloat16" if gpu.bfloat16 else "float16"
    cache = "fp8" if (engine.kv_cache or "").startswith("fp8_") else engine.kv_cache
    return plan_of(
        Setup(
            facts=facts,
            gpu=gpu,
            count=count,
            layout=layout or Layout(tensor_parallel=max(1, count)),
            weights=weights or half,
            kv_cache=half if cache in (None, "auto") else cache,
            max_model_len=workload.context or facts.context,
            image_size=workload.image_size,
            images=1 if workload.images is None else workload.images,
            video=workload.video is not False,
            utilization=engine.utilization,
            max_pixels=engine.max_pixels,
            max_num_batched_tokens=batched if engine.max_num_batched_tokens is None else engine.max_num_batched_tokens,
            max_num_seqs=(workload.users or sequences) if engine.max_num_seqs is None else engine.max_num_seqs,
            eager=engine.eager,
            slots=workload.slots,
        )
    )


def plan_of(setup: Setup) -> MemoryPlan:
    """The plan for a setup; `plan_memory` without its defaults.

    Raises:
        CourseError: as `plan_memory`.
    """
    _refuse_nonsense(setup)
    facts, layout = setup.facts, setup.layout
    budget, block = setup.gpu.budget(setup.utilization), BLOCK_TOKENS["cuda"]
    problems = _problems(setup)
    buffers, estimated = _buffers_and_estimates(setup)
    taken = sum(buffers.values()) + sum(estimated.values())
    stages = []
    for stage, layers in enumerate(layers_of_stages(facts.layers, layout.pipeline_parallel)):
        weights = stage_weights(facts, layout, setup.weights, stage, vision=setup.sees)
        counted = {f"weights: {part}": size for part, size in weights.items()}
        wide = 4 if setup.weights == "float32" else 2
        if held := slot_bytes(facts, layout, setup.slots, stage, wide=wide, vision=setup.sees):
            counted["slots for adapters"] = held
        per_block = bytes_per_token(facts, layers, layout.tensor_parallel, setup.kv_cache) * block
        stages.append((budget - sum(counted.values()) - taken, per_block, counted | buffers))
    room = [free for free, _, _ in stages]
    # The tightest stage is the one whose room is worth the fewest blocks.
    free, per_block, counted = min(stages, key=lambda stage: stage[0] / max(1, stage[1]))
    return MemoryPlan(
        setup=setup,
        counted=counted,
        estimated=estimated,
        budget=budget,
        cache_bytes=free,
        blocks=cache_blocks(facts, room, layout=layout, dtype=setup.kv_cache, block_tokens=block),
        block_tokens=block,
        one_request=(blocks_for(setup.max_model_len, block) + 1) * per_block,
        problems=tuple(problems),
    )


def _buffers_and_estimates(setup: Setup) -> tuple[dict[str, int], dict[str, int]]:
    facts, layout, batched = setup.facts, setup.layout, setup.max_num_batched_tokens
    work = language_peak(facts, layout, batched, setup.max_num_seqs)
    buffers = {"rotary positions": rope_bytes(facts), "tokens seen": penalty_bytes(facts, setup.max_num_seqs)}
    if setup.sees:
        items = item_tokens(facts, max_pixels=setup.max_pixels, max_model_len=setup.max_model_len)
        allowed = [items["image"]] * bool(setup.images) + [items["video"]] * setup.video
        at_once = max(*allowed, batched)  # compute_mm_encoder_budget
        # The result of the vision tower is kept while the language model runs.
        work = max(vision_peak(facts, layout, at_once), work + encoder_cache_bytes(facts, at_once))
        buffers["deepstack buffers"] = deepstack_bytes(facts, batched)
    estimated = {"activations (estimated)": work, **margins(facts, layout, eager=setup.eager)}
    return {part: size for part, size in buffers.items() if size}, estimated


def _problems(setup: Setup) -> list[str]:
    facts, gpu = setup.facts, setup.gpu
    problems = setup.layout.problems(facts, setup.weights)
    if setup.layout.gpus > setup.count:
        problems.append(f"{setup.layout.describe()} takes {setup.layout.gpus} GPUs, and there are {setup.count}")
    free = gpu.visible_gib - outside_gib(setup.layout)
    if gpu.visible_gib * setup.utilization > free:
        problems.append(
            f"gpu_memory_utilization={setup.utilization:g} of {gpu.visible_gib:.2f} GiB is more than is free when vLLM "
            f"starts: CUDA itself has taken about {outside_gib(setup.layout):.1f} GiB by then"
        )
    if setup.max_model_len > facts.context:
        problems.append(f"max_model_len={setup.max_model_len:,} is beyond the model's context of {facts.context:,}")
    if setup.weights == "bfloat16" and not gpu.bfloat16:
        problems.append(f"{gpu.name} has no bfloat16: use weights='float16', of the same size")
    if setup.weights == "fp8" and gpu.fp8 == "no":
        problems.append(f"{gpu.name} cannot use FP8 weights")
    if setup.tokens_per_image * setup.images > setup.max_model_len:
        problems.append(f"{setup.images} images take more tokens than max_model_len={setup.max_model_len:,}")
    return problems


def _refuse_nonsense(setup: Setup) -> None:
    for what, name, known in (("Weights", setup.weights, FORMATS), ("A KV cache", setup.kv_cache, CACHE_TYPES)):
        if name not in known:
            verb = "are" if what == "Weights" else "is"
            raise CourseError(f"{what} in '{name}' {verb} not known.", "", f"use one of: {', '.join(known)}")
    numbers = {"count": setup.count, "max_num_batched_tokens": setup.max_num_batched_tokens}
    numbers |= {"max_num_seqs": setup.max_num_seqs}
    if setup.max_pixels is not None:
        square = (setup.facts.vision.patch * setup.facts.vision.merge) ** 2
        numbers["max_pixels / pixels per token"] = setup.max_pixels // square
    for name, number in numbers.items():
        if number < 1:
            raise CourseError(f"{name}={number} was refused.", "nothing could be served", "give 1 or more")
    _ = setup.tokens_per_image  # refuses an impossible image now, not when somebody asks for the requests


def _gib(size: int) -> float:
    return round(size / GIB, 2)

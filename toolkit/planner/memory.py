"""Does a model fit, by how much, and what could it serve: weights, caches and estimates put together.

    gpu = find_gpu("RTX 4090")
    plan = plan_memory(find_model_facts("Qwen/Qwen3-VL-4B-Instruct"), gpu, max_model_len=32_768, image=(768, 1024))
    plan.fits, plan.spare_bytes, plan.largest_context, plan.concurrent_requests(text_tokens=512)

Weights and KV cache are exact and checked against the engine; activations and margins are estimates, named as such in
`MemoryPlan.rows`. All bytes are of one GPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts
from toolkit.planner.estimates import (
    batch_defaults,
    deepstack_bytes,
    encoder_budget,
    encoder_cache_bytes,
    item_tokens,
    language_peak,
    margins,
    vision_peak,
)
from toolkit.planner.hardware import Gpu
from toolkit.planner.kv_cache import BLOCK_TOKENS, blocks_for, bytes_per_token, cache_blocks, reported_tokens
from toolkit.planner.parallel import Layout, layers_of_stages, layout_problems
from toolkit.planner.weights import FORMATS, stage_weights

GIB = 2**30
#: Types of the KV cache, as ``ModelFacts`` and vLLM's ``--kv-cache-dtype`` name them.
CACHE_TYPES = ("bfloat16", "float16", "float32", "fp8")
#: Marks around a picture in the prompt.
MARKS = 2


@dataclass(frozen=True)
class Setup:
    """A model, the GPUs, and everything that decides about memory. Made by `plan_memory`."""

    facts: ModelFacts
    gpu: Gpu
    count: int
    """GPUs at hand."""
    layout: Layout
    weights: str
    kv_cache: str
    max_model_len: int
    image: tuple[int, int] | None
    """(height, width) in pixels of the pictures in a request."""
    images: int
    """Pictures in a request; 0: none are allowed."""
    video: bool
    """Whether clips are allowed."""
    utilization: float
    max_pixels: int | None
    """Limit of a picture after resizing; None: the processor's own."""
    video_pixels: int | None
    """Limit of all frames of a clip (Qwen3-VL); None: as released."""
    max_num_batched_tokens: int
    max_num_seqs: int
    eager: bool

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
        """Bytes left beside one request of ``max_model_len``; below 0: so much is missing."""
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
    def reported_tokens(self) -> int:
        """What the engine would log as its KV cache size; at most `kv_cache_tokens`."""
        return reported_tokens(self.blocks, self.setup.max_model_len, self.block_tokens)

    @property
    def largest_context(self) -> int:
        """Largest ``max_model_len`` with which the engine would start, at most the model's own context; 0: none."""
        # vLLM keeps one block back.
        return min(max(0, self.blocks - 1) * self.block_tokens, self.setup.facts.context)

    @property
    def picture_tokens(self) -> int:
        """Tokens of all pictures of a request, with the marks around them."""
        if not (self.setup.image and self.setup.images):
            return 0
        return self.setup.images * (_tokens_of_picture(self.setup) + MARKS)

    def concurrent_requests(self, text_tokens: int | None = None) -> int:
        """Requests that can be in the KV cache together, over all data-parallel copies.

        Prefixes that requests share, and blocks that are freed as others end, are not counted in.

        Args:
            text_tokens: of question and answer together, beside the pictures; None: every request takes all of
                ``max_model_len``.

        Raises:
            CourseError: a request longer than ``max_model_len``.
        """
        longest = self.setup.max_model_len
        tokens = longest if text_tokens is None else self.picture_tokens + text_tokens
        if tokens > longest:
            raise CourseError(
                f"A request of {tokens:,} tokens is longer than max_model_len={longest:,}.",
                f"{self.setup.images} pictures take {self.picture_tokens:,} of them",
                "plan with a larger max_model_len, or with smaller or fewer pictures",
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
                f"{name}: does not fit, {-self.spare_bytes / GIB:.2f} GiB a GPU are missing for a context of "
                f"{setup.max_model_len:,} tokens."
            )
        narrowly = " narrowly (less is spare than is estimated)" if self.narrow else ""
        return (
            f"{name}: fits{narrowly}, {self.spare_bytes / GIB:.2f} GiB a GPU to spare. "
            f"KV cache of {self.kv_cache_tokens:,} tokens, largest context {self.largest_context:,}."
        )


def plan_memory(
    facts: ModelFacts,
    gpu: Gpu,
    count: int = 1,
    *,
    weights: str | None = None,
    kv_cache: str | None = None,
    tensor_parallel: int | None = None,
    pipeline_parallel: int = 1,
    data_parallel: int = 1,
    expert_parallel: bool = False,
    whole_vision: bool = False,
    max_model_len: int | None = None,
    image: tuple[int, int] | None = None,
    images: int = 1,
    video: bool = True,
    utilization: float = 0.92,
    max_pixels: int | None = None,
    video_pixels: int | None = None,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
    eager: bool = False,
) -> MemoryPlan:
    """Plan the memory of a model on one or more cards of a kind.

    Args:
        facts: of the model, from `helpers.model_facts.find_model_facts`.
        gpu: from `toolkit.planner.hardware.find_gpu`.
        count: GPUs at hand.
        weights: 'bfloat16', 'float16', 'float32', 'fp8' (blocks of 128 x 128) or 'awq' (4 bits, groups of 128). None:
            bfloat16, or float16 on a card without it.
        kv_cache: 'bfloat16', 'float16', 'float32' or 'fp8'; None: 16 bits likewise.
        tensor_parallel: GPUs that share each layer; None: all that the other degrees leave.
        pipeline_parallel: stages.
        data_parallel: copies.
        expert_parallel: experts shared out whole.
        whole_vision: ``--mm-encoder-tp-mode data``.
        max_model_len: longest request in tokens, answer included; None: the model's own context, as vLLM takes it.
        image: (height, width) in pixels of the pictures in a request, for counting requests.
        images: pictures in a request; with 0 and ``video=False`` the vision tower is not loaded.
        video: whether clips are allowed.
        utilization: ``gpu_memory_utilization``.
        max_pixels: limit of a picture after resizing; None: the processor's own, which sizes the engine's buffers even
            if no picture is that large.
        video_pixels: of all frames of a clip (Qwen3-VL); None: as released. A folder's own: `video_pixels_of`.
        max_num_batched_tokens: None: the default of ``vllm serve`` on this card.
        max_num_seqs: likewise.
        eager: no CUDA graphs (``--enforce-eager``).

    Raises:
        CourseError: an unknown format, a count, length or share out of range, a picture that the processor refuses.
            What vLLM would refuse of a layout is no error here but in `MemoryPlan.problems`.
    """
    used = pipeline_parallel * data_parallel
    layout = Layout(
        tensor_parallel=tensor_parallel or max(1, count // max(1, used)),
        pipeline_parallel=pipeline_parallel,
        data_parallel=data_parallel,
        expert_parallel=expert_parallel,
        whole_vision=whole_vision,
    )
    batched, sequences = batch_defaults(gpu)
    half = "bfloat16" if gpu.bfloat16 else "float16"
    return plan_of(
        Setup(
            facts=facts,
            gpu=gpu,
            count=count,
            layout=layout,
            weights=weights or half,
            kv_cache=kv_cache or half,
            max_model_len=facts.context if max_model_len is None else max_model_len,
            image=image,
            images=images,
            video=video,
            utilization=utilization,
            max_pixels=max_pixels,
            video_pixels=video_pixels,
            max_num_batched_tokens=batched if max_num_batched_tokens is None else max_num_batched_tokens,
            max_num_seqs=sequences if max_num_seqs is None else max_num_seqs,
            eager=eager,
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
    stages = layers_of_stages(facts.layers, layout.pipeline_parallel)
    buffers, estimated = _buffers(setup), _estimates(setup)
    taken = sum(buffers.values()) + sum(estimated.values())
    plans = []
    for stage, layers in enumerate(stages):
        weights = stage_weights(facts, layout, setup.weights, stage, vision=_sees(setup))
        counted = {f"weights: {part}": size for part, size in weights.items()} | buffers
        per_block = bytes_per_token(facts, layers, layout.tensor_parallel, setup.kv_cache) * block
        plans.append((budget - sum(weights.values()) - taken, per_block, counted))
    room = [free for free, _, _ in plans]
    blocks = cache_blocks(facts, room, layout=layout, dtype=setup.kv_cache, block_tokens=block)
    demanded = blocks_for(setup.max_model_len, block) + 1
    # The tightest stage is the one whose room is worth the fewest blocks.
    free, per_block, counted = min(plans, key=lambda plan: plan[0] / max(1, plan[1]))
    return MemoryPlan(
        setup=setup,
        counted=counted,
        estimated=estimated,
        budget=budget,
        cache_bytes=free,
        blocks=blocks,
        block_tokens=block,
        one_request=demanded * per_block,
        problems=tuple(problems),
    )


def _sees(setup: Setup) -> bool:
    """Whether pictures or clips are allowed; the vision tower is not loaded otherwise."""
    return bool(setup.images or setup.video)


def _media_budget(setup: Setup) -> int:
    items = item_tokens(
        setup.facts,
        max_pixels=setup.max_pixels,
        video_pixels=setup.video_pixels,
        max_model_len=setup.max_model_len,
    )
    allowed = [items["image"]] * bool(setup.images) + [items["video"]] * setup.video
    return encoder_budget(max(allowed), setup.max_num_batched_tokens)


def _buffers(setup: Setup) -> dict[str, int]:
    if not _sees(setup):
        return {}
    buffers = {"encoder cache": encoder_cache_bytes(setup.facts, _media_budget(setup))}
    buffers["deepstack buffers"] = deepstack_bytes(setup.facts, setup.max_num_batched_tokens)
    return {part: size for part, size in buffers.items() if size}


def _estimates(setup: Setup) -> dict[str, int]:
    facts, layout = setup.facts, setup.layout
    work = language_peak(facts, layout, setup.max_num_batched_tokens, setup.max_num_seqs)
    if _sees(setup):
        work = max(work, vision_peak(facts, layout, _media_budget(setup)))
    return {"activations (estimated)": work, **margins(layout, eager=setup.eager)}


def _problems(setup: Setup) -> list[str]:
    facts, gpu = setup.facts, setup.gpu
    problems = layout_problems(facts, setup.layout, setup.weights)
    if setup.layout.gpus > setup.count:
        problems.append(f"{setup.layout.describe()} takes {setup.layout.gpus} GPUs, and there are {setup.count}")
    if setup.max_model_len > facts.context:
        problems.append(f"max_model_len={setup.max_model_len:,} is beyond the model's context of {facts.context:,}")
    if setup.weights == "bfloat16" and not gpu.bfloat16:
        problems.append(f"{gpu.name} has no bfloat16: use weights='float16', of the same size")
    if setup.weights == "fp8" and gpu.fp8 == "no":
        problems.append(f"{gpu.name} cannot use FP8 weights")
    if setup.image and setup.images and _tokens_of_picture(setup) * setup.images > setup.max_model_len:
        problems.append(f"{setup.images} pictures take more tokens than max_model_len={setup.max_model_len:,}")
    return problems


def _tokens_of_picture(setup: Setup) -> int:
    """Tokens of one picture without its marks, with the setup's own limit of pixels."""
    facts = setup.facts
    if setup.max_pixels:
        low = min(facts.min_pixels, setup.max_pixels)
        facts = replace(facts, min_pixels=low, max_pixels=setup.max_pixels)
    return facts.image_tokens(*setup.image) if setup.image else 0


def _refuse_nonsense(setup: Setup) -> None:
    if setup.weights not in FORMATS:
        raise CourseError(f"Weights in '{setup.weights}' are not known.", "", f"use one of: {', '.join(FORMATS)}")
    if setup.kv_cache not in CACHE_TYPES:
        raise CourseError(
            f"A KV cache in '{setup.kv_cache}' is not known.", "", f"use one of: {', '.join(CACHE_TYPES)}"
        )
    numbers = {"count": setup.count, "max_model_len": setup.max_model_len, "max_num_seqs": setup.max_num_seqs}
    numbers["max_num_batched_tokens"] = setup.max_num_batched_tokens
    square = (setup.facts.vision.patch * setup.facts.vision.merge) ** 2
    if setup.max_pixels is not None:
        numbers["max_pixels / pixels of a token"] = setup.max_pixels // square
    for name, number in numbers.items():
        if number < 1:
            raise CourseError(f"{name}={number} was refused.", "nothing could be served", "give 1 or more")
    if setup.images < 0:
        raise CourseError(f"images={setup.images} was refused.", "", "0 switches pictures off")
    _tokens_of_picture(setup)  # refuses an impossible picture now, not when somebody asks for the requests


def _gib(size: int) -> float:
    return round(size / GIB, 2)

"""Bytes of weights on one GPU, part by part, for every format and layout.

What a quantised checkpoint leaves in 16 bits: the vision tower with its mergers, the embeddings, the output head, all
norms, biases, and the routers of a mixture of experts. What it packs: the linear layers of the language model. So do
Qwen's FP8 releases of Qwen3-VL (``modules_to_not_convert``) and its AWQ releases of Qwen2-VL.
"""

from __future__ import annotations

from helpers.errors import CourseError
from helpers.model_facts import BYTES, ModelFacts
from toolkit.planner.kv_cache import kv_heads_per_gpu
from toolkit.planner.parallel import AWQ_GROUP, FP8_BLOCK, Layout, layers_of_stages, padded_vocabulary

#: Formats of weights. In 'fp8' and 'awq', whatever is not packed is held in 16 bits.
FORMATS = ("bfloat16", "float16", "float32", "fp8", "awq")


class Stage:
    """What one stage of a pipeline (from 0) has of a model: its decoder layers, by kind, and its place."""

    def __init__(self, facts: ModelFacts, layout: Layout, number: int):
        counts = layers_of_stages(facts.layers, layout.pipeline_parallel)
        start = sum(counts[:number])
        self.layers = range(start, start + counts[number])
        self.sparse = sum(facts.is_moe and layer not in facts.dense_layers for layer in self.layers)
        self.dense = len(self.layers) - self.sparse
        self.last = number == layout.pipeline_parallel - 1
        # A tied head is the table itself, so the last stage needs it too; mixtures of experts have both on every stage.
        self.has_table = number == 0 or (self.last and facts.tied) or facts.is_moe


def stage_weights(
    facts: ModelFacts, layout: Layout, weights: str = "bfloat16", stage: int = 0, *, vision: bool = True
) -> dict[str, int]:
    """Bytes of weights, one of `FORMATS`, on each GPU of a pipeline stage (from 0), by part.

    With ``vision=False``, images and videos are switched off, so that the tower is not loaded.

    Raises:
        CourseError: unknown format.
    """
    if weights not in FORMATS:
        raise CourseError(f"Weights in '{weights}' are not known.", "", f"use one of: {', '.join(FORMATS)}")
    wide = BYTES.get(weights, 2) if weights != "fp8" else 2
    mine = Stage(facts, layout, stage)
    table = -(-padded_vocabulary(facts) // layout.tensor_parallel) * facts.hidden * wide
    has_head = (mine.last or facts.is_moe) and not facts.tied
    attention = sum(linear_bytes(*shape, weights) for shape in attention_shapes(facts, layout.tensor_parallel))
    mlps = mlp_shapes(facts, facts.mlp, layout.tensor_parallel) * mine.dense
    parts = {
        "token embeddings": table if mine.has_table else 0,
        "attention": len(mine.layers) * (attention + _attention_extras(facts, layout.tensor_parallel) * wide),
        "MLPs": sum(linear_bytes(*shape, weights) for shape in mlps),
        "experts": mine.sparse * _experts(facts, layout, weights),
        "routers": mine.sparse * facts.experts * facts.hidden * wide,
        "norms": (len(mine.layers) * 2 + (1 if mine.last or facts.is_moe else 0)) * facts.hidden * wide,
        "output head": table if has_head else 0,
        "vision tower": vision_elements(facts, layout) * wide if vision else 0,
    }
    return {part: size for part, size in parts.items() if size}


def vision_elements(facts: ModelFacts, layout: Layout) -> int:
    """Weights of the vision tower on each GPU: its linear layers are cut, the rest is on every GPU.

    Source: ``Qwen3_VisionTransformer`` and ``Qwen2VisionTransformer`` in vLLM. Every pipeline stage loads it.
    """
    degree, tower = (1 if layout.whole_vision else layout.tensor_parallel), facts.vision
    width, merged = tower.hidden, tower.hidden * tower.merge**2
    if degree == 1:
        return facts.vision_parameters()
    ups = (2 if tower.gated else 1) * (width * tower.mlp + tower.mlp)
    cut = 3 * width * width + 3 * width + width * width + ups + tower.mlp * width
    merger = merged * merged + merged + merged * facts.hidden
    shared = facts.vision_parameters() - tower.depth * cut - (1 + len(tower.deepstack)) * merger
    return shared + (tower.depth * cut + (1 + len(tower.deepstack)) * merger) // degree


def attention_shapes(facts: ModelFacts, degree: int) -> list[tuple[int, int]]:
    """(outputs, inputs) of q, k, v and o on one GPU."""
    queries = facts.heads * facts.head_dim // degree
    keys = kv_heads_per_gpu(facts, degree) * facts.head_dim
    return [(queries, facts.hidden), (keys, facts.hidden), (keys, facts.hidden), (facts.hidden, queries)]


def _attention_extras(facts: ModelFacts, degree: int) -> int:
    """Biases, and the norms of q and k: elements of one layer on one GPU."""
    biases = (facts.heads // degree + 2 * kv_heads_per_gpu(facts, degree)) * facts.head_dim
    if facts.family != "qwen3-vl":
        return biases
    return 2 * facts.head_dim + (biases + facts.hidden if facts.attention_bias else 0)


def mlp_shapes(facts: ModelFacts, columns: int, degree: int) -> list[tuple[int, int]]:
    """(outputs, inputs) of gate, up and down on one GPU."""
    return [(columns // degree, facts.hidden), (columns // degree, facts.hidden), (facts.hidden, columns // degree)]


def _experts(facts: ModelFacts, layout: Layout, weights: str) -> int:
    """Bytes of one layer's experts on one GPU; where whole experts do not come out even, the fullest GPU counts."""
    if not facts.is_moe:
        return 0
    count, columns = local_experts(facts, layout)
    return count * sum(linear_bytes(*shape, weights) for shape in mlp_shapes(facts, columns, 1))


def local_experts(facts: ModelFacts, layout: Layout) -> tuple[int, int]:
    """Experts of a layer on one GPU, and columns of each: they are shared out whole, or each of them is cut."""
    shards = layout.expert_shards
    if layout.expert_parallel:
        return -(-facts.experts // shards), facts.moe_mlp
    return facts.experts, facts.moe_mlp // shards


def linear_bytes(outputs: int, inputs: int, weights: str = "bfloat16") -> int:
    """Bytes of one matrix of a linear layer.

    * ``fp8``: 1 byte per weight, and a float32 scale per block of 128 x 128 (``create_fp8_scale_parameter``).
    * ``awq``: 4 bits per weight; for each group of 128 inputs and each output, a scale of 16 bits and a zero point of 4
      bits (``BaseAWQLinearMethod.create_weights``).
    """
    if weights == "fp8":
        return outputs * inputs + -(-outputs // FP8_BLOCK) * -(-inputs // FP8_BLOCK) * 4
    if weights == "awq":
        groups = -(-inputs // AWQ_GROUP)
        return outputs * inputs // 2 + groups * outputs * 2 + groups * outputs // 2
    return outputs * inputs * BYTES[weights]

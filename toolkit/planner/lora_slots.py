"""Memory of the slots that vLLM prepares for LoRA adapters at its start, whether or not an adapter ever fills them.

A slot has two matrices, rank × inputs and outputs × rank, beside every module that vLLM can adapt, of the type in which
the model computes. They are part of what the log calls the model's memory, so they are taken from the KV cache. Follows
``create_lora_weights`` in ``vllm/lora/layers`` of vLLM 0.32, without ``--fully-sharded-loras``.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts
from toolkit.planner.parallel import Layout
from toolkit.planner.weights import Stage, attention_shapes, local_experts, mlp_shapes

#: Values that ``--max-lora-rank`` takes.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class LoraSlots:
    """What a server keeps ready for adapters.

    Raises:
        CourseError: a number below 0, or a rank that vLLM has no slot for.
    """

    count: int = 0
    """Adapters that one batch may use (``--max-loras``)."""
    rank: int = 16
    """The largest rank among them (``--max-lora-rank``), one of `RANKS`."""
    tower: bool = False
    """Whether they adapt the vision tower and its mergers, too (``--enable-tower-connector-lora``)."""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise CourseError(f"{self.count} adapters were refused.", "", "give 0 or more")
        if self.rank not in RANKS:
            remedy = f"use one of: {', '.join(map(str, RANKS))}"
            raise CourseError(f"lora_rank {self.rank} was refused.", "vLLM has slots of certain sizes", remedy)


NO_ADAPTERS = LoraSlots()


def slot_bytes(
    facts: ModelFacts, layout: Layout, slots: LoraSlots, stage: int = 0, *, wide: int = 2, vision: bool = True
) -> int:
    """Bytes of all slots on each GPU of a pipeline stage (from 0).

    Args:
        wide: bytes of a number: 2, or 4 for a model in float32.
        vision: whether the tower is loaded at all.
    """
    mine, degree = Stage(facts, layout, stage), layout.tensor_parallel
    shapes = [*attention_shapes(facts, degree)] * len(mine.layers) + mlp_shapes(facts, facts.mlp, degree) * mine.dense
    width = sum(map(sum, shapes))
    if mine.sparse:
        experts, columns = local_experts(facts, layout)
        # Gate and up share their first matrix; the router has slots of its own.
        expert = (facts.hidden + 2 * columns) + (columns + facts.hidden)
        width += mine.sparse * (experts * expert + facts.hidden + facts.experts)
    if facts.family == "qwen3-vl":  # embeddings and head have slots of their own even if tied, and are not cut
        width += (mine.has_table + (mine.last or facts.is_moe)) * (facts.vocab + facts.hidden)
    if slots.tower and vision:
        width += sum(map(sum, tower_shapes(facts, 1 if layout.whole_vision else degree)))
    return slots.count * slots.rank * width * wide


def tower_shapes(facts: ModelFacts, degree: int = 1) -> list[tuple[int, int]]:
    """(outputs, inputs) on one GPU of the linear layers of tower and mergers, as adapters see them.

    In mixtures of experts, vLLM 0.32 cannot adapt the tower's attention inputs (``qkv``).
    """
    tower, merged = facts.vision, facts.vision.hidden * facts.vision.merge**2
    block = [] if facts.is_moe else [(3 * tower.hidden // degree, tower.hidden)]
    block += [(tower.hidden, tower.hidden // degree)]
    block += [(tower.mlp // degree, tower.hidden)] * (2 if tower.gated else 1) + [(tower.hidden, tower.mlp // degree)]
    merger = [(merged // degree, merged), (facts.hidden, merged // degree)]
    return block * tower.depth + merger * (1 + len(tower.deepstack))

"""What training an adapter needs: planned from a model's shape, and counted in a run. Bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.model_facts import as_model_facts
from toolkit.planner.lora_slots import tower_shapes
from toolkit.planner.weights import attention_shapes, mlp_shapes

if TYPE_CHECKING:
    from helpers.model_facts import ModelFacts

#: Adapter weights, their gradients and AdamW's two moments, float32.
TRAINED_BYTES = 16
#: NF4 with double quantisation (bitsandbytes): 4 bits, and 0.127 bits of scales per weight.
NF4_BYTES = 4.127 / 8
#: What a CUDA context and fragmentation take. An assumption, not a measurement.
RESERVE = 1.5 * 2**30


def lora_parameters(model: ModelFacts | str, rank: int, *, tower: bool = False) -> int:
    """Parameters of an adapter on all linear layers of the decoder; with ``tower``, of tower and mergers, too."""
    facts = as_model_facts(model)
    if facts.is_moe:
        raise CourseError(f"{facts.name} is a mixture of experts.", "", "plan for a dense model: 2B, 4B, 8B or 32B")
    return rank * sum(map(sum, decoder_shapes(facts) + (tower_shapes(facts) if tower else [])))


def decoder_shapes(facts: ModelFacts) -> list[tuple[int, int]]:
    """(outputs, inputs) of all linear layers of a dense decoder."""
    return facts.layers * (attention_shapes(facts, 1) + mlp_shapes(facts, facts.mlp, 1))


def training_memory(
    model: ModelFacts | str,
    *,
    tokens: int,
    patches: int = 0,
    rank: int = 16,
    method: str = "lora",
    checkpoint: bool = True,
) -> dict[str, float]:
    """Bytes that one training step needs on one GPU, by part.

    Weights and what is trained follow from the shape. Activations are an estimate: the coefficients were fitted to
    what PyTorch keeps for the tiny model (`saved_bytes`), and hold for fused attention.

    Args:
        model: hub id, folder or facts of a dense Qwen3-VL.
        tokens: of all sequences of a batch, image tokens included.
        patches: of all images, of 16 × 16 pixels, if the tower is trained too; 0: it is frozen.
        method: 'lora' (weights in bfloat16), 'qlora' (the decoder's in 4 bits) or 'float32'.
        checkpoint: gradient checkpointing: a layer's activations are computed again when they are needed.

    Raises:
        CourseError: a mixture of experts, or an unknown method.
    """
    facts = as_model_facts(model)
    if method not in ("lora", "qlora", "float32"):
        raise CourseError(f"There is no method '{method}'.", "", "use lora, qlora or float32")
    wide = 4 if method == "float32" else 2
    decoder = sum(outputs * inputs for outputs, inputs in decoder_shapes(facts))
    rest = facts.parameters() - decoder
    trained = lora_parameters(facts, rank, tower=bool(patches))
    queries, keys, tower = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim, facts.vision
    of_layer = 6 * facts.hidden + 3 * queries + keys + 4 * facts.mlp
    of_block = 10 * tower.hidden + 3.5 * tower.mlp
    kept = (facts.layers * facts.hidden + of_layer) if checkpoint else facts.layers * of_layer
    seen = (tower.depth * tower.hidden + of_block) if checkpoint else tower.depth * of_block
    return {
        "weights": decoder * (NF4_BYTES if method == "qlora" else wide) + rest * wide,
        "adapter, gradients, AdamW": trained * TRAINED_BYTES,
        "activations": (tokens * kept + patches * seen) * wide,
        "logits": tokens * facts.vocab * (3 * 4 if wide == 4 else 2 + 4 + 4),
    }


def largest_batch(model: ModelFacts | str, gib: float, *, tokens: int, **how: Any) -> int:
    """Sequences of ``tokens`` that fit a card of so many GiB, less a reserve; 0: not one. Computed, not measured.

    ``how`` is as in `training_memory`; its ``patches`` are those of one sequence.
    """
    patches = how.pop("patches", 0)
    one = training_memory(model, tokens=tokens, patches=patches, **how)
    two = training_memory(model, tokens=2 * tokens, patches=2 * patches, **how)
    each = sum(two.values()) - sum(one.values())
    return max(0, int((gib * 2**30 - RESERVE - (sum(one.values()) - each)) // each))


def saved_bytes(model: Any, batch: dict[str, Any]) -> int:
    """Bytes of activations that PyTorch keeps for the backward pass of one batch (parameters and inputs apart)."""
    import torch

    fixed = [*model.parameters(), *batch.values()]
    known = {tensor.untyped_storage().data_ptr() for tensor in fixed}
    kept: dict[int, tuple[int, Any]] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**batch, use_cache=False).loss.detach()
    return sum(size for size, _ in kept.values())

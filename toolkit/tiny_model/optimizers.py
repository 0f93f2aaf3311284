"""Muon and AdamW for the tiny models, the learning rate's schedule, and what is done to gradients before a step."""

from __future__ import annotations

import math
from typing import Any

from toolkit.tiny_model.presets import Preset

ADAM_BETAS = (0.9, 0.98)
MAX_GRADIENT_NORM = 1.0
#: The learning rate ends at this share of its peak.
MIN_LR_FACTOR = 0.01


def build_optimizers(model: Any, preset: Preset) -> list[Any]:
    """Muon for the matrices of blocks, layers and mergers; AdamW for embeddings, patch embedding, norms and biases."""
    import torch

    from toolkit.tiny_model.muon import Muon

    hidden, merging, tables, vectors = [], [], [], []
    merge = model.config.vision_config.spatial_merge_size**2
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and ("merger" in name and parameter.shape[0] == parameter.shape[1]):
            merging.append(parameter)
        elif parameter.ndim == 2 and any(part in name for part in (".layers.", ".blocks.", "merger")):
            hidden.append(parameter)
        elif parameter.ndim >= 2:
            tables.append(parameter)
        else:
            vectors.append(parameter)
    muon = Muon(
        [{"params": hidden}, {"params": merging, "blocks": merge}],
        lr=preset.muon_learning_rate,
        weight_decay=preset.muon_weight_decay,
    )
    adam = torch.optim.AdamW(
        [{"params": tables, "weight_decay": preset.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=preset.learning_rate,
        betas=ADAM_BETAS,
        fused=True,
    )
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adam]


def lr_factor(step: int, share: float, warm_up_steps: int) -> float:
    """The learning rate as a share of its peak: linear warm-up, then a cosine over the run down to 1 %.

    Args:
        share: how much of the run is done, 0 to 1.
    """
    warm_up = min(1.0, (step + 1) / max(1, warm_up_steps))
    return warm_up * (MIN_LR_FACTOR + (1 - MIN_LR_FACTOR) * 0.5 * (1 + math.cos(math.pi * share)))


def clip_gradients(model: Any) -> float:
    """Clip the gradients' norm to 1; returns the norm before."""
    import torch

    return torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM).item()


def rescale_gradients(model: Any, norm: float) -> None:
    """Divide the gradients by the square root of their norm.

    A batch is of one kind of item. Long answers of which most is easy (descriptions) have a fifth of the gradient
    of short and hard ones (reversals), and the optimizers' momentum would hardly see them.
    """
    import torch

    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    torch._foreach_mul_(gradients, max(norm, 1e-3) ** -0.5)

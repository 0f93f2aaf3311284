"""Muon: momentum whose update is made orthogonal, for the hidden matrices of a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

MOMENTUM = 0.95
#: Steps and coefficients of the quintic Newton–Schulz iteration (Jordan et al. 2024,
#: https://kellerjordan.github.io/posts/muon/).
NS_STEPS = 5
NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with the step size of AdamW (Liu et al. 2025, https://arxiv.org/abs/2502.16982).

    ``torch.optim.Muon`` does the same, but always iterates in bfloat16, which CPUs without bfloat16 arithmetic
    emulate hundreds of times slower than float32; there is no switch for it (torch 2.13). This one iterates in the
    matrix's own precision on CPUs and in bfloat16 on CUDA, and treats matrices of one shape as one stack.

    Args:
        params: matrices, or groups of them with options.
        lr: learning rate, of AdamW's order of magnitude.
        blocks: key of a group: its matrices (rows, columns) are seen as so many matrices side by side, each
            (rows, columns / blocks). The merger's first layer maps four patches, each by a block of its own, and four
            640×160 iterations cost a fifth of one 640×640.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.0, blocks: int = 1):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "blocks": blocks})
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.ndim != 2 or matrix.shape[1] % group["blocks"]:
                    raise ValueError(f"Muon takes matrices; {tuple(matrix.shape)} is none, or not in blocks")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            stacks = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    stacks[matrix.shape].append(matrix)
            for matrices in stacks.values():
                self._update(matrices, group["lr"], group["weight_decay"], group["blocks"])

    def _update(self, matrices: list[Any], lr: float, weight_decay: float, blocks: int) -> None:
        number, (rows, columns) = len(matrices), matrices[0].shape
        for matrix in matrices:
            if "momentum" not in self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        momentum_buffers = [self.state[matrix]["momentum"] for matrix in matrices]
        gradients = [matrix.grad for matrix in matrices]
        # 1. Nesterov momentum.
        torch._foreach_lerp_(momentum_buffers, gradients, 1 - MOMENTUM)
        updates = torch.stack(torch._foreach_lerp(gradients, momentum_buffers, MOMENTUM))  # (number, rows, columns)
        # 2. Orthogonalize, block by block.
        if blocks > 1:
            updates = updates.view(number, rows, blocks, -1).transpose(1, 2).reshape(number * blocks, rows, -1)
        updates = orthogonalize(updates)
        if blocks > 1:
            updates = updates.view(number, blocks, rows, -1).transpose(1, 2).reshape(number, rows, columns)
        # 3. Decay and step. A matrix with orthonormal rows or columns has entries of RMS 1 / √(longer side); AdamW's
        #    updates have 0.2.
        scale = 0.2 * max(rows, columns // blocks) ** 0.5
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        torch._foreach_add_(matrices, list(updates.to(matrices[0].dtype).unbind()), alpha=-lr * scale)


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrices, roughly: singular values come out between about 0.7 and 1.2.

    Each Newton–Schulz step multiplies X by a polynomial of X·Xᵀ. For long X the polynomials are gathered in the small
    square space, and X is multiplied once: about half the work, the same result but for rounding. In bfloat16 that
    rounding would hurt, so CUDA takes the plain way.

    Args:
        matrices: (number, rows, columns).

    Returns:
        the same shape; bfloat16 on CUDA, else the same dtype.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    if tall := x.shape[1] > x.shape[2]:
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    long = x.shape[2] >= 1.5 * x.shape[1]
    x = _newton_schulz_in_square_space(x) if long and not x.is_cuda else _newton_schulz(x)
    return x.mT if tall else x


def _newton_schulz(x: torch.Tensor) -> torch.Tensor:
    a, b, c = NS_COEFFICIENTS
    for _ in range(NS_STEPS):
        gram = x @ x.mT  # (number, rows, rows)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _newton_schulz_in_square_space(x: torch.Tensor) -> torch.Tensor:
    a, b, c = NS_COEFFICIENTS
    gram, product = x @ x.mT, None  # (number, rows, rows)
    for iteration in range(NS_STEPS):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        step.diagonal(dim1=1, dim2=2).add_(a)
        product = step if product is None else step @ product
        if iteration < NS_STEPS - 1:
            gram = step @ gram @ step
    return product @ x

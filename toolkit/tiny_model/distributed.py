"""The processes of ``torchrun``, if there are several: sums over them, and the device that each computes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processes:
    """Where this process stands among those of ``torchrun``."""

    rank: int
    world_size: int
    device: Any

    @property
    def is_main(self) -> bool:
        """Whether it saves, logs and shows progress: only the first does."""
        return self.rank == 0

    def all_sum(self, *values: float) -> list[float]:
        """Each value, summed over all processes."""
        if self.world_size == 1:
            return list(values)
        import torch

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return tensor.tolist()

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            import torch

            torch.distributed.barrier()

    def sum_gradients(self, model: Any) -> None:
        """Sum gradients over all processes; a parameter that no process used keeps none, as in a single process."""
        if self.world_size == 1:
            return
        import torch

        parameters = list(model.parameters())
        users = self.all_sum(*(float(parameter.grad is not None) for parameter in parameters))
        used = [parameter for parameter, count in zip(parameters, users, strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in used])
        torch.distributed.all_reduce(flat)
        for parameter, grad in zip(used, flat.split([p.numel() for p in used]), strict=True):
            parameter.grad.copy_(grad.view_as(parameter))


@contextmanager
def join_processes() -> Iterator[Processes]:
    """This process, joined with the others of ``torchrun`` (``WORLD_SIZE`` set) if there are any."""
    import torch

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world_size == 1:
        yield Processes(0, 1, device)
        return
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), world_size, device)
    finally:
        torch.distributed.destroy_process_group()


def bfloat16_is_fast(device: Any) -> bool:
    """On GPUs, and on CPUs with bfloat16 arithmetic (AVX512-BF16 or AMX); elsewhere it is emulated and slow."""
    import torch

    return device.type == "cuda" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()

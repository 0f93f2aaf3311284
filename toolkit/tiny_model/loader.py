"""A process's training batches, drawn by worker processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


def build_loader(batches: Any, numbers: range, workers: int, pin_memory: bool) -> Any:
    """A ``DataLoader`` of the batches with these numbers, in this order whatever the number of workers."""
    import torch

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the workers are forked
    return torch.utils.data.DataLoader(
        batches,
        sampler=numbers,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=(4 if workers <= 4 else 2) if workers else None,  # they wait in shared memory
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_ignore_signals,
        pin_memory=pin_memory,
    )


def _ignore_signals(_: int) -> None:
    """In a worker process: Ctrl-C in a terminal reaches every process, but the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def why_a_worker_died(error: Exception) -> str:
    """The first line of what PyTorch says if the error means that a worker process died, else nothing.

    A pipe may break a moment before PyTorch's signal handler speaks.
    """
    if not isinstance(error, RuntimeError):
        try:
            time.sleep(2)
        except RuntimeError as reported:
            error = reported
        else:
            return f"DataLoader worker: {type(error).__name__}"
    return str(error).splitlines()[0] if "DataLoader worker" in str(error) else ""

"""The saved state of a run, from which it is resumed: weights, optimizers, and how far it is."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.tiny_model.training_log import STAGES, read_log

STATE_FILE = "training.pt"
NEEDED_BYTES = 200e6


def read_state(path: Path) -> dict[str, Any]:
    """What a run saved.

    Raises:
        CourseError: a damaged file.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CourseError(
            f"{path} cannot be read: {type(error).__name__}", "a damaged file", "start a new run in another --out"
        ) from None


def write_state(path: Path, contents: dict[str, Any]) -> None:
    """Write beside, then replace: whatever happens, a whole file is there."""
    import torch

    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(contents, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def examples_seen(folder: Path) -> int:
    """How many examples a model was trained on, all stages together, as far as its folder knows: 0 if nothing.

    A run that starts from it draws its own from there on.

    Raises:
        CourseError: a ``training.pt`` that cannot be read.
    """
    logs = [read_log(place) for place in (folder, *(folder / STAGES).glob("*"))]
    logged = sum(log[-1]["examples"] for log in logs if log)
    if not (folder / STATE_FILE).is_file():
        return logged
    try:
        saved = read_state(folder / STATE_FILE)
    except CourseError as error:
        remedy = "restore it, or remove it: then the logs beside it are used"
        raise CourseError(error.what, "it says which examples the model has seen", remedy) from None
    # A stage that was trained before runs kept a first seed knows of its own examples only; its logs may know more.
    return max(logged, saved["run"].get("first_seed", 0) + saved["state"]["examples"])


@contextmanager
def saving(out: Path) -> Iterator[None]:
    """Turn what a full or failing disk raises into one message."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError, CourseError) as error:
        raise CourseError(
            f"The run cannot be saved to {out}: {error.what if isinstance(error, CourseError) else error}",
            "a full or read-only disk; the state saved before is untouched",
            f"make room (0.2 GB) and resume with --resume --out {out}",
        ) from None


def check_disk(out: Path) -> None:
    """Fail before the training, not at its first save."""
    with saving(out):
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f"{STATE_FILE}.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
        if (free := shutil.disk_usage(out).free) < NEEDED_BYTES:
            raise OSError(f"only {free / 1e9:.2f} GB are free")

"""A checkpoint of random weights on disk, for programs that cannot make up their own as vLLM can."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers.files import shown, writing


def write_random_checkpoint(shape: Path, target: Path) -> Path:
    """A checkpoint of random weights for a folder that has none, so that all contenders load the same ones.

    In float32, which is what all compute in, and in one file: transformers then maps it, and its processes share the
    memory. The weights are those with which transformers begins to train.

    Args:
        shape: folder with configuration, tokenizer and processor.
        target: it is written there, once; 8.5 GB for 2 billion parameters, which fit in memory, too.

    Raises:
        CourseError: the disk is full or read-only.
    """
    if (target / "model.safetensors").is_file():
        return target
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    unfinished = target.with_name(f"{target.name}.part")
    with writing(f"random weights to {shown(target)}"):
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(shape, unfinished, ignore=shutil.ignore_patterns("*.safetensors*", "SHA256SUMS"))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(shape), dtype=torch.float32)
        model.save_pretrained(unfinished, max_shard_size="1TB")
        shutil.rmtree(target, ignore_errors=True)
        unfinished.replace(target)
    return target

"""Writes a trained model as a checkpoint in the stock layout, which transformers and vLLM load without help."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.tiny_model import architecture

PATCH_WEIGHT = "model.visual.patch_embed.proj.weight"


def export(model: Any, tokenizer: Any, out: Path) -> None:
    """Write bfloat16 weights in the stock layout, configuration, tokenizer, processor and ``SHA256SUMS``."""
    import torch
    from transformers.utils import logging

    stock = architecture.build_model(model.config)
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    weights[PATCH_WEIGHT] = weights[PATCH_WEIGHT].reshape(stock.state_dict()[PATCH_WEIGHT].shape)
    stock.load_state_dict(weights)
    stock.generation_config.eos_token_id = [
        model.config.text_config.eos_token_id,
        model.config.text_config.pad_token_id,
    ]
    with _no_bars(logging):
        stock.to(torch.bfloat16).save_pretrained(out)
    architecture.build_processor(tokenizer, architecture.family_of(model.config)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_checksums(out)


@contextmanager
def _no_bars(logging: Any) -> Iterator[None]:
    """The training shows a progress bar already."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def write_checksums(folder: Path) -> None:
    """``SHA256SUMS`` of the files that make up the model, in the format of ``sha256sum``."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".json", ".jinja", ".safetensors"})
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")

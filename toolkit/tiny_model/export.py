"""Writes a trained model as a checkpoint in the stock layout, which transformers and vLLM load without help."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.files import write_whole
from toolkit.tiny_model import architecture

PATCH_WEIGHT = "model.visual.patch_embed.proj.weight"


def export(model: Any, tokenizer: Any, out: Path) -> None:
    """Write bfloat16 weights in the stock layout, configuration, tokenizer, processor and ``SHA256SUMS``."""
    import torch

    stock = architecture.build_model(model.config)
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    weights[PATCH_WEIGHT] = weights[PATCH_WEIGHT].reshape(stock.state_dict()[PATCH_WEIGHT].shape)
    stock.load_state_dict(weights)
    text = model.config.text_config
    stock.generation_config.eos_token_id = [text.eos_token_id, text.pad_token_id]
    with _no_progress_bars():
        stock.to(torch.bfloat16).save_pretrained(out)
    architecture.build_processor(tokenizer, architecture.family_of(model.config)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    names = sorted(path.name for path in out.iterdir() if path.suffix in {".json", ".jinja", ".safetensors"})
    digests = [hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names]
    sums = [f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)]
    write_whole(out / "SHA256SUMS", "".join(sums))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """The training shows a progress bar already."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

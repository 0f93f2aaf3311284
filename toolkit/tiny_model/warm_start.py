"""Begins a training run with the weights of a tiny model that was trained before, whatever its vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.errors import CourseError


def warm_start(model: Any, tokenizer: Any, folder: Path) -> int:
    """Copy the weights of the model in ``folder`` into ``model``, in place.

    A token that both vocabularies know keeps its embedding; a new one starts with the mean of those that the old
    tokenizer would have written it with.

    Args:
        model: in the stock layout, with tied embeddings.
        folder: of a checkpoint with its tokenizer; the same family and size.

    Returns:
        How many tokens kept their embedding.

    Raises:
        CourseError: no checkpoint there, or one of another family or size.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    folder = Path(folder)
    if not (folder / "model.safetensors").is_file():
        raise CourseError(f"There is no model.safetensors in {folder}.", "a misspelt --start-from", "give its folder")
    old_tokenizer = AutoTokenizer.from_pretrained(folder)
    # Through transformers, because a saved Qwen2-VL names its tensors differently from the model in memory.
    old = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).state_dict()
    new = model.state_dict()
    table_name = next(name for name in new if name.endswith("embed_tokens.weight"))
    different = [
        name
        for name in new.keys() - {table_name, "lm_head.weight"}
        if name not in old or old[name].shape != new[name].shape
    ]
    if different or old[table_name].shape[1] != new[table_name].shape[1]:
        raise CourseError(
            f"The model in {folder} has another shape than this one ({len(different)} tensors differ).",
            "another family or size",
            "start from a model of the same --family, trained with a preset of the same size",
        )
    table, known, kept = new[table_name].clone(), old_tokenizer.get_vocab(), 0  # (vocabulary, hidden)
    for token, row in tokenizer.get_vocab().items():
        if token in known:
            table[row] = old[table_name][known[token]]
            kept += 1
        elif parts := old_tokenizer.encode(tokenizer.decode([row]), add_special_tokens=False):
            table[row] = old[table_name][parts].mean(0)
    weights = {name: old.get(name, weight) for name, weight in new.items()} | {table_name: table}
    if "lm_head.weight" in new:
        weights["lm_head.weight"] = table
    model.load_state_dict(weights)
    return kept

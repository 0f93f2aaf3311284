"""The training loss, and held-out scores with the right answer fed in (teacher forcing)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from toolkit.tiny_model import dataset
from toolkit.tiny_model.architecture import family_of
from toolkit.tiny_model.fast_kernels import hidden_states_at
from toolkit.tiny_model.mrope import with_positions
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.thinking import validation_lesson

if TYPE_CHECKING:
    from toolkit.tiny_model.presets import Preset

HELD_OUT_BATCH = 16


def summed_loss(model: Any, batch: dict[str, Any]) -> tuple[Any, int]:
    """Cross-entropy of the labelled tokens, summed, and their number; the output layer sees only those."""
    import torch

    hidden, targets = _labelled(model, batch)  # (N, hidden), (N,)
    return torch.nn.functional.cross_entropy(model.lm_head(hidden).float(), targets, reduction="sum"), len(targets)


def _labelled(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    """The last layer's output before each labelled token, float (N, hidden), and those tokens, int64 (N,)."""
    import torch

    inputs = {key: value for key, value in batch.items() if key != "labels"}
    targets = torch.nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=dataset.IGNORED)  # (batch, length)
    labelled = targets != dataset.IGNORED
    return hidden_states_at(model, labelled, inputs), targets[labelled]


def held_out_accuracy(model: Any, tokenizer: Any, preset: Preset, count: int) -> dict[str, float]:
    """Per task: share of held-out answers' tokens predicted right given what precedes them, and of answers right.

    An answer whose every token is the most probable one is what greedy decoding writes, so ``<task>_exact`` is the
    exact match of generation, without its cost.

    Args:
        model: with `fast_kernels.use_fast_kernels` done.
        count: items per task; 0 measures nothing.
    """
    scores: dict[str, float] = {}
    model.eval()
    for task in (preset.held_out_tasks or dataset.TASKS) if count else ():
        tokens = right_tokens = right_answers = 0
        for start in range(0, count, HELD_OUT_BATCH):
            numbers = range(start, min(start + HELD_OUT_BATCH, count))
            turns = [_held_out_turns(task, number, preset) for number in numbers]
            found = _count_right(model, tokenizer, turns)
            tokens, right_tokens, right_answers = (
                total + part for total, part in zip((tokens, right_tokens, right_answers), found, strict=True)
            )
        scores[f"{task}_tokens"] = round(right_tokens / tokens, 4)
        scores[f"{task}_exact"] = round(right_answers / count, 4)
    model.train()
    return scores


def _count_right(
    model: Any, tokenizer: Any, conversations: list[tuple[str | None, list[dataset.Turn]]]
) -> tuple[int, int, int]:
    """Labelled tokens, those predicted right, and conversations all of whose are."""
    import torch

    layout = layout_of(family_of(model.config))
    examples = [dataset.encode(tokenizer, turns, system, layout) for system, turns in conversations]
    batch = with_positions(dataset.collate(examples, tokenizer, layout), layout)
    device = next(model.parameters()).device
    batch = {key: value.to(device) for key, value in batch.items()}
    with torch.no_grad():
        hidden, targets = _labelled(model, batch)
        right = model.lm_head(hidden).argmax(-1) == targets
    rows = (batch["labels"][:, 1:] != dataset.IGNORED).nonzero()[:, 0]  # (N,): the conversation of each token
    return len(targets), int(right.sum()), len(examples) - len(rows[~right].unique())


def _held_out_turns(task: str, number: int, preset: Preset) -> tuple[str | None, list[dataset.Turn]]:
    if preset.thinking:
        return validation_lesson(task, number, preset.held_out_difficulty)
    turns, side = dataset.validation_turns(task, number, preset.held_out_difficulty), preset.held_out_side
    if side is None or task not in dataset.KIND_TASKS["scene"]:
        return None, turns
    return None, [
        replace(turn, medium=turn.medium.resize((side, side))) if isinstance(turn.medium, Image.Image) else turn
        for turn in turns
    ]

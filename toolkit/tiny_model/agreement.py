"""Whether transformers and vLLM write the same answers, token by token, and if not, how close it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.tiny_model.held_out import Answer, HeldOut, processor_inputs, trained_prompt
from toolkit.tiny_model.patches import layout_of

if TYPE_CHECKING:
    import numpy as np

#: Two tokens whose log-probabilities are this close are a tie that rounding decides.
NEAR_TIE = 1e-3


@dataclass(frozen=True)
class Reference:
    """What transformers wrote."""

    tokens: tuple[int, ...]
    logprobs: np.ndarray
    """float32 (tokens, vocabulary)"""
    prompt_as_trained: bool = True


def compare_with_transformers(
    folder: Path, items: Sequence[HeldOut], answers: Sequence[Answer], max_tokens: int, *, quiet: bool = False
) -> dict[str, Any]:
    """Generate with transformers, item by item, float32, greedy, and compare with vLLM's ``answers``: `compared`."""
    from tqdm import tqdm

    write, decode = transformers_writer(folder, max_tokens)
    bar = tqdm(items, desc="transformers", unit="answer", leave=False, disable=True if quiet else None)
    return compared(items, answers, [write(item) for item in bar], decode)


def transformers_writer(folder: Path, max_tokens: int) -> tuple[Callable[[HeldOut], Reference], Callable[[int], str]]:
    """A function that answers an item with transformers on the CPU, and one that shows a token."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    layout = layout_of(model.config.model_type.replace("_", "-"))

    def write(item: HeldOut) -> Reference:
        inputs = processor_inputs(processor, item)
        prompt = inputs["input_ids"][0].tolist()
        with torch.inference_mode():
            output = model.generate(
                **inputs, do_sample=False, max_new_tokens=max_tokens, return_dict_in_generate=True, output_logits=True
            )
        tokens = output.sequences[0, len(prompt) :].tolist()
        logprobs = torch.cat(output.logits).log_softmax(-1).numpy()
        return Reference(tuple(tokens), logprobs, prompt == trained_prompt(processor.tokenizer, item, layout))

    return write, lambda token: processor.tokenizer.decode([token])


def compared(
    items: Sequence[HeldOut],
    answers: Sequence[Answer],
    references: Sequence[Reference],
    decode: Callable[[int], str] = str,
) -> dict[str, Any]:
    """How many answers are the same to the last token; where and by how much each other one differs.

    Returns:
        ``items``, ``agree``, ``prompts_as_trained``; ``tokens`` that both wrote before any difference, and
        ``largest_gap``, the largest difference of their log-probabilities. ``near_ties`` of the ``differences``, each
        of which has the ``position``, and for both sides its ``token`` and ``lead``, the log-probability of its own
        token less that of the other's (None if vLLM did not report it).
    """
    differences, tokens, largest = [], 0, 0.0
    for item, answer, reference in zip(items, answers, references, strict=True):
        position = _first_difference(answer.tokens, reference.tokens)
        same = min(len(answer.tokens), len(reference.tokens)) if position is None else position
        tokens += same
        for step in range(same):
            token = answer.tokens[step]
            gap = abs(answer.logprobs[step][token] - float(reference.logprobs[step, token]))
            largest = max(largest, gap)
        if position is not None:
            differences.append(_difference(item, position, answer, reference, decode))
    return {
        "items": len(items),
        "agree": len(items) - len(differences),
        "prompts_as_trained": sum(reference.prompt_as_trained for reference in references),
        "tokens": tokens,
        "largest_gap": float(f"{largest:.3g}"),
        "near_ties": sum(difference["near_tie"] for difference in differences),
        "differences": differences,
    }


def _first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """Index of the first token that differs, or that only one of the two has; None if there is none."""
    pairs = enumerate(itertools.zip_longest(first, second))
    return next((index for index, (own, other) in pairs if own != other), None)


def _difference(
    item: HeldOut, position: int, answer: Answer, reference: Reference, decode: Callable[[int], str]
) -> dict[str, Any]:
    found = {"task": item.task, "number": item.number, "request": item.request, "position": position}
    if position >= min(len(answer.tokens), len(reference.tokens)):
        # One of the two continued after the other's end: a matter of stopping, not of arithmetic.
        return found | {"vllm": None, "transformers": None, "near_tie": False}
    ours, theirs = answer.tokens[position], reference.tokens[position]
    told, whole = answer.logprobs[position], reference.logprobs[position]
    lead = told[ours] - told[theirs] if theirs in told else None
    other_lead = float(whole[theirs] - whole[ours])
    near = lead is not None and max(lead, other_lead) <= NEAR_TIE
    return found | {
        "vllm": {"token": decode(ours), "lead": None if lead is None else round(lead, 6)},
        "transformers": {"token": decode(theirs), "lead": round(other_lead, 6)},
        "near_tie": near,
    }


def as_text(agreement: dict[str, Any]) -> str:
    """A few lines to read."""
    lines = [
        f"transformers and vLLM: {agreement['agree']} of {agreement['items']} answers are the same, token for token. "
        f"Over the {agreement['tokens']} tokens that they share, log-probabilities differ by "
        f"{agreement['largest_gap']:.2g} at most."
    ]
    for difference in agreement["differences"]:
        where = f"{difference['task']} {difference['number']}, token {difference['position']}"
        if difference["vllm"] is None:
            lines.append(f"{where}: one answer ends, the other continues")
            continue
        sides = []
        for side in ("vllm", "transformers"):
            token, lead = difference[side]["token"], difference[side]["lead"]
            sides.append(f"{side} writes {token!r} (ahead by {'?' if lead is None else f'{lead:.2g}'})")
        lines.append(f"{where}: {', '.join(sides)}: {'a tie' if difference['near_tie'] else 'not a tie'}")
    return "\n".join(lines)

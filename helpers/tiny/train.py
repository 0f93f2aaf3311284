"""Trains the tiny model from scratch, saves its progress, and writes a checkpoint that transformers and vLLM load.

The mathematics is the stock model's. Three things only make it quicker on a CPU: the patch embedding computed as a
matrix product instead of a ``Conv3d`` (whose backward pass is slow there), fused AdamW, and compiled blocks.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.tiny import architecture, dataset
from helpers.tiny.tokenizer import build_tokenizer

PEAK_LEARNING_RATE = 1.5e-3
WARM_UP_STEPS = 200
BATCH_SIZE = 32
SAVE_EVERY_SECONDS = 120
TRAINING_FILE = "training.pt"
LOG_FILE = "training_log.jsonl"


def train(
    out: Path,
    minutes: float,
    *,
    steps: int | None = None,
    family: str = "qwen3-vl",
    resume: bool = False,
    seed: int = 0,
    compile_blocks: bool = False,
    batch_size: int = BATCH_SIZE,
    held_out_items: int = 96,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train for ``minutes`` of running time, and write model, tokenizer, processor and log into ``out``.

    With ``resume``, a run that was stopped goes on from its last saved state (at most two minutes old), with the
    time that it had left. The learning rate rises over 200 steps and then falls with the share of time used. With
    ``steps``, the run ends after so many steps instead, whatever time they take: the same on every machine.

    Returns:
        the last line of the log: minutes, steps, examples, loss, held-out scores.

    Raises:
        CourseError: a folder that holds a run already, nothing to resume, a full disk, or a loss that is not a number.
    """
    import torch
    from tqdm import tqdm

    out = Path(out)
    state_file = out / TRAINING_FILE
    if state_file.exists() and not resume:
        raise CourseError(f"{out} holds a training run already.", "", "add --resume to go on, or choose another --out")
    if resume and not state_file.exists():
        raise CourseError(f"There is no run to resume in {out}.", f"no {TRAINING_FILE} there", "leave --resume away")
    if minutes <= 0 or (steps is not None and steps <= 0):
        raise CourseError("A training must have time above 0.", f"{minutes} minutes, {steps} steps", "try --minutes 3")
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the worker process is forked
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = build_tokenizer()
    config = architecture.build_config(tokenizer, family)
    model = architecture.build_model(config, seed).to(device).train()
    as_linear_patch_embedding(model)
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), fused=True)
    state = {"seconds": 0.0, "step": 0, "examples": 0, "next_seed": 0}
    if resume:
        saved = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state = saved["state"]
    if compile_blocks:
        for block in [*model.model.visual.blocks, *model.model.language_model.layers]:
            block.compile(dynamic=True)
    loader = torch.utils.data.DataLoader(
        _stream(tokenizer, state["next_seed"], batch_size, config.image_token_id),
        batch_size=None, num_workers=1, prefetch_factor=8, multiprocessing_context="fork",
    )  # fmt: skip
    budget = minutes * 60
    bar = tqdm(total=round(minutes, 2), initial=round(state["seconds"] / 60, 2), unit="min", disable=quiet,
               bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} min{postfix}")  # fmt: skip
    clock, last_saved, smooth = time.monotonic(), state["seconds"], None
    for batch in loader:
        share = min(1.0, state["step"] / steps if steps else state["seconds"] / budget)
        rate = PEAK_LEARNING_RATE * min(1.0, (state["step"] + 1) / WARM_UP_STEPS) * max(0.0, 1 - share)
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-6)
        state["next_seed"] = batch.pop("next_seed")
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=_bfloat16_pays(device)):
            loss = _loss(model, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise CourseError(
                f"The loss is {value} at step {state['step']}.",
                "the training became unstable",
                f"resume from the last good state in {out} with --resume; if it returns, lower PEAK_LEARNING_RATE",
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        now = time.monotonic()
        state["seconds"] += now - clock
        clock = now
        state["step"] += 1
        state["examples"] += len(batch["input_ids"])
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        bar.n = min(bar.total, state["seconds"] / 60)
        bar.set_postfix_str(f" loss {smooth:.3f}, {state['examples'] / state['seconds']:.0f} examples/s", refresh=False)
        bar.update(0)
        finished = state["step"] >= steps if steps else state["seconds"] >= budget
        if finished or state["seconds"] - last_saved > SAVE_EVERY_SECONDS:
            last_saved = state["seconds"]
            _save_state(state_file, model, optimizer, state)
            line = {"minutes": round(state["seconds"] / 60, 2), "step": state["step"], "examples": state["examples"],
                    "loss": round(smooth, 4), **held_out(model, tokenizer, device, held_out_items)}  # fmt: skip
            with (out / LOG_FILE).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            if not quiet:
                tqdm.write(json.dumps(line))
            export(model, tokenizer, out)
            clock = time.monotonic()
            if finished:
                break
    bar.close()
    return line


def _loss(model: Any, batch: dict[str, Any]) -> Any:
    import torch

    labels = batch["labels"]
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    mask = wanted != dataset.IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[mask]).float(), wanted[mask])


def held_out(model: Any, tokenizer: Any, device: Any, count: int) -> dict[str, float]:
    """Share of validation tokens predicted right given what stands before them, and of answers right in every token.

    An answer whose every token is the most probable one is what greedy decoding writes, so ``exact`` is the exact
    match of generation, without its cost.
    """
    import torch

    scores = {}
    model.eval()
    for kind in ("scene", "sentence"):
        tokens, right_tokens, right_answers = 0, 0, 0
        for start in range(0, count, 32):
            numbers = range(start, min(start + 32, count))
            examples = [dataset.encode(tokenizer, dataset.validation_turns(kind, number)) for number in numbers]
            batch = dataset.collate(examples, tokenizer.pad_token_id, model.config.image_token_id)
            batch = {key: value.to(device) for key, value in batch.items()}
            labels = batch.pop("labels")[:, 1:]
            with torch.no_grad():
                guess = model(**batch, use_cache=False).logits[:, :-1].argmax(-1)
            counted = labels != dataset.IGNORED
            right = (guess == labels) | ~counted
            tokens += int(counted.sum())
            right_tokens += int((right & counted).sum())
            right_answers += int(right.all(dim=1).sum())
        scores[f"{kind}_tokens"] = round(right_tokens / tokens, 4)
        scores[f"{kind}_exact"] = round(right_answers / count, 4)
    model.train()
    return scores


def as_linear_patch_embedding(model: Any) -> None:
    """Compute the patch embedding as a matrix product; same weights, flattened. `export` undoes it in the file."""
    import torch

    embedding = model.model.visual.patch_embed
    convolution = embedding.proj
    linear = torch.nn.Linear(convolution.weight[0].numel(), convolution.out_channels).to(convolution.weight.device)
    with torch.no_grad():
        linear.weight.copy_(convolution.weight.flatten(1))
        linear.bias.copy_(convolution.bias)
    embedding.proj = linear
    embedding.forward = lambda patches: linear(patches.to(linear.weight.dtype))


def export(model: Any, tokenizer: Any, out: Path) -> None:
    """Write bfloat16 weights in the stock layout, configuration, tokenizer, processor and ``SHA256SUMS``."""
    import torch

    stock = architecture.build_model(model.config)
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    name = "model.visual.patch_embed.proj.weight"
    weights[name] = weights[name].reshape(stock.state_dict()[name].shape)
    stock.load_state_dict(weights)
    stock.generation_config.eos_token_id = [
        model.config.text_config.eos_token_id,
        model.config.text_config.pad_token_id,
    ]
    stock.to(torch.bfloat16).save_pretrained(out)
    architecture.build_processor(tokenizer).save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_checksums(out)


def write_checksums(folder: Path) -> None:
    """``SHA256SUMS`` of the files that make up the model, in the format of ``sha256sum``."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".json", ".jinja", ".safetensors"})
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _save_state(path: Path, model: Any, optimizer: Any, state: dict[str, Any]) -> None:
    import torch

    partial = path.with_suffix(".partial")
    try:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state}, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise CourseError(
            f"The training state cannot be saved to {path.parent}: {error}",
            "a full or read-only disk; the state saved before is untouched",
            "make room (0.1 GB) and go on with --resume",
        ) from None


def _parameter_groups(model: Any) -> list[dict[str, Any]]:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]


def _bfloat16_pays(device: Any) -> bool:
    """On GPUs, and on CPUs with bfloat16 arithmetic (AVX512-BF16 or AMX); elsewhere it is emulated and slow."""
    import torch

    if device.type == "cuda":
        return True
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def _stream(*arguments: Any) -> Any:
    """The endless batches as a data set for a worker process."""
    import torch

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return dataset.batches(*arguments)

    return Stream()

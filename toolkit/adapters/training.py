"""The training loop for an adapter: saved, resumed, and stopped when held-out answers no longer improve."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.adapters.examples import IGNORED, make_batch

STATE, LOG, ADAPTER = "training.pt", "log.jsonl", "adapter"
SCORED_TOGETHER = 32


@dataclass(frozen=True)
class Schedule:
    """How an adapter is trained. The learning rate rises over ``warm_up`` steps, then falls with a cosine to 2 %."""

    steps: int = 300
    batch_size: int = 16
    learning_rate: float = 5e-3
    warm_up: int = 20
    seed: int = 0
    score_every: int = 50
    """Steps between two measurements on held-out items; each is also a save."""
    patience: int = 3
    """Stop after so many measurements in a row without a better loss."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warm_up))
        return self.learning_rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * step / self.steps)))

    def chosen(self, step: int, count: int) -> list[int]:
        """Which of ``count`` examples a step is made of: each epoch shuffles them, a pure function of the step."""
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [self._shuffled(number // count, count)[number % count] for number in numbers]

    def _shuffled(self, epoch: int, count: int) -> list[int]:
        return random.Random(f"{self.seed}-{epoch}").sample(range(count), count)


def fit(
    model: Any,
    examples: Sequence[Mapping[str, Any]],
    held_out: Sequence[Mapping[str, Any]],
    out: str | Path,
    schedule: Schedule = Schedule(),
    *,
    stop_after: int | None = None,
) -> list[dict[str, float]]:
    """Train what in ``model`` requires a gradient, and leave the best adapter in ``out/adapter``.

    A run that was stopped, or killed, continues from its last measurement: call it again with a fresh model and the
    same arguments. On the same machine it ends with the same weights as a run that was not.

    Args:
        model: a ``PeftModel``.
        examples: as `read_examples` gives them.
        held_out: the same, none of them trained on; their loss decides what is best, and when to stop.
        out: folder of the run: its adapter, its log, and the state to resume from, which is no part of what you ship.
        stop_after: stop at this step, as an interrupted run would be.

    Returns:
        a row per measurement: step, loss (of training, smoothed), held_out_loss, and held_out_right, the share of
        answers all of whose tokens are the most probable ones, which is what greedy decoding gets right.

    Raises:
        CourseError: nothing to train, another run in ``out``, or a loss that is not a number; the last good state is
            kept.
    """
    import torch
    from tqdm import tqdm

    out = Path(out)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters or not examples or not held_out:
        raise CourseError("There is nothing to train.", "", "give items, held-out items, and a model with an adapter")
    use_fast_patches(model)
    remember_images(model)
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=0.0)
    about = asdict(schedule) | {"examples": len(examples), "trained": sum(map(torch.numel, parameters))}
    rows, step = _resume(out, about, parameters, optimizer)
    loss = rows[-1]["loss"] if rows else math.nan
    model.train()
    with tqdm(total=schedule.steps, initial=step, desc="training", unit="step", leave=False) as bar:
        while step < min(schedule.steps, stop_after or schedule.steps) and not _is_over(rows, schedule.patience):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            batch = make_batch([examples[place] for place in schedule.chosen(step, len(examples))])
            found = model(**on_device(batch, parameters[0]), use_cache=False).loss
            found.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            if not math.isfinite(value := found.item()):
                remedy = "a smaller learning rate; the last measured state is kept"
                raise CourseError(f"The loss of step {step} is {value}.", "the learning rate is too high", remedy)
            optimizer.step()
            optimizer.zero_grad()
            loss = value if math.isnan(loss) else 0.9 * loss + 0.1 * value
            step += 1
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}")
            if step % schedule.score_every == 0 or step == schedule.steps:
                measured = score(model, held_out)
                rows.append({"step": step, "loss": loss, **measured})
                if measured["held_out_loss"] <= min(row["held_out_loss"] for row in rows):
                    model.save_pretrained(str(out / ADAPTER))
                _save(out, about, rows, parameters, optimizer)
    return rows


def score(model: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """``held_out_loss`` per labelled token, and ``held_out_right``, see `fit`; the right answer is fed in."""
    import torch

    model.eval()
    device, total, tokens, right = next(model.parameters()), 0.0, 0, 0
    with torch.inference_mode():
        for start in range(0, len(examples), SCORED_TOGETHER):
            batch = on_device(make_batch(examples[start : start + SCORED_TOGETHER]), device)
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch, use_cache=False).logits[:, :-1].float()
            learned = labels != IGNORED
            total += float(torch.nn.functional.cross_entropy(logits[learned], labels[learned], reduction="sum"))
            tokens += int(learned.sum())
            right += int(((logits.argmax(-1) == labels) | ~learned).all(1).sum())
    model.train()
    return {"held_out_loss": total / tokens, "held_out_right": right / len(examples)}


def on_device(batch: Mapping[str, Any], like: Any) -> dict[str, Any]:
    """A batch where a tensor is, patches in its type."""
    return {
        name: value.to(like.device, like.dtype if value.is_floating_point() else None) for name, value in batch.items()
    }


def use_fast_patches(model: Any) -> Callable[..., Any] | None:
    """Compute a frozen patch embedding as a matrix product: the same numbers, on a CPU fifteen times as fast."""
    import torch

    embedding = next((module for name, module in model.named_modules() if name.endswith("visual.patch_embed")), None)
    if embedding is None or not hasattr(getattr(embedding, "proj", None), "weight"):
        return None
    weight, bias = embedding.proj.weight.flatten(1), embedding.proj.bias
    embedding.forward = lambda pixels: torch.nn.functional.linear(pixels.to(weight.dtype), weight, bias)
    return embedding.forward


def remember_images(model: Any, most_bytes: int = 2**30) -> dict[bytes, Any] | None:
    """Compute what a frozen tower makes of an image once, not in every epoch; on a CPU, it is a quarter of each step.

    Each image goes through the tower alone, so its numbers do not depend on the batch, and a resumed run repeats them.
    Returns what is remembered, at most ``most_bytes``; None if nothing may be: a tower that learns, or a GPU.
    """
    import torch
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    tower: Any = next((module for name, module in model.named_modules() if name.endswith("model.visual")), None)
    weights = list(tower.parameters()) if hasattr(tower, "deepstack_visual_indexes") else []
    if not weights or weights[0].is_cuda or any(weight.requires_grad for weight in weights):
        return None
    compute, held = tower.forward, 0
    known: dict[bytes, tuple[Any, ...]] = {}

    def features(pixels: Any, grid: Any, **how: Any) -> tuple[Any, ...]:
        nonlocal held
        key = hashlib.sha256(pixels.float().numpy().tobytes() + grid.numpy().tobytes()).digest()
        if (found := known.get(key)) is None:
            with torch.inference_mode(False), torch.no_grad():  # also usable in a backward pass
                output = compute(pixels, grid_thw=grid[None], **how)
            found = (output.pooler_output, *output.deepstack_features)
            held += sum(one.nbytes for one in found)
            if held <= most_bytes:
                known[key] = found
        return found

    def forward(pixels: Any, grid_thw: Any, **how: Any) -> Any:
        parts = pixels.split(grid_thw.prod(-1).tolist())
        whole = [torch.cat(one) for one in zip(*map(partial(features, **how), parts, grid_thw), strict=True)]
        return BaseModelOutputWithDeepstackFeatures(pooler_output=whole[0], deepstack_features=whole[1:])

    tower.forward = forward
    return known


def _is_over(rows: Sequence[Mapping[str, float]], patience: int) -> bool:
    losses = [row["held_out_loss"] for row in rows]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience


def _save(out: Path, about: dict[str, Any], rows: Any, parameters: Sequence[Any], optimizer: Any) -> None:
    import torch

    partial = out / f"{STATE}.partial"
    torch.save({"about": about, "rows": rows, "weights": parameters, "optimizer": optimizer.state_dict()}, partial)
    partial.replace(out / STATE)  # whole, or the one before
    (out / LOG).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _resume(out: Path, about: dict[str, Any], parameters: Sequence[Any], optimizer: Any) -> tuple[list[Any], int]:
    import torch

    if not (out / STATE).is_file():
        out.mkdir(parents=True, exist_ok=True)
        return [], 0
    saved = torch.load(out / STATE, map_location="cpu", weights_only=True)
    if saved["about"] != about:
        changed = [name for name in about if saved["about"].get(name) != about[name]]
        remedy = "continue with the same settings and data, or choose another folder"
        raise CourseError(f"{out.name} holds a run with another {changed[0]}.", "", remedy)
    with torch.no_grad():
        for parameter, value in zip(parameters, saved["weights"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    return saved["rows"], int(saved["rows"][-1]["step"])

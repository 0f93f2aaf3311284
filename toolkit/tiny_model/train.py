"""Trains a tiny model from scratch: saves its progress, goes on exactly where it stopped, logs held-out scores.

A run is a pure function of family, preset, seed, the number of processes and the model that it starts from, if any:
batch k is drawn from k alone (`dataset.Batches`), after those that such a model has seen, nothing in the models is
random after the first weights, and the optimizers' state is saved. So a run that was stopped, or killed, ends with the
weights of a run that was not (on the same machine; tested bit by bit).
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import write_whole
from toolkit.tiny_model import architecture, dataset
from toolkit.tiny_model.export import export
from toolkit.tiny_model.layout import Layout, layout_of
from toolkit.tiny_model.positions import Prepared, with_positions
from toolkit.tiny_model.presets import Preset, find_preset
from toolkit.tiny_model.speed import hidden_states_at, make_quicker
from toolkit.tiny_model.tokenizer import build_tokenizer

TRAINING_FILE = "training.pt"
LOG_FILE = "training_log.jsonl"
#: A model's folder keeps the log of each earlier stage in ``stages/<preset>/training_log.jsonl``.
STAGES = "stages"
FLOOR = 0.01
BETAS = (0.9, 0.98)
GRADIENT_NORM = 1.0
TRAINING_SEEDS = 10_000_000
NEEDED_BYTES = 200e6
HELD_OUT_BATCH = 16
#: Fields of a preset that do not change what is learned, so they may change when a run goes on.
FREE_FIELDS = {"name", "steps", "minutes", "examples_per_minute", "workers", "save_every_seconds", "save_every_steps",
               "held_out_items", "held_out_items_at_end", "held_out_tasks", "held_out_difficulty",
               "held_out_side"}  # fmt: skip


@dataclass(frozen=True)
class Processes:
    """Where this process stands among those of ``torchrun``, and the device that it computes on."""

    rank: int
    world: int
    device: Any

    @property
    def writes(self) -> bool:
        """Whether it saves, logs and shows progress: only the first does."""
        return self.rank == 0


def train(
    out: Path,
    minutes: float | None = None,
    *,
    family: str | None = None,
    preset: str | Preset | None = None,
    steps: int | None = None,
    resume: bool = False,
    seed: int | None = None,
    stop_after: int | None = None,
    start_from: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train, and write model, tokenizer, processor and log into ``out``.

    Args:
        out: folder of the run.
        minutes: end after so much running time, the learning rate following the share of time used.
        family: 'qwen3-vl' (default) or 'qwen2-vl'.
        preset: a name of ``data/training.yaml`` (default 'cpu') or a `Preset`.
        steps: end after so many steps, whatever time they take: the same on every machine.
        resume: go on from the last saved state. What is not said again (family, preset, seed, minutes or steps) is
            taken from there.
        seed: of the first weights; default 0.
        stop_after: save and stop at this step, to be resumed.
        start_from: folder of a tiny model to begin with instead of random weights; its vocabulary may differ. The run
            draws other examples than the model has seen, as far as its folder knows (`examples_seen`).
        quiet: show nothing.

    Neither ``minutes`` nor ``steps``: the preset's own. Under ``torchrun`` (``WORLD_SIZE`` set) each process takes its
    own batches, and gradients are added up; only the first process writes. Ctrl-C and SIGTERM end the step, save and
    stop.

    Returns:
        the last line of the log: minutes, step, examples, loss, learning rate, held-out scores; empty in all but the
        first process.

    Raises:
        CourseError: a folder that holds a run or a model already, nothing to resume, a run that was started
            differently, unknown family or preset, a disk that is full or cannot be written, a killed worker process,
            or a loss that is not a number. The last good state is kept.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when the state is saved.
    """
    out = Path(out)
    if (minutes is not None and minutes <= 0) or (steps is not None and steps <= 0):
        raise CourseError(
            "A training must have time above 0.", f"{minutes} minutes, {steps} steps", "try --minutes 3, or --steps 100"
        )
    state_file = out / TRAINING_FILE
    if state_file.exists() and not resume:
        raise CourseError(f"{out} holds a training run already.", "", "add --resume to go on, or choose another --out")
    if not resume and ((out / LOG_FILE).exists() or any(out.glob("*.safetensors"))):
        raise CourseError(
            f"{out} holds a trained model already.",
            f"it has no {TRAINING_FILE}, so it cannot be gone on with, and a new run would replace it",
            f"choose another --out; to go on from its weights, add --start-from {out}",
        )
    if resume and not state_file.exists():
        raise CourseError(f"There is no run to resume in {out}.", f"no {TRAINING_FILE} there", "leave --resume away")
    saved = read_state(state_file) if resume else None
    if saved:
        family, preset, seed = _as_started(saved["run"], family, preset, seed)
        if minutes is None and steps is None:
            minutes, steps = saved["run"]["minutes"], saved["run"]["steps"]
    layout = layout_of(family or "qwen3-vl")
    recipe = preset if isinstance(preset, Preset) else find_preset(preset or "cpu")
    if minutes is None and steps is None:
        minutes, steps = recipe.minutes, recipe.steps
    if steps is not None:
        minutes = None
    _check_disk(out)
    with _processes() as processes:
        run = Run(out, layout, recipe, seed or 0, minutes, steps, processes, quiet or not processes.writes)
        if saved:
            run.load(saved)
            del saved
        elif start_from:
            run.start_from(Path(start_from))
        return run.train(stop_after)


class Run:
    """One training: its model, its optimizers, and how far it is."""

    def __init__(
        self,
        out: Path,
        layout: Layout,
        preset: Preset,
        seed: int,
        minutes: float | None,
        steps: int | None,
        processes: Processes,
        quiet: bool,
    ):
        self.out, self.layout, self.preset, self.processes, self.quiet = out, layout, preset, processes, quiet
        self.minutes, self.steps = minutes, steps
        self.about = {
            "family": layout.family,
            "preset": preset.model_dump(),
            "seed": seed,
            "minutes": minutes,
            "steps": steps,
            "processes": processes.world,
            "first_seed": 0,
        }
        self.tokenizer = build_tokenizer()
        config = architecture.build_config(self.tokenizer, layout.family, preset.size)
        self.model = architecture.build_model(config, seed).train()
        self._prepare()
        self.state: dict[str, Any] = {"step": 0, "examples": 0, "seconds": 0.0, "loss": None}

    def _prepare(self) -> None:
        make_quicker(self.model)
        self.model.to(self.processes.device)
        self.optimizers = build_optimizers(self.model, self.preset)

    def start_from(self, folder: Path) -> None:
        """Begin with the weights of another tiny model."""
        from toolkit.tiny_model.transfer import start_from

        self.model = architecture.build_model(self.model.config).train()
        start_from(self.model, self.tokenizer, folder)
        self.about |= {"started_from": folder.name, "first_seed": examples_seen(folder)}
        self._prepare()

    def load(self, saved: dict[str, Any]) -> None:
        """Take over a saved state."""
        if saved["run"]["processes"] != self.processes.world:
            raise CourseError(
                f"The run in {self.out} was started with {saved['run']['processes']} processes, "
                f"and this is a run of {self.processes.world}.",
                "each process takes its own batches, so the number must stay",
                f"start torchrun with --nproc-per-node {saved['run']['processes']}",
            )
        self.model.load_state_dict(saved["model"])
        for optimizer, kept in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.state = dict(saved["state"])
        # Runs that were saved before there was a first seed began with 0.
        self.about |= {key: saved["run"][key] for key in ("started_from", "first_seed") if key in saved["run"]}

    def train(self, stop_after: int | None = None) -> dict[str, Any]:
        """Go on to the end, or to ``stop_after``."""
        if self.processes.writes and self.state["step"]:
            self._make_good()
        if self.share >= 1:
            return self._finished_before()
        with _stop_on_signal() as stop:
            try:
                return self._train(stop_after, stop)
            except (RuntimeError, EOFError, ConnectionError) as error:
                told = _why_a_worker_died(error)
                if "DataLoader worker" not in told:
                    raise
                raise CourseError(
                    f"A worker process that draws training examples died after step {self.state['step']}: {told}",
                    "memory or shared memory (/dev/shm) ran out, or somebody ended it",
                    f"the last good state is kept: go on with --resume --out {self.out}; if it returns, set a "
                    "smaller 'workers' (0: none) in the preset",
                ) from None

    def _train(self, stop_after: int | None, stop: threading.Event) -> dict[str, Any]:
        line: dict[str, Any] = {}
        state, preset = self.state, self.preset
        bar = self._bar()
        started = time.monotonic() - state["seconds"]
        saved_at, interrupted = state["seconds"], False
        for batch in self._loader():
            value = self._step(batch)
            state["step"] += 1
            state["loss"] = value if state["loss"] is None else 0.98 * state["loss"] + 0.02 * value
            # The first process's clock and anybody's wish to stop hold for all.
            examples, seconds, interrupted = self._together(
                len(batch["input_ids"]),
                time.monotonic() - started if self.processes.writes else 0.0,
                float(stop.is_set()),
            )
            state["examples"] += int(examples)
            state["seconds"] = seconds
            self._show(bar)
            finished = self.share >= 1
            halted = bool(interrupted) or (stop_after is not None and state["step"] >= stop_after)
            if preset.save_every_steps:
                due = state["step"] % preset.save_every_steps == 0
            else:
                due = seconds - saved_at >= preset.save_every_seconds
            if finished or halted or due:
                saved_at = seconds
                if self.processes.writes:
                    line = self._save()
                    if bar is not None:
                        bar.write(json.dumps(line))
                self._together(0.0)  # nobody leaves before the first process has saved: torchrun would end it
            if finished or halted:
                break
        if bar is not None:
            bar.close()
        if interrupted and not self.share >= 1:
            if not self.quiet:
                print(f"Stopped at step {state['step']}, saved. Go on with --resume --out {self.out}")
            raise KeyboardInterrupt
        return line

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.steps is not None:
            return min(1.0, self.state["step"] / self.steps)
        return min(1.0, self.state["seconds"] / (self.minutes * 60))

    def rate(self) -> float:
        """The learning rate's share of its peak: a linear rise, then a cosine down to 1 %."""
        rise = min(1.0, (self.state["step"] + 1) / max(1, self.preset.warm_up_steps))
        return rise * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * self.share)))

    def _step(self, batch: dict[str, Any]) -> float:
        """One step on one batch (of each process); returns the loss, averaged over all labelled tokens."""
        import torch

        device = self.processes.device
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.rate()
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=_bfloat16_pays(device)):
            total, count = summed_loss(self.model, batch)
        (tokens,) = self._together(count)
        loss = total / tokens
        loss.backward()
        (value,) = self._together(loss.item())
        self._add_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM).item()
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise CourseError(
                f"At step {self.state['step']} the loss is {value} and the gradient's norm {norm}.",
                "the training became unstable",
                f"the last good state is kept: go on with --resume --out {self.out}; if it returns, start anew with "
                "lower learning rates in the preset",
            )
        self._even_out(min(norm, GRADIENT_NORM))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return value

    def _even_out(self, norm: float) -> None:
        """Divide gradients by the root of their norm.

        A batch is of one kind of item. Long answers of which most is easy (descriptions) have a fifth of the gradient
        of short and hard ones (reversals), and the optimizers' momentum would hardly see them.
        """
        import torch

        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        torch._foreach_mul_(gradients, max(norm, 1e-3) ** -0.5)

    def _together(self, *values: float) -> list[float]:
        """Each value, added up over all processes."""
        if self.processes.world == 1:
            return list(values)
        import torch

        tensor = torch.tensor(values, dtype=torch.float64, device=self.processes.device)
        torch.distributed.all_reduce(tensor)
        return tensor.tolist()

    def _add_gradients(self) -> None:
        """Add up gradients over all processes; a parameter that no process used keeps none, as in a single process."""
        if self.processes.world == 1:
            return
        import torch

        parameters = list(self.model.parameters())
        used = self._together(*(float(parameter.grad is not None) for parameter in parameters))
        wanted = [parameter for parameter, users in zip(parameters, used, strict=True) if users]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in wanted])
        torch.distributed.all_reduce(flat)
        for parameter, grad in zip(wanted, flat.split([p.numel() for p in wanted]), strict=True):
            parameter.grad.copy_(grad.view_as(parameter))

    def _loader(self) -> Any:
        """This process's batches from the next step on, drawn by worker processes."""
        import torch

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the workers are forked
        world, size, workers = self.processes.world, self.preset.batch_size, self.preset.workers
        first = self.about["first_seed"]
        most = (TRAINING_SEEDS - first) // size
        steps = 1 if self.steps is None else self.steps
        if steps * world > most:
            used = f", and the model to start from has seen {first:,}" if first else ""
            raise CourseError(
                f"{steps} steps of {size * world} examples need more than {TRAINING_SEEDS:,} of them.",
                f"seeds from there on are kept for measuring{used}",
                f"at most {max(0, most // world):,} steps",
            )
        if self.steps is not None:
            last = count = self.steps * world
        else:
            count = min(most, max(1, round(self.minutes * self.preset.examples_per_minute / size)))
            last = most  # a machine may be faster than the guess
        drawn = dataset.Batches(self.tokenizer, self.layout, self.preset, size, count, first)
        numbers = range(self.state["step"] * world + self.processes.rank, last, world)
        return torch.utils.data.DataLoader(
            Prepared(drawn, self.layout, _bfloat16_pays(self.processes.device)),
            sampler=numbers,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=(4 if workers <= 4 else 2) if workers else None,  # they wait in shared memory
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_ignore_signals,
            pin_memory=self.processes.device.type == "cuda",
        )

    def _line(self) -> dict[str, Any]:
        """Measure, and make the log's line: the same from a saved state as when it was saved."""
        state, preset = self.state, self.preset
        return {
            "minutes": round(state["seconds"] / 60, 2),
            "step": state["step"],
            "examples": state["examples"],
            "loss": round(state["loss"], 4),
            "learning_rate": float(f"{preset.learning_rate * self.rate():.3g}"),
            **held_out(
                self.model,
                self.tokenizer,
                self.layout,
                preset.held_out_items_at_end if self.share >= 1 else preset.held_out_items,
                preset.held_out_tasks,
                preset.held_out_difficulty,
                preset.held_out_side,
            ),
        }

    def _save(self) -> dict[str, Any]:
        """Measure, save the state, add the log's line, write the model.

        The state goes first: it is what cannot be made again, and from it `_make_good` makes the rest.
        """
        line = self._line()
        with _saving(self.out):
            _write_state(
                self.out / TRAINING_FILE,
                {
                    "run": self.about,
                    "model": self.model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                    "state": self.state,
                },
            )
            self._log(line)
            export(self.model, self.tokenizer, self.out)
        return line

    def _log(self, line: dict[str, Any]) -> None:
        with (self.out / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _make_good(self) -> None:
        """Do what a save that failed or was killed after its state has left undone.

        That is the log's line, and the model of a finished run. Another run's model is written with its next save.
        """
        _mend_log(self.out / LOG_FILE, self.state["step"])
        lines = read_log(self.out)
        line = None if lines and lines[-1]["step"] == self.state["step"] else self._line()
        with _saving(self.out):
            if line:
                self._log(line)
            if self.share >= 1:  # whether it was written cannot be seen: half a file may look whole
                export(self.model, self.tokenizer, self.out)

    def _finished_before(self) -> dict[str, Any]:
        self._together(0.0)  # as after a save
        if not self.quiet:
            print(f"The run in {self.out} is finished.")
        lines = read_log(self.out) if self.processes.writes else []
        return lines[-1] if lines else {}

    def _bar(self) -> Any:
        if self.quiet:
            return None
        from tqdm import tqdm

        if self.steps is not None:
            return tqdm(total=self.steps, initial=self.state["step"], unit="step")
        form = "{l_bar}{bar}| {n:.1f}/{total:.1f} min{postfix}"
        return tqdm(total=round(self.minutes, 2), initial=round(self.state["seconds"] / 60, 2), bar_format=form)

    def _show(self, bar: Any) -> None:
        if bar is None:
            return
        state = self.state
        bar.n = state["step"] if self.steps is not None else min(bar.total, state["seconds"] / 60)
        speed = state["examples"] / max(state["seconds"], 1e-9)
        bar.set_postfix_str(f" loss {state['loss']:.3f}, {speed:.0f} examples/s", refresh=False)
        bar.update(0)


def build_optimizers(model: Any, preset: Preset) -> list[Any]:
    """Muon for the matrices of blocks, layers and mergers; AdamW for embeddings, patch embedding, norms and biases."""
    import torch

    from toolkit.tiny_model.muon import Muon

    hidden, merging, tables, vectors = [], [], [], []
    merge = model.config.vision_config.spatial_merge_size**2
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and ("merger" in name and parameter.shape[0] == parameter.shape[1]):
            merging.append(parameter)
        elif parameter.ndim == 2 and any(part in name for part in (".layers.", ".blocks.", "merger")):
            hidden.append(parameter)
        elif parameter.ndim >= 2:
            tables.append(parameter)
        else:
            vectors.append(parameter)
    muon = Muon(
        [{"params": hidden}, {"params": merging, "blocks": merge}],
        lr=preset.muon_learning_rate,
        weight_decay=preset.muon_weight_decay,
    )
    adam = torch.optim.AdamW(
        [{"params": tables, "weight_decay": preset.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=preset.learning_rate,
        betas=BETAS,
        fused=True,
    )
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adam]


def summed_loss(model: Any, batch: dict[str, Any]) -> tuple[Any, int]:
    """Cross-entropy of the labelled tokens, summed, and their number; the output layer sees only those."""
    import torch

    hidden, wanted = _labelled(model, batch)
    return torch.nn.functional.cross_entropy(model.lm_head(hidden).float(), wanted, reduction="sum"), len(wanted)


def _labelled(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    """What stands before each labelled token after the last layer, float (N, hidden), and those tokens, int64 (N,)."""
    import torch

    labels = batch["labels"]
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=dataset.IGNORED)
    wanted = following != dataset.IGNORED
    return hidden_states_at(model, wanted, inputs), following[wanted]


def _why_a_worker_died(error: Exception) -> str:
    """The first line of what the library says; a pipe may break a moment before its signal handler speaks."""
    if not isinstance(error, RuntimeError):
        try:
            time.sleep(2)
        except RuntimeError as told:
            error = told
        else:
            return f"DataLoader worker: {type(error).__name__}"
    return str(error).splitlines()[0] if str(error) else ""


def held_out(
    model: Any,
    tokenizer: Any,
    layout: Layout,
    count: int,
    tasks: list[str] | None = None,
    difficulty: int = 3,
    side: int | None = None,
) -> dict[str, float]:
    """Per task: share of held-out answers' tokens predicted right given what stands before them, and of answers right.

    An answer whose every token is the most probable one is what greedy decoding writes, so ``exact`` is the exact
    match of generation, without its cost.

    Args:
        model: with `speed.make_quicker` done.
        tokenizer: its tokenizer.
        layout: of its family.
        count: items per task; 0 measures nothing.
        tasks: some of `dataset.TASKS`; None: all.
        difficulty: of the items.
        side: of scenes, in pixels; None: the world's own.
    """
    import torch

    scores: dict[str, float] = {}
    device = next(model.parameters()).device
    model.eval()
    for task in (tasks or dataset.TASKS) if count else ():
        tokens, right_tokens, right_answers = 0, 0, 0
        for start in range(0, count, HELD_OUT_BATCH):
            numbers = range(start, min(start + HELD_OUT_BATCH, count))
            turns = [_resized(dataset.validation_turns(task, number, difficulty), task, side) for number in numbers]
            examples = [dataset.encode(tokenizer, turn, None, layout) for turn in turns]
            batch = with_positions(dataset.collate(examples, tokenizer, layout), layout)
            batch = {key: value.to(device) for key, value in batch.items()}
            with torch.no_grad():
                hidden, wanted = _labelled(model, batch)
                right = model.lm_head(hidden).argmax(-1) == wanted
            rows = (batch["labels"][:, 1:] != dataset.IGNORED).nonzero()[:, 0]
            tokens += len(wanted)
            right_tokens += int(right.sum())
            right_answers += len(examples) - len(rows[~right].unique())
        scores[f"{task}_tokens"] = round(right_tokens / tokens, 4)
        scores[f"{task}_exact"] = round(right_answers / count, 4)
    model.train()
    return scores


def _resized(turns: list[dataset.Turn], task: str, side: int | None) -> list[dataset.Turn]:
    if side is None or task not in dataset.KIND_TASKS["scene"]:
        return turns
    return [replace(turn, medium=turn.medium and turn.medium.resize((side, side))) for turn in turns]


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a torn last line is left out."""
    path = Path(out) / LOG_FILE
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _mend_log(path: Path, step: int) -> None:
    """Leave out lines that are torn or from after the saved state: they are written again."""
    if not path.exists():
        return
    kept = [line for line in read_log(path.parent) if line["step"] <= step]
    with _saving(path.parent):
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))


def _as_started(
    run: dict[str, Any], family: str | None, preset: str | Preset | None, seed: int | None
) -> tuple[str, Preset, int]:
    """Family, preset and seed of the saved run; refuses others."""

    def refuse(what: str, then: Any, now: Any) -> None:
        raise CourseError(
            f"The run was started with {what} {then}, not {now}.",
            "a run that goes on keeps family, preset and seed",
            "ask for what it was started with (or leave it away), or start a new run in another --out",
        )

    if family is not None and family != run["family"]:
        refuse("family", run["family"], family)
    if seed is not None and seed != run["seed"]:
        refuse("seed", run["seed"], seed)
    then = Preset(**run["preset"])
    if preset is None:
        return run["family"], then, run["seed"]
    now = preset if isinstance(preset, Preset) else find_preset(preset)
    if now.name != then.name:
        refuse("preset", then.name, now.name)
    old, new = then.model_dump(exclude=FREE_FIELDS), now.model_dump(exclude=FREE_FIELDS)
    for key in old:
        if old[key] != new[key]:
            refuse(f"preset {then.name}, {key}", old[key], new[key])
    return run["family"], now, run["seed"]


def examples_seen(folder: Path) -> int:
    """How many examples a model's training has seen, all stages together, as far as its folder knows: 0 if nothing.

    A run that starts from it draws its own from there on.

    Raises:
        CourseError: a ``training.pt`` that cannot be read.
    """
    folder = Path(folder)
    logs = [read_log(place) for place in (folder, *(folder / STAGES).glob("*"))]
    logged = sum(log[-1]["examples"] for log in logs if log)
    if not (folder / TRAINING_FILE).is_file():
        return logged
    try:
        saved = read_state(folder / TRAINING_FILE)
    except CourseError as error:
        remedy = "restore it, or remove it: then the logs beside it are asked"
        raise CourseError(error.what, "it says which examples the model has seen", remedy) from None
    # A stage that was trained before runs kept a first seed knows of its own examples only; its logs may know more.
    return max(logged, saved["run"].get("first_seed", 0) + saved["state"]["examples"])


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


def _write_state(path: Path, contents: dict[str, Any]) -> None:
    """Write beside, then replace: whatever happens, a whole file is there."""
    import torch

    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(contents, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _saving(out: Path) -> Iterator[None]:
    """Turn what a full or failing disk raises into one message."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CourseError(
            f"The run cannot be saved to {out}: {error}",
            "a full or read-only disk; the state saved before is untouched",
            f"make room (0.2 GB) and go on with --resume --out {out}",
        ) from None


def _check_disk(out: Path) -> None:
    """Fail before the training, not at its first save."""
    with _saving(out):
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f"{TRAINING_FILE}.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
        if (free := shutil.disk_usage(out).free) < NEEDED_BYTES:
            raise OSError(f"only {free / 1e9:.2f} GB are free")


@contextmanager
def _processes() -> Iterator[Processes]:
    """This process, joined with the others of ``torchrun`` if there are any."""
    import torch

    world = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world == 1:
        yield Processes(0, 1, device)
        return
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), world, device)
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a step is finished and saved before the run ends."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ignore_signals(_: int) -> None:
    """In a worker process: Ctrl-C in a terminal reaches every process, but the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _bfloat16_pays(device: Any) -> bool:
    """On GPUs, and on CPUs with bfloat16 arithmetic (AVX512-BF16 or AMX); elsewhere it is emulated and slow."""
    import torch

    if device.type == "cuda":
        return True
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()

"""Trains a tiny model from scratch: saves its progress, resumes exactly where it stopped, logs held-out scores.

A run is a pure function of family, preset, seed, the number of processes and the model that it starts from, if any:
batch k is drawn from k alone (`dataset.Batches`), after those that such a model has seen, nothing in the models is
random after the first weights, and the optimizers' state is saved. So a run that was stopped, or killed, ends with the
weights of a run that was not (on the same machine; tested bit by bit).
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.tiny_model import architecture, dataset
from toolkit.tiny_model.checkpoint import STATE_FILE, check_disk, examples_seen, read_state, saving, write_state
from toolkit.tiny_model.distributed import Processes, bfloat16_is_fast, join_processes
from toolkit.tiny_model.export import export
from toolkit.tiny_model.fast_kernels import use_fast_kernels
from toolkit.tiny_model.loader import build_loader, why_a_worker_died
from toolkit.tiny_model.loss import held_out_accuracy, summed_loss
from toolkit.tiny_model.mrope import PreparedBatches
from toolkit.tiny_model.optimizers import (
    MAX_GRADIENT_NORM,
    build_optimizers,
    clip_gradients,
    lr_factor,
    rescale_gradients,
)
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.presets import Preset
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.tiny_model.training_log import append_to_log, read_log, truncate_log
from toolkit.tiny_model.training_run import TrainingRun, as_started, check_folder, with_defaults
from toolkit.tiny_model.warm_start import warm_start

TRAINING_SEEDS = 10_000_000


def train(
    run: TrainingRun, *, resume: bool = False, stop_after: int | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Train, and write model, tokenizer, processor and log into the run's folder.

    Args:
        resume: continue from the last saved state. What the run leaves open is taken from there.
        stop_after: save and stop at this step, to be resumed.

    Under ``torchrun`` (``WORLD_SIZE`` set) each process takes its own batches, and gradients are summed; only the
    first process writes. Ctrl-C and SIGTERM end the step, save and stop.

    Returns:
        the last line of the log: minutes, step, examples, loss, learning rate, held-out scores; empty in all but the
        first process.

    Raises:
        CourseError: a folder that already holds a run or a model, nothing to resume, a run that was started
            differently, unknown family or preset, a disk that is full or cannot be written, a killed worker process,
            or a loss that is not a number. The last good state is kept.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when the state is saved.
    """
    run = replace(run, out=Path(run.out))
    if (run.minutes is not None and run.minutes <= 0) or (run.steps is not None and run.steps <= 0):
        given = f"{run.minutes} minutes, {run.steps} steps"
        raise CourseError("A training run needs time above 0.", given, "try --minutes 3, or --steps 100")
    check_folder(run.out, resume)
    saved = read_state(run.out / STATE_FILE) if resume else None
    if saved:
        run = as_started(run, saved["run"])
    run = with_defaults(run)
    check_disk(run.out)
    with join_processes() as processes:
        trainer = Trainer(run, processes, quiet or not processes.is_main)
        if saved:
            trainer.load(saved)
            del saved
        elif run.start_from:
            trainer.start_from(Path(run.start_from))
        return trainer.train(stop_after)


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss: float | None = None
    """Smoothed."""


class Trainer:
    """One training: its model, its optimizers, and how far it is."""

    def __init__(self, run: TrainingRun, processes: Processes, quiet: bool):
        assert isinstance(run.preset, Preset) and run.family
        self.out, self.preset, self.minutes, self.steps = run.out, run.preset, run.minutes, run.steps
        self.processes, self.quiet = processes, quiet
        self.layout, seed = layout_of(run.family), run.seed or 0
        self.first_seed = 0
        self.about: dict[str, Any] = {
            "family": run.family,
            "preset": run.preset.model_dump(),
            "seed": seed,
            "minutes": run.minutes,
            "steps": run.steps,
            "processes": processes.world_size,
        }
        self.tokenizer = build_tokenizer(thinking=run.preset.thinking)
        config = architecture.build_config(self.tokenizer, run.family, run.preset.size)
        self._use_model(architecture.build_model(config, seed))
        self.progress = Progress()
        self.bfloat16 = bfloat16_is_fast(processes.device)

    def _use_model(self, model: Any) -> None:
        self.model = model.train()
        use_fast_kernels(self.model)
        self.model.to(self.processes.device)
        self.optimizers = build_optimizers(self.model, self.preset)

    def start_from(self, folder: Path) -> None:
        """Begin with the weights of another tiny model."""
        model = architecture.build_model(self.model.config)
        warm_start(model, self.tokenizer, folder)
        self.about["started_from"], self.first_seed = folder.name, examples_seen(folder)
        self._use_model(model)

    def load(self, saved: dict[str, Any]) -> None:
        """Take over a saved state."""
        before = saved["run"]["processes"]
        if before != self.processes.world_size:
            raise CourseError(
                f"The run in {self.out} was started with {before} processes, "
                f"and this is a run of {self.processes.world_size}.",
                "each process takes its own batches, so the number must stay the same",
                f"start torchrun with --nproc-per-node {before}",
            )
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.progress = Progress(**saved["state"])
        # Runs that were saved before there was a first seed began with 0.
        self.first_seed = saved["run"].get("first_seed", 0)
        if "started_from" in saved["run"]:
            self.about["started_from"] = saved["run"]["started_from"]

    def train(self, stop_after: int | None = None) -> dict[str, Any]:
        """Continue to the end, or to ``stop_after``."""
        if self.processes.is_main and self.progress.step:
            self._complete_save()
        if self.share_done >= 1:
            return self._finished_before()
        with _stop_on_signal() as stop:
            try:
                return self._loop(stop_after, stop)
            except (RuntimeError, EOFError, ConnectionError) as error:
                if not (reason := why_a_worker_died(error)):
                    raise
                raise CourseError(
                    f"A worker process that draws training examples died after step {self.progress.step}: {reason}",
                    "memory or shared memory (/dev/shm) ran out, or somebody ended it",
                    f"the last good state is kept: resume with --resume --out {self.out}; if it happens again, set a "
                    "smaller 'workers' (0: none) in the preset",
                ) from None

    def _loop(self, stop_after: int | None, stop: threading.Event) -> dict[str, Any]:
        line: dict[str, Any] = {}
        progress, bar = self.progress, self._progress_bar()
        started = time.monotonic() - progress.seconds
        saved_at, interrupted = progress.seconds, False
        for batch in self.batches():
            # 1. One step of the optimizers.
            loss = self.step(batch)
            progress.step += 1
            progress.loss = loss if progress.loss is None else 0.98 * progress.loss + 0.02 * loss

            # 2. Count: the first process's clock, and anybody's wish to stop, hold for all.
            clock = time.monotonic() - started if self.processes.is_main else 0.0
            examples, progress.seconds, stops = self.processes.all_sum(
                len(batch["input_ids"]), clock, float(stop.is_set())
            )
            progress.examples += int(examples)
            interrupted = bool(stops)
            self._show(bar)

            # 3. Save when it is due; nobody leaves before the first process has saved, or torchrun would end it.
            finished = self.share_done >= 1
            stopping = interrupted or (stop_after is not None and progress.step >= stop_after)
            if finished or stopping or self._save_is_due(saved_at):
                saved_at = progress.seconds
                if self.processes.is_main:
                    line = self._save()
                    if bar is not None and self.preset.held_out_items:  # else the bar says it all
                        bar.write(json.dumps(line))
                self.processes.barrier()
            if finished or stopping:
                break
        if bar is not None:
            bar.close()
        if interrupted and self.share_done < 1:
            if not self.quiet:
                print(f"Stopped at step {progress.step}, saved. Resume with --resume --out {self.out}")
            raise KeyboardInterrupt
        return line

    def step(self, batch: dict[str, Any]) -> float:
        """One step on one batch (of each process); returns the loss, averaged over all labelled tokens."""
        import torch

        device = self.processes.device
        # 1. Learning rate: linear warm-up, then a cosine.
        factor = self.lr_factor()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor

        # 2. Forward: this process's sum over the number of tokens in all processes.
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            total, count = summed_loss(self.model, batch)
        (tokens,) = self.processes.all_sum(count)
        loss = total / tokens

        # 3. Backward: gradients are summed over the processes, clipped, and made more alike from batch to batch.
        loss.backward()
        (value,) = self.processes.all_sum(loss.item())
        self.processes.sum_gradients(self.model)
        norm = clip_gradients(self.model)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise CourseError(
                f"At step {self.progress.step} the loss is {value} and the gradient's norm {norm}.",
                "the training became unstable",
                f"the last good state is kept: resume with --resume --out {self.out}; if it happens again, start over "
                "with lower learning rates in the preset",
            )
        rescale_gradients(self.model, min(norm, MAX_GRADIENT_NORM))

        # 4. Update.
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return value

    @property
    def share_done(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.steps is not None:
            return min(1.0, self.progress.step / self.steps)
        return min(1.0, self.progress.seconds / (self._minutes * 60))

    @property
    def _minutes(self) -> float:
        assert self.minutes is not None  # a run has steps or minutes
        return self.minutes

    def lr_factor(self) -> float:
        """The learning rate's share of its peak at the next step."""
        return lr_factor(self.progress.step, self.share_done, self.preset.warm_up_steps)

    def batches(self) -> Any:
        """This process's batches from the next step on, drawn by worker processes."""
        size, world = self.preset.batch_size, self.processes.world_size
        most = (TRAINING_SEEDS - self.first_seed) // size
        if (self.steps or 1) * world > most:
            used = f", and the model to start from has seen {self.first_seed:,}" if self.first_seed else ""
            raise CourseError(
                f"{self.steps or 1} steps of {size * world} examples need more than {TRAINING_SEEDS:,} of them.",
                f"seeds from there on are kept for measuring{used}",
                f"at most {max(0, most // world):,} steps",
            )
        if self.steps is not None:
            last = count = self.steps * world
        else:
            count = min(most, max(1, round(self._minutes * self.preset.examples_per_minute / size)))
            last = most  # a machine may be faster than the guess
        drawn = dataset.Batches(self.tokenizer, self.layout, self.preset, size, count, self.first_seed)
        return build_loader(
            PreparedBatches(drawn, self.layout, self.bfloat16),
            range(self.progress.step * world + self.processes.rank, last, world),
            self.preset.workers,
            pin_memory=self.processes.device.type == "cuda",
        )

    # ---------------------------------------------------------------- saving

    def _save_is_due(self, saved_at: float) -> bool:
        if self.preset.save_every_steps:
            return self.progress.step % self.preset.save_every_steps == 0
        return self.progress.seconds - saved_at >= self.preset.save_every_seconds

    def _log_line(self) -> dict[str, Any]:
        """Measure, and make the log's line: the same from a saved state as when it was saved."""
        progress, preset = self.progress, self.preset
        assert progress.loss is not None
        count = preset.held_out_items_at_end if self.share_done >= 1 else preset.held_out_items
        return {
            "minutes": round(progress.seconds / 60, 2),
            "step": progress.step,
            "examples": progress.examples,
            "loss": round(progress.loss, 4),
            "learning_rate": float(f"{preset.learning_rate * self.lr_factor():.3g}"),
            **held_out_accuracy(self.model, self.tokenizer, preset, count),
        }

    def _save(self) -> dict[str, Any]:
        """Measure, save the state, add the log's line, write the model.

        The state goes first: it is what cannot be made again, and from it `_complete_save` makes the rest.
        """
        line = self._log_line()
        state = {
            "run": self.about | {"first_seed": self.first_seed},
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "state": asdict(self.progress),
        }
        with saving(self.out):
            write_state(self.out / STATE_FILE, state)
            append_to_log(self.out, line)
            export(self.model, self.tokenizer, self.out)
        return line

    def _complete_save(self) -> None:
        """Do what a save that failed or was killed after its state has left undone.

        That is the log's line, and the model of a finished run. Another run's model is written with its next save.
        """
        with saving(self.out):
            truncate_log(self.out, self.progress.step)
        lines = read_log(self.out)
        line = None if lines and lines[-1]["step"] == self.progress.step else self._log_line()
        with saving(self.out):
            if line:
                append_to_log(self.out, line)
            if self.share_done >= 1:  # whether it was written cannot be seen: half a file may look whole
                export(self.model, self.tokenizer, self.out)

    def _finished_before(self) -> dict[str, Any]:
        self.processes.barrier()  # as after a save
        if not self.quiet:
            print(f"The run in {self.out} is finished.")
        lines = read_log(self.out) if self.processes.is_main else []
        return lines[-1] if lines else {}

    # ---------------------------------------------------------------- the progress bar

    def _progress_bar(self) -> Any:
        if self.quiet:
            return None
        from tqdm import tqdm

        if self.steps is not None:
            return tqdm(total=self.steps, initial=self.progress.step, unit="step")
        form = "{l_bar}{bar}| {n:.1f}/{total:.1f} min{postfix}"
        return tqdm(total=round(self._minutes, 2), initial=round(self.progress.seconds / 60, 2), bar_format=form)

    def _show(self, bar: Any) -> None:
        if bar is None:
            return
        progress = self.progress
        bar.n = progress.step if self.steps is not None else min(bar.total, progress.seconds / 60)
        speed = progress.examples / max(progress.seconds, 1e-9)
        bar.set_postfix_str(f" loss {progress.loss:.3f}, {speed:.0f} examples/s", refresh=False)
        bar.update(0)


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

"""What defines a training run, and what may change when it is resumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.tiny_model.checkpoint import STATE_FILE
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.presets import Preset, find_preset
from toolkit.tiny_model.training_log import LOG_FILE

#: Fields of a preset that do not change what is learned, so they may change when a run is resumed.
FREE_FIELDS = {"name", "steps", "minutes", "examples_per_minute", "workers", "save_every_seconds", "save_every_steps",
               "held_out_items", "held_out_items_at_end", "held_out_tasks", "held_out_difficulty",
               "held_out_side"}  # fmt: skip


@dataclass(frozen=True)
class TrainingRun:
    """What is to be trained, how long, and where it is kept. With neither minutes nor steps, the preset's own."""

    out: Path
    """Folder of the run: its state, its log and the model."""
    preset: str | Preset | None = None
    """A name of ``data/training.yaml`` (default 'cpu') or a `Preset`."""
    family: str | None = None
    """'qwen3-vl' (default) or 'qwen2-vl'."""
    minutes: float | None = None
    """End after so much running time, the learning rate following the share of time used."""
    steps: int | None = None
    """End after so many steps, whatever time they take: the same on every machine. It goes before ``minutes``."""
    seed: int | None = None
    """Of the first weights; default 0."""
    start_from: Path | None = None
    """Folder of a tiny model to begin with instead of random weights; its vocabulary may differ. The run draws other
    examples than the model has seen, as far as its folder knows."""


def check_folder(out: Path, resume: bool) -> None:
    """Refuse to overwrite a run or a model, and to resume where there is none."""
    has_state = (out / STATE_FILE).exists()
    if resume and not has_state:
        raise CourseError(f"There is no run to resume in {out}.", f"no {STATE_FILE} there", "omit --resume")
    if resume:
        return
    if has_state:
        raise CourseError(f"{out} holds a training run already.", "", "add --resume, or choose another --out")
    if (out / LOG_FILE).exists() or any(out.glob("*.safetensors")):
        raise CourseError(
            f"{out} holds a trained model already.",
            f"it has no {STATE_FILE}, so it cannot be resumed, and a new run would replace it",
            f"choose another --out; to continue from its weights, add --start-from {out}",
        )


def as_started(run: TrainingRun, saved: dict[str, Any]) -> TrainingRun:
    """The run with what it leaves open taken from the saved one; refuses what would make it another run."""

    def check(what: str, before: Any, now: Any) -> None:
        if before != now:
            raise CourseError(
                f"The run was started with {what} {before}, not {now}.",
                "a run that is resumed keeps family, preset and seed",
                "ask for what it was started with (or omit it), or start a new run in another --out",
            )

    check("family", saved["family"], run.family or saved["family"])
    check("seed", saved["seed"], saved["seed"] if run.seed is None else run.seed)
    before = now = Preset(**saved["preset"])
    if run.preset is not None:
        now = run.preset if isinstance(run.preset, Preset) else find_preset(run.preset)
        check("preset", before.name, now.name)
        old, new = before.model_dump(exclude=FREE_FIELDS), now.model_dump(exclude=FREE_FIELDS)
        for key in old:
            check(f"preset {before.name}, {key}", old[key], new[key])
    if run.minutes is None and run.steps is None:
        run = replace(run, minutes=saved["minutes"], steps=saved["steps"])
    return replace(run, family=saved["family"], preset=now, seed=saved["seed"])


def with_defaults(run: TrainingRun) -> TrainingRun:
    """The run with a family, a `Preset`, and either minutes or steps."""
    family = layout_of(run.family or "qwen3-vl").family
    preset = run.preset if isinstance(run.preset, Preset) else find_preset(run.preset or "cpu")
    minutes, steps = run.minutes, run.steps
    if minutes is None and steps is None:
        minutes, steps = preset.minutes, preset.steps
    return replace(run, family=family, preset=preset, minutes=None if steps is not None else minutes, steps=steps)

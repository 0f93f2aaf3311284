"""Recipes of training (``data/training.yaml``), checked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_entries

PRESETS_FILE = COURSE_ROOT / "data" / "training.yaml"


class Phase(BaseModel):
    """What is drawn until a share of all examples is reached; weights are relative."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: float = Field(gt=0, le=1)
    mixture: dict[str, float] = Field(min_length=1)
    difficulty: dict[int, float] = {3: 1.0}
    sides: dict[int, float] = {256: 1.0}
    apart: float = Field(default=0, ge=0, le=1)

    @model_validator(mode="after")
    def _sensible(self) -> Phase:
        from toolkit.tiny_model.thinking import LESSONS
        from toolkit.toyworld.items import DIFFICULTIES, KINDS

        for kind in self.mixture.keys() - {*KINDS, *LESSONS}:
            raise ValueError(f"mixture: '{kind}' is none of {', '.join((*KINDS, *LESSONS))}")
        for difficulty in self.difficulty.keys() - set(DIFFICULTIES):
            raise ValueError(f"difficulty: {difficulty} is none of {', '.join(map(str, DIFFICULTIES))}")
        for side in self.sides:
            if side <= 0 or side % 32:
                raise ValueError(f"sides: {side} is not a multiple of 32 pixels")
        for key in ("mixture", "difficulty", "sides"):
            weights = getattr(self, key).values()
            if min(weights) < 0 or sum(weights) <= 0:
                raise ValueError(f"{key}: weights must not be negative, nor all 0")
        return self


class Preset(BaseModel):
    """A recipe; the fields are explained in ``data/training.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: Literal["half", "base", "double"] = "base"
    thinking: bool = False
    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    examples_per_minute: float = Field(default=2000, gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    muon_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    muon_weight_decay: float = Field(default=0.05, ge=0)
    warm_up_steps: int = Field(ge=0)
    workers: int = Field(default=1, ge=0)
    save_every_seconds: float = Field(default=120, gt=0)
    save_every_steps: int | None = Field(default=None, gt=0)
    held_out_items: int = Field(default=24, ge=0)
    held_out_items_at_end: int = Field(default=96, ge=0)
    held_out_tasks: list[str] | None = None
    held_out_difficulty: int = Field(default=3, ge=1, le=3)
    held_out_side: int | None = Field(default=None, gt=0, multiple_of=32)
    phases: list[Phase] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Preset:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        from toolkit.tiny_model.dataset import TASKS
        from toolkit.tiny_model.thinking import LESSONS

        if not self.thinking and any(LESSONS.keys() & phase.mixture.keys() for phase in self.phases):
            raise ValueError(f"phases: only a preset with 'thinking: true' has {', '.join(LESSONS)}")
        if unknown := sorted(set(self.held_out_tasks or ()) - {*TASKS, *(LESSONS if self.thinking else ())}):
            raise ValueError(f"held_out_tasks: '{unknown[0]}' is none of {', '.join(TASKS)}")
        ends = [phase.until for phase in self.phases]
        if ends != sorted(set(ends)) or ends[-1] != 1:
            raise ValueError("phases: 'until' must rise, and end with 1")
        return self


def load_presets(path: Path | None = None) -> dict[str, Preset]:
    """Read and check the presets.

    Raises:
        CourseError: the file is missing, is not YAML, or a key is unknown, missing or has a wrong value; the message
            names the key.
    """
    return read_entries(Path(path or PRESETS_FILE), "preset", Preset)


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        CourseError: as `load_presets`, and for an unknown name.
    """
    presets = load_presets()
    if name not in presets:
        raise CourseError(f"There is no preset '{name}'.", "a misspelt --preset", f"use one of: {', '.join(presets)}")
    return presets[name]

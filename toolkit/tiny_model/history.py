"""A training in several stages, told as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.tiny_model.card import read_notes
from toolkit.tiny_model.presets import find_preset
from toolkit.tiny_model.train import LOG_FILE, STAGES, read_log

#: Fields that count on from stage to stage.
COUNTED = ("minutes", "step", "examples")


@dataclass(frozen=True)
class History:
    """All stages, one after the other."""

    log: list[dict[str, Any]]
    """Lines as `train` writes them; minutes, step and examples count from the first stage's beginning."""
    starts: dict[str, int]
    """Preset → conversations that had been seen when its stage began; in order, the first being 0."""


def history_of(folder: Path) -> History:
    """The whole training of a model that has a ``card.yaml``.

    A stage that was measured on other items than the whole world's keeps its loss and loses its scores: a share of
    easy items and one of all items do not belong on one curve.

    Raises:
        CourseError: no card, an unknown preset, or a stage without a log.
    """
    folder = Path(folder)
    notes = read_notes(folder)
    logs = {stage.preset: read_log(folder / STAGES / stage.preset) for stage in notes.stages}
    logs[notes.preset] = read_log(folder)
    lines: list[dict[str, Any]] = []
    starts: dict[str, int] = {}
    for name, log in logs.items():
        if not log:
            raise CourseError(f"The stage '{name}' of {shown(folder)} has no {LOG_FILE}.", "", "copy it there")
        before = {field: lines[-1][field] if lines else 0 for field in COUNTED}
        starts[name] = before["examples"]
        whole = _measured_on_the_whole_world(name)
        for line in log:
            kept = line if whole else {field: line[field] for field in (*COUNTED, "loss")}
            lines.append(kept | {field: round(line[field] + before[field], 2) for field in COUNTED})
    return History(lines, starts)


def _measured_on_the_whole_world(name: str) -> bool:
    preset = find_preset(name)
    return preset.held_out_difficulty == 3 and preset.held_out_side is None

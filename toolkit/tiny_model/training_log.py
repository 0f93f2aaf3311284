"""The log of a training run, a JSON line per save; and a run in several stages, told as one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown, write_whole
from helpers.jsonl import append_row, read_rows
from toolkit.tiny_model.presets import find_preset

LOG_FILE = "training_log.jsonl"
#: A model's folder keeps the log of each earlier stage in ``stages/<preset>/training_log.jsonl``.
STAGES = "stages"
#: Fields that count on from stage to stage.
COUNTED = ("minutes", "step", "examples")


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; an unfinished last line is omitted."""
    return read_rows(Path(out) / LOG_FILE)


def append_to_log(out: Path, line: dict[str, Any]) -> None:
    append_row(out / LOG_FILE, line)


def truncate_log(out: Path, step: int) -> None:
    """Omit lines that are unfinished or from after ``step``: they are written again."""
    if (out / LOG_FILE).exists():
        kept = [line for line in read_log(out) if line["step"] <= step]
        write_whole(out / LOG_FILE, "".join(json.dumps(line) + "\n" for line in kept))


@dataclass(frozen=True)
class History:
    """All stages, one after the other."""

    log: list[dict[str, Any]]
    """Lines as `train` writes them; minutes, step and examples count from the first stage's beginning."""
    starts: dict[str, int]
    """Preset → conversations that had been seen when its stage began; in order, the first being 0."""


def history_of(folder: Path) -> History:
    """The whole training of a model that has a ``card.yaml``.

    A stage that was measured on easier items than the whole world's keeps its loss and loses its scores: they do not
    belong on one curve.

    Raises:
        CourseError: no card, an unknown preset, or a stage without a log.
    """
    from toolkit.tiny_model.model_card import read_notes

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
        preset = find_preset(name)
        comparable = preset.held_out_difficulty == 3 and preset.held_out_side is None
        for line in log:
            kept = line if comparable else {field: line[field] for field in (*COUNTED, "loss")}
            lines.append(kept | {field: round(line[field] + before[field], 2) for field in COUNTED})
    return History(lines, starts)

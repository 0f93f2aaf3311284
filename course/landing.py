"""The page on which JupyterLab opens: the map of the course, and how far this learner is in each chapter.

It lies among the learner's copies as ``START.md``. JupyterLab's server writes it again whenever a notebook is saved.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from course.course_map import MAP_FILE, course_map
from course.manifest import load_manifest
from course.results import read_results
from helpers.files import OUTPUTS, write_whole
from helpers.templates import render
from toolkit.exercises import cards

START, TEMPLATE = "START.md", Path(__file__).with_name("landing.md.j2")
#: The last verdict on each exercise, a JSON object per line with ``exercise`` ("02.3") and ``state``.
VERDICTS = OUTPUTS / "exercises.jsonl"
NOT_ATTEMPTED = "not attempted"


def write_landing(copies: Path) -> Path:
    """Write the page for the learner whose copies these are."""
    passed = {result.entry.file for result in read_results(OUTPUTS) if result.status == "passed"}
    verdicts, with_exercises = read_verdicts(VERDICTS), cards.chapters()
    manifest, chapters = load_manifest(), []
    for entry in manifest.notebooks:
        exercises = cards.cards_of(entry.label) if entry.label in with_exercises else {}
        states = [verdicts.get(exercise, NOT_ATTEMPTED) for exercise in exercises]
        progress = progress_of(_read(copies / entry.file), states, entry.file in passed)
        chapters.append((entry, (copies / "exercises" / f"{entry.label}.ipynb").is_file(), progress))
    # Beside the page: Jupyter serves no image through a link, and docs is one where the copies lie outside the course.
    write_whole(copies / MAP_FILE.name, course_map(manifest))
    filters = {"text": partial(html.escape, quote=False)}
    write_whole(copies / START, render(TEMPLATE, filters, chapters=chapters))
    return copies / START


def progress_of(notebook: Mapping[str, Any], states: list[str], passed: bool) -> str:
    """How far a chapter is, for a cell of the table.

    Args:
        notebook: the learner's copy; JupyterLab records in a cell's metadata when it was executed.
        states: of all its exercises: correct, incorrect, not attempted.
        passed: the original passed `make run`.
    """
    code = [cell for cell in notebook.get("cells", ()) if cell.get("cell_type") == "code" and cell.get("source")]
    ran = sum("shell.execute_reply" in (cell["metadata"].get("execution") or ()) for cell in code)
    parts = [f"✓ all {ran} cells run" if ran == len(code) else f"{ran} of {len(code)} cells run"] if ran else []
    if set(states) - {NOT_ATTEMPTED}:
        told = [
            f"{states.count(state)} {state}" for state in ("correct", "incorrect", NOT_ATTEMPTED) if state in states
        ]
        parts.append(f"{len(states)} exercises: {', '.join(told)}")
    parts += ["passed `make run`"] if passed else []
    return ", ".join(parts) or "–"


def read_verdicts(path: Path) -> dict[str, str]:
    """Exercise → state at its last check; empty if nothing readable is there."""
    verdicts: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            verdicts[str(entry["exercise"])] = str(entry["state"])
        except (ValueError, KeyError, TypeError):  # cut off, or of another version
            continue
    return verdicts


def after_save(os_path: str, model: Mapping[str, Any], **_: Any) -> None:
    """Jupyter's hook: keep the page up to date when a copy is saved."""
    path = Path(os_path)
    for copies in (path.parent, path.parent.parent):  # chapters, and exercises in a folder below
        if model.get("type") == "notebook" and (copies / START).is_file():
            write_landing(copies)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # deleted, or not a notebook any more
        return {}

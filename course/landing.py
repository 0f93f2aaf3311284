"""The page on which JupyterLab opens: the map of the course, and how far this learner is in each chapter.

It lies among the learner's copies as ``START.md``. JupyterLab's server writes it again whenever a notebook is saved.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course.course_map import MAP_FILE, course_map
from course.manifest import load_manifest
from course.results import read_results
from helpers.files import OUTPUTS, write_whole

START = "START.md"
#: The last verdict on each exercise, a JSON object per line with ``exercise`` ("02.3") and ``state``.
VERDICTS = OUTPUTS / "exercises.jsonl"

_PAGE = """# Qwen3-VL on vLLM, hands on

Open a chapter below. `Shift`+`Enter` runs a cell; *Run → Run All Cells* runs the chapter. These are your copies: what
you change stays yours. When something goes wrong, see [Set-up](../docs/setup.md); terms are in the
[glossary](../docs/glossary.md).

![Map of the course in five parts; the chapters of each are in the table below](course-map.svg)

{table}

Your progress counts the cells that you ran and saved, and the exercises that were checked. Reload this page to see the
latest. Your minutes are an estimate; those of the CPU are for *Run All Cells*.
"""


def write_landing(copies: Path) -> Path:
    """Write the page for the learner whose copies these are."""
    passed = {result.entry.file for result in read_results(OUTPUTS) if result.status == "passed"}
    verdicts = read_verdicts(VERDICTS)
    rows = [
        "| | chapter | afterwards you can | minutes (you / CPU) | your progress |",
        "| --- | --- | --- | --- | --- |",
    ]
    manifest = load_manifest()
    for entry in manifest.notebooks:
        states = [state for exercise, state in verdicts.items() if exercise.partition(".")[0] == entry.label]
        progress = progress_of(_read(copies / entry.file), states, entry.file in passed)
        minutes = f"{entry.learner_minutes} / {f'{entry.minutes.cpu:g}' if entry.minutes.cpu else 'not measured'}"
        can = html.escape(entry.summary[0].lower() + entry.summary[1:].removesuffix("."), quote=False)
        title = f"[{entry.title}]({entry.file})"
        if (copies / "exercises" / f"{entry.label}.ipynb").is_file():
            title += f", [exercises](exercises/{entry.label}.ipynb)"
        rows.append(f"| {entry.label} | {title} | {can} | {minutes} | {progress} |")
    # Beside the page: Jupyter serves no image through a link, and docs is one where the copies lie outside the course.
    write_whole(copies / MAP_FILE.name, course_map(manifest))
    write_whole(copies / START, _PAGE.format(table="\n".join(rows)))
    return copies / START


def progress_of(notebook: Mapping[str, Any], states: list[str], passed: bool) -> str:
    """How far a chapter is, for a cell of the table.

    Args:
        notebook: the learner's copy; JupyterLab records in a cell's metadata when it was executed.
        states: of its exercises that were checked: correct, incorrect …
        passed: the original passed `make run`.
    """
    code = [cell for cell in notebook.get("cells", ()) if cell.get("cell_type") == "code" and cell.get("source")]
    ran = sum("shell.execute_reply" in (cell["metadata"].get("execution") or ()) for cell in code)
    parts = [f"✓ all {ran} cells run" if ran == len(code) else f"{ran} of {len(code)} cells run"] if ran else []
    parts += [f"{states.count('correct')} of {len(states)} checked exercises correct"] if states else []
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

"""Executes notebooks in place, so that their committed outputs always look the same."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from course.execution import execute
from course.failures import plain
from course.manifest import NotebookEntry
from course.results import NotebookResult
from course.watch import Watch

if TYPE_CHECKING:
    from nbformat import NotebookNode


def execute_in_place(entry: NotebookEntry, folder: Path) -> int:
    """Execute a notebook on the tiny profile and put its outputs into the file itself, ready to be committed.

    A notebook that fails is left as it was. Returns the exit status, 0 or 1.
    """
    import nbformat

    os.environ["COURSE_PROFILE"] = "tiny"
    os.environ.pop("COURSE_REHEARSE", None)
    os.environ["COURSE_EXERCISES_LOG"] = ""  # the verdicts on solutions are no learner's progress
    print(f"{entry.file}", flush=True)
    result = NotebookResult(entry, status="running")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / entry.file
        notebook = execute(folder, target, None, Watch(result))
        print(result.verdict(" " * 6), flush=True)
        if notebook is None:
            return 1
        nbformat.write(strip_volatile(notebook), target)
        beside = folder / f"{entry.file}.part"
        shutil.copyfile(target, beside)
        beside.replace(folder / entry.file)
    return 0


def strip_volatile(notebook: NotebookNode) -> NotebookNode:
    """Remove in place what differs from run to run and is no result: timings, widget state, stderr, versions."""
    notebook.metadata.clear()
    notebook.metadata.update(
        kernelspec={"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        language_info={"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
    )
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "data" in output:
                output.data.pop("application/vnd.jupyter.widget-view+json", None)
            if "text" in output:
                output.text = plain(output.text)
    return notebook

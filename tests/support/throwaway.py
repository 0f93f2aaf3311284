"""Tiny notebooks and manifests for the tests of the runner and of the gates."""

from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.manifest import NotebookEntry


def notebook(*cells, tags=None):
    """A notebook of code cells (strings), prose (strings that begin with '# ') and ready-made cells."""
    made = []
    for cell in cells:
        if not isinstance(cell, str):
            made.append(cell)
        elif cell.startswith("# "):
            made.append(new_markdown_cell(cell))
        else:
            made.append(new_code_cell(cell))
    return new_notebook(cells=made, metadata={"kernelspec": KERNEL})


KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def parameters(source='profile = "auto"'):
    """The cell that papermill looks for."""
    return new_code_cell(source, metadata={"tags": ["parameters"]})


def printed(source, text, count=1, tags=()):
    """A code cell that has printed a text."""
    metadata = {"tags": list(tags)} if tags else {}
    outputs = [new_output("stream", name="stdout", text=text)]
    return new_code_cell(source, execution_count=count, outputs=outputs, metadata=metadata)


def fields(file, **changes):
    """A complete entry of a manifest, as in YAML."""
    entry = {
        "file": file,
        "title": f"Title of {file.split('_')[0]}",
        "summary": "Do something small and see it.",
        "minutes": {"cpu": 1, "gpu": None},
        "learner_minutes": 40,
        "needs": [],
        "profiles": "all",
        "timeout": {"notebook": 60, "cell": 30},
    }
    return entry | changes


def entry(file, **changes):
    """The same, validated."""
    return NotebookEntry(**fields(file, **changes))


def write(folder: Path, file: str, content):
    """Write a notebook; returns its path."""
    path = folder / file
    nbformat.write(content, path)
    return path


def write_executed(path: Path, cells, seconds):
    """A notebook as papermill leaves it: cells of source, seconds and, if wanted, the text of a display."""
    made = notebook(*(new_code_cell(source) for source, *_ in cells))
    made.metadata["papermill"] = {"duration": seconds}
    for number, (cell, (_, took, *shown)) in enumerate(zip(made.cells, cells, strict=True), start=1):
        cell.execution_count = number
        cell.metadata["papermill"] = {"duration": took}
        cell.outputs = [new_output("display_data", {"text/plain": text}) for text in shown]
    return write(path.parent, path.name, made)


def write_manifest(folder: Path, *entries) -> Path:
    """Write a manifest beside the notebooks; missing notebooks are made."""
    path = folder / "course.yaml"
    path.write_text(yaml.safe_dump({"notebooks": list(entries)}, sort_keys=False), encoding="utf-8")
    for one in entries:
        if not (folder / one["file"]).exists():
            write(folder, one["file"], notebook("print(1)"))
    return path

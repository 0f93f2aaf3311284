"""Where the time of executed notebooks went: seconds by notebook and phase, and the slowest cells.

Papermill writes into an executed notebook when each cell began and how long it took. What a cell did is read from its
code: from the functions that it calls, directly or through functions and classes that the notebook defines.

A cell counts whole for the first phase of `PHASES` that it takes part in, in the order training, starting, asking,
imports. Only for servers is it known how long their start took, since they say so: what is left of such a cell counts
for what else it does. Imports that happen inside a called function, and in processes of their own, cannot be seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.cells import headline, packages, parsed
from course.manifest import label_of
from helpers.errors import CourseError
from helpers.files import OUTPUTS, shown

if TYPE_CHECKING:
    from nbformat import NotebookNode

IMPORTS, STARTING, ASKING, TRAINING, REST = PHASES = (
    "kernel and imports",
    "starting engines and servers",
    "asking",
    "training",
    "everything else",
)
#: Functions and classes by the name that they are imported with, and methods by '.name', and what a call of them does.
CALLS = {
    "toolkit.tiny_model.train": TRAINING,
    "vllm.LLM": STARTING,
    "helpers.server.serve": STARTING,
    "toolkit.batch.local_ray": STARTING,
    "toolkit.batch.run_batch": STARTING,
    "toolkit.evaluation.inference.runner.run_items": ASKING,
    "toolkit.evaluation.run_items": ASKING,
    "vllm.benchmarks.serve.main_async": ASKING,
    ".generate": ASKING,
    ".chat": ASKING,
    ".create": ASKING,
}
#: Programs that a cell starts as a process of its own, by the module's name.
PROGRAMS = {"vllm.entrypoints.cli.main": ASKING}
#: Packages whose first import takes from half a second to many.
HEAVY = {"matplotlib", "modelscope", "openai", "pandas", "ray", "scipy", "torch", "transformers", "vllm"}
#: What `helpers.server.serve` leaves in the cell's output.
SERVER_STARTED = re.compile(r"answers at \S+ after (\d+) s")


@dataclass(frozen=True)
class CellTime:
    """A code cell that was run: ``seconds`` of wall time, and its share of each phase that it took part in."""

    notebook: str
    prompt: str
    seconds: float
    phases: dict[str, float]
    first_line: str

    @property
    def phase(self) -> str:
        """The phase that took most of it."""
        return max(self.phases, key=self.phases.__getitem__)


@dataclass(frozen=True)
class NotebookTime:
    """A notebook that was run: ``seconds`` of wall time with start and end of its kernel."""

    notebook: str
    seconds: float
    cells: list[CellTime] = field(default_factory=list)

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase, all of `PHASES`; what no cell took is the kernel's start and end."""
        seconds = {phase: sum(cell.phases.get(phase, 0.0) for cell in self.cells) for phase in PHASES}
        seconds[IMPORTS] += max(0.0, self.seconds - sum(cell.seconds for cell in self.cells))
        return seconds


def time_of(path: Path) -> NotebookTime:
    """Read one executed notebook.

    Raises:
        CourseError: the file is missing or is no notebook, or papermill has not executed it.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, 4)
        seconds = notebook.metadata.papermill.duration
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        cause = "it was not executed by the course" if isinstance(error, AttributeError) else str(error)
        raise CourseError(f"{path.name} tells no times.", cause, "python -m course run") from None
    name = path.name.removesuffix(".ipynb")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    phases = _phases([cell.source for cell in cells])
    times = []
    for cell, found in zip(cells, phases, strict=True):
        took = cell.metadata.get("papermill", {}).get("duration")
        if took is not None:
            prompt = f"In [{cell.execution_count or ' '}]"
            shares = _shares(took, found, _servers_started(cell))
            times.append(CellTime(name, prompt, took, shares, headline(cell.source)))
    # A notebook that was cut off has no duration of its own.
    seconds = seconds or sum(cell.seconds for cell in times)
    return NotebookTime(name, seconds, times)


def where_time_goes(paths: Iterable[Path]) -> list[NotebookTime]:
    """The times of all executed notebooks among some files, in their order; others are passed over."""
    times = []
    for path in paths:
        try:
            times.append(time_of(path))
        except CourseError:
            continue
    return times


def rows(times: Sequence[NotebookTime]) -> list[dict[str, Any]]:
    """One row for each notebook and one for all: 'notebook', seconds by phase, and seconds in 'all'."""
    table: list[dict[str, Any]] = [{"notebook": time.notebook, **time.phases, "all": time.seconds} for time in times]
    return [*table, {"notebook": "all"} | {name: sum(row[name] for row in table) for name in (*PHASES, "all")}]


def slowest(times: Sequence[NotebookTime], count: int = 10) -> list[CellTime]:
    return sorted((cell for time in times for cell in time.cells), key=lambda cell: -cell.seconds)[:count]


def as_text(times: Sequence[NotebookTime]) -> str:
    width = max(len(time.notebook) for time in times)
    heads = [phase.replace("starting engines and servers", "starting engines") for phase in PHASES] + ["all"]
    lines = ["  ".join(["seconds".ljust(width), *heads])]
    for row in rows(times):
        numbers = (f"{row[key]:.1f}".rjust(len(head)) for key, head in zip([*PHASES, "all"], heads, strict=True))
        lines.append("  ".join([row["notebook"].ljust(width), *numbers]))
    lines += ["", "the slowest cells"]
    for cell in slowest(times):
        lines.append(
            f"{cell.seconds:>7.1f} s  {label_of(cell.notebook):<4}{cell.prompt:<8} {cell.phase}: {cell.first_line}"
        )
    return "\n".join(lines)


def print_phases(output: Path = OUTPUTS) -> int:
    """Print where the time of the last run went; the exit status is 0.

    Raises:
        CourseError: no executed notebook lies in that folder.
    """
    times = where_time_goes(sorted(output.glob("[0-9][0-9]*_*.ipynb")))
    if not times:
        raise CourseError(f"No executed notebook lies in {shown(output)}.", "the course has not been run", "make run")
    print(as_text(times))
    return 0


def _shares(seconds: float, found: set[str], starting: float) -> dict[str, float]:
    """A cell's seconds by phase: all for its first one, but for asking what servers leave that told their start."""
    order = (TRAINING, STARTING, ASKING, IMPORTS)
    first = next((phase for phase in order if phase in found), REST)
    if first != STARTING or not starting or ASKING not in found:
        return {first: seconds}
    starting = min(starting, seconds)
    return {STARTING: starting, ASKING: seconds - starting}


def _servers_started(cell: NotebookNode) -> float:
    """Seconds that the servers of a cell took to start, by their own account."""
    said = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return sum(float(seconds) for text in said for seconds in SERVER_STARTED.findall(text))


def _phases(sources: Sequence[str]) -> list[set[str]]:
    """For each cell in order, the phases that it takes part in."""
    imported: dict[str, str] = {}
    defined: dict[str, set[str]] = {}
    heavy: set[str] = set()
    found = []
    for source in sources:
        tree = parsed(source)
        new = set(packages(*tree.body)) & HEAVY - heavy
        heavy |= new
        imported |= _imported(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined[node.name] = _done_by([node], imported, defined)
                imported.pop(node.name, None)
        others = [
            node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        found.append(_done_by(others, imported, defined) | ({IMPORTS} if new else set()))
    return found


def _done_by(nodes: Sequence[ast.AST], imported: dict[str, str], defined: dict[str, set[str]]) -> set[str]:
    """The phases of all that is called in some statements."""
    found: set[str] = set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in PROGRAMS:
            found.add(PROGRAMS[node.value])
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            name = node.func.id
            found |= defined.get(name, set())
            found |= {CALLS[full] for full in [imported.get(name)] if full in CALLS}
        elif isinstance(node.func, ast.Attribute):
            found |= {CALLS[name] for name in [f".{node.func.attr}"] if name in CALLS}
    return found


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: 'LLM' -> 'vllm.LLM'."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in nodes for alias in node.names}

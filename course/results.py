"""What a run of notebooks is told, and what it tells about each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from course.cells import headline
from course.failures import Failure
from course.manifest import NotebookEntry
from helpers.files import write_whole

#: Beside the executed notebooks: how each went when it was last run.
RESULTS_FILE = "results.json"

Status = Literal["waiting", "running", "passed", "failed", "skipped", "interrupted"]


@dataclass(frozen=True)
class RunSettings:
    """What all notebooks of a run have in common.

    ``jobs`` notebooks may run at a time, each of which may take ``needs_gib`` GiB of memory (0: not checked).
    """

    profile: str
    model: str
    device: str
    rehearse: bool = False
    description: str = ""
    jobs: int = 1
    needs_gib: float = 0.0

    @property
    def asked(self) -> str:
        """The model, and that its weights are random if they are."""
        return self.model + " (random weights)" * self.rehearse


@dataclass
class NotebookResult:
    """How one notebook went; ``cells`` are code cells.

    ``seconds`` is wall time including the kernel's start; ``began`` is in seconds since the run began, at ``time``.
    ``executed`` and ``page`` are files in the folder of the results: the notebook with its outputs, in JSON and HTML.
    """

    entry: NotebookEntry
    status: Status = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    cells_done: int = 0
    cells_total: int = 0
    executed: str | None = None
    page: str | None = None
    model: str = ""
    device: str = ""
    time: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    note: str = ""

    def verdict(self, lead: str) -> str:
        """How it went, for a terminal: one line after the lead or, after a failure, with cause and remedy below it."""
        lines = [f"{self.status}: {self.cells_done} of {self.cells_total} cells, {self.seconds / 60:.1f} minutes"]
        if failure := self.failure:
            where = f"{failure.cell}  {headline(failure.source)}" if failure.cell else ""
            labels = {"at:": where, "likely cause:": failure.cause, "what to do:": failure.remedy}
            lines += [f"  {failure.what}", *(f"  {label:<13} {text}" for label, text in labels.items() if text)]
        return lead + "\n".join(lines).replace("\n", "\n" + " " * len(lead))


_RESULTS = TypeAdapter(list[NotebookResult])


def read_results(folder: Path) -> list[NotebookResult]:
    """How notebooks went when they were last run into this folder; none if nothing readable lies there."""
    try:
        return _RESULTS.validate_json((folder / RESULTS_FILE).read_bytes())
    except (OSError, ValidationError):
        return []


def keep_results(folder: Path, results: Sequence[NotebookResult]) -> None:
    """Remember the results that are final, and leave those of notebooks that were not run as they were."""
    kept = {result.entry.file: result for result in read_results(folder)}
    kept |= {result.entry.file: result for result in results if result.status not in ("waiting", "running")}
    ordered = sorted(kept.values(), key=lambda result: result.entry.file)
    write_whole(folder / RESULTS_FILE, _RESULTS.dump_json(ordered, indent=1).decode() + "\n")

"""What a run of notebooks is told, and what it tells about each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from course.cells import headline
from course.failures import Failure
from course.manifest import NotebookEntry

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


@dataclass
class NotebookResult:
    """How one notebook went; ``cells`` are code cells.

    ``seconds`` is wall time including the kernel's start; ``began`` is in seconds since the run began.
    """

    entry: NotebookEntry
    status: Status = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    cells_done: int = 0
    cells_total: int = 0
    executed: str | None = None
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

"""Follows the execution of a notebook: progress on a terminal or in a log, and the time and memory that are left."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

from course.cells import headline, packages, parsed
from course.failures import Failure, kernel_died, timed_out
from course.manifest import NotebookEntry
from course.results import NotebookResult
from helpers.machine import installed_version

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: One line in a terminal, renewed every second, after the notebook's number.
BAR = "{bar:20} {n_fmt}/{total_fmt} cells  {elapsed}  {desc}"
#: Packages whose versions stand beside every notebook, if installed.
CORE_PACKAGES = ("vllm", "torch", "transformers")


class Console:
    """Whole lines on the terminal or in a log, even if several notebooks print at a time."""

    def __init__(self, *, numbered: bool = False):
        self._numbered, self._lock = numbered, threading.Lock()

    def lead(self, entry: NotebookEntry) -> str:
        """What a line about a notebook begins with: its number if others run beside it, else spaces."""
        return f"  {entry.label:<4}" if self._numbered else " " * 6

    def say(self, text: str) -> None:
        """Print a text at once, above the bars if there are any."""
        with self._lock:
            if sys.stderr.isatty():
                from tqdm import tqdm

                tqdm.write(text)
            else:
                print(text, flush=True)


class Watch:
    """Follows one execution, in the thread that executes the notebook, and fills in its ``result``.

    Args:
        result: changed in place.
        console: shared by notebooks that run at the same time.
        slot: place of the progress bar on the terminal, from 0 on.
        interrupted: set by another thread to stop this one, as ``Ctrl-C`` does in the main thread.
    """

    def __init__(
        self,
        result: NotebookResult,
        console: Console | None = None,
        slot: int = 0,
        interrupted: threading.Event | None = None,
    ):
        from jupyter_core.utils import ensure_event_loop
        from tqdm import tqdm

        self.result, self.interrupted = result, interrupted or threading.Event()
        self._limits = result.entry.timeout
        self._console = console or Console()
        self._lead = self._console.lead(result.entry)
        # nbclient runs this thread's loop whenever it waits for the kernel.
        self._loop, self._in_cell = ensure_event_loop(), False
        self.prompt = self.source = ""
        self.exit_code: int | None = None
        # What native code writes past Python's sys.stderr; on the terminal it would break up the progress bars.
        self.kernel_log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._lowest_memory_gib: float | None = None
        self._notebook_limits = False
        self._began = self._cell_began = time.monotonic()
        self._said = 0.0
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=1, desc="starting its kernel", bar_format=self._lead + BAR, position=slot, leave=False
            )
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def started(self, notebook: NotebookNode) -> None:
        """The notebook, with its injected cell, is about to run."""
        self.result.cells_total = sum(cell.cell_type == "code" for cell in notebook.cells)
        self.result.versions = _versions(notebook)
        if self._bar is not None:
            self._bar.reset(total=self.result.cells_total)

    def cell_started(self, cell: NotebookNode) -> None:
        """A cell is about to run; prose is passed over.

        Raises:
            KeyboardInterrupt: another thread asked for the end.
        """
        if self.interrupted.is_set():
            raise KeyboardInterrupt
        self._in_cell = True
        if cell.cell_type != "code":
            return
        self.prompt, self.source = f"In [{self.result.cells_done + 1}]", cell.source
        self._cell_began, self._said = time.monotonic(), 0.0
        if self._bar is not None:
            self._bar.set_description_str(headline(cell.source))

    def cell_over(self) -> None:
        """The kernel has left the cell, with an answer or without."""
        self._in_cell = False

    def cell_finished(self, cell: NotebookNode) -> None:
        if cell.cell_type != "code":
            return
        if not any(output.output_type == "error" for output in cell.outputs):
            self.result.cells_done += 1
        if self._bar is not None:
            self._bar.update(self.result.cells_done - self._bar.n)
        else:
            self._say(headline(cell.source))

    def allowed(self, cell: NotebookNode) -> int:
        """Seconds that the next cell may take: its own limit, or what is left of the notebook's."""
        remaining = self._limits.notebook - (time.monotonic() - self._began)
        self._notebook_limits = remaining < self._limits.cell
        return max(1, int(min(self._limits.cell, remaining)))

    def note_interruption(self) -> KeyboardInterrupt:
        """Note in the result where it stopped; returns what to raise."""
        self.result.status = "interrupted"
        self.result.note = f"interrupted at {self.prompt}" if self.prompt else "interrupted before its first cell"
        return KeyboardInterrupt()

    def timeout_failure(self) -> Failure:
        """Which limit the present cell has exceeded."""
        limit = self._limits.notebook if self._notebook_limits else self._limits.cell
        return timed_out(limit, whole_notebook=self._notebook_limits, cell=self.prompt, source=self.source)

    def kernel_failure(self) -> Failure:
        """Why the kernel died, with the end of what its process wrote past the notebook."""
        size = self.kernel_log.seek(0, os.SEEK_END)
        self.kernel_log.seek(max(0, size - 20_000))
        last_words = self.kernel_log.read().decode("utf-8", "replace")
        where = {"cell": self.prompt, "source": self.source}
        return kernel_died(self.exit_code, self._lowest_memory_gib, last_words=last_words, **where)

    def close(self) -> None:
        self.kernel_log.close()
        self._stop.set()
        self._ticker.join()
        self.result.seconds = time.monotonic() - self._began
        if self._bar is not None:
            self._bar.close()

    def _say(self, text: str) -> None:
        number, seconds = int(self.prompt[4:-1]), time.monotonic() - self._cell_began
        self._console.say(f"{self._lead}cell {number:>3}/{self.result.cells_total} {seconds:>7.1f} s  {text}")

    def _tick(self) -> None:
        import psutil

        while not self._stop.wait(1.0):
            if self.interrupted.is_set():
                self._loop.call_soon_threadsafe(self._leave_cell)
            available = psutil.virtual_memory().available / 2**30
            self._lowest_memory_gib = min(available, self._lowest_memory_gib or available)
            running = time.monotonic() - self._cell_began
            if self._bar is not None:
                self._bar.refresh()
            elif self.prompt and running - self._said > 60:  # a log shows that it is alive once a minute
                self._said = running
                self._say("still running ...")

    def _leave_cell(self) -> None:
        """Runs in the notebook's thread. Outside of cells a kernel is starting or ending, which must not be cut off."""
        if self._in_cell:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()


def _versions(notebook: NotebookNode) -> dict[str, str]:
    """Python and the installed versions of the core packages and of those that the notebook imports.

    The kernel runs on this interpreter, so what is installed here is what the notebook sees.
    """
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    imported = [name for source in sources for name in packages(*ast.walk(parsed(source)))]
    names = [*CORE_PACKAGES, *(owners[name][0] for name in imported if name in owners and name not in CORE_PACKAGES)]
    found = {name: installed_version(name) for name in dict.fromkeys(names)}
    return {"Python": sys.version.split()[0]} | {name: version for name, version in found.items() if version}

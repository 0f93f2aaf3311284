"""Executes notebooks with papermill in kernels of this interpreter, several at a time, and tells how each went.

Each notebook is executed by a thread of its own, which mostly waits for its kernel; the order and the company of the
notebooks are `course.schedule`'s.
"""

from __future__ import annotations

import ast
import asyncio
import datetime
import logging
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from course.failures import Failure, diagnose, kernel_died, plain, timed_out
from course.manifest import NotebookEntry
from course.schedule import in_order, may_start
from helpers.files import search_path

if TYPE_CHECKING:
    from nbformat import NotebookNode

Status = Literal["waiting", "running", "passed", "failed", "skipped", "interrupted"]
#: Seconds that a kernel has to start in; on a busy machine Python itself takes a while.
KERNEL_START_SECONDS = 120
#: One line in a terminal, renewed every second, after the notebook's number.
BAR = "{bar:20} {n_fmt}/{total_fmt} cells  {elapsed}  {desc}"
#: Packages whose versions stand beside every notebook, if installed.
CORE_PACKAGES = ("vllm", "torch", "transformers")


@dataclass(frozen=True)
class Setting:
    """What all notebooks of a run have in common.

    ``jobs`` notebooks may run at a time, each of which may take ``needs_gib`` GiB of memory (0: nobody asks).
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

    ``seconds`` is wall time with the kernel's start, from ``began`` on, which is in seconds since the run began.
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


def run_notebooks(
    entries: list[NotebookEntry],
    folder: Path,
    output: Path,
    setting: Setting,
    report: Callable[..., None],
    *,
    keep_going: bool = True,
    today: datetime.date | None = None,
) -> int:
    """Execute notebooks, ``setting.jobs`` at a time; with one, in their order.

    Args:
        entries: the notebooks, in the order of the course, which the results keep.
        folder: where they lie.
        output: where the executed notebooks go; made if absent.
        setting: profile, model and device, and how many may run at a time.
        report: called with all results so far before and after each notebook, and at the end with ``finished=True``;
            always by the calling thread.
        keep_going: go on after a failure; else no other notebook is started, and those under way end.
        today: for the expiry of skips.

    Returns:
        0 all passed or were skipped, 1 one failed, 130 interrupted (``Ctrl-C``); ``report`` was called in each case.
    """
    output.mkdir(parents=True, exist_ok=True)
    results = {entry.file: NotebookResult(entry) for entry in entries}
    print(setting.description or f"profile {setting.profile}: {setting.model} on {setting.device}", flush=True)
    if setting.jobs > 1:
        alone = ", ".join(f"{entry.number:02d}" for entry in entries if entry.measures_time)
        last = f"; alone and last, for they measure time: {alone}" if alone else ""
        print(f"up to {setting.jobs} notebooks at a time{last}", flush=True)
    crew = _Crew(folder, output, setting)
    interrupted, started = False, 0
    waiting = [results[entry.file] for entry in in_order(entries, setting.jobs, setting.device)]
    try:
        while waiting or crew.running:
            if waiting and crew.takes(waiting[0].entry):
                result, started = waiting.pop(0), started + 1
                crew.console.say(f"\n[{started}/{len(results)}] {result.entry.title} ({result.entry.file})")
                if reason := _reason_to_skip(result.entry, setting, today):
                    result.status, result.note = "skipped", reason
                    crew.console.say(f"{crew.console.lead(result.entry)}skipped: {reason}")
                    continue
                result.status = "running"
                report(list(results.values()))
                crew.start(result)
            elif result := crew.next_done():
                if result.status == "failed" and not keep_going:
                    waiting.clear()
                report(list(results.values()))
    except KeyboardInterrupt:
        interrupted = True
        crew.interrupt()
    for result in results.values():
        if result.status in ("waiting", "running"):  # the latter if interrupted just before its thread began
            result.status = "waiting"
            result.note = "not run: the course was stopped before"
    report(list(results.values()), finished=True)
    _print_end(list(results.values()))
    if interrupted:
        return 130
    return int(any(result.status == "failed" for result in results.values()))


class _Crew:
    """The threads that execute notebooks: a slot for each notebook that may run at the same time."""

    def __init__(self, folder: Path, output: Path, setting: Setting):
        self.folder, self.output, self.setting = folder, output, setting
        self.console = _Console(numbered=setting.jobs > 1)
        self.running: dict[int, NotebookResult] = {}
        self._began, self._threads = time.monotonic(), []
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._interrupted = threading.Event()

    def takes(self, entry: NotebookEntry) -> bool:
        """True if a notebook can start now."""
        beside = [result.entry for result in self.running.values()]
        return may_start(entry, beside, self.setting.jobs, self.setting.needs_gib)

    def start(self, result: NotebookResult) -> None:
        """Begin a notebook in a free slot."""
        slot = next(number for number in range(self.setting.jobs) if number not in self.running)
        self.running[slot] = result
        result.began = time.monotonic() - self._began
        # A daemon: who presses Ctrl-C twice does not wait for kernels, which end with this process anyway.
        thread = threading.Thread(target=self._execute, args=(slot, result), daemon=True)
        thread.start()
        self._threads.append(thread)

    def next_done(self) -> NotebookResult | None:
        """The next notebook that has ended, however it ended; None if none does within a second."""
        try:
            result = self.running.pop(self._done.get(timeout=1.0))
        except queue.Empty:
            return None
        self.console.say(_indented(_verdict(result), self.console.lead(result.entry)))
        return result

    def interrupt(self) -> None:
        """Stop what runs, and wait until the kernels have ended."""
        self._interrupted.set()
        while any(thread.is_alive() for thread in self._threads) or not self._done.empty():
            self.next_done()

    def _execute(self, slot: int, result: NotebookResult) -> None:
        from jupyter_core.utils import ensure_event_loop

        try:
            execute(
                result.entry,
                self.folder,
                self.output / result.entry.file,
                self.setting,
                result,
                console=self.console,
                slot=slot,
                interrupted=self._interrupted,
            )
        except KeyboardInterrupt:
            pass  # the result says so
        except BaseException as error:  # whoever waits for this thread must hear of its end
            result.status, result.failure = "failed", diagnose(type(error).__name__, str(error))
        finally:
            ensure_event_loop().close()
            self._done.put(slot)


class _Console:
    """Whole lines on the terminal or in a log, also if several notebooks speak at a time."""

    def __init__(self, *, numbered: bool = False):
        self._numbered, self._lock = numbered, threading.Lock()

    def lead(self, entry: NotebookEntry) -> str:
        """What a line about a notebook begins with: its number where others run beside it, else blanks."""
        return f"  {entry.number:02d}  " if self._numbered else " " * 6

    def say(self, text: str) -> None:
        """Print a text at once, above the bars if there are any."""
        with self._lock:
            if sys.stderr.isatty():
                from tqdm import tqdm

                tqdm.write(text)
            else:
                print(text, flush=True)


def _reason_to_skip(entry: NotebookEntry, setting: Setting, today: datetime.date | None) -> str:
    if entry.skip and not entry.skip.expired(today):
        return f"{entry.skip.reason} (until {entry.skip.expires:%Y-%m-%d})"
    # A rehearsal may try any notebook: it asks what a size costs, not what it answers.
    if not setting.rehearse and not entry.runs_on(setting.profile):
        return f"it is not for profile {setting.profile}, only for {', '.join(entry.profiles)}"
    return ""


def _verdict(result: NotebookResult) -> str:
    cells = f"{result.cells_done} of {result.cells_total} cells, {result.seconds / 60:.1f} minutes"
    if not result.failure:
        return f"{result.status}: {cells}"
    lines = [f"{result.status}: {cells}", f"  {result.failure.what}"]
    if result.failure.cell:
        lines.append(f"  at:           {result.failure.cell}  {headline(result.failure.source)}")
    lines += [f"  likely cause: {result.failure.cause}", f"  what to do:   {result.failure.remedy}"]
    return "\n".join(line for line in lines if not line.rstrip().endswith(("cause:", "do:")))


def _indented(text: str, lead: str) -> str:
    """The text after the lead, its further lines below its first."""
    return lead + text.replace("\n", "\n" + " " * len(lead))


def _print_end(results: list[NotebookResult]) -> None:
    print()
    for result in results:
        minutes = f"{result.seconds / 60:5.1f} min" if result.seconds else " " * 9
        print(f"  {result.status:<12}{minutes}  {result.entry.file}", flush=True)


def execute(
    entry: NotebookEntry,
    folder: Path,
    target: Path,
    setting: Setting | None,
    result: NotebookResult,
    *,
    console: _Console | None = None,
    slot: int = 0,
    interrupted: threading.Event | None = None,
) -> NotebookNode | None:
    """Execute one notebook with papermill and fill in ``result``; the notebook at ``target`` is written cell by cell.

    Args:
        entry: the notebook, with its time-outs.
        folder: where it lies, which is also the kernel's working directory.
        target: the executed notebook.
        setting: ``profile`` is injected as a parameter; without a setting nothing is injected.
        result: changed in place.
        console: shared by notebooks that run at the same time.
        slot: place of the progress bar on the terminal, from 0 on.
        interrupted: set by another thread to stop this one, as ``Ctrl-C`` does in the main thread.

    Returns:
        The executed notebook if it ran to its end.

    Raises:
        KeyboardInterrupt: ``Ctrl-C``, or ``interrupted``; ``result`` is filled in and the kernel has been stopped.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    _register_engine()
    watch = _Watch(result, entry, console or _Console(), slot, interrupted or threading.Event())
    environment = {**os.environ, "PYTHONPATH": search_path(os.environ)}
    if setting and setting.rehearse:
        environment["COURSE_REHEARSE"] = "1"
    result.executed = target.name
    # Papermill rereads what it wrote; a leftover of an earlier run must not be taken for this one's result.
    target.unlink(missing_ok=True)
    try:
        return papermill.execute_notebook(
            folder / entry.file,
            target,
            parameters={"profile": setting.profile} if setting else None,
            engine_name=_ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            watch=watch,
            # Not papermill's cwd, which is this whole process's.
            start={"env": environment, "cwd": str(folder.resolve())},
        )
    except PapermillExecutionError as error:
        cell = f"In [{error.exec_count}]" if error.exec_count else ""
        result.failure = diagnose(error.ename, error.evalue, "\n".join(error.traceback), cell=cell, source=error.source)
    except (DeadKernelError, asyncio.CancelledError):
        if watch.interrupted.is_set():  # nbclient takes a cancelled cell for a dead kernel
            raise watch.note_interruption() from None
        result.failure = kernel_died(
            watch.exit_code,
            watch.lowest_memory_gib,
            cell=watch.prompt,
            source=watch.source,
            last_words=watch.last_words(),
        )
    except CellTimeoutError:
        whole = watch.notebook_limits
        limit = entry.timeout.notebook if whole else entry.timeout.cell
        result.failure = timed_out(limit, whole_notebook=whole, cell=watch.prompt, source=watch.source)
    except KeyboardInterrupt:
        raise watch.note_interruption() from None
    except Exception as error:
        result.failure = diagnose(type(error).__name__, str(error), cell=watch.prompt, source=watch.source)
    finally:
        watch.close()
        if result.status == "running":
            result.status = "failed" if result.failure else "passed"
        if not target.is_file():
            result.executed = None
    return None


class _Watch:
    """Follows one execution: progress on the terminal or in a log, time left, memory left, and where it stands."""

    def __init__(
        self, result: NotebookResult, entry: NotebookEntry, console: _Console, slot: int, interrupted: threading.Event
    ):
        from jupyter_core.utils import ensure_event_loop
        from tqdm import tqdm

        self.result, self.entry = result, entry
        self.interrupted = interrupted
        self._console, self._lead = console, console.lead(entry)
        # nbclient runs this thread's loop whenever it waits for the kernel.
        self._loop, self._in_cell = ensure_event_loop(), False
        self.prompt = self.source = ""
        self.exit_code: int | None = None
        # What native code writes past Python's sys.stderr; it would tear the progress apart on the terminal.
        self.kernel_log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.lowest_memory_gib: float | None = None
        self.notebook_limits = False
        self._began = self._cell_began = time.monotonic()
        self._said = 0.0
        self._bar = None
        if sys.stderr.isatty():
            looks = {"bar_format": self._lead + BAR, "position": slot, "leave": False}
            self._bar = tqdm(total=1, desc="starting its kernel", **looks)
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def started(self, notebook: NotebookNode) -> None:
        """The notebook, with its injected cell, is about to run."""
        self.result.cells_total = sum(_is_code(cell) for cell in notebook.cells)
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
        if not _is_code(cell):
            return
        self.prompt, self.source = f"In [{self.result.cells_done + 1}]", cell.source
        self._cell_began, self._said = time.monotonic(), 0.0
        if self._bar is not None:
            self._bar.set_description_str(headline(cell.source))

    def cell_over(self) -> None:
        """The kernel has left the cell, with an answer or without."""
        self._in_cell = False

    def cell_finished(self, cell: NotebookNode) -> None:
        """A cell has run, well or not."""
        if not _is_code(cell):
            return
        if not any(output.output_type == "error" for output in cell.outputs):
            self.result.cells_done += 1
        if self._bar is not None:
            self._bar.update(self.result.cells_done - self._bar.n)
        else:
            self._say(headline(cell.source))

    def allowed(self, cell: NotebookNode) -> int:
        """Seconds that the next cell may take: its own limit, or what is left of the notebook's."""
        remaining = self.entry.timeout.notebook - (time.monotonic() - self._began)
        self.notebook_limits = remaining < self.entry.timeout.cell
        return max(1, int(min(self.entry.timeout.cell, remaining)))

    def note_interruption(self) -> KeyboardInterrupt:
        """Write into the result where it stopped; returns what to raise."""
        self.result.status = "interrupted"
        self.result.note = f"interrupted at {self.prompt}" if self.prompt else "interrupted before its first cell"
        return KeyboardInterrupt()

    def last_words(self) -> str:
        """The end of what the kernel's process wrote past its notebook."""
        size = self.kernel_log.seek(0, os.SEEK_END)
        self.kernel_log.seek(max(0, size - 20_000))
        return self.kernel_log.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Stop following, and note the time it took."""
        self.kernel_log.close()
        self._stop.set()
        self._ticker.join()
        self.result.seconds = time.monotonic() - self._began
        if self._bar is not None:
            self._bar.close()

    def _say(self, text: str) -> None:
        number = int(self.prompt[4:-1])
        seconds = time.monotonic() - self._cell_began
        self._console.say(f"{self._lead}cell {number:>3}/{self.result.cells_total} {seconds:>7.1f} s  {text}")

    def _tick(self) -> None:
        import psutil

        while not self._stop.wait(1.0):
            if self.interrupted.is_set():
                self._loop.call_soon_threadsafe(self._leave_cell)
            available = psutil.virtual_memory().available / 2**30
            self.lowest_memory_gib = min(available, self.lowest_memory_gib or available)
            running = time.monotonic() - self._cell_began
            if self._bar is not None:
                self._bar.refresh()
            elif self.prompt and running - self._said > 60:  # a log shows that it is alive once a minute
                self._said = running
                self._say("still running ...")

    def _leave_cell(self) -> None:
        """Runs in the notebook's thread. Outside of cells a kernel is being started or ended, which must not be cut."""
        if self._in_cell:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()


def _is_code(cell: NotebookNode) -> bool:
    return cell.cell_type == "code"


def headline(source: str) -> str:
    """The first line of code that is not a comment or an import, else the first line; 60 characters at most."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    chosen = next((line for line in lines if not line.startswith(("import ", "from "))), lines[0] if lines else "")
    return chosen if len(chosen) <= 60 else chosen[:57] + "..."


def _versions(notebook: NotebookNode) -> dict[str, str]:
    """Python and the installed versions of the core packages and of those that the notebook imports.

    The kernel runs on this interpreter, so what is installed here is what the notebook sees.
    """
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    owners = packages_distributions()
    imported = [name for cell in notebook.cells if _is_code(cell) for name in _imported(cell.source)]
    names = [*CORE_PACKAGES, *(owners[name][0] for name in imported if name in owners and name not in CORE_PACKAGES)]
    found = {"Python": sys.version.split()[0]}
    for name in dict.fromkeys(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _imported(source: str) -> list[str]:
    """Top-level names of the modules that a cell imports; none if it is not plain Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return [module.split(".")[0] for module in modules]


_ENGINE = "course"


def _register_engine() -> None:
    """Teach papermill an engine of ours: same client, but this interpreter's kernel, our time-outs and our progress."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
    from traitlets import default

    log = logging.getLogger(__name__)
    log.addHandler(logging.NullHandler())
    log.propagate = False

    class ThisInterpreter(KernelSpecManager):
        """A kernel called python3 may be installed for the user and belong to another environment."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            from ipykernel.kernelspec import RESOURCES, get_kernel_dict

            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    class CourseKernelManager(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _this_interpreter(self) -> KernelSpecManager:
            return ThisInterpreter(parent=self)

    class CourseClient(PapermillNotebookClient):
        def papermill_execute_cells(self) -> None:
            try:
                super().papermill_execute_cells()
            except DeadKernelError:
                # The reason of its death is known only until the manager cleans up.
                process = getattr(self.km.provisioner, "process", None)
                self.nb_man.watch.exit_code = process.returncode if process else None
                raise

    class WatchedExecution(NotebookExecutionManager):
        watch: _Watch

        def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **kwargs) -> None:
            super().cell_start(cell, cell_index, **kwargs)
            self.watch.cell_started(cell)

        def cell_complete(self, cell: NotebookNode, cell_index: int | None = None, **kwargs) -> None:
            self.watch.cell_over()
            super().cell_complete(cell, cell_index, **kwargs)
            if sys.exc_info()[0] is None:  # papermill calls this from a 'finally', also when the kernel is dead
                self.watch.cell_finished(cell)

    class CourseEngine(NBClientEngine):
        @classmethod
        def execute_notebook(
            cls,
            nb: NotebookNode,
            kernel_name: str,
            output_path: str | None = None,
            *,
            watch: _Watch,
            start: dict,
            **_,
        ) -> NotebookNode:
            manager = WatchedExecution(nb, output_path=output_path, progress_bar=False)
            manager.watch = watch
            manager.notebook_start()
            watch.started(nb)
            client = CourseClient(
                manager,
                kernel_manager_class=CourseKernelManager,
                kernel_name=kernel_name,
                startup_timeout=KERNEL_START_SECONDS,
                timeout_func=watch.allowed,
                coalesce_streams=True,
                record_timing=False,
                log=log,
            )
            try:
                client.execute(**start, stdout=watch.kernel_log, stderr=watch.kernel_log)
            finally:
                manager.notebook_complete()
            return nb

    papermill_engines.register(_ENGINE, CourseEngine)


def execute_in_place(entry: NotebookEntry, folder: Path) -> int:
    """Execute a notebook on the tiny profile and put its outputs into the file itself, ready to be committed.

    A notebook that fails is left as it was. Returns the exit status, 0 or 1.
    """
    import nbformat

    os.environ["COURSE_PROFILE"] = "tiny"
    os.environ.pop("COURSE_REHEARSE", None)
    print(f"{entry.file}", flush=True)
    result = NotebookResult(entry, status="running")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / entry.file
        notebook = execute(entry, folder, target, None, result)
        print(_indented(_verdict(result), " " * 6), flush=True)
        if notebook is None:
            return 1
        nbformat.write(strip_volatile(notebook), target)
        shutil.copyfile(target, folder / entry.file)
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
        if not _is_code(cell):
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "data" in output:
                output.data.pop("application/vnd.jupyter.widget-view+json", None)
            if "text" in output:
                output.text = plain(output.text)
    return notebook

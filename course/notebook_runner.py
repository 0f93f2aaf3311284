"""Runs notebooks, several at a time, and tells how each went.

Each notebook is executed by a thread of its own, which mostly waits for its kernel; `course.schedule` decides which
notebook starts next and which may run side by side.
"""

from __future__ import annotations

import datetime
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from course.execution import execute
from course.failures import diagnose
from course.manifest import NotebookEntry
from course.notebook_page import write_page
from course.results import NotebookResult, RunSettings
from course.schedule import in_order, may_start
from course.watch import Console, Watch


def run_notebooks(
    entries: list[NotebookEntry],
    folder: Path,
    output: Path,
    settings: RunSettings,
    report: Callable[..., None],
    *,
    keep_going: bool = True,
) -> int:
    """Execute notebooks, ``settings.jobs`` at a time; with one, in their order.

    Args:
        entries: the notebooks, in the order of the course, which the results keep.
        output: where the executed notebooks go; made if absent.
        settings: profile, model and device, and how many may run at a time.
        report: called with all results so far before and after each notebook, and at the end with ``finished=True``;
            always by the calling thread.
        keep_going: go on after a failure; else no other notebook is started, and those under way end.

    Returns:
        0 all passed or were skipped, 1 one failed, 130 interrupted (``Ctrl-C``); ``report`` was called in each case.
    """
    output.mkdir(parents=True, exist_ok=True)
    now = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
    results = [NotebookResult(entry, model=settings.asked, device=settings.device, time=now) for entry in entries]
    print(settings.description or f"profile {settings.profile}: {settings.model} on {settings.device}", flush=True)
    if settings.jobs > 1:
        alone = ", ".join(entry.label for entry in entries if entry.measures_time)
        last = f"; alone and last, because they measure time: {alone}" if alone else ""
        print(f"up to {settings.jobs} notebooks at a time{last}", flush=True)
    by_file = {result.entry.file: result for result in results}
    waiting = [by_file[entry.file] for entry in in_order(entries, settings.jobs, settings.device)]
    crew = _Crew(folder, output, settings)
    interrupted = False
    try:
        crew.run(waiting, lambda: report(results), keep_going)
    except KeyboardInterrupt:
        interrupted = True
        crew.interrupt()
    for result in results:
        if result.status in ("waiting", "running"):  # the latter if interrupted just before its thread began
            result.status = "waiting"
            result.note = "not run: the course was stopped before"
    report(results, finished=True)
    print()
    for result in results:
        minutes = f"{result.seconds / 60:5.1f} min" if result.seconds else " " * 9
        print(f"  {result.status:<12}{minutes}  {result.entry.file}", flush=True)
    return 130 if interrupted else int(any(result.status == "failed" for result in results))


class _Crew:
    """The threads that execute notebooks: a slot for each notebook that may run at the same time."""

    def __init__(self, folder: Path, output: Path, settings: RunSettings):
        self.folder, self.output, self.settings = folder, output, settings
        self.console = Console(numbered=settings.jobs > 1)
        self.running: dict[int, NotebookResult] = {}
        self._began = time.monotonic()
        self._threads: list[threading.Thread] = []
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._interrupted = threading.Event()

    def run(self, waiting: list[NotebookResult], report: Callable[[], None], keep_going: bool) -> None:
        """Execute notebooks in this order, each as soon as it may start."""
        started, total = 0, len(waiting)
        while waiting or self.running:
            if waiting and self._takes(waiting[0].entry):
                result, started = waiting.pop(0), started + 1
                self.console.say(f"\n[{started}/{total}] {result.entry.title} ({result.entry.file})")
                if reason := _reason_to_skip(result.entry, self.settings):
                    result.status, result.note = "skipped", reason
                    self.console.say(f"{self.console.lead(result.entry)}skipped: {reason}")
                    continue
                result.status = "running"
                report()
                self._start(result)
            elif ended := self._next_done():
                if ended.status == "failed" and not keep_going:
                    waiting.clear()
                report()

    def interrupt(self) -> None:
        """Stop what runs, and wait until the kernels have ended."""
        self._interrupted.set()
        while any(thread.is_alive() for thread in self._threads) or not self._done.empty():
            self._next_done()

    def _takes(self, entry: NotebookEntry) -> bool:
        beside = [result.entry for result in self.running.values()]
        return may_start(entry, beside, self.settings.jobs, self.settings.needs_gib)

    def _start(self, result: NotebookResult) -> None:
        """Begin a notebook in a free slot."""
        slot = next(number for number in range(self.settings.jobs) if number not in self.running)
        self.running[slot] = result
        result.began = time.monotonic() - self._began
        # A daemon: who presses Ctrl-C twice does not wait for kernels, which end with this process anyway.
        thread = threading.Thread(target=self._execute, args=(slot, result), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _next_done(self) -> NotebookResult | None:
        """The next notebook that has ended, however it ended; None if none does within a second."""
        try:
            result = self.running.pop(self._done.get(timeout=1.0))
        except queue.Empty:
            return None
        self.console.say(result.verdict(self.console.lead(result.entry)))
        return result

    def _execute(self, slot: int, result: NotebookResult) -> None:
        from jupyter_core.utils import ensure_event_loop

        try:
            watch = Watch(result, self.console, slot, self._interrupted)
            execute(self.folder, self.output / result.entry.file, self.settings, watch)
        except KeyboardInterrupt:
            pass  # the result says so
        except BaseException as error:  # whoever waits for this thread must hear of its end
            result.status, result.failure = "failed", diagnose(type(error).__name__, str(error))
        finally:
            if result.executed:
                result.page = write_page(self.output / result.executed, self.folder)
            ensure_event_loop().close()
            self._done.put(slot)


def _reason_to_skip(entry: NotebookEntry, settings: RunSettings) -> str:
    if not entry.runs_on(settings.profile):
        return f"it is not for profile {settings.profile}, only for {', '.join(entry.profiles)}"
    return ""

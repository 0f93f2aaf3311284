"""Child processes: run to their end, or kept as long as their owner lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import supervisor
from helpers.files import COURSE_ROOT

if TYPE_CHECKING:
    import psutil

#: So many lines of a program's output are shown when it fails.
LAST_LINES = 12
#: A killed process goes as soon as the kernel comes to it; on a busy machine that takes a moment.
KILLED_SECONDS = 10.0
#: The supervisor needs at most two grace periods of 5 s.
STOP_SECONDS = 13


@dataclass(frozen=True)
class Ended:
    """Exit status (negative for a signal, None if its time was up), output, and standard error if it was kept apart."""

    status: int | None
    output: str
    errors: str = ""


def run_to_end(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    *,
    text: str = "",
    errors_apart: bool = False,
) -> Ended:
    """Run a program in the course's folder, in a process group of its own that is killed at the end.

    Output goes to files, since a child that outlives the program would keep a pipe open. ``timeout`` is in seconds,
    ``text`` is for its standard input; ``errors_apart`` keeps standard error apart from standard output.

    Raises:
        OSError: it cannot be started.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=output,
            stderr=errors if errors_apart else subprocess.STDOUT,
            cwd=COURSE_ROOT,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:  # also after Ctrl-C
            _end_group(process)
        output.seek(0)
        errors.seek(0)
        return Ended(status, output.read().decode(errors="replace"), errors.read().decode(errors="replace"))


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it.

    Raises:
        OSError: the process has gone.
    """
    import psutil

    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error as error:
        raise ProcessLookupError(str(error)) from None


def last_lines(output: str) -> str:
    """The end of a program's output, as a message can show it; bars of progress are lines of their own."""
    lines = [line for line in output.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:]) or "it printed nothing"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process's group, and wait until it has gone."""
    below: list[psutil.Process] = []
    with suppress(OSError):
        below = family(process.pid)[1:]
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    limit = time.monotonic() + KILLED_SECONDS
    while any(map(_computes, below)) and time.monotonic() < limit:
        time.sleep(0.01)


def _computes(process: psutil.Process) -> bool:
    """Whether it has not ended; one that nobody has asked about since its end is a zombie."""
    import psutil

    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


class SupervisedProcess:
    """A long-lived child, run in the course's folder, its output in ``log``. It ends, with all below it, when `end` is
    called, this object is forgotten, or this process ends, even by ``kill -9`` (see `helpers.supervisor`).
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path):
        guard = [sys.executable, "-I", supervisor.__file__, str(os.getpid()), str(log)]
        self._supervisor = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=COURSE_ROOT,
            env=dict(environment),
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end_supervised, self._supervisor, os.getpid())
        try:
            self.pid: int | None = int(self._hear().partition("started ")[2] or 0) or None
            """The program's own process; None if it could not be started."""
        except BaseException:  # Ctrl-C
            self.end()
            raise

    def poll(self) -> int | None:
        """Its exit status, 128 + n for one that signal n ended; None while it runs."""
        return self._supervisor.poll()

    def watch(self) -> bool:
        """From now on end it, too, when a process below it dies. Returns False if it has ended already."""
        assert self._supervisor.stdin
        with suppress(OSError):
            self._supervisor.stdin.write("ready\n")
            self._supervisor.stdin.flush()
        return self._hear() == "watching"

    def end(self) -> None:
        """End it and all below it, and wait until they have gone."""
        _end_supervised(self._supervisor)

    def _hear(self) -> str:
        assert self._supervisor.stdout
        return self._supervisor.stdout.readline().strip()


def _end_supervised(process: subprocess.Popen[str], owner: int | None = None) -> None:
    """Close the pipe, which tells the supervisor to stop, and wait for it. A forked child of the owner does nothing."""
    if owner is not None and owner != os.getpid():
        return
    pids = supervisor.descendants(process.pid) | {process.pid}
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError, ValueError):
            if pipe:
                pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

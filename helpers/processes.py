"""Processes of a measurement: one with all below it run to its end, their processor time, and their memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.files import COURSE_ROOT

if TYPE_CHECKING:
    import psutil

#: So many lines of a program's output are shown when it fails.
LAST_LINES = 12
#: A killed process goes as soon as the kernel comes to it; on a busy machine that takes a moment.
KILLED_SECONDS = 10.0


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


def cpu_seconds(pid: int) -> float:
    """That a process and all below it have computed so far; what others do on the machine does not lengthen it.

    Raises:
        OSError: the process has gone.
    """
    import psutil

    total = 0.0
    for process in family(pid):
        with suppress(psutil.Error):  # it ended meanwhile
            times = process.cpu_times()
            total += times.user + times.system
    return total


def allocated_bytes(pid: int) -> float:
    """Memory of a process and all below it.

    On Linux what they allocated themselves, shared pages counted once (``Pss_Anon`` and ``Pss_Shmem`` of
    ``/proc/PID/smaps_rollup``): the pages of libraries come and go with other processes that use the same ones.
    Elsewhere RSS.

    Raises:
        OSError: the process has gone.
    """
    import psutil

    total = 0.0
    for process in family(pid):
        with suppress(psutil.Error, OSError):  # it ended meanwhile
            total += _own_bytes(process.pid) or process.memory_info().rss
    return total


def run_to_end(program: Sequence[str], environment: Mapping[str, str], timeout: float) -> tuple[int | None, str]:
    """Status and output of a program in the course's folder; the status is None if the time was up.

    The output goes to a file, since a child that outlives the program would keep a pipe open; and it gets a group of
    its own, so that nothing is left behind.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=COURSE_ROOT,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:  # also after Ctrl-C
            _end_group(process)
        output.seek(0)
        return status, output.read().decode(errors="replace")


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


def _own_bytes(pid: int) -> float | None:
    """None where the kernel does not tell."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.is_file():
        return None
    found = re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB$", rollup.read_text(), re.MULTILINE)
    return 1024.0 * sum(map(int, found)) if found else None

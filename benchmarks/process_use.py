"""Processor time and memory of a process with all below it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from helpers.processes import family


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process and all below it so far; what others do on the machine does not count.

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
    """Memory in bytes of a process and all below it.

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


def _own_bytes(pid: int) -> float | None:
    """None where the kernel does not tell."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.is_file():
        return None
    found = re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB$", rollup.read_text(), re.MULTILINE)
    return 1024.0 * sum(map(int, found)) if found else None

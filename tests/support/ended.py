"""Whether processes have ended; the kernel takes a moment to end one that was killed, more on a busy machine."""

import time
from collections.abc import Iterable

import psutil


def assert_ended(pids: Iterable[int], seconds: float = 15) -> None:
    """None of them computes any more, after at most that long. One that nobody has asked about is a zombie."""
    pids, limit = list(pids), time.monotonic() + seconds
    while (alive := [pid for pid in pids if _computes(pid)]) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not alive, f"still there after {seconds} s: {alive}"


def _computes(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False

"""Which notebook of a run starts next, and how many may run side by side on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from course.manifest import NotebookEntry
from helpers.machine import free_gib

#: Notebooks at a time where nobody asked for a number, by device. The tiny model's engines compute on one core each; on
#: a GPU each engine wants most of its memory.
SIDE_BY_SIDE = {"cpu": 2, "cuda": 1}


def jobs_here(wanted: int | None, device: str, needs_gib: float, *, every_core: bool = False) -> int:
    """How many notebooks may run at a time: what is wanted, or 2 on a CPU of two cores, but no more than memory holds.

    Args:
        wanted: None leaves it to this function.
        device: 'cpu' or 'cuda'.
        needs_gib: memory in GiB that one notebook may take with its engines; RAM counts on the CPU only.
        every_core: unless a number is wanted, one notebook for each core instead of 2.

    Returns:
        At least 1: a single notebook finds out itself what it lacks, and says so.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = wanted or (cores if every_core else min(SIDE_BY_SIDE[device], cores))
    if device == "cpu" and needs_gib > 0:
        jobs = min(jobs, int(free_gib() // needs_gib))
    return max(1, jobs)


def in_order(entries: Sequence[NotebookEntry], jobs: int, device: str) -> list[NotebookEntry]:
    """The order in which to start notebooks.

    One at a time: the course's. Side by side: the first one of the course first, because it looks at the machine; then
    the longest, so that no long one is left without company; and at the end those that measure time, which run alone.

    Args:
        entries: in the order of the course.
        jobs: notebooks at a time.
        device: whose ``minutes`` of ``course.yaml`` count; a notebook without a measurement counts as the longest.
    """
    if jobs == 1:
        return list(entries)
    sharing = [entry for entry in entries if not entry.measures_time]
    longest = sorted(
        sharing[1:], key=lambda entry: -((entry.minutes.cpu if device == "cpu" else entry.minutes.gpu) or math.inf)
    )
    return [*sharing[:1], *longest, *(entry for entry in entries if entry.measures_time)]


def may_start(entry: NotebookEntry, running: Sequence[NotebookEntry], jobs: int, needs_gib: float) -> bool:
    """True if a notebook may start beside those that run: a place is free, nobody's times suffer, memory is there."""
    if not running:
        return True
    if len(running) >= jobs or entry.measures_time or any(other.measures_time for other in running):
        return False
    return needs_gib <= 0 or free_gib() >= needs_gib

"""The page that a run of the course leaves behind: one self-contained HTML file."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from course import phases
from helpers.files import write_whole
from helpers.templates import render

if TYPE_CHECKING:
    from course.results import NotebookResult, RunSettings

TEMPLATE = Path(__file__).with_name("summary.html.j2")


def write_summary(
    page: Path,
    results: Sequence[NotebookResult],
    *,
    settings: RunSettings,
    started: datetime.datetime,
    finished: bool = False,
    earlier: Sequence[NotebookResult] = (),
) -> None:
    """Write the page, whole or not at all: a reader may have it open while the course runs.

    Args:
        page: the file to write, in the folder of the executed notebooks.
        results: one for each notebook of the run, in order; those still waiting as well.
        settings: profile, model and device of the run.
        started: when the run began, with time zone.
        finished: False while notebooks are still to come; the page then reloads itself. Where the time went is shown
            at the end, read from the executed notebooks.
        earlier: how notebooks went that this run leaves alone.
    """
    import platform

    count = {status: sum(result.status == status for result in results) for status in _STATUSES}
    headline = _headline(count, len(results), finished)
    if earlier:
        headline += f"; {len(earlier)} from earlier runs"
    minutes = max((result.began + result.seconds for result in results), default=0.0) / 60
    results = sorted([*results, *earlier], key=lambda result: result.entry.file)
    executed = [page.parent / result.executed for result in results if result.executed] if finished else []
    times = phases.where_time_goes(executed)
    text = render(
        TEMPLATE,
        results=results,
        earlier=earlier,
        settings=settings,
        started=started,
        finished=finished,
        count=count,
        headline=headline,
        minutes=minutes,
        phases=phases.PHASES,
        rows=phases.rows(times),
        slowest=phases.slowest(times),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    )
    write_whole(page, text)


_STATUSES = ("passed", "failed", "skipped", "interrupted", "running", "waiting")


def _headline(count: dict[str, int], total: int, finished: bool) -> str:
    if count["interrupted"]:
        return f"Interrupted after {count['passed']} of {total} notebooks"
    if not finished:
        done = total - count["waiting"] - count["running"]
        return f"Running: {done} of {total} notebooks done"
    if count["failed"]:
        return f"{count['failed']} of {total} notebooks failed"
    if count["skipped"]:
        return f"{count['passed']} of {total} notebooks passed, {count['skipped']} skipped"
    return f"All {total} notebooks passed" if total > 1 else "The notebook passed"

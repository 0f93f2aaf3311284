"""``course run``: the notebooks executed for a profile, with a summary page beside them."""

from __future__ import annotations

import datetime
import os
import signal
from functools import partial
from pathlib import Path

from course.manifest import MANIFEST_FILE, load_manifest
from course.notebook_runner import run_notebooks
from course.results import NotebookResult, RunSettings, keep_results, read_results
from course.schedule import jobs_here
from course.summary import write_summary
from helpers.errors import CourseError
from helpers.files import OUTPUTS, shown
from helpers.profiles import use_profile


def run_course(
    profile: str = "auto",
    only: list[str] | None = None,
    output: Path = OUTPUTS,
    rehearse: bool = False,
    keep_going: bool = True,
    jobs: int | None = None,
) -> int:
    """Execute the course's notebooks and write them, with one summary page, to ``output``.

    Args:
        profile: a profile's name, or 'auto'.
        only: numbers or names of notebooks; all by default.
        output: folder for the executed notebooks and ``summary.html``.
        rehearse: the profile in miniature with random weights, and fewer questions; ``COURSE_REHEARSE=full`` keeps
            the model's real size. In miniature no time is measured, so notebooks run side by side, one on each core.
        keep_going: run the remaining notebooks after a failure.
        jobs: notebooks at a time; by default 2 on a CPU with two cores and memory for two, else 1. Notebooks that
            measure time run alone.

    Returns:
        Exit status: 0 all went well, 1 a notebook failed, 130 interrupted.

    Raises:
        CourseError: the manifest, the profile or a notebook's name cannot be used; nothing has run then.
    """
    manifest = load_manifest()
    entries = manifest.select(only)
    if jobs is not None and jobs < 1:
        raise CourseError(f"{jobs} notebooks at a time are too few.", "--jobs counts from 1", "omit --jobs")
    if rehearse:
        os.environ["COURSE_REHEARSE"] = os.environ.get("COURSE_REHEARSE") or "1"
    active = use_profile(profile, quiet=True)
    miniature = active.profile.small and active.device == "cpu"
    if miniature:
        entries = [entry.model_copy(update={"measures_time": False}) for entry in entries]
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of two engines would wait for each other
    settings = RunSettings(
        profile=active.profile.name,
        model=active.served_name,
        device=active.device,
        rehearse=active.profile.rehearse,
        description=active.describe(),
        jobs=jobs_here(jobs, active.device, active.profile.needs_gib, every_core=miniature),
        needs_gib=active.profile.needs_gib if active.device == "cpu" else 0.0,
    )
    if jobs and settings.jobs < jobs:
        each = f"{settings.needs_gib:g} GiB of memory for each of {jobs} notebooks are not free"
        print(f"{settings.jobs} at a time: {each}", flush=True)
    page, chosen = output / "summary.html", {entry.file for entry in entries}
    current = {entry.file for entry in manifest.notebooks} - chosen
    earlier = [result for result in read_results(output) if result.entry.file in current]
    summarise = partial(
        write_summary, page, settings=settings, started=datetime.datetime.now().astimezone(), earlier=earlier
    )

    def report(results: list[NotebookResult], finished: bool = False) -> None:
        keep_results(output, results)
        summarise(results, finished=finished)

    # A cancelled job ends with SIGTERM, and shells start background jobs with SIGINT ignored: leave a summary and no
    # kernel then, too.
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        status = run_notebooks(entries, MANIFEST_FILE.parent, output, settings, report, keep_going=keep_going)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
    print(f"\nSummary: {shown(page)}", flush=True)
    return status

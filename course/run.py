"""The course as a whole: running it, its table in the README, and its committed outputs.

``python -m course run`` runs it (``command``). For maintainers: ``python -m course.run readme --write|--check``
and ``python -m course.run execute --write NN``.
"""

from __future__ import annotations

import argparse
import datetime
import html
import re
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from course.manifest import MANIFEST_FILE, Manifest, NotebookEntry, load_manifest
from course.notebook_runner import Setting, execute_in_place, run_notebooks
from course.schedule import jobs_here
from course.summary import write_summary
from helpers.errors import CourseError
from helpers.profiles import COURSE_ROOT, use_profile

__all__ = ["Manifest", "NotebookEntry", "command", "load_manifest", "readme_table", "update_readme"]

README_FILE = COURSE_ROOT / "README.md"
TABLE_START = "<!-- course-table:start -->"
TABLE_END = "<!-- course-table:end -->"


def readme_table(manifest: Manifest) -> str:
    """The course as a Markdown table, without a trailing newline."""
    rows = ["| | notebook | afterwards you can | minutes (CPU / GPU) | needs |", "| --- | --- | --- | --- | --- |"]
    for entry in manifest.notebooks:
        minutes = " / ".join(
            f"{value:g}" if value else "not measured" for value in (entry.minutes.cpu, entry.minutes.gpu)
        )
        summary = entry.summary[0].lower() + entry.summary[1:].removesuffix(".")
        cells = [
            f"{entry.number:02d}",
            f"[{_cell(entry.title)}](notebooks/{entry.file})",
            _cell(summary),
            minutes,
            _cell("; ".join(entry.needs) or "nothing more"),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")


def readme_with_table(readme: str, manifest: Manifest) -> str:
    """The README's text with the table between its two markers replaced.

    Raises:
        CourseError: the markers are not there exactly once, in order.
    """
    parts = re.split(f"{TABLE_START}.*?{TABLE_END}", readme, flags=re.DOTALL)
    if len(parts) != 2:
        raise CourseError(
            "README.md has no place for the course table.",
            "a marker is missing or doubled",
            f"keep one line {TABLE_START} and, below it, one line {TABLE_END}",
        )
    return f"\n{readme_table(manifest)}\n".join((parts[0] + TABLE_START, TABLE_END + parts[1]))


def update_readme(*, write: bool, readme: Path | None = None, manifest: Path | None = None) -> bool:
    """Compare the README's table with the manifest and, if ``write``, renew it. True if it was up to date."""
    path = Path(readme or README_FILE)
    old = path.read_text(encoding="utf-8")
    new = readme_with_table(old, load_manifest(manifest))
    if write and new != old:
        path.write_text(new, encoding="utf-8")
    return new == old


def command(
    profile: str = "auto",
    only: list[str] | None = None,
    output: str = "outputs",
    rehearse: bool = False,
    keep_going: bool = True,
    jobs: int | None = None,
) -> int:
    """Execute the course's notebooks and write them, with one summary page, to ``output``.

    Args:
        profile: a profile's name, or 'auto'.
        only: numbers or names of notebooks; all by default.
        output: folder for the executed notebooks and ``summary.html``.
        rehearse: the profile's real size with random weights.
        keep_going: run the remaining notebooks after a failure.
        jobs: notebooks at a time; by default 2 on a CPU with two cores and memory for two, else 1. Notebooks that
            measure time run alone in each case.

    Returns:
        Exit status: 0 all went well, 1 a notebook failed, 130 interrupted.

    Raises:
        CourseError: the manifest, the profile or a notebook's name cannot be used; nothing has run then.
    """
    entries = load_manifest().select(only)
    if jobs is not None and jobs < 1:
        raise CourseError(f"{jobs} notebooks at a time are too few.", "--jobs counts from 1", "leave --jobs out")
    active = use_profile(profile, rehearse=rehearse or None, quiet=True)
    setting = Setting(
        profile=active.profile.name,
        model=active.served_name,
        device=active.device,
        rehearse=active.profile.rehearse,
        description=active.describe(),
        jobs=jobs_here(jobs, active.device, active.profile.needs_gib),
        needs_gib=active.profile.needs_gib if active.device == "cpu" else 0.0,
    )
    if jobs and setting.jobs < jobs:
        each = f"{setting.needs_gib:g} GiB of memory for each of {jobs} notebooks are not free"
        print(f"{setting.jobs} at a time: {each}", flush=True)
    # A cancelled job ends with SIGTERM, and shells start background jobs with SIGINT ignored: leave a summary and no
    # kernel then, too.
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.default_int_handler) for number in numbers]
    page = Path(output) / "summary.html"
    report = partial(write_summary, page, setting=setting, started=datetime.datetime.now().astimezone())
    try:
        status = run_notebooks(entries, MANIFEST_FILE.parent, Path(output), setting, report, keep_going=keep_going)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
    print(f"\nSummary: {page}", flush=True)
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """The maintainer's commands: keep the README's table and the committed outputs up to date."""
    parser = argparse.ArgumentParser(prog="python -m course.run", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    readme = commands.add_parser("readme", help="the course table in README.md")
    how = readme.add_mutually_exclusive_group(required=True)
    how.add_argument("--write", action="store_true", help="renew the table")
    how.add_argument("--check", action="store_true", help="exit status 1 if it is stale")
    execute = commands.add_parser("execute", help="execute notebooks in place on the tiny profile, for committing")
    execute.add_argument("--write", nargs="+", metavar="NN", required=True, help="numbers or names of notebooks")
    options = parser.parse_args(arguments)
    try:
        if options.command == "readme":
            current = update_readme(write=options.write)
            if not current:
                print("README.md: table renewed." if options.write else _STALE, flush=True)
            return 0 if current or options.write else 1
        # A course that is being written may lack other notebooks.
        entries = load_manifest(must_exist=False).select(options.write)
        return max(execute_in_place(entry, MANIFEST_FILE.parent) for entry in entries)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1


_STALE = "README.md: the course table is stale. What to do: python -m course.run readme --write"

if __name__ == "__main__":
    sys.exit(main())

"""Commands for those who maintain the course: ``execute``, ``exercises``, ``gpu-check`` and ``site``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def gpu_check(
    profiles: Annotated[str, typer.Option(help="names, separated by commas")] = "tiny,2b,4b",
    with_weights: Annotated[bool, typer.Option("--with-weights", help="released models as on this disk")] = False,
) -> int:
    """Check what only a GPU can show.

    Without one, the parts that need none run, and the record says what was left out.
    """
    from course.gpu_check import run_check

    return run_check(profiles, with_weights)


def site(
    out: Annotated[Path, typer.Option(help="destination")] = Path("build/site"),
    catalogues: Annotated[bool, typer.Option("--catalogues", help="only extract the texts to translate")] = False,
) -> int:
    """Build the course as static pages and check every link."""
    from course.site import build_site, extract_catalogues

    if catalogues:
        extract_catalogues(out.with_name("catalogues"))
    else:
        build_site(out)
    return 0


def execute(
    notebooks: Annotated[list[str], typer.Argument(help="numbers or names of notebooks")],
    solutions: Annotated[bool, typer.Option("--solutions", help="of their exercises instead")] = False,
) -> int:
    """Maintainers: execute notebooks in place."""
    from course.committed_outputs import execute_in_place
    from course.exercises import solutions_of
    from course.manifest import MANIFEST_FILE, load_manifest

    folder = MANIFEST_FILE.parent
    entries = load_manifest(must_exist=False).select(notebooks)  # others may not be written yet
    if solutions:
        return max([execute_in_place(entry, folder / "solutions") for entry in solutions_of(entries)])
    return max([execute_in_place(entry, folder) for entry in entries])


def exercises(check: Annotated[bool, typer.Option("--check", help="only compare; status 1 if stale")] = False) -> int:
    """Make the learners' exercises from the solutions."""
    from course.exercises import update_exercises

    stale = update_exercises(write=not check)
    if stale:
        print(("stale: " if check else "written: ") + ", ".join(f"notebooks/exercises/{name}" for name in stale))
        if check:
            print("bring them up to date with: course exercises")
    return int(check and bool(stale))

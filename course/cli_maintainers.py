"""Commands for those who maintain the course: ``gpu-check`` and ``site``."""

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

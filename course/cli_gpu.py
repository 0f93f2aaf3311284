"""The command ``course gpu-check``."""

from __future__ import annotations

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

"""``python -m benchmarks``, which ``course bench`` starts: parts, each of which writes its dated result as it ends."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.parts import PARTS
from benchmarks.setting import Options, Part, Setting
from helpers.errors import CourseError
from helpers.files import shown
from helpers.provenance import these_versions, this_machine
from toolkit.speed.results import FOLDER, BenchResult, read_results, write_result

#: In the settings of a result that is kept though something did not hold.
NOT_HELD = "not held"
_LISTED = "\n".join(f"{part.name:15}{part.title}{' *' if part.by_name_only else ''}" for part in PARTS)
_HELP = f"""Measure speed part by part, each with a dated result, and build the page; goes on where it stopped.

\b
{_LISTED}

* takes long or needs more than a server; measured only by name.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=_HELP)
def bench(
    only: Annotated[list[str] | None, typer.Argument(help="names of parts; default: all without a *")] = None,
    profile: Annotated[str, typer.Option(help="a name of data/profiles.yaml, or auto")] = "auto",
    folder: Annotated[Path, typer.Option(help="of results and page", show_default=False)] = FOLDER,
    again: Annotated[bool, typer.Option("--again", help="measure what has a result of today, too")] = False,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="real size, random weights")] = False,
    page: Annotated[bool, typer.Option("--page", help="only build the page from the results")] = False,
    minutes: Annotated[float, typer.Option(help="of part soak")] = Options.minutes,
    rate: Annotated[float, typer.Option(help="requests per second of part soak")] = Options.rate,
    requests: Annotated[int | None, typer.Option(help="of part against; default: 300, or 4 at 2b")] = None,
    repeats: Annotated[int, typer.Option(help="of part against")] = Options.repeats,
    seed: Annotated[int, typer.Option(help="of part against")] = Options.seed,
    llama_cpp: Annotated[Path | None, typer.Option(help="llama.cpp's sources, built; for part against")] = None,
) -> None:
    """Ends with status 1 if a part failed, 130 if it was interrupted."""
    options = Options(minutes, rate, requests, repeats, seed, llama_cpp)
    try:
        status = 0 if page else _measure(choose_parts(only), profile, rehearse, options, folder, again)
        if status == 0 or read_results(folder):
            from benchmarks.page import build_page

            print(f"page: {shown(build_page(folder))}")
    except CourseError as error:
        print(error, file=sys.stderr)
        status = 1
    raise typer.Exit(status)


def choose_parts(names: Sequence[str] | None) -> list[Part]:
    """Parts by name, in the order of `PARTS`; without names, all but those that are measured by name only.

    Raises:
        CourseError: an unknown name.
    """
    known = [part.name for part in PARTS]
    if unknown := [name for name in names or () if name not in known]:
        raise CourseError(
            f"The benchmark has no part '{unknown[0]}'.", "a misspelt name", f"use some of: {', '.join(known)}"
        )
    return [part for part in PARTS if (part.name in names if names else not part.by_name_only)]


def run_parts(setting: Setting, parts: Sequence[Part], folder: Path = FOLDER, *, again: bool = False) -> list[str]:
    """Measure each part that has no result of today (UTC) on this machine with these versions; return what failed.

    A part that fails does not stop the others. Of a part with options, a result with other options does not count.

    Args:
        setting: with the profile; its server is left running.
        folder: of the results.
        again: measure those of today, too. Their older results stay.

    Raises:
        CourseError: the folder holds a file that is no result, or cannot be written.
    """
    failed = []
    for number, part in enumerate(parts, start=1):
        head = f"[{number}/{len(parts)}] {part.title}"
        if not again and _is_known(setting, part, folder):
            print(f"{head}: measured today already (--again measures it again)")
            continue
        print(f"{head} …", flush=True)
        try:
            broken = _run_part(setting, part, folder, head)
        except CourseError as error:
            print(f"{head}: failed\n{error}", file=sys.stderr, flush=True)
            failed.append(part.name)
            continue
        if broken:
            failed.append(part.name)
            print(*(f"{head}: NOT HELD: {promise}" for promise in broken), sep="\n", file=sys.stderr, flush=True)
    return failed


def _measure(parts: Sequence[Part], profile: str, rehearse: bool, options: Options, folder: Path, again: bool) -> int:
    from helpers.profiles import use_profile

    active = use_profile(profile, rehearse=True if rehearse else None)
    try:
        with Setting(active, options) as setting:
            return 1 if run_parts(setting, parts, folder, again=again) else 0
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130


def _is_known(setting: Setting, part: Part, folder: Path) -> bool:
    same = part.name, setting.profile, datetime.datetime.now(datetime.UTC).date(), this_machine(), these_versions()
    command = tuple(part.command(setting)) if part.command else None
    return any(
        (known.part, known.profile, known.date, known.machine, known.versions) == same
        and command in (None, known.command)
        and NOT_HELD not in known.settings
        for known in read_results(folder)
    )


def _run_part(setting: Setting, part: Part, folder: Path, head: str) -> Sequence[str]:
    """Measure a part and write its result; returns what did not hold."""
    # Other work on the machine makes every figure worse.
    load = {"load average before": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}
    begun, began = datetime.datetime.now(datetime.UTC), time.monotonic()
    found = part.measure(setting)
    result = BenchResult(
        part=part.name,
        title=part.title,
        profile=setting.profile,
        date=begun.date(),
        time=begun,
        machine=this_machine(),
        versions=these_versions(),
        command=tuple(found.command),
        settings={**found.settings, **load, **({NOT_HELD: "; ".join(found.broken)} if found.broken else {})},
        seconds=round(time.monotonic() - began, 1),
        figures=tuple(found.figures),
        tables=dict(found.tables),
        notes=tuple(found.notes),
    )
    print(f"{head}: {result.seconds:.0f} s, {shown(write_result(result, folder))}", flush=True)
    return found.broken

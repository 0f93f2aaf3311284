"""``python -m benchmarks``, which ``course bench`` starts: parts, each of which writes its dated result as it ends."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.setting import Found, Options, Setting
from helpers.errors import CourseError
from helpers.files import shown
from helpers.provenance import these_versions, this_machine
from toolkit.speed.results import FOLDER, BenchResult, read_results, write_result

#: In the settings of a result that is kept though something did not hold.
NOT_HELD = "not held"
#: Name -> title. Each is a script beside this module, imported when it runs.
PARTS = {
    "reach": "What this machine could reach",
    "soak": "A long run of good requests and faults",
    "settings": "Engine settings, each varied alone",
    "against": "vLLM against transformers and others, the same mixed requests",
}
_LISTED = "\n".join(f"{name:15}{title}" for name, title in PARTS.items())
_HELP = f"""Measure speed part by part, each with a dated result, and build the page.

\b
{_LISTED}

All but reach take 15 to 30 minutes each.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=_HELP)
def bench(
    only: Annotated[list[str] | None, typer.Argument(help="names of parts; default: reach")] = None,
    profile: Annotated[str, typer.Option(help="a name of data/profiles.yaml, or auto")] = "auto",
    folder: Annotated[Path, typer.Option(help="of results and page", show_default=False)] = FOLDER,
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
    from benchmarks.page import build_page
    from helpers.profiles import use_profile

    failed = []
    try:
        if not page:
            parts = choose_parts(only or ["reach"])
            options = Options(minutes, rate, requests, repeats, seed, llama_cpp)
            failed = run_parts(Setting(use_profile(profile, rehearse=rehearse or None), options), parts, folder)
        if not failed or read_results(folder):
            print(f"page: {shown(build_page(folder))}")
    except CourseError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("interrupted; what was measured before is kept", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(1 if failed else 0)


def choose_parts(names: Sequence[str]) -> list[str]:
    """The named parts, in the order of `PARTS`.

    Raises:
        CourseError: an unknown name.
    """
    if unknown := [name for name in names if name not in PARTS]:
        raise CourseError(
            f"The benchmark has no part '{unknown[0]}'.", "a misspelt name", f"use some of: {', '.join(PARTS)}"
        )
    return [name for name in PARTS if name in names]


def run_parts(setting: Setting, parts: Sequence[str], folder: Path = FOLDER) -> list[str]:
    """Measure each part and write its result into ``folder``; return those that failed, which do not stop the others.

    Raises:
        CourseError: the folder holds a file that is no result, or cannot be written.
    """
    failed = []
    for number, name in enumerate(parts, start=1):
        head = f"[{number}/{len(parts)}] {PARTS[name]}"
        print(f"{head} …", flush=True)
        # Other work on the machine makes every figure worse.
        load = {"load average before": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}
        begun, began = datetime.datetime.now(datetime.UTC), time.monotonic()
        try:
            found: Found = import_module(f"benchmarks.{name}").measure(setting)
        except CourseError as error:
            print(f"{head}: failed\n{error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        result = BenchResult(
            part=name,
            title=PARTS[name],
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
        if found.broken:
            failed.append(name)
            print(*(f"{head}: NOT HELD: {promise}" for promise in found.broken), sep="\n", file=sys.stderr, flush=True)
    return failed

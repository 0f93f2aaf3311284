"""``python -m course bench``: a list of parts, each of which writes its dated result as it ends; then the page."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.parts import PARTS, Part, Setting
from helpers import provenance
from helpers.errors import CourseError
from helpers.files import shown
from toolkit.speed import results as files
from toolkit.speed.results import BenchResult

if TYPE_CHECKING:
    from benchmarks.against import Options

#: In the settings of a result that is kept though something did not hold.
NOT_HELD = "not held"


def run_parts(
    setting: Setting, parts: Sequence[Part], folder: Path = files.FOLDER, *, again: bool = False
) -> list[str]:
    """Measure each part that has no result of today (UTC) on this machine with these versions; return what failed.

    A part that fails does not stop the others. Of a part with options, a result with other options does not count.

    Args:
        setting: with the profile; its server is left running.
        parts: in this order.
        folder: of the results.
        again: measure those of today, too. Their older results stay.

    Raises:
        CourseError: the folder holds a file that is no result, or cannot be written.
    """
    machine, versions = provenance.this_machine(), provenance.these_versions()
    failed = []
    for number, part in enumerate(parts, start=1):
        head = f"[{number}/{len(parts)}] {part.title}"
        begun = datetime.datetime.now(datetime.UTC)
        known = files.find_result(
            files.read_results(folder),
            part.name,
            setting.profile,
            date=begun.date(),
            machine=machine,
            versions=versions,
            command=part.command(setting) if part.command else None,
        )
        if known and not again and NOT_HELD not in known.settings:
            print(f"{head}: measured today already (--again measures it anew)")
            continue
        print(f"{head} …", flush=True)
        # Other work on the machine makes every figure worse.
        load = {"load average before": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}
        began = time.monotonic()
        try:
            found = part.measure(setting)
        except CourseError as error:
            print(f"{head}: failed\n{error}", file=sys.stderr, flush=True)
            failed.append(part.name)
            continue
        result = BenchResult(
            part=part.name,
            title=part.title,
            profile=setting.profile,
            date=begun.date(),
            time=begun,
            machine=machine,
            versions=versions,
            command=tuple(found.command),
            settings={**found.settings, **load, **({NOT_HELD: "; ".join(found.broken)} if found.broken else {})},
            seconds=round(time.monotonic() - began, 1),
            figures=tuple(found.figures),
            tables=dict(found.tables),
            notes=tuple(found.notes),
        )
        print(f"{head}: {result.seconds:.0f} s, {shown(files.write_result(result, folder))}", flush=True)
        if found.broken:
            failed.append(part.name)
            print(*(f"{head}: NOT HELD: {one}" for one in found.broken), sep="\n", file=sys.stderr, flush=True)
    return failed


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


def command(
    only: Sequence[str] | None = None,
    profile: str = "auto",
    folder: Path = files.FOLDER,
    again: bool = False,
    rehearse: bool = False,
    page_only: bool = False,
    minutes: float | None = None,
    rate: float | None = None,
    against: Options | None = None,
) -> int:
    """Measure, then build the page; ``python -m course bench``.

    The same command goes on where it stopped.

    Args:
        only: names of parts; none means all but `soak`, `settings` and `against`.
        profile: a name of ``data/profiles.yaml``, or auto.
        folder: of results and page.
        again: see `run_parts`.
        rehearse: the real size with random weights.
        page_only: measure nothing.
        minutes: of the soak; None: half an hour.
        rate: requests a second of the soak; None: its own.
        against: what the comparison with others is to ask; None: its own.

    Returns:
        0, 1 if a part failed, 130 after an interruption.

    Raises:
        CourseError: as `run_parts` and `helpers.profiles.use_profile`; no results for the page.
    """
    from benchmarks.page import build_page
    from helpers.profiles import use_profile

    parts, status = choose_parts(only), 0
    if not page_only:
        active = use_profile(profile, rehearse=True if rehearse else None)
        try:
            with Setting(active, minutes, rate, against) as setting:
                status = 1 if run_parts(setting, parts, folder, again=again) else 0
        except KeyboardInterrupt:
            print("stopped; the same command goes on where it was", file=sys.stderr)
            status = 130
    if status == 0 or files.read_results(folder):
        print("page: " + ", ".join(shown(path) for path in build_page(folder)))
    return status

"""The benchmark page, in Markdown and HTML, made of the result files and of nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown, write_whole
from helpers.provenance import describe_versions
from helpers.templates import render
from toolkit.speed.results import (
    FOLDER,
    BenchResult,
    Figure,
    latest,
    read_results,
)

#: File of the page -> its template, beside this module.
PAGES = {"README.md": "page.md.j2", "index.html": "page.html.j2"}
NOT_MEASURED = "not measured"


def build_page(folder: Path = FOLDER) -> list[Path]:
    """Write both pages into the folder of the results; return their paths. The same files give the same bytes.

    The newest result of each part and profile is shown; of older ones the page lists date and file.

    Raises:
        CourseError: no results, a file that is none, or a folder that cannot be written.
    """
    results = read_results(folder)
    if not results:
        raise CourseError(f"{shown(folder)} holds no results.", "nothing was measured yet", "python -m course bench")
    written = []
    try:
        for name, template in PAGES.items():
            write_whole(folder / name, render_page(results, template))
            written.append(folder / name)
    except OSError as error:
        raise CourseError(f"{shown(folder)} cannot be written: {error.strerror}.", "a read-only or full disk") from None
    return written


def render_page(results: Sequence[BenchResult], template: str) -> str:
    """One page as text; the template is one of `PAGES`."""
    newest = latest(results)
    setups: dict[tuple[str, str], list[str]] = {}
    for result in newest:
        setups.setdefault((result.machine.describe(), describe_versions(result.versions)), []).append(result.title)
    return render(
        Path(__file__).with_name(template),
        filters={"figure": figure_text, "interval": interval_text, "cell": cell_text, "md": markdown_text},
        results=newest,
        setups=[{"machine": machine, "versions": versions, "of": of} for (machine, versions), of in setups.items()],
        older=[result for result in results if result not in newest],
        dates=(newest[0].date, newest[-1].date),
        versions_of=describe_versions,
        command_of=lambda result: shlex.join(result.command),
    )


# ---------------------------------------------------------------- values as text


def number_text(value: float) -> str:
    """Three significant digits, without exponents in the range of daily life."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3g}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.2e}"


def figure_text(figure: Figure) -> str:
    """Value and unit; 'not measured' where there is no value."""
    if figure.value is None:
        return NOT_MEASURED
    whole = figure.unit in ("requests", "tokens", "items") and figure.value == int(figure.value)
    return f"{int(figure.value):,} {figure.unit}" if whole else f"{number_text(figure.value)} {figure.unit}".strip()


def interval_text(figure: Figure) -> str:
    """The interval around a figure, or nothing."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{number_text(figure.low)} to {number_text(figure.high)}"


def cell_text(value: Any) -> str:
    """A value of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_text(value) if isinstance(value, float) else str(value)


def markdown_text(text: Any) -> str:
    """Text that means itself in a cell of a Markdown table."""
    plain = str(text).replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return "".join(f"\\{sign}" if sign in "\\|*_`[]" else sign for sign in plain)

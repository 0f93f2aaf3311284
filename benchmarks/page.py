"""The benchmark page, in Markdown with its charts, made of the result files and of nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown, write_whole, writing
from helpers.provenance import describe_versions
from helpers.templates import render
from toolkit.speed.results import FOLDER, BenchResult, Figure, latest, read_results

PAGE, TEMPLATE = "README.md", Path(__file__).with_name("page.md.j2")
#: Part -> table, column of names and column of values that are drawn as bars, and what these are.
CHARTS = {
    "against": ("Contenders", "contender", "tokens/s", "answer tokens per second"),
    "settings": ("settings", "setting", "tokens/s", "answer tokens per second"),
}
CHART_FOLDER = "charts"
NOT_MEASURED = "not measured"


def build_page(folder: Path = FOLDER) -> Path:
    """Write page and charts into the folder of the results; return the page's path.

    The same files give the same bytes.

    The newest result of each part and profile is shown; of older ones the page lists date and file.

    Raises:
        CourseError: no results, a file that is none, or a folder that cannot be written.
    """
    results = read_results(folder)
    if not results:
        raise CourseError(f"{shown(folder)} holds no results.", "nothing was measured yet", "python -m course bench")
    with writing(folder):
        write_whole(folder / PAGE, render_page(results))
        for result in latest(results):
            if drawing := chart(result):
                (folder / CHART_FOLDER).mkdir(exist_ok=True)
                write_whole(folder / chart_file(result), drawing + "\n")
    return folder / PAGE


def render_page(results: Sequence[BenchResult]) -> str:
    newest = latest(results)
    setups: dict[tuple[str, str], list[str]] = {}
    for result in newest:
        setups.setdefault((result.machine.describe(), describe_versions(result.versions)), []).append(result.title)
    return render(
        TEMPLATE,
        filters={"figure": figure_text, "interval": interval_text, "cell": cell_text, "md": markdown_text},
        results=newest,
        setups=[{"machine": machine, "versions": versions, "of": of} for (machine, versions), of in setups.items()],
        older=[result for result in results if result not in newest],
        dates=(newest[0].date, newest[-1].date),
        versions_of=describe_versions,
        heading=heading,
        anchor=anchor,
        chart=chart,
        chart_title=chart_title,
        chart_file=chart_file,
        bars_in_words=lambda result: "; ".join(f"{name} {number_text(value)}" for name, value in _bars(result)),
        command_of=lambda result: shlex.join(result.command),
    )


def heading(result: BenchResult) -> str:
    """The title, with the profile if there is one: the same part may have been measured with several."""
    return f"{result.title} ({result.profile})" if result.profile else result.title


def anchor(result: BenchResult) -> str:
    """What a link within the page names it by."""
    return "-".join(filter(None, (result.part, result.profile)))


# ---------------------------------------------------------------- charts


def chart_file(result: BenchResult) -> str:
    return f"{CHART_FOLDER}/{anchor(result)}.svg"


def chart_title(result: BenchResult) -> str:
    return f"{heading(result)}: {CHARTS[result.part][3]}"


def _bars(result: BenchResult) -> list[tuple[str, float]]:
    table, name, value, _ = CHARTS.get(result.part, ("", "", "", ""))
    rows = [(str(row.get(name)), row.get(value)) for row in result.tables.get(table, ())]
    return [(label, float(figure)) for label, figure in rows if isinstance(figure, int | float)]


def chart(result: BenchResult) -> str:
    """Bars as SVG, legible on light and dark pages; nothing if the part has no table to draw."""
    bars = _bars(result)
    if not bars:
        return ""
    most = max(value for _, value in bars) or 1.0
    rows = [(name, max(1.0, 380 * value / most), number_text(value)) for name, value in bars]
    return render(TEMPLATE.with_name("chart.svg.j2"), rows=rows, label=f"{chart_title(result)}, {result.date}").strip()


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
    if figure.low is None or figure.high is None:
        return ""
    return f"{number_text(figure.low)} to {number_text(figure.high)}"


def cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_text(value) if isinstance(value, float) else str(value)


def markdown_text(text: Any) -> str:
    """Text that means itself in a cell of a Markdown table."""
    plain = str(text).replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return "".join(f"\\{sign}" if sign in "\\|*_`[]" else sign for sign in plain)

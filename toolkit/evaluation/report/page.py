"""The report of two runs side by side: one HTML file that needs nothing but itself, and asks no network for anything.

What models wrote reaches the page as JSON, and its script sets it as text, never as markup; a content security policy
allows only that one script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import CourseError
from helpers.files import write_whole, writing
from helpers.templates import render
from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.metrics import scoring
from toolkit.evaluation.metrics.confounds import find_confounds
from toolkit.evaluation.metrics.scoring import Scored
from toolkit.evaluation.report.items import item_entries
from toolkit.evaluation.report.summary import axis_scale, claim_bars, comparison_row, findings, run_facts
from toolkit.evaluation.report.wording import LABELS, definition_of, task_label

if TYPE_CHECKING:
    import pandas

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(
    folder: str | Path,
    transcripts: str | Path | Sequence[str | Path],
    out: str | Path,
    first: str | None = None,
    second: str | None = None,
) -> Path:
    """Write the report of two runs that answered the items of a folder, whole or not at all, and return its path.

    Args:
        folder: of ``items.jsonl`` and its media.
        first: a run's name; may be omitted if there are two runs.

    Raises:
        CourseError: as `scoring.score_runs`; other than two runs and none named; a run that is not there; a
            medium that cannot be read or lies outside the folder; a file that cannot be written.
    """
    scored = scoring.score_runs(folder, transcripts)
    first, second = choose_runs(scored, first, second)
    scored = [answer for answer in scored if answer.run in (first, second)]
    comparison = scoring.compare(scored, first, second)
    text = render_report(Path(folder), scored, comparison, find_confounds(scored), (first, second))
    out = Path(out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode(errors="xmlcharrefreplace").decode())
    return out


def choose_runs(scored: Sequence[Scored], first: str | None, second: str | None) -> tuple[str, str]:
    """The two runs to compare, in the order of their first transcripts where they are not named.

    Raises:
        CourseError: a name that is not there, the same twice, or no telling which two are meant.
    """
    runs = list(dict.fromkeys(answer.run for answer in scored))
    names = ", ".join(runs) or "none"
    for wanted in (first, second):
        if wanted is not None and wanted not in runs:
            raise CourseError(f"There is no run '{wanted}' in the transcripts.", "a misspelt name", f"there: {names}")
    rest = [run for run in runs if run not in (first, second)]
    if (first is None) + (second is None) != len(rest) and None in (first, second):
        raise CourseError(
            f"A report compares two runs, and the transcripts hold {len(runs)}: {names}.",
            "" if len(runs) > 2 else "one model has not been asked yet",
            "name two with --first and --second" if len(runs) > 2 else "ask the other: python -m course evaluate run",
        )
    first = first or rest.pop(0)
    second = second or rest.pop(0)
    if first == second:
        raise CourseError(f"'{first}' cannot be compared with itself.", "", f"name two of: {names}")
    return first, second


def render_report(
    folder: Path,
    scored: Sequence[Scored],
    comparison: pandas.DataFrame,
    confounds: Sequence[str],
    runs: tuple[str, str],
) -> str:
    """The page as text, from what `scoring` found of the two runs. The same input gives the same text.

    Raises:
        CourseError: a medium that cannot be read, or that lies outside the folder.
    """
    rows = [comparison_row(row) for row in comparison.to_dict("records")]
    entries, media = item_entries(folder, scored, runs)
    return render(
        TEMPLATE,
        filters={"digest": _digest},
        finalize=lambda value: visible(value) if type(value) is str else value,  # names come from files and servers too
        runs=[run_facts(name, label, scored) for name, label in zip(runs, LABELS, strict=True)],
        items=entries,
        media={
            key: {"width": small.width, "height": small.height, "caption": visible(small.caption)}
            for key, small in media.items()
        },
        urls={key: [small.url, small.video] for key, small in media.items()},
        tasks={task: task_label(task) for task in dict.fromkeys(answer.task for answer in scored)},
        rows=rows,
        findings=list(findings(rows)),
        scale=axis_scale(rows),
        bars=[claim_bars(name, scored) for name in runs],
        measures={row["measure"].name: row["measure"] for row in rows},
        definitions={row["measure"].name: definition_of(row["measure"].name) for row in rows},
        confounds=list(confounds),
    )


def _digest(text: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

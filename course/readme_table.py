"""The README's table of the course and its map, written from the manifest."""

from __future__ import annotations

import html
import re
from pathlib import Path

from course.course_map import MAP_FILE, course_map
from course.manifest import Manifest, load_manifest
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, write_whole

README_FILE = COURSE_ROOT / "README.md"
TABLE_START = "<!-- course-table:start -->"
TABLE_END = "<!-- course-table:end -->"


def readme_table(manifest: Manifest) -> str:
    """The course as a Markdown table, without a trailing newline."""
    heads = ["", "notebook", "afterwards you can", "your minutes (estimated)", "Run All (CPU / GPU)", "needs"]
    rows = [f"|{'|'.join(f' {head} ' if head else ' ' for head in heads)}|", "|" + " --- |" * len(heads)]
    for entry in manifest.notebooks:
        minutes = (f"{value:g}" if value else "not measured" for value in (entry.minutes.cpu, entry.minutes.gpu))
        cells = [
            entry.label,
            f"[{_escaped(entry.title)}](notebooks/{entry.file})",
            _escaped(entry.you_can),
            str(entry.learner_minutes),
            " / ".join(minutes),
            _escaped("; ".join(entry.needs) or "nothing more"),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _escaped(text: str) -> str:
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
            "a marker is missing or occurs twice",
            f"keep one line {TABLE_START} and, below it, one line {TABLE_END}",
        )
    return f"\n{readme_table(manifest)}\n".join((parts[0] + TABLE_START, TABLE_END + parts[1]))


def update_readme(
    *, write: bool, readme: Path = README_FILE, manifest: Path | None = None, map_file: Path = MAP_FILE
) -> bool:
    """Compare the README's table, and the map, with the manifest and, if ``write``, update them.

    Returns:
        True if both were up to date.
    """
    loaded = load_manifest(manifest)
    old = {path: path.read_text(encoding="utf-8") if path.is_file() else "" for path in (readme, map_file)}
    new = {readme: readme_with_table(old[readme], loaded), map_file: course_map(loaded)}
    for path, text in new.items():
        if write and text != old[path]:
            write_whole(path, text)
    return new == old

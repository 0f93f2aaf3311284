"""The course as a map: its parts as columns, chapters as boxes, drawn from the manifest as SVG."""

from __future__ import annotations

import html
import itertools
import textwrap

from course.manifest import Manifest, NotebookEntry
from helpers.drawings import COLOURS
from helpers.files import COURSE_ROOT

MAP_FILE = COURSE_ROOT / "docs" / "course-map.svg"
#: Part of the course → its heading and its colour.
PARTS = {
    part: (heading, colour)
    for part, heading, colour in zip(
        ("prepare", "ask", "measure", "deploy", "build"),
        ("Prepare", "Ask", "Measure", "Deploy", "Build and train"),
        ("#5b6770", *COLOURS),
        strict=True,
    )
}
WIDTH, HEIGHT, GAP, TOP, MARGIN = 190, 92, 26, 58, 16


def course_map(manifest: Manifest) -> str:
    """The map as SVG with a white background of its own, so that it can be read on any page."""
    columns = [
        (heading, colour, [entry for entry in manifest.notebooks if entry.part == part])
        for part, (heading, colour) in PARTS.items()
    ]
    parts = []
    for number, (heading, colour, entries) in enumerate(columns):
        x = MARGIN + number * (WIDTH + GAP)
        parts.append(f'<text x="{x + 2}" y="38" class="part" style="fill: {colour}">{number + 1} · {heading}</text>')
        boxes = [(entry, TOP + row * (HEIGHT + GAP)) for row, entry in enumerate(entries)]
        parts += [_box(entry, x, y, colour) for entry, y in boxes]
        parts += [_arrow(x + WIDTH / 2, y + HEIGHT, colour) for (_, y), _ in itertools.pairwise(boxes)]
    width = 2 * MARGIN + len(columns) * (WIDTH + GAP) - GAP
    rows = max(len(entries) for _, _, entries in columns)
    height = TOP + rows * (HEIGHT + GAP) - GAP + MARGIN
    alt = "Map of the course. " + " ".join(
        f"{heading}: {', '.join(f'{entry.label} {entry.title}' for entry in entries)}."
        for heading, _, entries in columns
    )
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-label="{html.escape(alt)}">
<style>
  text {{ font: 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b2530; }}
  .part {{ font-size: 15px; font-weight: 600; }} .label {{ font-weight: 600; }}
  .soft {{ font-size: 12px; fill: #52606d; }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#fff"/>
{body}
</svg>
"""


def _box(entry: NotebookEntry, x: float, y: float, colour: str) -> str:
    lines = textwrap.wrap(f"{entry.label} · {entry.title}", 20)
    about = [f"{entry.learner_minutes} min"] + [f"uses {', '.join(entry.builds_on)}"] * bool(entry.builds_on)
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#f7f8fa" stroke="{colour}"/>',
            f'<rect x="{x}" y="{y}" width="6" height="{HEIGHT}" rx="3" fill="{colour}"/>',
            *(
                f'<text x="{x + 16}" y="{y + 24 + 19 * row}" class="label">{html.escape(line)}</text>'
                for row, line in enumerate(lines)
            ),
            f'<text x="{x + 16}" y="{y + HEIGHT - 11}" class="soft">{" · ".join(about)}</text>',
        ]
    )


def _arrow(x: float, y: float, colour: str) -> str:
    """From the lower edge of a box to the next one."""
    return f'<path d="M{x} {y + 4}V{y + GAP - 8}m-5 -5 5 6 5 -6" fill="none" stroke="{colour}" stroke-width="2"/>'

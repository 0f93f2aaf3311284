"""The course as a map: its parts as columns, chapters as boxes, drawn from the manifest as SVG."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from course.manifest import Manifest
from helpers.drawings import COLOURS
from helpers.files import COURSE_ROOT
from helpers.templates import render

MAP_FILE = COURSE_ROOT / "docs" / "course-map.svg"
TEMPLATE = Path(__file__).with_name("course_map.svg.j2")
#: Part of the course → its heading.
PARTS = {"prepare": "Prepare", "ask": "Ask", "measure": "Measure", "deploy": "Deploy", "build": "Build and train"}
SIZES: dict[str, Any] = {"box_width": 190, "box_height": 92, "gap": 26, "top": 58, "margin": 16}


def course_map(manifest: Manifest) -> str:
    """The map as SVG with a white background of its own, so that it can be read on any page."""
    parts = [
        {
            "heading": heading,
            "colour": colour,
            "entries": [entry for entry in manifest.notebooks if entry.part == part],
        }
        for (part, heading), colour in zip(PARTS.items(), ("#5b6770", *COLOURS), strict=True)
    ]
    rows, gap, margin = max(len(part["entries"]) for part in parts), SIZES["gap"], SIZES["margin"]
    return render(
        TEMPLATE,
        filters={"title_lines": lambda entry: textwrap.wrap(f"{entry.label} · {entry.title}", 20)},
        parts=parts,
        width=2 * margin + len(parts) * (SIZES["box_width"] + gap) - gap,
        height=SIZES["top"] + rows * (SIZES["box_height"] + gap) - gap + margin,
        **SIZES,
    )

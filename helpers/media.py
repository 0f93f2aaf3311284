"""Pictures beside texts in a notebook."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any


def beside(pictures: Path | list[Path], text: str, *, width: int = 220) -> Any:
    """An HTML display of one or more picture files with a text at their right.

    Args:
        pictures: PNG or JPEG files; they are embedded, so that the notebook stays whole without them.
        text: shown as written; markup in it has no effect.
        width: of each picture, in CSS pixels.
    """
    from IPython.display import HTML

    files = [pictures] if isinstance(pictures, Path) else pictures
    images = "".join(
        f'<img width="{width}" alt="{html.escape(file.name)}" src="data:image/{_kind(file)};base64,{_encoded(file)}">'
        for file in files
    )
    style = "display:flex;gap:1em;align-items:center;white-space:pre-line"
    return HTML(f'<div style="{style}">{images}<div style="max-width:36em">{html.escape(text)}</div></div>')


def _kind(file: Path) -> str:
    return "jpeg" if file.suffix.lower() in (".jpg", ".jpeg") else file.suffix.lower().lstrip(".")


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()

"""An executed notebook as a page to read: one HTML file that asks no other host for anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.files import write_whole

if TYPE_CHECKING:
    from nbconvert.exporters import HTMLExporter
    from nbformat import NotebookNode

TEMPLATE = Path(__file__).with_name("notebook_page.html.j2")
#: Relative addresses in the page's tags.
_ADDRESS = re.compile(r'(<[a-z][^<>]*\s(?:href|src)=")(?!#|/|[a-z]+:)([^"#]+)')
#: pandas' corner of a table is no heading of anything.
_EMPTY_HEADING = re.compile(r'<th((?: class="[^"]*")?)\s*>(?:&nbsp;|\s)*</th>')


def write_page(notebook: Path, folder: Path) -> str | None:
    """Write the page beside an executed notebook and return its file name; None, and no page, if that fails.

    Args:
        notebook: the file.
        folder: where the notebook came from, from which its links count. Those to other notebooks lead to their pages.
    """
    page = notebook.with_suffix(".html")
    try:
        write_whole(page, page_of(notebook, folder))
    except Exception:  # a page less must not make a notebook fail that has passed
        page.unlink(missing_ok=True)
        return None
    return page.name


def page_of(notebook: Path, folder: Path) -> str:
    import nbformat

    content = nbformat.read(notebook, 4)
    title = next((cell.source.splitlines()[0].lstrip("# ") for cell in content.cells if cell.source), notebook.stem)
    for image, alt in described_images(content):
        image["alt"] = alt
    html, _ = _exporter().from_notebook_node(content, {"metadata": {"path": str(folder), "name": title}})
    way = os.path.relpath(folder, notebook.parent)

    def moved(found: re.Match[str]) -> str:
        tag, address = found.groups()
        if (folder / address).is_file() and address.endswith(".ipynb"):
            return f"{tag}{address.removesuffix('.ipynb')}.html"
        return tag + os.path.normpath(f"{way}/{address}")

    return _EMPTY_HEADING.sub(r"<td\1></td>", _ADDRESS.sub(moved, html))


def described_images(notebook: NotebookNode) -> Iterator[tuple[dict[str, Any], str]]:
    """(metadata of an image among the outputs, what it shows) of all that the cells' own metadata describe.

    A cell's ``alt`` holds a text for each of its images, in order.
    """
    for cell in notebook.cells:
        outputs = [output for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
        for output, text in zip(outputs, cell.metadata.get("alt", ()), strict=False):
            yield output.metadata.setdefault("image/png", {}), text


@lru_cache(maxsize=1)
def _exporter() -> HTMLExporter:
    from nbconvert.exporters import HTMLExporter

    exporter = HTMLExporter(template_name="lab", extra_template_paths=[str(TEMPLATE.parent)], embed_images=True)
    exporter.template_file = TEMPLATE.name
    return exporter

"""Pages as Qwen3-VL writes them out: the answers to the prompts ``qwenvl html`` and ``qwenvl markdown``.

In HTML an element carries ``data-bbox="left top right bottom"``, in thousandths of the page. In Markdown a comment
``<!-- Image (left, top, right, bottom) -->`` stands for an image or in front of a table, which is LaTeX. Other models,
and this one when asked in other words, write HTML without boxes, and tables of Markdown or HTML: they are read, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from toolkit.grounding.objects import Box, Found, Reading, finite

_FENCE = re.compile(r"^\s*```\w*\s*\n|\n?```\s*$")
_HTML = re.compile(r"<(?:html|body|div|p|h\d|ol|ul|img)\b|data-bbox", re.IGNORECASE)
_BLOCKS = {"h1", "h2", "h3", "h4", "h5", "h6", "p", "table", "ol", "ul", "img", "pre", "blockquote"}
_COMMENT = re.compile(r"<!--\s*(\w+)\s*\(([^)]*)\)\s*-->")
_VOID = {"img", "br", "hr", "input", "meta", "col", "link", "wbr"}
_BOLD = re.compile(r"(\*\*|__)(?=\S)(.+?)\1")
_RULE = re.compile(r"\|?(?:\s*:?-+:?\s*\|)+\s*(?::?-+:?)?")
_LATEX = re.compile(r"\\(?:begin|end)\{\w+\*?\}(?:\{[^}]*\})?|\\hline|\\(?:top|mid|bottom)rule")


def read_layout(answer: str) -> Reading:
    """The elements of a page in reading order: `Found` with kind (label), box in thousandths, text, and a table's rows.

    In HTML, the elements that carry a box, whose text includes that of elements inside; where none does, headings,
    paragraphs, lists and tables. In Markdown, each paragraph; only images and tables have boxes there. A box that is
    not four numbers is left out, and the element stays.
    """
    text = _FENCE.sub("", _FENCE.sub("", answer.rpartition("</think>")[2]))
    return _read_html(text) if _HTML.search(text) else _read_markdown(text)


@dataclass
class _Open:
    """An element whose end has not come yet."""

    tag: str
    label: str
    place: int | None
    """Among the elements with boxes; None if it has none."""
    words: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


class _Page(HTMLParser):
    def __init__(self, has_boxes: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.has_boxes = has_boxes
        self.open: list[_Open] = []
        self.found: list[Found | None] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        label, place = (given.get("class") or tag).strip(), None
        if "data-bbox" in given:
            box = _box(given["data-bbox"] or "", label, self.problems)
            place = len(self.found)
            self.found.append(Found(label, box))
        elif not self.has_boxes and tag in _BLOCKS and not any(outer.tag in _BLOCKS for outer in self.open):
            place = len(self.found)
            self.found.append(Found(label))
        if tag not in _VOID:
            self.open.append(_Open(tag, label, place))

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if any(element.tag == tag for element in self.open):
            while self._close() != tag:
                pass

    def _close(self) -> str:
        element = self.open.pop()
        words = " ".join("".join(element.words).split())
        table = next((outer for outer in reversed(self.open) if outer.tag == "table"), None)
        if table and element.tag == "tr":
            table.rows.append([])
        elif table and element.tag in ("td", "th"):
            self._cell(table, words)
        if element.place is not None and (found := self.found[element.place]):
            rows = tuple(tuple(row) for row in element.rows if row)
            self.found[element.place] = Found(found.label, found.box, text=words, rows=rows)
        return element.tag

    @staticmethod
    def _cell(table: _Open, words: str) -> None:
        if not table.rows:
            table.rows.append([])
        table.rows[-1].append(words)

    def close(self) -> None:
        super().close()
        if self.open:
            self.problems.append("cut off")
        while self.open:
            self._close()


def _read_html(text: str) -> Reading:
    page = _Page("data-bbox" in text)
    page.feed(text)
    page.close()
    return Reading(tuple(found for found in page.found if found), tuple(page.problems))


def _read_markdown(text: str) -> Reading:
    found: list[Found] = []
    problems: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        marks = list(_COMMENT.finditer(block))
        words = _BOLD.sub(r"\2", _COMMENT.sub("", block)).strip()
        boxes = [(mark[1].lower(), _box(mark[2], mark[1].lower(), problems)) for mark in marks]
        rows = _table_rows(words)
        if words and (not boxes or boxes[-1][0] != "table") and not rows:
            heading = re.match(r"#{1,6}\s+", words)
            found += [Found(kind, box) for kind, box in boxes]
            found.append(Found("heading" if heading else "text", text=words[heading.end() :] if heading else words))
        elif words:
            *images, (_, box) = boxes or [("table", None)]
            found += [Found(kind, inner) for kind, inner in images]
            found.append(Found("table", box, text=words, rows=rows or _latex_rows(words)))
        else:
            found += [Found(kind, box) for kind, box in boxes]
    return Reading(tuple(found), tuple(problems))


def _table_rows(words: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a table in LaTeX, Markdown or HTML; none if the words are no table."""
    lines = [line.strip() for line in words.splitlines()]
    if "\\begin{tabular" in words:
        return _latex_rows(words)
    if len(lines) > 1 and _RULE.fullmatch(lines[1]):
        rows = (line.strip("|").split("|") for line in (lines[0], *lines[2:]))
        return tuple(tuple(cell.strip() for cell in row) for row in rows)
    return next((found.rows for found in _read_html(words).objects if found.rows), ()) if "<table" in words else ()


def _latex_rows(words: str) -> tuple[tuple[str, ...], ...]:
    lines = (line.strip() for line in _LATEX.sub("", words).split("\\\\"))
    return tuple(tuple(cell.strip() for cell in line.split("&")) for line in lines if line)


def _box(written: str, label: str, problems: list[str]) -> Box | None:
    try:
        values = finite([float(number) for number in re.split(r"[\s,]+", written.strip())])
    except ValueError:
        values = None
    if values is None or len(values) != 4:
        problems.append(f"'{label}': not 4 finite numbers")
        return None
    left, top, right, bottom = values
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)

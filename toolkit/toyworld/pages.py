"""Pages with a layout: a title, headings, paragraphs, a table and a form, in one column or in two.

The reference answer is the page in the form of Qwen3-VL's prompt ``qwenvl html``: the elements in reading order, each
with ``data-bbox``, left, top, right and bottom in thousandths of the page. In two columns the left one is read first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from html import escape
from typing import Any

from PIL import Image, ImageDraw

from toolkit.toyworld.items import Question
from toolkit.toyworld.receipt_drawing import font
from toolkit.toyworld.receipts import GOODS, SHOPS
from toolkit.toyworld.world import WORLD

TASKS = ("page",)
HTML = "qwenvl html"
WIDTH, HEIGHT = 768, 896
MARGIN, GUTTER, GAP = 48, 36, 20
#: Pixels per em.
SIZES = {"h1": 34, "h2": 24, "p": 18, "table": 17, "form": 17}
_WORDS: dict[str, Any] = WORLD["pages"]
_INK, _RULE = (28, 30, 36), (120, 124, 132)


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """What stands on a page: ``columns`` (1 or 2), ``typeface``, and ``blocks`` in reading order.

    A block has a ``tag`` and either ``text`` (``h1``, ``h2``, ``p``) or ``rows`` of cells (``table``, ``form``).
    Difficulty 1 has a title and a paragraph, 2 one column with a table, 3 everything.
    """
    blocks = [{"tag": "h1", "text": rng.choice(_WORDS["titles"])}, _paragraph(rng)]
    if difficulty > 1:
        headings = rng.sample(_WORDS["headings"], 3)
        blocks += [{"tag": "h2", "text": headings[0]}, _paragraph(rng), _table(rng)]
        blocks += [{"tag": "h2", "text": headings[1]}, _paragraph(rng)]
    if difficulty > 2:
        names = rng.sample(_WORDS["fields"], rng.randint(2, 4))
        blocks += [{"tag": "h2", "text": headings[2]}]
        blocks += [{"tag": "form", "rows": [[f"{name}:", ""] for name in names]}]
    columns = rng.choice((1, 2)) if difficulty > 2 else 1
    return {"columns": columns, "typeface": rng.choice(("sans", "serif")), "blocks": blocks}


def _paragraph(rng: random.Random) -> dict[str, Any]:
    chosen = rng.sample(_WORDS["sentences"], rng.randint(2, 3))
    filled = (
        sentence.format(shop=rng.choice(SHOPS), good=rng.choice(GOODS).lower(), number=rng.randint(4, 29))
        for sentence in chosen
    )
    return {"tag": "p", "text": " ".join(filled)}


def _table(rng: random.Random) -> dict[str, Any]:
    header = rng.choice(_WORDS["columns"])
    rows = []
    for good in rng.sample(GOODS, rng.randint(3, 5)):
        number, price = str(rng.randint(1, 60)), f"{rng.randint(1, 19)}.{rng.randint(0, 99):02d}"
        rows.append([good, number, price] if len(header) == 3 else [good, price])
    return {"tag": "table", "rows": [list(header), *rows]}


def elements(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The blocks with ``box``, (left, top, right, bottom) in thousandths, and ``lines`` of text as they are set."""
    return [
        block
        | {
            "lines": lines,
            "box": tuple(round(1000 * edge / side) for edge, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True)),
        }
        for block, lines, box in _set(facts)
    ]


def _set(facts: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str], tuple[float, float, float, float]]]:
    """Each block with its lines and its place in pixels; the title goes across, what follows into the columns."""
    title, *rest = facts["blocks"]
    whole = WIDTH - 2 * MARGIN
    lines, height = _measure(title, facts["typeface"], whole)
    yield title, lines, (MARGIN, MARGIN, WIDTH - MARGIN, MARGIN + height)
    top = MARGIN + height + GAP
    width = (whole - GUTTER * (facts["columns"] - 1)) / facts["columns"]
    measured = [(block, *_measure(block, facts["typeface"], width)) for block in rest]
    half = sum(height + GAP for *_, height in measured) / facts["columns"]
    left, y = float(MARGIN), float(top)
    for place, (block, lines, height) in enumerate(measured):
        # A heading stays with what it heads.
        kept = measured[place + 1][2] if block["tag"] == "h2" and place + 1 < len(measured) else 0
        if left == MARGIN and facts["columns"] > 1 and y - top + (height + kept) / 2 > half:
            left, y = MARGIN + width + GUTTER, float(top)
        yield block, lines, (left, y, left + width, y + height)
        y += height + GAP


def _measure(block: dict[str, Any], typeface: str, width: float) -> tuple[list[str], int]:
    """The lines of a text, broken to the width, and the height of the block in pixels."""
    tag = block["tag"]
    if "rows" in block:
        return [], len(block["rows"]) * 2 * SIZES[tag]
    face, lines = font(typeface, tag != "p", SIZES[tag]), [""]
    for word in block["text"].split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines, round(len(lines) * 1.4 * SIZES[tag])


def draw(facts: dict[str, Any], seed: int) -> Image.Image:
    """The page as an RGB image of 768 × 896 pixels."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (254, 253, 250))
    pen = ImageDraw.Draw(image)
    for block, lines, (left, top, right, bottom) in _set(facts):
        size = SIZES[block["tag"]]
        face = font(facts["typeface"], block["tag"] in ("h1", "h2"), size)
        for number, line in enumerate(lines):
            pen.text((left, top + (number * 1.4 + 1.05) * size), line, _INK, face, anchor="ls")
        for number, row in enumerate(block.get("rows", ())):
            _draw_row(
                pen, block["tag"], row, (left, top + number * 2 * size, right, top + (number + 1) * 2 * size), face
            )
        if block["tag"] == "table":
            pen.rectangle((left, top, right, bottom), outline=_RULE)
    return image


def _draw_row(pen: ImageDraw.ImageDraw, tag: str, row: list[str], box: tuple[float, ...], face: Any) -> None:
    left, top, right, bottom = box
    width, baseline = (right - left) / len(row), bottom - (bottom - top) * 0.3
    for place, cell in enumerate(row):
        start = left + place * width
        pen.text((start + 8 * (tag == "table"), baseline), cell, _INK, face, anchor="ls")
        if tag == "table" and place:
            pen.line((start, top, start, bottom), _RULE)
        if tag == "form" and place:
            pen.rectangle((start, top + 4, right, bottom - 4), outline=_RULE)
    if tag == "table":
        pen.line((left, bottom, right, bottom), _RULE)


def html_of(facts: dict[str, Any]) -> str:
    """The page as ``qwenvl html`` has it; a form is a table of labels and empty cells with the class ``form``."""
    written = []
    for element in elements(facts):
        place = 'data-bbox="{} {} {} {}"'.format(*element["box"])
        if "rows" not in element:
            written.append(f"<{element['tag']} {place}>{escape(element['text'], quote=False)}</{element['tag']}>")
            continue
        kind = ' class="form"' if element["tag"] == "form" else ""
        rows = ("".join(f"<td>{escape(cell, quote=False)}</td>" for cell in row) for row in element["rows"])
        written.append(f"<table{kind} {place}>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    return "<html><body>\n" + "\n".join(written) + "\n</body></html>"


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """The prompt that Qwen3-VL knows for whole pages, and nothing else."""
    return [Question("page", HTML, (html_of(facts),))]

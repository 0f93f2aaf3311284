"""Receipts: a shop, a date, what was bought, tax and total, printed in large type on a strip of paper.

The facts are drawn first (`make_facts`); the lines to print (`lines_of`) and the answers follow from them, and the
picture (`draw`) prints exactly those lines. What does not change the text, such as the typeface, the rules, the table
under the paper, the angle and the folds, is no fact and follows the seed.

The type is large because a vision tower with 16-pixel patches has to read it: 18 pixels per em and more, on pictures
256 pixels wide. The typefaces are the DejaVu family that comes with matplotlib.
"""

from __future__ import annotations

import importlib.util
import json
import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFont

from helpers.errors import CourseError
from toolkit.toyworld.items import Item, Question, item_about

TASKS = ("receipt", "receipt_total", "receipt_json")
READ = "Read all the text on this receipt."
TOTAL = "What is the total?"
AS_JSON = "Read this receipt as JSON."

#: Pixels. Pictures are as high as their text needs, in steps of ``STEP`` (two merged patches of 16).
WIDTH, SHORTEST, TALLEST, STEP = 256, 64, 384, 32
#: Smallest type by difficulty, in pixels per em.
SMALLEST_TYPE = {1: 22, 2: 22, 3: 18}
MOST_DEGREES = 2.0
SUPERSAMPLE = 2

SHOPS = (
    "Blue Door", "Book Nook", "Corner Shop", "Farm Stand", "Garden Deli", "Harbour Cafe",
    "Moon Market", "North Pier", "Old Mill", "Park Kiosk", "River Store", "Sun Bakery",
)  # fmt: skip
GOODS = (
    "Apple", "Bread", "Butter", "Candle", "Carrot", "Cheese", "Coffee", "Cookie",
    "Eggs", "Grapes", "Honey", "Juice", "Lemon", "Milk", "Muffin", "Onion",
    "Pear", "Pencil", "Rice", "Salad", "Soap", "Soup", "Tea", "Yoghurt",
)  # fmt: skip
TYPEFACES = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "bold": ("DejaVuSans-Bold.ttf", "DejaVuSans-Bold.ttf"),
    "mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
}
TAX_PERCENT = 8
_DEAREST_LINE = 1999  # cents

_PRICED = re.compile(r"(?P<left>.+) (?P<price>\d+\.\d\d)")
_DIFFICULTY = {"strip": 1, "small": 2, "whole": 3}


# ---------------------------------------------------------------- facts and words


def make_item(seed: int, difficulty: int = 3) -> Item:
    """A receipt with the request to read all of it."""
    rng = random.Random(f"receipt-{seed}")
    facts = make_facts(rng, difficulty)
    return item_about("receipt", seed, facts, questions(facts, rng)[0], f"receipt-{seed}.png", draw(facts, seed))


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """What is printed; amounts are strings with two decimals, as printed.

    - Difficulty 1, ``{"form": "strip", "lines": [...]}``: one or two lines torn from a receipt, and nothing else.
    - Difficulty 2, ``"form": "small"``: ``shop``, one or two ``items`` and ``total``.
    - Difficulty 3, ``"form": "whole"``: ``shop``, ``date``, one to four ``items``, ``tax`` and ``total``, with
      ``date_at`` (``"top"`` or ``"bottom"``).

    An item is ``{"name", "quantity", "price"}``; its price is that of the line, quantity times the price of one. The
    prices and the tax add up to the total. ``ones`` says whether a quantity of 1 is printed.
    """
    if difficulty == 1:
        lines = lines_of(_whole(rng, rng.choice((1, 1, 2))))
        count = rng.choice((1, 2))
        start = rng.randrange(len(lines) - count + 1)
        return {"form": "strip", "lines": lines[start : start + count]}
    if difficulty == 2:
        facts = _whole(rng, rng.choice((1, 2)))
        total = sum(_cents(item["price"]) for item in facts["items"])
        kept = {key: facts[key] for key in ("shop", "items", "ones")}
        return {"form": "small", **kept, "total": _amount(total)}
    return _whole(rng, rng.choices((1, 2, 3, 4), weights=(2, 4, 4, 3))[0])


def _whole(rng: random.Random, count: int) -> dict[str, Any]:
    items, cents = [], []
    for name in rng.sample(GOODS, count):
        quantity = rng.choices((1, 2, 3, 4), weights=(6, 3, 2, 1))[0]
        # Half of the shops' prices end in 0 or 5, the others in any digit.
        most = min(999, _DEAREST_LINE // quantity)
        one = rng.randint(10, most // 5) * 5 if rng.random() < 0.5 else rng.randint(50, most)
        cents.append(quantity * one)
        items.append({"name": name, "quantity": quantity, "price": _amount(cents[-1])})
    tax = (sum(cents) * TAX_PERCENT + 50) // 100
    return {
        "form": "whole",
        "shop": rng.choice(SHOPS),
        "date": f"{rng.randint(2024, 2027)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        "date_at": rng.choice(("top", "top", "bottom")),
        "items": items,
        "ones": rng.random() < 0.5,
        "tax": _amount(tax),
        "total": _amount(sum(cents) + tax),
    }


def _amount(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _cents(amount: str) -> int:
    return int(amount.replace(".", ""))


def lines_of(facts: dict[str, Any]) -> list[str]:
    """Every printed line from top to bottom, with one blank between what stands left and what stands right."""
    return [text for _, text in _roles_and_lines(facts)]


def text_of(facts: dict[str, Any]) -> str:
    """All the text: the printed lines, one per line."""
    return "\n".join(lines_of(facts))


def _roles_and_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of every printed line; the role decides how it is set."""
    if facts["form"] == "strip":
        return [("item", line) for line in facts["lines"]]
    lines = [("shop", facts["shop"])]
    date_at = facts.get("date_at")
    if date_at == "top":
        lines.append(("date", facts["date"]))
    for item in facts["items"]:
        counted = f"{item['quantity']} x " if facts["ones"] or item["quantity"] > 1 else ""
        lines.append(("item", f"{counted}{item['name']} {item['price']}"))
    if "tax" in facts:
        lines.append(("tax", f"Tax {facts['tax']}"))
    lines.append(("total", f"TOTAL {facts['total']}"))
    if date_at == "bottom":
        lines.append(("date", facts["date"]))
    return lines


def facts_as_json(facts: dict[str, Any]) -> str:
    """The receipt as JSON of `json_schema`, on one line; a date or tax that is not printed is left out.

    Raises:
        CourseError: a strip, which has no shop, items and total to state.
    """
    if facts["form"] == "strip":
        raise CourseError(
            "A strip of a receipt has no JSON.", "it shows one or two lines only", "use difficulty 2 or 3"
        )
    return json.dumps({key: facts[key] for key in ("shop", "date", "items", "tax", "total") if key in facts})


def json_schema() -> dict[str, Any]:
    """The form of the JSON answers: amounts are strings with two decimals, an item's price is that of its line."""
    amount = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2}$"}
    item = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "quantity": {"type": "integer", "minimum": 1},
            "price": amount,
        },
        "required": ["name", "quantity", "price"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "shop": {"type": "string"},
            "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            "items": {"type": "array", "items": item, "minItems": 1},
            "tax": amount,
            "total": amount,
        },
        "required": ["shop", "items", "total"],
        "additionalProperties": False,
    }


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """To read all of it, and unless it is a strip, to give the total and to read it as JSON."""
    asked = [Question("receipt", READ, (text_of(facts),))]
    if facts["form"] != "strip":
        total = facts["total"]
        asked.append(Question("receipt_total", TOTAL, (total, f"{total}.", f"The total is {total}.")))
        asked.append(Question("receipt_json", AS_JSON, (facts_as_json(facts),)))
    return asked


# ---------------------------------------------------------------- the look


@dataclass(frozen=True)
class _Look:
    """How a receipt is set and shown. Lengths in pixels of the finished picture."""

    typeface: str
    size: int
    pitch: int
    heading: str
    columns: str
    rule: str
    total: str
    edge: str
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    table: str
    degrees: float
    noise: int
    folds: int


_PAPERS = ((252, 251, 247), (248, 245, 235), (244, 246, 248), (250, 243, 232))
_INKS = ((26, 26, 30), (30, 34, 66), (52, 34, 56), (44, 44, 46))
_TABLES = {
    "oak": ((186, 142, 96), (160, 116, 74)),
    "walnut": ((112, 78, 56), (92, 62, 44)),
    "cloth": ((188, 72, 66), (226, 198, 188)),
    "slate": ((88, 98, 110), (80, 90, 102)),
    "green": ((92, 132, 110), (82, 122, 100)),
}


def _look(facts: dict[str, Any], rng: random.Random) -> _Look:
    difficulty = _DIFFICULTY[facts["form"]]
    typeface = rng.choice(tuple(TYPEFACES))
    largest = {1: 28, 2: 24, 3: 21}[difficulty]
    room = _room(difficulty)
    size = rng.randint(SMALLEST_TYPE[difficulty] + 1, largest)
    # A long line in a wide typeface may need the smallest type.
    while size > SMALLEST_TYPE[difficulty] and any(
        _font(typeface, False, size * SUPERSAMPLE).getlength(line) + size * 0.4 * SUPERSAMPLE > room * SUPERSAMPLE
        for line in lines_of(facts)
    ):
        size -= 1
    whole = difficulty == 3
    return _Look(
        typeface=typeface,
        size=size,
        pitch=round(size * rng.uniform(1.42, 1.6)),
        heading=rng.choice(("centred", "left", "banner")) if whole else rng.choice(("centred", "left")),
        columns=rng.choice(("edges", "edges", "near", "centred") if difficulty == 1 else ("edges", "edges", "near")),
        rule=rng.choice(("solid", "dashed", "dotted", "double")) if whole else rng.choice(("solid", "dashed")),
        total=rng.choice(("plain", "heavy", "boxed")) if whole else "plain",
        edge=rng.choice(("straight", "torn")) if whole else "straight",
        paper=rng.choice(_PAPERS),
        ink=rng.choice(_INKS),
        table=rng.choice(tuple(_TABLES)),
        degrees=rng.uniform(-MOST_DEGREES, MOST_DEGREES) if whole else 0.0,
        noise=rng.choice((4, 7, 10)) if whole else 0,
        folds=rng.choice((0, 1, 1, 2)) if whole else 0,
    )


def _room(difficulty: int) -> int:
    """Width of the text, pixels: what the margins leave, which are wider where the paper is turned."""
    return WIDTH - 2 * {1: 12, 2: 14, 3: 24}[difficulty]


@lru_cache(maxsize=128)
def _font(typeface: str, heavy: bool, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout engine is part of every Pillow; the other one is not, and it spaces letters otherwise.
    path = _font_folder() / TYPEFACES[typeface][heavy]
    try:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        raise CourseError(
            f"The typeface {path.name} cannot be read.",
            "a matplotlib without its fonts",
            "install the course's packages again: make setup",
        ) from None


@lru_cache(maxsize=1)
def _font_folder() -> Path:
    # Looked up without importing matplotlib, which takes a second and is not needed.
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise CourseError(
            "Receipts need the DejaVu typefaces, which come with matplotlib.",
            "matplotlib is not installed",
            "run: make setup",
        )
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


# ---------------------------------------------------------------- typesetting


class _Sheet:
    """The ink on a receipt, set from top to bottom; ``y`` is where the next thing goes. Finished pixels."""

    def __init__(self, look: _Look, left: int, right: int):
        self.look, self.left, self.right, self.y = look, left, right, 0.0
        self.ink = Image.new("L", (WIDTH * SUPERSAMPLE, TALLEST * SUPERSAMPLE))
        self._pen = ImageDraw.Draw(self.ink)

    def write(self, text: str, where: str, heavy: bool = False, larger: int = 0, fill: int = 255) -> None:
        """One line. ``where`` is left, centred, edges (price at the right edge) or near (price beside the name)."""
        size = self.look.size + larger
        font = _font(self.look.typeface, heavy, size * SUPERSAMPLE)
        pitch = self.look.pitch + larger
        # The middle of a capital, 0.73 em high in this family, stands in the middle of the line.
        baseline = (self.y + pitch / 2 + size * 0.365) * SUPERSAMPLE
        left, right = self.left * SUPERSAMPLE, self.right * SUPERSAMPLE
        priced = _PRICED.fullmatch(text)
        if priced and where == "edges":
            self._pen.text((left, baseline), priced["left"], fill, font, anchor="ls")
            self._pen.text((right, baseline), priced["price"], fill, font, anchor="rs")
        elif where == "centred":
            self._pen.text(((left + right) / 2, baseline), text, fill, font, anchor="ms")
        else:
            self._pen.text((left, baseline), text, fill, font, anchor="ls")
        self.y += pitch

    def bar(self, height: float) -> None:
        """A dark bar behind the next line."""
        self._pen.rounded_rectangle(self._around(height, 6, 0), 4 * SUPERSAMPLE, fill=255)

    def frame(self, height: float) -> None:
        """A box around the next line."""
        self._pen.rounded_rectangle(self._around(height, 5, 1), 3 * SUPERSAMPLE, outline=255, width=2 * SUPERSAMPLE)

    def _around(self, height: float, wider: int, lower: int) -> list[float]:
        corners = (self.left - wider, self.y + lower, self.right + wider, self.y + height - lower)
        return [value * SUPERSAMPLE for value in corners]

    def rule(self) -> None:
        """A rule across the paper."""
        middle = round((self.y + 5) * SUPERSAMPLE)
        left, right = self.left * SUPERSAMPLE, self.right * SUPERSAMPLE
        long = right - left
        on, off = {"solid": (long, 0), "double": (long, 0), "dashed": (14, 9), "dotted": (4, 8)}[self.look.rule]
        for y in (middle - 4, middle + 3) if self.look.rule == "double" else (middle,):
            for start in range(left, right - on + 1, on + off):
                self._pen.rectangle([start, y - 1, start + on, y + 1], fill=200)
        self.y += 10


def _typeset(facts: dict[str, Any], look: _Look) -> tuple[Image.Image, int]:
    """The ink, supersampled on the tallest sheet, and the height in finished pixels that the text takes."""
    difficulty = _DIFFICULTY[facts["form"]]
    room = _room(difficulty)
    left = (WIDTH - room) // 2
    sheet = _Sheet(look, left, left + room)
    lines = _roles_and_lines(facts)
    if difficulty == 1:
        for _, text in lines:
            sheet.write(text, look.columns)
        return sheet.ink, round(sheet.y)
    for number, (role, text) in enumerate(lines):
        if role == "shop":
            larger = 3 if difficulty == 3 else 0
            heavy = difficulty == 3
            if look.heading == "banner":
                sheet.bar(look.pitch + larger)
                sheet.write(text, "centred", heavy, larger, fill=0)
                sheet.y += 3
            else:
                sheet.write(text, look.heading, heavy, larger)
        elif role == "date":
            sheet.write(text, "left" if look.heading == "left" else "centred")
        elif role == "total":
            sheet.rule()
            if look.total == "boxed":
                sheet.frame(look.pitch + 4)
                sheet.y += 2
            larger = 2 if look.total == "heavy" else 0
            sheet.write(text, "edges", heavy=look.total == "heavy", larger=larger)
            sheet.y += 4
        else:
            if role == "item" and lines[number - 1][0] != "item":
                sheet.rule()
            sheet.write(text, look.columns)
    return sheet.ink, round(sheet.y)


# ---------------------------------------------------------------- picture


def draw(facts: dict[str, Any], seed: int) -> Image.Image:
    """The receipt as an RGB picture, 256 pixels wide and 64 to 384 high; its look follows the seed."""
    rng = random.Random(f"receipt-look-{seed}")
    look = _look(facts, rng)
    paper, ink = _layers(facts, look, rng)
    if facts["form"] == "strip":
        picture = Image.new("RGB", paper.size, look.paper)
    else:
        picture = _table(look, paper.size, rng)
        picture.paste(tuple(value // 2 for value in _TABLES[look.table][1]), (2, 3), paper)
        picture.paste(look.paper, (0, 0), paper)
    picture.paste(look.ink, (0, 0), ink)
    return _worn(picture, look, paper, rng) if look.noise else picture


def _layers(facts: dict[str, Any], look: _Look, rng: random.Random) -> tuple[Image.Image, Image.Image]:
    """(paper, ink): where the paper lies and where it is printed, as masks of the finished picture's size."""
    ink, text_height = _typeset(facts, look)
    if facts["form"] == "strip":
        size = (WIDTH, _whole_steps(text_height))
        around = size[1] - text_height
        placing = _Placing(size, rng.randint(-4, 4), rng.randint(round(around * 0.3), round(around * 0.7)), 0)
        return Image.new("L", size, 255), placing.place(ink)
    margin, side = (8, 4) if facts["form"] == "small" else (12, 10)
    long = text_height + 2 * margin
    size = (WIDTH, _whole_steps(long + 8))
    top = rng.randint(4, size[1] - long - 4)
    outline = _Placing(size, 0, top, look.degrees).corners(_outline(look, side, long))
    paper = Image.new("L", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE))
    ImageDraw.Draw(paper).polygon([(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in outline], fill=255)
    return paper.reduce(SUPERSAMPLE), _Placing(size, 0, top + margin, look.degrees).place(ink)


def _whole_steps(height: int) -> int:
    return max(SHORTEST, math.ceil(height / STEP) * STEP)


def _outline(look: _Look, side: int, height: int) -> list[tuple[float, float]]:
    """Corners of the paper in finished pixels, from its own top; a torn edge is toothed."""
    if look.edge == "straight":
        return [(side, 0), (WIDTH - side, 0), (WIDTH - side, height), (side, height)]
    teeth = 20
    across = [side + (WIDTH - 2 * side) * step / (2 * teeth) for step in range(2 * teeth + 1)]
    depth = [4 * (step % 2) for step in range(2 * teeth + 1)]
    top = list(zip(across, depth, strict=True))
    return top + [(x, height - y) for x, y in reversed(top)]


@dataclass(frozen=True)
class _Placing:
    """Where a sheet goes on a picture of ``size``: moved ``right`` and ``down``, then turned about the middle."""

    size: tuple[int, int]
    right: int
    down: int
    degrees: float

    def place(self, sheet: Image.Image) -> Image.Image:
        """A supersampled sheet, at finished size."""
        if not self.degrees:
            left, top = -self.right * SUPERSAMPLE, -self.down * SUPERSAMPLE
            width, height = (side * SUPERSAMPLE for side in self.size)
            return sheet.crop((left, top, left + width, top + height)).reduce(SUPERSAMPLE)
        cosine, sine = self._turn()
        x, y = self.size[0] / 2, self.size[1] / 2
        back = [
            cosine,
            sine,
            x - cosine * x - sine * y - self.right,
            -sine,
            cosine,
            y + sine * x - cosine * y - self.down,
        ]
        # Bilinear sampling at half the size averages the four pixels around a point: it turns and smooths in one pass.
        return sheet.transform(
            self.size, Image.Transform.AFFINE, [SUPERSAMPLE * value for value in back], Image.Resampling.BILINEAR
        )

    def corners(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Points of the sheet, in finished pixels, on the picture."""
        cosine, sine = self._turn()
        x, y = self.size[0] / 2, self.size[1] / 2
        moved = [(across + self.right - x, along + self.down - y) for across, along in points]
        return [(cosine * dx - sine * dy + x, sine * dx + cosine * dy + y) for dx, dy in moved]

    def _turn(self) -> tuple[float, float]:
        return math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))


def _table(look: _Look, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """What the paper lies on."""
    base, other = _TABLES[look.table]
    picture = Image.new("RGB", size, base)
    pen = ImageDraw.Draw(picture)
    if look.table == "cloth":
        for x in range(rng.randrange(16), size[0], 16):
            pen.line([(x, 0), (x, size[1])], fill=other, width=5)
        for y in range(rng.randrange(16), size[1], 16):
            pen.line([(0, y), (size[0], y)], fill=other, width=5)
    else:
        for _ in range(14):
            x = rng.randrange(size[0])
            pen.line([(x, 0), (x + rng.randint(-8, 8), size[1])], fill=other, width=rng.randint(1, 3))
    return picture


#: A change of brightness is a grey picture whose 128 means none.
_UNCHANGED = 128


def _worn(picture: Image.Image, look: _Look, paper: Image.Image, rng: random.Random) -> Image.Image:
    """With the noise of a camera, and with folds across the paper."""
    grain = rng.randbytes(picture.width * picture.height).translate(_grain(look.noise))
    change = Image.frombytes("L", picture.size, grain)
    for fold in range(look.folds):
        place, slope = rng.uniform(0.2, 0.8), rng.uniform(-0.05, 0.05)
        # Each pixel takes the brightness of its distance from the fold; the second fold crosses the first.
        across = (slope, 1, 64 - place * picture.height) if fold == 0 else (1, slope, 64 - place * picture.width)
        crease = _crease().transform(
            picture.size, Image.Transform.AFFINE, (0, 0, 0, *across), Image.Resampling.NEAREST, fillcolor=_UNCHANGED
        )
        crease = Image.composite(crease, Image.new("L", picture.size, _UNCHANGED), paper)
        change = ImageChops.add(change, crease, offset=-_UNCHANGED)
    return ImageChops.add(picture, Image.merge("RGB", [change] * 3), offset=-_UNCHANGED)


@lru_cache(maxsize=16)
def _grain(noise: int) -> bytes:
    """For each value of a random byte, a change of brightness within ± ``noise``."""
    return bytes(_UNCHANGED - noise + byte * (2 * noise + 1) // 256 for byte in range(256))


@lru_cache(maxsize=1)
def _crease() -> Image.Image:
    """Changes of brightness by the distance from a fold, -64 … 63 pixels: light before it, in the shade behind it."""
    changes = [4 * math.exp(far / 8) if far < 0 else -26 * math.exp(-far / 14) for far in range(-64, 64)]
    return Image.frombytes("L", (1, 128), bytes(_UNCHANGED + round(change) for change in changes))

"""Receipts: a shop, a date, what was bought, tax and total, printed in large type on a strip of paper.

The facts are drawn first (`make_facts`); the printed lines (`lines_of`), the answers and the image (`draw`) follow.
What does not change the text, such as the typeface, the table and the folds, is not a fact and follows the seed.
"""

from __future__ import annotations

import json
import random
from typing import Any

from PIL import Image

from helpers.errors import CourseError
from toolkit.toyworld import receipt_drawing
from toolkit.toyworld.items import Question, closed_object
from toolkit.toyworld.receipt_drawing import WIDTH as WIDTH
from toolkit.toyworld.world import WORLD

TASKS = ("receipt", "receipt_total", "receipt_json")
READ = "Read all the text on this receipt."
TOTAL = "What is the total?"
AS_JSON = "Read this receipt as JSON."
ADDS_UP = "Does this receipt add up?"

SHOPS, GOODS = (tuple(WORLD["receipts"][name]) for name in ("shops", "goods"))
TAX_PERCENT = 8
_DEAREST_LINE = 1999  # cents


def draw(facts: dict[str, Any], seed: int) -> Image.Image:
    """The receipt as an RGB image, 256 pixels wide and 64 to 384 high."""
    return receipt_drawing.draw(facts["form"], roles_and_lines(facts), seed)


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
        total = sum(int(item["price"].replace(".", "")) for item in facts["items"])
        kept = {key: facts[key] for key in ("shop", "items", "ones")}
        return {"form": "small", **kept, "total": _amount(total)}
    return _whole(rng, rng.choices((1, 2, 3, 4), weights=(2, 4, 4, 3))[0])


def _whole(rng: random.Random, count: int) -> dict[str, Any]:
    items, cents = [], []
    for name in rng.sample(GOODS, count):
        quantity = rng.choices((1, 2, 3, 4), weights=(6, 3, 2, 1))[0]
        # Half of the shops' prices end in 0 or 5, the others in any digit.
        most = min(999, _DEAREST_LINE // quantity)
        each = rng.randint(10, most // 5) * 5 if rng.random() < 0.5 else rng.randint(50, most)
        cents.append(quantity * each)
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


def lines_of(facts: dict[str, Any]) -> list[str]:
    """Every printed line from top to bottom, with one space between the left part and the right part."""
    return [text for _, text in roles_and_lines(facts)]


def text_of(facts: dict[str, Any]) -> str:
    """All printed lines, joined by newlines."""
    return "\n".join(lines_of(facts))


def roles_and_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
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
    """The receipt as JSON of `json_schema`, on one line; a date or tax that is not printed is omitted.

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
    quantity = {"type": "integer", "minimum": 1}
    item = closed_object({"name": {"type": "string"}, "quantity": quantity, "price": amount})
    return closed_object(
        {
            "shop": {"type": "string"},
            "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            "items": {"type": "array", "items": item, "minItems": 1},
            "tax": amount,
            "total": amount,
        },
        optional=("date", "tax"),
    )


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """Read all of it; and, unless it is a strip, give the total and read it as JSON."""
    asked = [Question("receipt", READ, (text_of(facts),))]
    if facts["form"] != "strip":
        total = facts["total"]
        asked.append(Question("receipt_total", TOTAL, (total, f"{total}.", f"The total is {total}.")))
        asked.append(Question("receipt_json", AS_JSON, (facts_as_json(facts),)))
    return asked


def with_total(facts: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The receipt of the facts with its right total or, half of the time, with one that has one wrong digit."""
    if rng.random() < 0.5:
        return facts
    total = facts["total"]
    place = rng.choice([index for index, letter in enumerate(total) if letter.isdigit()])
    first = 1 if place == 0 and len(total) > 4 else 0  # no amount is printed with a leading zero
    wrong = rng.choice([digit for digit in "0123456789"[first:] if digit != total[place]])
    return facts | {"total": total[:place] + wrong + total[place + 1 :]}


def amounts_of(facts: dict[str, Any]) -> list[str]:
    """What the total should be the sum of: the lines' prices and the tax, if there is one."""
    return [item["price"] for item in facts["items"]] + ([facts["tax"]] if "tax" in facts else [])


def adds_up_question(facts: dict[str, Any]) -> Question:
    """Whether prices and tax add up to the printed total; asked of receipts that have been through `with_total`."""
    cents = [int(amount.replace(".", "")) for amount in (*amounts_of(facts), facts["total"])]
    answer = "Yes" if sum(cents[:-1]) == cents[-1] else "No"
    return Question("receipt_adds_up", ADDS_UP, (f"{answer}.", answer, answer.lower()))

"""A task that the tiny model was never taught: receipts of other countries, read into JSON of another form.

Amounts have a decimal comma, the date begins with the day, the total is called SUM and names its currency. The answer
wants none of that: a decimal point, the date with the year first, and the currency as a field of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.toyworld import receipt_drawing
from toolkit.toyworld.items import Question, item_about, written
from toolkit.toyworld.receipts import GOODS, SHOPS

TASK = "receipt_abroad"
REQUEST = "Read this receipt from abroad as JSON."
CURRENCIES = ("EUR", "CHF", "DKK", "PLN")
_DEAREST = 1999  # cents


def write_receipts_abroad(folder: str | Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Write items with seeds ``seed`` to ``seed + count - 1``, and yield each record of ``items.jsonl``.

    Records are those of `toolkit.toyworld`, with their ``task``; images are PNG, 256 pixels wide.

    Raises:
        CourseError: a count below 1, a negative seed, or a folder that cannot be written.
    """
    if count < 1 or seed < 0:
        raise CourseError(f"Cannot make {count} receipts from seed {seed}.", "", "count from 1, seed from 0")
    for _, record in written(Path(folder), map(_entry, range(seed, seed + count))):
        yield record


def _entry(seed: int) -> tuple[Any, dict[str, Any]]:
    facts = _facts(random.Random(f"{TASK}-{seed}"))
    year, month, day = facts["date"].split("-")
    lines = [("shop", facts["shop"])]
    lines += [("item", f"{item['name']} {item['price']}") for item in facts["items"]]
    lines += [("total", f"SUM {facts['currency']} {facts['total']}"), ("date", f"{day}.{month}.{year}")]
    answer = {name: facts[name] for name in ("shop", "date", "currency")}
    question = Question(TASK, REQUEST, (json.dumps(answer | {"total": facts["total"].replace(",", ".")}),))
    item = item_about(TASK, seed, facts, question, receipt_drawing.draw("small", lines, seed))
    return item, item.record() | {"task": TASK}


def _facts(rng: random.Random) -> dict[str, Any]:
    cents = {name: rng.randint(50, _DEAREST) for name in rng.sample(GOODS, rng.choice((1, 2)))}
    return {
        "shop": rng.choice(SHOPS),
        "date": f"{rng.randint(2024, 2027)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        "currency": rng.choice(CURRENCIES),
        "items": [{"name": name, "price": _amount(price)} for name, price in cents.items()],
        "total": _amount(sum(cents.values())),
    }


def _amount(cents: int) -> str:
    return f"{cents // 100},{cents % 100:02d}"

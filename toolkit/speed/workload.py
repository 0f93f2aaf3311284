"""Requests as a real server gets them: text, images and videos mixed, answers of very different lengths.

Drawn from the toy world by seed. A workload is a folder as the toy world and the evaluation write and read it
(``items.jsonl`` with the media beside it); each record also has ``answer_tokens``, the length to be generated.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown, write_whole
from toolkit.evaluation.inference.requests import MIME, data_url, medium_path, mime_of
from toolkit.evaluation.inference.transcripts import media_parts, with_media
from toolkit.toyworld.items import SAMPLE_SEED, make_item, written

REQUESTS = 300
#: Share of each sort of request, and the kinds of items that it is drawn from.
SHARES = {"text": 0.4, "image": 0.4, "clip": 0.2}
KINDS = {"text": ("sentence",), "image": ("scene", "receipt"), "clip": ("clip",)}
SHORTEST, LONGEST = 8, 256
#: Keywords of the engine with which every request does all of its work: random requests share next to nothing, and
#: repeated ones must not profit.
NO_CACHES = {"enable_prefix_caching": False, "mm_processor_cache_gb": 0}


@dataclass(frozen=True)
class Planned:
    """A request before it is drawn."""

    sort: str
    kind: str
    seed: int
    answer_tokens: int


def plan_workload(
    count: int = REQUESTS, seed: int = 0, answers: tuple[int, int] = (SHORTEST, LONGEST), skew: float = 1.0
) -> list[Planned]:
    """Which requests, in which order: the same arguments give the same plan.

    Each sort gets its share of `SHARES` as exactly as whole numbers allow; their order is random. Most answers are
    short and few are long: a length is least · (greatest / least) ^ (u ^ skew), u even from 0 to 1.

    Args:
        seed: of order, items and lengths.
        answers: least and greatest number of tokens of an answer, both included.
        skew: 1 spreads lengths evenly over their logarithm, more makes them shorter: with 2, from 8 to 256 tokens, half
            have at most 19, a tenth more than 132, and the mean is 47.

    Raises:
        CourseError: a count below 1, or lengths out of order.
    """
    low, high = answers
    if count < 1 or not 1 <= low <= high:
        raise CourseError(
            f"{count} requests with answers of {low} to {high} tokens were refused.",
            "",
            "at least one request; the shorter length first, from 1 on",
        )
    rng = random.Random(f"workload-{seed}")  # noqa: S311 - no secret
    # Largest remainders: the numbers add up to count.
    exact = {sort: share * count for sort, share in SHARES.items()}
    numbers = {sort: math.floor(number + 1e-9) for sort, number in exact.items()}
    by_remainder = sorted(exact, key=lambda sort: numbers[sort] - exact[sort])
    for sort in by_remainder[: count - sum(numbers.values())]:
        numbers[sort] += 1
    sorts = [sort for sort, number in numbers.items() for _ in range(number)]
    rng.shuffle(sorts)
    first = SAMPLE_SEED + rng.randrange(8_000_000)
    return [
        Planned(sort, rng.choice(KINDS[sort]), first + number, round(low * (high / low) ** (rng.random() ** skew)))
        for number, sort in enumerate(sorts)
    ]


def write_workload(
    folder: Path,
    count: int = REQUESTS,
    seed: int = 0,
    answers: tuple[int, int] = (SHORTEST, LONGEST),
    skew: float = 1.0,
) -> list[dict[str, Any]]:
    """Draw the workload of `plan_workload`, with its arguments, into a folder and return its records.

    An ``items.jsonl`` that is there is replaced. The same arguments give the same bytes.

    Raises:
        CourseError: as `plan_workload`, or the folder cannot be written.
    """
    plan = plan_workload(count, seed, answers, skew)
    drawn = ((planned, make_item(planned.kind, planned.seed)) for planned in plan)
    entries = (
        (item, item.record() | {"sort": planned.sort, "answer_tokens": planned.answer_tokens})
        for planned, item in drawn
    )
    return [record for _, record in written(folder, entries)]


def write_records(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write ``items.jsonl``, whole or not at all."""
    write_whole(folder / "items.jsonl", "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def ready_messages(folder: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record's messages as they are sent, each medium as a data URL of the very bytes on disk.

    Raises:
        CourseError: a medium cannot be read, or is no image or video by its suffix.
    """
    urls = []
    for part in media_parts(record["messages"]):
        path = medium_path(folder, str(record.get("item_id")), part["url"])
        if not mime_of(part["url"]):
            raise CourseError(f"{part['url']} is no image or video.", "", f"use {', '.join(MIME)}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CourseError(f"{shown(path)} cannot be read: {error.strerror}.", "it was moved meanwhile") from None
        urls.append(data_url(part["url"], content))
    return with_media(record["messages"], urls)

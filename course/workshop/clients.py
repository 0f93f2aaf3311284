"""Many seats at once: clients that send what the exercises send, and how long each waited."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course.workshop.preflight import Target, image_request, model_names
from helpers.errors import CourseError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KINDS = ("text", "image", "structured", "stream")
MOST_CLIENTS = 500
PLACES = ["beach", "park", "street", "snow", "room"]
FIELDS = {"place": {"enum": PLACES}, "light": {"enum": ["noon", "sunset", "night"]}}
SCHEMA = {
    "type": "object",
    "properties": FIELDS,
    "required": list(FIELDS),
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Reply:
    """What became of one request."""

    kind: str
    seconds: float
    """From sending to the last token."""
    first: float | None = None
    """Seconds to the first piece, of streams."""
    problem: str = ""


def body_of(kind: str, model: str) -> dict[str, Any]:
    """The request of a kind, as keywords of the OpenAI client."""
    body = image_request(model)
    if kind == "text":
        text = "Write the sentence 'I love Qwen3-VL-4B-Instruct' in reverse."
        return body | {"messages": [{"role": "user", "content": text}]}
    if kind == "structured":
        body["messages"][0]["content"][1]["text"] = "Describe this image as JSON."
        return body | {"response_format": {"type": "json_schema", "json_schema": {"name": "scene", "schema": SCHEMA}}}
    return body | {"stream": True} if kind == "stream" else body


async def ask(client: AsyncOpenAI, target: Target, kind: str, model: str) -> Reply:
    """Send one request; an empty answer, or JSON that is not of the schema, is a problem."""
    from openai import OpenAIError

    began, first = time.perf_counter(), None
    try:
        answer = await client.chat.completions.create(**body_of(kind, model))
        if kind == "stream":
            text = ""
            async for chunk in answer:
                piece = chunk.choices[0].delta.content if chunk.choices else None
                if piece and first is None:
                    first = time.perf_counter() - began
                text += piece or ""
        else:
            text = answer.choices[0].message.content or ""
        problem = "" if text.strip() else "an empty answer"
        if text and kind == "structured" and set(json.loads(text)) != set(FIELDS):
            problem = "JSON that is not of the schema"
    except ValueError:
        problem = "JSON that cannot be read"
    except OpenAIError as error:
        problem = f"{type(error).__name__}: {target.quoted(error)}"
    return Reply(kind, time.perf_counter() - began, first, problem)


async def crowd(target: Target, count: int, model: str) -> list[Reply]:
    """All seats at once; each sends every kind, one after the other, beginning with another one than its neighbour."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    async def seat(number: int) -> list[Reply]:
        kinds = [KINDS[(number + turn) % len(KINDS)] for turn in range(len(KINDS))]
        return [await ask(client, target, kind, model) for kind in kinds]

    async with AsyncOpenAI(
        base_url=f"{target.url}/v1",
        api_key=target.key or "EMPTY",
        timeout=target.timeout,
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(trust_env=False),  # the server is in the room: no proxy
    ) as client:
        return [reply for replies in await asyncio.gather(*map(seat, range(count))) for reply in replies]


def report(replies: Sequence[Reply]) -> str:
    """Answered requests, and the median, 95th percentile and longest of their waits in seconds, by kind."""
    rows = [f"{'kind':<14}{'answered':>12}{'median':>9}{'p95':>9}{'longest':>9}   seconds"]
    for kind in [*KINDS, "first piece"]:
        sent = [reply for reply in replies if reply.kind == ("stream" if kind == "first piece" else kind)]
        good = [reply for reply in sent if not reply.problem]
        waits = sorted(reply.first or 0 if kind == "first piece" else reply.seconds for reply in good)
        row = f"{kind:<14}{f'{len(good)} of {len(sent)}':>12}"
        if waits:
            p95 = waits[math.ceil(0.95 * len(waits)) - 1]
            row += f"{statistics.median(waits):>9.2f}{p95:>9.2f}{waits[-1]:>9.2f}"
        rows.append(row)
    problems = sorted({f"{reply.kind}: {reply.problem}" for reply in replies if reply.problem})
    return "\n".join(rows + problems)


def run_clients(target: Target, count: int, model: str | None = None) -> int:
    """Print the report; 0 if every request was answered, else 1.

    Raises:
        CourseError: a count out of range, or a server that serves no model.
    """
    if not 1 <= count <= MOST_CLIENTS:
        raise CourseError(f"{count} clients were refused.", "", f"give 1 to {MOST_CLIENTS}, such as the room's seats")
    if not model:
        remedy = "run the same command without --clients: it checks address, key and model"
        try:
            status, text = target.call("/v1/models")
        except (OSError, http.client.HTTPException) as error:
            raise CourseError(f"{target.url} does not answer.", str(error), remedy) from None
        if not (names := model_names(text)):
            raise CourseError(f"{target.url} names no model.", f"it answered with status {status}", remedy)
        model = names[0]
    print(f"{count} clients at once, {len(KINDS)} requests each, to {model}", flush=True)
    replies = asyncio.run(crowd(target, count, model))
    print(report(replies))
    return int(any(reply.problem for reply in replies))

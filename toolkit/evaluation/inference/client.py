"""One request at an endpoint that speaks OpenAI's chat completions: the connection, its attempts, the waits between.

Who asks says how an attempt is recorded, which happens before anything follows from it.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from helpers.errors import CourseError
from toolkit.evaluation.inference.replies import Reply, encodable, failed, read_reply
from toolkit.evaluation.inference.transcripts import Transcript

if TYPE_CHECKING:
    import httpx

CONCURRENCY, ATTEMPTS = 8, 5
CONNECT_SECONDS = 10.0
#: Connections that share a pool, about.
POOLED = 8
#: vLLM closes an idle connection after 5 s; one that is reused just then would look like a failure.
IDLE_SECONDS = 2.0
#: Waiting before attempt n + 1 is a random part of FIRST * 2 ** (n - 1), and no longer than LONGEST.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
#: So many requests in a row without a connection, and the server has gone.
UNREACHABLE = 8
#: Servers like to send a refused request back within their message.
LONGEST_ERROR = 2000


def read_address(base_url: str) -> SplitResult:
    """The parts of an endpoint's address.

    Raises:
        CourseError: it is none of HTTP, or mistyped.
    """
    import httpx

    try:
        address = urlsplit(base_url)
        usable = address.scheme in ("http", "https") and address.hostname and address.port != 0
        httpx.URL(base_url)  # refuses more than urlsplit does
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise CourseError(f"'{base_url}' is no address of a server.", "", "give one like http://127.0.0.1:8085/v1")
    return address


def open_client(base_url: str, api_key: str | None, concurrency: int) -> httpx.AsyncClient:
    """A client of the endpoint, with the key, if any, as bearer token; only connecting is limited in time.

    Raises:
        CourseError: as `read_address`; a key that no header can hold, which is not repeated in the message.
    """
    import httpx

    if api_key and not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
        raise CourseError(
            "The API key cannot be sent.",
            "it holds a letter beyond ASCII, a line end, or a blank at its end",
            "copy it again, nothing before or after it",
        )
    local = read_address(base_url).hostname in ("127.0.0.1", "localhost", "::1")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=2 * POOLED, keepalive_expiry=IDLE_SECONDS)
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=limits,
        trust_env=not local,  # a proxy does not know this machine
        transport=_spread(math.ceil(concurrency / POOLED), limits),
    )


def _spread(pools: int, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    """Connections in several pools, taken in turn: a pool looks at all its connections for each request, and with 64 in
    one that takes longer than the request."""
    import httpx

    class Spread(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self.pools = [httpx.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(pools)]
            self.turns = itertools.cycle(self.pools)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await next(self.turns).handle_async_request(request)

        async def aclose(self) -> None:
            for pool in self.pools:
                await pool.aclose()

    context = httpx.create_ssl_context()
    return Spread()


@dataclass
class Asker:
    """Asks one endpoint, one request after another or several at a time."""

    client: httpx.AsyncClient
    server: str
    """What messages call it, such as 'The server at http://127.0.0.1:8085/v1'."""
    secret: str | None
    """The key, which is kept out of what is recorded."""
    attempts: int
    """For each request, where another may succeed: no connection, 408, 429 or 5xx."""
    timeout_seconds: float
    """For one attempt, until its answer is complete."""
    first_wait_seconds: float
    unreachable: int = 0
    """Requests in a row without a connection."""

    async def settle(self, body: bytes, record: Callable[[int, dict[str, Any]], Transcript]) -> Transcript:
        """Ask until there is an answer or no hope, and return the last attempt.

        Args:
            body: of the request, JSON.
            record: writes down each attempt as it ends, from its number (from 1) and what a transcript says of it:
                time, seconds and the fields of the reply.

        Raises:
            CourseError: the server refuses every request, or `UNREACHABLE` in a row found no connection.
        """
        for number in range(1, self.attempts + 1):
            sent, began = now(), time.perf_counter()
            reply = await self._ask(body)
            took = {"time": sent, "latency_seconds": round(time.perf_counter() - began, 6)}
            one = record(number, took | self._presentable(reply.fields))
            if reply.no_use:
                raise CourseError(
                    f"{self.server} refuses every request.",
                    one.error or "",
                    "look at key, address and model's name, then run the same again",
                )
            if not reply.again or number == self.attempts:
                break
            await asyncio.sleep(self.wait(number, reply.wait))
        self.unreachable = 0 if reply.reached else self.unreachable + 1
        if self.unreachable >= UNREACHABLE:
            raise CourseError(
                f"{self.server} does not answer any more.",
                f"{self.unreachable} requests in a row found no connection; the file says why",
                "start it again, then run the same again: what is there is kept",
            )
        return one

    async def _ask(self, body: bytes) -> Reply:
        import httpx

        try:
            async with asyncio.timeout(self.timeout_seconds):
                response = await self.client.post("chat/completions", content=body)
        except TimeoutError:
            return failed(f"No answer within {self.timeout_seconds:g} s.", "timeout")
        except httpx.HTTPError as error:
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            refused = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return failed(what, again=isinstance(error, httpx.TransportError), reached=not refused)
        return read_reply(response)

    def _presentable(self, fields: dict[str, Any]) -> dict[str, Any]:
        """An error without the key, and no longer than need be."""
        if not fields.get("error"):
            return fields
        text = encodable(fields["error"])
        if self.secret and len(self.secret) >= 8:
            text = text.replace(self.secret, "(key)")
        cut = text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]} … ({len(text)} characters)"
        return fields | {"error": cut}

    def wait(self, number: int, wanted: float | None) -> float:
        """Seconds before the attempt after this one: full jitter, on top of what the server wants.

        Source: Brooker, 'Exponential Backoff And Jitter', AWS 2015.
        """
        ceiling = min(LONGEST_WAIT_SECONDS, self.first_wait_seconds * 2 ** (number - 1))
        return min(LONGEST_WAIT_SECONDS, (wanted or 0.0) + random.uniform(0, ceiling))  # noqa: S311 - no secret


def now() -> str:
    """ISO 8601, UTC, as transcripts tell times."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

"""One request to an endpoint that speaks OpenAI's chat completions: the connection, its attempts, the waits between.

The openai client retries within one call, so that attempts could not be recorded one by one, and it keeps all
connections in one pool, which with 64 of them takes longer than a request; hence httpx.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import itertools
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from helpers.errors import CourseError
from helpers.local_http import check_proxies
from toolkit.evaluation.inference.transcripts import Transcript

if TYPE_CHECKING:
    import httpx

#: Finish reasons other than a plain end. vLLM stops an answer that repeats itself: 'repetition'.
_STATUS_OF_FINISH = {"content_filter": "refused", "abort": "error", "error": "error"}
_STATUS_OF_FINISH |= dict.fromkeys(("length", "repetition"), "truncated")
_RETRIED = {408, 429, *range(500, 600)} - {501, 505}
_HOPELESS = {401, 403, 404}


@dataclass(frozen=True)
class AttemptOutcome:
    """What an attempt came to, as fields of a transcript, and what follows from it.

    Another attempt may succeed (``retry``), after the seconds that the server asks for; the server answered at all
    (``reached``); no other item will fare better (``hopeless``).
    """

    fields: dict[str, Any]
    retry: bool = False
    retry_after: float | None = None
    reached: bool = True
    hopeless: bool = False


def failure(error: str, status: str = "error", **more: Any) -> AttemptOutcome:
    """The outcome of an attempt without an answer; ``more`` are further fields of `AttemptOutcome`."""
    return AttemptOutcome({"status": status, "error": error}, **more)


def split_reasoning(text: str, begun: bool = False) -> tuple[str | None, str]:
    """What a model wrote, parted into reasoning (None without any) and answer, at ``</think>``.

    Args:
        text: the opening ``<think>`` may be missing, since templates of thinking models end with it.
        begun: the prompt ended with ``<think>``, so that all is reasoning if nothing ends it.
    """
    begun = begun or text.lstrip().startswith("<think>")
    before, end, after = text.partition("</think>")
    if not (end or begun):
        return None, text
    return before.strip().removeprefix("<think>").strip() or None, after.lstrip()


def _read_answer(data: Any) -> dict[str, Any]:
    """Fields of a transcript from the body of a completed request."""
    try:
        choice = data["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
        told = message.get("reasoning") or message.get("reasoning_content")  # the older name
    except (LookupError, TypeError, AttributeError):
        return {"status": "error", "error": "The answer is not a chat completion."}
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    fields: dict[str, Any] = {
        "finish_reason": None if reason is None else str(reason),
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
    }
    status = "refused" if refusal else _STATUS_OF_FINISH.get(str(reason), "ok")
    if status == "error":
        return fields | {"status": status, "error": f"The server ended the answer: {reason}."}
    reasoning, text = (str(told), str(content or "")) if told else split_reasoning(str(content or ""))
    return fields | answer_fields(status, reasoning, text or str(refusal or ""))


def answer_fields(status: str, reasoning: str | None, text: str) -> dict[str, Any]:
    """Status, reasoning and text of a transcript. Cut off without a word, a model has been thinking unseen."""
    reasoning = encodable(reasoning) if reasoning else None
    if not text and status != "refused" and (reasoning or status == "truncated"):
        return {"status": "thinking", "reasoning": reasoning}
    return {"status": status, "reasoning": reasoning, "text": encodable(text)}


def read_response(response: httpx.Response) -> AttemptOutcome:
    """What a response means, whatever its status and body."""
    if response.status_code == 200:
        try:
            return AttemptOutcome(_read_answer(response.json()))
        except (ValueError, RecursionError):
            return failure("The answer is not JSON.")
    kind, message = _error_of(response)
    error = f"HTTP {response.status_code}: {message}"
    if kind in ("content_filter", "content_policy_violation"):
        return failure(error, "refused")
    retry = response.status_code in _RETRIED
    wait = read_retry_after(response.headers.get("retry-after")) if retry else None
    return failure(error, retry=retry, retry_after=wait, hopeless=response.status_code in _HOPELESS)


def _error_of(response: httpx.Response) -> tuple[str, str]:
    try:
        data = response.json()
    except (ValueError, RecursionError):
        data = None
    inner = data.get("error", data) if isinstance(data, dict) else None
    if isinstance(inner, dict):
        return str(inner.get("code") or inner.get("type")), str(inner.get("message") or inner)
    return "", str(inner) if inner else response.text.strip() or response.reason_phrase


def read_retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3); None if it has neither."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = date.timestamp() - (time.time() if now is None else now)
    return max(0.0, seconds) if seconds < float("inf") else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def encodable(text: str) -> str:
    """The text without lone surrogates, which JSON may hold and no file can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


CONNECT_SECONDS = 10.0
#: Connections that share a pool, about.
POOLED = 8
#: vLLM closes an idle connection after 5 s; one that is reused just then would look like a failure.
IDLE_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
#: After this many requests in a row without a connection, the server counts as gone.
UNREACHABLE = 8
#: Servers like to send a refused request back within their message.
LONGEST_ERROR = 2000


@dataclass(frozen=True)
class Endpoint:
    """A model at a server that speaks OpenAI's chat completions; the first three as the openai client calls them."""

    base_url: str
    """Up to ``/v1``, which is added where there is no path; it may hold credentials (``http://name:password@…``)."""
    model: str
    """Its name at the endpoint."""
    api_key: str | None = field(default=None, repr=False)
    """Sent as bearer token, never written; None sends none."""
    revision: str | None = None
    """Of the weights; another one is another model, and without it so is another address. Recorded, as are the next
    two."""
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class RequestPolicy:
    """How hard an endpoint is asked, and how patiently.

    Raises:
        CourseError: a number below the least possible.
    """

    concurrency: int = 8
    """Requests in flight at a time."""
    attempts: int = 5
    """Per request, where another attempt may succeed: no connection, 408, 429 or 5xx."""
    timeout_seconds: float = 600.0
    """Per attempt, until its answer is complete. A request that timed out is tried again by the next call only."""
    first_wait_seconds: float = 1.0
    """Upper end of the random wait before the second attempt; doubled for each further one. A server's ``Retry-After``
    is the least to wait, but no more than 60 s."""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.attempts < 1 or not self.timeout_seconds > 0:
            raise CourseError(f"{self} was refused.", "", "use numbers of at least 1")

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds between this attempt and the next: full jitter (Brooker, AWS 2015) on top of what the server asks."""
        ceiling = min(LONGEST_WAIT_SECONDS, self.first_wait_seconds * 2 ** (attempt - 1))
        return min(LONGEST_WAIT_SECONDS, (retry_after or 0.0) + random.uniform(0, ceiling))  # noqa: S311 - no secret


DEFAULT_POLICY = RequestPolicy()


def read_address(base_url: str) -> httpx.URL:
    """An endpoint's address, without what is often pasted with it (spaces around it, ``/chat/completions``, a slash at
    the end); one without a path gets ``/v1``.

    Raises:
        CourseError: it is not HTTP, or mistyped. The message repeats no credentials.
    """
    import httpx

    text = base_url.strip()
    why, remedy = "", "use one like http://127.0.0.1:8085/v1"
    if re.search(r"\s", text):
        why = "it has a space within"
    elif text and "://" not in text:
        why, remedy = (
            "it lacks http:// or https://",
            f"use http://{without_credentials(text)}, or https:// where the server has a certificate",
        )
    elif "?" in text or "#" in text:
        why, remedy = "what follows '?' or '#' cannot be sent with each request", "leave that out"
    else:
        try:
            parts = urlsplit(text)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
                path = re.sub(r"/+(chat/completions|completions|models)?/*$", "", parts.path) or "/v1"
                return httpx.URL(parts._replace(path=path).geturl())  # refuses more than urlsplit does
        except (ValueError, httpx.InvalidURL):
            pass
    raise CourseError(f"'{without_credentials(text)}' is no address of a server.", why, remedy)


def without_credentials(address: object) -> str:
    """An address as it may be shown and recorded: without the name and the password that it may hold."""
    return re.sub(r"^([a-z]+://)?[^/]*@", r"\1", str(address), flags=re.IGNORECASE)


def open_client(endpoint: Endpoint, concurrency: int) -> httpx.AsyncClient:
    """A client of the endpoint. Only connecting is limited in time.

    Raises:
        CourseError: as `read_address` and, for another machine, `check_proxies`; a key that no header can hold, or
            beside credentials in the address. No message repeats it.
    """
    import httpx

    key, address = endpoint.api_key, read_address(endpoint.base_url)
    if key and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise CourseError(
            "The API key cannot be sent.",
            "it holds a character beyond ASCII, a line break, or a space at its end",
            "copy it again, nothing before or after it",
        )
    if key and address.userinfo:
        raise CourseError(
            "The address holds a name or a password, and there is a key as well.",
            "a request carries one of the two",
            "leave one out; --key and COURSE_SERVER_KEY set the key",
        )
    local = address.host in ("127.0.0.1", "localhost", "::1")
    if not local:
        check_proxies()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=2 * POOLED, keepalive_expiry=IDLE_SECONDS)
    return httpx.AsyncClient(
        base_url=address,
        headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=limits,
        trust_env=not local,  # a proxy does not know this machine
        transport=_spread(math.ceil(concurrency / POOLED), limits),
    )


def _spread(pools: int, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    """Connections in several pools, taken in turn: a pool looks at all its connections for each request."""
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
    api_key: str | None
    """Kept out of what is recorded."""
    policy: RequestPolicy
    unreachable: int = 0
    """Requests in a row without a connection."""

    async def settle(self, body: bytes, record: Callable[[int, dict[str, Any]], Transcript]) -> Transcript:
        """Ask until there is an answer or no hope, and return the last attempt.

        Args:
            body: of the request, JSON.
            record: writes each attempt down as it ends, before anything follows from it; called with its number (from
                1) and what a transcript says of it: time, latency and the fields of the outcome.

        Raises:
            CourseError: the server refuses every request, or `UNREACHABLE` in a row found no connection.
        """
        for number in range(1, self.policy.attempts + 1):
            sent, began = now(), time.perf_counter()
            outcome = await self._ask(body)
            timing = {"time": sent, "latency_seconds": round(time.perf_counter() - began, 6)}
            transcript = record(number, timing | self._presentable(outcome.fields))
            if outcome.hopeless:
                raise CourseError(
                    f"{self.server} refuses every request.",
                    transcript.error or "",
                    "check the key, the address (most end in /v1) and the model's name, then run the same again",
                )
            if not outcome.retry or number == self.policy.attempts:
                break
            await asyncio.sleep(self.policy.wait(number, outcome.retry_after))
        self.unreachable = 0 if outcome.reached else self.unreachable + 1
        if self.unreachable >= UNREACHABLE:
            raise CourseError(
                f"{self.server} does not answer any more.",
                f"{self.unreachable} requests in a row found no connection; the file says why",
                "start it again, then run the same again: what is recorded is kept",
            )
        return transcript

    async def _ask(self, body: bytes) -> AttemptOutcome:
        import httpx

        try:
            async with asyncio.timeout(self.policy.timeout_seconds):
                return read_response(await self.client.post("chat/completions", content=body))
        except TimeoutError:
            return failure(f"No answer within {self.policy.timeout_seconds:g} s.", "timeout")
        except httpx.HTTPError as error:
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            refused = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return failure(what, retry=isinstance(error, httpx.TransportError), reached=not refused)

    def _presentable(self, fields: dict[str, Any]) -> dict[str, Any]:
        """An error without the key, and no longer than need be."""
        if not fields.get("error"):
            return fields
        text = encodable(fields["error"])
        if self.api_key and len(self.api_key) >= 8:
            text = text.replace(self.api_key, "(key)")
        cut = text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]} … ({len(text)} characters)"
        return fields | {"error": cut}


def now() -> str:
    """ISO 8601, UTC, as transcripts record times."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

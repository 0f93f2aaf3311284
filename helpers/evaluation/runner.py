"""Asking a model about many items, at any endpoint that speaks OpenAI's chat completions; each attempt is recorded.

A run may be killed at any moment and started again: what is settled is not asked twice, and nothing is lost but the
answers that were on their way. Items pass one by one, so memory does not grow with pictures or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from helpers.errors import CourseError
from helpers.evaluation.replies import Reply, encodable, failed, read_reply
from helpers.evaluation.requests import (
    Request,
    SamplingFields,
    check_items,
    describe_media,
    read_request,
    request_body,
    sampling_fields,
)
from helpers.evaluation.transcripts import (
    Medium,
    Transcript,
    TranscriptWriter,
    read_transcripts,
    request_hash,
    short_hash,
)
from helpers.files import shown
from helpers.toyworld.items import stream_items

if TYPE_CHECKING:
    import httpx


CONCURRENCY, ATTEMPTS = 8, 5
#: Until an answer must be complete.
TIMEOUT_SECONDS = 600.0
CONNECT_SECONDS, FACTS_SECONDS = 10.0, 30.0
#: vLLM closes an idle connection after 5 s; one that is reused just then would look like a failure.
IDLE_SECONDS = 2.0
#: Waiting before attempt n + 1 is a random part of FIRST * 2 ** (n - 1), and no longer than LONGEST.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
#: So many items in a row without a connection, and the server has gone.
UNREACHABLE_ITEMS = 8
#: Servers like to send a refused request back within their message.
LONGEST_ERROR = 2000


@dataclass
class RunSummary:
    """What a call of `run_items` did."""

    run: str
    items: int
    """In the folder, or as many as were asked for."""
    there: int = 0
    """Items that had been settled before."""
    attempts: int = 0
    """Requests of this call, retries among them."""
    retries: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """How many of the items that were asked in this call ended in which status."""
    seconds: float = 0.0
    repaired: str | None = None
    """See `TranscriptWriter`."""

    @property
    def failures(self) -> int:
        """Items that have no answer yet; the same call asks them again."""
        return self.statuses["error"] + self.statuses["timeout"]

    def describe(self) -> str:
        """One line for people."""
        asked = sum(self.statuses.values())
        parts = [f"{count} {status}" for status, count in sorted(self.statuses.items())]
        there = f", {self.there} were there already" if self.there else ""
        return f"{self.run}: {asked} of {self.items} items asked ({', '.join(parts) or 'nothing to do'}){there}"


# ---------------------------------------------------------------- a run


@dataclass(frozen=True)
class _Asked:
    """Who is asked: what all transcripts of a run have in common."""

    run: str
    model: str
    revision: str | None
    device: str | None
    dtype: str | None
    server: str | None
    server_version: str | None
    sampling: dict[str, Any]
    seed: int
    origin: str


async def run_items(
    items_folder: str | Path,
    out: str | Path,
    base_url: str,
    api_key: str | None,
    model: str,
    sampling: SamplingFields | Mapping[str, Any],
    concurrency: int = CONCURRENCY,
    *,
    run: str | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    server: str | None = None,
    media: Literal["data", "file"] = "data",
    attempts: int = ATTEMPTS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
    limit: int | None = None,
    origin: str = "run",
    quiet: bool = False,
) -> RunSummary:
    """Ask a model about the items of a folder, and append a transcript of every attempt to a file.

    In a notebook: ``await run_items(...)``. An item is done if a line with its name and `request_hash` is settled;
    failures are tried again. The order of the lines is that of the answers.

    Args:
        items_folder: with ``items.jsonl`` and the media that it names.
        out: the file of transcripts (JSON lines). It may hold other runs.
        base_url: of the endpoint, up to and with ``/v1``.
        api_key: sent as bearer token; never written. None sends none.
        model: its name at the endpoint.
        sampling: see `SamplingFields`.
        concurrency: requests under way at a time; besides, as many items wait in memory.
        run: name of this model with these fields; None makes one of both.
        revision: of the weights.
        device: that the server uses, for the record.
        dtype: that the server uses, for the record.
        server: what software answers; None asks it.
        media: ``data`` sends their bytes; ``file`` their paths, for a server that may read them.
        attempts: for each item in this call, where another may succeed: no connection, 408, 429 or 5xx.
        timeout_seconds: for one attempt. One that ran out of time is tried again by the next call only.
        first_wait_seconds: upper end of the random wait before a second attempt; doubled for each further one. A
            server's ``Retry-After`` is the least to wait, but no more than 60 s.
        limit: the first so many items only.
        origin: see `Transcript`.
        quiet: no progress bar. It goes to stderr, and only if that is a terminal.

    Returns:
        What happened; failures are counted there, not raised.

    Raises:
        CourseError: unusable items or fields; a run's name that stands for something else in this file; another process
            writes to it, or it cannot be written; no server answers (any more), it refuses the key or lacks the model.
    """
    folder, fields = Path(items_folder), sampling_fields(sampling)
    if concurrency < 1 or attempts < 1 or not timeout_seconds > 0 or media not in ("data", "file"):
        raise CourseError(
            f"{concurrency=}, {attempts=}, {timeout_seconds=}, {media=} was refused.",
            "",
            "numbers from 1 on; media is 'data' or 'file'",
        )
    began = time.monotonic()
    total = check_items(folder, limit)
    run = run or _run_name(model, revision, fields.sent())
    with TranscriptWriter(out) as writer:
        async with _client(base_url, api_key, concurrency) as client:
            found, version = await _ask_server(client, model)
            about = _Asked(
                run, model, revision, device, dtype, server or found, version, fields.sent(), fields.seed, origin
            )
            known = _known_requests(Path(out), about)
            summary = RunSummary(run, total, repaired=writer.repaired)
            with _bar(total, run, quiet) as bar:
                if writer.repaired and not quiet:
                    bar.write(writer.repaired, file=sys.stderr)
                limits = (attempts, timeout_seconds, first_wait_seconds)
                work = _Work(folder, about, client, writer, known, summary, bar, media, *limits, secret=api_key)
                try:
                    await work.do(islice(stream_items(folder), limit), concurrency)
                finally:
                    summary.seconds = time.monotonic() - began
    return summary


def all_settled(
    items_folder: str | Path,
    out: str | Path,
    model: str,
    sampling: SamplingFields | Mapping[str, Any],
    revision: str | None = None,
    run: str | None = None,
    limit: int | None = None,
) -> RunSummary | None:
    """What `run_items` would say if it found every item settled, so that no server is needed; None if one is not."""
    folder, out, fields = Path(items_folder), Path(out), sampling_fields(sampling)
    if not out.is_file():
        return None
    run, sent = run or _run_name(model, revision, fields.sent()), fields.sent()
    known, count = _known_requests(out, _Asked(run, model, revision, None, None, None, None, sent, fields.seed, "")), 0
    for record in islice(stream_items(folder), limit):
        request = read_request(folder, record, sent, revision, model)
        if known.get(short_hash(request.item_id, request.hash)) != 0:
            return None
        count += 1
    return RunSummary(run, count, there=count)


def _run_name(model: str, revision: str | None, sampling: dict[str, Any]) -> str:
    return f"{model}-{request_hash([], [], sampling, revision, model)[:8]}"


def _client(base_url: str, api_key: str | None, concurrency: int) -> httpx.AsyncClient:
    import httpx

    address = urlsplit(base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise CourseError(f"'{base_url}' is no address of a server.", "", "give one like http://127.0.0.1:8085/v1")
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(
            max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=IDLE_SECONDS
        ),
        trust_env=address.hostname not in ("127.0.0.1", "localhost", "::1"),  # a proxy does not know this machine
    )


async def _ask_server(client: httpx.AsyncClient, model: str) -> tuple[str, str | None]:
    """Software and version of the server, as far as it says.

    Raises:
        CourseError: it does not answer, refuses the key, or says that it has no such model.
    """
    import httpx

    root = str(client.base_url).removesuffix("/").removesuffix("/v1")
    try:
        version = await client.get(f"{root}/version", timeout=FACTS_SECONDS)
        models = await client.get("models", timeout=FACTS_SECONDS)
    except httpx.HTTPError as error:
        raise CourseError(
            f"No server answers at {root}.", str(error) or type(error).__name__, "start it, or mend the address"
        ) from None
    if models.status_code in (401, 403):
        raise CourseError(f"The server at {root} refused the key.", "it is missing or wrong", "give the right one")
    names = []
    with contextlib.suppress(ValueError, LookupError, TypeError):
        names = [entry["id"] for entry in models.json()["data"]] if models.status_code == 200 else []
    if names and model not in names:
        raise CourseError(
            f"The server at {root} has no model '{model}'.", "a misspelt name", f"use one of: {', '.join(names[:10])}"
        )
    with contextlib.suppress(ValueError, LookupError, TypeError):
        if version.status_code == 200 and isinstance(found := version.json()["version"], str):
            return "vllm", found
    return urlsplit(root).netloc.rpartition("@")[2], None


def _known_requests(out: Path, about: _Asked) -> dict[bytes, int]:
    """Requests in the file: item and hash -> 0 if settled, else the number of its attempts.

    Raises:
        CourseError: a damaged file, or the run's name stands for another model or other fields there.
    """
    known: dict[bytes, int] = {}
    for one in read_transcripts(out):
        if one.run == about.run and (one.model, one.revision, one.sampling) != (
            about.model,
            about.revision,
            about.sampling,
        ):
            raise CourseError(
                f"The run '{one.run}' in {shown(out)} is something else.",
                "its model, revision or sampling differs, and one name would mix both",
                "choose another name for the run, or another file",
            )
        key = short_hash(one.item_id, one.request_hash)
        known[key] = 0 if one.settled or known.get(key) == 0 else max(known.get(key, 0), one.attempt)
    return known


def _bar(total: int, run: str, quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=run, unit="item", disable=True if quiet else None)


@dataclass
class _Work:
    """One run under way: a producer that reads items, and workers that ask."""

    folder: Path
    about: _Asked
    client: httpx.AsyncClient
    writer: TranscriptWriter
    known: dict[bytes, int]
    summary: RunSummary
    bar: Any
    media: str
    attempts: int
    timeout_seconds: float
    first_wait_seconds: float
    secret: str | None
    unreachable: int = 0
    """Items in a row without a connection."""

    async def do(self, items: Iterator[dict[str, Any]], concurrency: int) -> None:
        queue: asyncio.Queue[Request | None] = asyncio.Queue(maxsize=concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._worker(queue))
                await self._produce(items, queue)
                for _ in range(concurrency):
                    await queue.put(None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _produce(self, items: Iterator[dict[str, Any]], queue: asyncio.Queue[Request | None]) -> None:
        for record in items:
            request = await asyncio.to_thread(
                read_request, self.folder, record, self.about.sampling, self.about.revision, self.about.model
            )
            earlier = self.known.get(short_hash(request.item_id, request.hash))
            if earlier == 0:
                self.summary.there += 1
                self.bar.total -= 1
                continue
            await queue.put(Request(**{**vars(request), "earlier_attempts": earlier or 0}))

    async def _worker(self, queue: asyncio.Queue[Request | None]) -> None:
        while (request := await queue.get()) is not None:
            status, reached = await self._settle(request)
            self.unreachable = 0 if reached else self.unreachable + 1
            self.summary.statuses[status] += 1
            self.bar.update()
            self._show()
            if self.unreachable >= UNREACHABLE_ITEMS:
                raise CourseError(
                    f"The server at {self.client.base_url} does not answer any more.",
                    f"{self.unreachable} items in a row found no connection; the file says why",
                    "start it again, then run the same command: what is there is kept",
                )

    async def _settle(self, request: Request) -> tuple[str, bool]:
        """Ask until there is an answer or no hope; return the last status, and whether the server was reached."""
        try:
            media, body = await asyncio.to_thread(self._prepare, request)
        except CourseError as error:  # a broken medium is this item's failure, not the run's
            self._write(request, 1, (), 0.0, _now(), failed(f"Not sent: {error.what}"))
            return "error", True
        for number in range(1, self.attempts + 1):
            sent, began = _now(), time.perf_counter()
            reply = await self._ask(body)
            self.summary.attempts += 1
            status = self._write(request, number, media, time.perf_counter() - began, sent, reply)
            if reply.no_use:
                raise CourseError(
                    f"The server at {self.client.base_url} refuses every request.",
                    reply.fields["error"],
                    "look at key, address and model's name, then run the same command again",
                )
            if not reply.again or number == self.attempts:
                break
            self.summary.retries += 1
            self._show()
            await asyncio.sleep(self._wait(number, reply.wait))
        return status, reply.reached

    def _prepare(self, request: Request) -> tuple[tuple[Medium, ...], bytes]:
        media = describe_media(self.folder, request)
        return media, request_body(self.folder, request, self.about.model, self.about.sampling, self.media)

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

    def _write(
        self, request: Request, number: int, media: tuple[Medium, ...], seconds: float, sent: str, reply: Reply
    ) -> str:
        fields = dict(reply.fields)
        if fields.get("error"):
            fields["error"] = self._presentable(fields["error"])
        transcript = Transcript(
            **vars(self.about),
            item_id=request.item_id,
            media=media,
            request_hash=request.hash,
            attempt=request.earlier_attempts + number,
            latency_seconds=round(seconds, 6),
            time=sent,
            **fields,
        )
        self.writer.append(transcript)
        return transcript.status

    def _presentable(self, error: str) -> str:
        text = encodable(error)
        if self.secret and len(self.secret) >= 8:
            text = text.replace(self.secret, "(key)")
        return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]} … ({len(text)} characters)"

    def _wait(self, number: int, wanted: float | None) -> float:
        """Full jitter (Brooker, 'Exponential Backoff And Jitter', AWS 2015), on top of what the server wants."""
        ceiling = min(LONGEST_WAIT_SECONDS, self.first_wait_seconds * 2 ** (number - 1))
        return min(LONGEST_WAIT_SECONDS, (wanted or 0.0) + random.uniform(0, ceiling))  # noqa: S311 - no secret

    def _show(self) -> None:
        self.bar.set_postfix(failed=self.summary.failures, retries=self.summary.retries, refresh=False)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

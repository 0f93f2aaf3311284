"""Asking a model about many items, at any endpoint that speaks OpenAI's chat completions; each attempt is recorded.

A run may be killed at any moment and started again: what is settled is not asked twice, and nothing is lost but the
answers that were on their way. Items pass one by one, so memory does not grow with pictures or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from helpers.files import shown
from toolkit.evaluation.inference.client import ATTEMPTS, CONCURRENCY, FIRST_WAIT_SECONDS, Asker, now, open_client
from toolkit.evaluation.inference.replies import encodable
from toolkit.evaluation.inference.requests import (
    Request,
    SamplingFields,
    check_items,
    describe_media,
    read_request,
    request_body,
    sampling_fields,
)
from toolkit.evaluation.inference.transcripts import (
    Medium,
    Transcript,
    TranscriptWriter,
    read_transcripts,
    request_hash,
    short_hash,
)
from toolkit.toyworld.items import stream_items

if TYPE_CHECKING:
    import httpx


#: Until an answer must be complete; until the server must have told of itself.
TIMEOUT_SECONDS, FACTS_SECONDS = 600.0, 30.0


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
        base_url: of the endpoint, up to and with ``/v1``. What a server fills in that is not sent: `SamplingFields`.
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
    run = run or run_name(model, revision, fields.sent())
    with TranscriptWriter(out) as writer:
        async with open_client(base_url, api_key, concurrency) as client:
            found, version = await _ask_server(client, model)
            about = _Asked(
                run, model, revision, device, dtype, server or found, version, fields.sent(), fields.seed, origin
            )
            known = _known_requests(Path(out), about)
            summary = RunSummary(run, total, repaired=writer.repaired)
            with _bar(total, run, quiet) as bar:
                if writer.repaired and not quiet:
                    bar.write(writer.repaired, file=sys.stderr)
                server_name = f"The server at {client.base_url}"
                asker = Asker(client, server_name, api_key, attempts, timeout_seconds, first_wait_seconds)
                work = _Work(folder, about, asker, writer, known, summary, bar, media)
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
    run, sent = run or run_name(model, revision, fields.sent()), fields.sent()
    known, count = _known_requests(out, _Asked(run, model, revision, None, None, None, None, sent, fields.seed, "")), 0
    for record in islice(stream_items(folder), limit):
        request = read_request(folder, record, sent, revision, model)
        if known.get(short_hash(request.item_id, request.hash)) != 0:
            return None
        count += 1
    return RunSummary(run, count, there=count)


def run_name(model: str, revision: str | None, sampling: dict[str, Any]) -> str:
    """What a run is called that nobody named: the model, and a hash of its weights and sampling fields."""
    return f"{model}-{request_hash([], [], sampling, revision, model)[:8]}"


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
    asker: Asker
    writer: TranscriptWriter
    known: dict[bytes, int]
    summary: RunSummary
    bar: Any
    media: str

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
            self.summary.statuses[await self._settle(request)] += 1
            self.bar.update()
            self._show()

    async def _settle(self, request: Request) -> str:
        """Ask until there is an answer or no hope, and return the last status."""
        try:
            media, body = await asyncio.to_thread(self._prepare, request)
        except CourseError as error:  # a broken medium is this item's failure, not the run's
            what = {"status": "error", "error": encodable(f"Not sent: {error.what}")}
            return self._write(request, 1, (), what | {"time": now(), "latency_seconds": 0.0}).status

        def record(number: int, fields: dict[str, Any]) -> Transcript:
            self.summary.attempts += 1
            self.summary.retries += number > 1
            self._show()
            return self._write(request, number, media, fields)

        return (await self.asker.settle(body, record)).status

    def _prepare(self, request: Request) -> tuple[tuple[Medium, ...], bytes]:
        media = describe_media(self.folder, request)
        return media, request_body(self.folder, request, self.about.model, self.about.sampling, self.media)

    def _write(self, request: Request, number: int, media: tuple[Medium, ...], fields: dict[str, Any]) -> Transcript:
        transcript = Transcript(
            **vars(self.about),
            item_id=request.item_id,
            media=media,
            request_hash=request.hash,
            attempt=request.earlier_attempts + number,
            **fields,
        )
        self.writer.append(transcript)
        return transcript

    def _show(self) -> None:
        self.bar.set_postfix(failed=self.summary.failures, retries=self.summary.retries, refresh=False)

"""Asking a model about many items, at any endpoint that speaks OpenAI's chat completions; each attempt is recorded.

A run may be killed at any moment and started again: what is settled is not asked twice, and nothing is lost but the
answers that were on their way. Items pass one by one, so memory does not grow with media or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.evaluation.inference.client import (
    DEFAULT_POLICY,
    Asker,
    Endpoint,
    RequestPolicy,
    encodable,
    now,
    open_client,
    without_credentials,
)
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

#: Until the server must have told of itself.
FACTS_SECONDS = 30.0


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
    elsewhere: tuple[str, ...] = ()
    """Other endpoints whose answers by a model of this name are in the file and do not count."""

    @property
    def failures(self) -> int:
        """Items that have no answer yet; the same call asks them again."""
        return self.statuses["error"] + self.statuses["timeout"]

    def describe(self) -> str:
        """A line for people, and one for each thing to know."""
        asked = sum(self.statuses.values())
        parts = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items())) or "nothing to do"
        there = f", {self.there} were there already" if self.there else ""
        lines = [f"{self.run}: {asked} of {self.items} items asked ({parts}){there}"]
        if thinking := self.statuses["thinking"]:
            lines.append(
                f"{thinking} were still thinking at the limit on tokens: raise it (evaluate run: --max-tokens)"
            )
        if self.elsewhere:
            lines.append(
                f"answers from {' and '.join(self.elsewhere)} are in the file and do not count here: nothing says that "
                "the weights are the same (with the same --revision for both, they would)"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Asked:
    """What is asked of whom: the run as it is known in a file of transcripts, under the same names."""

    run: str
    model: str
    revision: str | None
    endpoint: str | None
    sampling: dict[str, Any]

    @classmethod
    def of(
        cls, run: str | None, model: str, revision: str | None, endpoint: str | None, sampling: SamplingFields
    ) -> _Asked:
        sent, endpoint = sampling.sent(), None if revision else endpoint
        return cls(run or run_name(model, revision or endpoint, sent), model, revision, endpoint, sent)

    def read(self, folder: Path, record: Mapping[str, Any]) -> Request:
        return read_request(folder, record, self.sampling, self.revision or self.endpoint, self.model)

    def known_requests(self, out: Path) -> tuple[dict[bytes, int], set[str]]:
        """The run's requests in the file: item and hash -> 0 if settled, else the number of its attempts. And the other
        endpoints that answered under the model's name there.

        Raises:
            CourseError: a damaged file, or the run's name stands for another model or other fields there.
        """
        known: dict[bytes, int] = {}
        elsewhere: set[str] = set()
        names = [field.name for field in dataclasses.fields(self)]
        for line in read_transcripts(out):
            differ = [name for name in names if getattr(line, name) != getattr(self, name)]
            if differ and "run" not in differ:
                self._refuse(line, differ, out)
            if line.endpoint and self.endpoint and {*differ} == {"run", "endpoint"}:
                elsewhere.add(line.endpoint)
            if "run" in differ:
                continue
            key = short_hash(line.item_id, line.request_hash)
            known[key] = 0 if line.settled or known.get(key) == 0 else max(known.get(key, 0), line.attempt)
        return known, elsewhere

    def _refuse(self, line: Transcript, differ: list[str], out: Path) -> None:
        both = (
            f"{name} {getattr(line, name) or 'not recorded'} there, {getattr(self, name) or 'not given'} now"
            for name in differ
        )
        weights = "; the same weights at two addresses are one run if both calls name their --revision"
        raise CourseError(
            f"The run '{self.run}' in {shown(out)} is something else.",
            f"one name would mix both: {'; '.join(both)}",
            "choose another name for the run, or another file" + weights * ("endpoint" in differ),
        )


async def run_items(
    items_folder: str | Path,
    out: str | Path,
    endpoint: Endpoint,
    sampling: SamplingFields | Mapping[str, Any],
    policy: RequestPolicy = DEFAULT_POLICY,
    run: str | None = None,
    limit: int | None = None,
) -> RunSummary:
    """Ask a model about the items of a folder, and append a transcript of every attempt to a file.

    In a notebook: ``await run_items(...)``. An item is done if a line of this run has its name and `request_hash` and
    is settled; failures are asked again. The order of the lines is that of the answers. A progress bar shows on
    terminals.

    Args:
        items_folder: with ``items.jsonl`` and the media that it names.
        out: the file of transcripts (JSON lines). It may hold other runs.
        sampling: see `SamplingFields`, also for what a server fills in that is not sent.
        policy: concurrency, attempts and waits.
        run: name of this model with these fields; None makes one of both.

    Returns:
        What happened; failures are counted there, not raised.

    Raises:
        CourseError: unusable items or fields; a run's name that stands for something else in this file; another process
            writes to it, or it cannot be written; no server answers (any more), it refuses the key or lacks the model.
    """
    folder, out, fields = Path(items_folder), Path(out), sampling_fields(sampling)
    from tqdm import tqdm

    began, items = time.monotonic(), check_items(folder, limit)
    with TranscriptWriter(out) as writer:
        async with open_client(endpoint, policy.concurrency) as client:
            address = without_credentials(client.base_url).removesuffix("/")
            found, version, root = await _ask_server(client, address, endpoint.model)
            where = address if root in (None, endpoint.model) else f"{address} ({root})"
            asked = _Asked.of(run, endpoint.model, endpoint.revision, where, fields)
            facts = {
                "device": endpoint.device, "dtype": endpoint.dtype, "server": found,
                "server_version": version, "seed": fields.seed, "origin": "run",
            }  # fmt: skip
            asker = Asker(client, f"The server at {address}", endpoint.api_key, policy)
            known, elsewhere = asked.known_requests(out)
            summary = RunSummary(asked.run, items, repaired=writer.repaired, elsewhere=tuple(sorted(elsewhere)))
            with tqdm(total=items, desc=summary.run, unit="item", disable=None) as bar:  # None: unless on a terminal
                if summary.repaired:
                    bar.write(summary.repaired, file=sys.stderr)
                work = _Work(folder, asked, facts, asker, writer, known, summary, bar)
                try:
                    await work.do(islice(stream_items(folder), limit))
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
    folder, out = Path(items_folder), Path(out)
    if not out.is_file():
        return None
    asked = _Asked.of(run, model, revision, None, sampling_fields(sampling))
    (known, _), count = asked.known_requests(out), 0
    for record in islice(stream_items(folder), limit):
        request = asked.read(folder, record)
        if known.get(short_hash(request.item_id, request.hash)) != 0:
            return None
        count += 1
    return RunSummary(asked.run, count, there=count)


def run_name(model: str, weights: str | None, sampling: dict[str, Any]) -> str:
    """What a run is called that nobody named: the model, and a hash of its revision or endpoint and sampling fields."""
    return f"{model}-{request_hash([], [], sampling, weights, model)[:8]}"


async def _ask_server(client: httpx.AsyncClient, address: str, model: str) -> tuple[str, str | None, str | None]:
    """Software and version of the server, and what it calls the model's files, as far as it says.

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
            f"No server answers at {address}.", str(error) or type(error).__name__, "start it, or fix the address"
        ) from None
    if models.status_code in (401, 403):
        raise CourseError(f"The server at {address} refused the key.", "it is missing or wrong", "use the right one")
    files: dict[str, Any] = {}
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        entries = models.json()["data"] if models.status_code == 200 else []
        files = {entry["id"]: entry.get("root") for entry in entries}
    if files and model not in files:
        raise CourseError(
            f"The server at {address} has no model '{model}'.",
            "a misspelt name",
            f"use one of: {', '.join(list(files)[:10])}",
        )
    told = files.get(model) if isinstance(files.get(model), str) else None
    with contextlib.suppress(ValueError, LookupError, TypeError):
        if version.status_code == 200 and isinstance(found := version.json()["version"], str):
            return "vllm", found, told
    return client.base_url.netloc.decode(), None, told


@dataclass
class _Work:
    """A run in progress: as many workers as requests may be in flight, which share the items."""

    folder: Path
    asked: _Asked
    facts: dict[str, Any]
    """Further fields of every transcript."""
    asker: Asker
    writer: TranscriptWriter
    known: dict[bytes, int]
    summary: RunSummary
    bar: Any

    async def do(self, items: Iterator[dict[str, Any]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.asker.policy.concurrency):
                    group.create_task(self._worker(items))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _worker(self, items: Iterator[dict[str, Any]]) -> None:
        for record in items:
            request = await asyncio.to_thread(self.asked.read, self.folder, record)
            earlier = self.known.get(short_hash(request.item_id, request.hash))
            if earlier == 0:
                self.summary.there += 1
                self.bar.total -= 1
                continue
            transcript = await self._settle(request, earlier or 0)
            self.summary.statuses[transcript.status] += 1
            self.bar.update()
            self._show()

    async def _settle(self, request: Request, earlier: int) -> Transcript:
        """Ask until there is an answer or no hope, and return the last attempt."""
        media: tuple[Medium, ...] = ()

        def write(number: int, fields: dict[str, Any]) -> Transcript:
            transcript = Transcript(
                **vars(self.asked), **self.facts, item_id=request.item_id, media=media, request_hash=request.hash,
                attempt=earlier + number, **fields,
            )  # fmt: skip
            self.writer.append(transcript)
            return transcript

        def record(number: int, fields: dict[str, Any]) -> Transcript:
            self.summary.attempts += 1
            self.summary.retries += number > 1
            self._show()
            return write(number, fields)

        try:
            media, body = await asyncio.to_thread(self._prepare, request)
        except CourseError as error:  # a broken medium is this item's failure, not the run's
            why = encodable(f"Not sent: {error.what}")
            return write(1, {"status": "error", "error": why, "time": now(), "latency_seconds": 0.0})
        return await self.asker.settle(body, record)

    def _prepare(self, request: Request) -> tuple[tuple[Medium, ...], bytes]:
        return describe_media(request), request_body(request, self.asked.model, self.asked.sampling)

    def _show(self) -> None:
        self.bar.set_postfix(failed=self.summary.failures, retries=self.summary.retries, refresh=False)

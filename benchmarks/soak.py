"""A long run of mixed requests, good ones and faults, against one server: does anything fail, leak or stick?

Requests come at random moments (open loop) whatever the server does. Good ones are text, images and videos of the toy
world, half of them streamed. Faults are clients that send what cannot be used, which has to be answered by 4xx with a
reason, and clients that hang up. A few questions are asked before and after, alone, and their answers compared. It
begins with a crowd of good requests, so that the memory of a full batch is taken before memory is looked at.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shlex
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import soak_requests as requests
from benchmarks.process_use import allocated_bytes
from benchmarks.setting import Found, Options, Setting, bench_command
from benchmarks.soak_requests import chat_body
from helpers.errors import CourseError
from helpers.progress import ProgressLine
from helpers.server import Server, serve
from toolkit.evaluation.inference.client import IDLE_SECONDS
from toolkit.speed.results import Figure
from toolkit.speed.workload import ready_messages, write_workload

if TYPE_CHECKING:
    import httpx

FAULTS = 0.3
"""Share of the requests."""
POOL, PROBES = 100, 6
"""Good requests that differ, dealt in rounds so that all caches know them soon; questions before and after."""
MOST_GROWTH = 0.05
WARM_UP = 0.2
"""Share of the time after which memory counts."""
WINDOW = 0.1
"""Share of the samples after the warm-up that make its beginning and its end."""
IN_FLIGHT = 64
"""Requests at most."""
TIMEOUT_SECONDS = 120.0
SETTLING_SECONDS = 30.0
#: Samples kept in the result: a curve that a page can show.
KEPT_SAMPLES = 30
#: vLLM's gauges that must be 0 when nobody asks any more.
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
GOOD = "good: "
HUNG_UP = "hang up: "
Work = Callable[[], Awaitable[tuple[bool, str]]]


def measure(setting: Setting) -> Found:
    """The part of the benchmark: against the profile's own server, caches included."""
    minutes, rate = setting.options.minutes, setting.options.rate
    check_length(minutes, rate)
    with serve(setting.active) as server:
        record = soak(server, minutes, rate)
        command = shlex.join(server.command)
    return Found(
        bench_command("soak", "--minutes", f"{minutes:g}", "--rate", f"{rate:g}"),
        record.figures(),
        {"requests": record.rows(), "memory": record.curve()},
        {"minutes": minutes, "requests per second": rate, "share of faults": FAULTS, "server": command},
        record.notes(),
        record.broken(),
    )


def check_length(minutes: float, rate: float) -> None:
    """Before a server is started for it.

    Raises:
        CourseError: no time, or no rate.
    """
    if not (0 < minutes < float("inf") and 0 < rate < float("inf")):
        raise CourseError(f"{minutes=}, {rate=} was refused.", "", "a time and a rate above 0")


# ---------------------------------------------------------------- what was seen


@dataclass(frozen=True)
class Exchange:
    kind: str
    ok: bool
    """A good one was answered in full; a fault got what it should."""
    came: str
    """What came back, in few words."""
    seconds: float


@dataclass(frozen=True)
class SoakRecord:
    """All that was seen."""

    seconds: float
    outcomes: Sequence[Exchange]
    memory: Sequence[tuple[float, float]]
    """Seconds since the beginning, and bytes of all processes of the server together."""
    before: Sequence[str]
    """What the questions were answered at the start, ..."""
    after: Sequence[str]
    """... and at the end."""
    left: Mapping[str, float]
    """`GAUGES` afterwards."""
    alive: bool
    """Whether server and engine answered to the end."""
    late_seconds: float = 0.0
    """Requests were sent so long after their moment at most."""

    @property
    def memory_after_warm_up(self) -> tuple[float, float, float] | None:
        """Bytes right after the warm-up and at the end, medians of a tenth of the samples each, and the most; None with
        fewer than ten samples."""
        sizes = [size for moment, size in self.memory if moment >= WARM_UP * self.seconds]
        window = max(1, round(WINDOW * len(sizes)))
        ends = (sizes[:window], sizes[-window:])
        return (*map(statistics.median, ends), max(sizes)) if len(sizes) >= 10 else None

    @property
    def growth(self) -> float | None:
        """By which share the memory grew after the warm-up."""
        sizes = self.memory_after_warm_up
        return sizes[1] / sizes[0] - 1 if sizes else None

    @property
    def same_answers(self) -> int:
        """Questions that were answered at the end as at the start."""
        return sum(first == last for first, last in zip(self.before, self.after, strict=True))

    def groups(self) -> tuple[list[Exchange], list[Exchange]]:
        good = [outcome for outcome in self.outcomes if outcome.kind.startswith(GOOD)]
        return good, [outcome for outcome in self.outcomes if not outcome.kind.startswith(GOOD)]

    def broken(self) -> list[str]:
        """Which promises did not hold; empty if all did."""
        good, faults = self.groups()
        found = [] if good else ["no good request was sent"]
        for what, group in (
            ("good requests failed", good),
            ("faults got another answer than they should", faults),
        ):
            bad = [outcome for outcome in group if not outcome.ok]
            examples = list(dict.fromkeys(f"{outcome.kind}: {outcome.came}" for outcome in bad))[:3]
            found += [f"{len(bad)} of {len(group)} {what} ({'; '.join(examples)})"] if bad else []
        if self.growth is not None and self.growth > MOST_GROWTH:
            found.append(f"memory grew by {self.growth:.1%} after the warm-up; {MOST_GROWTH:.0%} is the limit")
        if changed := len(self.before) - self.same_answers:
            found.append(f"{changed} of {len(self.before)} answers are not those of the start")
        if not self.alive:
            found.append("the server died")
        return found + [f"{name} is {value:g} afterwards" for name, value in self.left.items() if value]

    def rows(self) -> list[dict[str, Any]]:
        import pandas as pd

        frame = pd.DataFrame(map(vars, self.outcomes)).assign(fault=lambda rows: ~rows["kind"].str.startswith(GOOD))
        return [
            {
                "request": kind,
                "sent": len(group),
                "as it should be": int(group["ok"].sum()),
                "what came": "; ".join(group["came"].unique()[:3]),
                "p50, s": group["seconds"].median(),
                "p95, s": group["seconds"].quantile(0.95),
            }
            for (_, kind), group in frame.groupby(["fault", "kind"])
        ]

    def curve(self) -> list[dict[str, float]]:
        """The memory, thinned out: minutes and MiB."""
        step = max(1, -(-len(self.memory) // KEPT_SAMPLES))
        return [
            {"minutes": round(moment / 60, 2), "MiB": round(size / 2**20, 1)} for moment, size in self.memory[::step]
        ]

    def figures(self) -> list[Figure]:
        good, faults = self.groups()
        failed, wrong = (sum(not outcome.ok for outcome in group) for group in (good, faults))
        told: list[tuple[str, float | None, str, str]] = [
            ("time", self.seconds / 60, "min", ""),
            ("good requests", len(good), "requests", ""),
            ("good requests that failed", failed, "requests", ""),
            ("faults", len(faults), "requests", ""),
            ("faults with another answer than they should get", wrong, "requests", ""),
            ("same answers at the end", self.same_answers, "requests", f"of {len(self.before)}"),
        ]
        if self.growth is None or not (sizes := self.memory_after_warm_up):
            told.append(("memory growth", None, "%", "too few samples: a short run"))
        else:
            span = f"medians of a tenth of the samples, after {WARM_UP * self.seconds / 60:.3g} min and at the end"
            first, last, most = (size / 2**20 for size in sizes)
            told += [
                ("memory growth", 100 * self.growth, "%", span),
                ("memory after the warm-up", first, "MiB", "all processes"),
                ("memory at the end", last, "MiB", "all processes"),
                ("most memory", most, "MiB", "of a sample after the warm-up"),
            ]
        return [Figure(name=name, value=value, unit=unit, about=about) for name, value, unit, about in told]

    def notes(self) -> list[str]:
        left = ", ".join(f"{name} {value:g}" for name, value in self.left.items())
        notes = [
            "Memory is what the server's processes allocated themselves, without the pages of libraries.",
            f"Afterwards: {left}; the server {'answers' if self.alive else 'has died'}.",
            "Requests come at random moments, whether or not earlier ones are answered; "
            f"sent at most {self.late_seconds:.2g} s after their moment.",
            f"{POOL} different good requests: caches of prefixes and images know all of them after the first rounds. "
            "New images would fill the image cache up to its limit, which is no leak.",
        ]
        return [*(f"NOT HELD: {promise}" for promise in self.broken()), *notes]


def gauges(metrics: str) -> dict[str, float]:
    """`GAUGES` in the text of ``/metrics``, engines added up."""
    found: dict[str, float] = {}
    for name in GAUGES:
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", metrics, re.MULTILINE)
        if values:
            found[name] = sum(map(float, values))
    return found


# ---------------------------------------------------------------- running it


def soak(
    server: Server, minutes: float = Options.minutes, rate: float = Options.rate, *, quiet: bool = False
) -> SoakRecord:
    """Ask for so long, and return what was seen; nothing is judged here. Not for a thread that has an event loop.

    Args:
        server: it should have no other clients. It is left running.
        minutes: of requests; questions before and after, and the last answers, come on top.
        rate: requests per second on average; what the server can answer in time is the caller's business.

    Raises:
        CourseError: no time, no rate, or a server that does not answer the first questions.
    """
    check_length(minutes, rate)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        records = write_workload(folder, POOL + PROBES, seed=0, answers=(8, 64))
        ready = [(record["sort"], ready_messages(folder, record), record["answer_tokens"]) for record in records]
        faults = requests.refused_requests(folder, server.model_name)
    run = _Run(server, ready[PROBES:], faults, random.Random("soak-0"))  # noqa: S311 - no secret
    return asyncio.run(run.all(ready[:PROBES], 60 * minutes, rate, ProgressLine(quiet)))


@dataclass
class _Run:
    """Everything that one soak shares."""

    server: Server
    good: Sequence[tuple[str, Any, int]]
    """Sort, messages and longest answer of each."""
    faults: Mapping[str, bytes]
    rng: random.Random
    outcomes: list[Exchange] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)

    async def all(self, probes: Sequence[Any], seconds: float, rate: float, progress: ProgressLine) -> SoakRecord:
        import httpx

        headers = {"Authorization": f"Bearer {self.server.api_key}", "Content-Type": "application/json"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=IN_FLIGHT, keepalive_expiry=IDLE_SECONDS)
        async with httpx.AsyncClient(
            base_url=self.server.root_url, headers=headers, limits=limits, trust_env=False, timeout=TIMEOUT_SECONDS
        ) as client:
            before = await self._probe(client, probes)
            if failed := [answer for answer in before if answer.startswith("failed")]:
                raise CourseError("The server does not answer before the soak.", failed[0], "look at its log")
            await self._crowd(client)
            watcher = asyncio.create_task(self._watch(max(0.5, seconds / 360)))
            began = time.monotonic()
            try:
                late = await self._send(client, seconds, rate, progress)
                took = time.monotonic() - began
            finally:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher
                progress.close("")
            after = await self._probe(client, probes)
            left = await self._settled(client)
        alive = await asyncio.to_thread(self.server.is_alive)
        return SoakRecord(took, self.outcomes, self.memory, before, after, left, alive, late)

    async def _crowd(self, client: httpx.AsyncClient) -> None:
        """Each good request once, as many at a time as are ever in flight: what a full batch needs is then taken, and a
        later moment in which the server falls behind does not look like a leak."""
        slots = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            for sort, messages, longest in self.good:
                body = chat_body(self.server.model_name, messages, max_completion_tokens=longest)
                await slots.acquire()
                group.create_task(self._record(f"{GOOD}{sort}", lambda body=body: requests.ask(client, body), slots))

    async def _send(self, client: httpx.AsyncClient, seconds: float, rate: float, progress: ProgressLine) -> float:
        """All requests, each at its moment; returns the greatest delay."""
        began, moment, late = time.monotonic(), 0.0, 0.0
        slots, in_flight = asyncio.Semaphore(IN_FLIGHT), set()
        for kind, work in self._plan(client):
            moment += self.rng.expovariate(rate)
            if moment > seconds:
                break
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            await slots.acquire()
            late = max(late, time.monotonic() - began - moment)
            task = asyncio.create_task(self._record(kind, work, slots))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
            bad = sum(not outcome.ok for outcome in self.outcomes)
            progress.show(f"soak … {moment / 60:.1f} min, {len(self.outcomes)} answered, {bad} not as they should be")
        await asyncio.gather(*in_flight)
        return late

    def _plan(self, client: httpx.AsyncClient) -> Iterator[tuple[str, Work]]:
        """Kind and work of each request, without end; drawn by seed, independent of what comes back."""
        dealt: list[tuple[str, Any, int]] = []
        refused = sorted(self.faults)
        while True:
            dealt = dealt or self.rng.sample(self.good, len(self.good))
            draw, streamed, delay = self.rng.random(), self.rng.random() < 0.5, self.rng.uniform(0.0, 0.3)
            sort, messages, longest = dealt[-1]
            if draw >= FAULTS:
                dealt.pop()
                body = chat_body(self.server.model_name, messages, max_completion_tokens=longest, stream=streamed)
                ask = requests.ask_streamed if streamed else requests.ask
                yield f"{GOOD}{sort}{', streamed' if streamed else ''}", lambda ask=ask, body=body: ask(client, body)
            elif draw >= FAULTS / 2:
                kind = self.rng.choice(refused)
                yield kind, lambda body=self.faults[kind]: requests.ask_what_is_refused(client, body)
            else:
                # So long an answer that nobody waits for its end.
                body = chat_body(
                    self.server.model_name, messages, max_completion_tokens=1024, ignore_eos=True, stream=streamed
                )
                yield self._hang_up(client, body, streamed, delay)

    def _hang_up(self, client: httpx.AsyncClient, body: bytes, streamed: bool, delay: float) -> tuple[str, Work]:
        if streamed:
            pieces = self.rng.randint(1, 20)
            return f"{HUNG_UP}in the middle of a stream", lambda: requests.cancel_stream(client, body, pieces)
        if self.rng.random() < 0.5:
            return f"{HUNG_UP}in the middle of the request", lambda: requests.break_off(self.server, body)
        return f"{HUNG_UP}before the answer", lambda: requests.leave(client, body, delay)

    async def _record(self, kind: str, work: Work, slots: asyncio.Semaphore) -> None:
        import httpx

        began = time.monotonic()
        try:
            ok, came = await work()
        except (httpx.HTTPError, OSError, ValueError, LookupError, TypeError) as error:
            ok, came = False, f"{type(error).__name__} {error}".strip()[:120]
        finally:
            slots.release()
        self.outcomes.append(Exchange(kind, ok, came, time.monotonic() - began))

    async def _probe(self, client: httpx.AsyncClient, probes: Sequence[tuple[str, Any, int]]) -> list[str]:
        """The answers, one question after the other."""
        import httpx

        answers = []
        for _, messages, longest in probes:
            body = chat_body(self.server.model_name, messages, max_completion_tokens=longest)
            try:
                answer = await client.post("/v1/chat/completions", content=body)
                answers.append(json.dumps(answer.json()["choices"][0]) if answer.status_code == 200 else "failed")
            except (httpx.HTTPError, ValueError, LookupError) as error:
                answers.append(f"failed: {type(error).__name__} {error}")
        return answers

    async def _watch(self, every: float) -> None:
        began = time.monotonic()
        while self.server.pid is not None:
            with suppress(OSError):
                self.memory.append(
                    (time.monotonic() - began, await asyncio.to_thread(allocated_bytes, self.server.pid))
                )
            await asyncio.sleep(every)

    async def _settled(self, client: httpx.AsyncClient) -> dict[str, float]:
        """The gauges as soon as all are 0, or what they are when the time is up; empty if the server does not tell."""
        import httpx

        deadline, left = time.monotonic() + SETTLING_SECONDS, {}
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                left = gauges((await client.get("/metrics")).text)
                if left and not any(left.values()):
                    break
            await asyncio.sleep(0.5)
        return left

"""A long run of mixed requests, good ones and faults, against one server: does anything fail, leak or stick?

Requests come at random moments (open loop) whatever the server does. Good ones are words, pictures and clips of the
toy world, half of them streamed. Faults are clients that send what cannot be used, which has to be answered by 4xx with
a reason, and clients that hang up. A few questions are asked before and after, alone, and their answers compared. It
begins with a crowd of good requests, so that the memory of a full batch is taken before memory is looked at.
"""

from __future__ import annotations

import asyncio
import io
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

from benchmarks.bodies import about_medium, chat_body
from benchmarks.setting import Found, Setting
from helpers.errors import CourseError
from helpers.processes import allocated_bytes
from helpers.progress import ProgressLine
from toolkit.evaluation.inference.client import IDLE_SECONDS
from toolkit.speed.results import Figure
from toolkit.speed.workload import ready_messages, write_workload

if TYPE_CHECKING:
    import httpx

    from helpers.server import Server

MINUTES, RATE = 30.0, 3.0
FAULTS = 0.3
"""Share of the requests."""
POOL, PROBES = 100, 6
"""Good requests that differ, dealt in rounds so that all caches know them soon; questions before and after."""
MOST_GROWTH = 0.05
WARM_UP = 0.2
"""Share of the time after which memory counts."""
WINDOW = 0.1
"""Share of the samples after the warm-up that make its beginning and its end."""
MOST_UNDER_WAY = 64
TIMEOUT_SECONDS = 120.0
SETTLING_SECONDS = 30.0
#: Samples kept in the result: a curve that a page can show.
KEPT_SAMPLES = 30
BARS = "▁▂▃▄▅▆▇█"
#: vLLM's gauges that must be 0 when nobody asks any more.
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
GOOD = "good: "
HUNG_UP = "hang up: "


@dataclass(frozen=True)
class Outcome:
    """One request."""

    kind: str
    ok: bool
    """A good one was answered in full; a fault got what it should."""
    came: str
    """What came back, in few words."""
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether it was a good request, not whether it went well."""
        return self.kind.startswith(GOOD)


@dataclass(frozen=True)
class SoakRecord:
    """All that was seen."""

    seconds: float
    outcomes: Sequence[Outcome]
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
    def after_warm_up(self) -> list[tuple[float, float]]:
        """Samples of the memory that count."""
        return [(moment, size) for moment, size in self.memory if moment >= WARM_UP * self.seconds]

    @property
    def memory_ends(self) -> tuple[float, float] | None:
        """Bytes right after the warm-up and at the end, medians of a tenth of the samples each; None with fewer than
        ten samples."""
        sizes = [size for _, size in self.after_warm_up]
        if len(sizes) < 10:
            return None
        some = max(1, round(WINDOW * len(sizes)))
        return statistics.median(sizes[:some]), statistics.median(sizes[-some:])

    @property
    def growth(self) -> float | None:
        """By which share the memory grew after the warm-up."""
        return None if self.memory_ends is None else self.memory_ends[1] / self.memory_ends[0] - 1

    def broken(self) -> list[str]:
        """Which promises did not hold; empty if all did."""
        found = []
        good = [one for one in self.outcomes if one.is_good]
        if not good:
            found.append("no good request was sent")
        for what, group in (("good requests failed", good), ("faults got another answer than they should", None)):
            some = group if group is not None else [one for one in self.outcomes if not one.is_good]
            bad = [one for one in some if not one.ok]
            if bad:
                examples = dict.fromkeys(f"{one.kind}: {one.came}" for one in bad)
                found.append(f"{len(bad)} of {len(some)} {what} ({'; '.join(list(examples)[:3])})")
        if self.growth is not None and self.growth > MOST_GROWTH:
            found.append(f"memory grew by {self.growth:.1%} after the warm-up; {MOST_GROWTH:.0%} is the limit")
        if changed := sum(a != b for a, b in zip(self.before, self.after, strict=True)):
            found.append(f"{changed} of {len(self.before)} answers are not those of the start")
        if not self.alive:
            found.append("the server died")
        found += [f"{name} is {value:g} afterwards" for name, value in self.left.items() if value]
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One row for each kind of request."""
        kinds: dict[str, list[Outcome]] = {}
        for one in sorted(self.outcomes, key=lambda one: (not one.is_good, one.kind)):
            kinds.setdefault(one.kind, []).append(one)
        rows = []
        for kind, ones in kinds.items():
            seconds = sorted(one.seconds for one in ones)
            came = dict.fromkeys(one.came for one in ones)
            rows.append(
                {
                    "request": kind,
                    "sent": len(ones),
                    "as it should be": sum(one.ok for one in ones),
                    "what came": "; ".join(list(came)[:3]),
                    "p50, s": statistics.median(seconds),
                    "p95, s": seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
                }
            )
        return rows

    def curve(self) -> list[dict[str, float]]:
        """The memory, thinned out: minutes and MiB."""
        step = max(1, -(-len(self.memory) // KEPT_SAMPLES))
        return [
            {"minutes": round(moment / 60, 2), "MiB": round(size / 2**20, 1)} for moment, size in self.memory[::step]
        ]

    def figures(self) -> list[Figure]:
        """What the page shows."""
        good = [one for one in self.outcomes if one.is_good]
        faults = [one for one in self.outcomes if not one.is_good]
        same = sum(a == b for a, b in zip(self.before, self.after, strict=True))
        figures = [
            Figure(name="time", value=self.seconds / 60, unit="min"),
            Figure(name="good requests", value=float(len(good)), unit="requests"),
            Figure(name="good requests that failed", value=float(sum(not one.ok for one in good)), unit="requests"),
            Figure(name="faults", value=float(len(faults)), unit="requests"),
            Figure(
                name="faults with another answer than they should get",
                value=float(sum(not one.ok for one in faults)),
                unit="requests",
            ),
            Figure(name="same answers at the end", value=float(same), unit="requests", about=f"of {len(self.before)}"),
        ]
        ends = self.memory_ends
        if ends is None:
            return [*figures, Figure(name="memory growth", value=None, unit="%", about="too few samples: a short run")]
        highest = max(size for _, size in self.after_warm_up)
        span = f"medians of a tenth of the samples, after {WARM_UP * self.seconds / 60:.3g} min and at the end"
        return [
            *figures,
            Figure(name="memory growth", value=100 * self.growth, unit="%", about=span),
            Figure(name="memory after the warm-up", value=ends[0] / 2**20, unit="MiB", about="all processes"),
            Figure(name="memory at the end", value=ends[1] / 2**20, unit="MiB", about="all processes"),
            Figure(name="most memory", value=highest / 2**20, unit="MiB", about="of a sample after the warm-up"),
        ]

    def notes(self) -> list[str]:
        """The memory as a line of bars, and what a reader has to know."""
        left = ", ".join(f"{name} {value:g}" for name, value in self.left.items())
        notes = [
            "Memory is what the server's processes allocated themselves, without the pages of libraries.",
            f"Memory: {bars([row['MiB'] for row in self.curve()])} (least to greatest sample, not from 0)",
            f"Afterwards: {left}; the server {'answers' if self.alive else 'has died'}.",
            "Requests come at random moments, whether or not earlier ones are answered; "
            f"sent at most {self.late_seconds:.2g} s after their moment.",
            f"{POOL} different good requests: caches of prefixes and pictures know all of them after the first rounds. "
            "New pictures would fill the picture cache up to its limit, which is no leak.",
        ]
        return [*(f"NOT HELD: {one}" for one in self.broken()), *notes]


def bars(values: Sequence[float]) -> str:
    """Values as a line of eight heights, least to greatest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    return "".join(
        BARS[round((len(BARS) - 1) * (value - low) / (high - low))] if high > low else "▄" for value in values
    )


# ---------------------------------------------------------------- running it


def soak(
    server: Server,
    minutes: float = MINUTES,
    rate: float = RATE,
    *,
    seed: int = 0,
    samples_every: float | None = None,
    quiet: bool = False,
) -> SoakRecord:
    """Ask for so long, and return what was seen; nothing is judged here. Not for a thread that has an event loop.

    Args:
        server: it should have no other clients. It is left running.
        minutes: of requests; questions before and after, and the last answers, come on top.
        rate: requests a second on average; what the server can answer in time is the caller's business.
        seed: of requests, faults and moments.
        samples_every: seconds between two looks at the memory; None: 360 looks, but none below half a second.
        quiet: no progress.

    Raises:
        CourseError: no time, no rate, or a server that does not answer the first questions.
    """
    check_length(minutes, rate)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        records = write_workload(folder, POOL + PROBES, seed=seed, answers=(8, 64))
        ready = [(record["sort"], ready_messages(folder, record), record["answer_tokens"]) for record in records]
        faults = refused_requests(folder, server.model_name)
    run = _Run(server, ready[PROBES:], faults, random.Random(f"soak-{seed}"))  # noqa: S311 - no secret
    seconds = 60 * minutes
    return asyncio.run(run.all(ready[:PROBES], seconds, rate, samples_every or max(0.5, seconds / 360), quiet))


def measure(setting: Setting) -> Found:
    """The part of the benchmark: against the profile's own server, caches included."""
    from benchmarks.parts import soak_command
    from helpers.server import serve

    minutes, rate = setting.options.minutes, setting.options.rate
    check_length(minutes, rate)
    with serve(setting.active) as server:
        record = soak(server, minutes, rate)
        command = shlex.join(server.command)
    return Found(
        soak_command(setting),
        record.figures(),
        {"requests": record.rows(), "memory": record.curve()},
        {"minutes": minutes, "requests a second": rate, "share of faults": FAULTS, "server": command},
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


def refused_requests(folder: Path, model: str) -> dict[str, bytes]:
    """Bodies that a server has to refuse, by what is wrong with them."""
    from PIL import Image

    from toolkit.toyworld import broken_media as broken

    png = io.BytesIO()
    Image.effect_noise((96, 96), 60).save(png, "PNG")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    clips = {
        "cut off": broken.half(folder / "cut.mp4", broken.write(folder / "whole.mp4", draw=broken.corners)),
        "no frames": broken.write(folder / "none.mp4", frames=0),
        "one frame": broken.write(folder / "one.mp4", frames=1),
        "sound only": broken.sound(folder / "sound.mp4"),
    }
    contents: dict[str, Any] = {
        "a picture that is text": about_medium("image_url", "image/png", b"This is no picture."),
        "a picture cut off": about_medium("image_url", "image/png", png.getvalue()[: len(png.getvalue()) // 2]),
        "a picture of 20,000 × 20,000 pixels": about_medium("image_url", "image/png", bomb.getvalue()),
        **{
            f"a clip: {name}": about_medium("video_url", "video/mp4", file.read_bytes()) for name, file in clips.items()
        },
        "a prompt longer than the context": "word " * 20_000,
        "typed media tokens": "Describe <|image_pad|>.",
    }
    bodies = {name: chat_body(model, content, max_completion_tokens=8) for name, content in contents.items()}
    bodies["an answer longer than the context"] = chat_body(model, "Hello", max_completion_tokens=10**7)
    bodies["a temperature below 0"] = chat_body(model, "Hello", temperature=-1)
    bodies["an unknown model"] = chat_body("no-such-model", "Hello")
    bodies["no messages"] = json.dumps({"model": model}).encode()
    bodies["no JSON"] = b'{"model": '
    return {f"fault: {name}": body for name, body in bodies.items()}


@dataclass
class _Run:
    """Everything that one soak shares."""

    server: Server
    good: Sequence[tuple[str, Any, int]]
    """Sort, messages and longest answer of each."""
    faults: Mapping[str, bytes]
    rng: random.Random
    outcomes: list[Outcome] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)

    async def all(self, probes: Sequence[Any], seconds: float, rate: float, every: float, quiet: bool) -> SoakRecord:
        import httpx

        headers = {"Authorization": f"Bearer {self.server.api_key}", "Content-Type": "application/json"}
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=MOST_UNDER_WAY, keepalive_expiry=IDLE_SECONDS
        )
        options = {"base_url": self.server.root_url, "headers": headers, "limits": limits, "trust_env": False}
        async with httpx.AsyncClient(**options, timeout=TIMEOUT_SECONDS) as client:
            before = await self._probe(client, probes)
            if failed := [answer for answer in before if answer.startswith("failed")]:
                raise CourseError("The server does not answer before the soak.", failed[0], "look at its log")
            await self._crowd(client)
            watcher = asyncio.create_task(self._watch(every))
            progress = ProgressLine(quiet)
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
        """Each good request once, as many at a time as are ever under way: what a full batch needs is then taken, and
        a later moment in which the server falls behind does not look like a leak."""
        places = asyncio.Semaphore(MOST_UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            for sort, messages, longest in self.good:
                body = chat_body(self.server.model_name, messages, max_completion_tokens=longest)
                await places.acquire()
                group.create_task(self._record(f"{GOOD}{sort}", lambda body=body: _ask(client, body), places))

    async def _send(self, client: httpx.AsyncClient, seconds: float, rate: float, progress: ProgressLine) -> float:
        """All requests, each at its moment; returns the greatest delay."""
        began, moment, late = time.monotonic(), 0.0, 0.0
        places, under_way = asyncio.Semaphore(MOST_UNDER_WAY), set()
        for kind, work in self._plan(client):
            moment += self.rng.expovariate(rate)
            if moment > seconds:
                break
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            await places.acquire()
            late = max(late, time.monotonic() - began - moment)
            task = asyncio.create_task(self._record(kind, work, places))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            bad = sum(not one.ok for one in self.outcomes)
            progress.show(f"soak … {moment / 60:.1f} min, {len(self.outcomes)} answered, {bad} not as they should be")
        await asyncio.gather(*under_way)
        return late

    def _plan(self, client: httpx.AsyncClient) -> Iterator[tuple[str, Callable[[], Awaitable[tuple[bool, str]]]]]:
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
                ask = _ask_streamed if streamed else _ask
                yield f"{GOOD}{sort}{', streamed' if streamed else ''}", lambda ask=ask, body=body: ask(client, body)
            elif draw >= FAULTS / 2:
                kind = self.rng.choice(refused)
                yield kind, lambda body=self.faults[kind]: _ask_what_is_refused(client, body)
            else:
                # So long an answer that nobody waits for its end.
                body = chat_body(
                    self.server.model_name, messages, max_completion_tokens=1024, ignore_eos=True, stream=streamed
                )
                yield self._hang_up(client, body, streamed, delay)

    def _hang_up(
        self, client: httpx.AsyncClient, body: bytes, streamed: bool, delay: float
    ) -> tuple[str, Callable[[], Awaitable[tuple[bool, str]]]]:
        if streamed:
            pieces = self.rng.randint(1, 20)
            return f"{HUNG_UP}in the middle of a stream", lambda: _cancel_stream(client, body, pieces)
        if self.rng.random() < 0.5:
            return f"{HUNG_UP}in the middle of the request", lambda: _break_off(self.server, body)
        return f"{HUNG_UP}before the answer", lambda: _leave(client, body, delay)

    async def _record(
        self, kind: str, work: Callable[[], Awaitable[tuple[bool, str]]], places: asyncio.Semaphore
    ) -> None:
        import httpx

        began = time.monotonic()
        try:
            ok, came = await work()
        except (httpx.HTTPError, OSError, ValueError, LookupError, TypeError) as error:
            ok, came = False, f"{type(error).__name__} {error}".strip()[:120]
        finally:
            places.release()
        self.outcomes.append(Outcome(kind, ok, came, time.monotonic() - began))

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


def gauges(metrics: str) -> dict[str, float]:
    """`GAUGES` in the text of ``/metrics``, engines added up."""
    found: dict[str, float] = {}
    for name in GAUGES:
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", metrics, re.MULTILINE)
        if values:
            found[name] = sum(map(float, values))
    return found


# ---------------------------------------------------------------- one request each; all return whether it went as it
# should, and what came in few words

_PATH = "/v1/chat/completions"


async def _ask(client: httpx.AsyncClient, body: bytes) -> tuple[bool, str]:
    answer = await client.post(_PATH, content=body)
    if answer.status_code != 200:
        return False, f"{answer.status_code} {_reason(answer.content)}"
    choice = answer.json()["choices"][0]
    return _whole(choice["finish_reason"], choice["message"]["content"])


async def _ask_streamed(client: httpx.AsyncClient, body: bytes) -> tuple[bool, str]:
    text, finish, last = "", None, ""
    async with client.stream("POST", _PATH, content=body) as answer:
        if answer.status_code != 200:
            return False, f"{answer.status_code} {_reason(await answer.aread())}"
        async for line in answer.aiter_lines():
            last = line or last
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    return False, f"an error in the stream: {chunk['error']}"[:120]
                for choice in chunk["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
    if last != "data: [DONE]":
        return False, "a stream without its end"
    return _whole(finish, text)


def _whole(finish: str | None, text: str | None) -> tuple[bool, str]:
    if finish not in ("stop", "length"):
        return False, f"an answer that ended by {finish}"
    return (True, "an answer") if text else (False, "an empty answer")


async def _ask_what_is_refused(client: httpx.AsyncClient, body: bytes) -> tuple[bool, str]:
    answer = await client.post(_PATH, content=body)
    reason = _reason(answer.content)
    told = 400 <= answer.status_code < 500 and bool(reason)
    return told, f"{answer.status_code} with a reason" if told else f"{answer.status_code} {reason}".strip()


def _reason(content: bytes) -> str:
    """The message of an error, as the OpenAI API has it; '' if there is none."""
    try:
        told = json.loads(content)
        return str((told.get("error") or told)["message"])[:120]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


async def _cancel_stream(client: httpx.AsyncClient, body: bytes, pieces: int) -> tuple[bool, str]:
    """Read some pieces of a long answer, and close the connection."""
    seen = 0
    async with client.stream("POST", _PATH, content=body) as answer:
        if answer.status_code != 200:
            return False, f"{answer.status_code} {_reason(await answer.aread())}"
        async for line in answer.aiter_lines():
            seen += line.startswith("data: {")
            if seen == pieces:
                break
    return (True, "closed by the client") if seen == pieces else (False, f"the stream ended after {seen} pieces")


async def _leave(client: httpx.AsyncClient, body: bytes, seconds: float) -> tuple[bool, str]:
    """Send everything, wait a moment, and close the connection."""
    try:
        answer = await asyncio.wait_for(client.post(_PATH, content=body), seconds)
    except TimeoutError:
        return True, "closed by the client"
    return answer.status_code == 200, f"{answer.status_code} before the client left"


async def _break_off(server: Server, body: bytes) -> tuple[bool, str]:
    """Announce a body, send half of it, and close the connection."""
    import httpx

    url = httpx.URL(server.root_url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {_PATH} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {server.api_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body[: len(body) // 2])
        await writer.drain()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return True, "closed by the client"

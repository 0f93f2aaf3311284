"""How the course's work on a served model grows: with prompts, items, pixels, frames and clients.

Every size is asked with answers of one token, so that it is reading and not writing that grows. Texts are cheap words,
pictures gradients, clips grey frames of 64 × 64 at two a second, of which the server takes every one.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import statistics
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bodies import about_medium, chat_body
from benchmarks.setting import Found, Setting, bench_command
from benchmarks.soak import MOST_GROWTH
from helpers.errors import CourseError
from helpers.processes import allocated_bytes
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.runner import run_items
from toolkit.evaluation.inference.transcripts import read_transcripts
from toolkit.speed.growth import Growth, fit_growth
from toolkit.speed.results import Figure
from toolkit.toyworld import broken_media as broken
from toolkit.toyworld.items import write_items

if TYPE_CHECKING:
    import httpx

    from helpers.server import Server

#: Items are short sentences: ten thousand of them are answered in minutes.
ITEMS = (100, 1_000, 10_000)
SIZES: Mapping[str, tuple[int, ...]] = {
    "words of a prompt": (32, 128, 512, 1024, 2048, 3500),
    "items": ITEMS,
    "transcripts read back": ITEMS,
    "pixels that the model sees": (64**2, 128**2, 256**2, 512**2),
    "pixels above its limit": (512**2, 1024**2, 2048**2, 4096**2),
    "frames": (4, 16, 64, 192),
    "clients": (1, 4, 16, 64),
}
REPEATS: Mapping[str, int] = {"words of a prompt": 5, "items": 1, "pixels that the model sees": 5, "clients": 5}
OTHER_REPEATS = 3
#: Attention compares every token with every other one: up to n² in the prompt, and in the patches of a picture.
WITH_ATTENTION = {"words of a prompt", "pixels that the model sees", "frames"}
#: The exponent at the end of the sizes may exceed the law's by so much before it is called more: a step between two
#: sizes is measured, too.
TOLERANCE = 0.2
REQUESTS_OF_A_CLIENT = 10
CONCURRENCY = 8
#: Memory that came on top of what was there before; less is what libraries and allocators keep, and no growth.
LITTLE = 32 * 2**20
FIRST_SEED = 11_700_000


@dataclass(frozen=True)
class Point:
    """One size, measured once."""

    n: int
    seconds: float
    server_bytes: float
    """The most of all processes of the server meanwhile, beyond what they had before the first size."""
    client_bytes: float
    """The same of this process; for transcripts, of Python's objects."""


@dataclass(frozen=True)
class Series:
    """What was measured about one thing that grows."""

    name: str
    points: Sequence[Point]

    @property
    def sizes(self) -> list[int]:
        """From least to greatest."""
        return sorted({point.n for point in self.points})

    def fastest(self, n: int) -> float:
        """Seconds of the least disturbed repeat."""
        return min(point.seconds for point in self.points if point.n == n)

    def memory(self, n: int) -> tuple[float, float]:
        """The most of server and client at this size, in bytes."""
        some = [point for point in self.points if point.n == n]
        return max(point.server_bytes for point in some), max(point.client_bytes for point in some)

    @property
    def fit(self) -> Growth:
        """Of the seconds, over all sizes."""
        return fit_growth([point.n for point in self.points], [point.seconds for point in self.points])

    @property
    def end(self) -> float:
        """The exponent between the two greatest sizes, where a fixed cost hides least."""
        smaller, greater = self.sizes[-2:]
        return math.log(self.fastest(greater) / self.fastest(smaller)) / math.log(greater / smaller)

    @property
    def memory_exponent(self) -> float | None:
        """Of server and client together; None where they grew by too little to speak of growth. Sizes that took less
        than that count as if they took it: its logarithm would be that of noise."""
        totals = [max(LITTLE, sum(max(0.0, part) for part in self.memory(n))) for n in self.sizes]
        return None if max(totals) == LITTLE else fit_growth(self.sizes, totals).exponent

    def describe_end(self) -> str:
        """What the fit of the seconds does not say."""
        memory = "flat" if self.memory_exponent is None else f"n^{self.memory_exponent:.2f}"
        return f"n^{self.end:.2f} at the end, memory {memory}"

    @property
    def allowed(self) -> float:
        """Greatest exponent that is no surprise."""
        return 2.0 if self.name in WITH_ATTENTION else 1.0

    @property
    def holds(self) -> bool:
        """Whether neither time nor memory grows faster than it may."""
        times = max(self.end, self.fit.low) <= self.allowed + TOLERANCE
        return times and (self.memory_exponent is None or self.memory_exponent <= 1.0 + TOLERANCE)


@dataclass(frozen=True)
class GrowthRecord:
    """All series, and how flat the longest run was."""

    series: Sequence[Series]
    flat: Mapping[str, float]
    """Of server and client: by which share their memory grew within the run over the most items, from the end of its
    first fifth to its end (medians of a tenth of the samples)."""
    of_items: int

    def broken(self) -> list[str]:
        """What grows faster than it may."""
        steep = [one for one in self.series if not one.holds]
        found = [f"{one.name}: {one.fit.describe()}, {one.describe_end()}" for one in steep]
        grown = [(who, by) for who, by in self.flat.items() if by > MOST_GROWTH]
        return found + [f"the memory of the {who} grew by {by:.1%} within the run" for who, by in grown]

    def figures(self) -> list[Figure]:
        """The exponents of time, then how flat the memory is."""
        figures = []
        for one in self.series:
            fit, law = one.fit, "attention allows 2" if one.allowed > 1 else "linear is 1"
            about = f"n^{one.end:.2f} at the end; {law}"
            name = f"{one.name}, exponent"
            figures.append(Figure(name=name, value=fit.exponent, unit="", low=fit.low, high=fit.high, about=about))
        for who, by in self.flat.items():
            about = f"within the run over {self.of_items:,} items, after its first fifth"
            figures.append(Figure(name=f"memory growth of the {who}", value=100 * by, unit="%", about=about))
        return figures

    def rows(self) -> list[dict[str, Any]]:
        """One row for each size: fastest seconds, and memory beyond what was there before."""
        return [
            {
                "what": one.name,
                "n": f"{n:,}",
                "seconds": one.fastest(n),
                "ms for each": 1000 * one.fastest(n) / n,
                "server, MiB more": round(one.memory(n)[0] / 2**20, 1),
                "client, MiB more": round(one.memory(n)[1] / 2**20, 1),
            }
            for one in self.series
            for n in one.sizes
        ]

    def laws(self) -> list[dict[str, Any]]:
        """One row for each series: the fitted exponents."""
        return [
            {
                "what": one.name,
                "time": f"n^{one.fit.exponent:.2f}",
                "from": f"{one.fit.low:.2f}",
                "to": f"{one.fit.high:.2f}",
                "R²": one.fit.r_squared,
                "at the end": f"n^{one.end:.2f}",
                "memory": "flat" if one.memory_exponent is None else f"n^{one.memory_exponent:.2f}",
                "may be": f"n^{one.allowed:.0f}",
                "holds": one.holds,
            }
            for one in self.series
        ]

    def notes(self) -> list[str]:
        """What a reader has to know."""
        notes = [
            "A fixed cost of each request pulls an exponent towards 0; the one at the end is between the two greatest "
            "sizes.",
            "Answers have one token. Items are sentences of the toy world, asked by the evaluation's runner, "
            f"{CONCURRENCY} at a time; prompts are cheap words, pictures gradients, clips grey frames of 64 × 64 at "
            f"two a second; every client asks {REQUESTS_OF_A_CLIENT} short questions, one after the other.",
            "The processor shrinks pictures to its limit of pixels: above it only decoding and shrinking grow.",
            f"Memory is called flat below {LITTLE // 2**20} MiB more than before.",
        ]
        return [*(f"NOT HELD: {one}" for one in self.broken()), *notes]


def measure(setting: Setting) -> Found:
    """The part of the benchmark."""
    record = measure_all(setting.server)
    sizes = {name: f"{min(some):,} to {max(some):,}" for name, some in SIZES.items()}
    repeats = ", ".join(f"{name} {times}" for name, times in REPEATS.items())
    return Found(
        bench_command("growth"),
        record.figures(),
        {"fitted exponents": record.laws(), "measurements": record.rows()},
        {**sizes, "repeats": repeats},
        record.notes(),
        record.broken(),
    )


# ---------------------------------------------------------------- measuring


def measure_all(
    server: Server, sizes: Mapping[str, Sequence[int]] = SIZES, repeats: Mapping[str, int] = REPEATS
) -> GrowthRecord:
    """Measure every series of ``sizes``; about five minutes on two cores. Not for a thread that has an event loop.

    Args:
        server: it should have no other clients, and no caches.
        sizes: names of `SIZES` with at least three sizes each; transcripts only beside items.
        repeats: of a series; `OTHER_REPEATS` where it is not named.

    Raises:
        CourseError: an unknown series, or a request that failed.
    """
    import httpx

    if unknown := sorted(sizes.keys() - SIZES.keys()):
        raise CourseError(f"There is no series '{unknown[0]}'.", "a misspelt name", f"use some of: {', '.join(SIZES)}")
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    series, memory = [], _Memory(server.pid)
    with (
        tempfile.TemporaryDirectory() as place,
        httpx.Client(base_url=server.root_url, headers=headers, timeout=300, trust_env=False) as client,
        memory,
    ):
        work = Path(place)
        prepared: dict[str, Callable[[int], Callable[[], Any]]] = {
            "words of a prompt": lambda n: _asking(client, server, _words(n)),
            "pixels that the model sees": lambda n: _asking(client, server, _picture(n)),
            "pixels above its limit": lambda n: _asking(client, server, _picture(n)),
            "frames": lambda n: _asking(client, server, _clip(n, work)),
            "clients": lambda n: lambda: asyncio.run(_clients(server, headers, n)),
            "items": lambda n: lambda: _items(server, work, n),
        }
        _asking(client, server, _words(8))()
        if "items" in sizes:
            for _ in write_items("sentence", max(sizes["items"]), FIRST_SEED, work / "items"):
                pass
        for name in sizes:
            if name != "transcripts read back":
                series.append(
                    _measured(name, sorted(sizes[name]), repeats.get(name, OTHER_REPEATS), prepared[name], memory)
                )
        if "transcripts read back" in sizes:
            name, some = "transcripts read back", sorted(sizes["items"])
            series.append(measured_here(name, some, lambda n: _read_back(work / f"{n}.jsonl")))
    return GrowthRecord(series, memory.flatness("items"), max(sizes.get("items", [0])))


def _measured(
    name: str, sizes: Sequence[int], repeats: int, prepare: Callable[[int], Callable[[], Any]], memory: _Memory
) -> Series:
    """Sizes in ascending order, so that memory that is kept belongs to the size that took it."""
    before, points = memory.now(), []
    for _, n in itertools.product(range(repeats), sizes):
        run = prepare(n)
        with memory.span(name) as seen:
            began = time.perf_counter()
            run()
            seconds = time.perf_counter() - began
        server, client = (max(part) for part in zip(*seen, strict=True))
        points.append(Point(n, seconds, server - before[0], client - before[1]))
    return Series(name, points)


def measured_here(name: str, sizes: Sequence[int], run: Callable[[int], Any]) -> Series:
    """A series of work in this process.

    Sizes take turns, so that a slow minute of the machine does not fall on one of them. The memory is the most that
    Python objects took beyond what was there before, measured once per size in a pass that is not timed.
    """
    peaks = {}
    for n in sizes:
        tracemalloc.start()
        run(n)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    points = []
    for _, n in itertools.product(range(OTHER_REPEATS), sizes):
        began = time.perf_counter()
        run(n)
        points.append(Point(n, time.perf_counter() - began, 0.0, peaks[n]))
    return Series(name, points)


class _Memory:
    """Looks at the memory of the server and of this process in a thread of its own."""

    EVERY_SECONDS = 0.2

    def __init__(self, pid: int | None):
        import psutil

        self._pid, self._me = pid, psutil.Process()
        self._done = threading.Event()
        self._seen: list[tuple[float, float]] | None = None
        self._spans: dict[str, list[tuple[float, float]]] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def now(self) -> tuple[float, float]:
        """Bytes of the server's processes, 0 if it was started elsewhere, and of this one."""
        server = 0.0
        with suppress(OSError):
            server = allocated_bytes(self._pid) if self._pid is not None else 0.0
        return server, float(self._me.memory_info().rss)

    @contextmanager
    def span(self, name: str) -> Iterator[list[tuple[float, float]]]:
        """The samples while the block runs, one at its end included; the last span of a name is kept."""
        self._seen = seen = []
        try:
            yield seen
        finally:
            self._seen = None
            seen.append(self.now())
            self._spans[name] = seen

    def flatness(self, name: str) -> dict[str, float]:
        """By which share the memory grew after the first fifth of the last span of this name; without 20 samples
        nothing is said."""
        samples = self._spans.get(name, [])
        samples = samples[len(samples) // 5 :]
        if len(samples) < 20:
            return {}
        some = len(samples) // 10
        found = {}
        for who, part in zip(("server", "client"), zip(*samples, strict=True), strict=True):
            first = statistics.median(part[:some])
            if first:
                found[who] = statistics.median(part[-some:]) / first - 1
        return found

    def _watch(self) -> None:
        while not self._done.wait(self.EVERY_SECONDS):
            if (seen := self._seen) is not None:
                seen.append(self.now())


# ---------------------------------------------------------------- one size of each

#: No two prompts, pictures and clips are the same, so that no cache knows them.
_number = itertools.count()


def _asking(client: httpx.Client, server: Server, content: Any) -> Callable[[], None]:
    body = chat_body(server.model_name, content, max_completion_tokens=1)

    def ask() -> None:
        answer = client.post("/v1/chat/completions", content=body)
        if answer.status_code != 200:
            raise CourseError("A request failed.", f"status {answer.status_code}: {answer.text[:200]}", "try fewer")

    return ask


def _words(count: int) -> str:
    return f"{next(_number)}" + " a" * count


def _picture(pixels: int) -> list[dict[str, Any]]:
    """A gradient of so many pixels: a small file, which costs as much to decode as any other."""
    from PIL import Image

    side, file = math.isqrt(pixels), io.BytesIO()
    picture = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    number = next(_number)
    picture.putpixel((0, 0), (number % 256, number // 256 % 256, 128))
    picture.save(file, "PNG", compress_level=1)
    return about_medium("image_url", "image/png", file.getvalue())


def _clip(frames: int, folder: Path) -> list[dict[str, Any]]:
    number = next(_number)
    path = broken.write(
        folder / f"{number}.mp4", frames=frames, fps=2, draw=lambda i, *size: broken.plain(i + number, *size)
    )
    return about_medium("video_url", "video/mp4", path.read_bytes())


async def _clients(server: Server, headers: Mapping[str, str], count: int) -> None:
    """So many clients, each with its questions one after the other.

    With aiohttp, as vLLM's own tool: at 64 clients httpx takes longer than the server, and would be measured instead.
    """
    import aiohttp

    body = chat_body(server.model_name, _words(8), max_completion_tokens=1)
    url = f"{server.base_url}/chat/completions"
    async with aiohttp.ClientSession(
        headers=dict(headers), connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(300)
    ) as client:

        async def ask() -> None:
            for _ in range(REQUESTS_OF_A_CLIENT):
                async with client.post(url, data=body) as answer:
                    answer.raise_for_status()
                    await answer.read()

        try:
            await asyncio.gather(*(ask() for _ in range(count)))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CourseError(f"A request of {count} clients failed.", str(error), "look at the server's log") from None


def _items(server: Server, work: Path, count: int) -> None:
    """The evaluation's runner over the first items, with a file of transcripts of its own."""
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": 1, "seed": 0}
    summary = asyncio.run(
        run_items(
            work / "items",
            work / f"{count}.jsonl",
            Endpoint(server.base_url, server.model_name, server.api_key),
            sampling,
            RequestPolicy(CONCURRENCY),
            limit=count,
        )
    )
    if summary.failures:
        raise CourseError(f"{summary.failures} of {count} items failed.", "", "look at the server's log")


def _read_back(path: Path) -> None:
    for _ in read_transcripts(path):
        pass

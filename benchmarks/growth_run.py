"""How the course's work on a served model grows: with prompts, items, pixels, frames and clients.

Every size is asked with answers of one token, so that it is reading and not writing that grows. Texts are cheap words,
images gradients, videos grey frames of 64 × 64 at two per second, of which the server takes every one.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bodies import about_medium, chat_body
from benchmarks.growth_record import REQUESTS_PER_CLIENT, GrowthRecord, Point, Series
from benchmarks.process_use import allocated_bytes
from benchmarks.setting import CONCURRENCY, Found, Setting, bench_command
from helpers.errors import CourseError
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.runner import run_items
from toolkit.evaluation.inference.transcripts import read_transcripts
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
FIRST_SEED = 11_700_000
Prepare = Callable[[int], Callable[[], Any]]
"""Builds the input of a size, and returns what is to be measured."""


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
    with (
        tempfile.TemporaryDirectory() as place,
        httpx.Client(base_url=server.root_url, headers=headers, timeout=300, trust_env=False) as client,
        _Memory(server.pid) as memory,
    ):
        work = Path(place)
        prepared: dict[str, Prepare] = {
            "words of a prompt": lambda n: _asking(client, server, _words(n)),
            "pixels that the model sees": lambda n: _asking(client, server, _image(n)),
            "pixels above its limit": lambda n: _asking(client, server, _image(n)),
            "frames": lambda n: _asking(client, server, _video(n, work)),
            "clients": lambda n: lambda: asyncio.run(_clients(server, headers, n)),
            "items": lambda n: lambda: _items(server, work, n),
        }
        _asking(client, server, _words(8))()
        for _ in write_items("sentence", max(sizes.get("items", (1,))), FIRST_SEED, work / "items"):
            pass
        series = [
            _measured(name, sorted(sizes[name]), repeats.get(name, OTHER_REPEATS), prepared[name], memory)
            for name in sizes
            if name in prepared
        ]
        if (name := "transcripts read back") in sizes:
            series.append(measured_here(name, sorted(sizes["items"]), lambda n: _read_back(work / f"{n}.jsonl")))
    return GrowthRecord(series, memory.flatness("items"), max(sizes.get("items", [0])))


def _measured(name: str, sizes: Sequence[int], repeats: int, prepare: Prepare, memory: _Memory) -> Series:
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
        tenth, found = len(samples) // 10, {}
        for who, part in zip(("server", "client"), zip(*samples, strict=True), strict=True):
            if first := statistics.median(part[:tenth]):
                found[who] = statistics.median(part[-tenth:]) / first - 1
        return found

    def _watch(self) -> None:
        while not self._done.wait(self.EVERY_SECONDS):
            if (seen := self._seen) is not None:
                seen.append(self.now())


# ---------------------------------------------------------------- one size of each

#: No two prompts, images and videos are the same, so that no cache knows them.
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


def _image(pixels: int) -> list[dict[str, Any]]:
    """A gradient of so many pixels: a small file, which costs as much to decode as any other."""
    from PIL import Image

    side, file = math.isqrt(pixels), io.BytesIO()
    image = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    number = next(_number)
    image.putpixel((0, 0), (number % 256, number // 256 % 256, 128))
    image.save(file, "PNG", compress_level=1)
    return about_medium("image_url", "image/png", file.getvalue())


def _video(frames: int, folder: Path) -> list[dict[str, Any]]:
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
            for _ in range(REQUESTS_PER_CLIENT):
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

"""How the course's work on a served model grows: with prompts, items, pixels, frames and clients.

Every size is asked with answers of one token, so that it is reading and not writing that grows. Texts are cheap words,
images gradients, videos grey frames of 64 × 64 at two per second, of which the server takes every one.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bodies import about_medium, chat_body
from benchmarks.process_use import allocated_bytes
from benchmarks.setting import CONCURRENCY, Found, Setting, bench_command
from helpers.errors import CourseError
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.runner import run_items
from toolkit.speed.growth import fit_growth
from toolkit.speed.results import Figure
from toolkit.toyworld import broken_media as broken
from toolkit.toyworld.items import write_items

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from helpers.server import Server

SIZES: Mapping[str, Sequence[int]] = {
    "words of a prompt": (32, 128, 512, 1024, 2048, 3500),
    "items": (100, 1_000, 10_000),  # short sentences: ten thousand of them are answered in minutes
    "pixels that the model sees": (64**2, 128**2, 256**2, 512**2),
    "pixels above its limit": (512**2, 1024**2, 2048**2, 4096**2),
    "frames": (4, 16, 64, 192),
    "clients": (1, 4, 16, 64),
}
REPEATS, REQUESTS_PER_CLIENT = 5, 10
FIRST_SEED = 11_700_000
#: Attention compares every token with every other one: up to n² in the prompt, and in the patches of an image.
WITH_ATTENTION = {"words of a prompt", "pixels that the model sees", "frames"}
#: The exponent at the end of the sizes may exceed the law's by so much before it is called more: a step between two
#: sizes is measured, too.
TOLERANCE = 0.2
#: Memory in bytes that came on top of what was there before; less is what libraries and allocators keep, and no growth.
LITTLE = 32 * 2**20
#: By this share the memory of a process may grow within the longest run.
MOST_GROWTH = 0.05
#: Bytes of all processes of the server, and of this one.
Memory = tuple[float, float]
NOTES = (
    "A fixed cost of each request pulls an exponent towards 0; the one at the end is between the two greatest sizes.",
    "Answers have one token. Items are sentences of the toy world, asked by the evaluation's runner, "
    f"{CONCURRENCY} at a time; prompts are cheap words, images gradients, videos grey frames of 64 × 64 at two per "
    f"second; every client asks {REQUESTS_PER_CLIENT} short questions, one after the other.",
    "The processor shrinks images to its limit of pixels: above it only decoding and shrinking grow.",
    f"Memory is called flat below {LITTLE // 2**20} MiB more than before.",
)


def measure(setting: Setting) -> Found:
    """The part of the benchmark; about five minutes on two cores."""
    points, samples = measure_all(setting.server)
    found = [law(str(what), own) for what, own in points.groupby("what", sort=False)]
    flat = flatness(samples)
    promises = not_held(found, flat)
    return Found(
        bench_command("growth"),
        figures(found, flat),
        {"fitted exponents": found, "measurements": rows(points)},
        {name: f"{min(sizes):,} to {max(sizes):,}" for name, sizes in SIZES.items()} | {"repeats": REPEATS},
        [*(f"NOT HELD: {promise}" for promise in promises), *NOTES],
        promises,
    )


# ---------------------------------------------------------------- what it says


def law(what: str, points: pd.DataFrame) -> dict[str, Any]:
    """How one thing grows, as a row of the result, and whether neither time nor memory grows faster than it may.

    Args:
        points: columns n, seconds, and server and client: bytes beyond what was there before.
    """
    fit, fastest = fit_growth(points["n"], points["seconds"]), points.groupby("n")["seconds"].min()
    (smaller, before), (greater, after) = fastest.iloc[-2:].items()
    end = math.log(after / before) / math.log(greater / smaller)  # where a fixed cost hides least
    # Sizes that took little count as if they took LITTLE: the logarithm would be that of noise.
    totals = points.groupby("n")[["server", "client"]].max().clip(lower=0).sum(axis=1).clip(lower=LITTLE)
    memory = fit_growth(totals.index, totals).exponent if totals.max() > LITTLE else 0.0
    allowed = 2.0 if what in WITH_ATTENTION else 1.0
    return {
        "what": what,
        "exponent": fit.exponent,
        "from": fit.low,
        "to": fit.high,
        "R²": fit.r_squared,
        "at the end": end,
        "memory": f"n^{memory:.2f}" if memory else "flat",
        "may be": allowed,
        "holds": max(end, fit.low) <= allowed + TOLERANCE and memory <= 1.0 + TOLERANCE,
    }


def flatness(samples: Sequence[Memory]) -> dict[str, float]:
    """By which share the memory of server and client grew after the first fifth of a run (medians of a tenth of the
    samples); without 20 samples nothing is said."""
    import pandas as pd

    frame = pd.DataFrame(samples, columns=["server", "client"]).iloc[len(samples) // 5 :]
    if len(frame) < 20:
        return {}
    first, last = frame.head(len(frame) // 10).median(), frame.tail(len(frame) // 10).median()
    return {str(who): last[who] / first[who] - 1 for who in frame if first[who]}


def not_held(laws: Sequence[Mapping[str, Any]], flat: Mapping[str, float]) -> list[str]:
    """What grows faster than it may."""
    found = [
        f"{row['what']}: n^{row['exponent']:.2f}, n^{row['at the end']:.2f} at the end, memory {row['memory']}"
        for row in laws
        if not row["holds"]
    ]
    return found + [
        f"the memory of the {who} grew by {by:.1%} within a run" for who, by in flat.items() if by > MOST_GROWTH
    ]


def figures(laws: Sequence[Mapping[str, Any]], flat: Mapping[str, float]) -> list[Figure]:
    """The exponents of time, then how flat memory is within the longest run."""
    found = [
        Figure(
            name=f"{row['what']}, exponent",
            value=row["exponent"],
            unit="",
            low=row["from"],
            high=row["to"],
            about=f"n^{row['at the end']:.2f} at the end; at most {row['may be']:.0f} is allowed",
        )
        for row in laws
    ]
    about = f"within the run over {max(SIZES['items']):,} items, after its first fifth"
    return found + [
        Figure(name=f"memory growth of the {who}", value=100 * by, unit="%", about=about) for who, by in flat.items()
    ]


def rows(points: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per size: fastest seconds, and memory beyond what was there before."""
    return [
        {
            "what": what,
            "n": f"{n:,}",
            "seconds": own["seconds"].min(),
            "ms for each": 1000 * own["seconds"].min() / n,
            "server, MiB more": round(own["server"].max() / 2**20, 1),
            "client, MiB more": round(own["client"].max() / 2**20, 1),
        }
        for (what, n), own in points.groupby(["what", "n"], sort=False)
    ]


# ---------------------------------------------------------------- measuring


def measure_all(
    server: Server, sizes: Mapping[str, Sequence[int]] = SIZES, repeats: int = REPEATS
) -> tuple[pd.DataFrame, list[Memory]]:
    """Measure every series, and return its points (see `law`, with column what) and the memory during the last run over
    items. Not for a thread that has an event loop.

    Args:
        server: it should have no other clients, and no caches.
        sizes: of each series of `SIZES`.
        repeats: of a series; items are asked once.

    Raises:
        CourseError: a request that failed.
    """
    import httpx
    import pandas as pd

    points, of_items = [], list[Memory]()
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    with (
        tempfile.TemporaryDirectory() as place,
        httpx.Client(base_url=server.root_url, headers=headers, timeout=300, trust_env=False) as client,
    ):
        work = Path(place)
        prepared: dict[str, Callable[[int], Callable[[], Any]]] = {
            "words of a prompt": lambda n: _asking(client, server, _words(n)),
            "items": lambda n: lambda: _items(server, work, n),
            "pixels that the model sees": lambda n: _asking(client, server, _image(n)),
            "pixels above its limit": lambda n: _asking(client, server, _image(n)),
            "frames": lambda n: _asking(client, server, _video(n, work)),
            "clients": lambda n: lambda: asyncio.run(_clients(server, headers, n)),
        }
        _asking(client, server, _words(8))()
        for _ in write_items("sentence", max(sizes["items"]), FIRST_SEED, work / "items"):
            pass
        for what, some in sizes.items():
            before = _memory_now(server.pid)
            # Sizes in ascending order, so that memory that is kept belongs to the size that took it.
            for _, n in itertools.product(range(1 if what == "items" else repeats), some):
                run = prepared[what](n)
                with _memory_of(server.pid) as seen:
                    began = time.perf_counter()
                    run()
                    seconds = time.perf_counter() - began
                most = (max(part) - start for part, start in zip(zip(*seen, strict=True), before, strict=True))
                points.append((what, n, seconds, *most))
                of_items = seen if what == "items" else of_items
    return pd.DataFrame(points, columns=["what", "n", "seconds", "server", "client"]), of_items


def _memory_now(pid: int | None) -> Memory:
    """0 for a server that was started elsewhere."""
    import psutil

    server = 0.0
    with suppress(OSError):
        server = allocated_bytes(pid) if pid is not None else 0.0
    return server, float(psutil.Process().memory_info().rss)


@contextmanager
def _memory_of(pid: int | None) -> Iterator[list[Memory]]:
    """The memory while the block runs, every fifth of a second and at its end."""
    seen, done = list[Memory](), threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            seen.append(_memory_now(pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(_memory_now(pid))


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

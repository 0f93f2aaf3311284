"""Attempts on a server by single requests: without the key, out of its folder, to hosts it must not call, too large.

Each function gives rows: what was tried at a door, what came back, and whether the server held.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from helpers.processes import family
from tests.front.bait import MIB, Bait, blank_png
from tests.front.door import Door

#: The allowed host of the check; ``127.0.0.1``, the same machine by another name, is forbidden.
ALLOWED = "localhost"
HELD, OPEN, UNCHECKED = "held", "let through", "not checked"
#: What no setting of vLLM closes; it takes a network in which the server can reach nothing.
KNOWN_GAP = "an allowed name that leads to an address inside, at any port"
#: What Python's parts of the answer may cost a server that takes nothing in.
LITTLE_MIB = 16
#: Square images of one bit a pixel, a few KB as files: above our limit and below vLLM's, and above Pillow's.
OVERSIZE, BOMB = 8_000, 30_000


@dataclass(frozen=True)
class Attempt:
    """What was tried at a door, and what came back."""

    tried: str
    where: str
    came_back: str
    verdict: str

    @classmethod
    def at(cls, door: Door, tried: str, came_back: str, held: bool) -> Self:
        """With the verdict of a check: whether the server held."""
        return cls(tried, door.where, came_back, HELD if held else OPEN)


def announced_routes(log: str) -> list[tuple[str, str]]:
    """Method and path of every route in a server's log, in its order; vLLM lists them while it starts."""
    found = re.findall(r"Route: (\S+), Methods: ([A-Z, ]+)", log)
    return [(method, path) for path, methods in found for method in methods.split(", ") if method != "HEAD"]


def keyless_status(door: Door, routes: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Status of each route ('POST /tokenize') for a client without a key; the body is an empty object."""
    return {
        f"{method} {path}": door.ask(
            method, re.sub(r"\{.*?\}", "none", path), {} if method == "POST" else None, key=None
        ).status
        for method, path in routes
    }


def route_rows(door: Door, statuses: dict[str, int], welcome: Sequence[str] = ("GET /health",)) -> Iterator[Attempt]:
    """Which routes answer without a key; the front refuses with 401, 404 or 405."""
    opened = {name: status for name, status in statuses.items() if status not in (401, 404, 405)}
    strange = [name for name in opened if name not in welcome]
    told = ", ".join(f"{name} {status}" for name, status in opened.items()) or "none answers"
    yield Attempt.at(door, f"all {len(statuses)} routes without a key", told, not strange)


def key_rows(door: Door) -> Iterator[Attempt]:
    """Requests without the key, with a wrong one, with the path in disguise, and past the guarded paths."""
    for told, key in {"no key": None, "a wrong key": "guessed"}.items():
        reply = door.chat("hello", key=key)
        yield Attempt.at(door, f"a question, {told}", reply.told(), reply.status == 401)
    spellings = ["//v1/models", "/%761/models", "/./v1/models", "/health/../v1/models", "/health/..%2fv1/models"]
    spellings += ["/v1/models/", "/V1/models", "/v1/models?x=/health", "http://elsewhere/v1/models", "/v1;x/models"]
    statuses = [door.ask("GET", path, key=None).status for path in spellings]
    told = ", ".join(f"{count} × {status}" for status, count in sorted(Counter(statuses).items()))
    yield Attempt.at(door, f"{len(spellings)} spellings of /v1/models, no key", told, 200 not in statuses)
    reply = door.chat("hello", path="/invocations", key=None)
    answered = reply.status == 200 and "choices" in reply.text
    told = f"{reply.told()}{', a whole answer of the model' if answered else ''}"
    yield Attempt.at(door, "a question to /invocations, no key", told, reply.status != 200)
    reply = door.ask("POST", "/tokenize", {"model": door.model, "prompt": "hello"}, key=None)
    yield Attempt.at(door, "text to /tokenize, no key", reply.told(), reply.status != 200)


def file_rows(door: Door, folder: Path, outside: Path) -> Iterator[Attempt]:
    """``file://`` addresses that lead out of the media folder, to a file that the server could read, but must not."""
    up = "/".join([".."] * len(folder.parts))
    spellings = {
        "an image outside the folder": f"file://{outside}",
        "the same by ..": f"file://{folder}/{up}{outside}",
        "the same by %2e%2e": f"file://{folder}/{up.replace('.', '%2e')}{outside}",
        "the same by file://localhost": f"file://localhost{outside}",
        "the same by FILE:": f"FILE:{outside}",
        "/etc/hostname": "file:///etc/hostname",
    }
    for told, url in spellings.items():
        reply = door.look(url)
        yield Attempt.at(door, f"file://: {told}", reply.told(), reply.status != 200)
    inside = next(folder.rglob("*.png"), None)
    if inside:
        reply = door.look(inside.as_uri())
        yield Attempt.at(door, "file://: an image inside, as it should be", reply.told(), reply.status == 200)


def lure_rows(door: Door, allowed: Bait, secret: Bait, *, by_name: bool) -> Iterator[Attempt]:
    """Addresses by which a client makes the server call others: the verdict is whether the secret host saw a visit.

    Args:
        door: to the server.
        allowed: listens on a host that the server may fetch from, and redirects to the secret one.
        secret: listens where the server must not go.
        by_name: whether the server was told an allowed host; without, everything is allowed.
    """
    port = secret.port
    urls = {
        "127.0.0.1": [f"http://127.0.0.1:{port}/p.png"],
        "a redirect from an allowed host to 127.0.0.1": [f"http://{ALLOWED}:{allowed.port}/redirect"],
    }
    if (name := socket.gethostname()) != ALLOWED and _leads_home(name):
        urls["a name of this machine's"] = [f"http://{name}:{port}/p.png"]
    if by_name:
        urls["127.0.0.1 in ten disguises"] = [
            f"http://2130706433:{port}/",
            f"http://0x7f000001:{port}/",
            f"http://127.1:{port}/",
            f"http://0.0.0.0:{port}/",
            f"http://[::ffff:127.0.0.1]:{port}/",
            f"http://{ALLOWED}@127.0.0.1:{port}/",
            f"http://127.0.0.1:{port}\\@{ALLOWED}/",
            f"http://127.0.0.1:{port}#@{ALLOWED}/",
            f"http://{ALLOWED}:x@127.0.0.1:{port}/",
            f"HTTP://127.0.0.1:{port}/?{ALLOWED}",
        ]
        # Without a list of hosts the server would really go there.
        urls["private and link-local addresses"] = ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/"]
        urls["ftp: and gopher:"] = [f"ftp://{ALLOWED}:{port}/", f"gopher://{ALLOWED}:{port}/"]
    for told, group in urls.items():
        before, replies = secret.visits, [door.look(url) for url in group]
        counted = sorted(Counter(reply.told() for reply in replies).items())
        answers = ", ".join(f"{count} × {reply}" if len(group) > 1 else reply for reply, count in counted)
        lured = secret.visits > before
        held = not lured and all(reply.status != 200 for reply in replies)
        yield Attempt.at(door, f"fetch {told}", f"{answers}; {'visited' if lured else 'no visit'}", held)
    if by_name:
        before, reply = secret.visits, door.look(f"http://{ALLOWED}:{port}/p.png")
        visited = secret.visits > before
        told = f"{reply.told()}; {'visited' if visited else 'no visit'}"
        yield Attempt.at(door, f"fetch {KNOWN_GAP}", told, not visited)


def fetch_rows(door: Door, allowed: Bait, media_mib: int) -> Iterator[Attempt]:
    """An allowed host that does not play fair."""
    before, reply = allowed.visits, door.look(f"http://{ALLOWED}:{allowed.port}/p.png")
    works = allowed.visits > before and reply.status == 200
    yield Attempt.at(door, "fetch an image from an allowed host, as it should be", reply.told(), works)
    for told, path in {"300 MiB packed into 0.3": "gzip", "nothing, ever": "silence"}.items():
        with memory_peak(door.pid) as grown:
            reply = door.look(f"http://{ALLOWED}:{allowed.port}/{path}.png")
        most = 4 * media_mib if path == "gzip" else LITTLE_MIB
        held = reply.status >= 400 and reply.seconds < 20 and sum(grown) < most
        told = f"an allowed host that sends {told}"
        yield Attempt.at(door, told, f"{reply.told()}, {_grew(grown)}", held)


def size_rows(door: Door, body_mib: int) -> Iterator[Attempt]:
    """Pictures, bodies and numbers that are too large."""
    for told, side in {"an image too large": OVERSIZE, "a decompression bomb": BOMB}.items():
        png = blank_png(side)
        with memory_peak(door.pid) as grown:
            reply = door.look(f"data:image/png;base64,{base64.b64encode(png).decode()}")
        # Opened, it takes three bytes a pixel at least.
        held = 400 <= reply.status < 500 and sum(grown) < side * side / MIB
        tried = f"{told}: {side:,} × {side:,} in {len(png) / 1000:.0f} KB"
        yield Attempt.at(door, tried, f"{reply.told()}, {_grew(grown)}", held)
    for told, key in {"no key": None, "the key": door.key}.items():
        body = b" " * ((body_mib + 44) * MIB)
        with memory_peak(door.pid) as grown:
            reply = door.ask("POST", "/v1/chat/completions", body, key=key)
        held = reply.status in (401, 413) and sum(grown) < LITTLE_MIB
        tried = f"a body of {body_mib + 44} MiB, {told}"
        yield Attempt.at(door, tried, f"{reply.told()}, {_grew(grown)}", held)
    reply = door.chat("hello", n=1000, max_tokens=1, temperature=1)
    yield Attempt.at(door, "a request for 1,000 answers", reply.told(), reply.status == 400)


@contextmanager
def memory_peak(pid: int | None) -> Iterator[list[float]]:
    """MiB that a process and its children grew by at most while the block ran, as the list's only entry afterwards."""
    import psutil

    grown: list[float] = []
    if pid is None:
        yield grown
        return
    processes = family(pid)

    def resident() -> int:
        return sum(process.memory_info().rss for process in processes if process.is_running())

    before, done = resident(), threading.Event()
    highest = before

    def watch() -> None:
        nonlocal highest
        with suppress(psutil.Error):
            while not done.wait(0.01):
                highest = max(highest, resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()
        grown.append((highest - before) / MIB)


def _grew(grown: list[float]) -> str:
    return f"memory +{max(0, grown[0]):.0f} MiB" if grown else "memory not seen"


def _leads_home(name: str) -> bool:
    with suppress(OSError):
        return socket.gethostbyname(name).startswith("127.")
    return False

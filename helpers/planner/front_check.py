"""Attacks on a running server, directly and through the front, and what came back.

``python -m helpers.planner.front_check --record`` starts the tiny model twice: as a guide would, with a key and nothing
else, and as ``helpers/planner/front.py`` says, with nginx in front where there is one. It writes the outcome to
``benchmarks/front_check.json``. Everything stays on this machine: the attackers, the servers, and the hosts that the
server is lured to. About seven minutes on one core.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import http.server
import itertools
import json
import os
import re
import resource
import selectors
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown
from helpers.planner.front import FrontSettings, nginx_conf, server_environment, server_flags

RECORD = COURSE_ROOT / "benchmarks" / "front_check.json"
KEY_ONLY, HARDENED, FRONT = "direct, key only", "direct, flags of front.py", "through the front"
#: The allowed host of the check; ``127.0.0.1``, the same machine by another name, is forbidden.
ALLOWED = "localhost"
HELD, OPEN, UNCHECKED = "held", "let through", "not checked"
Verdict = Literal["held", "let through", "not checked"]
#: What no setting of vLLM closes; it takes a network in which the server can reach nothing.
KNOWN_GAP = "an allowed name that leads to an address inside, at any port"
SLOW_CLIENTS = 1000
#: What Python's parts of the answer may cost a server that takes nothing in.
LITTLE_MIB = 16
#: Square pictures of one bit a pixel, a few KB as files: above our limit and below vLLM's, and above Pillow's.
OVERSIZE, BOMB = 8_000, 30_000
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One attempt."""

    tried: str
    where: str
    came_back: str
    verdict: Verdict


@dataclass(frozen=True)
class Reply:
    """An answer; status 0: the connection was closed without one."""

    status: int
    text: str
    seconds: float

    def told(self) -> str:
        """Status, and how long it took where that is long."""
        status = str(self.status) if self.status else "connection closed"
        return f"{status} after {self.seconds:.0f} s" if self.seconds >= 1 else status


@dataclass
class Door:
    """A way to the server: where, and with which key. Every request comes from another address of this machine, so that
    a front takes them for different clients."""

    where: str
    host: str
    port: int
    key: str
    model: str
    tls: ssl.SSLContext | None = None
    pid: int | None = None
    """Of the model server, for its memory."""
    addresses: Iterator[str] = field(default_factory=lambda: map("127.1.{0[0]}.{0[1]}".format, _pairs()))

    def connect(self, source: str | None = None, seconds: float = 120) -> http.client.HTTPConnection:
        """A connection from an address of this machine; only Linux has more than one by itself."""
        source = source or (next(self.addresses) if sys.platform == "linux" else "127.0.0.1")
        more = {"timeout": seconds, "source_address": (source, 0)}
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, context=self.tls, **more)
        return http.client.HTTPConnection(self.host, self.port, **more)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        source: str | None = None,
        seconds: float = 120,
    ) -> Reply:
        """One request, with its path as it is written here.

        Args:
            method: of HTTP.
            path: sent without any normalisation.
            body: bytes, or what is sent as JSON.
            key: None sends none.
            source: address of this machine to come from.
            seconds: to wait.
        """
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        began = time.monotonic()
        with closing(self.connect(source, seconds)) as connection:
            try:
                # Who refuses need not read to the end; the answer lies there all the same.
                with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                    connection.request(method, path, body, headers)
                answer = connection.getresponse()
                status, text = answer.status, answer.read().decode(errors="replace")
            except (OSError, http.client.HTTPException):
                status, text = 0, ""
        return Reply(status, text, time.monotonic() - began)

    def chat(self, content: Any, *, path: str = "/v1/chat/completions", key: str | None = "", **changes: Any) -> Reply:
        """A question with greedy decoding; '' sends the right key."""
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        key = self.key if key == "" else key
        return self.ask("POST", path, body | {"max_tokens": 8} | changes, key=key)

    def look(self, url: str) -> Reply:
        """A question about the picture at an address."""
        return self.chat([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe this."}])


# ---------------------------------------------------------------- what the attacks need


class Bait:
    """A web server of this machine that counts who comes: pictures, redirects, a gzip bomb, and silence."""

    def __init__(self, redirect_to: str = ""):
        self.visits = 0
        bait, picture = self, blank_png(64)
        self._done = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bait.visits += 1
                if self.path.startswith("/silence"):
                    bait._done.wait(60)
                    return
                self.send_response(302 if self.path.startswith("/redirect") else 200)
                if self.path.startswith("/redirect"):
                    self.send_header("Location", redirect_to)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                zipped = self.path.startswith("/gzip")
                if zipped:
                    self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Type", "image/png")
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(gzip.compress(bytes(300 * MIB), 1) if zipped else picture)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._server.shutdown()
        self._server.server_close()


def blank_png(side: int) -> bytes:
    """A black square of one bit a pixel, written row by row: the file is about side²/8000 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + -(-side // 8))
    data = b"".join([*(packer.compress(row * 100) for _ in range(side // 100)), packer.compress(row * (side % 100))])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data + packer.flush()) + chunk(b"IEND", b"")


@contextmanager
def memory_peak(pid: int | None) -> Iterator[list[float]]:
    """MiB that a process and its children grew by at most while the block ran, as the list's only entry afterwards."""
    import psutil

    grown: list[float] = []
    if pid is None:
        yield grown
        return
    top = psutil.Process(pid)
    family = [top, *top.children(recursive=True)]

    def resident() -> int:
        return sum(process.memory_info().rss for process in family if process.is_running())

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


@contextmanager
def nginx_front(binary: str, settings: FrontSettings) -> Iterator[ssl.SSLContext]:
    """nginx as an ordinary user in the foreground, with a certificate of its own, in a folder that goes with it; gives
    what clients trust.

    Args:
        binary: path of nginx.
        settings: certificate and key are replaced.

    Raises:
        CourseError: no openssl, a configuration that nginx refuses, or an nginx that does not start.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        certificate, key = folder / "front.pem", folder / "front.key"
        self_signed(certificate, key)
        settings = replace(settings, certificate=str(certificate), certificate_key=str(key))
        (folder / "nginx.conf").write_text(nginx_conf(settings, prefix=True), encoding="utf-8")
        words = [binary, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]
        # Root's nginx would start its workers as somebody who may not enter this folder.
        more: dict[str, Any] = {}
        if os.getuid() == 0:
            more = {"user": "nobody", "group": _group_of_nobody(), "extra_groups": []}
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "nobody")
        tested = subprocess.run([*words, "-t"], capture_output=True, text=True, timeout=30, **more)
        if tested.returncode:
            raise CourseError("nginx refuses its configuration.", tested.stderr.strip()[-400:], "mend the template")
        with (folder / "nginx.log").open("wb") as log:
            running = subprocess.Popen(words, stdout=log, stderr=log, **more)
        try:
            host, _, port = settings.listen.rpartition(":")
            deadline = time.monotonic() + 10
            while not _answers(host, int(port)):
                if running.poll() is not None or time.monotonic() > deadline:
                    cause = (folder / "nginx.log").read_text(errors="replace").strip()[-400:]
                    raise CourseError("nginx did not start.", cause, "look at its port")
                time.sleep(0.05)
            yield ssl.create_default_context(cafile=str(certificate))
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def self_signed(certificate: Path, key: Path) -> None:
    """A certificate for this machine, good for two days of trying.

    Raises:
        CourseError: there is no openssl, or it failed.
    """
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run(
            [*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CourseError("No certificate could be made.", str(error), "install openssl") from None
    key.chmod(0o600)


def announced_routes(log: str) -> list[tuple[str, str]]:
    """Method and path of every route in a server's log, in its order; vLLM lists them while it starts."""
    found = re.findall(r"Route: (\S+), Methods: ([A-Z, ]+)", log)
    return [(method, path) for path, methods in found for method in methods.split(", ") if method != "HEAD"]


# ---------------------------------------------------------------- attacks


def keyless_status(door: Door, routes: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Status of each route ('POST /tokenize') for a client without a key; the body is an empty object."""
    return {
        f"{method} {path}": door.ask(
            method, re.sub(r"\{.*?\}", "none", path), {} if method == "POST" else None, key=None
        ).status
        for method, path in routes
    }


def route_rows(door: Door, statuses: dict[str, int], welcome: Sequence[str] = ("GET /health",)) -> Iterator[Row]:
    """Which routes answer without a key; the front refuses with 401, 404 or 405."""
    opened = {name: status for name, status in statuses.items() if status not in (401, 404, 405)}
    strange = [name for name in opened if name not in welcome]
    told = ", ".join(f"{name} {status}" for name, status in opened.items()) or "none answers"
    yield Row(f"all {len(statuses)} routes without a key", door.where, told, OPEN if strange else HELD)


def key_rows(door: Door) -> Iterator[Row]:
    """Requests without the key, with a wrong one, with the path in disguise, and past the guarded paths."""
    for told, key in {"no key": None, "a wrong key": "guessed"}.items():
        reply = door.chat("hello", key=key)
        yield Row(f"a question, {told}", door.where, reply.told(), HELD if reply.status == 401 else OPEN)
    spellings = ["//v1/models", "/%761/models", "/./v1/models", "/health/../v1/models", "/health/..%2fv1/models"]
    spellings += ["/v1/models/", "/V1/models", "/v1/models?x=/health", "http://elsewhere/v1/models", "/v1;x/models"]
    statuses = [door.ask("GET", path, key=None).status for path in spellings]
    told = ", ".join(f"{count} × {status}" for status, count in sorted(Counter(statuses).items()))
    yield Row(f"{len(spellings)} spellings of /v1/models, no key", door.where, told, OPEN if 200 in statuses else HELD)
    reply = door.chat("hello", path="/invocations", key=None)
    answered = reply.status == 200 and "choices" in reply.text
    told = f"{reply.told()}{', a whole answer of the model' if answered else ''}"
    yield Row("a question to /invocations, no key", door.where, told, OPEN if reply.status == 200 else HELD)
    reply = door.ask("POST", "/tokenize", {"model": door.model, "prompt": "hello"}, key=None)
    yield Row("text to /tokenize, no key", door.where, reply.told(), OPEN if reply.status == 200 else HELD)


def file_rows(door: Door, folder: Path, outside: Path) -> Iterator[Row]:
    """``file://`` addresses that lead out of the media folder.

    Args:
        door: way in.
        folder: the media folder.
        outside: a picture that the server could read, but must not.
    """
    up = "/".join([".."] * len(folder.parts))
    spellings = {
        "a picture outside the folder": f"file://{outside}",
        "the same by ..": f"file://{folder}/{up}{outside}",
        "the same by %2e%2e": f"file://{folder}/{up.replace('.', '%2e')}{outside}",
        "the same by file://localhost": f"file://localhost{outside}",
        "the same by FILE:": f"FILE:{outside}",
        "/etc/hostname": "file:///etc/hostname",
    }
    for told, url in spellings.items():
        reply = door.look(url)
        yield Row(f"file://: {told}", door.where, reply.told(), OPEN if reply.status == 200 else HELD)
    inside = next(folder.rglob("*.png"), None)
    if inside:
        reply = door.look(inside.as_uri())
        yield Row("file://: a picture inside, as it should be", door.where, reply.told(), _works(reply))


def lure_rows(door: Door, allowed: Bait, secret: Bait, *, by_name: bool) -> Iterator[Row]:
    """Addresses by which a client makes the server call others: the verdict is whether the secret host saw a visit.

    Args:
        door: way in.
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
        answers = ", ".join(f"{count} × {one}" if len(group) > 1 else one for one, count in counted)
        lured = secret.visits > before
        fetched = OPEN if lured or any(reply.status == 200 for reply in replies) else HELD
        yield Row(f"fetch {told}", door.where, f"{answers}; {'visited' if lured else 'no visit'}", fetched)
    if by_name:
        before, reply = secret.visits, door.look(f"http://{ALLOWED}:{port}/p.png")
        visited = secret.visits > before
        told = f"{reply.told()}; {'visited' if visited else 'no visit'}"
        yield Row(f"fetch {KNOWN_GAP}", door.where, told, OPEN if visited else HELD)


def fetch_rows(door: Door, allowed: Bait, media_mib: int) -> Iterator[Row]:
    """An allowed host that does not play fair."""
    before, reply = allowed.visits, door.look(f"http://{ALLOWED}:{allowed.port}/p.png")
    works = _works(reply) if allowed.visits > before else OPEN
    yield Row("fetch a picture from an allowed host, as it should be", door.where, reply.told(), works)
    for told, path in {"300 MiB packed into 0.3": "gzip", "nothing, ever": "silence"}.items():
        with memory_peak(door.pid) as grown:
            reply = door.look(f"http://{ALLOWED}:{allowed.port}/{path}.png")
        most = 4 * media_mib if path == "gzip" else LITTLE_MIB
        held = reply.status >= 400 and reply.seconds < 20 and sum(grown) < most
        told = f"an allowed host that sends {told}"
        yield Row(told, door.where, f"{reply.told()}, {_grew(grown)}", HELD if held else OPEN)


def size_rows(door: Door, body_mib: int) -> Iterator[Row]:
    """Pictures, bodies and numbers that are too large."""
    for told, side in {"a picture too large": OVERSIZE, "a decompression bomb": BOMB}.items():
        png = blank_png(side)
        with memory_peak(door.pid) as grown:
            reply = door.look(f"data:image/png;base64,{base64.b64encode(png).decode()}")
        # Opened, it takes three bytes a pixel at least.
        held = 400 <= reply.status < 500 and sum(grown) < side * side / MIB
        tried = f"{told}: {side:,} × {side:,} in {len(png) / 1000:.0f} KB"
        yield Row(tried, door.where, f"{reply.told()}, {_grew(grown)}", HELD if held else OPEN)
    for told, key in {"no key": None, "the key": door.key}.items():
        body = b" " * ((body_mib + 44) * MIB)
        with memory_peak(door.pid) as grown:
            reply = door.ask("POST", "/v1/chat/completions", body, key=key)
        held = reply.status in (401, 413) and sum(grown) < LITTLE_MIB
        tried = f"a body of {body_mib + 44} MiB, {told}"
        yield Row(tried, door.where, f"{reply.told()}, {_grew(grown)}", HELD if held else OPEN)
    reply = door.chat("hello", n=1000, max_tokens=1, temperature=1)
    yield Row("a request for 1,000 answers", door.where, reply.told(), HELD if reply.status == 400 else OPEN)


def haste_rows(door: Door, count: int = 100) -> Iterator[Row]:
    """One client that asks as fast as it can."""
    source = next(door.addresses)
    statuses = Counter(door.ask("GET", "/v1/models", key=door.key, source=source).status for _ in range(count))
    told = ", ".join(f"{times} × {status}" for status, times in sorted(statuses.items()))
    held = statuses[200] > 0 and statuses[429] + statuses[503] > 0
    yield Row(f"{count} requests of one client at once", door.where, told, HELD if held else OPEN)


def slow_rows(door: Door, at_once: int, count: int = SLOW_CLIENTS, seconds: float = 30) -> Iterator[Row]:
    """Clients that send a byte a second: first their header, then, in a second wave, their body.

    A front holds when the crowd is gone before the time is over (its header), or is refused but for what one client may
    have at a time (its body), and every question of another client is answered meanwhile.

    Args:
        door: way in.
        at_once: requests that one client may have under way.
        count: clients, all from one address.
        seconds: how long they try.
    """
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    whole = head + f"Authorization: Bearer {door.key}\r\nContent-Length: 100000\r\n\r\n{{".encode()
    for told, start in {"header": head + b"X-Slow: ", "body": whole}.items():
        source, answered = next(door.addresses), []
        with ExitStack() as stack, selectors.DefaultSelector() as watch:
            for _ in range(count):
                connection = door.connect(source, 20)
                with suppress(OSError):
                    connection.connect()
                    connection.sock.sendall(start)
                    connection.sock.setblocking(False)
                    watch.register(connection.sock, selectors.EVENT_READ)
                    stack.callback(connection.close)
            began, refused, closed = time.monotonic(), 0, count - len(watch.get_map())
            while watch.get_map() and time.monotonic() - began < seconds:
                answered.append(door.chat("hello"))
                for key, _ in watch.select(0):
                    ended = _last_words(key.fileobj)
                    if ended is not None:
                        closed, refused = closed + 1, refused + (b" 429 " in ended or b" 503 " in ended)
                        watch.unregister(key.fileobj)
                for key in list(watch.get_map().values()):
                    with suppress(OSError):
                        key.fileobj.send(b" ")
                time.sleep(1)
            left, lasted = len(watch.get_map()), time.monotonic() - began
        good = sum(reply.status == 200 for reply in answered)
        slowest = max(reply.seconds for reply in answered) if answered else 0
        found = f"{left:,} still open after {lasted:.0f} s ({closed:,} closed, {refused:,} of them with 429 or 503); "
        found += f"{good} of {len(answered)} questions of another client answered, the slowest in {slowest:.1f} s"
        gone = left == 0 if told == "header" else left <= at_once
        held = gone and good == len(answered) > 0
        yield Row(f"{count:,} clients that send a {told} slowly", door.where, found, HELD if held else OPEN)


def stream_rows(door: Door) -> Iterator[Row]:
    """Whether a stream arrives as it is made: no attack, but what a front must not spoil."""
    body = {"model": door.model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "stream": True}
    body |= {"max_tokens": 200, "min_tokens": 200}
    headers = {"Authorization": f"Bearer {door.key}", "Content-Type": "application/json"}
    times = []
    with closing(door.connect()) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer, began = connection.getresponse(), time.monotonic()
        while answer.read1(65536):
            times.append(time.monotonic() - began)
    spread = len(times) >= 20 and times[len(times) // 2] < 0.8 * times[-1] and times[0] < 0.3 * times[-1]
    told = (
        f"{answer.status}, {len(times)} pieces, the first at {times[0] / times[-1]:.0%} of the time"
        if times
        else "none"
    )
    yield Row("a stream of 200 tokens arrives as it is made", door.where, told, HELD if spread else OPEN)


# ---------------------------------------------------------------- the whole check


def check_door(
    door: Door,
    routes: Sequence[tuple[str, str]],
    *,
    baits: tuple[Bait, Bait],
    outside: Path,
    folder: Path,
    settings: FrontSettings,
    slow_clients: int = SLOW_CLIENTS,
    seen: Callable[[Row], None] = lambda row: None,
) -> tuple[list[Row], dict[str, int]]:
    """All attacks on one door.

    Args:
        door: way in.
        routes: method and path, from `announced_routes`.
        baits: the allowed host and the secret one.
        outside: a picture outside the media folder.
        folder: the media folder.
        settings: of the front; for the door with a key only, what it is compared with.
        slow_clients: how many.
        seen: called with every row as it comes.

    Returns:
        The rows, and the status of every route without a key.
    """
    allowed, secret = baits
    rows: list[Row] = []
    before = door.chat("Describe a beach.", max_tokens=40)
    statuses = keyless_status(door, routes)
    hardened = door.where != KEY_ONLY
    groups = [
        route_rows(door, statuses),
        key_rows(door),
        file_rows(door, folder, outside),
        lure_rows(door, allowed, secret, by_name=hardened),
        fetch_rows(door, allowed, settings.media_mib) if hardened else (),
        size_rows(door, settings.body_mib),
        haste_rows(door),
        slow_rows(door, settings.connections_per_client, slow_clients),
        stream_rows(door),
    ]
    for row in itertools.chain.from_iterable(groups):
        rows.append(row)
        seen(row)
    after = door.chat("Describe a beach.", max_tokens=40)
    same = before.status == after.status == 200 and _answer(before) == _answer(after)
    told = f"{after.told()}, {'the same' if same else 'another'} answer as before"
    rows.append(Row("the same question before and after all this", door.where, told, HELD if same else OPEN))
    seen(rows[-1])
    return rows, statuses


def run_check(nginx: str | None = None, seen: Callable[[Row], None] = lambda row: None) -> dict[str, Any]:
    """Start the servers, attack them, and stop them.

    Args:
        nginx: its path; None looks for it, and what needs it is 'not checked' where there is none.
        seen: called with every row as it comes.

    Returns:
        What ``benchmarks/front_check.json`` holds: date, machine, versions, settings, routes, rows.

    Raises:
        CourseError: a server or nginx that does not start.
    """
    from datetime import date

    from helpers.machine import read_cpu
    from helpers.server import MEDIA_FOLDER, serve
    from helpers.server_checks import reserve_port

    nginx = nginx or shutil.which("nginx")
    key = "a-key-for-the-check"
    _allow_many_connections()
    rows: list[Row] = []
    by_route: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch, Bait() as secret:
        outside = Path(scratch) / "outside.png"
        outside.write_bytes(blank_png(64))
        with Bait(f"http://127.0.0.1:{secret.port}/p.png") as allowed:
            settings = FrontSettings(media_hosts=(ALLOWED,))
            more = {
                "baits": (allowed, secret), "outside": outside, "folder": MEDIA_FOLDER, "settings": settings,
                "seen": seen,
            }  # fmt: skip

            def attack(door: Door, log: Path, **changes: Any) -> None:
                found, statuses = check_door(door, announced_routes(log.read_text(errors="replace")), **more | changes)
                rows.extend(found)
                for route, status in statuses.items():
                    by_route.setdefault(route, {})[door.where] = status

            # vLLM's own default; the course's server forbids redirects in any case.
            with _variables({"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "1"}), serve("tiny", api_key=key, quiet=True) as server:
                attack(_door(server, KEY_ONLY, key), server.log_path)
            with (
                _variables(server_environment(settings)),
                serve("tiny", api_key=key, quiet=True, extra_flags=server_flags(settings)) as server,
            ):
                direct = _door(server, HARDENED, key)
                attack(direct, server.log_path)
                reason = _absent(nginx)
                if reason:
                    rows.append(Row("everything", FRONT, reason, UNCHECKED))
                    seen(rows[-1])
                else:
                    with closing(reserve_port()) as held:
                        port = held.getsockname()[1]
                    settings = replace(settings, listen=f"127.0.0.1:{port}", upstream=f"127.0.0.1:{server.port}")
                    with nginx_front(str(nginx), settings) as trust:
                        front = Door(FRONT, "localhost", port, key, server.model_name, trust, server.pid)
                        # The same routes as vLLM announces with its pages of documentation.
                        known = [tuple(name.split(" ", 1)) for name in by_route]
                        found, statuses = check_door(front, known, **more)
                        rows.extend(found)
                        for route, status in statuses.items():
                            by_route[route][FRONT] = status
                logged = key in server.log_path.read_text(errors="replace")
                rows.append(Row("the key in the server's log", HARDENED, "found" if logged else "not there",
                                OPEN if logged else HELD))  # fmt: skip
    told = {name: value for name, value in vars(FrontSettings(media_hosts=(ALLOWED,))).items() if name != "routes"}
    return {
        "date": date.today().isoformat(),
        "command": "python -m helpers.planner.front_check --record",
        "machine": read_cpu()[0],
        "versions": _versions(nginx),
        "settings": told,
        "routes_without_key": by_route,
        "rows": [asdict(row) for row in rows],
    }


def gaps(report: dict[str, Any]) -> list[dict[str, str]]:
    """Rows of a report in which the front let something through that is no known gap of vLLM's."""
    return [
        row
        for row in report["rows"]
        if row["where"] == FRONT and row["verdict"] == OPEN and KNOWN_GAP not in row["tried"]
    ]


def write_report(report: dict[str, Any], path: Path = RECORD) -> None:
    """Replace the record by a whole new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _door(server: Any, where: str, key: str) -> Door:
    return Door(where, "127.0.0.1", server.port, key, server.model_name, pid=server.pid)


def _absent(nginx: str | None) -> str | None:
    if not nginx:
        return "absent: nginx (apt-get install nginx-light, brew install nginx)"
    if sys.platform != "linux":
        return "absent: Linux, whose loopback network has an address for every client"
    return None


def _pairs() -> Iterator[tuple[int, int]]:
    return itertools.cycle(itertools.product(range(256), range(1, 255)))


def _grew(grown: list[float]) -> str:
    return f"memory +{max(0, grown[0]):.0f} MiB" if grown else "memory not seen"


def _works(reply: Reply) -> Verdict:
    return HELD if reply.status == 200 else OPEN


def _answer(reply: Reply) -> str:
    return json.loads(reply.text)["choices"][0]["message"]["content"]


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def _leads_home(name: str) -> bool:
    with suppress(OSError):
        return socket.gethostbyname(name).startswith("127.")
    return False


def _last_words(connection: socket.socket) -> bytes | None:
    """What came before the end of a connection that has ended or been answered; None while it is open."""
    try:
        return connection.recv(4096)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except OSError:
        return b""


def _group_of_nobody() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_gid


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * SLOW_CLIENTS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def _variables(wanted: dict[str, str]) -> Iterator[None]:
    """Set for the server that is started in the block, and put back; an own server, not one to join."""
    names = [*wanted, "COURSE_SERVER_URL", "VLLM_API_KEY"]
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _versions(nginx: str | None) -> dict[str, str]:
    import platform
    from importlib.metadata import version

    found = {"python": platform.python_version(), "vllm": version("vllm")}
    if nginx:
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, timeout=30).stderr
        found["nginx"] = said.strip().rpartition("/")[2]
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 if the front let something through that it should hold, or was not checked."""
    parser = argparse.ArgumentParser(prog="python -m helpers.planner.front_check", description=__doc__.split("\n")[0])
    parser.add_argument("--nginx", help="its path; default: the one of this machine")
    parser.add_argument("--record", action="store_true", help=f"write {shown(RECORD)}")
    given = parser.parse_args(arguments)
    return command(nginx=given.nginx, record=given.record)


def command(nginx: str | None = None, record: bool = False) -> int:
    """What ``python -m helpers front-check`` does; returns its exit status."""

    def show(row: Row) -> None:
        print(f"{row.verdict:12} {row.where:26} {row.tried}\n{'':12} -> {row.came_back}", flush=True)

    try:
        report = run_check(nginx, show)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    if record:
        write_report(report)
    checked = any(row["where"] == FRONT and row["verdict"] != UNCHECKED for row in report["rows"])
    return 0 if checked and not gaps(report) else 1


if __name__ == "__main__":
    sys.exit(main())

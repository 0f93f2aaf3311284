"""The room at a glance: the server's queue from ``/metrics``, and which seats have passed their check."""

from __future__ import annotations

import http.client
import http.server
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from course.workshop.preflight import Target
from helpers.errors import CourseError
from helpers.files import shown
from helpers.local_http import LOCALHOST
from helpers.server import LOG_FOLDER
from helpers.templates import render

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATE = Path(__file__).with_name("seats.html.j2")
RUNNING, WAITING, CACHE = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
FINISHED, WRITTEN = "vllm:request_success", "vllm:generation_tokens"
#: How `preflight` leaves a seat's result in the server's log. Only a line with status 200 had the right key.
_SEAT = re.compile(r'GET /v1/models\?seat=([A-Za-z0-9.-]{1,40})&preflight=([A-Za-z.]{1,80}) HTTP/[\d.]+" 200')
#: Of the page: nothing from anywhere but the page's own address.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


@dataclass
class Room:
    """What is known of a server and its seats; `look` brings it up to date."""

    target: Target
    expected: int | None = None
    log: Path | None = None
    """The server's log; None: nothing is known of the seats."""
    figures: dict[str, str] = field(default_factory=dict)
    seats: dict[str, str] = field(default_factory=dict)
    """Seat → 'passed', or the names of the checks that failed."""
    problem: str = ""
    at: str = ""
    _read: int = 0
    _before: tuple[float, float] | None = None

    def look(self) -> None:
        """Ask the server, and read what its log has got since the last look."""
        self.at = time.strftime("%H:%M:%S")
        try:
            status, text = self.target.call("/metrics")
            self.problem = "" if status == 200 else f"/metrics answers with status {status}"
            if not self.problem:
                self.figures = self._figures(totals(text))
        except (OSError, http.client.HTTPException) as error:
            self.problem = self.target.quoted(getattr(error, "reason", None) or error)
        if self.log:
            with self.log.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]  # a line that is being written is read at the next look
            self._read += len(whole)
            self.seats |= dict(_SEAT.findall(whole.decode("utf-8", "replace")))

    def _figures(self, found: dict[str, float]) -> dict[str, str]:
        now, written, rate = time.monotonic(), found.get(WRITTEN, 0.0), "–"
        if self._before and now > self._before[0] and written >= self._before[1]:  # less: the server was restarted
            rate = f"{(written - self._before[1]) / (now - self._before[0]):,.0f}"
        self._before = now, written
        return {
            "requests running": f"{found.get(RUNNING, 0):,.0f}",
            "requests waiting": f"{found.get(WAITING, 0):,.0f}",
            "KV cache in use": f"{found.get(CACHE, 0):.0%}",
            "requests finished": f"{found.get(FINISHED, 0):,.0f}",
            "tokens per second": rate,
        }

    @property
    def passed(self) -> str:
        """How many seats have passed, in words."""
        if not self.log:
            return "seats: unknown without --log"
        count = sum(result == "passed" for result in self.seats.values())
        return f"{count}{f' of {self.expected}' if self.expected else ''} seats have passed"

    def as_text(self) -> str:
        lines = [f"{self.target.url}  {self.at}" + (f"  no answer: {self.problem}" if self.problem else "")]
        lines += [f"  {name:<20}{value:>10}" for name, value in self.figures.items()]
        lines += [self.passed, *(f"  {seat:<42}{told}" for seat, told in self.told())]
        return "\n".join(lines)

    def as_page(self) -> str:
        return render(TEMPLATE, room=self)

    def told(self) -> list[tuple[str, str]]:
        """Seats in order, each with its result in words."""
        return [
            (seat, result if result == "passed" else "failed: " + result.replace(".", ", "))
            for seat, result in sorted(self.seats.items())
        ]


def totals(metrics: str) -> dict[str, float]:
    """Families in the text of ``/metrics`` → their value, engines and reasons added up.

    Raises:
        CourseError: the text is not Prometheus's.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(metrics):
            names = (family.name, f"{family.name}_total")
            values = [sample.value for sample in family.samples if sample.name in names]
            found |= {family.name: sum(values)} if values else {}
    except ValueError:
        found = {}
    if RUNNING not in found:
        what, cause = "/metrics does not read like vLLM's.", "another program, or a proxy, answers at that address"
        raise CourseError(what, cause, "give the address of the server itself, on its own machine 127.0.0.1")
    return found


def newest_log(target: Target, folder: Path = LOG_FOLDER) -> Path | None:
    """The log of a server that ``course serve`` started on this machine and this port."""
    parts = urlsplit(target.url)
    if parts.hostname not in (LOCALHOST, "localhost", "::1"):
        return None
    found = folder.glob(f"server-*-{parts.port or 80}-*.log")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def seat_log(given: Path | None, target: Target, folder: Path = LOG_FOLDER) -> Path | None:
    """The log in which seats stand; what ``course serve`` and the tiny model's ``start.sh`` print only names it."""
    printed = given.read_text(encoding="utf-8", errors="replace") if given and given.is_file() else ""
    if given and not re.search(r"^base URL: \S+ .* log: \S", printed, re.MULTILINE):
        return given
    return newest_log(target, folder) or given


def serve_page(room: Room, port: int) -> http.server.ThreadingHTTPServer:
    """The page on 127.0.0.1, in a thread; 0 takes a free port.

    Raises:
        CourseError: the port is taken.
    """

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = room.as_page().encode()
            self.send_response(200)
            headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body))}
            for name, value in (headers | {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    try:
        server = http.server.ThreadingHTTPServer((LOCALHOST, port), Page)
    except OSError as error:
        remedy = "give another --port, or 0 for a free one"
        raise CourseError(f"The page cannot use port {port}.", str(error.strerror), remedy) from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def watch_room(room: Room, port: int, once: bool, pause: Callable[[], None] = lambda: time.sleep(5)) -> int:
    """Print the room, again and again until interrupted, and show it as a page; 1 if the server did not answer.

    Raises:
        CourseError: nothing that could be watched, or a port that is taken.
    """
    if room.log and not room.log.is_file():
        remedy = "give the file that the server's output goes to, such as of: docker compose logs -f > server.log"
        raise CourseError(f"There is no log {room.log}.", "a misspelt name", remedy)
    room.look()
    if room.problem:
        remedy = "start the server, or compare the address; behind a front, ask on the server's own machine"
        raise CourseError(f"{room.target.url}/metrics does not answer.", room.problem, remedy)
    print(f"seats from {shown(room.log)}" if room.log else "seats are read from the server's log: name it with --log")
    if once:
        print(room.as_text())
        return 0
    with serve_page(room, port) as page:
        print(f"page: http://{LOCALHOST}:{page.server_port}/    Ctrl-C ends it", flush=True)
        try:
            while True:
                print(("\x1b[H\x1b[J" if sys.stdout.isatty() else "") + room.as_text(), flush=True)
                if sys.stdout.isatty():
                    print(f"page: http://{LOCALHOST}:{page.server_port}/    Ctrl-C ends it", flush=True)
                pause()
                room.look()
        except KeyboardInterrupt:
            print("\nstopped")
            return 0
        finally:
            page.shutdown()

"""Attempts on a server by many requests: one client in haste, a thousand slow ones; and whether streams still flow."""

from __future__ import annotations

import json
import resource
import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

from tests.front.attacks import Attempt
from tests.front.door import Door

SLOW_CLIENTS = 1000


def haste_rows(door: Door, count: int = 100) -> Iterator[Attempt]:
    """One client that asks as fast as it can."""
    source = next(door.addresses)
    statuses = Counter(door.ask("GET", "/v1/models", key=door.key, source=source).status for _ in range(count))
    told = ", ".join(f"{times} × {status}" for status, times in sorted(statuses.items()))
    held = statuses[200] > 0 and statuses[429] + statuses[503] > 0
    yield Attempt.at(door, f"{count} requests of one client at once", told, held)


def slow_rows(door: Door, at_once: int, count: int = SLOW_CLIENTS, seconds: float = 30) -> Iterator[Attempt]:
    """Clients that send a byte a second: first their header, then, in a second wave, their body.

    A front holds when the crowd is gone before the time is over (its header), or is refused but for what one client may
    have at a time (its body), and every question of another client is answered meanwhile.

    Args:
        door: to the server.
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
        yield Attempt.at(door, f"{count:,} clients that send a {told} slowly", found, held)


def stream_rows(door: Door) -> Iterator[Attempt]:
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
    yield Attempt.at(door, "a stream of 200 tokens arrives as it is made", told, spread)


def allow_many_connections() -> None:
    """As many open files for this process as the slow clients take, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * SLOW_CLIENTS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _last_words(connection: socket.socket) -> bytes | None:
    """What came before the end of a connection that has ended or been answered; None while it is open."""
    try:
        return connection.recv(4096)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except OSError:
        return b""

"""A way to a server as an attacker uses it: paths and bodies as written, each request from another address."""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Response:
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
        address = (source, 0)
        if self.tls:
            return http.client.HTTPSConnection(
                self.host, self.port, context=self.tls, timeout=seconds, source_address=address
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=seconds, source_address=address)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        source: str | None = None,
        seconds: float = 120,
    ) -> Response:
        """One request, its path sent as it is written; a body that is not bytes is sent as JSON, a key of None not at
        all."""
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
        return Response(status, text, time.monotonic() - began)

    def chat(
        self, content: Any, *, path: str = "/v1/chat/completions", key: str | None = "", **changes: Any
    ) -> Response:
        """A question with greedy decoding; '' sends the right key."""
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        key = self.key if key == "" else key
        return self.ask("POST", path, body | {"max_tokens": 8} | changes, key=key)

    def look(self, url: str) -> Response:
        """A question about the image at an address."""
        return self.chat([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe this."}])


def _pairs() -> Iterator[tuple[int, int]]:
    return itertools.cycle(itertools.product(range(256), range(1, 255)))

"""What a server is lured with: a web server of this machine that plays unfairly, and images that are too large."""

from __future__ import annotations

import gzip
import http.server
import struct
import threading
import zlib
from contextlib import suppress
from typing import Any, Self

MIB = 2**20


class Bait:
    """A web server of this machine that counts who comes: images, redirects, a gzip bomb, and silence."""

    def __init__(self, redirect_to: str = ""):
        self.visits = 0
        bait, image = self, blank_png(64)
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
                    self.wfile.write(gzip.compress(bytes(300 * MIB), 1) if zipped else image)

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

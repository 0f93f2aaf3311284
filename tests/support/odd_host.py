"""A host of images on this machine that misbehaves in named ways."""

import http.server
import socket
import struct
import threading
from contextlib import contextmanager

from helpers.local_http import LOCALHOST

STATUSES = {"/302": 302, "/403": 403, "/429": 429, "/500": 500, "/503": 503}


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path in STATUSES:
            self.reply(STATUSES[self.path], {"Location": "/page"} if self.path == "/302" else {})
        elif self.path == "/page":
            self.reply(200, {"Content-Type": "text/html"}, b"<html>no hotlinks</html>")
        elif self.path == "/short":
            self.reply(200, {"Content-Length": "500"}, b"\x89PNG")
        elif self.path == "/gzip":
            self.reply(200, {"Content-Encoding": "gzip"}, b"no gzip")
        elif self.path == "/reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True  # and "/drop" gets nothing

    def reply(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def odd_host():
    """Its address, such as ``http://127.0.0.1:4711``."""
    server = http.server.ThreadingHTTPServer((LOCALHOST, 0), _Handler)
    server.handle_error = lambda *_: None  # what the handler does to its own connection
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOCALHOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

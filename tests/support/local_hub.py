"""A model hub on 127.0.0.1 that the real clients of Hugging Face and ModelScope download from.

It speaks as much of both HTTP interfaces as ``huggingface_hub`` 2.4 and ``modelscope`` 1.40 call, keeps a log of
requests with their ranges, and can cut a connection, stall, damage what it sends, or refuse.
"""

from __future__ import annotations

import hashlib
import json
import random
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = "Qwen/Qwen3-VL-Test"
COMMIT = "c0ffee" * 6 + "0123"
#: More than one read of the clients (10 MiB), so that an unfinished file reaches the disk.
WEIGHTS = random.Random(7).randbytes(24 << 20)
FILES = {
    "config.json": b'{"model_type": "qwen3_vl"}\n',
    "tokenizer.json": b'{"version": "1.0"}\n',
    "merges.txt": b"a b\n",
    "chat_template.jinja": b"{{ messages }}\n",
    "README.md": b"# A test model\n",
    "model-00001-of-00001.safetensors": WEIGHTS,
    # the same weights again, and files nobody here reads: a download that fetches them is wasteful
    "pytorch_model.bin": b"x" * 5000,
    "original/consolidated.00.pth": b"x" * 5000,
    "onnx/config.json": b"{}",
    "consolidated.safetensors": b"x" * 5000,
    "video.mp4": b"x" * 100,
}
WEIGHTS_NAME = "model-00001-of-00001.safetensors"
WANTED = {"config.json", "tokenizer.json", "merges.txt", "chat_template.jinja", "README.md", WEIGHTS_NAME}


@dataclass
class Request:
    """One answered request; ``sent`` counts the bytes of the body."""

    method: str
    file: str
    start: int = 0
    sent: int = 0


@dataclass
class Hub:
    """The repository, the faults to produce, and the log."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    commit: str = COMMIT
    log: list[Request] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    paths_with_token: list[str] = field(default_factory=list)
    cut_once: dict[str, int] = field(default_factory=dict)
    stall_at: dict[str, int] = field(default_factory=dict)
    damage_times: dict[str, int] = field(default_factory=dict)
    status: int | None = None
    error_code: str = ""
    page: bytes = b""
    """What it answers to everything, like the login page of a network."""
    stalled: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def fetched(self, file: str) -> list[Request]:
        """GET requests for the contents of a file."""
        return [request for request in self.log if request.method == "GET" and request.file == file]

    def sha256(self, file: str) -> str:
        return hashlib.sha256(self.files[file]).hexdigest()

    def git_sha1(self, file: str) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.files[file]) + self.files[file]).hexdigest()

    def is_lfs(self, file: str) -> bool:
        return file.endswith((".safetensors", ".bin", ".pth"))


@contextmanager
def run_hub(certificate: Path | None = None) -> Iterator[Hub]:
    """Start a hub on a free port of 127.0.0.1; with a PEM file of key and certificate it speaks HTTPS."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        hub.url = hub.url.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.resume.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        path = urllib.parse.unquote(url.path)
        hub.paths.append(path)
        if self.headers.get("Authorization"):
            hub.paths_with_token.append(path)
        if hub.page:
            return self._json(None, 200, {"Content-Type": "text/html"}, hub.page)
        if hub.status:
            return self._json({"error": "refused"}, hub.status, {"X-Error-Code": hub.error_code})
        if path.startswith("/api/v1/models/"):
            return self._modelscope(path.removeprefix("/api/v1/models/"), query)
        if path.startswith("/storage/"):
            return self._body(path.removeprefix("/storage/"), {})
        return self._huggingface(path)

    # -- Hugging Face: /api/models/<id>/revision|tree/<rev>, /<id>/resolve/<rev>/<file>

    def _huggingface(self, path: str) -> None:
        hub = self.hub
        if not path.startswith((f"/api/models/{REPO}/", f"/{REPO}/resolve/")):
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        kind, rest = path.split(f"{REPO}/", 1)[1].split("/", 1)
        revision, _, file = rest.partition("/")
        if revision not in {"main", hub.commit}:
            return self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if kind == "revision":
            siblings = [self._sibling(name) for name in hub.files]
            return self._json({"id": REPO, "modelId": REPO, "sha": hub.commit, "siblings": siblings})
        if kind == "tree":
            return self._json([self._tree_entry(name) for name in hub.files])
        etag = hub.sha256(file) if hub.is_lfs(file) else hub.git_sha1(file)
        headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{etag}"'}
        if hub.is_lfs(file):  # as the real hub: the contents are at another address
            size = str(len(hub.files[file]))
            storage = hub.url.replace(
                "127.0.0.1", "localhost"
            )  # another host, as in reality: the token must not go there
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": size, "Location": f"{storage}/storage/{file}"}
            return self._json({}, 302, headers)
        return self._body(file, headers)

    def _sibling(self, name: str) -> dict:
        hub, size = self.hub, len(self.hub.files[name])
        entry = {"rfilename": name, "size": size, "blobId": hub.git_sha1(name)}
        if hub.is_lfs(name):
            entry["lfs"] = {"sha256": hub.sha256(name), "size": size, "pointerSize": 134}
        return entry

    def _tree_entry(self, name: str) -> dict:
        hub, size = self.hub, len(self.hub.files[name])
        entry = {"type": "file", "path": name, "size": size, "oid": hub.git_sha1(name)}
        if hub.is_lfs(name):
            entry["lfs"] = {"oid": hub.sha256(name), "size": size, "pointerSize": 134}
        return entry

    # -- ModelScope: /api/v1/models/<id>/repo/files?Revision=, /api/v1/models/<id>/repo?Revision=&FilePath=

    def _modelscope(self, path: str, query: dict[str, str]) -> None:
        hub = self.hub
        if not path.startswith(REPO) or query.get("Revision", "master") not in {"master", hub.commit}:
            return self._json({"Code": 404, "Message": "not found", "Success": False}, 404)
        if path == f"{REPO}/repo/files":
            files = [
                {
                    "Path": name,
                    "Name": name.rsplit("/", 1)[-1],
                    "Type": "blob",
                    "Size": len(data),
                    "Sha256": hub.sha256(name),
                    "IsLFS": hub.is_lfs(name),
                    "CommittedDate": 1_700_000_000 + (name == WEIGHTS_NAME),
                    "Revision": hub.commit if name == WEIGHTS_NAME else "0" * 40,
                }
                for name, data in hub.files.items()
            ]
            return self._json({"Code": 200, "Data": {"Files": files}, "Success": True})
        if path == f"{REPO}/repo":
            return self._body(query["FilePath"], {})
        return self._json({"Code": 200, "Data": {"Id": 1, "Path": REPO}, "Success": True})

    # -- bodies

    def _json(
        self, data: object, status: int = 200, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> None:
        body = json.dumps(data).encode() if body is None else body
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _body(self, file: str, headers: dict[str, str]) -> None:
        hub = self.hub
        data = hub.files[file]
        start, end = self._range(len(data))
        request = Request(self.command, file, start)
        hub.log.append(request)
        self.send_response(206 if self.headers.get("Range") else 200)
        if self.headers.get("Range"):
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        for key, value in {"Accept-Ranges": "bytes", "Content-Length": str(end - start), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.damage_times.get(file, 0) > 0:
            hub.damage_times[file] -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        stop = end
        cut = hub.cut_once.pop(file, None)
        stall = hub.stall_at.pop(file, None)
        if cut is not None or stall is not None:
            stop = cut if cut is not None else stall
        try:
            for position in range(start, stop, 1 << 16):
                request.sent += self.wfile.write(data[position : min(position + (1 << 16), stop)])
            self.wfile.flush()
            if stall is not None:
                hub.stalled.set()
                hub.resume.wait(60)
        except OSError:
            stop = -1
        if stop != end:
            self.close_connection = True
            self.connection.close()

    def _range(self, size: int) -> tuple[int, int]:
        """(first byte, one past the last byte)."""
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        return int(first), int(last) + 1 if last else size

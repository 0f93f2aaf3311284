"""Is this seat ready? One line per check, with a remedy; the status says whether all passed.

Needs only the standard library, so that it also tells what is wrong before set-up, from the course's folder::

    python3 -m course.workshop.preflight http://gpu-machine:8000    # the key is read from COURSE_SERVER_KEY
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import platform
import re
import shutil
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from course.setup_checks import (
    NEEDED_GB,
    NEWEST_PYTHON,
    NUMA_REMEDY,
    OLDEST_PYTHON,
    has_numa,
    is_usable_python,
    version_text,
)
from helpers.errors import CourseError
from helpers.local_http import get

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "data" / "scenes" / "scene-11049588.png"
#: Of disk once the environment is there: results and a training run; of memory for an engine of the seat's own.
FREE_GB, FREE_GIB = 1.0, 4.0
PASS, FAIL, NOTE = "pass", "FAIL", "note"


@dataclass(frozen=True)
class Line:
    state: str
    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n{'':16}What to do: {self.remedy}" if self.remedy else ""
        return f"{self.state:<6}{self.name:<10}{self.found}{remedy}"


@dataclass(frozen=True)
class Target:
    """A server: root URL without ``/v1``, and the key that clients send ('' for none). It never shows the key."""

    url: str
    key: str = ""
    timeout: float = 120

    @staticmethod
    def of(url: str, key: str | None = None, timeout: float = 120) -> Target:
        """From what a user typed.

        Raises:
            CourseError: no http address, one with a password in it, or a key that no header can hold.
        """
        url, key = url.strip(), (key or "").strip()
        try:
            parts = urllib.parse.urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if "@" in url or parts.password:
            raise CourseError(
                "The address holds a name or a password.",
                "others can read what is typed as an argument",
                "give the address alone, and the key in the variable COURSE_SERVER_KEY",
            )
        if not usable:
            raise CourseError(
                f"'{url}' is no address of a server.",
                "the scheme or the host is missing, or the port is no number",
                "write it like http://gpu-machine:8000",
            )
        if not re.fullmatch(r"[!-~]*", key):  # the error of the HTTP library would show it
            raise CourseError(
                "The key cannot be sent.",
                "it holds a space, a line break or a letter beyond ASCII",
                "copy it again, without quotes around it",
            )
        return Target(re.sub(r"/v1/?$", "", url).rstrip("/"), key, timeout)

    def __repr__(self) -> str:
        return f"Target({self.url!r})"

    def call(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and text of an answer; no proxy is asked, since the server is in the room.

        Raises:
            OSError: nobody answers. http.client.HTTPException: what answers is no HTTP server.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        posted = None if body is None else json.dumps(body).encode()
        status, text = get(self.url + path, headers | {"Content-Type": "application/json"}, self.timeout, posted)
        return status, text.decode("utf-8", "replace")

    def quoted(self, text: object) -> str:
        """The first line of what a server said, without the key."""
        line = str(text).strip().splitlines()[0][:200] if str(text).strip() else type(text).__name__
        return line.replace(self.key, "***") if self.key else line


def image_url() -> str:
    return "data:image/png;base64," + base64.b64encode(IMAGE.read_bytes()).decode()


def image_request(model: str) -> dict[str, Any]:
    """The body that asks for a description of it."""
    content = [
        {"type": "image_url", "image_url": {"url": image_url()}},
        {"type": "text", "text": "Describe this image."},
    ]
    return {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 96}


def machine_lines() -> Iterator[Line]:
    """Python, packages, disk and memory of this seat."""
    usable = is_usable_python(sys.version_info[:2])
    bounds = f"{version_text(OLDEST_PYTHON)} to {version_text(NEWEST_PYTHON)}"
    remedy = f"install Python {bounds}, and give it to set-up: make setup PYTHON=/path/to/python"
    yield Line(PASS if usable else FAIL, "Python", platform.python_version(), "" if usable else remedy)
    try:
        version = metadata.version("vllm")
        yield Line(PASS, "packages", f"vLLM {version} is installed")
    except metadata.PackageNotFoundError:
        version, remedy = "", "make setup; a chapter that only asks the shared server works without vLLM"
        yield Line(NOTE, "packages", "vLLM is not installed in this Python", remedy)
    if not has_numa():
        yield Line(NOTE, "libraries", "libnuma.so.1 is missing: no engine starts on this seat's CPU", NUMA_REMEDY)
    free, needed = shutil.disk_usage(ROOT).free / 1e9, FREE_GB if version else NEEDED_GB["cpu"]
    remedy = "free some space, or put the environment elsewhere: COURSE_VENV=/elsewhere/venv make setup"
    enough = free >= needed
    yield Line(PASS if enough else FAIL, "disk", f"{free:.1f} GB free, {needed:g} GB needed", "" if enough else remedy)
    gib = free_gib()
    remedy = "close programs, or give the virtual machine more; the shared server can be asked with less"
    enough = gib >= FREE_GIB
    yield Line(
        PASS if enough else FAIL, "memory", f"{gib:.1f} GiB free, {FREE_GIB:g} GiB needed", "" if enough else remedy
    )


def free_gib() -> float:
    """Memory that programs can still have, a container's limit included once the packages are there."""
    try:
        from helpers.machine import free_gib as measured

        return measured()
    except ImportError:
        found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
        return int(found[1]) / 2**20 if found else 0.0


def server_lines(target: Target, wanted: str | None = None) -> Iterator[Line]:
    """Server, key, model and one real answer; after the first that fails, the others are not tried."""
    try:
        yield from _server_lines(target, wanted)
    except (OSError, http.client.HTTPException) as error:
        reason = target.quoted(getattr(error, "reason", None) or error)
        remedy = "compare the address with the teacher's; is this seat in the same network, and the port open there?"
        yield Line(FAIL, "server", f"no answer from {target.url}: {reason}", remedy)


def _server_lines(target: Target, wanted: str | None) -> Iterator[Line]:
    status, _ = target.call("/health")
    if status != 200:
        remedy = "another program may listen there; compare address and port with the teacher's"
        yield Line(FAIL, "server", f"{target.url}/health answers with status {status}", remedy)
        return
    yield Line(PASS, "server", f"{target.url} answers")
    status, text = target.call("/v1/models")
    if status in (401, 403):
        found = "the server refused the key" if target.key else "the server asks for a key"
        yield Line(FAIL, "key", found, "export COURSE_SERVER_KEY=… as the teacher gave it, without spaces or quotes")
        return
    yield Line(PASS, "key", "accepted")
    names = model_names(text)
    if not names or (wanted and wanted not in names):
        found = f"served: {', '.join(names) or 'none'}" + (f"; wanted: {wanted}" if wanted else "")
        yield Line(FAIL, "model", found, "ask the teacher which model is served, and under which name")
        return
    model = wanted or names[0]
    yield Line(PASS, "model", model)
    status, text = target.call("/v1/chat/completions", image_request(model))
    try:
        answer = json.loads(text)["choices"][0]["message"]["content"] if status == 200 else ""
    except (ValueError, KeyError, IndexError, TypeError):
        answer = ""
    if not answer:
        remedy = "tell the teacher: the server's log says why"
        yield Line(FAIL, "answer", f"status {status}: {target.quoted(text)}", remedy)
        return
    yield Line(PASS, "answer", target.quoted(answer))


def model_names(text: str) -> list[str]:
    """Names in an answer of ``/v1/models``; none if it is no such answer."""
    try:
        return [model["id"] for model in json.loads(text)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def seat_name(name: str | None) -> str:
    """Letters, digits, dots and dashes, at most 40; default: this machine's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name or socket.gethostname())[:40] or "seat"


def run_preflight(target: Target, model: str | None = None, seat: str | None = None) -> int:
    """Print all checks; 0 if none failed, else 1.

    The result is left in the server's own log, as the query of one more request: there the teacher's page finds it.
    """
    failed = []
    for lines in (machine_lines(), server_lines(target, model)):
        for line in lines:
            print(line, flush=True)
            failed += [line.name] if line.state == FAIL else []
    query = urllib.parse.urlencode({"seat": seat_name(seat), "preflight": ".".join(failed) or "passed"})
    if not {"server", "key"} & set(failed):
        try:
            target.call(f"/v1/models?{query}")
        except (OSError, http.client.HTTPException):
            failed.append("server")
    ready = f"This seat is ready; the teacher sees it as {seat_name(seat)}."
    print(f"\nNot ready: {', '.join(failed)}." if failed else f"\n{ready}")
    return int(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 -m course.workshop.preflight URL, with the key in COURSE_SERVER_KEY")
    try:
        sys.exit(run_preflight(Target.of(sys.argv[1], os.environ.get("COURSE_SERVER_KEY"))))
    except CourseError as problem:
        sys.exit(str(problem))

"""Attacks on a running server, directly and through the front, and what came back.

``python -m tests.front.check --record`` starts the tiny model twice: as a guide would, with a key and nothing
else, and as ``toolkit/planner/front.py`` says, with nginx in front where there is one. It writes the outcome to
``benchmarks/front_check.json``. Everything stays on this machine: the attackers, the servers, and the hosts that the
server is lured to. About seven minutes on one core.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown, write_whole
from helpers.machine import installed_versions, read_cpu
from helpers.server import MEDIA_FOLDER, Server, serve
from helpers.server_checks import reserve_port
from tests.front.attacks import (
    ALLOWED,
    KNOWN_GAP,
    OPEN,
    UNCHECKED,
    Attempt,
    announced_routes,
    fetch_rows,
    file_rows,
    key_rows,
    keyless_status,
    lure_rows,
    route_rows,
    size_rows,
)
from tests.front.bait import Bait, blank_png
from tests.front.crowds import allow_many_connections, haste_rows, slow_rows, stream_rows
from tests.front.door import Door, Response
from tests.front.nginx import nginx_front, nginx_version
from toolkit.planner.front import FrontSettings

RECORD = COURSE_ROOT / "benchmarks" / "front_check.json"
#: Of the servers, which live for minutes and listen on loopback only.
KEY = "a-key-for-the-check"
KEY_ONLY, HARDENED, FRONT = "direct, key only", "direct, flags of front.py", "through the front"


@dataclass
class Check:
    """Attacks on several doors, and what has come back so far."""

    settings: FrontSettings
    """Of the front; for the door with a key only, what it is compared with."""
    allowed: Bait
    secret: Bait
    outside: Path
    """An image outside the media folder."""
    folder: Path
    """The media folder."""
    seen: Callable[[Attempt], None]
    """Called with every attempt as it comes."""
    attempts: list[Attempt] = field(default_factory=list)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    """Route -> door -> its status without a key."""

    def attack(self, door: Door, routes: Sequence[tuple[str, str]]) -> None:
        """All attacks on one door; method and path of the routes are those of `announced_routes`."""
        before = door.chat("Describe a beach.", max_tokens=40)
        statuses = keyless_status(door, routes)
        for route, status in statuses.items():
            self.statuses.setdefault(route, {})[door.where] = status
        hardened = door.where != KEY_ONLY
        groups = [
            route_rows(door, statuses),
            key_rows(door),
            file_rows(door, self.folder, self.outside),
            lure_rows(door, self.allowed, self.secret, by_name=hardened),
            fetch_rows(door, self.allowed, self.settings.media_mib) if hardened else (),
            size_rows(door, self.settings.body_mib),
            haste_rows(door),
            slow_rows(door, self.settings.connections_per_client),
            stream_rows(door),
        ]
        for attempt in itertools.chain.from_iterable(groups):
            self.add(attempt)
        after = door.chat("Describe a beach.", max_tokens=40)
        same = before.status == after.status == 200 and _answer(before) == _answer(after)
        told = f"{after.told()}, {'the same' if same else 'another'} answer as before"
        self.add(Attempt.at(door, "the same question before and after all this", told, same))

    def add(self, attempt: Attempt) -> None:
        """Keep an attempt, and show it."""
        self.attempts.append(attempt)
        self.seen(attempt)


def run_check(nginx: str | None = None, seen: Callable[[Attempt], None] = lambda attempt: None) -> dict[str, Any]:
    """Start the servers, attack them, and stop them.

    Args:
        nginx: its path; None looks for it, and what needs it is 'not checked' where there is none.
        seen: called with every attempt as it comes.

    Returns:
        What ``benchmarks/front_check.json`` holds: date, machine, versions, settings, routes, rows.

    Raises:
        CourseError: a server or nginx that does not start.
    """
    nginx = nginx or shutil.which("nginx")
    allow_many_connections()
    settings = FrontSettings(media_hosts=(ALLOWED,))
    with (
        tempfile.TemporaryDirectory() as scratch,
        Bait() as secret,
        Bait(f"http://127.0.0.1:{secret.port}/p.png") as allowed,
    ):
        outside = Path(scratch) / "outside.png"
        outside.write_bytes(blank_png(64))
        check = Check(settings, allowed, secret, outside, MEDIA_FOLDER, seen)
        # vLLM's own default; the course's server forbids redirects in any case.
        with _variables({"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "1"}), serve("tiny", api_key=KEY, quiet=True) as server:
            check.attack(_door(server, KEY_ONLY), announced_routes(_log(server)))
        with (
            _variables(settings.server_environment()),
            serve("tiny", api_key=KEY, quiet=True, extra_flags=settings.server_flags()) as server,
        ):
            direct = _door(server, HARDENED)
            check.attack(direct, announced_routes(_log(server)))
            if reason := _absent(nginx):
                check.add(Attempt("everything", FRONT, reason, UNCHECKED))
            else:
                _attack_front(check, server, str(nginx))
            logged = KEY in _log(server)
            check.attempts.append(
                Attempt.at(direct, "the key in the server's log", "found" if logged else "not there", not logged)
            )
    return {
        "date": datetime.date.today().isoformat(),
        "command": "python -m tests.front.check --record",
        "machine": read_cpu()[0],
        "versions": installed_versions(["vllm"]) | ({"nginx": nginx_version(nginx)} if nginx else {}),
        "settings": {name: value for name, value in vars(settings).items() if name != "routes"},
        "routes_without_key": check.statuses,
        "rows": [asdict(attempt) for attempt in check.attempts],
    }


def _attack_front(check: Check, server: Server, nginx: str) -> None:
    with closing(reserve_port()) as held:
        port = held.getsockname()[1]
    settings = replace(check.settings, listen=f"127.0.0.1:{port}", upstream=f"127.0.0.1:{server.port}")
    with nginx_front(nginx, settings) as trust:
        # The same routes as vLLM announces with its pages of documentation.
        routes = [(method, path) for method, _, path in (route.partition(" ") for route in check.statuses)]
        check.attack(Door(FRONT, "localhost", port, KEY, server.model_name, trust, server.pid), routes)


def gaps(report: dict[str, Any]) -> list[dict[str, str]]:
    """Rows of a report in which the front let something through that is no known gap of vLLM's."""
    return [
        row
        for row in report["rows"]
        if row["where"] == FRONT and row["verdict"] == OPEN and KNOWN_GAP not in row["tried"]
    ]


def _door(server: Server, where: str) -> Door:
    return Door(where, "127.0.0.1", server.port, KEY, server.model_name, pid=server.pid)


def _log(server: Server) -> str:
    return server.log_path.read_text(errors="replace")


def _absent(nginx: str | None) -> str | None:
    if not nginx:
        return "absent: nginx (apt-get install nginx-light, brew install nginx)"
    if sys.platform != "linux":
        return "absent: Linux, whose loopback network has an address for every client"
    return None


def _answer(response: Response) -> str:
    return json.loads(response.text)["choices"][0]["message"]["content"]


@contextmanager
def _variables(wanted: dict[str, str]) -> Iterator[None]:
    """Set for the server that is started in the block, and put back."""
    with patch.dict(os.environ, wanted):
        os.environ.pop("VLLM_API_KEY", None)
        yield


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 if the front let something through that it should hold, or was not checked."""
    parser = argparse.ArgumentParser(prog="python -m tests.front.check", description=__doc__.split("\n")[0])
    parser.add_argument("--nginx", help="its path; default: the one of this machine")
    parser.add_argument("--record", action="store_true", help=f"write {shown(RECORD)}")
    given = parser.parse_args(arguments)

    def show(attempt: Attempt) -> None:
        print(f"{attempt.verdict:12} {attempt.where:26} {attempt.tried}\n{'':12} -> {attempt.came_back}", flush=True)

    try:
        report = run_check(given.nginx, show)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    if given.record:
        write_whole(RECORD, json.dumps(report, indent=1) + "\n")
    checked = any(row["where"] == FRONT and row["verdict"] != UNCHECKED for row in report["rows"])
    return 0 if checked and not gaps(report) else 1


if __name__ == "__main__":
    sys.exit(main())

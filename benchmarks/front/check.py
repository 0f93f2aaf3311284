"""Attacks on a running server, directly and through the front, and what came back.

``python -m benchmarks.front.check --record`` starts the tiny model twice: as a guide would, with a key and nothing
else, and as ``toolkit/planner/front.py`` says, with nginx in front where there is one. It writes the outcome to
``benchmarks/front_check.json``. Everything stays on this machine: the attackers, the servers, and the hosts that the
server is lured to. About seven minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.front.attacks import (
    ALLOWED,
    HELD,
    KNOWN_GAP,
    OPEN,
    UNCHECKED,
    Row,
    announced_routes,
    fetch_rows,
    file_rows,
    key_rows,
    keyless_status,
    lure_rows,
    route_rows,
    size_rows,
)
from benchmarks.front.bait import Bait, blank_png
from benchmarks.front.crowds import allow_many_connections, haste_rows, slow_rows, stream_rows
from benchmarks.front.door import Door, Reply
from benchmarks.front.nginx import nginx_front, nginx_version
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown, write_whole
from helpers.machine import installed_versions, read_cpu
from toolkit.planner.front import FrontSettings

RECORD = COURSE_ROOT / "benchmarks" / "front_check.json"
KEY_ONLY, HARDENED, FRONT = "direct, key only", "direct, flags of front.py", "through the front"


def check_door(
    door: Door,
    routes: Sequence[tuple[str, str]],
    *,
    baits: tuple[Bait, Bait],
    outside: Path,
    folder: Path,
    settings: FrontSettings,
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
        slow_rows(door, settings.connections_per_client),
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

    from helpers.server import MEDIA_FOLDER, serve
    from helpers.server_checks import reserve_port

    nginx = nginx or shutil.which("nginx")
    key = "a-key-for-the-check"
    allow_many_connections()
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
                _variables(settings.server_environment()),
                serve("tiny", api_key=key, quiet=True, extra_flags=settings.server_flags()) as server,
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
        "command": "python -m benchmarks.front.check --record",
        "machine": read_cpu()[0],
        "versions": installed_versions(["vllm"]) | ({"nginx": nginx_version(nginx)} if nginx else {}),
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


def _door(server: Any, where: str, key: str) -> Door:
    return Door(where, "127.0.0.1", server.port, key, server.model_name, pid=server.pid)


def _absent(nginx: str | None) -> str | None:
    if not nginx:
        return "absent: nginx (apt-get install nginx-light, brew install nginx)"
    if sys.platform != "linux":
        return "absent: Linux, whose loopback network has an address for every client"
    return None


def _answer(reply: Reply) -> str:
    return json.loads(reply.text)["choices"][0]["message"]["content"]


@contextmanager
def _variables(wanted: dict[str, str]) -> Iterator[None]:
    """Set for the server that is started in the block, and put back."""
    names = [*wanted, "VLLM_API_KEY"]
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 if the front let something through that it should hold, or was not checked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front.check", description=__doc__.split("\n")[0])
    parser.add_argument("--nginx", help="its path; default: the one of this machine")
    parser.add_argument("--record", action="store_true", help=f"write {shown(RECORD)}")
    given = parser.parse_args(arguments)

    def show(row: Row) -> None:
        print(f"{row.verdict:12} {row.where:26} {row.tried}\n{'':12} -> {row.came_back}", flush=True)

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

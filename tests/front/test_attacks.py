"""Attacks on the front: what nginx makes of its configuration, and whether the attacks tell a careless server from a
careful one."""

import http.client
import http.server
import io
import json
import re
import shutil
import sys
import threading
import urllib.request
from contextlib import contextmanager, suppress

import pytest
from PIL import Image

from helpers.server_checks import reserve_port
from tests.front import attacks as front_attacks
from tests.front import crowds as front_crowds
from tests.front.attacks import HELD, KNOWN_GAP, OPEN, UNCHECKED, announced_routes
from tests.front.bait import Bait, blank_png
from tests.front.check import FRONT, KEY_ONLY, RECORD, gaps
from tests.front.door import Door
from tests.front.nginx import nginx_front
from toolkit.planner.front import FrontSettings

NGINX = shutil.which("nginx")
NEEDS_NGINX = pytest.mark.skipif(not NGINX or sys.platform != "linux", reason="absent: nginx (on Linux)")


# ---------------------------------------------------------------- nginx in front of a stand-in


class StandIn(http.server.BaseHTTPRequestHandler):
    """A model server that answers everything. A careless one fetches every address that it reads; a careful one refuses
    what it should."""

    protocol_version = "HTTP/1.1"
    careful = False
    seen: list
    failures: list

    def do_GET(self):
        self._answer(b"")

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        self._answer(self.rfile.read(length))

    def _answer(self, body):
        self.seen.append((self.command, self.path, dict(self.headers), len(body)))
        status = 200
        if self.careful:
            authorised = self.headers.get("Authorization") == "Bearer right"
            status = (200 if b'"content": "hello"' in body and b'"n": 1000' not in body else 400) if authorised else 401
        else:
            for url in re.findall(rb'"url": "(http://(?:127|localhost)[^@]*?)"', body):
                self._fetch(url.decode())
        answer = json.dumps({"choices": [{"message": {"content": "hello"}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(answer)

    def _fetch(self, url):
        # Whatever proxy an earlier test had urlopen remember, this machine is reached without one.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            direct.open(url, timeout=60).close()
        except (OSError, ValueError) as error:
            self.failures.append(f"{url}: {error!r}")

    def log_message(self, *_):
        pass


class Crowded(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 makes the slow clients wait a second each


@contextmanager
def stand_in(careful: bool):
    handler = type("Handler", (StandIn,), {"careful": careful, "seen": [], "failures": []})
    server = Crowded(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield Door("stand-in", "127.0.0.1", server.server_port, "right", "model"), handler
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def behind_nginx():
    """A door of nginx in front of a careless stand-in, and what the stand-in sees."""
    with stand_in(careful=False) as (door, behind), reserve_port() as held:
        settings = FrontSettings(
            listen=f"127.0.0.1:{held.getsockname()[1]}", upstream=f"127.0.0.1:{door.port}", body_mib=1,
            requests_per_minute=60, burst=5, connections_per_client=4, header_seconds=1, body_seconds=10,
        )  # fmt: skip
        held.close()
        with nginx_front(NGINX, settings) as trust:
            port = int(settings.listen.rpartition(":")[2])
            yield Door(FRONT, "localhost", port, "right", "model", trust), behind.seen


@NEEDS_NGINX
def test_only_named_routes_methods_and_headers_reach_the_server(behind_nginx):
    door, seen = behind_nginx
    routes = [("POST", "/invocations"), ("GET", "/metrics"), ("GET", "/v1/models/"), ("GET", "/x/../metrics")]
    statuses = front_attacks.keyless_status(door, [*routes, ("GET", "/health"), ("GET", "/v1/models")])
    assert list(statuses.values()) == [404, 404, 404, 404, 200, 401]
    assert door.ask("DELETE", "/v1/models", key="right").status == 405
    assert door.ask("GET", "/v1/chat/completions", key="right").status == 405
    assert json.loads(door.ask("GET", "/v1/models").text)["error"]["code"] == 401
    seen.clear()
    request = http.client.HTTPSConnection("localhost", door.port, context=door.tls, timeout=20)
    headers = {"Authorization": "Bearer right", "X-Vllm-Priority": "-9", "X-Session-ID": "theirs",
               "X-Forwarded-For": "8.8.8.8", "Content-Type": "application/json"}  # fmt: skip
    request.request("POST", "/x/../v1/chat/%63ompletions", "{}", headers)
    assert request.getresponse().status == 200
    request.close()
    ((method, path, passed, length),) = seen
    assert (method, path, length) == ("POST", "/v1/chat/completions", 2)
    assert passed.pop("X-Forwarded-For") == "127.0.0.1"
    assert set(passed) == {"Host", "Authorization", "Content-Type", "Content-Length"}


@NEEDS_NGINX
def test_large_bodies_and_fast_or_slow_clients_are_held_off(behind_nginx):
    door, seen = behind_nginx
    assert door.ask("POST", "/v1/chat/completions", b" " * (2 << 20), key="right").status == 413
    assert door.ask("POST", "/v1/chat/completions", b" " * (2 << 20), key=None).status in (401, 413)
    assert not seen
    (haste,) = front_crowds.haste_rows(door, 20)
    assert haste.verdict == HELD, haste
    assert door.ask("GET", "/v1/models", key="right").status == 200, "another client pays for the fast one"
    for row in front_crowds.slow_rows(door, 4, 40, seconds=5):
        assert row.verdict == HELD, row


# ---------------------------------------------------------------- the attacks themselves


@pytest.mark.parametrize(("careful", "verdict"), [(False, OPEN), (True, HELD)])
def test_the_attacks_tell_a_careless_server_from_a_careful_one(tmp_path, careful, verdict):
    with stand_in(careful) as (door, behind), Bait() as secret, Bait(f"http://127.0.0.1:{secret.port}/") as allowed:
        (tmp_path / "media").mkdir()
        outside = tmp_path / "outside.png"
        rows = [*front_attacks.key_rows(door), *front_attacks.file_rows(door, tmp_path / "media", outside)]
        rows += front_attacks.lure_rows(door, allowed, secret, by_name=True)
        rows += front_attacks.route_rows(door, front_attacks.keyless_status(door, [("POST", "/invocations")]))
        others = [row for row in rows if row.verdict != verdict]
        assert not others, (others, behind.failures)
        assert len(rows) >= 16
        assert (secret.visits > 0) is not careful
        if not careful:
            visited = [row.tried for row in rows if "; visited" in row.came_back]
            assert any("redirect" in tried for tried in visited) and any(KNOWN_GAP in tried for tried in visited)
            assert {row.verdict for row in front_crowds.slow_rows(door, 4, 20, seconds=1)} == {OPEN}
            assert {row.verdict for row in front_crowds.haste_rows(door, 20)} == {OPEN}


@pytest.mark.parametrize("side", [1, 64, 250, 8_000])
def test_the_blank_image_is_a_image(side):
    png = blank_png(side)
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (side, side)
        assert image.convert("L").getextrema() == (0, 0)
    assert len(png) < 200 + side * side / 5000


def test_routes_are_read_from_a_log():
    log = "x INFO Route: /docs, Methods: GET, HEAD\nx INFO Route: /v1/a/{b}, Methods: POST\nRoute: /ws, Endpoint: ws\n"
    assert announced_routes(log) == [("GET", "/docs"), ("POST", "/v1/a/{b}")]


def test_gaps_are_what_the_front_let_through_and_nobody_knew_of():
    def row(tried, where, verdict):
        return {"tried": tried, "where": where, "came_back": "200", "verdict": verdict}

    rows = [
        row("a", KEY_ONLY, OPEN),
        row("b", FRONT, HELD),
        row("c", FRONT, OPEN),
        row(f"fetch {KNOWN_GAP}", FRONT, OPEN),
    ]
    assert [one["tried"] for one in gaps({"rows": rows})] == ["c"]


def test_the_record_is_of_these_settings_and_without_gaps():
    """A changed default has not been attacked yet: python -m tests.front.check --record."""
    report = json.loads(RECORD.read_text())
    assert gaps(report) == []
    assert {row["verdict"] for row in report["rows"] if row["where"] == FRONT} >= {HELD}
    assert UNCHECKED not in {row["verdict"] for row in report["rows"]}
    defaults = vars(FrontSettings(media_hosts=(front_attacks.ALLOWED,)))
    assert report["settings"] == json.loads(json.dumps({k: v for k, v in defaults.items() if k != "routes"}))
    assert {name for name, seen in report["routes_without_key"].items() if seen[FRONT] == 200} == {"GET /health"}


@pytest.mark.slow
def test_the_running_server_has_the_routes_of_the_record(server):
    """What the key does not guard; with nginx at hand, that the front closes it."""
    routes = announced_routes(server.log_path.read_text(errors="replace"))
    direct = Door(KEY_ONLY, "127.0.0.1", server.port, server.api_key, server.model_name, pid=server.pid)
    recorded = json.loads(RECORD.read_text())["routes_without_key"]
    found = front_attacks.keyless_status(direct, routes)
    assert found == {name: seen[KEY_ONLY] for name, seen in recorded.items()}
    assert direct.chat("hello", path="/invocations", key=None).status == 200
    if not NGINX or sys.platform != "linux":
        return
    with reserve_port() as held:
        port = held.getsockname()[1]
    settings = FrontSettings(listen=f"127.0.0.1:{port}", upstream=f"127.0.0.1:{server.port}")
    with nginx_front(NGINX, settings) as trust:
        front = Door(FRONT, "localhost", port, server.api_key, server.model_name, trust, server.pid)
        rows = [
            *front_attacks.route_rows(front, front_attacks.keyless_status(front, routes)),
            *front_attacks.key_rows(front),
        ]
        rows += front_crowds.stream_rows(front)
        assert {row.verdict for row in rows} == {HELD}, rows
        assert front.chat("hello").status == 200

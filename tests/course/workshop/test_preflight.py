"""The check of a seat: every way to fail has its line and remedy, and no key is shown."""

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from course.workshop import preflight
from course.workshop.preflight import FAIL, NOTE, PASS, Target, machine_lines, run_preflight, server_lines
from helpers.errors import CourseError
from tests.support.server_fixture import KEY

ROOT = Path(__file__).resolve().parents[3]
SECRET = "sk-not-for-eyes"


class Room(http.server.BaseHTTPRequestHandler):
    """A server that asks for a key and answers as ``server.says`` has it."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/health":
            return self.reply(self.server.health, {})
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self.reply(401, {"error": "Unauthorized"})
        return self.reply(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self):
        self.server.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(*self.server.says)

    def reply(self, status, data):
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answering(text):
    return 200, {"choices": [{"message": {"content": text}}]}


@pytest.fixture
def room():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Room) as server:
        server.asked, server.models, server.health, server.says = [], ["m"], 200, answering("A dog.")
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def enough(monkeypatch):
    """A machine that lacks nothing."""
    monkeypatch.setattr(preflight, "machine_lines", lambda: iter([preflight.Line(PASS, "Python", "3")]))


def test_a_ready_seat_is_told_so_and_the_servers_log_gets_its_name(room, enough, capsys):
    assert run_preflight(Target.of(f"{room.url}/v1/", SECRET), "m", "row 2, seat 7") == 0
    assert room.asked[-1] == "/v1/models?seat=row-2-seat-7&preflight=passed"
    assert room.body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    said = capsys.readouterr().out
    assert "A dog." in said and "row-2-seat-7" in said and FAIL not in said


@pytest.mark.parametrize(
    ("changes", "key", "model", "failed"),
    [
        ({"health": 404}, SECRET, None, "server"),
        ({}, "sk-wrong-one", None, "key"),
        ({}, "", None, "key"),
        ({"models": []}, SECRET, None, "model"),
        ({}, SECRET, "another", "model"),
        ({"says": (500, {"error": f"broken, and the key was {SECRET}"})}, SECRET, None, "answer"),
        ({"says": answering("")}, SECRET, None, "answer"),
        ({"says": (200, [])}, SECRET, None, "answer"),
    ],
)
def test_the_first_thing_that_fails_is_named_with_a_remedy(room, enough, capsys, changes, key, model, failed):
    vars(room).update(changes)
    assert run_preflight(Target.of(room.url, key), model) == 1
    said = capsys.readouterr().out
    assert said.count(FAIL) == said.count("What to do: ") == 1
    assert f"Not ready: {failed}." in said
    assert SECRET not in said and "sk-wrong-one" not in said
    reported = [path for path in room.asked if "preflight=" in path]
    assert [path.partition("preflight=")[2] for path in reported] == ([failed] if failed in ("model", "answer") else [])


def test_nobody_at_the_address_is_a_line(room, enough, capsys):
    room.shutdown()
    room.server_close()
    assert run_preflight(Target.of(room.url, SECRET)) == 1
    assert "Not ready: server." in capsys.readouterr().out


@pytest.mark.parametrize("present", [True, False])
def test_a_seat_on_which_no_engine_would_start_is_told_why(monkeypatch, present):
    monkeypatch.setattr(preflight, "has_numa", lambda: present)
    told = [line for line in machine_lines() if "libnuma" in line.found]
    assert [line.state for line in told] == ([] if present else [NOTE])
    assert all("apt-get install" in line.remedy for line in told)


@pytest.mark.parametrize(
    ("free_gb", "gib", "python", "failed"),
    [(500, 8, (3, 12), []), (0.5, 8, (3, 12), ["disk"]), (500, 2, (3, 12), ["memory"]), (500, 8, (3, 9), ["Python"])],
)
def test_what_a_seat_lacks_is_named(monkeypatch, free_gb, gib, python, failed):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: SimpleNamespace(free=free_gb * 1e9))
    monkeypatch.setattr(preflight, "free_gib", lambda: gib)
    monkeypatch.setattr(preflight.sys, "version_info", python)
    lines = list(machine_lines())
    assert [line.name for line in lines if line.state == FAIL] == failed
    assert all(line.remedy for line in lines if line.state == FAIL)


def test_it_runs_before_set_up_with_the_standard_library_alone(room):
    """``-S``: without site-packages."""
    command = [sys.executable, "-S", "-m", "course.workshop.preflight", room.url]
    environment = {"COURSE_SERVER_KEY": SECRET}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    assert "A dog." in done.stdout and f"{NOTE}  packages" in done.stdout
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("gpu-machine:8000", None, "no address"),
        ("http://", None, "no address"),
        ("http://gpu-machine:port", None, "no address"),
        (f"http://me:{SECRET}@gpu-machine", None, "name or a password"),
        ("http://gpu-machine", f"{SECRET}\nX", "key cannot be sent"),
        ("http://gpu-machine", f"“{SECRET}”", "key cannot be sent"),
    ],
)
def test_what_cannot_be_used_is_refused_without_showing_it(url, key, said):
    with pytest.raises(CourseError, match=said) as refused:
        Target.of(url, key)
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(Target.of("http://gpu-machine", SECRET))


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_server_answers_and_logs_the_seat(server):
    target = Target(server.root_url, KEY, timeout=600)
    lines = list(server_lines(target))
    assert [line.name for line in lines if line.state == PASS] == ["server", "key", "model", "answer"]
    assert [line.name for line in server_lines(Target(server.root_url, "guessed")) if line.state == FAIL] == ["key"]
    assert target.call("/v1/models?seat=seat-7&preflight=passed")[0] == 200
    assert "/v1/models?seat=seat-7&preflight=passed HTTP" in server.log_path.read_text(encoding="utf-8")

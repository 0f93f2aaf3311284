"""The room at a glance: figures from /metrics, seats from the log, as text and as a page."""

import urllib.request

import pytest

from course.workshop import seats
from course.workshop.preflight import Target
from course.workshop.seats import Room, newest_log, seat_log, serve_page, totals, watch_room
from helpers.errors import CourseError
from tests.support.server_fixture import KEY

METRICS = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 2.0
vllm:num_requests_running{engine="1"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0"} 0.25
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop"} 11.0
vllm:request_success_total{finished_reason="length"} 1.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0"} TOKENS
"""


def line(seat, result, status=200):
    return f'INFO:     10.0.0.7:5123 - "GET /v1/models?seat={seat}&preflight={result} HTTP/1.1" {status} OK\n'


@pytest.fixture
def room(monkeypatch, tmp_path):
    """A room whose server has written 100 tokens more at each look, one second later."""
    looks = iter(range(1, 100))
    clock = iter(range(1, 100))
    monkeypatch.setattr(Target, "call", lambda *_: (200, METRICS.replace("TOKENS", f"{100 * next(looks)}.0")))
    monkeypatch.setattr(seats.time, "monotonic", lambda: float(next(clock)))
    (tmp_path / "server.log").write_text(line("row-1", "passed") + line("row-2", "memory.disk"))
    return Room(Target("http://gpu:8000"), 30, tmp_path / "server.log")


def test_figures_are_added_up_and_tokens_are_a_rate(room):
    room.look()
    assert room.figures == {
        "requests running": "5",
        "requests waiting": "7",
        "KV cache in use": "25%",
        "requests finished": "12",
        "tokens per second": "–",
    }
    room.look()
    assert room.figures["tokens per second"] == "100"


def test_a_seat_counts_with_its_last_result_and_only_with_the_right_key(room):
    room.look()
    assert room.seats == {"row-1": "passed", "row-2": "memory.disk"} and room.passed == "1 of 30 seats have passed"
    with room.log.open("a") as log:
        log.write(line("row-2", "passed") + line("intruder", "passed", 401) + line("row-3", "passed").rstrip("\n"))
    room.look()
    assert room.seats == {"row-1": "passed", "row-2": "passed"}
    with room.log.open("a") as log:
        log.write("\n")
    room.look()
    assert "row-3" in room.seats and "3 of 30" in room.as_text()


def test_what_a_seat_calls_itself_is_never_markup(room):
    room.log.write_text(line("<script>alert(1)</script>", "passed") + line("ok", "passed"))
    room.look()
    assert list(room.seats) == ["ok"]
    room.problem = "<b>"
    assert "&lt;b&gt;" in room.as_page() and "<b>" not in room.as_page()


def test_a_server_that_is_gone_is_said_beside_the_last_figures(room, monkeypatch):
    def gone(*_):
        raise ConnectionRefusedError(111, "refused")

    room.look()
    monkeypatch.setattr(Target, "call", gone)
    room.look()
    assert "no answer: " in room.as_text() and room.figures["requests waiting"] == "7"
    assert "does not answer" in room.as_page()


def test_the_page_is_served_on_this_machine_only_and_loads_nothing(room):
    room.look()
    with serve_page(room, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=60) as answer:
            policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
        with pytest.raises(CourseError, match="cannot use port"):
            serve_page(room, server.server_port)
        server.shutdown()
    assert "default-src 'none'" in policy
    assert "row-2: failed: memory, disk" in page and 'lang="en"' in page and "prefers-color-scheme" in page
    assert "src=" not in page and "https://" not in page


def test_it_goes_on_until_interrupted(room, capsys):
    pauses = []

    def pause():
        pauses.append(1)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    assert watch_room(room, 0, once=False, pause=pause) == 0
    said = capsys.readouterr().out
    assert said.count("requests waiting") == 3 and "stopped" in said


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [(404, "", "status 404"), (200, "<html>", "does not read like vLLM's"), (200, "a b c d\n", "does not read like")],
)
def test_what_is_no_server_is_refused(room, monkeypatch, status, text, said):
    monkeypatch.setattr(Target, "call", lambda *_: (status, text))
    with pytest.raises(CourseError, match=said):
        watch_room(room, 0, once=True)


def test_a_log_that_is_not_there_is_refused(room, tmp_path):
    room.log = tmp_path / "absent.log"
    with pytest.raises(CourseError, match="no log"):
        watch_room(room, 0, once=True)


def test_the_log_of_a_server_on_this_machine_is_found_by_its_port(tmp_path):
    for name in ("server-1-8000-1.log", "server-2-9000-1.log"):
        (tmp_path / name).touch()
    assert newest_log(Target("http://127.0.0.1:8000"), tmp_path).name == "server-1-8000-1.log"
    assert newest_log(Target("http://127.0.0.1:8001"), tmp_path) is None
    assert newest_log(Target("http://gpu:8000"), tmp_path) is None


def test_the_output_of_course_serve_leads_to_the_log_that_it_names(tmp_path):
    own, printed, of_vllm = tmp_path / "server-1-8000-1.log", tmp_path / "printed.log", tmp_path / "vllm.log"
    own.touch()
    printed.write_text(
        "ready\nbase URL: http://127.0.0.1:8000/v1    model: tiny    log: outputs/logs/server-1-8000-1.log\n"
    )
    of_vllm.write_text(line("a", "passed"))
    target, away = Target("http://127.0.0.1:8000"), Target("http://gpu:8000")
    assert [seat_log(given, target, tmp_path) for given in (printed, of_vllm, None)] == [own, of_vllm, own]
    assert [seat_log(given, away, tmp_path) for given in (printed, None)] == [printed, None]


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_server_has_all_figures(server):
    status, text = Target(server.root_url, KEY, timeout=600).call("/metrics")
    assert status == 200
    assert {seats.RUNNING, seats.WAITING, seats.CACHE, seats.FINISHED, seats.WRITTEN} <= set(totals(text))

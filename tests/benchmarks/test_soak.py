"""The soak: what it makes of a server that errs, its judgement, and half a minute against the real one."""

import http.server
import json
import re
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from benchmarks import soak as module
from benchmarks.soak import GOOD, HUNG_UP, Exchange, SoakRecord, gauges, soak
from helpers.errors import CourseError

LEFT = dict.fromkeys(module.GAUGES, 0.0)


def record(**changes):
    """A run without a fault: 200 samples over 1,000 s, of which the first 200 s are the warm-up."""
    outcomes = [
        Exchange(f"{GOOD}text", True, "an answer", 0.1),
        Exchange("fault: x", True, "400 with a reason", 0.1),
    ]
    memory = [(5.0 * i, 1e9 if i >= 40 else 5e8) for i in range(200)]
    return replace(SoakRecord(1000.0, outcomes, memory, ["a", "b"], ["a", "b"], LEFT, True), **changes)


def test_a_run_without_a_fault_holds_and_growth_before_the_warm_up_is_none():
    assert record().broken() == []
    good, fault = record().rows()
    assert (good["request"], good["sent"], good["as it should be"], good["p50, s"]) == (f"{GOOD}text", 1, 1, 0.1)
    assert (fault["request"], fault["what came"]) == ("fault: x", "400 with a reason")
    assert record().growth == 0.0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (
            {"outcomes": [Exchange(f"{GOOD}clip", False, "500 oh", 0.1)]},
            "1 of 1 good requests failed .*clip: 500 oh",
        ),
        ({"outcomes": [Exchange("fault: x", True, "400", 0.1)]}, "no good request"),
        (
            {"outcomes": [Exchange(f"{GOOD}text", True, "", 0.1), Exchange("fault: x", False, "500", 0.1)]},
            "1 of 1 faults got another answer",
        ),
        ({"after": ["a", "c"]}, "1 of 2 answers"),
        ({"alive": False}, "died"),
        ({"left": LEFT | {"vllm:num_requests_running": 2.0}}, "running is 2 afterwards"),
        ({"memory": [(5.0 * i, 1e9 * (1 + i / 2000)) for i in range(200)]}, "memory grew by 7"),
    ],
)
def test_each_broken_promise_is_named(changes, word):
    found = record(**changes)
    (only,) = found.broken()
    assert re.search(word, only)
    assert f"NOT HELD: {only}" in found.notes()


def test_memory_is_judged_by_medians_after_the_warm_up():
    # A peak on the way is shown, and is no growth; 4 % is below the limit.
    memory = [(5.0 * i, 3e9 if i == 120 else 1e9 + 4e7 * (i > 150)) for i in range(200)]
    found = record(memory=memory)
    assert found.growth == pytest.approx(0.04) and not found.broken()
    figures = {one.name: one.value for one in found.figures()}
    assert figures["memory growth"] == pytest.approx(4.0)
    assert figures["most memory"] == pytest.approx(3e9 / 2**20)
    assert len(found.curve()) <= module.KEPT_SAMPLES
    short = record(memory=memory[:45])
    assert short.growth is None
    assert next(one for one in short.figures() if one.name == "memory growth").value is None


def test_gauges_of_engines_are_added_up():
    text = (
        '# HELP vllm:num_requests_running x\nvllm:num_requests_running{engine="0"} 2.0\n'
        'vllm:num_requests_running{engine="1"} 1.0\nvllm:num_requests_running_total{engine="0"} 9.0\n'
        "vllm:kv_cache_usage_perc 0.5\n"
    )
    assert gauges(text) == {"vllm:num_requests_running": 3.0, "vllm:kv_cache_usage_perc": 0.5}


# ---------------------------------------------------------------- against a stand-in


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as vLLM does, but for the one thing that ``server.mode`` names."""

    def do_GET(self):
        left = 1.0 if self.server.mode == "stuck" else 0.0
        self.reply(200, "".join(f"{name} {left}\n" for name in module.GAUGES).encode())

    def do_POST(self):
        mode = self.server.mode
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if len(content) < int(self.headers["Content-Length"]):
            return
        try:
            body = json.loads(content)
        except ValueError:
            body = {}
        if not body.get("messages") or body["messages"][0]["content"] != "fine":
            self.reply(500 if mode == "fault gets 500" else 400, b'{"error": {"message": "no"}}')
        elif body.get("stream"):
            self.stream(body["max_completion_tokens"], cut=mode == "cut stream")
        else:
            self.server.asked += 1
            text = f"answer {self.server.asked}" if mode == "changing" else "answer"
            failed = mode == "good gets 500" and self.server.asked > module.PROBES
            choice = {"message": {"content": text}, "finish_reason": "stop"}
            self.reply(500 if failed else 200, json.dumps({"choices": [choice]}).encode())

    def stream(self, pieces, cut):
        self.send_response(200)
        self.end_headers()
        try:
            for number in range(pieces):
                finish = "length" if number == pieces - 1 else None
                choice = {"delta": {"content": "a"}, "finish_reason": finish}
                self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
                if cut and number == 3:
                    return
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class PatientServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # of the usual 5, a burst on a busy machine has connections reset


class StandIn:
    """What the soak needs of a `Server`."""

    model_name, api_key, pid = "m", "k", None

    def __init__(self, mode):
        self._http = PatientServer(("127.0.0.1", 0), Handler)
        self._http.mode, self._http.asked = mode, 0
        self.root_url = f"http://127.0.0.1:{self._http.server_port}"
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def is_alive(self):
        return True

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def soaked(monkeypatch):
    """Runs a soak of a second against a stand-in; requests are made of little, the rest is as ever."""
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.3)
    monkeypatch.setattr(module, "write_workload", lambda *_, **__: [{"sort": "text", "answer_tokens": 30}] * 10)
    monkeypatch.setattr(module, "ready_messages", lambda *_: [{"role": "user", "content": "fine"}])
    monkeypatch.setattr(module.requests, "refused_requests", lambda *_: {"fault: no JSON": b"{", "fault: none": b"{}"})
    monkeypatch.setattr(module, "POOL", 4)
    stand_ins = []

    def run(mode):
        stand_ins.append(StandIn(mode))
        return soak(stand_ins[-1], minutes=1 / 60, rate=100, quiet=True)

    yield run
    for one in stand_ins:
        one.close()


def test_a_server_that_does_its_work_passes(soaked):
    found = soaked("well")
    assert found.broken() == []
    kinds = {one.kind for one in found.outcomes}
    assert {f"{GOOD}text", f"{GOOD}text, streamed", f"{HUNG_UP}in the middle of a stream"} <= kinds
    assert {"fault: no JSON", "fault: none", f"{HUNG_UP}in the middle of the request"} <= kinds
    assert 50 <= len(found.outcomes) <= 150
    assert [one.kind for one in found.outcomes[:4]] == [f"{GOOD}text"] * 4  # the crowd, before memory is looked at


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        ("good gets 500", "good requests failed"),
        ("cut stream", "a stream without its end"),
        ("fault gets 500", "faults got another answer"),
        ("changing", "answers are not those of the start"),
        ("stuck", "num_requests_waiting is 1 afterwards"),
    ],
)
def test_what_a_server_does_wrong_is_found(soaked, mode, word):
    assert any(word in one for one in soaked(mode).broken())


@pytest.mark.parametrize("arguments", [{"minutes": 0}, {"rate": 0}, {"minutes": float("inf")}])
def test_no_time_and_no_rate_are_refused(arguments):
    with pytest.raises(CourseError, match="refused"):
        soak(None, **arguments)


# ---------------------------------------------------------------- against the real one


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_half_a_minute_against_the_served_model(server):
    found = soak(server, minutes=25 / 60, rate=2, quiet=True)
    # So short a run says nothing about memory; everything else holds.
    assert [one for one in found.broken() if not one.startswith("memory")] == []
    assert found.left == LEFT and len(found.before) == module.PROBES
    kinds = {one.kind.partition(":")[0] for one in found.outcomes}
    assert kinds == {"good", "fault", "hang up"}
    assert all(size > 2**28 for _, size in found.memory)

"""However it ends, a server leaves nothing behind, and its clients get an error instead of a hang."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import helpers.server
from helpers.profiles import COURSE_ROOT, ActiveProfile, use_profile
from helpers.server import Server, ServerError, serve
from tests.support.ended import assert_ended
from tests.support.server_fixture import STANDIN, assert_gone, family_of, is_open

OWNER = """
import json, os, signal, sys, time
import psutil
import helpers.server
from helpers.profiles import ActiveProfile, load_profiles, use_profile
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run as a background job
standin, model, after = json.loads(sys.argv[1])
if standin:
    helpers.server.PROGRAM = standin
    profile = ActiveProfile(load_profiles()["tiny"], "cpu", model)
else:
    profile = use_profile("tiny", quiet=True)
def report(server):
    top = psutil.Process(server.pid).parent()
    pids = [top.pid] + [child.pid for child in top.children(recursive=True)]
    print(json.dumps({"pids": pids, "port": server.port, "base_url": server.base_url}), flush=True)
if after == "with":
    with helpers.server.serve(profile, quiet=True) as server:
        report(server)
elif after == "exception":
    with helpers.server.serve(profile, quiet=True) as server:
        report(server)
        raise RuntimeError("a cell failed")
else:
    server = helpers.server.serve(profile, quiet=True)
    report(server)
    if after == "fork" and os.fork() == 0:
        time.sleep(60)  # keeps a copy of every pipe of the owner
        os._exit(0)
    if after in ("wait", "fork"):
        time.sleep(600)
"""


def start_owner(after: str, standin: ActiveProfile | None) -> subprocess.Popen:
    """A process that starts a server as a notebook would."""
    arguments = json.dumps([STANDIN if standin else None, standin.model_path if standin else None, after])
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, arguments],
        cwd=COURSE_ROOT,
        env={**os.environ, "PYTHONPATH": str(COURSE_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def reported(owner: subprocess.Popen) -> tuple[dict, list[psutil.Process]]:
    line = owner.stdout.readline()
    assert line, "the owner ended before its server was ready"
    report = json.loads(line)
    return report, [psutil.Process(pid) for pid in report["pids"] if psutil.pid_exists(pid)]


ENDINGS = ["with", "exception", "forgotten", "terminated", "killed", "killed beside a fork"]


@pytest.mark.parametrize(("ending", "mode"), [*[(ending, "") for ending in ENDINGS], ("killed", "stubborn,astray")])
def test_nothing_outlives_its_owner(standin, monkeypatch, ending, mode):
    monkeypatch.setenv("STANDIN", mode)
    after = {"killed": "wait", "terminated": "wait", "killed beside a fork": "fork"}.get(ending, ending)
    owner = start_owner(after, standin)
    report, family = reported(owner)
    forked = psutil.Process(owner.pid).children() if after == "fork" else []
    if "killed" in ending:
        owner.kill()
    elif ending == "terminated":
        owner.terminate()
    assert_gone(family, report["port"])
    owner.wait(20)
    for child in forked:
        if child.pid not in report["pids"]:
            child.kill()


@pytest.mark.parametrize(
    ("victim", "mode"), [("server", ""), ("server", "astray"), ("engine", ""), ("engine", "keeps-on,stubborn,astray")]
)
def test_nothing_outlives_a_killed_part(standin, monkeypatch, victim, mode):
    monkeypatch.setenv("STANDIN", mode)
    with serve(standin, quiet=True) as server:
        family = family_of(server)
        process = psutil.Process(server.pid)
        (process if victim == "server" else process.children()[0]).kill()
        assert_gone(family, server.port)
        assert not server.is_alive()
        with pytest.raises(ServerError):
            server.check()


def test_an_interrupt_during_the_start_leaves_nothing(standin, monkeypatch):
    monkeypatch.setenv("STANDIN", "silent")
    owner = start_owner("wait", standin)
    deadline = time.monotonic() + 20
    while len(family := psutil.Process(owner.pid).children(recursive=True)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(family) == 3, "supervisor, server and engine should run by now"
    owner.send_signal(signal.SIGINT)
    assert_gone(family, 0)
    assert owner.wait(10) != 0


def test_an_interrupt_is_one_line_in_a_notebook(standin, monkeypatch):
    monkeypatch.setenv("STANDIN", "silent")
    before, families = set(psutil.Process().children(recursive=True)), []

    def interrupted(*_):
        families.extend(set(psutil.Process().children(recursive=True)) - before)
        raise KeyboardInterrupt

    monkeypatch.setattr(helpers.server.ProgressLine, "show", interrupted)
    monkeypatch.setattr(helpers.server.ProgressLine, "close", lambda *_: None)
    with pytest.raises(KeyboardInterrupt) as caught:
        serve(standin, quiet=True)
    assert len(caught.value._render_traceback_()) == 1
    assert families
    assert_ended(process.pid for process in families)


def test_a_start_that_takes_too_long_is_given_up(standin, monkeypatch):
    monkeypatch.setenv("STANDIN", "silent")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(ServerError, match="did not answer within 2 s") as caught:
        serve(standin, startup_seconds=2, quiet=True)
    assert "startup_seconds" in caught.value.remedy
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_failed_start_tells_cause_remedy_and_the_end_of_the_log(standin, monkeypatch):
    monkeypatch.setenv("STANDIN", "crash")
    with pytest.raises(ServerError) as caught:
        serve(standin, quiet=True)
    message = str(caught.value)
    assert "lower max_model_len" in message
    assert "ValueError: To serve at least one request" in message
    assert 'File "x.py"' not in message
    assert caught.value.log_path.is_file()


def test_what_a_server_will_ignore_without_an_error_is_warned_of(standin, monkeypatch):
    monkeypatch.setenv("STANDIN", "ignores")
    with (
        pytest.warns(UserWarning, match="--enable-tower-connector-lora") as caught,
        serve(standin, quiet=True) as server,
    ):
        assert server.is_alive()
    assert "visual.merger.linear_fc1" in str(caught[0].message)


def test_reset_connections_during_the_start_are_borne(standin, monkeypatch):
    monkeypatch.setenv("STANDIN", "reset")
    with serve(standin, quiet=True) as server:
        assert server.is_alive()


def test_two_servers_stand_side_by_side(standin):
    with serve(standin, quiet=True) as first, serve(standin, quiet=True) as second:
        assert first.port != second.port
        first.stop()
        assert not is_open(first.port)
        assert second.is_alive()


@pytest.mark.parametrize("cell", ["server = serve(active)", "server = None if not active else serve(active)"])
@pytest.mark.parametrize("flags", [0, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT])
def test_a_cell_that_is_run_again_stops_its_server_first(standin, monkeypatch, capsys, cell, flags):
    names = {"serve": serve, "active": standin}
    exec(cell, names)
    first = names["server"]
    start, order = Server._start, []

    def starting(server, *arguments):
        order.append(first.is_alive())
        start(server, *arguments)

    monkeypatch.setattr(Server, "_start", starting)
    exec(compile(cell, "cell", "exec", flags), names)
    with names["server"] as second:
        assert order == [False] and second.is_alive()
        assert f"stopped the server at {first.base_url} first" in capsys.readouterr().out
        exec("other = serve(active)", names)
        with names["other"]:
            assert order == [False, False] and second.is_alive()


def test_a_stopped_server_says_that_it_was_stopped(standin):
    with serve(standin, quiet=True) as server:
        server.check()
    with pytest.raises(ServerError, match="was stopped"):
        server.check()


def test_a_forgotten_server_ends_with_its_last_reference(standin):
    server = serve(standin, quiet=True)
    family, port = family_of(server), server.port
    del server
    assert_gone(family, port)


def test_stopping_twice_is_no_error(standin):
    server = serve(standin, quiet=True)
    server.stop()
    server.stop()
    assert not server.is_alive()
    assert "stopped" in repr(server)


def test_the_key_is_not_in_the_process_list(standin):
    with serve(standin, api_key="s3cret", quiet=True) as server:
        arguments = [" ".join(process.cmdline()) for process in family_of(server)]
        assert not any("s3cret" in line for line in arguments)
        assert psutil.Process(server.pid).environ()["VLLM_API_KEY"] == "s3cret"
        assert "s3cret" in server.curl()
        assert "s3cret" not in " ".join(server.command)


def test_a_server_of_its_own_thread_lives_on_when_the_thread_ends(standin):
    started: list[Server] = []
    thread = threading.Thread(target=lambda: started.append(serve(standin, quiet=True)))
    thread.start()
    thread.join()
    time.sleep(1)
    with started[0] as server:
        assert server.is_alive()


# The real engine. Each start takes tens of seconds, so each test does as much as it can with one.


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_real_engine_ends_with_its_killed_owner():
    owner = start_owner("wait", None)
    report, family = reported(owner)
    talker, outcome = start_talking(report["base_url"])
    owner.kill()
    owner.wait()
    assert_gone(family, report["port"])
    talker.join(15)
    assert_error(outcome)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_real_engine_takes_the_server_with_it(monkeypatch):
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    with serve(use_profile("tiny", quiet=True), quiet=True) as server:
        family = family_of(server)
        talker, outcome = start_talking(server.base_url)
        engine_of(server).kill()
        assert_gone(family, server.port)
        talker.join(15)
        assert_error(outcome)
        with pytest.raises(ServerError, match="engine's process died"):
            server.check()


def engine_of(server: Server) -> psutil.Process:
    """The child that computes: the one with the largest memory."""
    return max(psutil.Process(server.pid).children(recursive=True), key=lambda child: child.memory_info().rss)


def start_talking(base_url: str) -> tuple[threading.Thread, list[object]]:
    """Ask for far more tokens than will come; return when the answer has begun. The list gets answer or error."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key="EMPTY", timeout=60, max_retries=0)
    model = client.models.list().data[0].id
    begun, outcome = threading.Event(), []

    def talk() -> None:
        text = []
        try:
            chunks = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "Write on and on."}],
                max_tokens=3500,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            for chunk in chunks:
                text.append(chunk)
                begun.set()
            outcome.append(text)
        except Exception as error:  # openai's errors, and httpx's own where a stream breaks off
            outcome.append(error)

    talker = threading.Thread(target=talk)
    talker.start()
    assert begun.wait(60), outcome
    return talker, outcome


def assert_error(outcome: list[object]) -> None:
    """An error, or a stream whose last piece says that it was cut off, or that was through before the end."""
    assert outcome, "the client hangs"
    if not isinstance(outcome[0], Exception):
        reason = outcome[0][-1].choices[0].finish_reason
        told = reason == "abort" or (reason == "length" and len(outcome[0]) > 3000)
        assert told, f"the client took a broken answer for a whole one: {len(outcome[0])} pieces, {reason}"

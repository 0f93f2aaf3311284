"""Asking an endpoint about items, against a small one in this process that behaves as badly as it is told to."""

import asyncio
import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from email.utils import formatdate

import pytest
from PIL import Image

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from tests.support.chat_endpoint import ChatEndpoint, answer
from toolkit.evaluation.inference import client as asking
from toolkit.evaluation.inference import profile_run, requests, runner, transcripts
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy, read_retry_after
from toolkit.evaluation.inference.profile_run import RunOptions
from toolkit.evaluation.inference.requests import check_items, sampling_fields
from toolkit.evaluation.inference.runner import run_items
from toolkit.evaluation.inference.transcripts import read_transcripts
from toolkit.toyworld.items import stream_items

SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 16, "seed": 0}
SENT = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": 16, "seed": 0}
MODEL = "m"
#: A picture that is there, and in no folder of a test.
OUTSIDE = COURSE_ROOT / "data" / "scenes" / next(stream_items(COURSE_ROOT / "data" / "scenes"))["media"][0]


# ---------------------------------------------------------------- items


def write_items(folder, questions):
    """Items without media: question q is item 'i-q'."""
    folder.mkdir(exist_ok=True)
    records = [{"item_id": f"i-{one}", "messages": [{"role": "user", "content": str(one)}]} for one in questions]
    (folder / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder


def write_picture_item(folder, colour="red", name="a.png"):
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 32), colour).save(folder / name)
    content = [{"type": "image_url", "image_url": {"url": name}}, {"type": "text", "text": "What?"}]
    record = {"item_id": "p", "messages": [{"role": "user", "content": content}]}
    (folder / "items.jsonl").write_text(json.dumps(record))
    return folder


def ask(server, folder, out, sampling=SAMPLING, *, run=None, limit=None, policy=None, **of_endpoint):
    policy = RequestPolicy(**{"concurrency": 4, "first_wait_seconds": 0.0, "timeout_seconds": 30, **(policy or {})})
    endpoint = Endpoint(server.url, **{"model": MODEL, **of_endpoint})
    return asyncio.run(run_items(folder, out, endpoint, sampling, policy, run, limit))


def lines(path):
    return list(read_transcripts(path))


def ask_one(tmp_path, plan, **more):
    """The transcripts of one item."""
    with ChatEndpoint(plan) as endpoint:
        ask(endpoint, write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl", **more)
    return lines(tmp_path / "t.jsonl")


# ---------------------------------------------------------------- what is sent and recorded


def test_a_line_says_who_was_asked_what_and_what_came_back(tmp_path):
    folder = write_picture_item(tmp_path / "items")
    with ChatEndpoint() as endpoint:
        summary = ask(endpoint, folder, tmp_path / "t.jsonl", revision="c0ffee", device="cpu", dtype="float32")
    (one,) = lines(tmp_path / "t.jsonl")
    digest = hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    messages = next(stream_items(folder))["messages"]
    assert one.model_dump(exclude={"latency_seconds", "time", "run"}) == {
        "item_id": "p", "model": MODEL, "revision": "c0ffee", "server": "vllm", "server_version": "0.32.0",
        "device": "cpu", "dtype": "float32",
        "media": ({"path": "a.png", "sha256": digest, "width": 64, "height": 32},),
        "request_hash": transcripts.request_hash(messages, [digest], SENT, "c0ffee", MODEL), "endpoint": None,
        "sampling": SENT, "seed": 0, "attempt": 1, "status": "ok", "finish_reason": "stop", "text": "re: What?",
        "reasoning": None, "error": None, "prompt_tokens": 7, "completion_tokens": 3, "origin": "run",
    }  # fmt: skip
    assert one.latency_seconds > 0
    assert one.run == summary.run
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", one.time)
    assert (summary.items, summary.there, summary.attempts, dict(summary.statuses)) == (1, 0, 1, {"ok": 1})


def test_images_go_as_data_urls_with_their_very_bytes(tmp_path):
    folder = write_picture_item(tmp_path / "some items", name="ä b.png")
    with ChatEndpoint() as endpoint:
        ask(endpoint, folder, tmp_path / "t.jsonl")
    kind, _, content = endpoint.bodies[0]["messages"][0]["content"][0]["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == (folder / "ä b.png").read_bytes()


def test_clips_go_as_mp4_with_their_size(tmp_path):
    with ChatEndpoint() as endpoint:
        ask(endpoint, COURSE_ROOT / "data" / "clips", tmp_path / "t.jsonl", limit=1)
    (one,), (body,) = lines(tmp_path / "t.jsonl"), endpoint.bodies
    assert body["messages"][0]["content"][0]["video_url"]["url"].startswith("data:video/mp4;base64,")
    assert one.media[0].path.endswith(".mp4")
    assert one.media[0].width > 0
    assert one.media[0].height > 0


def test_every_sampling_field_is_sent_and_nothing_else(tmp_path):
    further = {"top_k": 20, "repetition_penalty": 1.05, "extra_body": {"mm_processor_kwargs": {"max_pixels": 1024}}}
    with ChatEndpoint() as endpoint:
        folder = write_items(tmp_path / "items", ["q"])
        ask(endpoint, folder, tmp_path / "t.jsonl", SAMPLING)
        ask(endpoint, folder, tmp_path / "t.jsonl", SAMPLING | further)
    plain, full = ({key: body[key] for key in body if key not in ("model", "messages")} for body in endpoint.bodies)
    assert plain == SENT
    assert full == {**SENT, "top_k": 20, "repetition_penalty": 1.05, "mm_processor_kwargs": {"max_pixels": 1024}}
    assert [one.sampling for one in lines(tmp_path / "t.jsonl")] == [plain, full]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": None}, "seed"),
        ({"temperature": -1}, "temperature"),
        ({"temprature": 1}, "temprature"),
        ({"extra_body": {"seed": 3}}, "extra_body must not hold 'seed'"),
        ({"extra_body": {"stream": True}}, "extra_body must not hold 'stream'"),
    ],
)
def test_sampling_fields_that_leave_something_open_are_refused(changed, named):
    with pytest.raises(CourseError, match=named):
        sampling_fields({**SAMPLING, **changed})
    for name in SAMPLING:
        with pytest.raises(CourseError, match="max_completion_tokens" if name == "max_tokens" else name):
            sampling_fields({key: value for key, value in SAMPLING.items() if key != name})


def test_the_key_goes_to_the_server_and_into_no_file(tmp_path):
    key = "sk-very-secret"
    plan = lambda question, time: (500, {}, {"error": {"message": f"bad key {key}"}})  # noqa: E731
    with ChatEndpoint(plan) as endpoint:
        folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
        ask(endpoint, folder, out, api_key=key, policy={"attempts": 1})
    assert f"authorization: bearer {key}" in endpoint.headers[0].lower()
    assert key not in out.read_text()
    assert "(key)" in lines(out)[0].error


def test_a_server_that_says_nothing_of_itself_is_known_by_its_host(tmp_path):
    with ChatEndpoint(version=None, models=()) as endpoint:
        ask(endpoint, write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl")
    (one,) = lines(tmp_path / "t.jsonl")
    assert (one.server, one.server_version, one.status) == (endpoint.url.split("/")[2], None, "ok")


def test_concurrency_is_used_and_not_exceeded(tmp_path):
    gate = {}

    async def wait_for_company(question, times):
        """The first three stay until a third has come."""
        event = gate.setdefault("three", asyncio.Event())
        if endpoint.under_way == 3:
            event.set()
        await event.wait()
        return answer()

    with ChatEndpoint(wait_for_company) as endpoint:
        summary = ask(
            endpoint, write_items(tmp_path / "items", range(12)), tmp_path / "t.jsonl", policy={"concurrency": 3}
        )
    assert summary.statuses["ok"] == 12
    assert endpoint.most_under_way == 3


def test_items_are_read_no_further_ahead_than_twice_the_concurrency(tmp_path, monkeypatch):
    read, ahead = [], []

    def counting(folder):
        for record in stream_items(folder):
            read.append(record["item_id"])
            yield record

    def plan(question, times):
        ahead.append(len(read) - 300 - len(endpoint.bodies) + endpoint.under_way)  # 300: the check before the start
        return answer()

    for module in (requests, runner):
        monkeypatch.setattr(module, "stream_items", counting)
    with ChatEndpoint(plan) as endpoint:
        ask(endpoint, write_items(tmp_path / "items", range(300)), tmp_path / "t.jsonl", policy={"concurrency": 4})
    assert len(read) == 600
    assert max(ahead) <= 2 * 4 + 2


# ---------------------------------------------------------------- statuses


@pytest.mark.parametrize(
    ("reply", "status", "text"),
    [
        (answer("Yes."), "ok", "Yes."),
        (answer(""), "ok", ""),
        (answer(None), "ok", ""),
        (answer([{"type": "text", "text": "A "}, {"type": "text", "text": "dog."}]), "ok", "A dog."),
        (answer("half a \ud83d pair"), "ok", "half a � pair"),
        (answer("No reason.", None), "ok", "No reason."),
        (answer(None, "length"), "thinking", None),
        (answer("A dog and a", "length"), "truncated", "A dog and a"),
        (answer("dog dog dog", "repetition"), "truncated", "dog dog dog"),
        (answer("", "content_filter"), "refused", ""),
        (answer(None, refusal="I won't."), "refused", "I won't."),
        ((400, {}, {"error": {"code": "content_filter", "message": "filtered"}}), "refused", None),
        (answer("half", "abort"), "error", None),
        ((400, {}, {"error": {"message": "too long"}}), "error", None),
        ((422, {}, b"<html>no</html>"), "error", None),
        ((307, {"Location": "/elsewhere"}, b""), "error", None),
        (b"not JSON", "error", None),
        (b"[" * 100_000, "error", None),
        ({"choices": []}, "error", None),
        ({"object": "error", "message": "in a 200"}, "error", None),
    ],
)
def test_what_an_answer_is_called_and_that_errors_are_no_text(tmp_path, reply, status, text):
    (one,) = ask_one(tmp_path, lambda question, time: reply)
    assert (one.status, one.text) == (status, text)
    if status == "error":
        assert one.error


@pytest.mark.parametrize(
    ("reply", "status", "reasoning", "text"),
    [
        (answer("Yes", reasoning="It barks."), "ok", "It barks.", "Yes"),
        (answer("Yes", reasoning_content="It barks."), "ok", "It barks.", "Yes"),
        (answer("<think>\nIt barks.\n</think>\n\nYes"), "ok", "It barks.", "Yes"),
        (answer("It barks.</think>Yes"), "ok", "It barks.", "Yes"),  # the template ended with <think>
        (answer("<think>\n\n</think>\n\nYes"), "ok", None, "Yes"),
        (answer("Yes, <think> is a tag."), "ok", None, "Yes, <think> is a tag."),
        (answer("<think>It ba", "length"), "thinking", "It ba", None),
        (answer(None, "length", reasoning="It ba"), "thinking", "It ba", None),
        (answer("", reasoning_content="A dog."), "thinking", "A dog.", None),  # a parser that took the answer, too
        (answer("Ye", "length", reasoning="It barks."), "truncated", "It barks.", "Ye"),
        (answer(None, refusal="No.", reasoning="Hm."), "refused", "Hm.", "No."),
    ],
)
def test_reasoning_is_kept_apart_from_the_answer_and_is_none(tmp_path, reply, status, reasoning, text):
    (one,) = ask_one(tmp_path, lambda question, time: reply)
    assert (one.status, one.reasoning, one.text) == (status, reasoning, text)
    assert one.settled


def test_what_was_only_thinking_is_told_with_its_remedy(tmp_path):
    with ChatEndpoint(lambda question, time: answer("<think>Hm", "length")) as endpoint:
        told = ask(endpoint, write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl").describe()
    assert "1 thinking" in told and "--max-tokens" in told


def test_an_error_tells_what_the_server_said_shortened(tmp_path):
    long = "data:image/png;base64," + "A" * 100_000
    (one,) = ask_one(tmp_path, lambda question, time: (400, {}, {"error": {"message": f"cannot read {long}"}}))
    assert one.error.startswith("HTTP 400: cannot read data:image")
    assert len(one.error) < 2100


def test_an_answer_that_takes_too_long_is_a_timeout_even_if_bytes_come(tmp_path):
    async def silent(question, times):
        await asyncio.sleep(60)

    for number, plan in enumerate((silent, lambda question, time: "drip")):
        (tmp_path / str(number)).mkdir()
        (one,) = ask_one(tmp_path / str(number), plan, policy={"timeout_seconds": 0.4})
        assert (one.status, one.text, one.error) == ("timeout", None, "No answer within 0.4 s.")


# ---------------------------------------------------------------- retries


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ((429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}), "HTTP 429: slow down"),
        ((500, {}, b"boom"), "HTTP 500: boom"),
        ((503, {}, b""), "HTTP 503: Some Reason"),
        ("close", "RemoteProtocolError"),
        ("cut", "RemoteProtocolError"),
    ],
)
def test_what_may_pass_is_tried_again_with_a_line_for_each_attempt(tmp_path, fault, told):
    one, two, three = ask_one(tmp_path, lambda question, time: answer() if time == 3 else fault)
    assert [(line.attempt, line.status) for line in (one, two, three)] == [(1, "error"), (2, "error"), (3, "ok")]
    assert told in one.error
    assert one.request_hash == three.request_hash


@pytest.mark.parametrize("status", [400, 413, 422, 501])
def test_what_cannot_pass_is_not_tried_again(tmp_path, status):
    assert len(ask_one(tmp_path, lambda question, time: (status, {}, b"no"))) == 1


def test_attempts_end_and_the_failure_is_counted_once(tmp_path):
    with ChatEndpoint(lambda question, time: (500, {}, b"boom") if question == "1" else answer()) as endpoint:
        folder = write_items(tmp_path / "items", range(3))
        summary = ask(endpoint, folder, tmp_path / "t.jsonl", policy={"attempts": 3})
    assert endpoint.times == {"0": 1, "1": 3, "2": 1}
    assert (summary.failures, summary.retries, summary.attempts) == (1, 2, 5)
    assert "1 error, 2 ok" in summary.describe()


def test_a_servers_wish_is_the_least_to_wait_and_back_off_grows_to_a_limit(monkeypatch):
    policy = RequestPolicy(first_wait_seconds=1.0)
    for jitter, waits in ((0.0, [0, 0, 0]), (1.0, [1, 2, 4])):
        monkeypatch.setattr(asking.random, "uniform", lambda low, high, jitter=jitter: low + jitter * (high - low))
        assert [policy.wait(number, None) for number in (1, 2, 3)] == waits
        assert policy.wait(1, 7.0) == 7.0 + jitter
    assert policy.wait(30, None) == policy.wait(1, 86_400.0) == asking.LONGEST_WAIT_SECONDS


def test_a_servers_wish_reaches_the_waiting(tmp_path, monkeypatch):
    wishes = []
    monkeypatch.setattr(RequestPolicy, "wait", lambda policy, number, wanted: wishes.append((number, wanted)) or 0.0)
    faults = {1: (429, {"Retry-After": "3"}, b""), 2: (503, {}, b"")}
    ask_one(tmp_path, lambda question, time: faults.get(time) or answer())
    assert wishes == [(1, 3.0), (2, None)]


def test_retry_after_is_read_as_a_number_or_a_date():
    now = 1_800_000_000.0
    assert read_retry_after("2.5") == 2.5
    assert read_retry_after("-4") == 0
    assert read_retry_after(formatdate(now + 90, usegmt=True), now) == 90
    assert read_retry_after(formatdate(now - 90, usegmt=True), now) == 0
    for nothing in (None, "", "soon", "nan", "inf"):
        assert read_retry_after(nothing) is None, nothing


# ---------------------------------------------------------------- resuming


def test_what_is_settled_is_not_asked_again_and_failures_are_as_further_attempts(tmp_path):
    folder, out = write_items(tmp_path / "items", range(4)), tmp_path / "t.jsonl"
    faults = {"1": (500, {}, b"boom"), "2": answer("cut", "length"), "3": answer(None, refusal="No.")}
    with ChatEndpoint(lambda question, time: faults.get(question) or answer()) as endpoint:
        ask(endpoint, folder, out, policy={"attempts": 2}, revision="c0ffee")
    with ChatEndpoint() as endpoint:
        summary = ask(endpoint, folder, out, revision="c0ffee")
    assert endpoint.questions == ["1"]
    assert summary.there == 3
    assert [(one.attempt, one.status) for one in lines(out) if one.item_id == "i-1"] == [
        (1, "error"), (2, "error"), (3, "ok"),
    ]  # fmt: skip
    with ChatEndpoint() as endpoint:
        assert ask(endpoint, folder, out, revision="c0ffee").there == 4
    assert not endpoint.bodies


def test_a_changed_picture_is_asked_anew_and_a_renamed_one_is_not(tmp_path):
    out = tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint:
        ask(endpoint, write_picture_item(tmp_path / "items"), out)
        ask(endpoint, write_picture_item(tmp_path / "items", name="b.png"), out)
        assert len(endpoint.bodies) == 1
        ask(endpoint, write_picture_item(tmp_path / "items", "blue", "b.png"), out)
        assert len(endpoint.bodies) == 2
    assert len({one.request_hash for one in lines(out)}) == 2


@pytest.mark.parametrize("change", [{"sampling": SAMPLING | {"temperature": 0.7}}, {"revision": "c0ffee"}])
def test_another_setting_or_revision_is_another_run_and_asked_anew(tmp_path, change):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint:
        ask(endpoint, folder, out)
        ask(endpoint, folder, out, **change)
        assert len(endpoint.bodies) == 2
    one, two = lines(out)
    assert one.request_hash != two.request_hash
    assert one.run != two.run


def test_two_models_without_revision_share_a_file_and_no_answer(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint(models=("m", "n")) as endpoint:
        for model in ("m", "n", "m"):
            ask(endpoint, folder, out, model=model)
    assert [body["model"] for body in endpoint.bodies] == ["m", "n"]


def test_another_address_is_asked_anew_unless_a_revision_says_that_the_weights_are_the_same(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint(lambda *_: answer("of A")) as one, ChatEndpoint(lambda *_: answer("of B")) as other:
        assert ask(one, folder, out).elsewhere == ()
        told = ask(other, folder, out)
        assert one.url in told.describe() and "--revision" in told.describe()
        assert ask(other, folder, out).there == ask(one, folder, out).there == 1
        with pytest.raises(CourseError, match="is something else") as refused:
            ask(one, folder, tmp_path / "named.jsonl", run="m")
            ask(other, folder, tmp_path / "named.jsonl", run="m")
        assert one.url in str(refused.value) and other.url in str(refused.value)
        ask(one, folder, tmp_path / "known.jsonl", revision="c0ffee", run="m")
        assert ask(other, folder, tmp_path / "known.jsonl", revision="c0ffee", run="m").there == 1
    assert [(line.text, line.endpoint) for line in lines(out)] == [("of A", one.url), ("of B", other.url)]
    assert len({line.run for line in lines(out)}) == 2


def test_other_weights_behind_the_same_name_and_address_are_asked_anew(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint:
        for files in ("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-4B-Instruct"):
            endpoint.files = files
            ask(endpoint, folder, out)
    assert [line.endpoint for line in lines(out)] == [
        f"{endpoint.url} (Qwen/Qwen3-VL-2B-Instruct)", f"{endpoint.url} (Qwen/Qwen3-VL-4B-Instruct)"
    ]  # fmt: skip


def test_a_runs_name_cannot_mean_two_things(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint:
        ask(endpoint, folder, out, run="first")
        with pytest.raises(CourseError, match=r"The run 'first' .* is something else"):
            ask(endpoint, folder, out, SAMPLING | {"seed": 1}, run="first")
        assert ask(endpoint, folder, out, run="first").there == 1


def test_a_run_of_another_name_is_asked_though_another_run_has_the_same_answers(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint:
        for run in ("one", "two", "two"):
            summary = ask(endpoint, folder, out, run=run)
    assert summary.there == 1
    assert [line.run for line in lines(out)] == ["one", "two"]


def test_equal_requests_of_two_items_are_two_answers(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    twin = json.loads((folder / "items.jsonl").read_text()) | {"item_id": "twin"}
    with (folder / "items.jsonl").open("a") as file:
        file.write(json.dumps(twin) + "\n")
    with ChatEndpoint() as endpoint:
        ask(endpoint, folder, out)
        assert ask(endpoint, folder, out).there == 2
    assert sorted(one.item_id for one in lines(out)) == ["i-q", "twin"]


def test_lines_that_are_there_twice_and_a_torn_one_do_no_harm(tmp_path):
    folder, out = write_items(tmp_path / "items", range(3)), tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint:
        ask(endpoint, folder, out, policy={"concurrency": 1})
        first, second, third = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(first + first + second + first + third[:-20])
        endpoint.bodies.clear()
        summary = ask(endpoint, folder, out)
        assert endpoint.questions == ["2"]
    assert "t.jsonl.torn" in summary.repaired
    assert out.with_name("t.jsonl.torn").read_bytes() == third[:-20] + b"\n"
    assert Counter(one.item_id for one in lines(out)) == {"i-0": 3, "i-1": 1, "i-2": 1}


# ---------------------------------------------------------------- killed

CHILD = """
import asyncio, os, signal, sys
from toolkit.evaluation.inference import client, runner, transcripts
folder, out, url, tear_at = *sys.argv[1:4], int(sys.argv[4])

class Tearing:
    '''Writes half of a line, and the process is gone.'''
    def __init__(self, file):
        self.file, self.lines = file, 0
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, line):
        self.lines += 1
        if self.lines == tear_at:
            self.file.write(line[: len(line) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return self.file.write(line)

if tear_at:
    opened = transcripts.TranscriptWriter.__init__
    def opening(self, path):
        opened(self, path)
        self._file = Tearing(self._file)
    transcripts.TranscriptWriter.__init__ = opening
fields = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 16, "seed": 0}
policy = client.RequestPolicy(4, first_wait_seconds=0.01)
asyncio.run(runner.run_items(folder, out, client.Endpoint(url, "m"), fields, policy))
"""


def start_child(endpoint, folder, out, tear_at=0):
    return subprocess.Popen([sys.executable, "-c", CHILD, folder, out, endpoint.url, str(tear_at)], cwd=COURSE_ROOT)


def test_killed_within_a_line_again_and_again_nothing_is_lost_and_nothing_doubled(tmp_path):
    folder, out = write_items(tmp_path / "items", range(40)), tmp_path / "t.jsonl"

    def plan(question, times):
        return (500, {}, b"boom") if question in ("3", "17") and times == 1 else answer(f"re: {question}")

    with ChatEndpoint(plan) as endpoint:
        for tear_at in (1, 12, 9):
            assert start_child(endpoint, folder, out, tear_at).wait(120) == -signal.SIGKILL
        there = out.read_bytes().rpartition(b"\n")[0]
        summary = ask(endpoint, folder, out)
    assert out.read_bytes().startswith(there)
    settled = [one for one in lines(out) if one.settled]
    assert sorted(one.item_id for one in settled) == sorted(f"i-{number}" for number in range(40))
    assert all(one.text == f"re: {one.item_id[2:]}" for one in settled)
    assert summary.there == len(settled) - sum(summary.statuses.values())
    assert out.with_name("t.jsonl.torn").read_bytes().count(b"\n") == 3
    assert max(endpoint.times.values()) <= 1 + 3 + 1  # once, once for each kill, once for a 500


def test_killed_while_requests_are_under_way_the_file_is_free_and_the_run_goes_on(tmp_path):
    folder, out = write_items(tmp_path / "items", range(30)), tmp_path / "t.jsonl"
    reached = threading.Event()

    async def plan(question, times):
        if len(endpoint.bodies) > 10 and not reached.is_set():
            reached.set()
        if reached.is_set() and child.returncode is None:
            await asyncio.sleep(60)
        return answer()

    with ChatEndpoint(plan) as endpoint:
        child = start_child(endpoint, folder, out)
        assert reached.wait(120)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        before = len(lines(out))
        assert ask(endpoint, folder, out).there == before
    assert Counter(one.item_id for one in lines(out)) == {f"i-{number}": 1 for number in range(30)}


def test_two_runs_cannot_write_one_file_at_a_time(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with (
        ChatEndpoint() as endpoint,
        transcripts.TranscriptWriter(out),
        pytest.raises(CourseError, match="Another process writes"),
    ):
        ask(endpoint, folder, out)
    assert not endpoint.bodies


# ---------------------------------------------------------------- what stops a run


def test_no_server_a_wrong_address_and_an_unknown_model_are_told_before_anything_is_written(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint(models=("qwen", "gwen")) as endpoint, pytest.raises(CourseError, match="use one of: qwen, gwen"):
        ask(endpoint, folder, out)
    with pytest.raises(CourseError, match="No server answers"):
        ask(endpoint, folder, out)  # it has ended
    endpoint.url = "127.0.0.1:8085"
    with pytest.raises(CourseError, match="is no address"):
        ask(endpoint, folder, out)
    assert out.read_bytes() == b""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:80a5/v1", "use one like"),
        ("http://[::1/v1", "use one like"),
        ("http://h:99999/v1", "use one like"),
        ("http://:8085/v1", "use one like"),
        ("http://a\0/v1", "use one like"),
        ("ftp://h/v1", "use one like"),
        ("", "use one like"),
        ("h:8085/v1", "use http://h:8085/v1"),
        ("me:secret@h:8085", "use http://h:8085"),
        ("http://me:secret@h:80a5", "use one like"),
        ("http://h :8085/v1", "a space within"),
        ("http://h/v1?version=1", "leave that out"),
    ],
)
def test_a_mistyped_address_is_told_without_its_password(tmp_path, url, told):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with pytest.raises(CourseError, match="is no address of a server") as refused:
        asyncio.run(run_items(folder, out, Endpoint(url, MODEL), SAMPLING))
    assert told in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models/", " \n"])
def test_an_address_may_be_pasted_as_it_stands_in_a_terminal(tmp_path, end):
    with ChatEndpoint() as endpoint:
        endpoint.url = endpoint.url.removesuffix("/v1") + end
        assert ask(endpoint, write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl").statuses["ok"] == 1


def test_an_address_keeps_a_path_of_its_own():
    assert str(asking.read_address("https://h/api/v3/")) == "https://h/api/v3"


def test_credentials_in_an_address_are_sent_and_neither_shown_nor_recorded(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint(lambda question, time: (401, {}, b"no")) as endpoint:
        endpoint.url = endpoint.url.replace("http://", "http://me:secret@")
        with pytest.raises(CourseError, match="refuses every request") as refused:
            ask(endpoint, folder, out)
        with pytest.raises(CourseError, match="there is a key as well"):
            ask(endpoint, folder, out, api_key="k")
    sent = base64.b64encode(b"me:secret").decode()
    assert f"authorization: basic {sent}".lower() in endpoint.headers[0].lower()
    with pytest.raises(CourseError, match="No server answers") as gone:
        ask(endpoint, folder, out)
    assert all("secret" not in told for told in (str(refused.value), str(gone.value), out.read_text()))


@pytest.mark.parametrize("key", ["schlüssel", "pasted\nkey", "pasted-key "])
def test_a_key_that_no_header_can_hold_is_told_and_not_repeated(tmp_path, key):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    with ChatEndpoint() as endpoint, pytest.raises(CourseError, match="key cannot be sent") as told:
        ask(endpoint, folder, out, api_key=key)
    assert key.strip() not in str(told.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_everything_is_not_asked_ten_thousand_times(tmp_path, status):
    folder, out = write_items(tmp_path / "items", range(50)), tmp_path / "t.jsonl"
    with (
        ChatEndpoint(lambda question, time: (status, {}, {"error": {"message": "no"}})) as endpoint,
        pytest.raises(CourseError, match=f"refuses every request(.|\n)*HTTP {status}: no"),
    ):
        ask(endpoint, folder, out)
    assert len(endpoint.bodies) <= 4
    assert {one.status for one in lines(out)} == {"error"}


def test_a_server_that_goes_away_ends_the_run_which_goes_on_later(tmp_path):
    folder, out = write_items(tmp_path / "items", range(60)), tmp_path / "t.jsonl"

    def plan(question, times):
        if len(endpoint.bodies) == 20:
            endpoint.stop_listening()
        return "close" if len(endpoint.bodies) >= 20 else answer()

    with ChatEndpoint(plan) as endpoint, pytest.raises(CourseError, match="does not answer any more"):
        ask(endpoint, folder, out, policy={"attempts": 2}, revision="c0ffee")
    answered = sum(one.settled for one in lines(out))
    assert answered >= 15
    with ChatEndpoint() as endpoint:
        assert ask(endpoint, folder, out, revision="c0ffee").there == answered
    assert sum(one.settled for one in lines(out)) == 60


def test_a_broken_picture_fails_alone(tmp_path):
    folder, out = write_items(tmp_path / "items", ["q"]), tmp_path / "t.jsonl"
    content = [{"type": "image_url", "image_url": {"url": "b.png"}}, {"type": "text", "text": "What?"}]
    broken = {"item_id": "broken", "messages": [{"role": "user", "content": content}]}
    (folder / "items.jsonl").write_text(json.dumps(broken) + "\n" + (folder / "items.jsonl").read_text())
    (folder / "b.png").write_bytes(b"no picture")
    with ChatEndpoint() as endpoint:
        summary = ask(endpoint, folder, out)
    assert endpoint.questions == ["q"]
    assert dict(summary.statuses) == {"ok": 1, "error": 1}
    failed = next(one for one in lines(out) if one.item_id == "broken")
    assert failed.error.startswith("Not sent: b.png cannot be read as an image")


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], "has no items"),
        (["no json"], "line 1 is not JSON"),
        (["[]"], "line 1 is not a JSON object"),
        ([{"messages": [{"role": "user", "content": "q"}]}], "Item 1 .* has no item_id"),
        ([{"item_id": "a", "messages": [{"role": "user", "content": "q"}]}] * 2, "two items 'a'"),
        ([{"item_id": "a"}], "messages of item 'a'"),
        ([{"item_id": "a", "messages": ["q"]}], "messages of item 'a'"),
        ([("image_url", "a.png")], "no such file"),
        ([("image_url", "https://example.org/a.png")], "only files are sent"),
        ([("image_url", "data:image/png;base64,AAAA")], "only files are sent"),
        ([("image_url", "/etc/hostname")], "no image or video"),
        ([("image_url", str(OUTSIDE))], "outside the items' folder"),
        ([("image_url", "../out.png")], "outside the items' folder"),
        ([("image_url", "sub/../../out.png")], "outside the items' folder"),
        ([("image_url", {"url": 3})], "messages of item 'a'"),
    ],
)
def test_items_that_cannot_be_asked_are_told_before_the_first_is(tmp_path, records, told):
    def record(one):
        if isinstance(one, tuple):
            content = [{"type": one[0], one[0]: one[1] if isinstance(one[1], dict) else {"url": one[1]}}]
            one = {"item_id": "a", "messages": [{"role": "user", "content": content}]}
        return one if isinstance(one, str) else json.dumps(one)

    folder = tmp_path / "items"
    folder.mkdir()
    (tmp_path / "out.png").touch()
    (folder / "items.jsonl").write_text("\n".join(map(record, records)))
    with pytest.raises(CourseError, match=told):
        check_items(folder)


@pytest.mark.parametrize("name", ["a.png", "sub/a.png"])
def test_a_link_that_leads_out_of_the_folder_is_neither_read_nor_sent(tmp_path, name):
    folder, out = write_picture_item(tmp_path / "items", name="inside.png"), tmp_path / "t.jsonl"
    record = (folder / "items.jsonl").read_text()
    (folder / "items.jsonl").write_text(record.replace("inside.png", name))
    if name == "a.png":
        (folder / name).symlink_to(OUTSIDE)
    else:
        (folder / "sub").symlink_to(OUTSIDE.parent)
        (folder / "items.jsonl").write_text(record.replace("inside.png", f"sub/{OUTSIDE.name}"))
    with ChatEndpoint() as endpoint, pytest.raises(CourseError, match="outside the items' folder: it is a link to"):
        ask(endpoint, folder, out)
    read = requests.read_request
    with pytest.raises(CourseError, match="outside"):
        read(folder, next(stream_items(folder)), SENT, None, MODEL)


def test_a_link_within_the_folder_and_a_folder_that_is_a_link_are_fine(tmp_path):
    folder = write_picture_item(tmp_path / "items", name="inside.png")
    (folder / "a.png").symlink_to("inside.png")
    (folder / "items.jsonl").write_text((folder / "items.jsonl").read_text().replace("inside.png", "a.png"))
    (tmp_path / "linked").symlink_to(folder)
    assert check_items(tmp_path / "linked") == 1
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to("a.png")
    with pytest.raises(CourseError, match=r"shows .*a\.png"):
        check_items(folder)


def test_items_may_hold_any_line_end_within_their_texts(tmp_path):
    (tmp_path / "items.jsonl").write_text(
        json.dumps({"item_id": "a", "messages": [{"role": "user", "content": "x\u2028y\x85z"}]}, ensure_ascii=False),
        encoding="utf-8",
    )
    assert check_items(tmp_path) == 1
    with pytest.raises(CourseError, match="no items"):
        check_items(tmp_path / "none")


def test_the_courses_own_items_can_all_be_asked():
    for kind in ("scenes", "receipts", "clips", "sentences"):
        assert check_items(COURSE_ROOT / "data" / kind) == 24, kind
    assert check_items(COURSE_ROOT / "data" / "scenes", limit=3) == 3


# ---------------------------------------------------------------- the command


def test_the_command_asks_an_endpoint_with_a_profiles_own_fields(tmp_path, capsys):
    folder, out = write_items(tmp_path / "items", range(3)), tmp_path / "t.jsonl"
    with ChatEndpoint(models=("tiny-qwen3-vl",)) as endpoint:
        assert (
            profile_run.main(RunOptions("tiny", folder, out, url=endpoint.url, run="tiny", limit=2, max_tokens=99)) == 0
        )
    assert "2 of 2 items asked (2 ok)" in capsys.readouterr().out
    assert {key: endpoint.bodies[0][key] for key in SENT} == SENT | {"max_completion_tokens": 99}
    assert {one.run for one in lines(out)} == {"tiny"}
    with ChatEndpoint(lambda question, time: (400, {}, b"no"), models=("tiny-qwen3-vl",)) as endpoint:
        assert profile_run.main(RunOptions("tiny", folder, out, url=endpoint.url, run="other")) == 1


def test_nothing_to_do_starts_no_server(tmp_path, capsys, monkeypatch):
    from helpers.profiles import use_profile

    folder, out = write_items(tmp_path / "items", range(3)), tmp_path / "t.jsonl"
    revision = profile_run.model_revision(use_profile("tiny", quiet=True))
    with ChatEndpoint(models=("tiny-qwen3-vl",)) as endpoint:
        assert profile_run.main(RunOptions("tiny", folder, out, url=endpoint.url, revision=revision)) == 0
    monkeypatch.setattr("helpers.server.serve", lambda *_, **__: pytest.fail("a server was started"))
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    assert profile_run.main(RunOptions("tiny", folder, out)) == 0
    assert "nothing to do), 3 were there already" in capsys.readouterr().out
    out.unlink()
    with pytest.raises(pytest.fail.Exception):
        profile_run.main(RunOptions("tiny", folder, out))


def test_a_vendors_own_sampling_is_sent_in_full(tmp_path):
    arguments = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 99, "seed": 5}
    with pytest.raises(CourseError, match="not on this disk"):
        profile_run.vendor_sampling(tmp_path, arguments)
    config = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "eos_token_id": [1]}
    (tmp_path / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")
    drawn = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "max_tokens": 99, "seed": 5}
    assert profile_run.vendor_sampling(tmp_path, arguments) == drawn
    further = {"presence_penalty": 1.5}
    assert profile_run.vendor_sampling(tmp_path, arguments, further) == drawn | further
    (tmp_path / "generation_config.json").write_text(json.dumps(config | {"do_sample": False}), encoding="utf-8")
    greedy = profile_run.vendor_sampling(tmp_path, arguments, further)
    assert (greedy["temperature"], "presence_penalty" in greedy) == (0, False)
    with pytest.raises(CourseError, match="no sampling fields 'best'"):
        profile_run.main(RunOptions("tiny", tmp_path, tmp_path / "t.jsonl", sampling="best"))


def test_instruct_editions_of_qwen3_vl_take_qwens_presence_penalty_and_others_none():
    from helpers.profiles import load_profiles

    for name, profile in load_profiles().items():
        recommended = {"presence_penalty": 1.5} if re.search("Qwen3-VL-.*-Instruct", profile.model) else {}
        assert profile.vendor == recommended, name
        sampling_fields(profile.sampling | profile.vendor)


def test_the_revision_of_weights_without_a_commit_is_a_hash_of_them(tmp_path):
    from types import SimpleNamespace

    active = SimpleNamespace(model_path=str(tmp_path), profile=SimpleNamespace(rehearse=False))
    assert profile_run.model_revision(active) is None
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = profile_run.model_revision(active)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first)
    (tmp_path / "model.safetensors").write_bytes(b"weightz")
    assert profile_run.model_revision(active) != first
    active.profile.rehearse = True
    assert profile_run.model_revision(active) == "random weights"
    elsewhere = SimpleNamespace(model_path="org/name", profile=SimpleNamespace(rehearse=False, revision="v2"))
    assert profile_run.model_revision(elsewhere) == "hub: v2"  # the port of its server must not matter


def test_connections_do_not_all_share_a_pool():
    """A pool looks at all its connections for each request: with 64 in one that took longer than an answer."""
    for concurrency, pools in ((1, 1), (8, 1), (64, 8)):
        transport = asking.open_client(Endpoint("http://127.0.0.1:9/v1", MODEL), concurrency)._transport
        assert len(transport.pools) == pools
        assert {id(next(transport.turns)) for _ in range(pools)} == {id(pool) for pool in transport.pools}

"""Thirty seats at once: all of them, each kind of request, and what is reported. No second is asserted."""

import asyncio
import json

import pytest

from course.workshop.clients import FIELDS, KINDS, Reply, report, run_clients
from course.workshop.preflight import Target
from helpers.errors import CourseError
from helpers.server_checks import reserve_port
from tests.support.chat_endpoint import ChatEndpoint, answer
from tests.support.server_fixture import KEY

SEATS = 30
STREAM = b'data: {"choices": [{"delta": {"content": "A dog."}}]}\n\ndata: [DONE]\n\n'


def target_of(endpoint, key="k"):
    return Target(endpoint.url.removesuffix("/v1"), key, timeout=300)


def right(body):
    if body.get("stream"):
        return STREAM
    return answer(json.dumps(dict.fromkeys(FIELDS, "x")) if "response_format" in body else "A dog.")


@pytest.mark.timeout(300)
def test_all_seats_are_under_way_at_the_same_time_with_all_kinds(capsys):
    everybody = asyncio.Event()

    async def waits_for_all():
        body = endpoint.bodies[-1]
        if endpoint.under_way == SEATS:
            everybody.set()
        await everybody.wait()
        return right(body)

    with ChatEndpoint(lambda *_: waits_for_all()) as endpoint:
        assert run_clients(target_of(endpoint), SEATS) == 0
    assert len(endpoint.bodies) == SEATS * len(KINDS) and endpoint.most_under_way == SEATS
    assert sum(bool(body.get("stream")) for body in endpoint.bodies) == SEATS
    assert sum("response_format" in body for body in endpoint.bodies) == SEATS
    assert capsys.readouterr().out.count(f"{SEATS} of {SEATS}") == len(KINDS) + 1


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        (answer(""), "image: an empty answer"),
        ((500, {}, {"error": "the key was sk-secret"}), "image: InternalServerError"),
        ("close", "image: APIConnectionError"),
    ],
)
def test_what_was_not_answered_is_named_and_fails(capsys, spoilt, problem):
    def plan(*_):
        body = endpoint.bodies[-1]
        return spoilt if right(body) == answer() else right(body)

    with ChatEndpoint(plan) as endpoint:
        assert run_clients(target_of(endpoint, "sk-secret"), 1) == 1
    said = capsys.readouterr().out
    assert problem in said and "sk-secret" not in said
    assert "structured          1 of 1" in said


def test_json_that_is_not_of_the_schema_is_no_answer(capsys):
    with ChatEndpoint(lambda *_: STREAM if endpoint.bodies[-1].get("stream") else answer('{"place": 1}')) as endpoint:
        assert run_clients(target_of(endpoint), 1) == 1
    assert "structured: JSON that is not of the schema" in capsys.readouterr().out


def test_the_report_has_median_p95_and_longest():
    text = report([Reply("text", seconds) for seconds in range(1, 101)])
    assert text.splitlines()[1].split() == ["text", "100", "of", "100", "50.50", "95.00", "100.00"]


@pytest.mark.parametrize("count", [0, -1, 100_000])
def test_a_count_that_is_none_is_refused_before_anything_is_sent(count):
    with pytest.raises(CourseError, match="refused"):
        run_clients(Target("http://nowhere.invalid"), count)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_clients_of_one_tiny_server_are_all_answered(server, capsys, record_property):
    status = run_clients(Target(server.root_url, KEY, timeout=600), SEATS)
    waits = capsys.readouterr().out
    record_property("waits", waits)
    print(waits)
    assert status == 0, waits


def test_a_server_that_nobody_runs_is_named():
    with reserve_port() as held:
        address = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(CourseError, match="does not answer") as caught:
            run_clients(Target(address), 2)
    assert "without --clients" in caught.value.remedy

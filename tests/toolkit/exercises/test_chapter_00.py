"""Chapter 00: right answers of other forms pass, plausible wrong ones get a word."""

import socket

import pytest

from tests.support.exercise_answers import ChapterTests

HELD = []


@pytest.fixture(autouse=True)
def released():
    """What a wrong answer leaves open."""
    yield
    while HELD:
        HELD.pop().close()


def bind(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def bind_and_keep(port):
    try:
        HELD.append(socket.create_server(("127.0.0.1", port)))
    except OSError:
        return False
    return True


def ask_whether_somebody_answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def numbers(text):
    return tuple(map(int, text.split(".")))


RIGHT = [
    ("00.1", [1, 0, 1, 0]),
    ("00.2", lambda driver, torch: numbers(driver)[0] >= numbers(torch)[0]),
    ("00.2", lambda driver, torch: not float(driver) // 1 < float(torch) // 1),
    ("00.3", lambda total, limit: (total if limit is None or limit > total else limit) / 1024**3),
    ("00.4", bind),
    ("00.5", {"H100", "A100", "RTX 4090"}),
    ("00.5", ["a100", "4090", "h100"]),
]
WRONG = [
    ("00.1", [True, True, True, False], "machine 2: its driver"),
    ("00.1", [True, False, False, False], "machine 3: a newer driver"),
    ("00.1", [True, False, True, True], "machine 4: without a driver"),
    ("00.1", [True, False], "a list of 4 values"),
    ("00.1", ["yes", "no", "yes", "no"], "machine 1: True or False"),
    ("00.2", lambda driver, torch: numbers(driver) >= numbers(torch), "within one major version"),
    ("00.2", lambda driver, torch: driver == torch, "should be True"),
    ("00.2", lambda driver, torch: int(driver) >= int(torch), "your function raised ValueError"),
    ("00.3", lambda total, limit: total / 2**30, "a limit below the machine's memory"),
    ("00.3", lambda total, limit: min(total, limit) / 2**30, "your function raised TypeError"),
    ("00.3", lambda total, limit: min(total, limit or total) / 1e9, "a GiB has 2**30"),
    ("00.3", lambda total, limit: (limit or total) / 2**30, "a limit above"),
    ("00.4", bind_and_keep, "leaves the port taken"),
    ("00.4", ask_whether_somebody_answers, "try to take it yourself"),
    ("00.4", lambda port: True, "another program listens"),
    ("00.4", lambda port: False, "nobody holds"),
    ("00.5", ["T4", "A100", "RTX 4090", "H100"], "the T4 again"),
    ("00.5", ["RTX 4090", "H100"], "the A100 again"),
    ("00.5", ["A100", "RTX 4090", "H100", "B200"], "not among the cards"),
    ("00.5", "A100", "a list of names"),
]
AS_GIVEN = [("00.2", lambda driver, torch: driver.split(".")[0] >= torch.split(".")[0])]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "00", RIGHT, WRONG, AS_GIVEN

"""The one server of a test session, started when the first test asks for it, on the tiny model; and a stand-in."""

import json
import os
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

import helpers.server
from helpers.local_http import LOCALHOST
from helpers.profiles import ActiveProfile, load_profiles, use_profile
from helpers.server import Server, serve
from tests.support.ended import assert_ended

KEY = "a key for the tests"
STANDIN = [sys.executable, str(Path(__file__).with_name("standin_server.py"))]


@pytest.fixture(scope="session")
def server():
    """A running tiny server that asks for ``KEY``; afterwards nothing of it may be left."""
    variables = {name: os.environ.pop(name, None) for name in ("COURSE_SERVER_URL", "VLLM_API_KEY")}
    environment = dict(os.environ)
    with serve(use_profile("tiny", quiet=True), api_key=KEY, quiet=True) as running:
        family = family_of(running)
        yield running
    assert_gone(family, running.port)
    os.environ.clear()
    os.environ.update(environment | {name: value for name, value in variables.items() if value is not None})


@pytest.fixture
def client(server: Server):
    """An OpenAI client of the session's server that neither waits for ever nor repeats."""
    from openai import OpenAI

    return OpenAI(base_url=server.base_url, api_key=server.api_key, timeout=120, max_retries=0)


@pytest.fixture
def standin(monkeypatch, tmp_path):
    """An active profile whose server is the stand-in."""
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.delenv("STANDIN", raising=False)
    monkeypatch.setattr(helpers.server, "PROGRAM", STANDIN)
    monkeypatch.setattr(helpers.server, "LOG_FOLDER", tmp_path / "absent" / "logs")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["Qwen3VLForConditionalGeneration"]}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return ActiveProfile(load_profiles()["tiny"], "cpu", str(folder))


def family_of(server: Server) -> list[psutil.Process]:
    """The server's supervisor and all below it."""
    top = psutil.Process(server.pid).parent()
    return [top, *top.children(recursive=True)]


def assert_gone(family: list[psutil.Process], port: int, seconds: float = 15) -> None:
    """No process of the family and nobody at the port after at most that long."""
    assert_ended((process.pid for process in family), seconds)
    deadline = time.monotonic() + 2
    while is_open(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_open(port), f"port {port} still answers"


def is_open(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((LOCALHOST, port)) == 0

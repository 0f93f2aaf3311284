"""Servers from the command line: one in the foreground, and the list of all."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from course import hello, serving
from course.serving import describe_server, list_servers, serve_until_interrupted, supervisors
from helpers.errors import CourseError
from helpers.server import MEDIA_FOLDER, Address, ServerError, serve
from tests.support.server_fixture import assert_gone, family_of


def test_the_foreground_command_refuses_what_it_cannot_do(monkeypatch):
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    with pytest.raises(CourseError, match="no profile 'gigantic'"):
        serve_until_interrupted("gigantic", Address(), None, False)


def test_the_foreground_command_shows_how_to_ask_with_a_text_and_with_an_image(standin, monkeypatch, capsys):
    monkeypatch.setattr(serving, "use_profile", lambda *_, **__: standin)
    monkeypatch.setattr("helpers.server.Server.check", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert serve_until_interrupted("tiny", Address(), "it's secret", False) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("curl ")]
    asked = [json.loads(shlex.split(line)[-1])["messages"][0]["content"] for line in lines]
    assert len(asked) == 2 and "in reverse" in asked[0]
    image, text = asked[1]
    file = Path(unquote(urlsplit(image["image_url"]["url"]).path))
    assert file.is_file() and file.is_relative_to(MEDIA_FOLDER) and text["text"] == "Describe this image."
    assert all("Authorization: Bearer it's secret" in shlex.split(line) for line in lines)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not shutil.which("curl"), reason="absent: curl")
def test_the_shown_line_with_an_image_is_answered_when_pasted(server):
    scene = hello.bundled_task()
    line = server.curl(scene.question, scene.image.as_uri())
    pasted = subprocess.run(["sh", "-c", line], capture_output=True, check=True, text=True, timeout=300)
    assert json.loads(pasted.stdout)["choices"][0]["message"]["content"]


def test_servers_are_listed_and_stopped(standin, monkeypatch, capsys):
    with serve(standin, quiet=True) as server:
        family = family_of(server)
        own = [guard for guard in supervisors() if guard.pid == family[0].pid]
        assert len(own) == 1
        for expected in (server.pid, server.port, server.model_name, "a program"):
            assert f" {expected}" in describe_server(own[0])
        monkeypatch.setattr(serving, "supervisors", lambda: own)  # not those of whoever runs the tests
        assert list_servers() == 0 and server.is_alive()
        assert list_servers(stop=True) == 0
        assert_gone(family, server.port)
        assert "stopped 1" in capsys.readouterr().out
        with pytest.raises(ServerError, match="from outside"):
            server.check()


def test_no_server_is_no_error(monkeypatch, capsys):
    monkeypatch.setattr(serving, "supervisors", list)
    assert list_servers(stop=True) == 0
    assert "no server is running" in capsys.readouterr().out

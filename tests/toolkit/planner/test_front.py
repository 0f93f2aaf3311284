"""The front of a server that strangers reach: what is written, and whether vLLM takes its own settings behind it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.guard_answers import SILENT_HOST
from tests.front.bait import Bait, blank_png
from toolkit.planner.front import ERRORS, NO_HOST, ROUTES, FrontSettings, Route

SETTINGS = FrontSettings(server_name="models.example.org", media_hosts=("pictures.example.org",))


def locations(conf: str) -> list[str]:
    return re.findall(r"^ *location (.*?) \{", conf, re.MULTILINE)


def test_nothing_but_the_named_routes_passes():
    conf = SETTINGS.nginx_conf()
    named = [f"= {path}" for path in ROUTES]
    assert locations(conf) == [*(f"@e{status}" for status in ERRORS), "/", *named]
    assert conf.count("proxy_pass ") == len(named) == conf.count("limit_req zone=") == conf.count("limit_conn conn")
    assert "/invocations" not in conf
    assert "/metrics" not in conf
    assert locations(replace(SETTINGS, routes={"/v1/models": Route("GET")}).nginx_conf())[-2:] == ["/", "= /v1/models"]


def test_every_setting_is_in_the_file():
    numbers = {"body_mib": "client_max_body_size {}m;", "requests_per_minute": "rate={}r/m;", "burst": "burst={} ",
               "connections_per_client": "limit_conn connections {};", "header_seconds": "client_header_timeout {}s;",
               "body_seconds": "client_body_timeout {}s;", "answer_seconds": "proxy_read_timeout {}s;",
               "idle_seconds": "keepalive_timeout {}s;", "worker_connections": "worker_connections {};"}  # fmt: skip
    for number, (name, line) in enumerate(numbers.items(), 101):
        conf = replace(SETTINGS, **{name: number}).nginx_conf()
        assert line.format(number) in conf, name
    conf = SETTINGS.nginx_conf()
    assert SETTINGS.certificate in conf and SETTINGS.upstream in conf and SETTINGS.server_name in conf


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server_name", "a; } location / { proxy_pass http://b"),
        ("server_name", ""),
        ("listen", "443"),
        ("upstream", "127.0.0.1:8000; include /etc/passwd"),
        ("upstream", "127.0.0.1:99999"),
        ("certificate", '/etc/"; }'),
        ("certificate_key", "/etc/$host.key"),
        ("certificate_key", ""),
        ("routes", {"/v1/": Route("POST")}),
        ("routes", {"/v1/../metrics": Route("GET")}),
        ("routes", {"~ ^/v1": Route("POST")}),
        ("routes", {"/v1/models": Route("DELETE")}),
        ("body_mib", 0),
        ("requests_per_minute", 2.5),
        ("connections_per_client", True),
        ("image_pixels", 0),
        ("media_mib", -1),
        ("media_hosts", ("https://pictures.example.org/",)),
        ("media_hosts", ("pictures.example.org --api-key x",)),
        ("media_hosts", ("-x",)),
        ("media_folder", "data"),
        ("media_folder", "/"),
        ("media_folder", "/srv/.."),
    ],
)
def test_what_would_guard_nothing_or_break_out_of_its_line_is_refused(name, value):
    with pytest.raises(CourseError, match=name):
        FrontSettings(**{name: value})


def test_no_named_host_means_no_host_at_all():
    """vLLM takes an empty list for 'every host'."""
    flags = FrontSettings().server_flags()
    assert flags == ["--disable-fastapi-docs", "--allowed-media-domains", NO_HOST]
    assert SETTINGS.server_flags()[1:3] == ["--allowed-media-domains", "pictures.example.org"]
    folder = ["--allowed-local-media-path", "/srv/media"]
    assert replace(SETTINGS, media_folder="/srv/media").server_flags()[-2:] == folder


ASK_VLLM = """
import asyncio, json, sys
from helpers.guard_answers import answer_for
from toolkit.planner.flags import parser_problems, serve_parser, variable_problems
order = json.loads(sys.argv[1])
problems = parser_problems(serve_parser(), ["model", *order["flags"]]) + variable_problems(order["environment"], [])
from vllm.multimodal.media import MediaConnector
connector = MediaConnector(allowed_local_media_path=order["folder"], allowed_media_domains=order["hosts"])
found = {}
for url in order["urls"]:
    try:
        found[url] = list(connector.fetch_image(url).size)
    except Exception as error:
        found[url] = type(error).__name__
try:
    asyncio.run(connector.fetch_image_async(order["silent"]))
except Exception as error:
    found["silent"] = answer_for(error)
print(json.dumps([problems, found]))
"""


@pytest.mark.slow
def test_vllm_takes_the_flags_and_fetches_only_what_it_may(tmp_path):
    """Without a model: vLLM's own parser, and its own reader of media, in a process with our variables."""
    (tmp_path / "media").mkdir()
    for name in ("media/inside.png", "outside.png"):
        (tmp_path / name).write_bytes(blank_png(64))
    (tmp_path / "media" / "large.png").write_bytes(blank_png(5000))
    (tmp_path / "media" / "link.png").symlink_to(tmp_path / "outside.png")
    settings = FrontSettings(media_hosts=("localhost",), media_folder=str(tmp_path / "media"))
    with Bait() as secret, Bait(f"http://127.0.0.1:{secret.port}/") as allowed:
        fine = [f"file://{tmp_path}/media/inside.png", f"http://localhost:{allowed.port}/p.png"]
        wrong = [
            f"file://{tmp_path}/{name}.png" for name in ("outside", "media/../outside", "media/link", "media/large")
        ]
        wrong += [f"http://127.0.0.1:{secret.port}/", f"http://localhost:{allowed.port}/redirect",
                  f"http://127.0.0.1:{secret.port}\\@localhost/", f"http://localhost@127.0.0.1:{secret.port}/",
                  f"http://localhost:{allowed.port}/gzip"]  # fmt: skip
        order = {
            "flags": settings.server_flags(),
            "environment": settings.server_environment(),
            "folder": settings.media_folder,
            "hosts": settings.media_hosts,
            "urls": [*fine, *wrong],
            "silent": f"http://localhost:{allowed.port}/silence",
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK_VLLM, json.dumps(order)], capture_output=True, text=True, timeout=300,
            cwd=COURSE_ROOT, env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_IMAGE_FETCH_TIMEOUT": "1",
                 **settings.server_environment()},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        problems, found = json.loads(done.stdout.strip().splitlines()[-1])
        assert problems == []
        assert [found[url] for url in fine] == [[64, 64], [64, 64]]
        assert all(isinstance(found[url], str) for url in wrong), found
        assert found["silent"] == list(SILENT_HOST)
        assert secret.visits == 0

"""Proxies: this machine is reached without one, and one that no client can use is named or left out."""

import asyncio
import http.server
import threading
import urllib.request

import pytest

from helpers.errors import CourseError
from helpers.local_http import PROXIES, bypass_proxies, check_proxies, get

#: What desktops and proxy programs export, and mistakes.
UNUSABLE = ["socks://127.0.0.1:9/", "socks4://127.0.0.1:9", "ftp://127.0.0.1:9", "http://127.0.0.1:port"]


@pytest.fixture
def here():
    """The address of a server on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def proxy(monkeypatch):
    """Sets a proxy as a desktop does."""
    for name in [*PROXIES, "NO_PROXY", "no_proxy"]:
        monkeypatch.delenv(name, raising=False)
    # urlopen keeps the proxies of its first call for as long as the process lives.
    monkeypatch.setattr(urllib.request, "_opener", None)

    def use(address: str) -> None:
        for name in PROXIES:
            monkeypatch.setenv(name, address)

    return use


async def by_aiohttp(url: str) -> int:
    import aiohttp

    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
        return answer.status


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "127.0.0.1:9", "socks5://127.0.0.1:9", *UNUSABLE])
def test_no_client_asks_a_proxy_for_this_machine(proxy, here, address):
    """Port 9 answers nobody, so that a client that asked the proxy would fail."""
    import httpx
    import requests
    from openai import OpenAI

    proxy(address)
    assert get(here)[0] == 200
    bypass_proxies()
    assert urllib.request.urlopen(here).status == 200
    assert httpx.get(here).status_code == 200
    assert requests.get(here, timeout=60).status_code == 200
    assert asyncio.run(by_aiohttp(here)) == 200
    client = OpenAI(base_url=here, api_key="-", max_retries=0)
    assert client.get("/", cast_to=httpx.Response).status_code == 200


@pytest.mark.parametrize("address", UNUSABLE)
def test_a_proxy_that_cannot_be_used_is_named_with_a_remedy(proxy, capsys, address):
    proxy(address)
    with pytest.raises(CourseError, match="proxy in http_proxy cannot be used") as caught:
        check_proxies()
    assert "http://..." in caught.value.remedy
    bypass_proxies()
    assert capsys.readouterr().err.count(" is ignored here: ") == 3
    check_proxies()


def test_usable_proxies_and_own_exceptions_are_kept():
    environment = {"https_proxy": "http://proxy:1", "NO_PROXY": "example.org"}
    check_proxies(environment)
    bypass_proxies(environment)
    assert environment["https_proxy"] == "http://proxy:1"
    assert environment["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
    assert "127.0.0.1" in environment["no_proxy"]
    bypass_proxies(nothing := {})
    assert nothing == {}


def test_a_client_of_another_machine_is_refused_a_proxy_that_cannot_be_used(proxy):
    from toolkit.evaluation.inference.client import Endpoint, open_client

    proxy(UNUSABLE[0])
    asyncio.run(open_client(Endpoint("http://127.0.0.1:1/v1", "m"), 1).aclose())
    with pytest.raises(CourseError, match="cannot be used"):
        open_client(Endpoint("http://example.org/v1", "m"), 1)

"""Talking to servers on this machine: no proxy is asked."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping, MutableMapping

LOCALHOST = "127.0.0.1"


def get(url: str, headers: Mapping[str, str] | None = None, timeout: float = 5) -> tuple[int, bytes]:
    """Status and body of an answer.

    Raises:
        OSError: nobody answers. http.client.HTTPException: what answers is no HTTP server.
    """
    if not url.startswith(("http://", "https://")):
        raise ConnectionError(f"'{url}' is no http address")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def bypass_proxies(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have programs that honour a proxy setting in this environment reach this machine directly."""
    if any(environment.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        for name in ("NO_PROXY", "no_proxy"):
            hosts = [host for host in environment.get(name, "").split(",") if host]
            environment[name] = ",".join(dict.fromkeys([*hosts, LOCALHOST, "localhost"]))

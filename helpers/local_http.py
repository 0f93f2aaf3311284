"""Servers on this machine, and proxies: none is asked on the way to this machine, and some cannot be used at all."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, MutableMapping

from helpers.errors import CourseError

LOCALHOST = "127.0.0.1"
PROXIES = [name for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())]


def get(
    url: str, headers: Mapping[str, str] | None = None, timeout: float = 5, posted: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer; with a body to be posted, to a POST.

    Raises:
        OSError: nobody answers. http.client.HTTPException: what answers is no HTTP server.
    """
    if not url.startswith(("http://", "https://")):
        raise ConnectionError(f"'{url}' is no http address")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, posted, dict(headers or {}))  # noqa: S310
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def bypass_proxies(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have programs that honour a proxy setting in this environment reach this machine directly.

    A proxy that Python's clients cannot use stops even those that need none, so it is removed, which is said on stderr.
    """
    unusable = unusable_proxies(environment)
    for name in unusable:
        del environment[name]
    for name in {name.upper(): name for name in unusable}.values():  # usually set in both cases
        print(f"{name} is ignored here: {unusable[name]}", file=sys.stderr)
    if unusable or any(environment.get(name) for name in PROXIES):  # a client made earlier may remember one
        for name in ("NO_PROXY", "no_proxy"):
            hosts = [host for host in environment.get(name, "").split(",") if host]
            environment[name] = ",".join(dict.fromkeys([*hosts, LOCALHOST, "localhost", "::1"]))


def check_proxies(environment: Mapping[str, str] = os.environ) -> None:
    """For what needs the network.

    Raises:
        CourseError: a proxy is set that Python's HTTP clients cannot use.
    """
    for name, reason in unusable_proxies(environment).items():
        remedy = f"set {name} to the proxy's HTTP port (http://...), or unset it"
        if "socks" in environment[name].lower():
            install = f"{sys.executable} -m pip install socksio PySocks"
            remedy += f"; for SOCKS, {install}, and write the address as socks5h://..."
        raise CourseError(f"The proxy in {name} cannot be used.", reason, remedy)


def unusable_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name a proxy which Python's HTTP clients refuse, with the reason."""
    found: dict[str, str] = {}
    for name in PROXIES:
        if not (value := environment.get(name, "").strip()):
            continue
        import httpx

        address = value if "://" in value else f"http://{value}"
        scheme = address.partition("://")[0].lower()
        try:
            httpx.HTTPTransport(proxy=address, verify=False)  # nothing is sent
        except ImportError:
            found[name] = f"{scheme}:// needs the package socksio, which is not installed"
        except (ValueError, httpx.InvalidURL):
            known = scheme in ("http", "https", "socks5", "socks5h")
            reason = "it is not a valid address" if known else f"they do not know the scheme {scheme}://"
            found[name] = f"Python's HTTP clients refuse it: {reason}"
    return found

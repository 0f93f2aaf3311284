"""What stands in front of a server that strangers reach: nginx, and vLLM's own settings behind it.

The key of ``vllm serve`` guards some routes only, and vLLM itself limits neither bodies nor clients. So a front closes
what is not named, and vLLM is told which media it may fetch. ``tests/front/check.py`` tries both on a
running server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.templates import render

TEMPLATE = COURSE_ROOT / "data" / "fronts" / "nginx.conf.jinja"
#: vLLM takes an empty list of hosts for 'every host'. No name may end in .invalid (RFC 2606, section 2).
NO_HOST = "none.invalid"
#: What nginx says when it refuses; 401 and 404 are vLLM's words for the same.
ERRORS = MappingProxyType(
    {
        401: "A key is missing.",
        404: "There is nothing here.",
        405: "This address is asked in another way.",
        413: "The request is too large.",
        429: "Too many requests: wait a moment.",
        502: "The model server does not answer.",
        504: "The model server took too long.",
    }
)
_HOST = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}(?<!-)")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_PATH = re.compile(r"(?!.*\.\.)/[A-Za-z0-9/_.-]*(?<!/)")
#: What may stand within the double quotes of nginx.conf.
_QUOTABLE = re.compile(r"[^\"'$\\{}\x00-\x1f]+")
_METHOD = re.compile("GET|POST")
#: Least values. A limit of 0 would mean none at all to nginx or vLLM.
_LEAST = {
    **dict.fromkeys(("body_mib", "requests_per_minute", "connections_per_client", "image_pixels", "media_mib"), 1),
    **dict.fromkeys(("header_seconds", "body_seconds", "send_seconds", "idle_seconds", "answer_seconds"), 1),
    "burst": 0,
    "worker_connections": 64,
}


@dataclass(frozen=True)
class Route:
    """One address that passes."""

    method: str
    key: bool = True
    """Whether a request without any key is refused by the front, before its body is read."""


#: What an OpenAI client needs; everything else answers 404.
ROUTES = MappingProxyType(
    {
        "/v1/chat/completions": Route("POST"),
        "/v1/responses": Route("POST"),
        "/v1/models": Route("GET"),
        "/health": Route("GET", key=False),
    }
)


@dataclass(frozen=True)
class FrontSettings:
    """The settings of a front, and of vLLM behind it.

    Raises:
        CourseError: a value that cannot be written into a configuration, or that guards nothing.
    """

    server_name: str = "localhost"
    """Host name that clients use and that the certificate is for."""
    listen: str = "0.0.0.0:443"
    """Address and port of the front."""
    upstream: str = "127.0.0.1:8000"
    """Address and port of vLLM, which nobody else should reach."""
    certificate: str = "/etc/ssl/certs/front.pem"
    certificate_key: str = "/etc/ssl/private/front.key"
    routes: Mapping[str, Route] = field(default_factory=lambda: ROUTES)
    body_mib: int = 20
    """Largest request in MiB. An image as a data URL takes 4/3 of its file."""
    requests_per_minute: int = 120
    """Of one address, on average."""
    burst: int = 20
    """Requests beyond the average that one address may send at once."""
    connections_per_client: int = 16
    """Requests of one address under way at a time; a stream is one as long as it runs."""
    worker_connections: int = 8192
    """Connections of one nginx process, two for each request that is passed on."""
    header_seconds: int = 10
    body_seconds: int = 10
    send_seconds: int = 30
    idle_seconds: int = 30
    answer_seconds: int = 600
    """Longest silence of vLLM: waiting in the queue and prefill, where nothing is streamed the whole answer."""
    media_hosts: tuple[str, ...] = ()
    """Hosts that vLLM may fetch images and videos from, by exact name; none: data URLs only."""
    media_folder: str | None = None
    """The folder of ``file://`` addresses; None: there are none. Everybody with a key can read all of it."""
    image_pixels: int = 16_777_216
    """Largest image and largest frame. The released Qwen3-VL scale larger ones down to this many anyway."""
    media_mib: int = 32
    """Largest file that vLLM fetches, unpacked."""

    def __post_init__(self) -> None:
        for name, value, pattern, wanted in (
            ("server_name", self.server_name, _HOST, "a host name without scheme, port or path"),
            *(("media_hosts", host, _HOST, "host names without scheme, port or path") for host in self.media_hosts),
            ("listen", self.listen, _ADDRESS, "an address and a port, such as 0.0.0.0:443"),
            ("upstream", self.upstream, _ADDRESS, "an address and a port, such as 127.0.0.1:8000"),
            ("certificate", self.certificate, _QUOTABLE, "a path without quotes, braces, $ and backslashes"),
            ("certificate_key", self.certificate_key, _QUOTABLE, "a path without quotes, braces, $ and backslashes"),
            *(
                ("routes", path, _PATH, "an exact path, without pattern and without / at its end")
                for path in self.routes
            ),
            *(("routes", route.method, _METHOD, "GET or POST") for route in self.routes.values()),
        ):
            if not pattern.fullmatch(value):
                raise _unusable(name, value, wanted)
        for name in ("listen", "upstream"):
            if not 1 <= int(getattr(self, name).rpartition(":")[2]) <= 65535:
                raise _unusable(name, getattr(self, name), "a port from 1 to 65535")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _unusable(name, value, f"a whole number, {least} or more: 0 would mean 'without limit'")
        if self.media_folder is not None:
            folder = Path(self.media_folder)
            if not folder.is_absolute() or folder.resolve() == Path("/"):
                raise _unusable(
                    "media_folder", self.media_folder, "an absolute path other than /, since all is readable"
                )

    def nginx_conf(self, *, prefix: bool = False) -> str:
        """The configuration of nginx as text.

        Args:
            prefix: keep all that nginx writes below the folder of ``nginx -p``, and stay in the foreground: for an
                ordinary user, and for trying.
        """
        return render(TEMPLATE, **vars(self), prefix=prefix, errors=ERRORS)

    def server_flags(self) -> list[str]:
        """Flags of ``vllm serve`` behind the front."""
        flags = ["--disable-fastapi-docs", "--allowed-media-domains", *(self.media_hosts or (NO_HOST,))]
        return flags + (["--allowed-local-media-path", self.media_folder] if self.media_folder is not None else [])

    def server_environment(self) -> dict[str, str]:
        """Variables of ``vllm serve`` behind the front, besides the key (VLLM_API_KEY)."""
        return {
            "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
            "VLLM_MAX_IMAGE_PIXELS": str(self.image_pixels),
            "VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB": str(self.media_mib),
            # With vLLM's three attempts and growing timeouts (5, 20, 80 s) one address holds a request for 110 s.
            "VLLM_MEDIA_FETCH_MAX_RETRIES": "1",
            # One request for this many answers keeps the engine busy for all others.
            "VLLM_MAX_N_SEQUENCES": "8",
        }


def _unusable(name: str, value: object, wanted: str) -> CourseError:
    return CourseError(f"{value!r} cannot be the front's {name}.", "", f"give {wanted}")

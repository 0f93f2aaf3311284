"""What stands in front of a server that strangers reach: nginx or Caddy, and vLLM's own settings behind it.

The key of ``vllm serve`` guards some routes only, and vLLM itself limits neither bodies nor clients. So a front closes
what is not named, and vLLM is told which media it may fetch. ``benchmarks/front/check.py`` tries both on a
running server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown

TEMPLATES = COURSE_ROOT / "data" / "fronts"
NGINX, CADDY = "nginx.conf", "Caddyfile"
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
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_PATH = re.compile(r"/[A-Za-z0-9/_.-]*")
#: Within double quotes of nginx.conf and Caddyfile none of these may stand.
_NOT_IN_QUOTES = re.compile(r"[\"'$\\{}\x00-\x1f]")


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
    """Largest request in MiB. A picture as a data URL takes 4/3 of its file."""
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
    """Hosts that vLLM may fetch pictures and clips from, by exact name; none: data URLs only."""
    media_folder: str | None = None
    """The folder of ``file://`` addresses; None: there are none. Everybody with a key can read all of it."""
    image_pixels: int = 16_777_216
    """Largest picture and largest frame. The released Qwen3-VL scale larger ones down to this many anyway."""
    media_mib: int = 32
    """Largest file that vLLM fetches, unpacked."""

    def __post_init__(self) -> None:
        for name, hosts in {"server_name": (self.server_name,), "media_hosts": self.media_hosts}.items():
            for host in hosts:
                if not _HOST.fullmatch(host):
                    raise _unusable(name, host, "a host name without scheme, port or path")
        for name in ("listen", "upstream"):
            found = _ADDRESS.fullmatch(getattr(self, name))
            if not found or not 1 <= int(found[2]) <= 65535:
                raise _unusable(name, getattr(self, name), "an address and a port, such as 127.0.0.1:8000")
        for name in ("certificate", "certificate_key"):
            if not getattr(self, name) or _NOT_IN_QUOTES.search(getattr(self, name)):
                raise _unusable(name, getattr(self, name), "a path without quotes, braces, $ and backslashes")
        for path, route in self.routes.items():
            if not _PATH.fullmatch(path) or path.endswith("/") or ".." in path:
                raise _unusable("routes", path, "an exact path, without pattern and without / at its end")
            if route.method not in ("GET", "POST"):
                raise _unusable("routes", route.method, "GET or POST")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _unusable(name, value, f"a whole number, {least} or more: 0 would mean 'without limit'")
        if self.media_folder is not None and not Path(self.media_folder).is_absolute():
            raise _unusable("media_folder", self.media_folder, "an absolute path")
        if self.media_folder is not None and Path(self.media_folder).resolve() == Path("/"):
            raise _unusable("media_folder", self.media_folder, "a folder of its own, since all below it can be read")


_LEAST = {
    "body_mib": 1,
    "requests_per_minute": 1,
    "burst": 0,
    "connections_per_client": 1,
    "worker_connections": 64,
    "header_seconds": 1,
    "body_seconds": 1,
    "send_seconds": 1,
    "idle_seconds": 1,
    "answer_seconds": 1,
    "image_pixels": 1,
    "media_mib": 1,
}


def nginx_conf(settings: FrontSettings, *, prefix: bool = False) -> str:
    """The configuration of nginx as text.

    Args:
        settings: what to write.
        prefix: keep all that nginx writes below the folder of ``nginx -p``, and stay in the foreground: for an ordinary
            user, and for trying.
    """
    return _render(f"{NGINX}.jinja", settings, prefix=prefix, errors=ERRORS)


def caddyfile(settings: FrontSettings, *, own_certificate: bool = True) -> str:
    """The same for Caddy, as far as Caddy can: it has no limits for one client without a plugin.

    Args:
        settings: what to write.
        own_certificate: use the files of the settings; False: Caddy gets one from Let's Encrypt, for a public name.
    """
    host, _, port = settings.listen.rpartition(":")
    everywhere = host in ("0.0.0.0", "[::]")  # noqa: S104
    return _render(
        f"{CADDY}.jinja",
        settings,
        site=f"https://{settings.server_name}:{port}",
        bind=None if everywhere else host.strip("[]"),
        own_certificate=own_certificate,
    )


def server_flags(settings: FrontSettings) -> list[str]:
    """Flags of ``vllm serve`` behind a front."""
    flags = ["--disable-fastapi-docs", "--allowed-media-domains", *(settings.media_hosts or (NO_HOST,))]
    if settings.media_folder is not None:
        flags += ["--allowed-local-media-path", settings.media_folder]
    return flags


def server_environment(settings: FrontSettings) -> dict[str, str]:
    """Variables of ``vllm serve`` behind a front, the key (VLLM_API_KEY) apart."""
    return {
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_IMAGE_PIXELS": str(settings.image_pixels),
        "VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB": str(settings.media_mib),
        # With vLLM's three attempts and growing time-outs (5, 20, 80 s) one address holds a request for 110 s.
        "VLLM_MEDIA_FETCH_MAX_RETRIES": "1",
        # One request for this many answers keeps the engine busy for all others.
        "VLLM_MAX_N_SEQUENCES": "8",
    }


def write_front(settings: FrontSettings, folder: Path) -> list[Path]:
    """Write ``nginx.conf`` and ``Caddyfile`` into a folder.

    Raises:
        CourseError: the folder cannot be written.
    """
    texts = {NGINX: nginx_conf(settings), CADDY: caddyfile(settings)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CourseError(
            f"{shown(folder)} cannot be written: {error.strerror}.", "a read-only or full disk", "choose another folder"
        ) from None
    return [folder / name for name in texts]


def _render(template: str, settings: FrontSettings, **more: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - no markup; the settings have been checked
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**vars(settings), **more)


def _unusable(name: str, value: Any, wanted: str) -> CourseError:
    return CourseError(f"{value!r} cannot be the front's {name}.", "", f"give {wanted}")

"""Start, watch, join and stop ``vllm serve``.

A small supervisor (``helpers/supervisor.py``) guards it, so that neither a crashed notebook nor a dead engine leaves a
process or an open port behind. Foreseeable failures are refused before the start, others diagnosed from the log.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from helpers.errors import CourseError, Interrupted
from helpers.files import COURSE_ROOT, OUTPUTS, search_path, shown
from helpers.guard_body import ENVIRONMENT
from helpers.local_http import LOCALHOST, bypass_proxies, get
from helpers.lost_servers import assigned_next, explain_if_lost
from helpers.processes import SupervisedProcess
from helpers.profiles import ActiveProfile, use_profile
from helpers.progress import ProgressLine
from helpers.server_checks import check_environment, check_memory, check_model, last_value, reserve_port
from helpers.server_log import diagnose, last_words, phase, read_log, recognise

#: What clients send when no key is required: the OpenAI client insists on one.
NO_KEY = "EMPTY"
#: The only folder from which vLLM may serve local files.
MEDIA_FOLDER = COURSE_ROOT / "data"
#: One grammar engine by name, so that a schema it does not support is refused instead of passed to another; and limits
#: and reasons for clients' mistakes, where vLLM has none (``helpers/guard.py``).
COURSE_FLAGS = ["--structured-outputs-config", '{"backend": "xgrammar"}', "--middleware", "helpers.guard.ClientErrors"]
#: What ``vllm`` means in this environment, independent of PATH.
PROGRAM = [sys.executable, "-m", "helpers.vllm_program"]
LOG_FOLDER = OUTPUTS / "logs"
#: Of a log that are read for the phase of a start.
LAST_BYTES = 160_000
#: Startup time limits in seconds. A hub model may have to be downloaded first.
LOCAL_START_SECONDS, HUB_START_SECONDS = 600, 3600


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str = LOCALHOST
    """Any address other than this machine's own requires a key."""
    port: int | None = None
    """None: the first free port from 8085 on."""


class ServerError(CourseError):
    """A server that did not start, or that is gone; the message ends with the last lines of its log."""

    def __init__(self, what: str, cause: str, remedy: str, log_path: Path | None = None, tail: str = ""):
        super().__init__(what, cause, remedy)
        self.log_path, self.tail = log_path, tail

    def __str__(self) -> str:
        if not self.log_path:
            return super().__str__()
        return f"{super().__str__()}\nThe end of its log ({shown(self.log_path)}):\n{self.tail or '(empty)'}"


def serve(
    profile: ActiveProfile | str = "auto",
    *,
    api_key: str | None = None,
    extra_flags: Sequence[str] = (),
    startup_seconds: float | None = None,
    quiet: bool = False,
    may_join: bool = False,
    address: Address = Address(),
) -> Server:
    """Start ``vllm serve`` for a profile and return when it answers; or join a shared server.

    Use it as ``with serve(profile) as server: ...``, or keep the server across cells and call ``server.stop()``. It is
    stopped at the latest when its owner ends, even if killed. In ``server = serve(...)``, a server that the variable
    still holds is stopped first.

    Args:
        profile: an active profile, or its name.
        api_key: required of clients; None reads ``VLLM_API_KEY``, and requires no key if that is not set.
        extra_flags: more flags for ``vllm serve``; they override the profile's.
        startup_seconds: limit; None: 600 s for a model on this disk, 3600 s for one that may have to be downloaded.
        quiet: show no progress.
        may_join: if ``COURSE_SERVER_URL`` is set, use that server, with its own model and flags. Only for callers to
            whom any model will do.
        address: to listen on.

    Raises:
        CourseError: what would fail is refused, such as a port in use, a damaged model folder or too little memory.
        ServerError: the server ended or did not answer in time, with cause, remedy and the end of the log.
    """
    active = profile if isinstance(profile, ActiveProfile) else use_profile(profile, quiet=quiet)
    bypass_proxies()
    if may_join and (url := os.environ.get("COURSE_SERVER_URL")):
        # The caller's key is for a server of its own; the shared one has another.
        joined = join(url, os.environ.get("COURSE_SERVER_KEY") or api_key, preferred=active.served_name)
        if not quiet:
            print(f"joined {joined.base_url}, which serves {joined.model_name}; only its operator knows its flags")
        explain_if_lost(joined)
        return joined

    api_key = api_key or os.environ.get("VLLM_API_KEY") or None
    if not api_key and address.host not in (LOCALHOST, "localhost", "::1"):
        raise CourseError(
            f"A server on {address.host} without a key was refused.",
            "anyone who can reach this machine could use it",
            "set a key (api_key=..., --key ...), or bind 127.0.0.1",
        )
    flags = [*active.serve_flags(), *COURSE_FLAGS, *extra_flags]
    if any(flag.replace("_", "-").startswith("--trust-remote-code") for flag in flags):
        raise CourseError(
            "--trust-remote-code was refused.",
            "it runs any code that comes with the weights, and Qwen3-VL does not need it",
            "omit it",
        )
    check_model(active.model_path, flags)
    environment = _environment(active, api_key)
    check_environment(environment)
    older = assigned_next(sys._getframe(1))
    if isinstance(older, Server) and older._is_running():
        older.stop()
        if not quiet:
            print(f"stopped the server at {older.base_url} first: this one takes its place")
    if active.device == "cpu":
        check_memory(active)
    with reserve_port(address.port, address.host) as reservation:
        address = Address(address.host, reservation.getsockname()[1])
        command = ["vllm", "serve", shown(active.model_path), "--host", address.host, "--port", str(address.port)]
        command += [*flags, "--allowed-local-media-path", shown(MEDIA_FOLDER)]
        name = last_value(flags, "--served-model-name") or active.served_name
        server = Server(command=command, address=address, model_name=name, api_key=api_key, label=active.label)
        limit = startup_seconds or (LOCAL_START_SECONDS if Path(active.model_path).is_dir() else HUB_START_SECONDS)
        server._start(environment, limit, quiet)
    explain_if_lost(server)
    return server


def join(url: str, api_key: str | None = None, *, preferred: str = "") -> Server:
    """Use a server that is already running; it is never stopped from here.

    Args:
        url: its base URL, with or without ``/v1``.
        api_key: the key that it requires, if any.
        preferred: the model to use; its first if it does not serve that.

    Raises:
        CourseError: it does not answer, refuses the key, or serves no model.
    """
    root = re.sub(r"/v1/?$", "", url.strip()).rstrip("/")
    remedy = "ask its operator for address and key, or unset COURSE_SERVER_URL to start your own"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        status, body = get(f"{root}/v1/models", headers, timeout=10)
        names = [model["id"] for model in json.loads(body)["data"]] if status == 200 else []
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        raise CourseError(f"No server answers at {root} (COURSE_SERVER_URL).", reason, remedy) from None
    except (ValueError, KeyError, TypeError):
        raise CourseError(f"{root} answers, but not like vLLM.", "another program is listening there", remedy) from None
    if status in (401, 403):
        raise CourseError(f"The server at {root} refused the key.", "COURSE_SERVER_KEY is missing or wrong", remedy)
    if not names:
        raise CourseError(f"The server at {root} serves no model.", f"it answered with status {status}", remedy)
    server = Server(command=[], model_name=preferred if preferred in names else names[0], api_key=api_key)
    server.root_url, server.joined = root, True
    return server


class Server:
    """A running ``vllm serve``. Made by ``serve`` and ``join``."""

    def __init__(
        self,
        *,
        command: list[str],
        model_name: str,
        api_key: str | None = None,
        address: Address = Address(),
        label: str = "",
    ):
        self.command = command
        """As typed in the course's folder, without the key. Empty for a joined server."""
        self.model_name = model_name
        self.label = label or model_name
        """Whose answers these are, as notebooks print it: the profile's label or the joined server's model."""
        self.api_key = api_key or NO_KEY
        reachable = LOCALHOST if address.host in ("0.0.0.0", "::", "") else address.host  # noqa: S104
        self.port = address.port
        self.root_url = f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{self.port}"
        self.joined, self._stopped = False, False
        self.pid: int | None = None
        """The server's own process; None for a joined one."""
        self.log_path: Path | None = None
        self.startup_seconds: float | None = None
        """None for a joined server: nobody here saw it start."""
        self._needs_key = bool(api_key)
        self._process: SupervisedProcess | None = None

    @property
    def base_url(self) -> str:
        """For OpenAI clients."""
        return f"{self.root_url}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "joined" if self.joined else "running" if self._is_running() else "stopped"
        return f"<Server {self.model_name} at {self.base_url}, {state}>"

    def is_alive(self) -> bool:
        """Whether server and engine answer."""
        return (self.joined or self._is_running()) and self._health() == 200

    def stop(self) -> None:
        """Stop the server and everything it started, and wait until they are gone. A joined server is left alone."""
        if self._process:
            try:
                self._process.end()
            except KeyboardInterrupt:
                raise Interrupted("the server goes on stopping by itself") from None
            self._stopped = True

    def check(self) -> None:
        """Raise ``ServerError``, with cause and remedy, if the server has died or, joined, does not answer."""
        if self.joined:
            if self._health() != 200:
                raise ServerError(
                    f"The server that you joined, {self.root_url}, no longer answers.",
                    "it was stopped or restarted, or the network between it and you is interrupted",
                    "ask whoever gave you COURSE_SERVER_URL, and run the cell again once it answers; or unset that "
                    "variable, restart the kernel and run from the top with a server of your own",
                )
        elif self._stopped:
            cause, remedy = "server.stop() was called", "run the cell that calls serve() again"
            raise ServerError(f"The server at {self.root_url} was stopped.", cause, remedy)
        elif not self._is_running():
            raise self._failure("The server has ended.")

    def curl(self, text: str = "Describe this image.", image_url: str | None = None, max_tokens: int = 256) -> str:
        """A shell command that asks this server one question."""
        content: object = text
        if image_url:
            content = [{"type": "image_url", "image_url": {"url": image_url}}, {"type": "text", "text": text}]
        question = {"model": self.model_name, "messages": [{"role": "user", "content": content}]}
        body = question | {"temperature": 0, "max_tokens": max_tokens}
        words = ["curl", "-s", f"{self.base_url}/chat/completions", "-H", "Content-Type: application/json"]
        if os.environ.get("no_proxy"):  # as `bypass_proxies` leaves it; a terminal may have the proxy still
            words[1:1] = ["--noproxy", "*"]
        if self._needs_key:
            words += ["-H", f"Authorization: Bearer {self.api_key}"]
        # Apostrophes as JSON escapes keep the command readable.
        return shlex.join([*words, "-d", json.dumps(body).replace("'", "\\u0027")])

    def _start(self, environment: dict[str, str], limit: float, quiet: bool) -> None:
        self.log_path = LOG_FOLDER / f"server-{time.strftime('%Y%m%d-%H%M%S')}-{self.port}-{os.getpid()}.log"
        LOG_FOLDER.mkdir(parents=True, exist_ok=True)
        self.log_path.touch()
        begin = time.monotonic()
        progress = ProgressLine(quiet)
        try:
            self._process = SupervisedProcess([*PROGRAM, *self.command[1:]], environment, self.log_path)
            self.pid = self._process.pid
            while self._health() != 200:
                waited = time.monotonic() - begin
                if not self._is_running():
                    raise self._failure(f"The server ended during startup, after {waited:.0f} s.")
                if waited > limit:
                    raise self._failure(f"The server did not answer within {limit:.0f} s.", ended=False)
                progress.show(f"{phase(read_log(self.log_path, LAST_BYTES))} … {waited:.0f} s")
                time.sleep(0.3)
            if not self._process.watch():
                raise self._failure("The server ended right after startup.")
        except BaseException as error:  # a failure or Ctrl-C
            progress.close("")
            self.stop()
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted("the server did not start, and nothing of it is left") from None
            raise
        self.startup_seconds = time.monotonic() - begin
        progress.close(f"{self.model_name} answers at {self.base_url} after {self.startup_seconds:.0f} s")
        if found := recognise(read_log(self.log_path), "silent"):
            warnings.warn(f"The server answers, but {found.cause}. What to do: {found.remedy}.", stacklevel=3)

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _health(self) -> int | None:
        try:
            return get(f"{self.root_url}/health", timeout=5)[0]
        except (OSError, http.client.HTTPException):  # refused, reset, timed out: not up yet, or no longer
            return None

    def _failure(self, what: str, *, ended: bool = True) -> ServerError:
        status = self._process.poll() if ended and self._process else None
        text = read_log(self.log_path)
        found = diagnose(text, status)
        return ServerError(what, found.cause, found.remedy, self.log_path, last_words(text))


def _environment(active: ActiveProfile, api_key: str | None) -> dict[str, str]:
    environment = {**active.environment(), **os.environ}
    if environment.get("VLLM_LOGGING_LEVEL", "INFO").upper() in {"WARNING", "ERROR", "CRITICAL"}:
        environment["VLLM_LOGGING_LEVEL"] = "INFO"  # progress and causes are read from the log
    environment["VLLM_CONFIGURE_LOGGING"] = "1"
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # set by notebook kernels, but the log is not a terminal
        environment.pop(name, None)
    environment["NO_COLOR"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONPATH"] = search_path(environment)
    environment = ENVIRONMENT | environment
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    # Not as a flag: anyone on the machine can read a process's arguments.
    environment.pop("VLLM_API_KEY", None)
    if api_key:
        environment["VLLM_API_KEY"] = api_key
    return environment

"""Servers below a contender's process: started under the course's supervisor, stopped and woken as a family."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.contenders.worker import Job
from helpers import supervisor
from helpers.errors import CourseError
from helpers.local_http import get
from helpers.processes import SupervisedProcess

#: A server with 2 billion parameters takes a minute on two cores.
START_SECONDS = 600.0


class ServerBelow:
    """What contenders share whose server runs below this process; the clients are in it.

    ``__enter__`` is theirs: it starts the server on `_stack`, and sets what `answer` asks.
    """

    def __init__(self, job: Job):
        self._job = job
        self._stack = ExitStack()

    def __exit__(self, *_: object) -> None:
        wake_family()
        self._stack.close()

    def rest(self) -> None:
        """Stop the server's processes."""
        rest_family()

    def wake(self) -> None:
        """Let them go on."""
        wake_family()


def rest_family() -> None:
    """Stop all descendants of this process: they use no processor until `wake_family`."""
    _signal_family(signal.SIGSTOP)


def wake_family() -> None:
    """Let them go on."""
    _signal_family(signal.SIGCONT)


@contextlib.contextmanager
def guarded_server(
    command: Sequence[str], health: str, log: Path, environment: Mapping[str, str], limit: float = START_SECONDS
) -> Iterator[None]:
    """Run a server that ends with this block, or with this process, and wait until it answers with status 200.

    Args:
        command: of the server.
        health: address that answers when it is ready.
        log: takes its output.
        environment: of the server.
        limit: seconds that its start may take.

    Raises:
        CourseError: it ended, or did not answer in time; with the last line of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = SupervisedProcess(command, environment, log)
    try:
        began = time.monotonic()
        while not _answers(health):
            if process.poll() is not None or time.monotonic() - began > limit:
                lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
                raise CourseError("The server did not start.", lines[-1] if lines else "it said nothing")
            time.sleep(0.3)
        yield
    finally:
        wake_family()
        process.end()


def _answers(address: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return get(address)[0] == 200
    return False


def _signal_family(number: int) -> None:
    for pid in supervisor.descendants(os.getpid()):
        with suppress(OSError):
            os.kill(pid, number)

"""Contenders whose server runs below their process, and is asked by clients in it.

Servers are started under the course's supervisor, and stopped and woken as a family.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks.contenders.worker import Completion, Contender, Job, Records
from helpers import supervisor
from helpers.errors import CourseError
from helpers.files import OUTPUTS, search_path
from helpers.local_http import LOCALHOST, get
from helpers.processes import SupervisedProcess
from helpers.server_checks import reserve_port
from toolkit.speed.workload import ready_messages

#: A server with 2 billion parameters takes a minute on two cores.
START_SECONDS = 600.0
#: A sequential server lets the last of 300 requests wait for all others.
TIMEOUT_SECONDS = 3600.0


class ServerContender(Contender):
    """``__enter__`` is the derived class's: it starts the server on `_stack`, and sets what `answer` asks."""

    base_url: str
    """With ``/v1``."""
    model: str
    """Name that the server knows."""
    api_key = "EMPTY"

    def __init__(self, job: Job):
        super().__init__(job)
        self._stack = ExitStack()

    def __exit__(self, *_: object) -> None:
        self.wake()
        self._stack.close()

    def _start(self, *command: str) -> None:
        """Start a program, which takes ``--host`` and ``--port``, on a free port, and wait for its ``/health``."""
        with reserve_port() as reservation:
            port = reservation.getsockname()[1]
            root, log = f"http://{LOCALHOST}:{port}", OUTPUTS / "logs" / f"{self._job.contender}-server.log"
            words = [*command, "--host", LOCALHOST, "--port", str(port)]
            self._stack.enter_context(guarded_server(words, f"{root}/health", log, self._job.threads))
        self.base_url = f"{root}/v1"

    def rest(self) -> None:
        """Stop the server's processes."""
        _signal_family(signal.SIGSTOP)

    def wake(self) -> None:
        _signal_family(signal.SIGCONT)

    def fields(self, length: int) -> dict[str, Any]:
        """Further fields of a request for an answer of so many tokens."""
        raise NotImplementedError

    def answer(self, records: Records, variant: Mapping[str, Any]) -> list[Completion]:
        """``variant["concurrency"]`` clients, each with its next request as soon as it has an answer."""
        return asyncio.run(self._ask_all(records, variant["concurrency"]))

    async def _ask_all(self, records: Records, concurrency: int) -> list[Completion]:
        import httpx
        from openai import AsyncOpenAI

        slots, limits = asyncio.Semaphore(concurrency), httpx.Limits(max_connections=concurrency)
        web = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS, limits=limits)
        async with AsyncOpenAI(base_url=self.base_url, api_key=self.api_key, http_client=web, max_retries=0) as client:

            async def ask(record: Mapping[str, Any]) -> Completion:
                async with slots:
                    messages: Any = ready_messages(Path(self._job.workload), record)
                    length = record["answer_tokens"]
                    answer = await client.chat.completions.create(
                        model=self.model,
                        messages=messages,
                        temperature=0,
                        max_tokens=length,
                        extra_body=self.fields(length),
                    )
                choice, usage = answer.choices[0], answer.usage
                ids = getattr(choice, "token_ids", None)
                return Completion(usage.completion_tokens if usage else 0, ids or None, choice.message.content or "")

            return list(await asyncio.gather(*map(ask, records)))


@contextlib.contextmanager
def guarded_server(command: Sequence[str], health: str, log: Path, threads: int) -> Iterator[None]:
    """Run a server that ends with this block, or with this process, and wait until it answers with status 200.

    Args:
        health: address that answers when it is ready.
        threads: that it computes with.

    Raises:
        CourseError: it ended, or did not answer in time; with the last line of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    process = SupervisedProcess(command, environment | {"PYTHONPATH": search_path(environment)}, log)
    try:
        began = time.monotonic()
        while not _answers(health):
            if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
                raise CourseError("The server did not start.", lines[-1] if lines else "it said nothing")
            time.sleep(0.3)
        yield
    finally:
        _signal_family(signal.SIGCONT)
        process.end()


def _answers(address: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return get(address)[0] == 200
    return False


def _signal_family(number: int) -> None:
    """To all descendants of this process."""
    for pid in supervisor.descendants(os.getpid()):
        with suppress(OSError):
            os.kill(pid, number)

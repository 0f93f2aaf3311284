"""A contender's process as its owner sees it: start, passes over requests, memory, end."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from benchmarks.contenders import worker
from benchmarks.contenders.worker import Job, Pass
from benchmarks.process_use import allocated_bytes
from helpers.errors import CourseError
from helpers.files import OUTPUTS, shown

#: The supervisor of a server below needs up to 10 s.
STOP_SECONDS = 30


class Post:
    """A running contender.

    Args:
        variables: further ones of its environment.
        limit: seconds that its start, and each pass, may take.

    Raises:
        CourseError: it did not start; with what it said.
    """

    def __init__(self, job: Job, variables: Mapping[str, str] | None = None, limit: float | None = None):
        self.job, self._limit = job, limit
        self._log = OUTPUTS / "logs" / f"against-{job.contender}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        threads = {"OMP_NUM_THREADS": str(job.threads)} if job.threads else {}
        context = multiprocessing.get_context("spawn")
        self._pipe, its_end = context.Pipe()
        self._process = context.Process(target=worker.work, args=(job, its_end, self._log))
        before = dict(os.environ)
        os.environ.update({"HF_HUB_OFFLINE": "1", **threads, **(variables or {})})
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        its_end.close()
        self.start_seconds: float
        self.notes: list[str]
        try:
            self.start_seconds, self.notes = self._hear("did not start")
        except BaseException as error:
            if not isinstance(error, CourseError):  # Ctrl-C: it hears nothing before it is ready
                self._process.kill()
            self.stop()
            raise

    def ask(self, numbers: Sequence[int], variant: Mapping[str, Any]) -> Pass:
        """One pass over these requests of the workload.

        Raises:
            CourseError: it failed; with what it said.
        """
        with suppress(OSError):  # it ended while it waited for its turn: then there is nothing to hear
            self._pipe.send((list(numbers), dict(variant)))
        return self._hear("failed")

    def memory_gib(self) -> float:
        """That the process and all below it hold for themselves (without what they share with files)."""
        with suppress(OSError):
            return allocated_bytes(self._process.pid or 0) / 2**30
        return 0.0

    def stop(self) -> None:
        """End it and all below it."""
        self._pipe.close()
        self._process.join(STOP_SECONDS)
        self._process.kill()
        self._process.join()

    def _hear(self, what: str) -> Any:
        said: Any = CourseError("It took too long.", f"more than {self._limit} s")
        try:
            if self._pipe.poll(self._limit):
                said = self._pipe.recv()
        except (EOFError, OSError):
            said = CourseError(f"it ended; see {shown(self._log)}")
        if isinstance(said, CourseError):
            raise CourseError(f"{self.job.contender} {what}.", " ".join(filter(None, (said.what, said.cause))))
        return said

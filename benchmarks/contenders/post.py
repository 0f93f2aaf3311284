"""A contender's process as its owner sees it: start, passes over requests, memory, end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contenders.worker import Completion, Job
from benchmarks.process_use import allocated_bytes
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, OUTPUTS, search_path, shown

#: The supervisor of a server below needs up to 10 s.
STOP_SECONDS = 30


@dataclass(frozen=True)
class Pass:
    """One pass over requests."""

    seconds: float
    cpu_seconds: float
    """That the process and all below it computed meanwhile."""
    alone: float
    """Seconds of one short request just before."""
    completions: list[Completion]


class Post:
    """A running contender.

    Args:
        variables: further ones of its environment.
        limit: it is killed after so many seconds.

    Raises:
        CourseError: it did not start; with what it said.
    """

    def __init__(self, job: Job, variables: Mapping[str, str] | None = None, limit: float | None = None):
        self.job = job
        self._log = OUTPUTS / "logs" / f"against-{job.contender}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        threads = {"OMP_NUM_THREADS": str(job.threads)} if job.threads else {}
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", **threads, **(variables or {})}
        environment["PYTHONPATH"] = search_path(environment)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.contenders.worker", json.dumps(asdict(job))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=COURSE_ROOT,
                env=environment,
                start_new_session=True,
            )
        self._timer = threading.Timer(limit or 0.0, self._process.kill)
        if limit:
            self._timer.start()
        try:
            said = self._hear("did not start")
        except BaseException:
            self._process.kill()  # it hears nothing before it is ready; a server below ends with it
            self.stop()
            raise
        self.start_seconds: float = said["ready"]
        self.notes: list[str] = said["notes"]

    def ask(self, numbers: Sequence[int], variant: Mapping[str, Any]) -> Pass:
        """One pass over these requests of the workload.

        Raises:
            CourseError: it failed; with what it said.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"numbers": list(numbers), "variant": dict(variant)}) + "\n")
            self._process.stdin.flush()
        except OSError:  # it ended while it waited for its turn
            raise CourseError(f"{self.job.contender} failed.", self._ended) from None
        said = self._hear("failed")
        return Pass(**said | {"completions": [Completion(**told) for told in said["completions"]]})

    def memory_gib(self) -> float:
        """That the process and all below it hold for themselves (without what they share with files)."""
        with suppress(OSError):
            return allocated_bytes(self._process.pid) / 2**30
        return 0.0

    def stop(self) -> None:
        """End it and all below it."""
        self._timer.cancel()
        assert self._process.stdin and self._process.stdout
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def _ended(self) -> str:
        return f"it ended; see {shown(self._log)}"

    def _hear(self, what: str) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        said = json.loads(line) if line else {"error": self._ended}
        if "error" in said:
            raise CourseError(f"{self.job.contender} {what}.", said["error"])
        return said

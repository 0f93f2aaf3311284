"""One contender at work: ``python -m benchmarks.contenders.worker JOB``, told by lines of JSON what to do.

It writes a line when it is ready and one for each pass over requests. Whatever the libraries print goes to the log.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

from helpers.errors import CourseError

#: Name of a contender's process -> its module.
MODULES = {
    "vllm-offline": "benchmarks.contenders.vllm_offline",
    "vllm-served": "benchmarks.contenders.vllm_served",
    "transformers": "benchmarks.contenders.transformers_generate",
    "transformers-serve": "benchmarks.contenders.transformers_serve",
    "llama-cpp": "benchmarks.contenders.llama_cpp",
}
#: Tokens of the request that goes ahead of each pass, twice and alone, and is not counted in it.
AHEAD_TOKENS = 4


@dataclass(frozen=True)
class Job:
    """What a contender is told before it starts."""

    contender: str
    """A key of `MODULES`."""
    profile: str
    """Of the course; its engine arguments are vLLM's."""
    model: str
    """Folder of the checkpoint."""
    workload: str
    """Folder of the requests."""
    threads: int
    """Of a contender that computes with threads."""
    rehearse: bool = False
    """The profile's size with random weights."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM that replace the profile's."""
    most_tokens: int = 4096
    """Prompt and answer of the longest request fit in it."""
    tools: str = ""
    """Folder of llama.cpp."""


@dataclass(frozen=True)
class Reply:
    """An answer."""

    tokens: int
    """Its length, as the contender counts."""
    ids: tuple[int, ...] | None = None
    """None where the contender tells only the text."""
    text: str | None = None


class Contender(Protocol):
    """What a contender's module offers. It is a context manager; entering it starts the engine."""

    notes: Sequence[str]
    """What had to be changed or left out so that it works at all."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def answer(self, records: Sequence[Mapping[str, Any]], variant: Mapping[str, Any]) -> list[Reply]:
        """Answers of exactly ``answer_tokens`` tokens, greedy, in the order of the records."""

    def rest(self) -> None:
        """Stop using the processor until `wake`."""

    def wake(self) -> None:
        """Be ready again."""


def serve_owner(make: Callable[[Job], Contender], job: Job, lines: Any, say: Callable[[dict[str, Any]], None]) -> None:
    """Start the contender, then do as the owner's lines say until there are no more.

    A line is ``{"numbers": [...], "variant": {...}}``; the answer has the ``seconds`` of the pass, the seconds
    ``alone`` of a short request just before it, and the ``replies``; or an ``error``.
    """
    from toolkit.toyworld.items import stream_items

    records = list(stream_items(Path(job.workload)))
    began = time.monotonic()
    with make(job) as contender:
        ready = time.monotonic() - began
        contender.rest()
        say({"ready": ready, "notes": list(contender.notes)})
        for line in lines:
            order = json.loads(line)
            asked = [records[number] for number in order["numbers"]]
            contender.wake()
            try:
                lone = asked[0] | {"answer_tokens": min(AHEAD_TOKENS, asked[0]["answer_tokens"])}
                contender.answer([lone], order["variant"])  # what was dropped from memory meanwhile is read again
                began = time.perf_counter()
                contender.answer([lone], order["variant"])
                alone, began = time.perf_counter() - began, time.perf_counter()
                replies = contender.answer(asked, order["variant"])
                seconds = time.perf_counter() - began
            except Exception as error:
                say({"error": f"{type(error).__name__}: {error}"[:1000]})
            else:
                say({"seconds": seconds, "alone": alone, "replies": [asdict(reply) for reply in replies]})
            contender.rest()


def main(words: list[str] | None = None) -> int:
    """Serve the owner at the other end of stdin and stdout."""
    job = Job(**json.loads((words or sys.argv[1:])[0]))
    to_owner = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=to_owner, flush=True)

    try:
        serve_owner(import_module(MODULES[job.contender]).Contender, job, sys.stdin, say)
    except CourseError as error:
        say({"error": str(error)})
        return 1
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"[:1000]})
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One contender at work: ``python -m benchmarks.contenders.worker JOB``, told by lines of JSON what to do.

It writes a line when it is ready and one per pass over requests. Whatever the libraries print goes to the log.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from benchmarks.process_use import cpu_seconds
from helpers.errors import CourseError

Records = Sequence[Mapping[str, Any]]
#: Name of a contender's process -> module and class.
CONTENDERS = {
    "vllm-offline": ("vllm_engines", "Offline"),
    "vllm-served": ("vllm_engines", "Served"),
    "transformers": ("transformers_generate", "Generate"),
    "transformers-serve": ("transformers_serve", "TransformersServer"),
    "llama-cpp": ("llama_cpp", "LlamaServer"),
}
#: Tokens of the request that goes ahead of each pass, twice and alone, and is not counted in it.
AHEAD_TOKENS = 4


@dataclass(frozen=True)
class Job:
    """What a contender is told before it starts."""

    contender: str
    """A key of `CONTENDERS`."""
    profile: str
    """Of the course; its engine arguments are vLLM's."""
    model: str
    """Folder of the checkpoint."""
    workload: str
    """Folder of the requests."""
    threads: int = 0
    """Of a contender that computes with threads; 0 leaves what the environment says."""
    rehearse: bool = False
    """The profile's size with random weights."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM that replace the profile's."""
    max_tokens: int = 4096
    """Prompt and answer of the longest request fit in it."""
    tools: str = ""
    """Folder of llama.cpp."""


@dataclass(frozen=True)
class Completion:
    """An answer."""

    tokens: int
    """Its length, as the contender counts."""
    ids: list[int] | None = None
    """None where the contender tells only the text."""
    text: str | None = None


class Contender:
    """A context manager; entering it starts the engine."""

    notes: Sequence[str] = ()
    """What had to be changed or left out so that it works at all."""

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the engine."""

    def answer(self, records: Records, variant: Mapping[str, Any]) -> list[Completion]:
        """Answers of exactly ``answer_tokens`` tokens, greedy, in the order of the records."""
        raise NotImplementedError

    def rest(self) -> None:
        """Stop using the processor until `wake`; an engine in this process that is not called does not use it."""

    def wake(self) -> None:
        """Be ready again."""


def serve_owner(
    make: Callable[[Job], Contender], job: Job, lines: Iterable[str], say: Callable[[dict[str, Any]], None]
) -> None:
    """Start the contender, then do as the owner's lines say until there are no more.

    A line is ``{"numbers": [...], "variant": {...}}``; the answer has the ``seconds`` of the pass, the ``cpu_seconds``
    of this process and all below it meanwhile, the seconds ``alone`` of a short request just before it, and the
    ``completions``; or an ``error``.
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
            contender.wake()
            try:
                say(_one_pass(contender, [records[number] for number in order["numbers"]], order["variant"]))
            except Exception as error:
                say({"error": f"{type(error).__name__}: {error}"[:1000]})
            contender.rest()


def _one_pass(contender: Contender, asked: Records, variant: Mapping[str, Any]) -> dict[str, Any]:
    lone = {**asked[0], "answer_tokens": min(AHEAD_TOKENS, asked[0]["answer_tokens"])}
    contender.answer([lone], variant)  # what was dropped from memory meanwhile is read again
    began = time.perf_counter()
    contender.answer([lone], variant)
    alone, computed, began = time.perf_counter() - began, cpu_seconds(os.getpid()), time.perf_counter()
    completions = contender.answer(asked, variant)
    seconds, computed = time.perf_counter() - began, cpu_seconds(os.getpid()) - computed
    told = [asdict(completion) for completion in completions]
    return {"seconds": seconds, "cpu_seconds": computed, "alone": alone, "completions": told}


def main(words: list[str] | None = None) -> int:
    """Serve the owner at the other end of stdin and stdout."""
    job = Job(**json.loads((words or sys.argv[1:])[0]))
    to_owner = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=to_owner, flush=True)

    module, name = CONTENDERS[job.contender]
    try:
        serve_owner(getattr(import_module(f"benchmarks.contenders.{module}"), name), job, sys.stdin, say)
    except CourseError as error:
        say({"error": str(error)})
        return 1
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"[:1000]})
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One contender at work, in a process of its own, told through a pipe what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from benchmarks.process_use import cpu_seconds
from helpers.errors import CourseError
from toolkit.toyworld.items import read_items

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


@dataclass(frozen=True)
class Pass:
    seconds: float
    cpu_seconds: float
    """That the process and all below it computed meanwhile."""
    alone: float
    """Seconds of one short request just before."""
    completions: list[Completion]


def work(job: Job, owner: Connection, log: Path) -> None:
    """The process of a contender: send seconds and notes when it is ready, then a `Pass` for each pair of numbers of
    requests and variant that the owner sends, until there are no more; a `CourseError` for what fails.

    Whatever the libraries print goes to the log.
    """
    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    module, name = CONTENDERS[job.contender]
    try:
        serve_owner(getattr(import_module(f"benchmarks.contenders.{module}"), name)(job), job, owner)
    except Exception as error:
        owner.send(_told(error))
        raise


def serve_owner(contender: Contender, job: Job, owner: Connection) -> None:
    """See `work`."""
    records = read_items(job.workload)
    began = time.monotonic()
    with contender, suppress(EOFError):
        ready = time.monotonic() - began
        contender.rest()
        owner.send((ready, list(contender.notes)))
        while True:
            numbers, variant = owner.recv()
            contender.wake()
            try:
                owner.send(_one_pass(contender, [records[number] for number in numbers], variant))
            except Exception as error:
                owner.send(_told(error))
            contender.rest()


def _told(error: Exception) -> CourseError:
    return error if isinstance(error, CourseError) else CourseError(f"{type(error).__name__}: {error}"[:1000])


def _one_pass(contender: Contender, asked: Records, variant: Mapping[str, Any]) -> Pass:
    lone = {**asked[0], "answer_tokens": min(AHEAD_TOKENS, asked[0]["answer_tokens"])}
    contender.answer([lone], variant)  # what was dropped from memory meanwhile is read again
    began = time.perf_counter()
    contender.answer([lone], variant)
    alone, computed, began = time.perf_counter() - began, cpu_seconds(os.getpid()), time.perf_counter()
    completions = contender.answer(asked, variant)
    return Pass(time.perf_counter() - began, cpu_seconds(os.getpid()) - computed, alone, completions)

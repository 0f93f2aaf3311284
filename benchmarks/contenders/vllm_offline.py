"""vLLM without a server: ``LLM.chat`` with all requests at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders.worker import Job, Reply
from toolkit.speed.workload import NO_CACHES, ready_messages


class Contender:
    """The engine in this process."""

    notes: Sequence[str] = ()

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> Self:
        from helpers.profiles import use_profile

        active = use_profile(self._job.profile, rehearse=self._job.rehearse, quiet=True)
        from vllm import LLM

        arguments = active.engine_arguments() | {"model": self._job.model, **NO_CACHES, **self._job.engine}
        arguments.pop("load_format", None)  # the checkpoint is there
        self._engine = LLM(**arguments)
        return self

    def __exit__(self, *_: object) -> None:
        del self._engine

    def answer(self, records: Sequence[Mapping[str, Any]], variant: Mapping[str, Any]) -> list[Reply]:
        """All at once; the engine makes its batches."""
        from vllm import SamplingParams

        folder = Path(self._job.workload)
        lengths = [record["answer_tokens"] for record in records]
        outputs = self._engine.chat(
            [ready_messages(folder, record) for record in records],
            [SamplingParams(temperature=0, max_tokens=length, ignore_eos=True) for length in lengths],
            use_tqdm=False,
        )
        answers = [output.outputs[0] for output in outputs]
        return [Reply(len(answer.token_ids), tuple(answer.token_ids), answer.text) for answer in answers]

    def rest(self) -> None:
        """An engine without requests waits."""

    def wake(self) -> None:
        """It is awake."""

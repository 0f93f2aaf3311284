"""vLLM: ``LLM.chat`` with all requests at once, and ``vllm serve`` as the course starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders.served import ServerContender
from benchmarks.contenders.worker import Completion, Contender, Records
from helpers.profiles import as_flags, use_profile
from toolkit.speed.workload import NO_CACHES, ready_messages


class Offline(Contender):
    """The engine in this process."""

    def __enter__(self) -> Self:
        active = use_profile(self._job.profile, rehearse=self._job.rehearse, quiet=True)
        from vllm import LLM

        self._engine = LLM(**active.engine_arguments() | {"model": self._job.model, **NO_CACHES, **self._job.engine})
        return self

    def __exit__(self, *_: object) -> None:
        del self._engine

    def answer(self, records: Records, variant: Mapping[str, Any]) -> list[Completion]:
        """All at once; the engine makes its batches."""
        from vllm import SamplingParams

        lengths = [record["answer_tokens"] for record in records]
        outputs = self._engine.chat(
            [ready_messages(Path(self._job.workload), record) for record in records],
            [SamplingParams(temperature=0, seed=0, max_tokens=length, ignore_eos=True) for length in lengths],
            use_tqdm=False,
        )
        answers = [output.outputs[0] for output in outputs]
        return [Completion(len(answer.token_ids), list(answer.token_ids), answer.text) for answer in answers]


class Served(ServerContender):
    def __enter__(self) -> Self:
        from helpers.server import serve

        active = use_profile(self._job.profile, rehearse=self._job.rehearse, quiet=True)
        flags = as_flags(NO_CACHES | self._job.engine)
        server = serve(replace(active, model_path=self._job.model), extra_flags=flags, quiet=True)
        self._stack.enter_context(server)
        self.base_url, self.model, self.api_key = server.base_url, server.model_name, server.api_key
        return self

    def fields(self, length: int) -> dict[str, Any]:
        """Its own ends are ignored, and token ids come back."""
        return {"ignore_eos": True, "return_token_ids": True}

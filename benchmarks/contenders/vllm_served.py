"""``vllm serve`` as the course starts it, and clients that ask at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders.asking import ask_all
from benchmarks.contenders.family import ServerBelow
from benchmarks.contenders.worker import Reply
from toolkit.speed.workload import NO_CACHES


class Contender(ServerBelow):
    """vLLM's server."""

    notes: Sequence[str] = ()

    def __enter__(self) -> Self:
        from helpers.profiles import as_flags, use_profile
        from helpers.server import serve

        active = use_profile(self._job.profile, rehearse=self._job.rehearse, quiet=True)
        # The checkpoint is there, also where the profile would take random weights.
        flags = as_flags({"load_format": "auto"} | NO_CACHES | self._job.engine)
        server = serve(replace(active, model_path=self._job.model), extra_flags=flags, quiet=True)
        self._server = self._stack.enter_context(server)
        return self

    def answer(self, records: Sequence[Mapping[str, Any]], variant: Mapping[str, Any]) -> list[Reply]:
        """``variant["concurrency"]`` clients, each with its next request as soon as it has an answer."""
        server = self._server
        return ask_all(
            server.base_url,
            server.model_name,
            Path(self._job.workload),
            records,
            variant["concurrency"],
            lambda length: {"ignore_eos": True, "return_token_ids": True},
            server.api_key,
        )

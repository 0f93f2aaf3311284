"""One engine with some settings, started and asked: ``python -m benchmarks.settings_run JOB.json RESULT.json``.

A process of its own for each measurement, since threads, preloaded libraries and compiled code belong to a process.
The job names the engine's keywords, the folders of two workloads (`toolkit.speed.workload`) and the number of passes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from helpers.processes import cpu_seconds


def main(job_file: str, result_file: str) -> None:
    """Start the engine, warm it up, ask the workload as often as the job says, and write what was measured."""
    began = time.perf_counter()
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    from vllm import LLM

    imported = time.perf_counter()
    engine = LLM(**job["engine"])
    # The parent knows when it started this process; the wall clock is the one that both have.
    found: dict[str, Any] = {"ready_at": time.time(), "import_seconds": imported - began}
    found |= {"engine_seconds": time.perf_counter() - imported, "start_cpu_seconds": cpu_seconds(os.getpid())}
    warm_up = _requests(Path(job["warm_up"]))
    began = time.perf_counter()
    _ask(engine, warm_up)
    found["warm_up_seconds"] = time.perf_counter() - began
    requests = _requests(Path(job["workload"]))
    found |= {"requests": len(requests), "pass_seconds": [], "pass_cpu_seconds": []}
    for _ in range(job["passes"]):
        began, computed = time.perf_counter(), cpu_seconds(os.getpid())
        outputs = _ask(engine, requests)
        found["pass_seconds"].append(time.perf_counter() - began)
        found["pass_cpu_seconds"].append(cpu_seconds(os.getpid()) - computed)
        answers = [list(output.outputs[0].token_ids) for output in outputs]
        found["answer_tokens"] = sum(map(len, answers))
        found["answers"] = [hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12] for ids in answers]
    Path(result_file).write_text(json.dumps(found), encoding="utf-8")


def _requests(folder: Path) -> list[tuple[list[dict[str, Any]], int]]:
    """Messages and answer length of each request."""
    from toolkit.speed.workload import ready_messages
    from toolkit.toyworld.items import stream_items

    return [(ready_messages(folder, record), record["answer_tokens"]) for record in stream_items(folder)]


def _ask(engine: Any, requests: list[tuple[list[dict[str, Any]], int]]) -> list[Any]:
    """All at once; every answer has exactly the length that was asked for."""
    from vllm import SamplingParams

    sampling = [SamplingParams(temperature=0.0, seed=0, max_tokens=n, ignore_eos=True) for _, n in requests]
    return engine.chat([messages for messages, _ in requests], sampling, use_tqdm=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The evaluation's runner against vLLM's own benchmark client: equal requests, one server, the same concurrency.

Both send the same bytes of the same images with the same sampling fields, greedily, answers ending where the model ends
them; the tool streams the answers, the runner does not. Who begins changes with each repeat, so that a slow minute
falls on both, and one pass of the runner goes before all and is not counted.
"""

from __future__ import annotations

import asyncio
import datetime
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.process_use import cpu_seconds
from benchmarks.setting import CONCURRENCY, Found, Setting, spread
from helpers.errors import CourseError
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.runner import run_items
from toolkit.evaluation.inference.transcripts import Transcript, read_transcripts
from toolkit.speed.bench_frames import requests_frame
from toolkit.speed.results import Figure
from toolkit.speed.vllm_bench import ToolRun, bench_serve
from toolkit.speed.workload import custom_images
from toolkit.toyworld.items import stream_items, write_items

if TYPE_CHECKING:
    from helpers.server import Server

#: The runner should reach this share of the tool's request rate.
GOAL = 0.95
REQUESTS, REPEATS, ANSWER_TOKENS = 100, 3, 64
#: Images that no other part of the benchmark asks about.
FIRST_SEED = 11_900_000
#: A pass of one client over all requests. ``seconds``: the tool's own clock, and the runner's call as a whole, with
#: what it does before its first and after its last request. ``asking_per_second``: from the first request's sending to
#: the last answer only. ``client_cpu_seconds``: None for the tool, whose process also imports vLLM.
#: ``server_cpu_seconds``: of all processes of the server, None if it was started elsewhere; the tool's start of up to a
#: minute, in which the server only waits, is in it.
Pass = dict[str, Any]


def measure(setting: Setting) -> Found:
    """The part of the benchmark.

    Raises:
        CourseError: a pass with failed requests: rates of different work would be compared.
    """
    server, passes = setting.server, []
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        items, dataset = work / "items", work / "requests.jsonl"
        for _ in write_items("scene", REQUESTS, FIRST_SEED, items):
            pass
        custom_images(items, dataset)
        options = ["--dataset-name", "custom_image", "--dataset-path", str(dataset), "--disable-shuffle"]
        options += ["--custom-output-len", str(ANSWER_TOKENS), "--num-prompts", str(REQUESTS)]
        options += ["--max-concurrency", str(CONCURRENCY), "--extra-body", '{"seed": 0}']
        _ask(server, items, work / "warm-up.jsonl")
        for repeat in range(1, REPEATS + 1):
            for client in ("tool", "runner") if repeat % 2 else ("runner", "tool"):
                began = _cpu_seconds(server)
                if client == "tool":
                    run = bench_serve(server, setting.active.model_path, options)
                    found = _tool_pass(run)
                else:
                    found, transcripts = _ask(server, items, work / f"{repeat}.jsonl")
                if found["failed"]:
                    raise CourseError(
                        f"{found['failed']} of {REQUESTS} requests of the {client} failed.", "", "look at its log"
                    )
                used = None if began is None else (_cpu_seconds(server) or 0.0) - began
                passes.append({"repeat": repeat, "client": client, **found, "server_cpu_seconds": used})
        names = [record["item_id"] for record in islice(stream_items(items), REQUESTS)]
    of_tool = dict(zip(names, run.data["generated_texts"], strict=True))
    same = sum(transcript.text == of_tool[transcript.item_id] for transcript in transcripts)
    command = [dataset.name if word == str(dataset) else word for word in run.command]
    settings = {"requests": REQUESTS, "concurrency": CONCURRENCY}
    return Found(command, figures(passes, same), {"passes": passes}, settings)


def ratios(passes: Sequence[Pass], column: str = "requests_per_second") -> list[float]:
    """Per repeat: the runner's rate over the tool's."""
    rates = {(found["repeat"], found["client"]): found[column] for found in passes}
    repeats = sorted({repeat for repeat, _ in rates})
    return [rates[repeat, "runner"] / rates[repeat, "tool"] for repeat in repeats]


def figures(passes: Sequence[Pass], same: int) -> list[Figure]:
    """Whether the goal is met, and where the time goes if it is not.

    Args:
        same: requests that got the same text from both in the last repeat.
    """
    overall = ratios(passes)
    outside = statistics.median(
        found["seconds"] - REQUESTS / found["asking_per_second"] for found in passes if found["client"] == "runner"
    )
    about = f"median, least and greatest of {len(overall)}; the goal is {GOAL} or more"
    asking = statistics.median(ratios(passes, "asking_per_second"))
    return [
        spread("request rate, runner over tool", overall, about=about),
        Figure(name="the same while asking", value=asking, unit="", about="without start and end"),
        Figure(name="start and end of the runner", value=outside, unit="s"),
        Figure(name="same answers", value=float(same), unit="requests", about=f"of {REQUESTS}"),
    ]


def _ask(server: Server, items: Path, out: Path) -> tuple[Pass, list[Transcript]]:
    """A pass of the runner."""
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": ANSWER_TOKENS, "seed": 0}
    began = time.process_time()
    endpoint = Endpoint(server.base_url, server.model_name, server.api_key)
    summary = asyncio.run(run_items(items, out, endpoint, sampling, RequestPolicy(CONCURRENCY)))
    used = time.process_time() - began
    transcripts = list(read_transcripts(out))
    sent = [datetime.datetime.fromisoformat(transcript.time).timestamp() for transcript in transcripts]
    latencies = [transcript.latency_seconds for transcript in transcripts]
    answered = [begin + latency for begin, latency in zip(sent, latencies, strict=True)]
    done = sum(transcript.settled for transcript in transcripts)
    return {
        "seconds": summary.seconds,
        "requests_per_second": done / summary.seconds,
        "asking_per_second": done / (max(answered) - min(sent)),
        "mean_latency_ms": 1000 * statistics.mean(latencies),
        "answer_tokens": sum(transcript.completion_tokens or 0 for transcript in transcripts),
        "failed": summary.failures,
        "client_cpu_seconds": used,
    }, transcripts


def _tool_pass(run: ToolRun) -> Pass:
    frame, seconds = requests_frame(run), run.data["duration"]
    answered = frame[frame["ok"]]
    span = (answered["start_s"] + answered["e2e_ms"] / 1000).max() - answered["start_s"].min()
    return {
        "seconds": seconds,
        "requests_per_second": len(answered) / seconds,
        "asking_per_second": len(answered) / float(span),
        "mean_latency_ms": float(answered["e2e_ms"].mean()),
        "answer_tokens": int(answered["answer_tokens"].sum()),
        "failed": len(frame) - len(answered),
        "client_cpu_seconds": None,
    }


def _cpu_seconds(server: Server) -> float | None:
    """That all processes of a server have computed so far; None for one that was joined."""
    return None if server.pid is None else cpu_seconds(server.pid)

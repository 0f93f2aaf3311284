"""The evaluation's runner against vLLM's own benchmark client: equal requests, one server, the same concurrency.

Both send the same bytes of the same images with the same sampling fields, greedily, and get answers of one length; the
tool streams them, the runner does not. Who begins changes with each repeat, so that a slow minute falls on both, and
one pass of the runner goes before all and is not counted.
"""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.setting import CONCURRENCY, Found, Setting, spread
from helpers.errors import CourseError
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.runner import run_items
from toolkit.evaluation.inference.transcripts import read_transcripts
from toolkit.speed.results import Figure
from toolkit.speed.vllm_bench import ToolRun, bench_serve
from toolkit.speed.workload import write_records
from toolkit.toyworld.items import write_items

if TYPE_CHECKING:
    from helpers.server import Server

#: The runner should reach this share of the tool's request rate.
GOAL = 0.95
REQUESTS, REPEATS, ANSWER_TOKENS = 100, 3, 64
#: Images that no other part of the benchmark asks about.
FIRST_SEED = 11_900_000
#: A pass of one client over all requests. ``requests_per_second`` is by the tool's own clock, and by that of the
#: runner's call as a whole; ``asking_per_second`` from the first request's sending to the last answer only.
Pass = dict[str, Any]


def measure(setting: Setting) -> Found:
    """The part of the benchmark.

    Raises:
        CourseError: a pass with failed requests: rates of different work would be compared.
    """
    server, passes = setting.server, []
    with tempfile.TemporaryDirectory() as place:
        items = Path(place) / "items"
        records = [item.record() for item in write_items("scene", REQUESTS, FIRST_SEED, items)]
        write_records(items, [record | {"answer_tokens": ANSWER_TOKENS} for record in records])
        options = ["--max-concurrency", str(CONCURRENCY), "--extra-body", '{"seed": 0}']
        _ask(server, items, Path(place) / "warm-up.jsonl")
        for repeat in range(1, REPEATS + 1):
            for client in ("tool", "runner") if repeat % 2 else ("runner", "tool"):
                if client == "tool":
                    run = bench_serve(server, setting.active.model_path, options, workload=items)
                    found, of_tool = _tool_pass(run), run.data["generated_texts"]
                else:
                    found, texts = _ask(server, items, Path(place) / f"{repeat}.jsonl")
                if found["failed"]:
                    raise CourseError(
                        f"{found['failed']} of {REQUESTS} requests of the {client} failed.", "", "look at its log"
                    )
                passes.append({"repeat": repeat, "client": client, **found})
    same = sum(texts[record["item_id"]] == text for record, text in zip(records, of_tool, strict=True))
    command = [items.name if word == str(items) else word for word in run.command]
    return Found(command, figures(passes, same), {"passes": passes}, {"requests": REQUESTS, "concurrency": CONCURRENCY})


def ratios(passes: Sequence[Pass], column: str = "requests_per_second") -> list[float]:
    """Per repeat: the runner's rate over the tool's."""
    rates = {(found["repeat"], found["client"]): found[column] for found in passes}
    repeats = sorted({repeat for repeat, _ in rates})
    return [rates[repeat, "runner"] / rates[repeat, "tool"] for repeat in repeats]


def figures(passes: Sequence[Pass], same: int) -> list[Figure]:
    """Whether the goal is met; ``same`` requests got the same text from both in the last repeat."""
    overall = ratios(passes)
    about = f"median, least and greatest of {len(overall)}; the goal is {GOAL} or more"
    return [
        spread("request rate, runner over tool", overall, about=about),
        spread("the same while asking", ratios(passes, "asking_per_second"), about="without start and end"),
        Figure(name="same answers", value=float(same), unit="requests", about=f"of {REQUESTS}"),
    ]


def _ask(server: Server, items: Path, out: Path) -> tuple[Pass, dict[str, str | None]]:
    """A pass of the runner, and its answers by item."""
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": ANSWER_TOKENS, "seed": 0}
    fields = sampling | {"extra_body": {"ignore_eos": True}}
    endpoint = Endpoint(server.base_url, server.model_name, server.api_key)
    summary = asyncio.run(run_items(items, out, endpoint, fields, RequestPolicy(CONCURRENCY)))
    transcripts = list(read_transcripts(out))
    sent = [datetime.datetime.fromisoformat(transcript.time).timestamp() for transcript in transcripts]
    latencies = [transcript.latency_seconds or 0.0 for transcript in transcripts]
    answered = [begin + latency for begin, latency in zip(sent, latencies, strict=True)]
    found = _pass(len(transcripts), summary.seconds, max(answered) - min(sent), summary.failures)
    return found, {transcript.item_id: transcript.text for transcript in transcripts}


def _tool_pass(run: ToolRun) -> Pass:
    frame = run.answered()
    span = (frame["start_s"] + frame["e2e_ms"] / 1000).max() - frame["start_s"].min()
    return _pass(len(frame), run.data["duration"], float(span), run.data["failed"])


def _pass(answered: int, seconds: float, asking: float, failed: int) -> Pass:
    rates = {"requests_per_second": answered / seconds, "asking_per_second": answered / asking}
    return {"seconds": seconds, **rates, "failed": failed}

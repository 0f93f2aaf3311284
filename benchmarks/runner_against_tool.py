"""The evaluation's runner against vLLM's own benchmark client: equal requests, one server, the same concurrency."""

from __future__ import annotations

import asyncio
import datetime
import statistics
import tempfile
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.processes import cpu_seconds
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.runner import RunSummary, run_items
from toolkit.evaluation.inference.transcripts import Transcript, read_transcripts
from toolkit.speed.bench_frames import requests_frame
from toolkit.speed.vllm_bench import ToolRun, bench_serve
from toolkit.speed.workload import custom_images
from toolkit.toyworld.items import stream_items, write_items

if TYPE_CHECKING:
    import pandas as pd

    from helpers.server import Server

#: The runner should reach this share of the tool's request rate.
GOAL = 0.95
REQUESTS, CONCURRENCY, REPEATS, ANSWER_TOKENS = 100, 8, 3, 64
#: Pictures that no other part of the benchmark asks about.
FIRST_SEED = 11_900_000


@dataclass(frozen=True)
class Turn:
    """One client's pass over all requests."""

    repeat: int
    client: str
    """tool or runner"""
    seconds: float
    """The tool's own clock; the runner's call as a whole, with what it does before its first and after its last
    request."""
    requests_per_second: float
    asking_per_second: float
    """From the first request's sending to the last answer only."""
    mean_latency_ms: float
    answer_tokens: int
    failed: int
    client_cpu_seconds: float | None
    """That this process computed meanwhile; None for the tool, whose process also imports vLLM."""
    server_cpu_seconds: float | None
    """Of all processes of the server, None if it was started elsewhere. On a busy machine it tells more than the
    rates; the tool's start of up to a minute, in which the server only waits, is in it."""


@dataclass(frozen=True)
class RunnerComparison:
    """What `compare_runner` found."""

    turns: tuple[Turn, ...]
    same_answers: int
    """Requests that got the same text from both in the last repeat."""
    of: int
    command: tuple[str, ...]
    """Of the tool."""

    @property
    def ratios(self) -> list[float]:
        """Of each repeat: the runner's request rate over the tool's."""
        return self._ratios("requests_per_second")

    @property
    def ratio(self) -> float:
        """Median of `ratios`."""
        return statistics.median(self.ratios)

    @property
    def asking_ratio(self) -> float:
        """The same while requests are under way only: how much of a shortfall is not start and end."""
        return statistics.median(self._ratios("asking_per_second"))

    @property
    def overhead_seconds(self) -> float:
        """Median time of the runner's call outside of the first sending to the last answer."""
        mine = [turn for turn in self.turns if turn.client == "runner"]
        return statistics.median(turn.seconds - self.of / turn.asking_per_second for turn in mine)

    def frame(self) -> pd.DataFrame:
        """One row for each pass."""
        import pandas as pd

        return pd.DataFrame([vars(turn) for turn in self.turns])

    def describe(self) -> str:
        """Whether the goal is met, and where the time goes if it is not."""
        low, high = min(self.ratios), max(self.ratios)
        verdict = "reaches" if self.ratio >= GOAL else "misses"
        text = (
            f"runner at {self.ratio:.3f} of the tool's request rate ({low:.3f} to {high:.3f} in {len(self.ratios)} "
            f"repeats); {verdict} {GOAL}. While requests are under way: {self.asking_ratio:.3f}. "
            f"Before the first and after the last: {self.overhead_seconds:.2f} s"
        )
        return f"{text}. Same answers: {self.same_answers} of {self.of}"

    def _ratios(self, column: str) -> list[float]:
        rates = {(turn.repeat, turn.client): getattr(turn, column) for turn in self.turns}
        repeats = sorted({turn.repeat for turn in self.turns})
        return [rates[repeat, "runner"] / rates[repeat, "tool"] for repeat in repeats]


def compare_runner(
    server: Server,
    tokenizer: str | Path,
    *,
    requests: int = REQUESTS,
    concurrency: int = CONCURRENCY,
    repeats: int = REPEATS,
    answer_tokens: int = ANSWER_TOKENS,
    folder: Path | None = None,
) -> RunnerComparison:
    """Let ``vllm bench serve`` and `toolkit.evaluation.inference.runner.run_items` ask the same in turns.

    Both send the same bytes of the same pictures with the same sampling fields, greedily, answers ending where the
    model ends them; the tool streams the answers, the runner does not. Who begins changes with each repeat, and one
    pass of the runner goes before all and is not counted. Start the server with ``--no-enable-prefix-caching
    --mm-processor-cache-gb 0``, or only the first pass has all the work.

    Args:
        server: running; nobody else should use it meanwhile.
        tokenizer: of the model, for the tool.
        requests: in each pass.
        concurrency: of both.
        repeats: each has a pass of both.
        answer_tokens: at most.
        folder: items to ask about, of text and pictures; None draws scenes of the toy world.

    Raises:
        CourseError: fewer items than requests, items that the tool cannot ask about, or a pass with failed requests.
    """
    if min(requests, concurrency, repeats, answer_tokens) < 1:
        raise CourseError(
            f"{requests=}, {concurrency=}, {repeats=}, {answer_tokens=} was refused.", "", "numbers from 1 on"
        )
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": answer_tokens, "seed": 0}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        if folder is None:
            folder = work / "items"
            for _ in write_items("scene", requests, FIRST_SEED, folder):
                pass
        data_set = work / "requests.jsonl"
        if (found := custom_images(folder, data_set, requests)) < requests:
            raise CourseError(f"{found} items for {requests} requests.", "", "draw more, or ask for fewer requests")
        options = ["--dataset-name", "custom_image", "--dataset-path", str(data_set), "--disable-shuffle"]
        options += ["--custom-output-len", str(answer_tokens), "--num-prompts", str(requests)]
        options += ["--max-concurrency", str(concurrency), "--extra-body", '{"seed": 0}']

        def ask(out: Path) -> tuple[Turn, list[Transcript]]:
            endpoint = Endpoint(server.base_url, server.model_name, server.api_key)
            work_to_do = run_items(folder, out, endpoint, sampling, RequestPolicy(concurrency), limit=requests)
            began = time.process_time()
            summary = _in_a_loop_of_its_own(work_to_do)
            used = time.process_time() - began
            answers = list(read_transcripts(out))
            return replace(_runner_turn(summary, answers), client_cpu_seconds=used), answers

        ask(work / "warm-up.jsonl")
        turns: list[Turn] = []
        for repeat in range(1, repeats + 1):
            for client in ("tool", "runner") if repeat % 2 else ("runner", "tool"):
                server_began = _cpu_seconds(server)
                if client == "tool":
                    run = bench_serve(server, tokenizer, options)
                    turn = _tool_turn(run)
                else:
                    turn, transcripts = ask(work / f"{repeat}.jsonl")
                if turn.failed:
                    raise CourseError(
                        f"{turn.failed} of {requests} requests of the {client} failed.",
                        "rates of different work would be compared",
                        "look at the server's log",
                    )
                used = None if server_began is None else _cpu_seconds(server) - server_began
                turns.append(replace(turn, repeat=repeat, server_cpu_seconds=used))
        names = [record["item_id"] for record in islice(stream_items(folder), requests)]
    of_tool = dict(zip(names, run.data["generated_texts"], strict=True))
    same = sum(one.text == of_tool[one.item_id] for one in transcripts)
    command = tuple(data_set.name if word == str(data_set) else word for word in run.command)
    return RunnerComparison(tuple(turns), same, requests, command)


def _in_a_loop_of_its_own(work: Coroutine[Any, Any, RunSummary]) -> RunSummary:
    """Run it in another thread: a notebook's thread has a loop under way already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _cpu_seconds(server: Server) -> float | None:
    """That all processes of a server have computed so far; None for one that was joined."""
    return None if server.pid is None else cpu_seconds(server.pid)


def _runner_turn(summary: RunSummary, transcripts: list[Transcript]) -> Turn:
    sent = [datetime.datetime.fromisoformat(one.time).timestamp() for one in transcripts]
    answered = [begin + one.latency_seconds for begin, one in zip(sent, transcripts, strict=True)]
    done = sum(one.settled for one in transcripts)
    return Turn(
        repeat=0,
        client="runner",
        seconds=summary.seconds,
        requests_per_second=done / summary.seconds,
        asking_per_second=done / (max(answered) - min(sent)),
        mean_latency_ms=1000 * statistics.mean(one.latency_seconds for one in transcripts),
        answer_tokens=sum(one.completion_tokens or 0 for one in transcripts),
        failed=summary.failures,
        client_cpu_seconds=None,
        server_cpu_seconds=None,
    )


def _tool_turn(run: ToolRun) -> Turn:
    frame = requests_frame(run)
    ok = frame[frame["ok"]]
    span = (ok["start_s"] + ok["e2e_ms"] / 1000).max() - ok["start_s"].min()
    return Turn(
        repeat=0,
        client="tool",
        seconds=run.data["duration"],
        requests_per_second=len(ok) / run.data["duration"],
        asking_per_second=len(ok) / float(span),
        mean_latency_ms=float(ok["e2e_ms"].mean()),
        answer_tokens=int(ok["answer_tokens"].sum()),
        failed=len(frame) - len(ok),
        client_cpu_seconds=None,
        server_cpu_seconds=None,
    )

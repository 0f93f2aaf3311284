"""Thin drivers for vLLM's own benchmark tool: ``vllm bench serve``, ``throughput`` and ``startup``.

The tool runs as a process of its own, so its imports and its event loop cost this one nothing. What comes back is its
JSON, word for word. The facts below were read in, and tried with,
vLLM 0.32 (``vllm/benchmarks/serve.py``, ``throughput.py``, ``startup.py``, ``lib/endpoint_request_func.py``,
``datasets/datasets.py``).

What to know before believing one of its figures:

* ``--request-rate`` is infinite by default: all requests are made at time 0, and ``--max-concurrency`` holds them back.
  The clock of a request starts when it is sent, so the wait for a free slot is in none of its latencies; it is in
  ``queue_times``. That is a closed loop: it shows what the server can do, not what users of a busy one would see.
* Against ``/v1/chat/completions`` the server first sends a chunk with the role and no text. The tool takes it for the
  first token, and the gap between it and the first text, microseconds long, for an inter-token latency, so its
  percentiles of those are a little low.
* ``random`` and ``random-mm`` always ignore the end of an answer, so all have the length that was asked for; ``custom``
  datasets do not unless ``--ignore-eos`` is given.
* Its own datasets know no videos and no answer length per request: `toolkit.speed.serve_workload` is for those.
* ``--random-input-len`` counts tokens of the local tokenizer (``--tokenizer``), before chat template and images. The
  lengths in the result are the server's own counts.
* Temperature and the other sampling fields are the server's defaults unless given; `bench_serve` gives them.
* Requests that failed have a time to first token of 0 in the lists. `answered` leaves them out.
* The peak of concurrent requests counts everything within a whole second, and exceeds the limit in short runs.
* ``throughput`` sends temperature 1 and ignores the end of answers. Without ``--dataset-path`` it silently takes
  ``random`` for ``random-mm``: no images. Its JSON does not say how many tokens were answers; its output does.
* ``startup`` measures the engine inside a process that has imported vLLM already: less than a user waits.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import CourseError
from helpers.files import search_path, shown
from helpers.local_http import bypass_proxies
from helpers.processes import last_lines, run_to_end
from toolkit.speed.results import Figure

if TYPE_CHECKING:
    import pandas as pd

    from helpers.profiles import ActiveProfile
    from helpers.server import Server

Tool = Literal["serve", "throughput", "startup"]
TIMEOUT_SECONDS = 1200.0
PERCENTILES = (50, 95, 99)
#: Metric of a request by the tool's name -> what it is.
METRICS = {
    "ttft": "time to first token",
    "itl": "inter-token latency",
    "tpot": "time per output token after the first",
    "e2el": "end-to-end latency",
}
#: What ``--goodput`` can limit.
LIMITED = ("ttft", "tpot", "e2el")
#: Height, width and frames of the images of `random_requests`, in the tool's own notation.
IMAGE_BUCKET = "{(128,128,1):1.0}"


@dataclass(frozen=True)
class ToolRun:
    """One run of the tool."""

    command: tuple[str, ...]
    """As a person would type it in the course's folder; options that only say where the result goes are left out."""
    data: dict[str, Any]
    """The JSON that the tool wrote."""

    def answered(self) -> pd.DataFrame:
        """One row per answered request of a ``serve`` run: start_s (since the first was sent), first_text_ms, tpot_ms
        (NaN for answers of one token), e2e_ms, prompt_tokens, answer_tokens.

        The time to the first text is later than the tool's to the first token, since the first chunk of a chat only
        names the role.
        """
        import pandas as pd

        data = self.data
        frame = pd.DataFrame({"start_s": data["start_times"], "first_s": data["ttfts"], "e2e_s": data["latencies"]})
        frame["start_s"] -= frame["start_s"].min()
        frame["first_text_ms"] = 1000 * (frame["first_s"] + [gaps[0] if gaps else 0.0 for gaps in data["itls"]])
        frame["e2e_ms"] = 1000 * frame["e2e_s"]
        frame["prompt_tokens"], frame["answer_tokens"] = data["input_lens"], data["output_lens"]
        steps = (frame["answer_tokens"] - 1).where(frame["answer_tokens"] > 1)
        frame["tpot_ms"] = 1000 * (frame["e2e_s"] - frame["first_s"]) / steps
        good = [not error and first > 0 for error, first in zip(data["errors"], data["ttfts"], strict=True)]
        return frame[good].drop(columns=["first_s", "e2e_s"])

    def serve_figures(self) -> list[Figure]:
        """The tool's own figures of a ``serve`` run: throughput, latencies, goodput if limits were given, failures."""
        data = self.data
        figures = [
            Figure(name=name, value=data[f"{key}_throughput"], unit=unit, about="over the whole run")
            for name, key, unit in (
                ("requests", "request", "requests/s"),
                ("answer tokens", "output", "tokens/s"),
                ("all tokens", "total_token", "tokens/s"),
            )
        ]
        for metric, meaning in METRICS.items():
            for name in (f"p{share}" for share in PERCENTILES):
                value = data[f"{name}_{metric}_ms"]
                figures.append(Figure(name=f"{metric} {name}", value=value, unit="ms", about=meaning))
        if data.get("request_goodput") is not None:
            about = "requests within all limits of --goodput"
            figures.append(Figure(name="goodput", value=data["request_goodput"], unit="requests/s", about=about))
        return [*figures, Figure(name="failed", value=float(data["failed"]), unit="requests")]


def random_requests(
    count: int, concurrency: int, *, prompt_tokens: int = 32, answer_tokens: int = 32, images: int = 0
) -> list[str]:
    """Options of ``vllm bench serve`` for random words and, with ``images``, images of 128 × 128 random pixels.

    Args:
        concurrency: at most so many at a time.
        prompt_tokens: words of the prompt, without chat template and images.
        answer_tokens: length of every answer, wherever the model would end it.
        images: per request.

    Raises:
        CourseError: a number that the tool would refuse, or misread.
    """
    if min(count, concurrency, prompt_tokens, answer_tokens) < 1 or images < 0:
        raise CourseError(
            f"{count=}, {concurrency=}, {prompt_tokens=}, {answer_tokens=}, {images=} was refused.",
            "",
            "numbers from 1 on, images from 0 on",
        )
    options = ["--dataset-name", "random-mm" if images else "random"]
    if images:
        options += ["--random-mm-base-items-per-request", str(images), "--random-mm-bucket-config", IMAGE_BUCKET]
    options += ["--random-input-len", str(prompt_tokens), "--random-output-len", str(answer_tokens)]
    return [*options, "--num-prompts", str(count), "--seed", "0", "--max-concurrency", str(concurrency)]


def bench_serve(
    server: Server,
    tokenizer: str | Path,
    options: Sequence[str],
    *,
    slo: Mapping[str, float] | None = None,
    warmups: int = 0,
    workload: Path | None = None,
) -> ToolRun:
    """Measure a running server through ``/v1/chat/completions``, as ``vllm bench serve`` does.

    Args:
        server: it is not stopped. Its key is passed in the environment, not on the command line.
        options: what is asked and how fast: `random_requests`, or the tool's own words.
        slo: limits in milliseconds by the tool's names (ttft, tpot, e2el); it then counts the goodput itself.
        warmups: so many requests first that do not count. All are the first request of the run, so that a cache of
            prefixes or images knows it afterwards.
        workload: a folder of `toolkit.speed.workload`; its requests are asked instead of a dataset of the tool.

    Raises:
        CourseError: an unknown limit, a run that failed (with the end of its output), took too long, or in which no
            request succeeded.
    """
    slo = slo or {}
    if unknown := sorted(slo.keys() - {*LIMITED}):
        raise CourseError(f"The tool knows no limit '{unknown[0]}'.", "a misspelt name", f"use {', '.join(LIMITED)}")
    words = ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", server.root_url]
    words += ["--model", server.model_name, "--tokenizer", _as_typed(tokenizer)]
    words += ["--temperature", "0", "--top-p", "1", *options]
    words += ["--num-warmups", str(warmups)] if warmups else []
    words += ["--goodput", *(f"{name}:{limit:g}" for name, limit in slo.items())] if slo else []
    words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", ",".join(map(str, PERCENTILES))]
    words += ["--disable-tqdm", "--save-result", "--save-detailed"]
    typed = ["vllm", "bench", "serve"]
    if workload is not None:
        typed = ["python", "-m", "toolkit.speed.serve_workload", "--workload", _as_typed(workload)]
    run = _run("serve", [*typed, *words], {"OPENAI_API_KEY": server.api_key})
    if not run.data.get("completed"):
        errors = [error.strip().splitlines()[-1] for error in run.data.get("errors", []) if error.strip()]
        raise CourseError(
            f"None of the {run.data.get('num_prompts', 0)} requests was answered.",
            errors[0] if errors else "the server refused them",
            "read the server's log; look at the lengths of prompt and answer against its context",
        )
    return run


def bench_throughput(
    active: ActiveProfile, count: int, *, prompt_tokens: int = 32, answer_tokens: int = 32, warmups: int = 0
) -> ToolRun:
    """Measure the engine without a server: all requests are handed over at once, text only.

    Args:
        active: the profile; its engine arguments are used.
        answer_tokens: of each; the end of answers is ignored.
        warmups: so many requests first that do not count.

    Raises:
        CourseError: lengths that do not fit in the context, or a run that failed or took too long.
    """
    if min(count, prompt_tokens, answer_tokens) < 1 or prompt_tokens + answer_tokens > active.profile.max_model_len:
        raise CourseError(
            f"{count} requests of {prompt_tokens} + {answer_tokens} tokens were refused.",
            "",
            f"numbers from 1 on; prompt and answer together at most {active.profile.max_model_len} tokens",
        )
    words = ["--dataset-name", "random"]
    words += ["--random-input-len", str(prompt_tokens), "--random-output-len", str(answer_tokens)]
    words += ["--num-prompts", str(count), "--seed", "0"]
    return _offline("throughput", active, [*words, *(["--num-warmups", str(warmups)] if warmups else [])])


def bench_startup(active: ActiveProfile) -> ToolRun:
    """Measure the start of the engine, once with empty caches of compiled code (cold) and once with filled ones (warm).

    Raises:
        CourseError: a run that failed or took too long.
    """
    return _offline("startup", active, ["--num-iters-cold", "1", "--num-iters-warm", "1", "--num-iters-warmup", "0"])


def _offline(tool: Tool, active: ActiveProfile, words: Sequence[str]) -> ToolRun:
    flags = active.serve_flags()
    at = flags.index("--served-model-name")  # a server's flag, which the offline tools do not have
    del flags[at : at + 2]
    command = ["vllm", "bench", tool, "--model", shown(active.model_path), *flags, *words]
    return _run(tool, command, active.environment())


def _as_typed(path: str | Path) -> str:
    """A folder as the tool finds it from the course's folder; a hub id as it is."""
    return shown(Path(path).resolve()) if Path(path).exists() else str(path)


def _run(tool: Tool, command: Sequence[str], variables: Mapping[str, str], timeout: float = TIMEOUT_SECONDS) -> ToolRun:
    """Run a command in the course's folder and read the JSON that it wrote."""
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false", **variables}
    environment["PYTHONPATH"] = search_path(environment)
    bypass_proxies(environment)
    module = ["-m", "vllm.entrypoints.cli.main"] if command[0] == "vllm" else []
    program = [sys.executable, *module, *command[1:]]  # as this environment means it, independent of PATH
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        where = ["--result-dir", folder, "--result-filename", path.name]
        where = where if tool == "serve" else ["--output-json", str(path)]
        ended = run_to_end([*program, *where], environment, timeout)
        if ended.status is None:
            raise CourseError(
                f"vllm bench {tool} did not end within {timeout:g} s.",
                last_lines(ended.output),
                "fewer requests or shorter answers, or more time",
            )
        if ended.status or not path.is_file():
            remedy = "run the command by hand: " + shlex.join(command)
            raise CourseError(f"vllm bench {tool} ended with status {ended.status}.", last_lines(ended.output), remedy)
        data = json.loads(path.read_text(encoding="utf-8"))
    return ToolRun(tuple(command), data)

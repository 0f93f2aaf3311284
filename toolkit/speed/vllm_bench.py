"""Thin drivers for vLLM's own benchmark tool: ``vllm bench serve``, ``throughput`` and ``startup``, and its results.

The tool runs as a process of its own, so its imports and its event loop cost this one nothing. What comes back is its
JSON, word for word, and frames made of it. Facts below were read in, and tried with, vLLM 0.32
(``vllm/benchmarks/serve.py``, ``throughput.py``, ``startup.py``, ``lib/endpoint_request_func.py``,
``datasets/datasets.py``).

What to know before believing a figure of it:

* ``--request-rate`` is infinite by default: all requests are made at time 0, and ``--max-concurrency`` holds them back.
  The clock of a request starts when it is sent, so the wait for a free place is in none of its latencies; it is in
  ``queue_times``. That is a closed loop: it shows what the server can do, not what users of a busy one would see.
* Against ``/v1/chat/completions`` the server first sends a chunk with the role and no text. The tool takes it for the
  first token, and the gap between it and the first text, microseconds long, for an inter-token latency. `gaps_frame`
  leaves that gap out, so its percentiles are a little higher than the tool's own.
* ``random`` and ``random-mm`` always ignore the end of an answer, so all have the length that was asked for; ``custom``
  data sets do not unless ``--ignore-eos`` is given.
* ``custom_image`` has one answer length for all requests (``--custom-output-len``), knows no clips, and shuffles unless
  ``--disable-shuffle`` is given. `toolkit.speed.serve_workload` is for anything else.
* ``--random-input-len`` counts tokens of the local tokenizer (``--tokenizer``), before chat template and pictures. The
  lengths in the result are the server's own counts.
* Temperature and the other sampling fields are the server's defaults unless given; `bench_serve` gives them.
* Requests that failed have a time to first token of 0 in the lists. `requests_frame` marks them.
* The peak of concurrent requests counts everything within a whole second, and exceeds the limit in short runs.
* ``throughput`` sends temperature 1 and ignores the end of answers. Without ``--dataset-path`` it silently takes
  ``random`` for ``random-mm``: no pictures. Its JSON does not say how many tokens were answers; its output does.
* ``startup`` measures the engine inside a process that has imported vLLM already: less than a user waits.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import CourseError
from helpers.files import search_path, shown
from helpers.processes import last_lines, run_to_end
from helpers.provenance import MachineRecord, describe_versions, these_versions, this_machine
from toolkit.speed.results import Figure

if TYPE_CHECKING:
    import pandas as pd

    from helpers.profiles import ActiveProfile
    from helpers.server import Server

Tool = Literal["serve", "throughput", "startup"]
TIMEOUT_SECONDS = 1200.0
PERCENTILES = (50, 95, 99)
#: Metric of a request -> what it is. All in milliseconds.
METRICS = {
    "ttft": "time to first token",
    "itl": "inter-token latency",
    "tpot": "time per output token after the first",
    "e2e": "end-to-end latency",
}
#: What ``--goodput`` can limit, by its name there -> column of `requests_frame`.
SLO_COLUMNS = {"ttft": "ttft_ms", "tpot": "tpot_ms", "e2el": "e2e_ms"}


@dataclass(frozen=True)
class ToolRun:
    """One run of the tool, with all that its figures depend on."""

    tool: Tool
    command: tuple[str, ...]
    """As a person would type it in the course's folder; options that only say where the result goes are left out."""
    data: dict[str, Any]
    """The JSON that the tool wrote."""
    machine: MachineRecord
    versions: dict[str, str]
    started: datetime.datetime
    seconds: float
    """Of the process, with its imports."""
    output: str = field(default="", repr=False)

    def about(self) -> dict[str, str]:
        """Columns that make rows of different runs comparable: machine, versions, command, started."""
        return {
            "machine": self.machine.describe(),
            "versions": describe_versions(self.versions),
            "command": shlex.join(self.command),
            "started": self.started.isoformat(timespec="seconds"),
        }


# ---------------------------------------------------------------- running it


def random_requests(
    count: int,
    concurrency: int | None = None,
    *,
    prompt_tokens: int = 32,
    answer_tokens: int = 32,
    pictures: int = 0,
    size: tuple[int, int] = (128, 128),
    spread: float = 0.0,
    rate: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Options of ``vllm bench serve`` for random words and, with ``pictures``, pictures of random pixels.

    Args:
        count: requests.
        concurrency: at most so many at a time; None sets no limit.
        prompt_tokens: words of the prompt, without chat template and pictures.
        answer_tokens: length of every answer: its end is ignored.
        pictures: in each request.
        size: their height and width in pixels.
        spread: both lengths vary evenly by this share up and down, from 0 up to below 1.
        rate: requests per second on average, at random moments (Poisson); None sends all at once.
        seed: of words, pixels and moments.

    Raises:
        CourseError: a number that the tool would refuse, or misread.
    """
    if min(count, prompt_tokens, answer_tokens, *size) < 1 or pictures < 0 or not 0 <= spread < 1:
        raise CourseError(
            f"{count=}, {prompt_tokens=}, {answer_tokens=}, {pictures=}, {size=}, {spread=} was refused.",
            "",
            "counts and sizes from 1 on, pictures from 0 on, spread from 0 up to below 1",
        )
    if (concurrency is not None and concurrency < 1) or (rate is not None and not 0 < rate < float("inf")):
        raise CourseError(f"{concurrency=}, {rate=} was refused.", "", "numbers above 0, or None for no limit")
    options = ["--dataset-name", "random-mm" if pictures else "random"]
    if pictures:
        bucket = f"{{({size[0]},{size[1]},1):1.0}}"
        options += ["--random-mm-base-items-per-request", str(pictures), "--random-mm-bucket-config", bucket]
    options += ["--random-input-len", str(prompt_tokens), "--random-output-len", str(answer_tokens)]
    options += ["--random-range-ratio", str(spread)] if spread else []
    options += ["--num-prompts", str(count), "--seed", str(seed)]
    options += ["--max-concurrency", str(concurrency)] if concurrency else []
    return options + (["--request-rate", str(rate)] if rate else [])


def bench_serve(
    server: Server,
    tokenizer: str | Path,
    options: Sequence[str],
    *,
    slo: Mapping[str, float] | None = None,
    warmups: int = 0,
    workload: Path | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> ToolRun:
    """Measure a running server through ``/v1/chat/completions``, as ``vllm bench serve`` does.

    Args:
        server: it is not stopped. Its key is passed in the environment, not on the command line.
        tokenizer: folder or hub id of the model's tokenizer.
        options: what is asked and how fast: `random_requests`, or the tool's own words.
        slo: limits in milliseconds by the tool's names (ttft, tpot, e2el); it then counts the goodput itself.
        warmups: so many requests first that do not count. All are the first request of the run, so that a cache of
            prefixes or pictures knows it afterwards.
        workload: a folder of `toolkit.speed.workload`; its requests are asked instead of a data set of the tool.
        timeout_seconds: for the whole run.

    Raises:
        CourseError: an unknown limit, a run that failed (with the end of its output), took too long, or in which no
            request succeeded.
    """
    if unknown := sorted(set(slo or {}) - SLO_COLUMNS.keys()):
        raise CourseError(
            f"The tool knows no limit '{unknown[0]}'.", "a misspelt name", f"use {', '.join(SLO_COLUMNS)}"
        )
    words = ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", server.root_url]
    words += ["--model", server.model_name, "--tokenizer", _as_typed(tokenizer)]
    words += ["--temperature", "0", "--top-p", "1", *options]
    words += ["--num-warmups", str(warmups)] if warmups else []
    words += ["--goodput", *(f"{name}:{limit:g}" for name, limit in slo.items())] if slo else []
    words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", ",".join(map(str, PERCENTILES))]
    words += ["--disable-tqdm", "--save-result", "--save-detailed"]
    if workload is None:
        shown_program, program = ["vllm", "bench", "serve"], [*_vllm(), "bench", "serve"]
    else:
        module = ["-m", "toolkit.speed.serve_workload", "--workload", _as_typed(workload)]
        shown_program, program = ["python", *module], [sys.executable, *module]
    key = {"OPENAI_API_KEY": server.api_key}

    def result(folder: Path) -> list[str]:
        return ["--result-dir", str(folder), "--result-filename", "result.json"]

    run = _run("serve", [*shown_program, *words], [*program, *words], result, key, timeout_seconds)
    if not run.data.get("completed"):
        errors = [error.strip().splitlines()[-1] for error in run.data.get("errors", []) if error.strip()]
        raise CourseError(
            f"None of the {run.data.get('num_prompts', 0)} requests was answered.",
            errors[0] if errors else "the server refused them",
            "read the server's log; look at the lengths of prompt and answer against its context",
        )
    return run


def bench_throughput(
    active: ActiveProfile,
    count: int,
    *,
    prompt_tokens: int = 32,
    answer_tokens: int = 32,
    seed: int = 0,
    warmups: int = 0,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> ToolRun:
    """Measure the engine without a server: all requests are handed over at once, text only.

    Args:
        active: the profile; its engine arguments are used.
        count: requests.
        prompt_tokens: of each.
        answer_tokens: of each; the end of answers is ignored.
        seed: of the words.
        warmups: so many requests first that do not count.
        timeout_seconds: for the whole run, with the start of the engine.

    Raises:
        CourseError: lengths that do not fit in the context, or a run that failed or took too long.
    """
    if min(count, prompt_tokens, answer_tokens) < 1 or prompt_tokens + answer_tokens > active.profile.max_model_len:
        raise CourseError(
            f"{count} requests of {prompt_tokens} + {answer_tokens} tokens were refused.",
            "",
            f"numbers from 1 on; prompt and answer together at most {active.profile.max_model_len} tokens",
        )
    words = ["--model", shown(active.model_path), *_engine_flags(active), "--dataset-name", "random"]
    words += ["--random-input-len", str(prompt_tokens), "--random-output-len", str(answer_tokens)]
    words += ["--num-prompts", str(count), "--seed", str(seed)]
    words += ["--num-warmups", str(warmups)] if warmups else []
    return _offline("throughput", words, active, timeout_seconds)


def bench_startup(
    active: ActiveProfile, *, cold: int = 1, warm: int = 1, warmups: int = 0, timeout_seconds: float = TIMEOUT_SECONDS
) -> ToolRun:
    """Measure the start of the engine, with empty caches of compiled code (cold) and with filled ones (warm).

    Args:
        active: the profile; its engine arguments are used.
        cold: starts with empty caches.
        warm: starts with filled ones.
        warmups: starts in between that do not count; they matter only where something is compiled.
        timeout_seconds: for the whole run.

    Raises:
        CourseError: a run that failed or took too long.
    """
    if min(cold, warm) < 1 or warmups < 0:
        raise CourseError(f"{cold=}, {warm=}, {warmups=} was refused.", "", "at least one cold and one warm start")
    words = ["--model", shown(active.model_path), *_engine_flags(active)]
    words += ["--num-iters-cold", str(cold), "--num-iters-warm", str(warm), "--num-iters-warmup", str(warmups)]
    return _offline("startup", words, active, timeout_seconds)


def _vllm() -> list[str]:
    """What ``vllm`` means in this environment, independent of PATH."""
    return [sys.executable, "-m", "vllm.entrypoints.cli.main"]


def _as_typed(path: str | Path) -> str:
    """A folder as the tool finds it from the course's folder; a hub id as it is."""
    return shown(Path(path).resolve()) if Path(path).exists() else str(path)


def _engine_flags(active: ActiveProfile) -> list[str]:
    flags = active.serve_flags()
    at = flags.index("--served-model-name")  # a server's flag, which the offline tools do not have
    return flags[:at] + flags[at + 2 :]


def _offline(tool: Tool, words: list[str], active: ActiveProfile, timeout: float) -> ToolRun:
    def result(folder: Path) -> list[str]:
        return ["--output-json", str(folder / "result.json")]

    command = ["vllm", "bench", tool, *words]
    return _run(tool, command, [*_vllm(), *command[1:]], result, active.environment(), timeout)


def _run(
    tool: Tool, command: list[str], program: list[str], result: Any, variables: dict[str, str], timeout: float
) -> ToolRun:
    """Run a program in the course's folder and read the JSON that it wrote."""
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false", **variables}
    environment["PYTHONPATH"] = search_path(environment)
    for name in ("NO_PROXY", "no_proxy"):  # the tool honours a proxy setting, and a proxy does not know this machine
        hosts = [part for part in environment.get(name, "").split(",") if part]
        environment[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    machine, versions = this_machine(), these_versions()
    started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        status, output = run_to_end([*program, *result(Path(folder))], environment, timeout)
        seconds = time.monotonic() - began
        path = Path(folder) / "result.json"
        if status is None:
            raise CourseError(
                f"vllm bench {tool} did not end within {timeout:g} s.",
                last_lines(output),
                "fewer requests or shorter answers, or more time",
            )
        if status or not path.is_file():
            remedy = "run the command by hand: " + shlex.join(command)
            raise CourseError(f"vllm bench {tool} ended with status {status}.", last_lines(output), remedy)
        data = json.loads(path.read_text(encoding="utf-8"))
    return ToolRun(tool, tuple(command), data, machine, versions, started, seconds, output)


# ---------------------------------------------------------------- frames


def requests_frame(run: ToolRun) -> pd.DataFrame:
    """One row for each request of a ``serve`` run, in the order of sending.

    Columns: request, ok, start_s (since the first was sent), queue_ms (wait for a free place, before the clock starts),
    ttft_ms, first_text_ms (see the module's first notes), tpot_ms (NaN for answers of one token), e2e_ms,
    prompt_tokens, answer_tokens, error; and those of `ToolRun.about`. Times of failed requests are NaN.

    Raises:
        CourseError: not a detailed result of ``vllm bench serve``.
    """
    import numpy as np
    import pandas as pd

    data = _detailed(run)
    frame = pd.DataFrame(
        {
            "request": range(len(data["ttfts"])),
            "ok": [not error and first > 0 for error, first in zip(data["errors"], data["ttfts"], strict=True)],
            "start_s": np.asarray(data["start_times"]) - min(data["start_times"], default=0.0),
            "queue_ms": 1000 * np.asarray(data["queue_times"], dtype=float),
            "ttft_ms": 1000 * np.asarray(data["ttfts"], dtype=float),
            "first_text_ms": [
                1000 * (first + (gaps[0] if _role_first(data) and gaps else 0.0))
                for first, gaps in zip(data["ttfts"], data["itls"], strict=True)
            ],
            "e2e_ms": 1000 * np.asarray(data["latencies"], dtype=float),
            "prompt_tokens": data["input_lens"],
            "answer_tokens": data["output_lens"],
            "error": [error.strip() for error in data["errors"]],
        }
    )
    if int(frame["ok"].sum()) != data["completed"]:
        raise CourseError(
            f"{data['completed']} requests were answered, but {int(frame['ok'].sum())} look like it.",
            "another version of vLLM writes another format",
            "compare toolkit/speed/vllm_bench.py with vllm/benchmarks/serve.py",
        )
    steps = (frame["answer_tokens"] - 1).where(frame["answer_tokens"] > 1)
    frame.insert(6, "tpot_ms", (frame["e2e_ms"] - frame["ttft_ms"]) / steps)
    times = ["start_s", "queue_ms", "ttft_ms", "first_text_ms", "tpot_ms", "e2e_ms"]
    frame.loc[~frame["ok"], times] = np.nan
    return frame.assign(**run.about())


def gaps_frame(run: ToolRun) -> pd.DataFrame:
    """One row for each gap between two pieces of an answer: request, position (from 1), itl_ms.

    The gap behind the chunk that only names the role is left out; so is everything of failed requests. A server may
    send several tokens in one piece, so gaps may be fewer than tokens.

    Raises:
        CourseError: as `requests_frame`.
    """
    import pandas as pd

    data = _detailed(run)
    skip = 1 if _role_first(data) else 0
    ok = requests_frame(run)["ok"]
    rows = [
        (request, position, 1000 * seconds)
        for request, gaps in enumerate(data["itls"])
        if ok[request]
        for position, seconds in enumerate(gaps[skip:], start=1)
    ]
    return pd.DataFrame(rows, columns=["request", "position", "itl_ms"])


def latency_frame(run: ToolRun) -> pd.DataFrame:
    """Rows ttft, itl, tpot, e2e; columns p50, p95, p99, mean (ms), of, and those of `ToolRun.about`.

    Percentiles are those of the lists, interpolated linearly as the tool does.

    Raises:
        CourseError: as `requests_frame`.
    """
    import numpy as np
    import pandas as pd

    requests = requests_frame(run)
    values = {name: requests[f"{name}_ms"].dropna() for name in ("ttft", "tpot", "e2e")}
    values["itl"] = gaps_frame(run)["itl_ms"]
    rows = []
    for name, meaning in METRICS.items():
        column = values[name].to_numpy(dtype=float)
        found = np.percentile(column, PERCENTILES) if len(column) else [np.nan] * len(PERCENTILES)
        shares = {f"p{share}": value for share, value in zip(PERCENTILES, found, strict=True)}
        mean = column.mean() if len(column) else np.nan
        rows.append({"metric": name, "meaning": meaning, **shares, "mean": mean, "unit": "ms", "of": len(column)})
    return pd.DataFrame(rows).assign(**run.about())


def throughput_frame(run: ToolRun) -> pd.DataFrame:
    """Columns metric, value, unit and those of `ToolRun.about`; for each of the three tools.

    ``serve``: from the lists, over the whole run. ``throughput``: as the tool counts. ``startup``: mean of the starts.
    """
    import pandas as pd

    if run.tool == "startup":
        rows = [(name, sum(times) / len(times), "s") for name, times in startup_seconds(run).items()]
    elif run.tool == "throughput":
        data, answers = run.data, answer_tokens(run)
        rows = [("requests", data["requests_per_second"], "requests/s")]
        rows += [("all tokens", data["tokens_per_second"], "tokens/s")]
        rows += [] if answers is None else [("answer tokens", answers / data["elapsed_time"], "tokens/s")]
    else:
        frame, seconds = requests_frame(run), run.data["duration"]
        answered = frame[frame["ok"]]
        out, prompt = int(answered["answer_tokens"].sum()), int(answered["prompt_tokens"].sum())
        rows = [("requests", len(answered) / seconds, "requests/s"), ("answer tokens", out / seconds, "tokens/s")]
        rows += [("all tokens", (prompt + out) / seconds, "tokens/s")]
    return pd.DataFrame(rows, columns=["metric", "value", "unit"]).assign(**run.about())


def answer_tokens(run: ToolRun) -> int | None:
    """Tokens that a ``throughput`` run generated, from its output; None if that does not say."""
    found = re.search(r"Total num output tokens:\s*(\d+)", run.output)
    return int(found.group(1)) if found else None


def startup_seconds(run: ToolRun) -> dict[str, list[float]]:
    """Seconds of each start of a ``startup`` run: keys cold, warm."""
    return {phase: list(run.data[f"{phase}_startup_times"]) for phase in ("cold", "warm")}


# ---------------------------------------------------------------- goodput


@dataclass(frozen=True)
class Goodput:
    """Requests that met every limit, of all that were sent."""

    slo: dict[str, float]
    """Limits in milliseconds, by the tool's names."""
    good: int
    of: int
    """All requests of the run: one that failed is not good."""
    per_second: float
    tool_per_second: float | None
    """The tool's own count; None if it was not given these limits."""

    @property
    def share(self) -> float:
        """Good requests of all."""
        return self.good / self.of if self.of else 0.0

    @property
    def agrees(self) -> bool | None:
        """Whether the tool counted the same; None if it was not asked."""
        if self.tool_per_second is None:
            return None
        return abs(self.per_second - self.tool_per_second) <= 1e-9 * max(1.0, self.per_second)


def goodput(run: ToolRun, slo: Mapping[str, float]) -> Goodput:
    """Count the requests of a ``serve`` run that met every limit.

    As the tool counts: a limit is met by a time equal to it, and an answer of one token meets every tpot.

    Args:
        run: of ``serve``.
        slo: limits in milliseconds, by the names ttft, tpot, e2el. They need not be those given to the tool.

    Raises:
        CourseError: no limits or an unknown one; as `requests_frame`.
    """
    if not slo or not slo.keys() <= SLO_COLUMNS.keys():
        raise CourseError(f"The limits {dict(slo)} cannot be used.", "", f"give some of {', '.join(SLO_COLUMNS)} in ms")
    frame = requests_frame(run)
    good = frame["ok"]
    for name, limit in slo.items():
        times = frame[SLO_COLUMNS[name]].fillna(0.0 if name == "tpot" else float("inf"))
        # In seconds, as the tool compares: a limit hit exactly must not depend on rounding.
        good = good & (times / 1000 <= limit / 1000)
    asked = {f"{name}:{limit:g}" for name, limit in slo.items()}
    tool = run.data.get("request_goodput") if asked == _asked_limits(run.command) else None
    return Goodput(dict(slo), int(good.sum()), len(frame), int(good.sum()) / run.data["duration"], tool)


def _asked_limits(command: Sequence[str]) -> set[str]:
    if "--goodput" not in command:
        return set()
    after = command[list(command).index("--goodput") + 1 :]
    end = next((place for place, word in enumerate(after) if word.startswith("--")), len(after))
    return set(after[:end])


# ---------------------------------------------------------------- figures


def serve_figures(run: ToolRun, slo: Mapping[str, float] | None = None) -> list[Figure]:
    """The figures of a ``serve`` run for `toolkit.speed.results`: latencies, throughput, goodput, failures."""
    figures = [
        Figure(name=row.metric, value=row.value, unit=row.unit, about="over the whole run")
        for row in throughput_frame(run).itertuples()
    ]
    for row in latency_frame(run).itertuples():
        for name in (f"p{share}" for share in PERCENTILES):
            value = float(getattr(row, name))
            known = value == value  # not NaN
            about = f"{row.meaning}, of {row.of}" if known else "no answer has a second token"
            figures.append(Figure(name=f"{row.metric} {name}", value=value if known else None, unit="ms", about=about))
    if slo:
        found = goodput(run, slo)
        limits = ", ".join(f"{name} ≤ {limit:g} ms" for name, limit in slo.items())
        figures.append(Figure(name="goodput", value=found.per_second, unit="requests/s", about=limits))
        if found.tool_per_second is not None:
            about = "as vllm bench counts, for comparison"
            figures.append(Figure(name="goodput (tool)", value=found.tool_per_second, unit="requests/s", about=about))
    figures.append(Figure(name="failed", value=float(run.data["failed"]), unit="requests"))
    return figures


def _role_first(data: dict[str, Any]) -> bool:
    return str(data.get("backend", "")).startswith("openai-chat")


def _detailed(run: ToolRun) -> dict[str, Any]:
    needed = ("ttfts", "itls", "latencies", "start_times", "queue_times", "input_lens", "output_lens", "errors")
    if run.tool != "serve" or (missing := [key for key in needed if key not in run.data]):
        raise CourseError(
            "This is no detailed result of vllm bench serve.",
            f"'{missing[0]}' is missing" if run.tool == "serve" else f"it is of vllm bench {run.tool}",
            "run it with --save-result --save-detailed, as bench_serve does",
        )
    return run.data

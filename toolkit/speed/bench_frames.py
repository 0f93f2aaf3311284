"""Tables and figures made of the results of vLLM's benchmark tool; what to know of them is in `vllm_bench`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from toolkit.speed.results import Figure
from toolkit.speed.vllm_bench import PERCENTILES, SLO_COLUMNS, ToolRun

if TYPE_CHECKING:
    import pandas as pd

#: Metric of a request -> what it is. All in milliseconds.
METRICS = {
    "ttft": "time to first token",
    "itl": "inter-token latency",
    "tpot": "time per output token after the first",
    "e2e": "end-to-end latency",
}


def requests_frame(run: ToolRun) -> pd.DataFrame:
    """One row per request of a ``serve`` run, in the order of sending.

    Columns: request, ok, start_s (since the first was sent), queue_ms (wait for a free slot, before the clock starts),
    ttft_ms, first_text_ms (later than ttft_ms where the first chunk only names the role), tpot_ms (NaN for answers of
    one token), e2e_ms, prompt_tokens, answer_tokens, error; and those of `ToolRun.about`. Times of failed requests are
    NaN.

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
    if (answered := int(frame["ok"].sum())) != data["completed"]:
        raise CourseError(
            f"{data['completed']} requests were answered, but {answered} look like it.",
            "another version of vLLM writes another format",
            "compare toolkit/speed/bench_frames.py with vllm/benchmarks/serve.py",
        )
    steps = (frame["answer_tokens"] - 1).where(frame["answer_tokens"] > 1)
    frame.insert(6, "tpot_ms", (frame["e2e_ms"] - frame["ttft_ms"]) / steps)
    times = ["start_s", "queue_ms", "ttft_ms", "first_text_ms", "tpot_ms", "e2e_ms"]
    frame.loc[~frame["ok"], times] = np.nan
    return frame.assign(**run.about())


def gaps_frame(run: ToolRun) -> pd.DataFrame:
    """One row per gap between two pieces of an answer: request, position (from 1), itl_ms.

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
        data, answers = run.data, re.search(r"Total num output tokens:\s*(\d+)", run.output)
        rows = [("requests", data["requests_per_second"], "requests/s")]
        rows += [("all tokens", data["tokens_per_second"], "tokens/s")]
        rows += [("answer tokens", int(answers[1]) / data["elapsed_time"], "tokens/s")] if answers else []
    else:
        frame, seconds = requests_frame(run), run.data["duration"]
        answered = frame[frame["ok"]]
        out, prompt = int(answered["answer_tokens"].sum()), int(answered["prompt_tokens"].sum())
        rows = [("requests", len(answered) / seconds, "requests/s"), ("answer tokens", out / seconds, "tokens/s")]
        rows += [("all tokens", (prompt + out) / seconds, "tokens/s")]
    return pd.DataFrame(rows, columns=["metric", "value", "unit"]).assign(**run.about())


def startup_seconds(run: ToolRun) -> dict[str, list[float]]:
    """Seconds of each start of a ``startup`` run: keys cold, warm."""
    return {phase: list(run.data[f"{phase}_startup_times"]) for phase in ("cold", "warm")}


@dataclass(frozen=True)
class Goodput:
    """Requests that met every limit, of all that were sent."""

    good: int
    of: int
    """All requests of the run: one that failed is not good."""
    per_second: float
    tool_per_second: float | None
    """The tool's own count; None if it was not given these limits."""


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
    return Goodput(int(good.sum()), len(frame), int(good.sum()) / run.data["duration"], tool)


def serve_figures(run: ToolRun, slo: Mapping[str, float]) -> list[Figure]:
    """The figures of a ``serve`` run for `toolkit.speed.results`: throughput, latencies, goodput, failures."""
    figures = [
        Figure(name=row["metric"], value=row["value"], unit=row["unit"], about="over the whole run")
        for row in throughput_frame(run).to_dict("records")
    ]
    for row in latency_frame(run).to_dict("records"):
        for name in (f"p{share}" for share in PERCENTILES):
            known = row["of"] > 0
            about = f"{row['meaning']}, of {row['of']}" if known else "no answer has a second token"
            value = float(row[name]) if known else None
            figures.append(Figure(name=f"{row['metric']} {name}", value=value, unit="ms", about=about))
    found = goodput(run, slo)
    limits = ", ".join(f"{name} ≤ {limit:g} ms" for name, limit in slo.items())
    figures.append(Figure(name="goodput", value=found.per_second, unit="requests/s", about=limits))
    if found.tool_per_second is not None:
        about = "as vllm bench counts, for comparison"
        figures.append(Figure(name="goodput (tool)", value=found.tool_per_second, unit="requests/s", about=about))
    return [*figures, Figure(name="failed", value=float(run.data["failed"]), unit="requests")]


def _asked_limits(command: Sequence[str]) -> set[str]:
    if "--goodput" not in command:
        return set()
    after = command[list(command).index("--goodput") + 1 :]
    end = next((place for place, word in enumerate(after) if word.startswith("--")), len(after))
    return set(after[:end])


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

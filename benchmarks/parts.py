"""The parts of the benchmark. The long ones are scripts of their own beside this module, imported when they run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.setting import CONCURRENCY, Found, Part, Setting, bench_command
from helpers.errors import CourseError
from helpers.files import OUTPUTS
from toolkit.speed.results import Figure

#: A choice, not a standard: an answer that begins within a second, and then comes faster than people read.
SLO = {"ttft": 1000.0, "tpot": 100.0}
REQUESTS = 100
WORKLOADS = OUTPUTS / "bench"
CLOSED_LOOP = (
    f"{CONCURRENCY} requests at a time, the next one as soon as one ends: latencies do not hold the wait for a slot"
)

ROLE_FIRST = (
    "The figures are the tool's own. It counts the instant between the chunk that names the role and the first text as "
    "an inter-token latency, so the percentiles of those are a little low."
)


def measure_startup(setting: Setting) -> Found:
    """Start of the engine and of the server."""
    from toolkit.speed import bench_startup

    run = bench_startup(setting.active)
    figures = [
        Figure(name=f"engine, {phase}", value=statistics.mean(run.data[f"{phase}_startup_times"]), unit="s")
        for phase in ("cold", "warm")
    ]
    about = "processes, imports, engine: from the command to the first answer of /health"
    figures.append(Figure(name="server", value=setting.server.startup_seconds, unit="s", about=about))
    return Found(run.command, figures, notes=["The engine's start is counted after the import of vLLM."])


def measure_offline(setting: Setting) -> Found:
    """Throughput of the engine without a server."""
    from toolkit.speed import bench_throughput

    tokens, about = 64, "all requests handed over at once"
    run = bench_throughput(setting.active, REQUESTS, prompt_tokens=tokens, answer_tokens=tokens, warmups=CONCURRENCY)
    answers = REQUESTS * tokens / run.data["elapsed_time"]  # the tool ignores their end
    figures = [
        Figure(name="requests", value=run.data["requests_per_second"], unit="requests/s", about=about),
        Figure(name="all tokens", value=run.data["tokens_per_second"], unit="tokens/s", about=about),
        Figure(name="answer tokens", value=answers, unit="tokens/s", about=about),
    ]
    return Found(run.command, figures, settings={"prompt tokens": tokens, "answer tokens": tokens})


def measure_reach(setting: Setting) -> Found:
    """What the machine could reach, measured beside what the engine does reach, one request at a time."""
    from helpers.model_facts import find_model_facts
    from toolkit.speed import best_of, decode_reach, measure_limits, prefill_reach
    from toolkit.speed.vllm_bench import bench_serve, random_requests

    active, prompt, answer = setting.active, 1024, 64
    # With billions of parameters a request takes half a minute on a CPU: 12 of them would take too long.
    small = active.device != "cpu" or active.profile.parameters_billions < 1
    requests, warmups = (10, 2) if small else (3, 1)
    facts = find_model_facts(active.model_path)
    dtype: Any = active.profile.dtype.get(active.device, "auto")
    if dtype == "auto":
        raise CourseError(f"The profile '{active.profile.name}' does not name its data type.", "", "set its dtype")
    server = setting.server
    before = measure_limits(setting.threads, device=active.device, dtype=dtype)
    options = random_requests(requests, 1, prompt_tokens=prompt, answer_tokens=answer)
    run = bench_serve(server, active.model_path, options, warmups=warmups)
    after = measure_limits(setting.threads, device=active.device, dtype=dtype)
    limits = best_of(before, after)
    frame = run.answered()
    length = float(frame["prompt_tokens"].median())
    measured = {
        "prefill": length / (frame["first_text_ms"].median() / 1000),
        "decode": 1000 / frame["tpot_ms"].median(),
    }
    reaches = {
        "prefill": prefill_reach(facts, limits, round(length)),
        "decode": decode_reach(facts, limits, round(length + answer / 2)),
    }
    where = f"{limits.threads} thread{'s' if limits.threads > 1 else ''}, {limits.dtype}; before and after the run"
    figures = []
    for name, kind, unit in (
        ("memory bandwidth", "bytes_per_second", "GB/s"),
        ("arithmetic", "flops_per_second", "GFLOP/s"),
    ):
        low, high = sorted(getattr(seen, kind) / 1e9 for seen in (before, after))
        value = getattr(limits, kind) / 1e9
        figures.append(Figure(name=name, value=value, unit=unit, low=low, high=high, about=where))
    for name, reach in reaches.items():
        most = f"limited by {reach.limit}: {reach.bytes_per_token / 1e6:.3g} MB and "
        most += f"{reach.flops_per_token / 1e6:.3g} MFLOP per token"
        speed, share = measured[name], 100 * reach.share(measured[name])
        figures += [
            Figure(name=f"{name}, at most", value=reach.tokens_per_second, unit="tokens/s", about=most),
            Figure(name=f"{name}, measured", value=speed, unit="tokens/s", about="one request at a time, median"),
            Figure(name=f"{name}, share", value=share, unit="%"),
        ]
    notes = [
        "Prefill is measured by the time to the first text, so the server's own work on a request is in it.",
        f"Weights take {facts.weight_bytes(dtype) / 2**20:.0f} MiB; what fits in a cache of the processor is not bound "
        "by the bandwidth of memory.",
    ]
    if max(reach.share(measured[name]) for name, reach in reaches.items()) > 1:
        notes.append("A share above 100 %: the machine was busy while its limits were measured, or a cache helped.")
    sizes = {"prompt tokens": length, "answer tokens": answer, "array bytes": limits.array_bytes}
    return Found(run.command, figures, settings={**sizes, "matrix": limits.matrix}, notes=notes)


def measure_text(setting: Setting) -> Found:
    """Random words at the usual concurrency."""
    from toolkit.speed.vllm_bench import random_requests

    return _served(setting, random_requests(REQUESTS, CONCURRENCY, prompt_tokens=64, answer_tokens=64))


def measure_images(setting: Setting) -> Found:
    """Random images at the usual concurrency."""
    from toolkit.speed.vllm_bench import random_requests

    return _served(setting, random_requests(REQUESTS, CONCURRENCY, prompt_tokens=32, answer_tokens=64, images=1))


def measure_mixed(setting: Setting) -> Found:
    """Text, images and videos of the toy world, answers of very different lengths."""
    from toolkit.speed.workload import describe_workload, write_workload

    folder = WORKLOADS / "mixed"
    write_workload(folder)
    found = _served(setting, ["--max-concurrency", str(CONCURRENCY)], folder)
    return Found(found.command, found.figures, settings=describe_workload(folder), notes=found.notes)


def _served(setting: Setting, options: list[str], workload: Path | None = None) -> Found:
    from toolkit.speed import bench_serve

    run = bench_serve(
        setting.server, setting.active.model_path, options, slo=SLO, warmups=CONCURRENCY, workload=workload
    )
    notes = [CLOSED_LOOP, ROLE_FIRST, "Caches of prefixes and images are off."]
    return Found(run.command, run.serve_figures(), notes=notes)


def measure_course(_: Setting) -> Found:
    """Seconds by notebook and phase of the last run of the course, read from its executed notebooks.

    Raises:
        CourseError: a notebook of the course has not been executed.
    """
    from course.manifest import label_of, load_manifest
    from course.phases import clock_seconds, rows, slowest, where_time_goes

    entries = load_manifest().notebooks
    times = where_time_goes(OUTPUTS / entry.file for entry in entries)
    if len(times) < len(entries):
        raise CourseError(
            f"{len(entries) - len(times)} of {len(entries)} notebooks have not been executed.", "", "make run"
        )
    table = [{key: cell if key == "notebook" else round(cell, 1) for key, cell in row.items()} for row in rows(times)]
    cells = [
        {"seconds": round(cell.seconds, 1), "cell": f"{label_of(cell.notebook)} {cell.prompt}", "phase": cell.phase}
        for cell in slowest(times)
    ]
    return Found(
        ["python", "-m", "course", "run"],
        [
            Figure(name="whole course, clock", value=clock_seconds(times), unit="s"),
            Figure(name="all notebooks, added up", value=sum(time.seconds for time in times), unit="s"),
        ],
        {"seconds by notebook and phase": table, "slowest cells": cells},
        notes=[
            "Read from the executed notebooks. Where two ran at a time, their seconds add up to more than the clock."
        ],
    )


def soak_command(setting: Setting) -> list[str]:
    """As a person would type it."""
    options = setting.options
    return bench_command("soak", "--minutes", f"{options.minutes:g}", "--rate", f"{options.rate:g}")


def _script(module: str, function: str = "measure") -> Callable[[Setting], Any]:
    """A function of a script, which is imported when it is called."""
    return lambda setting: getattr(import_module(f"benchmarks.{module}"), function)(setting)


PARTS = (
    Part("startup", "Start of engine and server", measure_startup),
    Part("offline", "Engine without a server, text", measure_offline),
    Part("reach", "What this machine could reach", measure_reach),
    Part("serve-text", f"Server, text, {CONCURRENCY} at a time", measure_text),
    Part("serve-images", f"Server, images of 128 × 128, {CONCURRENCY} at a time", measure_images),
    Part("serve-mixed", f"Server, text, images and videos mixed, {CONCURRENCY} at a time", measure_mixed),
    Part("growth", "How time and memory grow", _script("growth")),
    Part("runner", "The evaluation's runner against vLLM's own client", _script("runner_against_tool")),
    Part("course", "Where the time of a run of the course goes", measure_course, by_name_only=True),
    Part(
        "soak",
        "A long run of good requests and faults",
        _script("soak"),
        by_name_only=True,
        command=soak_command,
    ),
    Part("settings", "Engine settings, each varied alone", _script("settings"), by_name_only=True),
    Part(
        "against",
        "vLLM against transformers and others, the same mixed requests",
        _script("against"),
        by_name_only=True,
        command=_script("against", "command_words"),
    ),
)

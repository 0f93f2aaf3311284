"""The parts of ``python -m course bench``: what each measures, and the server that they share."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.speed.results import Figure

if TYPE_CHECKING:
    from benchmarks.against import Options
    from helpers.profiles import ActiveProfile
    from helpers.server import Server

#: A choice, not a standard: an answer that begins within a second, and then comes faster than people read.
SLO = {"ttft": 1000.0, "tpot": 100.0}
CONCURRENCY, REQUESTS = 8, 100
WORKLOADS = COURSE_ROOT / "outputs" / "bench"
CLOSED_LOOP = (
    f"{CONCURRENCY} requests at a time, the next one as soon as one ends: latencies do not hold the wait for a place"
)


@dataclass(frozen=True)
class Found:
    """What a part measured, before it is dated."""

    command: Sequence[str]
    figures: Sequence[Figure]
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    broken: Sequence[str] = ()
    """What should have held and did not: the result is kept, but the part has failed, and is measured anew."""


@dataclass(frozen=True)
class Part:
    """Something to be measured. ``measure`` may start the setting's server."""

    name: str
    title: str
    measure: Callable[[Setting], Found]
    by_name_only: bool = False
    """It takes long, and is measured only where it is asked for."""
    command: Callable[[Setting], Sequence[str]] | None = None
    """Of a part with options of its own: what its result names as its command."""


class Setting:
    """What the parts share: the profile, and its server, which starts when the first part wants it."""

    def __init__(
        self,
        active: ActiveProfile,
        minutes: float | None = None,
        rate: float | None = None,
        against: Options | None = None,
    ):
        self.active = active
        self.minutes, self.rate = minutes, rate
        """Of the soak; None leaves its own."""
        self.against = against
        """Of the comparison with others; None leaves its own."""
        self._server: Server | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def server(self) -> Server:
        """The profile's server, without caches; started anew if it has died."""
        from helpers.profiles import as_flags
        from helpers.server import serve
        from toolkit.speed.workload import NO_CACHES

        if self._server is None or not self._server.is_alive():
            self._stack.close()
            self._server = self._stack.enter_context(serve(self.active, extra_flags=as_flags(NO_CACHES)))
        return self._server

    @property
    def profile(self) -> str:
        """Name for the results."""
        return self.active.profile.name + ("-rehearsed" if self.active.profile.rehearse else "")

    @property
    def threads(self) -> int | None:
        """Of the CPU engine; None if nothing sets them."""
        number = os.environ.get("OMP_NUM_THREADS", "")
        return int(number) if number.isdigit() and int(number) else None


# ---------------------------------------------------------------- parts


def measure_startup(setting: Setting) -> Found:
    """Start of the engine and of the server."""
    from toolkit.speed.bench_frames import startup_seconds
    from toolkit.speed.vllm_bench import bench_startup

    run = bench_startup(setting.active)
    seconds = startup_seconds(run)
    figures = [
        Figure(name=f"engine, {phase}", value=sum(times) / len(times), unit="s", about=f"mean of {len(times)}")
        for phase, times in seconds.items()
    ]
    about = "processes, imports, engine: from the command to the first answer of /health"
    figures.append(Figure(name="server", value=setting.server.startup_seconds, unit="s", about=about))
    return Found(run.command, figures, notes=["The engine's start is counted after the import of vLLM."])


def measure_offline(setting: Setting) -> Found:
    """Throughput of the engine without a server."""
    from toolkit.speed import bench_throughput, throughput_frame

    tokens = 64
    run = bench_throughput(setting.active, REQUESTS, prompt_tokens=tokens, answer_tokens=tokens, warmups=CONCURRENCY)
    figures = [
        Figure(name=row.metric, value=row.value, unit=row.unit, about="all requests handed over at once")
        for row in throughput_frame(run).itertuples()
    ]
    return Found(run.command, figures, settings={"prompt tokens": tokens, "answer tokens": tokens})


def measure_reach(setting: Setting) -> Found:
    """What the machine could reach, measured beside what the engine does reach, one request at a time."""
    from helpers.model_facts import find_model_facts
    from toolkit.speed.bench_frames import requests_frame
    from toolkit.speed.roofline import best_of, decode_reach, measure_limits, prefill_reach
    from toolkit.speed.vllm_bench import bench_serve, random_requests

    active, prompt, answer = setting.active, 1024, 64
    # With billions of parameters a request takes half a minute on a CPU: 12 of them would take too long.
    small = active.device != "cpu" or active.profile.parameters_billions < 1
    requests, warmups = (10, 2) if small else (3, 1)
    facts = find_model_facts(active.model_path)
    dtype = active.profile.dtype.get(active.device, "auto")
    if dtype == "auto":
        raise CourseError(f"The profile '{active.profile.name}' does not name its data type.", "", "set its dtype")
    server = setting.server
    before = measure_limits(setting.threads, device=active.device, dtype=dtype)
    options = random_requests(requests, 1, prompt_tokens=prompt, answer_tokens=answer)
    run = bench_serve(server, active.model_path, options, warmups=warmups)
    after = measure_limits(setting.threads, device=active.device, dtype=dtype)
    limits = best_of(before, after)
    frame = requests_frame(run)
    frame = frame[frame["ok"]]
    length = float(frame["prompt_tokens"].median())
    reading = length / (frame["first_text_ms"].median() / 1000)
    writing = 1000 / frame["tpot_ms"].median()
    prefill = prefill_reach(facts, limits, round(length))
    decode = decode_reach(facts, limits, round(length + answer / 2))
    where = f"{limits.threads} thread{'s' if limits.threads > 1 else ''}, {limits.dtype}; before and after the run"
    figures = []
    for name, kind, unit in (
        ("memory bandwidth", "bytes_per_second", "GB/s"),
        ("arithmetic", "flops_per_second", "GFLOP/s"),
    ):
        seen = sorted(getattr(one, kind) / 1e9 for one in (before, after))
        value = getattr(limits, kind) / 1e9
        figures.append(Figure(name=name, value=value, unit=unit, low=seen[0], high=seen[1], about=where))
    for name, reach, measured in (("prefill", prefill, reading), ("decode", decode, writing)):
        figures += [
            Figure(
                name=f"{name}, at most",
                value=reach.tokens_per_second,
                unit="tokens/s",
                about=f"limited by {reach.limit}: {reach.bytes_per_token / 1e6:.3g} MB and "
                f"{reach.flops_per_token / 1e6:.3g} MFLOP a token",
            ),
            Figure(name=f"{name}, measured", value=measured, unit="tokens/s", about="one request at a time, median"),
            Figure(name=f"{name}, share", value=100 * reach.share(measured), unit="%"),
        ]
    notes = [
        "Prefill is measured by the time to the first text, so the server's own work on a request is in it.",
        f"Weights take {facts.weight_bytes(dtype) / 2**20:.0f} MiB; what fits in a cache of the processor is not bound "
        "by the bandwidth of memory.",
    ]
    if max(prefill.share(reading), decode.share(writing)) > 1:
        notes.append("A share above 100 %: the machine was busy while its limits were measured, or a cache helped.")
    sizes = {"prompt tokens": length, "answer tokens": answer, "array bytes": limits.array_bytes}
    return Found(run.command, figures, settings={**sizes, "matrix": limits.matrix}, notes=notes)


def measure_texts(setting: Setting) -> Found:
    """Random words at the usual concurrency."""
    from toolkit.speed.vllm_bench import random_requests

    return _served(setting, random_requests(REQUESTS, CONCURRENCY, prompt_tokens=64, answer_tokens=64))


def measure_pictures(setting: Setting) -> Found:
    """Random pictures at the usual concurrency."""
    from toolkit.speed.vllm_bench import random_requests

    options = random_requests(REQUESTS, CONCURRENCY, prompt_tokens=32, answer_tokens=64, images=1)
    return _served(setting, options)


def measure_mixed(setting: Setting) -> Found:
    """Words, pictures and clips of the toy world, answers of very different lengths."""
    from toolkit.speed.workload import REQUESTS as MIXED
    from toolkit.speed.workload import describe_workload, write_workload

    folder = WORKLOADS / "mixed"
    write_workload(folder, MIXED, seed=0)
    found = _served(setting, ["--max-concurrency", str(CONCURRENCY)], folder)
    return Found(found.command, found.figures, settings=describe_workload(folder), notes=found.notes)


def _served(setting: Setting, options: list[str], workload: Path | None = None) -> Found:
    from toolkit.speed.bench_frames import serve_figures
    from toolkit.speed.vllm_bench import bench_serve

    run = bench_serve(
        setting.server, setting.active.model_path, options, slo=SLO, warmups=CONCURRENCY, workload=workload
    )
    return Found(run.command, serve_figures(run, SLO), notes=[CLOSED_LOOP, "Caches of prefixes and pictures are off."])


def measure_growth(setting: Setting) -> Found:
    """How time and memory grow with prompts, items, pixels, frames and clients."""
    from benchmarks.growth_run import REPEATS, SIZES, measure_all

    record = measure_all(setting.server)
    sizes = {name: f"{min(some):,} to {max(some):,}" for name, some in SIZES.items()}
    repeats = ", ".join(f"{name} {times}" for name, times in REPEATS.items())
    return Found(
        ["python", "-m", "course", "bench", "growth"],
        record.figures(),
        {"fitted exponents": record.laws(), "measurements": record.rows()},
        {**sizes, "repeats": repeats},
        record.notes(),
        record.broken(),
    )


def measure_course(setting: Setting) -> Found:
    """Seconds by notebook and phase of the last run of the course, read from its executed notebooks.

    Raises:
        CourseError: a notebook of the course has not been executed.
    """
    from course.manifest import load_manifest
    from course.phases import clock_seconds, rows, slowest, where_time_goes

    entries = load_manifest().notebooks
    times = where_time_goes(COURSE_ROOT / "outputs" / entry.file for entry in entries)
    if len(times) < len(entries):
        raise CourseError(
            f"{len(entries) - len(times)} of {len(entries)} notebooks have not been executed.", "", "make run"
        )
    table = [{key: one if key == "notebook" else round(one, 1) for key, one in row.items()} for row in rows(times)]
    cells = [
        {"seconds": round(cell.seconds, 1), "cell": f"{cell.notebook[:2]} {cell.prompt}", "phase": cell.phase}
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


def measure_soak(setting: Setting) -> Found:
    """A long run of good requests and faults against the profile's own server, caches included."""
    from benchmarks.soak import FAULTS, check_length, soak
    from helpers.server import serve

    minutes, rate = _soak_options(setting)
    check_length(minutes, rate)
    with serve(setting.active) as server:
        record = soak(server, minutes, rate)
        command = shlex.join(server.command)
    return Found(
        soak_command(setting),
        record.figures(),
        {"requests": record.rows(), "memory": record.curve()},
        {"minutes": minutes, "requests a second": rate, "share of faults": FAULTS, "server": command},
        record.notes(),
        record.broken(),
    )


def soak_command(setting: Setting) -> list[str]:
    """As a person would type it."""
    minutes, rate = _soak_options(setting)
    return ["python", "-m", "course", "bench", "soak", "--minutes", f"{minutes:g}", "--rate", f"{rate:g}"]


def _soak_options(setting: Setting) -> tuple[float, float]:
    from benchmarks.soak import MINUTES, RATE

    return MINUTES if setting.minutes is None else setting.minutes, RATE if setting.rate is None else setting.rate


def measure_settings(setting: Setting) -> Found:
    """The engine's settings, each varied alone."""
    from benchmarks.settings import ANSWERS, REPEATS, REQUESTS
    from benchmarks.settings import measure_settings as compare

    found = compare(setting.active)
    return Found(
        ["python", "-m", "course", "bench", "settings"],
        found.figures(),
        {"settings": found.rows()},
        {"repeats": REPEATS, "requests": REQUESTS, "answer tokens": f"{ANSWERS[0]} to {ANSWERS[1]}"},
        found.notes(),
    )


def measure_against(setting: Setting) -> Found:
    """vLLM against what a reader would use instead."""
    from benchmarks.against import compare

    found = compare(setting.active, setting.against)
    result = Found(found.command, found.figures(), found.tables(), found.settings(), found.notes())
    found.close()
    return result


def against_command(setting: Setting) -> list[str]:
    """As a person would type it."""
    from benchmarks.against import command_words

    return command_words(setting.active, setting.against)


def measure_runner(setting: Setting) -> Found:
    """The evaluation's runner against the tool's client."""
    from benchmarks.runner_against_tool import GOAL, compare_runner

    found = compare_runner(setting.server, setting.active.model_path)
    low, high = min(found.ratios), max(found.ratios)
    figures = [
        Figure(
            name="request rate, runner over tool",
            value=found.ratio,
            unit="",
            low=low,
            high=high,
            about=f"median, least and greatest of {len(found.ratios)}; the goal is {GOAL} or more",
        ),
        Figure(name="the same while asking", value=found.asking_ratio, unit="", about="without start and end"),
        Figure(name="start and end of the runner", value=found.overhead_seconds, unit="s"),
        Figure(name="same answers", value=float(found.same_answers), unit="requests", about=f"of {found.of}"),
    ]
    rows = found.frame().astype(object).where(found.frame().notna(), None).to_dict("records")
    return Found(found.command, figures, {"passes": rows}, {"requests": found.of, "concurrency": CONCURRENCY})


PARTS = (
    Part("startup", "Start of engine and server", measure_startup),
    Part("offline", "Engine without a server, text", measure_offline),
    Part("reach", "What this machine could reach", measure_reach),
    Part("serve-text", f"Server, text, {CONCURRENCY} at a time", measure_texts),
    Part("serve-pictures", f"Server, pictures of 128 × 128, {CONCURRENCY} at a time", measure_pictures),
    Part("serve-mixed", f"Server, words, pictures and clips mixed, {CONCURRENCY} at a time", measure_mixed),
    Part("growth", "How time and memory grow", measure_growth),
    Part("runner", "The evaluation's runner against vLLM's own client", measure_runner),
    Part("course", "Where the time of a run of the course goes", measure_course, by_name_only=True),
    Part("soak", "A long run of good requests and faults", measure_soak, by_name_only=True, command=soak_command),
    Part("settings", "Engine settings, each varied alone", measure_settings, by_name_only=True),
    Part(
        "against",
        "vLLM against transformers and others, the same mixed requests",
        measure_against,
        by_name_only=True,
        command=against_command,
    ),
)

"""Engine settings by measurement: each varied alone from what the profile has now, on the same offline mixed workload.

Every measurement is a process of its own, since threads, preloaded libraries and compiled code belong to a process. In
each repeat the present settings are
measured first and last, all others in between, and a setting's rate is divided by the mean of the two: what the two
differ by is the noise that a gain has to exceed. The next repeat goes through the list backwards.

What vLLM 0.32 makes of the settings (``vllm/envs.py``, ``platforms/cpu.py``, ``utils/ompmultiprocessing.py``):

* ``VLLM_CPU_KVCACHE_SPACE`` (GiB, whole ones) still wins over ``kv_cache_memory_bytes``; the source calls it legacy.
* ``VLLM_CPU_OMP_THREADS_BIND`` (``auto``, ``nobind`` or lists of cores) and ``VLLM_CPU_NUM_OF_RESERVED_CPU`` are read
  where workers have processes of their own (``distributed_executor_backend: mp``), and nowhere else. ``auto`` reserves
  one core on x86; less is taken, with a warning.
* ``LD_PRELOAD`` is read when a process starts: vLLM sets it too late for an engine in the process itself. It warns
  without ``libtcmalloc`` and ``libiomp``; its wheel for CPUs brings no ``libtcmalloc``.
* Offline, ``max_num_batched_tokens`` is 4,096 on a CPU unless given, behind a server 2,048; ``block_size`` is 128.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.setting import Found, Setting, bench_command, spread
from helpers.errors import CourseError
from toolkit.speed.results import Figure
from toolkit.speed.workload import write_records, write_workload

if TYPE_CHECKING:
    from helpers.profiles import ActiveProfile

#: More requests than run at once now, so that batches can be smaller and larger; short answers keep a pass short.
REQUESTS, ANSWERS, WARM_UP = 96, (8, 64), 8
REPEATS = 3
TIMEOUT_SECONDS = 600.0
PRESENT = "present settings"
#: Less than this is not called a difference, however little the present settings happen to vary.
LEAST = 1.02


@dataclass(frozen=True)
class Candidate:
    """Settings to measure: what is changed from the present ones."""

    name: str
    engine: dict[str, Any] = field(default_factory=dict)
    """Keywords of ``vllm.LLM``."""
    environment: dict[str, str] = field(default_factory=dict)
    beside: str = PRESENT
    """What else must be changed for it to have an effect: the candidate to compare with in thought."""
    missing: str = ""
    """Why it cannot be measured here; empty if it can."""

    def describe(self) -> str:
        """The change as one would write it down."""
        words = [f"{key}: {json.dumps(value)}" for key, value in self.engine.items()]
        words += [f"{key}={Path(value).name}" for key, value in self.environment.items()]
        return ", ".join(words) or "as in the profile"


@dataclass(frozen=True)
class EngineRun:
    """One process: an engine is started, warmed up and asked once."""

    start_seconds: float
    """From the start of the process to an engine that takes requests, with the import of vLLM."""
    pass_seconds: float
    answer_tokens: int
    answers: list[str]
    """A digest of each."""

    @property
    def tokens_per_second(self) -> float:
        return self.answer_tokens / self.pass_seconds


def measure(setting: Setting) -> Found:
    active, chosen = setting.active, candidates(setting.active)
    with tempfile.TemporaryDirectory() as place:
        comparison = compare(chosen, Engines(active, Path(place)).run)
    return Found(
        bench_command("settings"),
        comparison.figures(),
        {"settings": comparison.rows()},
        {"repeats": REPEATS, "requests": REQUESTS, "answer tokens": f"{ANSWERS[0]} to {ANSWERS[1]}"},
        comparison.notes(),
    )


# ---------------------------------------------------------------- what can be varied


def candidates(active: ActiveProfile) -> list[Candidate]:
    """The settings worth trying from the profile's own; those that it has already are left out.

    Raises:
        CourseError: the profile does not run on a CPU here; these settings are the CPU engine's.
    """
    if active.device != "cpu":
        raise CourseError(
            "Only the CPU engine's settings are varied.", f"the engine runs on {active.device}", "set COURSE_DEVICE=cpu"
        )
    engine, variables = active.engine_arguments(), active.environment()
    found = [
        *(
            Candidate(f"{n} thread{'s' if n > 1 else ''}", environment={"OMP_NUM_THREADS": str(n)})
            for n in range(1, min(2, os.cpu_count() or 1) + 1)
        ),
        Candidate("eager", {"enforce_eager": True}),
        Candidate("compiled", {"enforce_eager": False}),
        _preload("libiomp5", "the package intel-openmp"),
        _preload("libtcmalloc_minimal", "tcmalloc (Debian and Ubuntu: the package libtcmalloc-minimal4)"),
        *(Candidate(f"blocks of {n}", {"block_size": n}) for n in (32, 128)),
        *(Candidate(f"{n:,} tokens a step", {"max_num_batched_tokens": n}) for n in (2048, 4096)),
        *(Candidate(f"{n} requests at once", {"max_num_seqs": n}) for n in (16, 64, 128)),
    ]
    # What vLLM takes where the profile says nothing.
    defaults = {"block_size": 128, "max_num_batched_tokens": 4096, "enforce_eager": False, "max_num_seqs": 256}
    known, present = defaults | engine, [Candidate(PRESENT)]
    present += [candidate for candidate in found if not _is_present(candidate, known, variables)]
    own = {"distributed_executor_backend": "mp"}
    bound = {"VLLM_CPU_OMP_THREADS_BIND": "auto"}
    reserve_none = {**bound, "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    workers = "a process for the worker"
    return [
        *present,
        Candidate(workers, own),
        Candidate(f"{workers}, bound, 1 core reserved", own, {**bound, "VLLM_CPU_NUM_OF_RESERVED_CPU": "1"}, workers),
        Candidate(f"{workers}, bound, none reserved", own, reserve_none, workers),
    ]


def _is_present(candidate: Candidate, engine: Mapping[str, Any], variables: Mapping[str, str]) -> bool:
    return candidate.engine.items() <= engine.items() and candidate.environment.items() <= variables.items()


def _preload(name: str, package: str) -> Candidate:
    """A library that is loaded before all others, if it is on this machine."""
    path = Path(sys.prefix) / "lib" / f"{name}.so"
    library = str(path) if path.is_file() else ctypes.util.find_library(name.removeprefix("lib"))
    title = f"{name} preloaded"
    if not library or sys.platform != "linux":
        return Candidate(title, environment={"LD_PRELOAD": name}, missing=f"not here: it would need {package}")
    return Candidate(title, environment={"LD_PRELOAD": ":".join(filter(None, [library, os.environ.get("LD_PRELOAD")]))})


# ---------------------------------------------------------------- measuring


class Engines:
    """Engines of a profile, each in a process of its own, on one workload.

    Args:
        work: takes the workload. Compiled code is kept in it, so that only the first start of a candidate has to
            compile.
        requests: all are handed over at once.
    """

    def __init__(self, active: ActiveProfile, work: Path, requests: int = REQUESTS):
        self._active, self._work = active, work
        asked = write_workload(work / "workload", requests, seed=0, answers=ANSWERS)
        first = write_workload(work / "workload", WARM_UP, seed=1, answers=ANSWERS)
        write_records(work / "workload", [*asked, *first])
        self._asked, self._first = range(requests), range(requests, requests + WARM_UP)

    def run(self, candidate: Candidate) -> EngineRun:
        """Start an engine, warm it up and ask it.

        Raises:
            CourseError: it failed, or took longer than `TIMEOUT_SECONDS`.
        """
        from benchmarks.contenders.post import Post
        from benchmarks.contenders.worker import Job

        profile, model = self._active.profile, self._active.model_path
        engine = self._active.engine_arguments() | candidate.engine
        workload = str(self._work / "workload")
        job = Job("vllm-offline", profile.name, model, workload, rehearse=profile.rehearse, engine=engine)
        compiled = self._work / "compiled" / hashlib.sha256(candidate.name.encode()).hexdigest()[:8]
        caches = {"VLLM_CACHE_ROOT": str(compiled), "TORCHINDUCTOR_CACHE_DIR": str(compiled / "inductor")}
        began = time.monotonic()
        post = Post(job, {**self._active.environment(), **candidate.environment, **caches}, TIMEOUT_SECONDS)
        try:
            started = time.monotonic() - began
            post.ask(self._first, {})
            found = post.ask(self._asked, {})
        finally:
            post.stop()
        ids = [completion.ids for completion in found.completions]
        return EngineRun(
            started,
            found.seconds,
            sum(completion.tokens for completion in found.completions),
            [hashlib.sha256(json.dumps(answer).encode()).hexdigest()[:12] for answer in ids],
        )


def compare(chosen: Sequence[Candidate], run: Callable[[Candidate], EngineRun]) -> SettingsComparison:
    """Measure every candidate `REPEATS` times, and the present settings, the first of them, twice as often.

    Raises:
        CourseError: the engine fails with the present settings. Where it fails with others, the reason stands in their
            row.
    """
    failed = {candidate.name: candidate.missing for candidate in chosen if candidate.missing}
    runs: list[tuple[str, int, EngineRun]] = []
    for repeat in range(1, REPEATS + 1):
        others = chosen[1:] if repeat % 2 else chosen[:0:-1]
        for candidate in [chosen[0], *others, chosen[0]]:
            if candidate.name in failed:
                continue
            try:
                found = run(candidate)
            except CourseError as error:
                if candidate.name == PRESENT:
                    raise
                failed[candidate.name] = error.cause.strip().splitlines()[-1] if error.cause else error.what
                continue
            runs.append((candidate.name, repeat, found))
            speed = f"ready after {found.start_seconds:.0f} s, {found.tokens_per_second:.0f} tokens/s"
            print(f"  {repeat}/{REPEATS} {candidate.name}: {speed}", flush=True)
    return SettingsComparison(tuple(chosen), tuple(runs), failed)


# ---------------------------------------------------------------- what it says


@dataclass(frozen=True)
class SettingsComparison:
    """All measurements, and what follows from them."""

    candidates: tuple[Candidate, ...]
    runs: tuple[tuple[str, int, EngineRun], ...]
    """Candidate and repeat of each."""
    failed: dict[str, str]
    """Candidate -> why it has no figures."""

    def of(self, name: str) -> list[EngineRun]:
        return [found for candidate, _, found in self.runs if candidate == name]

    def _present(self) -> dict[int, list[float]]:
        """Per repeat the two rates of the present settings."""
        rates: dict[int, list[float]] = {}
        for candidate, repeat, found in self.runs:
            if candidate == PRESENT:
                rates.setdefault(repeat, []).append(found.tokens_per_second)
        return rates

    def ratios(self, name: str) -> list[float]:
        """Per repeat: the candidate's rate over the mean of the two of the present settings around it."""
        present = self._present()
        return [
            found.tokens_per_second / statistics.mean(present[repeat])
            for candidate, repeat, found in self.runs
            if candidate == name
        ]

    @property
    def noise(self) -> float:
        """The greatest factor between the present settings at both ends of a repeat, from 1 up."""
        return max(max(rates) / min(rates) for rates in self._present().values())

    def verdict(self, name: str) -> str:
        """'faster' or 'slower' only where every repeat exceeds the noise."""
        if name in self.failed:
            return "not measured: " + self.failed[name]
        if name == PRESENT:
            return "what the others are compared with"
        ratios, least = self.ratios(name), max(self.noise, LEAST)
        if min(ratios) > least:
            return "faster"
        return "slower" if max(ratios) < 1 / least else "no difference shown"

    def start_seconds(self, name: str) -> tuple[float, float]:
        """The first start, and the median of all later ones (compiled code is kept in between)."""
        starts = [found.start_seconds for found in self.of(name)]
        return starts[0], statistics.median(starts[1:] or starts)

    @property
    def best(self) -> str:
        """The fastest of those that are shown to be faster; else the present settings."""
        faster = [candidate.name for candidate in self.candidates if self.verdict(candidate.name) == "faster"]
        return max(faster, key=lambda name: statistics.median(self.ratios(name)), default=PRESENT)

    def rows(self) -> list[dict[str, Any]]:
        rows = [self._row(candidate) for candidate in self.candidates]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        rows.sort(key=lambda row: -row.get("ratio", 0.0))
        return [{column: row.get(column) for column in columns} for row in rows]

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        name = candidate.name
        row = {"setting": name, "changed": candidate.describe(), "verdict": self.verdict(name)}
        if name in self.failed:
            return row
        ratios, runs = self.ratios(name), self.of(name)
        first, later = self.start_seconds(name)
        base = self.of(PRESENT)[-1].answers
        same = sum(answer == present for answer, present in zip(runs[-1].answers, base, strict=True))
        return {
            **row,
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "greatest": max(ratios),
            "tokens/s": statistics.median(found.tokens_per_second for found in runs),
            "first start, s": first,
            "later starts, s": later,
            "same answers": f"{same} of {len(base)}",
        }

    def figures(self) -> list[Figure]:
        """The best settings and what they gain, with the present ones beside."""
        rates = [found.tokens_per_second for found in self.of(PRESENT)]
        about = "nothing that was tried is shown to be faster" if self.best == PRESENT else "median, least and greatest"
        starts = {name: self.start_seconds(name)[1] for name in (PRESENT, self.best)}
        return [
            spread(PRESENT, rates, "tokens/s", f"of the answers, after the start; {len(rates)} processes"),
            spread(f"best: {self.best}", self.ratios(self.best), "× present", about),
            Figure(name="noise", value=self.noise, unit="×", about="present settings against themselves in a repeat"),
            Figure(name="start, present settings", value=starts[PRESENT], unit="s"),
            Figure(name="start, best", value=starts[self.best], unit="s", about="not the first one"),
        ]

    def notes(self) -> list[str]:
        """What a reader has to know."""
        notes = [
            "Each setting is changed alone; gains of two need not multiply.",
            "A ratio is taken within a repeat; 'faster' means that every repeat exceeds the noise.",
            "Start: from the process to an engine that takes requests, import of vLLM included. Compiled code is kept "
            "from the first start on.",
            "All answers have the length that was asked for. Where they differ from those of the present settings, "
            "sums were rounded in another order.",
        ]
        beside = {candidate.beside for candidate in self.candidates} - {PRESENT}
        notes += [f"Binding and reserved cores act only beside '{name}': compare with its row." for name in beside]
        return notes

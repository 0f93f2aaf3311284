"""Engine settings by measurement: each varied alone from what the profile has now, on the same offline mixed workload.

Every measurement is a process of its own (`benchmarks.settings_run`). In each repeat the present settings are
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, search_path
from helpers.jsonl import append_row, read_rows
from helpers.processes import last_lines, run_to_end
from helpers.provenance import these_versions
from toolkit.speed.results import Figure
from toolkit.speed.workload import NO_CACHES, write_workload

if TYPE_CHECKING:
    import pandas as pd

    from helpers.profiles import ActiveProfile

#: More requests than run at once now, so that batches can be smaller and larger; short answers keep a pass short.
REQUESTS, ANSWERS, WARM_UP = 96, (8, 64), 8
REPEATS, PASSES = 3, 1
TIMEOUT_SECONDS = 600.0
PRESENT = "present settings"
JOURNAL = COURSE_ROOT / "outputs" / "bench" / "settings.jsonl"
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
class Turn:
    """One process."""

    candidate: str
    repeat: int
    start_seconds: float
    """From the start of the process to an engine that takes requests, with the import of vLLM."""
    pass_seconds: tuple[float, ...]
    start_cpu_seconds: float
    pass_cpu_seconds: tuple[float, ...]
    """All processes together; what others do on the machine does not lengthen it."""
    requests: int
    answer_tokens: int
    answers: tuple[str, ...]
    """A digest of each."""

    @property
    def tokens_per_second(self) -> float:
        """Of the answers, after the start; the fastest pass."""
        return self.answer_tokens / min(self.pass_seconds)

    @property
    def tokens_per_cpu_second(self) -> float:
        """The same for each second that the processes computed."""
        return self.answer_tokens / min(self.pass_cpu_seconds)


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
    present = [Candidate(PRESENT), *(one for one in found if not _is_present(one, {**defaults, **engine}, variables))]
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


def _is_present(one: Candidate, engine: dict[str, Any], variables: dict[str, str]) -> bool:
    same_engine = all(engine.get(key) == value for key, value in one.engine.items())
    return same_engine and all(variables.get(key) == value for key, value in one.environment.items())


def _preload(name: str, package: str) -> Candidate:
    """A library that is loaded before all others, if it is on this machine."""
    path = Path(sys.prefix) / "lib" / f"{name}.so"
    library = str(path) if path.is_file() else ctypes.util.find_library(name.removeprefix("lib"))
    title = f"{name} preloaded"
    if not library or sys.platform != "linux":
        return Candidate(title, environment={"LD_PRELOAD": name}, missing=f"not here: it would need {package}")
    return Candidate(title, environment={"LD_PRELOAD": ":".join(filter(None, [library, os.environ.get("LD_PRELOAD")]))})


# ---------------------------------------------------------------- measuring


def measure_settings(
    active: ActiveProfile,
    *,
    repeats: int = REPEATS,
    requests: int = REQUESTS,
    only: Sequence[str] | None = None,
    journal: Path = JOURNAL,
    run: Callable[..., dict[str, Any]] | None = None,
    quiet: bool = False,
) -> SettingsComparison:
    """Measure every candidate ``repeats`` times, and the present settings twice as often.

    Each measurement is written to the journal as it comes. An interrupted call goes on there on the same day; after the
    last measurement the journal is removed.

    Args:
        active: the profile that has the present settings.
        repeats: of the whole list.
        requests: of the workload; all are handed over at once.
        only: names of candidates; None takes all.
        journal: a JSON line for each measurement.
        run: in place of `run_candidate`, for tests.
        quiet: no line for each measurement.

    Raises:
        CourseError: unknown candidates, fewer than two repeats, or present settings with which the engine fails. Where
            another candidate fails, the reason stands in its row.
    """
    run = run or run_candidate
    known = candidates(active)
    names = [one.name for one in known]
    if unknown := [name for name in only or () if name not in names]:
        raise CourseError(f"There is no setting '{unknown[0]}'.", "a misspelt name", f"use some of: {'; '.join(names)}")
    if repeats < 2 or requests < 1:
        raise CourseError(f"{repeats=}, {requests=} was refused.", "", "two repeats or more show a spread")
    chosen = [one for one in known if not only or one.name in {*only, PRESENT}]
    plan = json.dumps([[asdict(one) for one in chosen], requests, these_versions(), active.model_path], sort_keys=True)
    key = f"{time.strftime('%Y-%m-%d', time.gmtime())} {hashlib.sha256(plan.encode()).hexdigest()[:12]}"
    done = {row["place"]: row["found"] for row in read_rows(journal) if row["key"] == key}
    failed = {one.name: one.missing for one in chosen if one.missing}
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write_workload(work / "workload", requests, seed=0, answers=ANSWERS)
        write_workload(work / "warm-up", WARM_UP, seed=1, answers=ANSWERS)
        for repeat in range(1, repeats + 1):
            others = [one for one in chosen if one.name != PRESENT]
            order = [chosen[0], *(others if repeat % 2 else reversed(others)), chosen[0]]
            for position, one in enumerate(order):
                if one.name in failed:
                    continue
                place_in_plan = f"{repeat}.{position}"
                try:
                    found = done.get(place_in_plan) or run(active, one, work)
                except CourseError as error:
                    if one.name == PRESENT:
                        raise
                    failed[one.name] = error.cause.strip().splitlines()[-1] if error.cause else error.what
                    continue
                if place_in_plan not in done:
                    append_row(journal, {"key": key, "place": place_in_plan, "found": found})
                turns.append(_turn(one, repeat, found))
                if not quiet:
                    print(f"  {repeat}/{repeats} {one.name}: {_told(turns[-1])}", flush=True)
    journal.unlink(missing_ok=True)
    return SettingsComparison(tuple(chosen), tuple(turns), failed)


def run_candidate(active: ActiveProfile, one: Candidate, work: Path) -> dict[str, Any]:
    """Start an engine in a process of its own, ask it, and return what `benchmarks.settings_run` wrote.

    Args:
        active: the profile.
        one: what is changed.
        work: with the folders ``workload`` and ``warm-up``. Compiled code is kept in it, so that only the first start
            of a candidate has to compile.

    Raises:
        CourseError: it failed, or took longer than `TIMEOUT_SECONDS`; the cause is the end of its output.
    """
    engine = {**active.engine_arguments(), **NO_CACHES, **one.engine}
    job = {"engine": engine, "workload": str(work / "workload"), "warm_up": str(work / "warm-up"), "passes": PASSES}
    job_file, result_file = work / "job.json", work / "result.json"
    result_file.unlink(missing_ok=True)
    job_file.write_text(json.dumps(job), encoding="utf-8")
    compiled = work / "compiled" / hashlib.sha256(one.name.encode()).hexdigest()[:8]
    environment = {**os.environ, **active.environment(), **one.environment}
    environment |= {"VLLM_CACHE_ROOT": str(compiled), "TORCHINDUCTOR_CACHE_DIR": str(compiled / "inductor")}
    environment["PYTHONPATH"] = search_path(environment)
    program = [sys.executable, "-m", "benchmarks.settings_run", str(job_file), str(result_file)]
    began = time.time()
    ended = run_to_end(program, environment, TIMEOUT_SECONDS)
    if ended.status is None:
        raise CourseError(f"'{one.name}' took longer than {TIMEOUT_SECONDS:.0f} s.", last_lines(ended.output))
    if ended.status or not result_file.is_file():
        raise CourseError(f"The engine failed with '{one.name}'.", last_lines(ended.output), "read its output")
    found = json.loads(result_file.read_text(encoding="utf-8"))
    return found | {"start_seconds": found["ready_at"] - began}


def _turn(one: Candidate, repeat: int, found: dict[str, Any]) -> Turn:
    lists = {name: tuple(found[name]) for name in ("pass_seconds", "pass_cpu_seconds", "answers")}
    plain = {name: found[name] for name in ("start_seconds", "start_cpu_seconds", "requests", "answer_tokens")}
    return Turn(one.name, repeat, **plain, **lists)


def _told(turn: Turn) -> str:
    return f"ready after {turn.start_seconds:.0f} s, {turn.tokens_per_second:.0f} tokens/s"


# ---------------------------------------------------------------- what it says


@dataclass(frozen=True)
class SettingsComparison:
    """All measurements, and what follows from them."""

    candidates: tuple[Candidate, ...]
    turns: tuple[Turn, ...]
    failed: dict[str, str]
    """Candidate -> why it has no figures."""

    def of(self, name: str) -> list[Turn]:
        """A candidate's measurements, in their order."""
        return [turn for turn in self.turns if turn.candidate == name]

    def ratios(self, name: str) -> list[float]:
        """Of each repeat: the candidate's rate over the mean of the two of the present settings around it."""
        base = {
            repeat: statistics.mean(one.tokens_per_second for one in self.of(PRESENT) if one.repeat == repeat)
            for repeat in {turn.repeat for turn in self.turns}
        }
        return [turn.tokens_per_second / base[turn.repeat] for turn in self.of(name)]

    @property
    def noise(self) -> float:
        """The greatest factor between the present settings at both ends of a repeat, from 1 up."""
        factors = [1.0]
        for repeat in {turn.repeat for turn in self.turns}:
            rates = [turn.tokens_per_second for turn in self.of(PRESENT) if turn.repeat == repeat]
            factors.append(max(rates) / min(rates))
        return max(factors)

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
        starts = [turn.start_seconds for turn in self.of(name)]
        return starts[0], statistics.median(starts[1:] or starts)

    def earned_back_seconds(self, name: str) -> float | None:
        """So many seconds of work with the present settings until a faster engine has made up for its slower start;
        0 if it does not start more slowly, None if it is not faster."""
        gain = 1 - 1 / statistics.median(self.ratios(name))
        extra = self.start_seconds(name)[1] - self.start_seconds(PRESENT)[1]
        return max(0.0, extra) / gain if self.verdict(name) == "faster" else None

    @property
    def best(self) -> str:
        """The fastest of those that are shown to be faster; else the present settings."""
        faster = [one.name for one in self.candidates if self.verdict(one.name) == "faster"]
        return max(faster, key=lambda name: statistics.median(self.ratios(name)), default=PRESENT)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each candidate, the fastest first."""
        rows = []
        for one in self.candidates:
            row: dict[str, Any] = {"setting": one.name, "changed": one.describe(), "verdict": self.verdict(one.name)}
            if one.name not in self.failed:
                ratios, turns = self.ratios(one.name), self.of(one.name)
                first, later = self.start_seconds(one.name)
                row |= {
                    "ratio": statistics.median(ratios),
                    "least": min(ratios),
                    "greatest": max(ratios),
                    "tokens/s": statistics.median(turn.tokens_per_second for turn in turns),
                    "tokens/CPU s": statistics.median(turn.tokens_per_cpu_second for turn in turns),
                    "first start, s": first,
                    "later starts, s": later,
                    "start earned back after, s": self.earned_back_seconds(one.name),
                    "same answers": self._same_answers(turns[-1]),
                }
            rows.append(row)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        rows.sort(key=lambda row: -row.get("ratio", 0.0))
        return [{column: row.get(column) for column in columns} for row in rows]

    def _same_answers(self, turn: Turn) -> str:
        base = self.of(PRESENT)[-1].answers
        return f"{sum(a == b for a, b in zip(turn.answers, base, strict=True))} of {len(base)}"

    def frame(self) -> pd.DataFrame:
        """`rows` as a table."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def figures(self) -> list[Figure]:
        """The best settings and what they gain, with the present ones beside."""
        present, ratios = self.of(PRESENT), self.ratios(self.best)
        rates = [turn.tokens_per_second for turn in present]
        about = "nothing that was tried is shown to be faster" if self.best == PRESENT else "median, least and greatest"
        return [
            Figure(
                name="present settings",
                value=statistics.median(rates),
                unit="tokens/s",
                low=min(rates),
                high=max(rates),
                about=f"of the answers, after the start; {len(rates)} processes",
            ),
            Figure(
                name=f"best: {self.best}",
                value=statistics.median(ratios),
                unit="× present",
                low=min(ratios),
                high=max(ratios),
                about=about,
            ),
            Figure(name="noise", value=self.noise, unit="×", about="present settings against themselves in a repeat"),
            Figure(name="start, present settings", value=self.start_seconds(PRESENT)[1], unit="s"),
            Figure(name="start, best", value=self.start_seconds(self.best)[1], unit="s", about="not the first one"),
        ]

    def notes(self) -> list[str]:
        """What a reader has to know."""
        several = {one.beside for one in self.candidates} - {PRESENT}
        notes = [
            "Each setting is changed alone; gains of two need not multiply.",
            "A ratio is taken within a repeat; 'faster' means that every repeat exceeds the noise.",
            "Start: from the process to an engine that takes requests, import of vLLM included. Compiled code is kept "
            "from the first start on.",
            "All answers have the length that was asked for. Where they differ from those of the present settings, "
            "sums were rounded in another order.",
        ]
        if several:
            notes.append(f"Binding and reserved cores act only beside '{several.pop()}': compare with its row.")
        return notes

"""vLLM against what a reader would use instead: the same requests, checkpoint, machine and hour.

All contenders answer the same mixed requests greedily in float32, each answer of exactly the length that was drawn for
it, wherever the model would end it. Each has a process of its own (see `benchmarks.contenders`); while one works the
others are stopped. Where a contender has a setting that matters,
some are tried once, on the first requests, and the fastest takes part in the repeats; who begins changes with each
repeat.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.contenders.transformers_generate import ORDERS
from benchmarks.contenders.worker import Job
from benchmarks.race import EVERY_SORT, Entrant, Race, RaceTurn, agreement, describe, numbers_of, ratios
from benchmarks.random_weights import write_random_checkpoint
from benchmarks.setting import Found, Options, Setting, bench_command, spread
from helpers.errors import CourseError
from helpers.files import OUTPUTS
from helpers.provenance import this_machine
from toolkit.speed.results import Figure
from toolkit.speed.workload import LONGEST, SHORTEST, write_workload

FOLDER = OUTPUTS / "bench" / "against"
REQUESTS, FEWEST_REQUESTS = {"tiny": 300, "2b": 4}, 4
SERVED, OFFLINE = "vLLM served", "vLLM offline"
ONE_BY_ONE, BATCHES = "transformers, one by one", "transformers, static batches"
SERVED_FEWER, HF_SERVE, LLAMA = "vLLM served, no clips", "transformers serve, no clips", "llama.cpp server, no clips"
#: At 2B in float32 the served vLLM held 13.9 GiB for itself; the checkpoint's file has 7.9.
NEED_2B_GIB = {"vllm-served": 14.5, "transformers": 9.5, "transformers-serve": 9.5, "llama-cpp": 9.5}
NO_CLIPS = ("text", "image")
#: Of prompt and answer of any request here.
MAX_TOKENS = 1024


@dataclass(frozen=True)
class RaceSize:
    requests: int
    answers: tuple[int, int]
    """Least and greatest length in tokens."""
    entrants: tuple[Entrant, ...]
    goals: Mapping[str, float]
    """Of the served vLLM's speed over another's."""
    threads: int
    engine: Mapping[str, Any] = field(default_factory=dict)
    """vLLM's arguments that replace the profile's."""
    need_gib: Mapping[str, float] = field(default_factory=dict)
    """See `Race`."""


def measure(setting: Setting) -> Found:
    """The part of the benchmark: the comparison for a profile.

    Raises:
        CourseError: a profile without a comparison, a GPU, too few requests or repeats, no llama.cpp where it should
            be, a contender of vLLM's that failed.
    """
    from benchmarks.contenders.llama_cpp import find_tools
    from benchmarks.contenders.post import Post

    active, options = setting.active, setting.options
    if active.device != "cpu":
        raise CourseError("The comparison was not started.", "it is made for CPUs", "use COURSE_DEVICE=cpu")
    if options.llama_cpp:
        find_tools(options.llama_cpp)
    name = active.profile.name
    size = size_of(name, this_machine().cores, bool(options.llama_cpp))
    count = size.requests if options.requests is None else options.requests
    if count < FEWEST_REQUESTS:
        what = f"{count} requests were refused."
        raise CourseError(what, "some sorts would be missing", f"from {FEWEST_REQUESTS} on")
    model = Path(active.model_path)
    if active.profile.rehearse:
        model = write_random_checkpoint(model, FOLDER / f"{model.name}-random")
    with tempfile.TemporaryDirectory() as place:
        workload = Path(place) / "workload"
        job = Job(
            contender="",
            profile=name,
            rehearse=active.profile.rehearse,
            model=str(model.resolve()),
            workload=str(workload),
            threads=size.threads,
            engine={"load_format": "auto", **size.engine},  # the checkpoint is there, also where the profile rehearses
            max_tokens=MAX_TOKENS,
            tools=str(options.llama_cpp or ""),
        )
        race = Race(
            [entrant.fitting(count) for entrant in size.entrants],
            write_workload(workload, count, options.seed, size.answers, skew=2.0),
            lambda process: Post(replace(job, contender=process)),
            options.repeats,
            size.need_gib,
        )
        race.run()
    return replace(told(race, size, options), command=command_words(setting))


def command_words(setting: Setting) -> list[str]:
    options, profile = setting.options, setting.active.profile
    count = REQUESTS.get(profile.name) if options.requests is None else options.requests
    words = ["--rehearse"] if profile.rehearse else []
    words += ["--requests", str(count), "--repeats", str(options.repeats), "--seed", str(options.seed)]
    words += ["--llama-cpp", "llama.cpp"] if options.llama_cpp else []
    return bench_command("against", "--profile", profile.name, *words)


# ---------------------------------------------------------------- what is asked


def size_of(model: str, cores: int, llama_cpp: bool = False) -> RaceSize:
    """The comparison for ``tiny`` or ``2b``.

    Raises:
        CourseError: another model.
    """
    if model == "tiny":
        return _tiny(cores, llama_cpp)
    if model == "2b":
        return _two_billion(cores, llama_cpp)
    raise CourseError(f"There is no comparison for '{model}'.", "another --profile", "use tiny or 2b")


def _tiny(cores: int, llama_cpp: bool) -> RaceSize:
    arrival, kinds = ORDERS
    loop = tuple({"batch": 1, "threads": threads} for threads in dict.fromkeys((1, cores)))
    static: list[dict[str, Any]] = [{"batch": size, "order": kinds, "threads": 1} for size in (4, 8, 16, 32)]
    static.append({"batch": 16, "order": arrival, "threads": 1})
    static += [{"batch": 16, "order": kinds, "threads": cores}] if cores > 1 else []
    entrants = (
        Entrant(SERVED, "vllm-served", ({"concurrency": 16}, {"concurrency": 32}, {"concurrency": 64})),
        Entrant(OFFLINE, "vllm-offline", ({},)),
        Entrant(ONE_BY_ONE, "transformers", loop),
        Entrant(BATCHES, "transformers", tuple(static)),
        *_without_clips(32, llama_cpp),
    )
    return RaceSize(REQUESTS["tiny"], (SHORTEST, LONGEST), entrants, {ONE_BY_ONE: 3.0, BATCHES: 1.5}, 1)


def _two_billion(cores: int, llama_cpp: bool) -> RaceSize:
    """Without vLLM offline: two engines fit in no small memory."""
    entrants = (
        Entrant(SERVED, "vllm-served", ({"concurrency": 8},)),
        Entrant(ONE_BY_ONE, "transformers", ({"batch": 1},)),
        Entrant(BATCHES, "transformers", ({"batch": 8, "order": ORDERS[1]},)),
        *_without_clips(8, llama_cpp),
    )
    engine = {
        "max_model_len": 1024,
        "max_num_batched_tokens": 1024,
        "kv_cache_memory_bytes": 2**29,  # 2,340 tokens at 224 KiB
        "skip_mm_profiling": True,
    }
    goals = {ONE_BY_ONE: 1.0, BATCHES: 1.0}
    return RaceSize(REQUESTS["2b"], (8, 16), entrants, goals, cores, engine, NEED_2B_GIB)


def _without_clips(concurrency: int, llama_cpp: bool) -> list[Entrant]:
    found = [
        Entrant(HF_SERVE, "transformers-serve", ({"concurrency": 8},), NO_CLIPS),
        Entrant(SERVED_FEWER, "vllm-served", ({"concurrency": concurrency},), NO_CLIPS),
    ]
    return [*found, Entrant(LLAMA, "llama-cpp", ({"concurrency": 16},), NO_CLIPS)] if llama_cpp else found


# ---------------------------------------------------------------- what it says


def told(race: Race, size: RaceSize, options: Options) -> Found:
    """A race that has been run, as a result of the benchmark holds it; its command is left to the caller."""
    tried = [
        {"contender": turn.entrant, "setting": describe(turn.variant), "requests": turn.requests}
        | {"seconds": turn.seconds, "tokens/s": turn.speed}
        for turn in race.of_kind("trial")
    ]
    each = [
        {"repeat": turn.repeat, "contender": turn.entrant, "seconds": turn.seconds}
        | {"tokens/s": turn.speed, "CPU s": turn.cpu_seconds}
        for turn in race.of_kind("turn")
    ]
    lengths = [record["answer_tokens"] for record in race.records]
    settings = {
        "requests": len(lengths),
        **{sort: len(numbers_of(race.records, [sort])) for sort in EVERY_SORT},
        "answer tokens": sum(lengths),
        "median answer": statistics.median(lengths),
        "seed": options.seed,
        "repeats": race.repeats,
        "threads": size.threads,
        "dtype": "float32",
    }
    notes = [
        "All answer greedily in float32 and write exactly as many tokens as asked for; caches of prefixes and images "
        "are off. vLLM runs as this course's profile has it."
    ]
    if tried:
        notes.append(
            "Settings were tried once on the first third of the requests; the fastest took part in the repeats."
        )
    if OFFLINE not in {entrant.name for entrant in race.entrants}:
        notes.append("vLLM offline took no part: beside the server's its engine would not fit.")
    return Found(
        command=(),
        figures=_figures(race, size.goals),
        tables={"Contenders": summary_rows(race), "Tried first": tried, "All passes": each},
        settings=settings,
        notes=[*notes, *foundations(race)],
    )


def _figures(race: Race, goals: Mapping[str, float]) -> list[Figure]:
    known = {entrant.name for entrant in race.entrants}
    pairs = [(SERVED, ONE_BY_ONE), (SERVED, BATCHES), (SERVED_FEWER, HF_SERVE)]
    pairs += [(OFFLINE, other) for other in (ONE_BY_ONE, BATCHES, SERVED) if OFFLINE in known]
    figures = [
        ratio_figure(race.turns, first, second, goals.get(second) if first == SERVED else None)
        for first, second in pairs
    ]
    if LLAMA in known:
        return [*figures, ratio_figure(race.turns, SERVED_FEWER, LLAMA)]
    about = "llama.cpp was not named (--llama-cpp FOLDER of its sources, built); the course does not need it"
    return [*figures, Figure(name=f"{SERVED_FEWER} over {LLAMA}", value=None, unit="", about=about)]


def ratio_figure(turns: Sequence[RaceTurn], first: str, second: str, goal: float | None = None) -> Figure:
    """The median of `ratios`, with the least and the greatest."""
    found, name = ratios(turns, first, second), f"{first} over {second}"
    if not found:
        return Figure(name=name, value=None, unit="", about="the two have no repeat in common")
    about = f"tokens per second; median, least and greatest of {len(found)} repeats"
    if goal is not None:
        about += f"; the goal of {goal:g} is {'reached' if statistics.median(found) >= goal else 'missed'}"
    return spread(name, found, about=about)


def summary_rows(race: Race) -> list[dict[str, Any]]:
    """One row per entrant that took part."""
    reference = race.answers.get(ONE_BY_ONE, {})
    rows = []
    for entrant in race.entrants:
        turns = [turn for turn in race.of_kind("turn") if turn.entrant == entrant.name]
        if not turns:
            continue
        answers = race.answers[entrant.name]
        same, of, by_ids = agreement(answers, reference)
        agrees = f"{same} of {of}" + ("" if by_ids else " (by a piece of the text)")
        if not by_ids and not any(answer.text for answer in answers.values()):
            agrees = "no text to compare"  # random weights write tokens that the borrowed tokenizer has not
        seconds = [turn.seconds for turn in turns]
        rows.append(
            {
                "contender": entrant.name,
                "setting": describe(turns[0].variant),
                "requests": turns[0].requests,
                "seconds": statistics.median(seconds),
                "least": min(seconds),
                "greatest": max(seconds),
                "tokens/s": statistics.median(turn.speed for turn in turns),
                "requests/s": statistics.median(turn.requests / turn.seconds for turn in turns),
                "CPU s": statistics.median(turn.cpu_seconds for turn in turns),
                "one request alone, s": statistics.median(turn.alone for turn in turns),
                "start, s": statistics.median(race.starts[entrant.process]) if entrant.process in race.starts else None,
                "memory, GiB": max(turn.memory_gib for turn in turns),
                "same answers as one by one": agrees,
            }
        )
    return rows


def foundations(race: Race) -> list[str]:
    """What the figures rest on: lengths, absences, and what had to be changed for whom."""
    counted = race.of_kind("turn")
    wrong, total = sum(turn.wrong for turn in counted), sum(turn.requests for turn in counted)
    return [
        f"Answers that have not the length that was asked for: {wrong} of {total}.",
        *(f"{process} took no part: {why}" for process, why in race.failed.items()),
        *dict.fromkeys(note for process in sorted(race.notes) for note in race.notes[process]),
    ]

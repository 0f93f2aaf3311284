"""vLLM against what a reader would use instead: the same requests, checkpoint, machine and hour.

``python -m course bench against``. All contenders answer the same mixed requests greedily in float32, each answer of
exactly the length that was drawn for it, wherever the model would end it. Each has a process of its own (see
`benchmarks.contenders`); while one works the others wait, and the processor time that they use meanwhile is
measured. Where a contender has a setting that matters, some are tried once, on the first requests, and the fastest
takes part in the repeats; who begins changes with each repeat. Every pass is written down as it ends, and the same
command goes on after the last one.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.transformers_generate import ORDERS
from benchmarks.contenders.worker import Job
from benchmarks.race import (
    EVERY_SORT,
    REPEATS,
    Entrant,
    Race,
    Turn,
    agreement,
    describe,
    fitting,
    numbers_of,
    ratios,
)
from benchmarks.random_weights import write_random_checkpoint
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.provenance import MachineRecord
from toolkit.speed.results import Figure
from toolkit.speed.workload import LONGEST, SHORTEST, write_records, write_workload

if TYPE_CHECKING:
    from helpers.profiles import ActiveProfile

FOLDER = COURSE_ROOT / "outputs" / "bench" / "against"
REQUESTS, FEWEST_REQUESTS = {"tiny": 300, "2b": 4}, 4
SERVED, OFFLINE = "vLLM served", "vLLM offline"
ONE_BY_ONE, BATCHES = "transformers, one by one", "transformers, static batches"
SERVED_FEWER, HF_SERVE, LLAMA = "vLLM served, no clips", "transformers serve, no clips", "llama.cpp server, no clips"
#: Processor time of all that wait, over that of the clock: above it the wait was not idle.
IDLE_SHARE = 0.03
#: At 2B in float32 the served vLLM held 13.9 GiB for itself; the checkpoint's file has 7.9.
NEED_2B_GIB = {"vllm-served": 14.5, "transformers": 9.5, "transformers-serve": 9.5, "llama-cpp": 9.5}
NO_CLIPS = ("text", "picture")
#: Of prompt and answer of any request here.
MOST_TOKENS = 1024


@dataclass(frozen=True)
class Course:
    """The size of the comparison for one model."""

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
    """Free memory that a process wants: vLLM's at its start, others' before each pass, since they map the checkpoint's
    file, which the system drops where memory is short. Others are ended until it is there."""


# ---------------------------------------------------------------- what is asked


def course_of(model: str, cores: int, llama_cpp: bool = False) -> Course:
    """The comparison for ``tiny`` or ``2b``.

    Raises:
        CourseError: another model.
    """
    small = model == "tiny"
    if model not in REQUESTS:
        raise CourseError(f"There is no comparison for '{model}'.", "another --profile", "use tiny or 2b")
    many = ({"concurrency": 16}, {"concurrency": 32}, {"concurrency": 64}) if small else ({"concurrency": 8},)
    if small:
        kinds, arrival = ORDERS[1], ORDERS[0]
        loop = tuple({"batch": 1, "threads": threads} for threads in dict.fromkeys((1, cores)))
        sizes = [{"batch": size, "order": kinds, "threads": 1} for size in (4, 8, 16, 32)]
        static = (*sizes, {"batch": 16, "order": arrival, "threads": 1})
        if cores > 1:
            static += ({"batch": 16, "order": kinds, "threads": cores},)
    else:
        loop, static = ({"batch": 1},), ({"batch": 8, "order": ORDERS[1]},)
    entrants = [
        Entrant(SERVED, "vllm-served", many),
        *([Entrant(OFFLINE, "vllm-offline", ({},))] if small else []),  # two engines of 2B fit in no small memory
        Entrant(ONE_BY_ONE, "transformers", loop),
        Entrant(BATCHES, "transformers", static),
        Entrant(HF_SERVE, "transformers-serve", ({"concurrency": 8},), NO_CLIPS),
        Entrant(SERVED_FEWER, "vllm-served", many[:1] if not small else ({"concurrency": 32},), NO_CLIPS),
    ]
    if llama_cpp:
        entrants.append(Entrant(LLAMA, "llama-cpp", ({"concurrency": 16},), NO_CLIPS))
    if small:
        goals = {ONE_BY_ONE: 3.0, BATCHES: 1.5}
        return Course(REQUESTS[model], (SHORTEST, LONGEST), tuple(entrants), goals, 1)
    goals = {ONE_BY_ONE: 1.0, BATCHES: 1.0}
    engine = {
        "max_model_len": 1024,
        "max_num_batched_tokens": 1024,
        "kv_cache_memory_bytes": 2**29,  # 2,340 tokens at 224 KiB
        "skip_mm_profiling": True,
    }
    return Course(REQUESTS[model], (8, 16), tuple(entrants), goals, cores, engine, NEED_2B_GIB)


def write_requests(folder: Path, count: int, seed: int, answers: tuple[int, int]) -> list[dict[str, Any]]:
    """Draw the requests into a folder and return their records: `toolkit.speed.workload`, with shorter answers.

    An answer's length is least · (greatest / least) ^ u², u even from 0 to 1: from 8 to 256 tokens half of the answers
    have at most 19, a tenth more than 132, and the mean is 47.

    Raises:
        CourseError: as `toolkit.speed.workload.write_workload`.
    """
    records = write_workload(folder, count, seed, answers=answers)
    rng = random.Random(f"against-{seed}")  # noqa: S311 - no secret
    low, high = answers
    for record in records:
        record["answer_tokens"] = round(low * (high / low) ** (rng.random() ** 2))
    write_records(folder, records)
    return records


# ---------------------------------------------------------------- what it says


def ratio_figure(turns: Sequence[Turn], first: str, second: str, goal: float | None = None) -> Figure:
    """The median of `ratios`, with the least and the greatest."""
    found = ratios(turns, first, second)
    name = f"{first} over {second}"
    if not found:
        return Figure(name=name, value=None, unit="", about="the two have no repeat in common")
    value = statistics.median(found)
    about = f"tokens a second; median, least and greatest of {len(found)} repeats"
    if goal is not None:
        about += f"; the goal of {goal:g} is {'reached' if value >= goal else 'missed'}"
    return Figure(name=name, value=value, unit="", low=min(found), high=max(found), about=about)


def summary_rows(race: Race) -> list[dict[str, Any]]:
    """One row for each entrant that took part."""
    reference = next((race.answers(one) for one in race.entrants if one.name == ONE_BY_ONE), {})
    rows = []
    for entrant in race.entrants:
        turns = [turn for turn in race.turns if turn.kind == "turn" and turn.entrant == entrant.name]
        if not turns:
            continue
        same, of, by_ids = agreement(race.answers(entrant), reference)
        agrees = f"{same} of {of}" + ("" if by_ids else " (by a piece of the text)")
        if not by_ids and not any(reply.text for reply in race.answers(entrant).values()):
            agrees = "no text to compare"  # random weights write tokens that the borrowed tokenizer has not
        seconds = [turn.seconds for turn in turns]
        speed = statistics.median(turn.speed for turn in turns)
        rows.append(
            {
                "contender": entrant.name,
                "setting": describe(turns[0].variant),
                "requests": turns[0].requests,
                "seconds": statistics.median(seconds),
                "least": min(seconds),
                "greatest": max(seconds),
                "tokens/s": speed,
                "requests/s": statistics.median(turn.requests / turn.seconds for turn in turns),
                "CPU s": statistics.median(turn.cpu_seconds for turn in turns),
                "one request alone, s": statistics.median(turn.alone for turn in turns),
                "start, s": statistics.median(race.starts[entrant.process]) if entrant.process in race.starts else None,
                "memory, GiB": max(turn.memory_gib for turn in turns),
                "same answers as one by one": agrees,
            }
        )
    return rows


def verdicts(race: Race, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where vLLM loses, with what was measured about the reason; and what the figures rest on."""
    by_name = {row["contender"]: row for row in rows}
    notes = []
    rivals = [row for row in rows if not row["contender"].startswith("vLLM")]
    for row in rivals:
        mine = SERVED if row["requests"] == by_name[SERVED]["requests"] else SERVED_FEWER
        found = ratios(race.turns, mine, row["contender"])
        if found and statistics.median(found) < 1:
            own = by_name[mine]
            why = (
                "its steps are compiled code with no Python in between, which weighs the more the smaller a model is"
                if row["contender"] == LLAMA
                else "batching saves less here than scheduler, HTTP and a second process cost beside the model"
            )
            notes.append(
                f"{mine} loses to {row['contender']}: {statistics.median(found):.2f} of its speed, with "
                f"{own['CPU s']:.0f} s of processor time against {row['CPU s']:.0f} s. Likely reason: {why}."
            )
    reasons = {
        "one request alone, s": (
            "one short request alone",
            "a lone request gains nothing from batching and pays for scheduler, HTTP and two processes",
        ),
        "start, s": (
            "the start",
            "vLLM imports more, measures memory, reserves its KV cache and starts two processes",
        ),
    }
    for column, (what, why) in reasons.items():
        own = by_name[SERVED][column]
        faster = [row for row in rivals if own and row[column] and row[column] < own]
        if faster:
            named = ", ".join(f"{row['contender']} {row[column]:.2g} s" for row in faster)
            notes.append(f"vLLM loses at {what} ({own:.2g} s) to {named}: {why}.")
    counted = [turn for turn in race.turns if turn.kind == "turn"]
    wrong = sum(turn.wrong for turn in counted)
    total = sum(turn.requests for turn in counted)
    notes.append(f"Answers that have not the length that was asked for: {wrong} of {total}.")
    busiest = max(turn.idle_cpu_seconds / turn.seconds for turn in counted)
    notes.append(
        f"Contenders that waited used at most {100 * busiest:.1f} % of a core while another worked"
        + ("." if busiest <= IDLE_SHARE else ": more than nothing, which the working one may have felt.")
    )
    for process, why in race.failed.items():
        notes.append(f"{process} took no part: {why}")
    told = [note for process in sorted(race.notes) for note in race.notes[process]]
    return notes + list(dict.fromkeys(told))


# ---------------------------------------------------------------- the part


@dataclass(frozen=True)
class Options:
    """What the command line says; None takes what fits the model."""

    requests: int | None = None
    repeats: int = REPEATS
    seed: int = 0
    llama_cpp: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """A race that has been run, as a result of the benchmark holds it."""

    race: Race
    course: Course
    options: Options
    command: tuple[str, ...]

    def figures(self) -> list[Figure]:
        """Ratios of speeds, with their spread and goals."""
        turns, known = self.race.turns, {one.name for one in self.race.entrants}
        pairs = [(SERVED, ONE_BY_ONE), (SERVED, BATCHES), (SERVED_FEWER, HF_SERVE)]
        pairs += [(OFFLINE, other) for other in (ONE_BY_ONE, BATCHES, SERVED) if OFFLINE in known]
        figures = [
            ratio_figure(turns, first, second, self.course.goals.get(second) if first == SERVED else None)
            for first, second in pairs
        ]
        if LLAMA in known:
            return [*figures, ratio_figure(turns, SERVED_FEWER, LLAMA)]
        about = "llama.cpp was not named (--llama-cpp FOLDER of its sources, built); the course does not need it"
        return [*figures, Figure(name=f"{SERVED_FEWER} over {LLAMA}", value=None, unit="", about=about)]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The contenders, what was tried before, and every pass."""
        tried = [
            {"contender": turn.entrant, "setting": describe(turn.variant), "requests": turn.requests}
            | {"seconds": turn.seconds, "tokens/s": turn.speed}
            for turn in self.race.turns
            if turn.kind == "trial"
        ]
        each = [
            {"repeat": turn.repeat, "contender": turn.entrant, "seconds": turn.seconds, "tokens/s": turn.speed}
            | {"CPU s": turn.cpu_seconds, "others' CPU s": turn.idle_cpu_seconds}
            for turn in self.race.turns
            if turn.kind == "turn"
        ]
        return {"Contenders": summary_rows(self.race), "Tried first": tried, "All passes": each}

    def settings(self) -> dict[str, Any]:
        """What was asked."""
        records = self.race.records
        lengths = [record["answer_tokens"] for record in records]
        return {
            "requests": len(lengths),
            **{sort: len(numbers_of(records, [sort])) for sort in EVERY_SORT},
            "answer tokens": sum(lengths),
            "median answer": statistics.median(lengths),
            "seed": self.options.seed,
            "repeats": self.race.repeats,
            "threads": self.course.threads,
            "dtype": "float32",
        }

    def notes(self) -> list[str]:
        """How it was done, where vLLM loses, what had to be changed for whom."""
        tried = any(turn.kind == "trial" for turn in self.race.turns)
        known = {one.name for one in self.race.entrants}
        return [
            "All answer greedily in float32 and write exactly as many tokens as asked for; caches of prefixes and "
            "pictures are off. vLLM runs as this course's profile has it.",
            *(
                ["Settings were tried once on the first third of the requests; the fastest took part in the repeats."]
                if tried
                else []
            ),
            *([] if OFFLINE in known else ["vLLM offline took no part: beside the server's its engine would not fit."]),
            *verdicts(self.race, summary_rows(self.race)),
        ]

    def close(self) -> None:
        """Put the passes away, so that the next comparison begins anew."""
        done = self.race.folder / "turns.jsonl"
        number = len(list(self.race.folder.glob("turns-*.jsonl"))) + 1
        done.replace(done.with_name(f"turns-{number}.jsonl"))
        for path in (self.race.folder / "answers").glob("*.json"):
            path.unlink()


def compare(active: ActiveProfile, options: Options | None = None) -> Comparison:
    """Run the comparison for a profile, or go on with it.

    Raises:
        CourseError: a profile without a comparison, a GPU, too few requests or repeats, no llama.cpp where it should
            be, a contender of vLLM's that failed.
    """
    from benchmarks.contenders.llama_cpp import find_tools
    from benchmarks.contenders.post import Post
    from helpers.provenance import these_versions, this_machine

    options = options or Options()
    if active.device != "cpu":
        raise CourseError("The comparison was not started.", "it is made for CPUs", "use COURSE_DEVICE=cpu")
    if options.llama_cpp:
        find_tools(options.llama_cpp)
    machine, name = this_machine(), active.profile.name
    course = course_of(name, machine.cores, bool(options.llama_cpp))
    count = course.requests if options.requests is None else options.requests
    if count < FEWEST_REQUESTS:
        raise CourseError(
            f"{count} requests were refused.", "some sorts would be missing", f"from {FEWEST_REQUESTS} on"
        )
    folder = FOLDER / _key(name, count, options, course, machine, these_versions())
    model = active.model_path
    if active.profile.rehearse:
        model = str(write_random_checkpoint(Path(model), FOLDER / f"{Path(model).name}-random"))
    job = Job(
        contender="",
        profile=name,
        rehearse=active.profile.rehearse,
        model=str(Path(model).resolve()),
        workload=str(folder / "workload"),
        threads=course.threads,
        engine=dict(course.engine),
        most_tokens=MOST_TOKENS,
        tools=str(options.llama_cpp or ""),
    )
    race = Race(
        folder,
        [fitting(one, count) for one in course.entrants],
        write_requests(folder / "workload", count, options.seed, course.answers),
        lambda process: Post(replace(job, contender=process)),
        options.repeats,
        course.need_gib,
    )
    race.run()
    return Comparison(race, course, options, tuple(command_words(active, options)))


def command_words(active: ActiveProfile, options: Options | None = None) -> list[str]:
    """The comparison with these options, as a person would type it."""
    options, name = options or Options(), active.profile.name
    count = REQUESTS.get(name) if options.requests is None else options.requests
    words = ["python", "-m", "course", "bench", "against", "--profile", name]
    words += ["--rehearse"] if active.profile.rehearse else []
    words += ["--requests", str(count), "--repeats", str(options.repeats), "--seed", str(options.seed)]
    return words + (["--llama-cpp", "llama.cpp"] if options.llama_cpp else [])


def _key(
    model: str, count: int, options: Options, course: Course, machine: MachineRecord, versions: Mapping[str, str]
) -> str:
    """Names a folder, so that passes are never mixed that do not belong together."""
    same = json.dumps([machine.describe(), dict(versions), asdict(course)], sort_keys=True)
    digest = hashlib.sha256(same.encode()).hexdigest()[:8]
    return f"{model}-{count}-{options.seed}-{digest}"

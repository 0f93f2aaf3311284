"""Contenders answer the same requests in turns.

Of each entrant some settings may be tried once, on the first requests; the fastest takes part in the repeats. Who
begins changes with each repeat. While one works the others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchmarks.contenders.post import Post
from benchmarks.contenders.worker import Completion, Records
from helpers.errors import CourseError
from helpers.machine import free_gib

FEWEST_REPEATS = 2
#: Settings are tried on this share of the requests.
TRIED_SHARE = 1 / 3
EVERY_SORT = ("text", "image", "clip")
Kind = Literal["trial", "turn"]


@dataclass(frozen=True)
class Entrant:
    """A row of the result: a contender's process, what it is asked, and the settings to choose from."""

    name: str
    process: str
    variants: tuple[dict[str, Any], ...]
    sorts: tuple[str, ...] = EVERY_SORT

    def fitting(self, count: int) -> Entrant:
        """The same with no more at a time than there are requests, and no setting twice."""
        variants: list[dict[str, Any]] = []
        for variant in self.variants:
            limits = {key: min(variant[key], count) for key in ("batch", "concurrency") if key in variant}
            if (small := variant | limits) not in variants:
                variants.append(small)
        return replace(self, variants=tuple(variants))


@dataclass(frozen=True)
class RaceTurn:
    kind: Kind
    repeat: int
    """From 1 on; 0 for a trial."""
    entrant: str
    variant: dict[str, Any]
    requests: int
    seconds: float
    alone: float
    """Seconds of one short request just before."""
    tokens: int
    wrong: int
    """Answers that have not the length that was asked for."""
    cpu_seconds: float
    memory_gib: float
    """Of the entrant's processes after the pass, without what they share with files."""

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


@dataclass
class Race:
    """All passes of a comparison.

    Raises:
        CourseError: too few repeats.
    """

    entrants: Sequence[Entrant]
    records: Records
    """Requests."""
    start: Callable[[str], Post]
    """Starts a contender's process, by its name."""
    repeats: int
    """Passes of each entrant that count."""
    need_gib: Mapping[str, float] = field(default_factory=dict)
    """Free memory that a process wants: vLLM's at its start, others' before each pass, since they map the checkpoint's
    file, which the system drops where memory is short. Others are ended until it is there."""
    available_gib: Callable[[], float] = free_gib
    turns: list[RaceTurn] = field(default_factory=list, init=False)
    starts: dict[str, list[float]] = field(default_factory=dict, init=False)
    notes: dict[str, list[str]] = field(default_factory=dict, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)
    """Process -> why it takes no part."""
    answers: dict[str, dict[int, Completion]] = field(default_factory=dict, init=False)
    """Of each entrant's first repeat, by the request's number."""
    _workers: dict[str, Post] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.repeats < FEWEST_REPEATS:
            what = f"{self.repeats} repeats were refused."
            raise CourseError(what, "one pass shows no spread", f"at least {FEWEST_REPEATS}, better 5")

    def run(self) -> None:
        """Make all passes.

        Raises:
            CourseError: vLLM failed. Others that fail are left out.
        """
        from tqdm import tqdm

        bar = tqdm(list(self._schedule()), unit="pass", desc="against", leave=False)
        try:
            for kind, repeat, entrant, variant in bar:
                doing = f"trying {describe(variant)}" if variant else f"repeat {repeat}"
                bar.set_postfix_str(f"{entrant.name}, {doing}")
                if entrant.process not in self.failed:
                    self._pass(kind, repeat, entrant, variant or self.chosen(entrant))
        finally:
            bar.close()
            for name in list(self._workers):
                self._end(name)

    def chosen(self, entrant: Entrant) -> dict[str, Any]:
        """The fastest of its settings when they were tried."""
        tried = [turn for turn in self.turns if turn.kind == "trial" and turn.entrant == entrant.name]
        return max(tried, key=lambda turn: turn.speed).variant if tried else entrant.variants[0]

    def of_kind(self, kind: Kind) -> list[RaceTurn]:
        """The passes that were trials, or those that count."""
        return [turn for turn in self.turns if turn.kind == kind]

    def _schedule(self) -> Iterator[tuple[Kind, int, Entrant, dict[str, Any] | None]]:
        for entrant in self.entrants:
            for variant in entrant.variants if len(entrant.variants) > 1 else ():
                yield "trial", 0, entrant, variant
        for repeat in range(1, self.repeats + 1):
            for entrant in self.entrants if repeat % 2 else reversed(self.entrants):
                yield "turn", repeat, entrant, None

    def _pass(self, kind: Kind, repeat: int, entrant: Entrant, variant: dict[str, Any]) -> None:
        numbers = numbers_of(self.records, entrant.sorts)
        if kind == "trial":
            numbers = numbers[: max(1, round(len(numbers) * TRIED_SHARE))]
        try:
            worker = self._worker(entrant.process)
            found = worker.ask(numbers, variant)
        except CourseError as error:
            self._end(entrant.process)
            if entrant.process.startswith("vllm"):
                raise
            self.failed[entrant.process] = f"{error.what} {error.cause}".strip()
            return
        wanted = [self.records[number]["answer_tokens"] for number in numbers]
        if len(found.completions) != len(numbers):
            raise CourseError(f"{entrant.name} gave {len(found.completions)} answers to {len(numbers)} requests.")
        if kind == "turn":
            self.answers.setdefault(entrant.name, dict(zip(numbers, found.completions, strict=True)))
        wrong = sum(answer.tokens != length for answer, length in zip(found.completions, wanted, strict=True))
        turn = RaceTurn(
            kind, repeat, entrant.name, variant, len(numbers), found.seconds, found.alone, sum(wanted), wrong,
            found.cpu_seconds, worker.memory_gib(),
        )  # fmt: skip
        self.turns.append(turn)

    def _worker(self, process: str) -> Post:
        """The process, started if it is not there; where memory is short the largest of the others is ended."""
        worker = self._workers.pop(process, None)
        if worker is None or not process.startswith("vllm"):
            while self._workers and self.available_gib() < self.need_gib.get(process, 0.0):
                self._end(max(self._workers, key=lambda name: self._workers[name].memory_gib()))
        if worker is None:
            worker = self.start(process)
            self.starts.setdefault(process, []).append(worker.start_seconds)
            self.notes[process] = worker.notes
        self._workers[process] = worker
        return worker

    def _end(self, process: str) -> None:
        if worker := self._workers.pop(process, None):
            worker.stop()


def describe(variant: Mapping[str, Any]) -> str:
    words: dict[str, Callable[[Any], str]] = {
        "batch": lambda size: f"batch {size}" if size > 1 else "",
        "order": str,
        "threads": lambda number: f"{number} thread{'s' if number > 1 else ''}",
        "concurrency": lambda number: f"{number} at a time",
    }
    return ", ".join(filter(None, (words[key](value) for key, value in variant.items())))


def numbers_of(records: Records, sorts: Sequence[str]) -> list[int]:
    return [number for number, record in enumerate(records) if record["sort"] in sorts]


def ratios(turns: Sequence[RaceTurn], first: str, second: str) -> list[float]:
    """Per repeat that has both: the first entrant's tokens per second over the second's."""
    speeds = {(turn.repeat, turn.entrant): turn.speed for turn in turns if turn.kind == "turn"}
    both = [repeat for repeat, name in speeds if name == first and (repeat, second) in speeds]
    return [speeds[repeat, first] / speeds[repeat, second] for repeat in sorted(both)]


def agreement(answers: Mapping[int, Completion], reference: Mapping[int, Completion]) -> tuple[int, int, bool]:
    """How many answers are the reference's to the last token, of how many, and whether tokens were compared.

    Where a contender gives only its text, that counts as the same if it is part of the reference's:
    ``transformers serve`` gives the piece after the last of the ends that the model wrote on the way.
    """
    both = sorted(answers.keys() & reference.keys())
    by_ids = all(answers[number].ids is not None for number in both)
    same = 0
    for number in both:
        own, other = answers[number], reference[number]
        if by_ids:
            same += own.ids == other.ids
        else:
            text, whole = (own.text or "").strip(), (other.text or "").strip()
            same += text in whole and bool(text) >= bool(whole)
    return same, len(both), by_ids

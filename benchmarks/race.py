"""Contenders answer the same requests in turns: every pass is written down as it ends, and the rest is made later.

Of each entrant some settings may be tried once, on the first requests; the fastest takes part in the repeats. Who
begins changes with each repeat. While one works the others wait.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from benchmarks.contenders.worker import Reply
from helpers.errors import CourseError
from helpers.jsonl import append_row, read_rows
from helpers.machine import free_gib

if TYPE_CHECKING:
    from benchmarks.contenders.post import Pass

REPEATS, FEWEST_REPEATS = 5, 2
#: Settings are tried on this share of the requests.
TRIED_SHARE = 1 / 3
EVERY_SORT = ("text", "picture", "clip")


@dataclass(frozen=True)
class Entrant:
    """A row of the result: a contender's process, what it is asked, and the settings to choose from."""

    name: str
    process: str
    variants: tuple[dict[str, Any], ...]
    sorts: tuple[str, ...] = EVERY_SORT


@dataclass(frozen=True)
class Turn:
    """One pass of one entrant."""

    kind: Literal["trial", "turn"]
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
    idle_cpu_seconds: float
    """Of all contenders that waited."""
    memory_gib: float
    """Of the entrant's processes after the pass, without what they share with files."""

    @property
    def speed(self) -> float:
        """Answer tokens a second."""
        return self.tokens / self.seconds


class Worker(Protocol):
    """A started contender: `benchmarks.contenders.post.Post`."""

    start_seconds: float
    notes: list[str]

    def ask(self, numbers: Sequence[int], variant: Mapping[str, Any]) -> Pass: ...

    def cpu_seconds(self) -> float: ...

    def memory_gib(self) -> float: ...

    def stop(self) -> None: ...


class Race:
    """All passes of a comparison, written down in a folder as they end.

    Args:
        folder: holds ``turns.jsonl`` and ``answers``; one that has some already is gone on with.
        entrants: rows.
        records: requests.
        start: starts a contender's process, by its name.
        repeats: passes of each entrant that count.
        need_gib: see `Course`.
        available_gib: free memory; None asks the machine.
    """

    def __init__(
        self,
        folder: Path,
        entrants: Sequence[Entrant],
        records: Sequence[Mapping[str, Any]],
        start: Callable[[str], Worker],
        repeats: int = REPEATS,
        need_gib: Mapping[str, float] | None = None,
        available_gib: Callable[[], float] | None = None,
    ):
        if repeats < FEWEST_REPEATS:
            raise CourseError(
                f"{repeats} repeats were refused.", "one pass shows no spread", f"at least {FEWEST_REPEATS}, better 5"
            )
        self.folder, self.entrants, self.records, self.repeats = folder, tuple(entrants), records, repeats
        self._start, self._need = start, need_gib or {}
        self._available = available_gib or free_gib
        self._journal = folder / "turns.jsonl"
        self._workers: dict[str, Worker] = {}
        self.turns: list[Turn] = []
        self.starts: dict[str, list[float]] = {}
        self.notes: dict[str, list[str]] = {}
        self.failed: dict[str, str] = {}
        """Process -> why it takes no part."""
        for line in read_rows(self._journal):
            self._remember(line)

    def run(self) -> None:
        """Make all passes that are not written down yet.

        Raises:
            CourseError: vLLM failed, or the folder cannot be written. Others that fail are left out.
        """
        from tqdm import tqdm

        total = sum((len(one.variants) if len(one.variants) > 1 else 0) + self.repeats for one in self.entrants)
        bar = tqdm(total=total, initial=len(self.turns), unit="pass", desc="against", leave=False)
        try:
            for entrant in self.entrants:
                for variant in entrant.variants if len(entrant.variants) > 1 else ():
                    bar.set_postfix_str(f"trying {entrant.name} {describe(variant)}")
                    if not self._done("trial", 0, entrant, variant) and self._may(entrant):
                        numbers = numbers_of(self.records, entrant.sorts)
                        self._pass("trial", 0, entrant, variant, numbers[: max(1, round(len(numbers) * TRIED_SHARE))])
                        bar.update()
            for repeat in range(1, self.repeats + 1):
                for entrant in self.entrants if repeat % 2 else reversed(self.entrants):
                    bar.set_postfix_str(f"repeat {repeat}, {entrant.name}")
                    if not self._done("turn", repeat, entrant) and self._may(entrant):
                        numbers = numbers_of(self.records, entrant.sorts)
                        self._pass("turn", repeat, entrant, self.chosen(entrant), numbers)
                        bar.update()
        finally:
            bar.close()
            for name in list(self._workers):
                self._end(name)

    def chosen(self, entrant: Entrant) -> dict[str, Any]:
        """The fastest of its settings when they were tried."""
        tried = [turn for turn in self.turns if turn.kind == "trial" and turn.entrant == entrant.name]
        return max(tried, key=lambda turn: turn.speed).variant if tried else entrant.variants[0]

    def answers(self, entrant: Entrant) -> dict[int, Reply]:
        """Of its first repeat, by the request's number; empty if it took no part."""
        path = self._answers_file(entrant.name)
        if not path.is_file():
            return {}
        read = json.loads(path.read_text(encoding="utf-8"))
        return {
            int(number): Reply(one["tokens"], None if one["ids"] is None else tuple(one["ids"]), one["text"])
            for number, one in read.items()
        }

    def _may(self, entrant: Entrant) -> bool:
        return entrant.process not in self.failed

    def _done(self, kind: str, repeat: int, entrant: Entrant, variant: Mapping[str, Any] | None = None) -> bool:
        return any(
            (turn.kind, turn.repeat, turn.entrant) == (kind, repeat, entrant.name) and variant in (None, turn.variant)
            for turn in self.turns
        )

    def _pass(
        self,
        kind: Literal["trial", "turn"],
        repeat: int,
        entrant: Entrant,
        variant: dict[str, Any],
        numbers: list[int],
    ) -> None:
        try:
            worker = self._worker(entrant.process)
            others = [one for name, one in self._workers.items() if name != entrant.process]
            own, idle = worker.cpu_seconds(), sum(one.cpu_seconds() for one in others)
            found = worker.ask(numbers, variant)
            own, idle = worker.cpu_seconds() - own, sum(one.cpu_seconds() for one in others) - idle
        except CourseError as error:
            self._end(entrant.process)
            if entrant.process.startswith("vllm"):
                raise
            self._write({"failed": entrant.process, "why": f"{error.what} {error.cause}".strip()})
            return
        wanted = [self.records[number]["answer_tokens"] for number in numbers]
        if len(found.replies) != len(numbers):
            raise CourseError(f"{entrant.name} gave {len(found.replies)} answers to {len(numbers)} requests.")
        if kind == "turn" and not self._answers_file(entrant.name).is_file():
            kept = {number: asdict(reply) for number, reply in zip(numbers, found.replies, strict=True)}
            self._answers_file(entrant.name).parent.mkdir(parents=True, exist_ok=True)
            self._answers_file(entrant.name).write_text(json.dumps(kept), encoding="utf-8")
        turn = Turn(
            kind=kind,
            repeat=repeat,
            entrant=entrant.name,
            variant=variant,
            requests=len(numbers),
            seconds=found.seconds,
            alone=found.alone,
            tokens=sum(wanted),
            wrong=sum(reply.tokens != length for reply, length in zip(found.replies, wanted, strict=True)),
            cpu_seconds=own,
            idle_cpu_seconds=idle,
            memory_gib=worker.memory_gib(),
        )
        self._write({"turn": asdict(turn)})

    def _worker(self, process: str) -> Worker:
        """The process, started if it is not there; where memory is short the largest of the others is ended."""
        worker = self._workers.pop(process, None)
        if worker is None or not process.startswith("vllm"):
            while self._workers and self._available() < self._need.get(process, 0.0):
                self._end(max(self._workers, key=lambda name: self._workers[name].memory_gib()))
        if worker is None:
            worker = self._start(process)
            self._write({"start": process, "seconds": worker.start_seconds, "notes": list(worker.notes)})
        self._workers[process] = worker
        return worker

    def _end(self, process: str) -> None:
        if worker := self._workers.pop(process, None):
            worker.stop()

    def _answers_file(self, name: str) -> Path:
        slug = "".join(sign if sign.isalnum() else "-" for sign in name.lower())
        return self.folder / "answers" / f"{slug}.json"

    def _write(self, line: dict[str, Any]) -> None:
        self._remember(line)
        append_row(self._journal, line)

    def _remember(self, line: Mapping[str, Any]) -> None:
        if "turn" in line:
            self.turns.append(Turn(**line["turn"]))
        elif "start" in line:
            self.starts.setdefault(line["start"], []).append(line["seconds"])
            self.notes[line["start"]] = line["notes"]
        elif "failed" in line:
            self.failed[line["failed"]] = line["why"]


def describe(variant: Mapping[str, Any]) -> str:
    """A setting in words."""
    words = {
        "batch": lambda size: f"batch {size}" if size > 1 else "",
        "order": str,
        "threads": lambda number: f"{number} thread{'s' if number > 1 else ''}",
        "concurrency": lambda number: f"{number} at a time",
    }
    return ", ".join(filter(None, (words[key](value) for key, value in variant.items())))


def numbers_of(records: Sequence[Mapping[str, Any]], sorts: Sequence[str]) -> list[int]:
    """Which requests are of these sorts."""
    return [number for number, record in enumerate(records) if record["sort"] in sorts]


def fitting(entrant: Entrant, count: int) -> Entrant:
    """The entrant with no more at a time than there are requests, and no setting twice."""
    variants = []
    for variant in entrant.variants:
        small = {key: min(value, count) if key in ("batch", "concurrency") else value for key, value in variant.items()}
        if small not in variants:
            variants.append(small)
    return replace(entrant, variants=tuple(variants))


def ratios(turns: Sequence[Turn], first: str, second: str) -> list[float]:
    """Of each repeat that has both: the first entrant's tokens a second over the second's."""
    speeds = {(turn.repeat, turn.entrant): turn.speed for turn in turns if turn.kind == "turn"}
    repeats = sorted({repeat for repeat, _ in speeds})
    return [
        speeds[repeat, first] / speeds[repeat, second]
        for repeat in repeats
        if (repeat, first) in speeds and (repeat, second) in speeds
    ]


def agreement(answers: Mapping[int, Reply], reference: Mapping[int, Reply]) -> tuple[int, int, bool]:
    """How many answers are the reference's to the last token, of how many, and whether tokens were compared.

    Where a contender gives only its text, that counts as the same if it is part of the reference's:
    ``transformers serve`` gives the piece after the last of the ends that the model wrote on the way.
    """
    both = sorted(answers.keys() & reference.keys())
    by_ids = all(answers[number].ids is not None for number in both)
    same = 0
    for number in both:
        mine, its = answers[number], reference[number]
        if by_ids:
            same += mine.ids == its.ids
        else:
            text, other = (mine.text or "").strip(), (its.text or "").strip()
            same += text in other and bool(text) >= bool(other)
    return same, len(both), by_ids

"""What the parts of the benchmark share: profile and options, and the form of what is found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.speed.results import Figure

if TYPE_CHECKING:
    from helpers.profiles import ActiveProfile


@dataclass(frozen=True)
class Options:
    """Of the command line, for parts with options of their own."""

    minutes: float = 30.0
    rate: float = 3.0
    """Requests per second; this one and the first are of part soak, the others of part against."""
    requests: int | None = None
    """None takes what fits the model."""
    repeats: int = 5
    seed: int = 0
    llama_cpp: Path | None = None


@dataclass(frozen=True)
class Found:
    """What a part measured, before it is dated."""

    command: Sequence[str]
    figures: Sequence[Figure]
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    broken: Sequence[str] = ()
    """What should have held and did not: the result is kept, but the part has failed."""


@dataclass(frozen=True)
class Setting:
    active: ActiveProfile
    options: Options = Options()

    @property
    def profile(self) -> str:
        """Name for the results."""
        return self.active.profile.name + ("-rehearsed" if self.active.profile.rehearse else "")


def spread(name: str, values: Sequence[float], unit: str = "", about: str = "") -> Figure:
    """The median of some values, with the least and the greatest."""
    median = statistics.median(values)
    return Figure(name=name, value=median, unit=unit, low=min(values), high=max(values), about=about)


def bench_command(*words: str) -> list[str]:
    """A part's command as a person would type it."""
    return ["python", "-m", "course", "bench", *words]

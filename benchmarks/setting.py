"""What the parts of the benchmark share: the profile and its server, the options, and the form of what is found."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.speed.results import Figure

if TYPE_CHECKING:
    from helpers.profiles import ActiveProfile
    from helpers.server import Server

CONCURRENCY = 8


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
    """What should have held and did not: the result is kept, but the part has failed, and is measured again."""


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
    """The profile, and its server, which starts when the first part wants it."""

    def __init__(self, active: ActiveProfile, options: Options | None = None):
        self.active, self.options = active, options or Options()
        self._server: Server | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def server(self) -> Server:
        """The profile's server, without caches; started again if it has died."""
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


def spread(name: str, values: Sequence[float], unit: str = "", about: str = "") -> Figure:
    """The median of some values, with the least and the greatest."""
    median = statistics.median(values)
    return Figure(name=name, value=median, unit=unit, low=min(values), high=max(values), about=about)


def bench_command(*words: str) -> list[str]:
    """A part's command as a person would type it."""
    return ["python", "-m", "course", "bench", *words]

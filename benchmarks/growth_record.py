"""What was measured about growth, and what follows from it: exponents, their limits, and how flat memory stays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.setting import CONCURRENCY
from toolkit.speed.growth import Growth, fit_growth
from toolkit.speed.results import Figure

#: Attention compares every token with every other one: up to n² in the prompt, and in the patches of an image.
WITH_ATTENTION = {"words of a prompt", "pixels that the model sees", "frames"}
#: The exponent at the end of the sizes may exceed the law's by so much before it is called more: a step between two
#: sizes is measured, too.
TOLERANCE = 0.2
REQUESTS_PER_CLIENT = 10
#: Memory that came on top of what was there before; less is what libraries and allocators keep, and no growth.
LITTLE = 32 * 2**20
#: By this share the memory of a process may grow within the longest run.
MOST_GROWTH = 0.05


@dataclass(frozen=True)
class Point:
    """One size, measured once."""

    n: int
    seconds: float
    server_bytes: float
    """The most of all processes of the server meanwhile, beyond what they had before the first size."""
    client_bytes: float
    """The same of this process; for transcripts, of Python's objects."""


@dataclass(frozen=True)
class Series:
    """What was measured about one thing that grows."""

    name: str
    points: Sequence[Point]

    @property
    def sizes(self) -> list[int]:
        """From least to greatest."""
        return sorted({point.n for point in self.points})

    def fastest(self, n: int) -> float:
        """Seconds of the least disturbed repeat."""
        return min(point.seconds for point in self.points if point.n == n)

    def memory(self, n: int) -> tuple[float, float]:
        """The most of server and client at this size, in bytes."""
        some = [point for point in self.points if point.n == n]
        return max(point.server_bytes for point in some), max(point.client_bytes for point in some)

    @property
    def fit(self) -> Growth:
        """Of the seconds, over all sizes."""
        return fit_growth([point.n for point in self.points], [point.seconds for point in self.points])

    @property
    def end(self) -> float:
        """The exponent between the two greatest sizes, where a fixed cost hides least."""
        smaller, greater = self.sizes[-2:]
        return math.log(self.fastest(greater) / self.fastest(smaller)) / math.log(greater / smaller)

    @property
    def memory_exponent(self) -> float | None:
        """Of server and client together; None where they grew by too little to speak of growth. Sizes that took less
        than that count as if they took it: its logarithm would be that of noise."""
        totals = [max(LITTLE, sum(max(0.0, part) for part in self.memory(n))) for n in self.sizes]
        return None if max(totals) == LITTLE else fit_growth(self.sizes, totals).exponent

    @property
    def memory_law(self) -> str:
        """In words."""
        return "flat" if self.memory_exponent is None else f"n^{self.memory_exponent:.2f}"

    @property
    def allowed(self) -> float:
        """Greatest exponent that is no surprise."""
        return 2.0 if self.name in WITH_ATTENTION else 1.0

    @property
    def holds(self) -> bool:
        """Whether neither time nor memory grows faster than it may."""
        times = max(self.end, self.fit.low) <= self.allowed + TOLERANCE
        return times and (self.memory_exponent is None or self.memory_exponent <= 1.0 + TOLERANCE)


@dataclass(frozen=True)
class GrowthRecord:
    """All series, and how flat the longest run was."""

    series: Sequence[Series]
    flat: Mapping[str, float]
    """Of server and client: by which share their memory grew within the run over the most items, from the end of its
    first fifth to its end (medians of a tenth of the samples)."""
    of_items: int

    def broken(self) -> list[str]:
        """What grows faster than it may."""
        found = [
            f"{series.name}: {series.fit.describe()}, n^{series.end:.2f} at the end, memory {series.memory_law}"
            for series in self.series
            if not series.holds
        ]
        grown = [(who, by) for who, by in self.flat.items() if by > MOST_GROWTH]
        return found + [f"the memory of the {who} grew by {by:.1%} within the run" for who, by in grown]

    def figures(self) -> list[Figure]:
        """The exponents of time, then how flat the memory is."""
        figures = []
        for series in self.series:
            fit, name = series.fit, f"{series.name}, exponent"
            about = f"n^{series.end:.2f} at the end; " + ("attention allows 2" if series.allowed > 1 else "linear is 1")
            figures.append(Figure(name=name, value=fit.exponent, unit="", low=fit.low, high=fit.high, about=about))
        about = f"within the run over {self.of_items:,} items, after its first fifth"
        for who, by in self.flat.items():
            figures.append(Figure(name=f"memory growth of the {who}", value=100 * by, unit="%", about=about))
        return figures

    def rows(self) -> list[dict[str, Any]]:
        """One row per size: fastest seconds, and memory beyond what was there before."""
        return [
            {
                "what": series.name,
                "n": f"{n:,}",
                "seconds": series.fastest(n),
                "ms for each": 1000 * series.fastest(n) / n,
                "server, MiB more": round(series.memory(n)[0] / 2**20, 1),
                "client, MiB more": round(series.memory(n)[1] / 2**20, 1),
            }
            for series in self.series
            for n in series.sizes
        ]

    def laws(self) -> list[dict[str, Any]]:
        """One row per series: the fitted exponents."""
        return [
            {
                "what": series.name,
                "time": f"n^{series.fit.exponent:.2f}",
                "from": f"{series.fit.low:.2f}",
                "to": f"{series.fit.high:.2f}",
                "R²": series.fit.r_squared,
                "at the end": f"n^{series.end:.2f}",
                "memory": series.memory_law,
                "may be": f"n^{series.allowed:.0f}",
                "holds": series.holds,
            }
            for series in self.series
        ]

    def notes(self) -> list[str]:
        """What a reader has to know."""
        notes = [
            "A fixed cost of each request pulls an exponent towards 0; the one at the end is between the two greatest "
            "sizes.",
            "Answers have one token. Items are sentences of the toy world, asked by the evaluation's runner, "
            f"{CONCURRENCY} at a time; prompts are cheap words, images gradients, videos grey frames of 64 × 64 at "
            f"two per second; every client asks {REQUESTS_PER_CLIENT} short questions, one after the other.",
            "The processor shrinks images to its limit of pixels: above it only decoding and shrinking grow.",
            f"Memory is called flat below {LITTLE // 2**20} MiB more than before.",
        ]
        return [*(f"NOT HELD: {promise}" for promise in self.broken()), *notes]

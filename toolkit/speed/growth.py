"""How cost grows: the exponent k of cost = c · nᵏ, fitted as a straight line to the logarithms, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import CourseError

#: Of the intervals.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Growth:
    """cost ≈ factor · n ** exponent."""

    exponent: float
    low: float
    """The interval holds the exponent if the law holds and deviations are independent and normal in the logarithm."""
    high: float
    factor: float
    """Cost at n = 1, in the unit of the costs."""
    points: int
    sizes: tuple[float, float]
    """Least and greatest n; nothing is said beyond."""
    r_squared: float
    """Share of the variance of log cost that the line explains."""

    def describe(self) -> str:
        low, high = self.sizes
        return (
            f"n^{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f}, {CONFIDENCE:.0%}) for n from {low:g} to "
            f"{high:g}, {self.points} points, R² {self.r_squared:.3f}"
        )


def fit_growth(n: Sequence[float], cost: Sequence[float]) -> Growth:
    """Fit the exponent by least squares on the logarithms; the interval is Student's t with points − 2 degrees.

    A fixed cost beside the growing one pulls the exponent towards 0: subtract it first, or start at sizes where it no
    longer matters.

    Args:
        n: sizes, at least three different ones; several measurements of one size may be given.
        cost: seconds, bytes or whatever grows, one per size.

    Raises:
        CourseError: different lengths, values that are not positive and finite, fewer than three sizes.
    """
    from scipy.stats import linregress, t

    sizes, costs = np.asarray(n, dtype=float), np.asarray(cost, dtype=float)
    if sizes.ndim != 1 or sizes.shape != costs.shape:
        raise CourseError(f"{sizes.size} sizes and {costs.size} costs do not go together.", "", "one cost per size")
    values = np.concatenate([sizes, costs])
    if not (np.isfinite(values) & (values > 0)).all():
        raise CourseError(
            "Only positive, finite sizes and costs have logarithms.", "a zero, a failed measurement", "leave it out"
        )
    if (different := len(np.unique(sizes))) < 3:
        raise CourseError(
            f"{different} different sizes show no law of growth.",
            "a line through two points always fits",
            "measure at three sizes or more, far apart",
        )
    line = linregress(np.log(sizes), np.log(costs))
    constant = not np.ptp(costs)  # no variance to explain, and 0 / 0 in the formulas for the rest
    exponent, r_squared = float(line.slope), 1.0 if constant else float(line.rvalue) ** 2
    half = 0.0 if constant else float(t.ppf((1 + CONFIDENCE) / 2, len(sizes) - 2)) * float(line.stderr)
    return Growth(
        exponent,
        exponent - half,
        exponent + half,
        float(np.exp(line.intercept)),
        len(sizes),
        (float(sizes.min()), float(sizes.max())),
        r_squared,
    )

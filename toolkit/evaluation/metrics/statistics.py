"""How sure a comparison is: intervals, win rates, rankings, agreement.

The unit is the item (an image, a video, a sentence): several questions about one image are one cluster and stay
together when items are resampled. Differences are first minus second, on the scale of the scores. Functions raise
`CourseError` for columns of different lengths and for values that are not finite.

statsmodels computes Wilson's interval, scipy the bootstrap, scikit-learn kappa, and evalica Bradley–Terry strengths.
Ours is what they lack: sums per cluster and pooled ratios, percentiles widened for few items (Hesterberg 2015), the
interval where all items agree, failed answers at both extremes, a win rate with ties, and a prior for the ranking.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from helpers.errors import CourseError

RESAMPLES = 2000
NOTHING_SHOWN = "no difference shown"
CONFIDENCE = 0.95
_ELO = 400 / math.log(10)
#: Indices drawn at a time, so that 10,000 items need no more memory than 100.
_DRAWN_AT_ONCE = 2_000_000
#: The fixed opponent of the ranking's prior; no model has this name.
_ANCHOR = "\0anchor"

Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; ``value`` is None where there is nothing to measure."""

    value: float | None
    low: float
    high: float
    n: int
    """Independent units: items or clusters, not questions."""
    method: str

    @property
    def verdict(self) -> str:
        """Of a difference: 'first is higher', 'second is higher', or `NOTHING_SHOWN` where the interval has zero."""
        if self.value is None or self.low <= 0 <= self.high:
            return NOTHING_SHOWN
        return "first is higher" if self.low > 0 else "second is higher"


class Battle(NamedTuple):
    """A verdict on one item: 1 if ``first`` won, 0 if ``second`` won, ½ for a tie."""

    item: Hashable
    first: str
    second: str
    score: float


def wilson(successes: int, total: int) -> Estimate:
    """A proportion with Wilson's score interval (1927). Nothing counted gives None with 0 to 1."""
    if not 0 <= successes <= total:
        raise CourseError(f"{successes} of {total} is no proportion.", "counts below 0 or above the total")
    if not total:
        return Estimate(None, 0.0, 1.0, 0, "Wilson")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, total, alpha=1 - CONFIDENCE, method="wilson")
    low, high = float(low) if successes else 0.0, float(high) if successes < total else 1.0  # not but for rounding
    return Estimate(successes / total, low, high, total, "Wilson")


def win_rate(wins: int, losses: int, ties: int = 0) -> Estimate:
    """The first's share of wins, a tie being half a win.

    Wilson's score interval with the variance of a mean of 0, ½ and 1: p(1 − p) less a quarter of the share of ties,
    which is shrunk to ties / (n + z²), so that nothing but ties does not claim certainty. Without ties it is `wilson`.
    """
    from scipy.stats import norm

    total, method = wins + losses + ties, "Wilson, ties as half"
    if min(wins, losses, ties) < 0:
        raise CourseError(f"{wins}, {losses} and {ties} are no counts.", "a number below 0")
    if not ties:
        found = wilson(wins, total)
        return Estimate(found.value, found.low, found.high, total, method)
    square = float(norm.ppf(0.5 + CONFIDENCE / 2)) ** 2
    value, tied, factor = (wins + ties / 2) / total, ties / (total + square), square / total
    # Solves (value − p)² = factor · (p(1 − p) − tied / 4) for p.
    middle = (2 * value + factor) / (2 * (1 + factor))
    half = math.sqrt(max(0.0, middle**2 - (value**2 + factor * tied / 4) / (1 + factor)))
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half), total, method)


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: Bounds = (-1.0, 1.0),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean of the paired differences, with an interval from resampling the items.

    Args:
        first: scores of the first model, one for each question.
        second: of the second, on the same questions in the same order.
        clusters: for each question the item that it is about; without, each question is an item.
        bounds: the least and the greatest difference that the scale allows; None if there are none. Used where all
            items differ by the same amount, so that resampling would claim certainty: the share of items that may
            differ otherwise (Wilson's bound for none of that many) is then set to these bounds.
        seed: the same seed gives the same interval.
    """
    columns = _finite(first, second)
    differences = columns[0] - columns[1]
    return _resampled(np.stack([differences, np.ones_like(differences)]), clusters, bounds, resamples, seed)


def ratio(
    parts: Sequence[float],
    wholes: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: Bounds = (0.0, 1.0),
) -> Estimate:
    """Sum of ``parts`` over sum of ``wholes``, pooled over the items (F1, CER, precision), which are resampled.

    The arguments are as in `paired_bootstrap`; ``bounds`` are of the ratio (a CER has no upper one: None).
    """
    return _resampled(_finite(parts, wholes), clusters, bounds)


def paired_ratios(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: Bounds = (-1.0, 1.0),
) -> Estimate:
    """Difference of two pooled ratios, each (parts, wholes), on the same items, which are resampled together."""
    return _resampled(_finite(*first, *second), clusters, bounds)


def with_failures(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
) -> tuple[Estimate, Estimate]:
    """The paired difference of scores from 0 to 1 where a failed answer has None: a failure is never a score.

    The worst for the first, whose failures get the lowest score and the second's the highest, and the best.
    """

    def filled(first_missing: float, second_missing: float) -> Estimate:
        return paired_bootstrap(
            [first_missing if score is None else score for score in first],
            [second_missing if score is None else score for score in second],
            clusters,
        )

    return filled(0.0, 1.0), filled(1.0, 0.0)


def _resampled(
    columns: np.ndarray,
    clusters: Sequence[Hashable] | None,
    bounds: Bounds,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Of (parts, wholes) their ratio of sums; of two such pairs, the first ratio less the second."""
    columns = _cluster_sums(columns, clusters)
    count, (low, high) = columns.shape[1], bounds or (-math.inf, math.inf)
    if not columns[1::2].sum(axis=1).all():
        return Estimate(None, low, high, count, "bootstrap")
    value = float(_difference_of_ratios(*columns))
    counted = columns[1::2].all(axis=0)
    each = columns[0::2, counted] / columns[1::2, counted]
    if (each == each[:, :1]).all() and not columns[:, ~counted].any():
        # No resample can differ. As many items as Wilson allows may be otherwise, and lie at the bounds of the scale.
        unseen = wilson(0, count).high
        ends = min(value, value + unseen * (low - value)), max(value, value + unseen * (high - value))
        return Estimate(value, *ends, count, "Wilson")
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample in which nothing is counted has no ratio, and is left out
        values = bootstrap(
            tuple(columns), _difference_of_ratios, paired=True, vectorized=True, n_resamples=resamples,
            method="percentile", batch=max(1, _DRAWN_AT_ONCE // count), rng=np.random.default_rng(seed),
        ).bootstrap_distribution  # fmt: skip
    low, high = np.quantile(values[np.isfinite(values)], _widened(count))
    return Estimate(value, float(low), float(high), count, "bootstrap")


def _difference_of_ratios(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
    sums = [column.sum(axis=axis) for column in columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [parts / wholes for parts, wholes in zip(sums[0::2], sums[1::2], strict=True)]
    return values[0] - values[1] if len(values) > 1 else values[0]


def _widened(count: int) -> tuple[float, float]:
    """Quantiles of the 'expanded percentile' interval (Hesterberg 2015, section 4.1): Student's t, n − 1 for n."""
    from scipy.stats import norm, t

    if count < 2:
        return 0.0, 1.0
    tail = float(norm.cdf(math.sqrt(count / (count - 1)) * t.ppf((1 - CONFIDENCE) / 2, count - 1)))
    return tail, 1 - tail


def _cluster_sums(columns: np.ndarray, clusters: Sequence[Hashable] | None) -> np.ndarray:
    """(k, questions) -> (k, clusters), in the order in which the clusters come first."""
    if clusters is None:
        return columns
    _check_lengths(columns[0].tolist(), clusters)
    numbers: dict[Hashable, int] = {}
    places = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    return np.stack([np.bincount(places, column, len(numbers)) for column in columns])


def bradley_terry(battles: Iterable[Battle], *, prior: float = 1.0) -> dict[str, float]:
    """Strengths of three models or more on Elo's scale (400 points are odds of 10 to 1), the strongest first.

    The mean is 0; a tie is half a win for each. Each model also has ``prior`` tied games against a fixed opponent of
    strength 0, so that ten wins to none remain finite.

    Raises:
        CourseError: fewer than three models (use `win_rate`), a score other than 0, ½ and 1 (an invalid verdict is no
            tie: leave it out), or a model against itself.
    """
    import evalica

    battles = list(battles)
    models = sorted({model for battle in battles for model in (battle.first, battle.second)})
    if len(models) < 3:
        raise CourseError(f"{len(models)} models make no ranking.", "", "for two, use win_rate")
    winners: dict[float, Any] = {1: evalica.Winner.X, 0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    for battle in battles:
        if battle.score not in winners or battle.first == battle.second:
            raise CourseError(
                f"No verdict: {battle.first} against {battle.second}, score {battle.score}.",
                "an invalid verdict, or a model against itself",
                "leave invalid verdicts out and report how many there were",
            )
    found = evalica.bradley_terry(
        [battle.first for battle in battles] + models,
        [battle.second for battle in battles] + [_ANCHOR] * len(models),
        [winners[battle.score] for battle in battles] + [evalica.Winner.Draw] * len(models),
        weights=[1.0] * len(battles) + [prior] * len(models),
        tolerance=1e-9,
        limit=10_000,
    )
    strengths = np.log(found.scores[models].to_numpy()) * _ELO
    by_model = dict(zip(models, (strengths - strengths.mean()).tolist(), strict=True))
    return dict(sorted(by_model.items(), key=lambda entry: -entry[1]))


def kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa (1960) of two judges on the same items: agreement beyond chance, 1 at most.

    None if there is nothing to compare, or if both gave one and the same verdict throughout.
    """
    _check_lengths(first, second)
    if len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(list(first), list(second)))


def _check_lengths(*columns: Sequence[Any]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise CourseError(
            f"Columns of {' and '.join(str(len(column)) for column in columns)} values cannot be paired.",
            "the models did not answer the same items, or in another order",
        )


def _finite(*columns: Sequence[float]) -> np.ndarray:
    """(k, questions) of columns that can be paired."""
    _check_lengths(*columns)
    try:
        values = np.asarray(columns, dtype=float)
    except (TypeError, ValueError):
        values = np.array(math.nan)
    if not np.isfinite(values).all():
        raise CourseError(
            "A score is not a finite number.", "a failed answer among the scores", "use with_failures"
        ) from None
    return values

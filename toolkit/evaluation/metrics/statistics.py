"""How sure a comparison is: intervals, paired tests, win rates, rankings, and what a number of items can show.

The unit is the item (a picture, a clip, a sentence): several questions on one picture are one cluster and stay together
when items are resampled. Differences are first minus second, on the scale of the scores. Functions raise `CourseError`
for columns of different lengths, values that are not finite and nothing to count.

Sources: Wilson (1927); McNemar (1947), exact form; Efron (1979) for the bootstrap, Hesterberg (2015) for widening it at
few items; Bradley and Terry (1952); Connor (1987) for the number of pairs; Cohen (1960) for kappa.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from helpers.errors import CourseError

RESAMPLES = 2000
NOTHING_SHOWN = "no difference shown"
_ELO = 400 / math.log(10)
#: Indices drawn at a time, so that 10,000 items need no more memory than 100.
_DRAWN_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``value`` is None where there is nothing to measure."""

    value: float | None
    low: float
    high: float
    of: int
    """Independent units: items or clusters, not questions."""
    method: str

    @property
    def verdict(self) -> str:
        """Of a difference: 'first is higher', 'second is higher', or `NOTHING_SHOWN` where the interval has zero."""
        if self.value is None or self.low <= 0 <= self.high:
            return NOTHING_SHOWN
        return "first is higher" if self.low > 0 else "second is higher"


@dataclass(frozen=True)
class WithFailures:
    """A difference where some answers failed: on the items that both answered, and at the two extremes."""

    answered: Estimate
    worst: Estimate
    """For the first: its failures get the lowest score, the second's the highest."""
    best: Estimate
    first_failed: int
    second_failed: int

    @property
    def verdict(self) -> str:
        """What holds whatever the failed answers would have been."""
        verdicts = {self.worst.verdict, self.best.verdict}
        return verdicts.pop() if len(verdicts) == 1 else NOTHING_SHOWN


@dataclass(frozen=True)
class McNemar:
    """Right and wrong answers of two models to the same questions."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float
    """Exact and two-sided, over the discordant questions; 1 if there are none."""


class Battle(NamedTuple):
    """A verdict on one item: 1 if ``first`` won, 0 if ``second`` won, ½ for a tie."""

    item: Hashable
    first: str
    second: str
    score: float


# ---------------------------------------------------------------- proportions


def wilson(successes: float, total: int, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval. Nothing counted gives None with 0 to 1."""
    return _score_interval(successes, 0, total, confidence, "Wilson")


def win_rate(wins: int, losses: int, ties: int = 0, confidence: float = 0.95) -> Estimate:
    """The first's share of wins, a tie being half a win.

    Wilson's score interval with the variance of a mean of 0, ½ and 1: p(1 − p) less a quarter of the share of ties,
    which is shrunk to ties / (n + z²), so that nothing but ties does not claim certainty. Without ties it is Wilson's.
    """
    return _score_interval(wins + ties / 2, ties, wins + losses + ties, confidence, "Wilson, ties as half")


def _score_interval(successes: float, ties: float, total: int, confidence: float, method: str) -> Estimate:
    if not 0 <= successes <= total or min(successes, ties) < 0:
        raise CourseError(f"{successes:g} of {total} is no proportion.", "counts below 0 or above the total")
    if not total:
        return Estimate(None, 0.0, 1.0, 0, method)
    square = _z(confidence) ** 2
    value, tied, factor = successes / total, ties / (total + square), square / total
    # Solves (value − p)² = factor · (p(1 − p) − tied / 4) for p.
    middle = (2 * value + factor) / (2 * (1 + factor))
    half = math.sqrt(max(0.0, middle**2 - (value**2 + factor * tied / 4) / (1 + factor)))
    low = 0.0 if not successes else max(0.0, middle - half)
    high = 1.0 if successes == total else min(1.0, middle + half)
    return Estimate(value, low, high, total, method)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Whether two models differ in what they get right, tested on the questions that only one of them got right."""
    from scipy.stats import binomtest

    _check_lengths(first, second)
    pairs = [(bool(one), bool(other)) for one, other in zip(first, second, strict=True)]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(pairs.count((True, True)), only_first, only_second, pairs.count((False, False)), p_value)


# ---------------------------------------------------------------- bootstrap


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] | None = (-1.0, 1.0),
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean of the paired differences, with an interval from resampling the items.

    Args:
        first: scores of the first model, one for each question.
        second: of the second, on the same questions in the same order.
        clusters: for each question the item that it is about; without, each question is an item.
        bounds: the least and the greatest difference that the scale allows; None if there are none. Used where all
            items differ by the same, of which resampling would be certain: the share of items that may differ otherwise
            (Wilson's bound for none of so many) is then set to these bounds.
        confidence: of the interval.
        resamples: how many.
        seed: the same seed gives the same interval.
    """
    _check_lengths(first, second)
    differences = _finite(first) - _finite(second)
    return _resampled([(differences, np.ones_like(differences))], clusters, bounds, confidence, resamples, seed)


def ratio(
    parts: Sequence[float],
    wholes: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Sum of ``parts`` over sum of ``wholes``, pooled over the items (F1, CER, precision), which are resampled.

    The arguments are those of `paired_bootstrap`; ``bounds`` are of the ratio (a CER has no upper one: None).
    """
    _check_lengths(parts, wholes)
    return _resampled([(_finite(parts), _finite(wholes))], clusters, bounds, confidence, resamples, seed)


def paired_ratios(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] | None = (-1.0, 1.0),
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Difference of two pooled ratios, each (parts, wholes), on the same items, which are resampled together."""
    _check_lengths(*first, *second)
    columns = [(_finite(parts), _finite(wholes)) for parts, wholes in (first, second)]
    return _resampled(columns, clusters, bounds, confidence, resamples, seed)


def with_failures(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    scale: tuple[float, float] = (0.0, 1.0),
    **settings: float,
) -> WithFailures:
    """The paired difference where a failed answer has None for a score: a failure is never a score.

    ``scale`` holds the lowest and highest score; ``settings`` go to `paired_bootstrap`.
    """
    _check_lengths(first, second)
    low, high = scale
    bounds = (low - high, high - low)

    def filled(column: Sequence[float | None], value: float) -> list[float]:
        return [value if score is None else score for score in column]

    answered = [
        place
        for place, (one, other) in enumerate(zip(first, second, strict=True))
        if one is not None and other is not None
    ]
    kept = [clusters[place] for place in answered] if clusters is not None else None
    pick = [[column[place] for place in answered] for column in (first, second)]
    return WithFailures(
        answered=paired_bootstrap(*pick, kept, bounds=bounds, **settings),
        worst=paired_bootstrap(filled(first, low), filled(second, high), clusters, bounds=bounds, **settings),
        best=paired_bootstrap(filled(first, high), filled(second, low), clusters, bounds=bounds, **settings),
        first_failed=list(first).count(None),
        second_failed=list(second).count(None),
    )


def _resampled(
    ratios: list[tuple[np.ndarray, np.ndarray]],
    clusters: Sequence[Hashable] | None,
    bounds: tuple[float, float] | None,
    confidence: float,
    resamples: int,
    seed: int,
) -> Estimate:
    """One ratio of sums, or the first less the second."""
    columns = _cluster_sums(np.stack([column for pair in ratios for column in pair], axis=1), clusters)
    count = len(columns)
    sums = columns.sum(axis=0)
    if not sums[1::2].all():
        low, high = bounds or (-math.inf, math.inf)
        return Estimate(None, low, high, count, "bootstrap")
    value = float(_difference(sums[None])[0])
    if _all_agree(columns):
        return _certain(value, count, bounds, confidence)
    drawn = _bootstrap_sums(columns, resamples, np.random.default_rng(seed))
    values = _difference(drawn[drawn[:, 1::2].all(axis=1)])
    low, high = np.quantile(values, _widened(confidence, count))
    return Estimate(value, float(low), float(high), count, "bootstrap")


def _difference(sums: np.ndarray) -> np.ndarray:
    values = sums[:, 0::2] / sums[:, 1::2]
    return values[:, 0] - (values[:, 1] if values.shape[1] > 1 else 0.0)


def _all_agree(columns: np.ndarray) -> bool:
    """Whether every cluster has the same ratios, so that no resample can differ."""
    values = columns[columns[:, 1::2].all(axis=1)]
    each = values[:, 0::2] / values[:, 1::2]
    return bool((each == each[:1]).all()) and not columns[~columns[:, 1::2].all(axis=1)].any()


def _certain(value: float, count: int, bounds: tuple[float, float] | None, confidence: float) -> Estimate:
    """All items agree: as many as Wilson allows may be otherwise, and lie at the bounds of the scale."""
    low, high = bounds or (-math.inf, math.inf)
    unseen = wilson(0, count, confidence).high
    return Estimate(
        value, min(value, value + unseen * (low - value)), max(value, value + unseen * (high - value)), count, "Wilson"
    )


def _widened(confidence: float, count: int) -> tuple[float, float]:
    """Quantiles of the 'expanded percentile' interval (Hesterberg 2015, section 4.1): Student's t, n − 1 for n."""
    from scipy.stats import norm, t

    if count < 2:
        return 0.0, 1.0
    tail = float(norm.cdf(math.sqrt(count / (count - 1)) * t.ppf((1 - confidence) / 2, count - 1)))
    return tail, 1 - tail


def _cluster_sums(columns: np.ndarray, clusters: Sequence[Hashable] | None) -> np.ndarray:
    """(questions, k) -> (clusters, k), in the order in which the clusters come first."""
    if clusters is None:
        return columns
    _check_lengths(columns, clusters)
    numbers: dict[Hashable, int] = {}
    places = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    sums = np.zeros((len(numbers), columns.shape[1]))
    np.add.at(sums, places, columns)
    return sums


def _bootstrap_sums(columns: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(clusters, k) -> (resamples, k): sums over as many clusters, drawn with replacement."""
    count = len(columns)
    sums = np.empty((resamples, columns.shape[1]))
    step = max(1, _DRAWN_AT_ONCE // count)
    contiguous = np.ascontiguousarray(columns.T)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, count, (min(step, resamples - start), count), dtype=np.int32)
        for place, column in enumerate(contiguous):
            sums[start : start + len(drawn), place] = column[drawn].sum(axis=1)
    return sums


# ---------------------------------------------------------------- what can be shown


def items_needed(difference: float, discordant: float = 0.3, power: float = 0.8, confidence: float = 0.95) -> int:
    """Items to show a difference of two shares of right answers on the same items.

    n = (z₁ + z₂)² (ψ − d²) / d², ψ being the share of items that only one model gets right (Connor 1987, unpooled).
    """
    _check_design(discordant, power)
    if not 0 < abs(difference) <= discordant:
        raise CourseError(
            f"A difference of {difference:g} needs at least as large a share of discordant items.",
            f"it is {discordant:g}",
        )
    return math.ceil(_z_sum(power, confidence) ** 2 * (discordant - difference**2) / difference**2)


def minimum_detectable_difference(
    items: int, discordant: float = 0.3, power: float = 0.8, confidence: float = 0.95
) -> float:
    """The smallest difference that so many items show with this power; the reverse of `items_needed`.

    It cannot be above ``discordant``: where it would be, the items cannot show any difference, and the result is inf.
    """
    _check_design(discordant, power)
    if items < 1:
        return math.inf
    square = _z_sum(power, confidence) ** 2
    smallest = math.sqrt(square * discordant / (items + square))
    return smallest if smallest <= discordant else math.inf


def detectable_mean_difference(
    first: Sequence[float], second: Sequence[float], power: float = 0.8, confidence: float = 0.95
) -> float:
    """The same for scores of any scale, from the spread of the differences at hand: (z₁ + z₂) s / √n."""
    _check_lengths(first, second)
    differences = _finite(first) - _finite(second)
    if len(differences) < 2:
        return math.inf
    return _z_sum(power, confidence) * float(differences.std(ddof=1)) / math.sqrt(len(differences))


def _check_design(discordant: float, power: float) -> None:
    if not 0 < discordant <= 1 or not 0 < power < 1:
        raise CourseError("The share of discordant items and the power lie between 0 and 1.", f"{discordant}, {power}")


def _z(confidence: float) -> float:
    from scipy.stats import norm

    if not 0 < confidence < 1:
        raise CourseError(f"A confidence of {confidence:g} makes no interval.", "a percentage", "use 0.95 for 95 %")
    return float(norm.ppf(0.5 + confidence / 2))


def _z_sum(power: float, confidence: float) -> float:
    from scipy.stats import norm

    return _z(confidence) + float(norm.ppf(power))


# ---------------------------------------------------------------- rankings


def bradley_terry(
    battles: Iterable[Battle | tuple[Hashable, str, str, float]],
    *,
    prior: float = 1.0,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Strengths of three models or more on Elo's scale (400 points are odds of 10 to 1), the strongest first.

    The mean is 0; a tie is half a win for each. Each model also has ``prior`` tied games against a fixed opponent of
    strength 0, so that ten wins to none remain finite. The interval comes from resampling the items.

    Raises:
        CourseError: fewer than three models (use `win_rate`), a score other than 0, ½ and 1 (an invalid verdict is no
            tie: leave it out), a model against itself, or a prior of 0 or less.
    """
    battles = [Battle(*battle) for battle in battles]
    models = sorted({model for battle in battles for model in (battle.first, battle.second)})
    if len(models) < 3:
        raise CourseError(f"{len(models)} models make no ranking.", "", "for two, use win_rate")
    if prior <= 0:
        raise CourseError("Without a prior, a model that always wins has no finite strength.", f"prior={prior:g}")
    wins = _wins_by_item(battles, models)
    drawn = _bootstrap_sums(wins, resamples, np.random.default_rng(seed))
    size = len(models)
    values = _strengths(wins.sum(axis=0).reshape(1, size, size), prior)[0]
    spread = _strengths(drawn.reshape(-1, size, size), prior)
    low, high = np.quantile(spread, _widened(confidence, len(wins)), axis=0)
    ranked = sorted(range(size), key=lambda place: -values[place])
    return {
        models[i]: Estimate(float(values[i]), float(low[i]), float(high[i]), len(wins), "Bradley–Terry, bootstrap")
        for i in ranked
    }


def _wins_by_item(battles: list[Battle], models: list[str]) -> np.ndarray:
    """(items, models²): how often each model beat each other on the item."""
    numbers = {model: number for number, model in enumerate(models)}
    items: dict[Hashable, int] = {}
    for battle in battles:
        if battle.score not in (0, 0.5, 1) or battle.first == battle.second:
            raise CourseError(
                f"No verdict: {battle.first} against {battle.second}, score {battle.score}.",
                "an invalid verdict, or a model against itself",
                "leave invalid verdicts out and report how many there were",
            )
        items.setdefault(battle.item, len(items))
    wins = np.zeros((len(items), len(models), len(models)))
    for battle in battles:
        first, second, item = numbers[battle.first], numbers[battle.second], items[battle.item]
        wins[item, first, second] += battle.score
        wins[item, second, first] += 1 - battle.score
    return wins.reshape(len(items), -1)


def _strengths(wins: np.ndarray, prior: float) -> np.ndarray:
    """(n, models, models) wins -> (n, models) strengths by Newton's method on the log posterior."""
    size = wins.shape[1]
    games = wins + wins.swapaxes(1, 2)
    strength = np.zeros(wins.shape[:2])
    diagonal = np.arange(size)
    for _ in range(50):
        expected = 1 / (1 + np.exp(strength[:, None, :] - strength[:, :, None]))
        against_fixed = 1 / (1 + np.exp(-strength))
        slope = (wins - games * expected).sum(axis=2) + prior * (0.5 - against_fixed)
        weight = games * expected * (1 - expected)
        curve = -weight
        curve[:, diagonal, diagonal] = weight.sum(axis=2) + prior * against_fixed * (1 - against_fixed)
        step = np.clip(np.linalg.solve(curve, slope[:, :, None])[:, :, 0], -1.0, 1.0)
        strength += step
        if np.abs(step).max() < 1e-9:
            break
    return (strength - strength.mean(axis=1, keepdims=True)) * _ELO


def kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two judges on the same items: agreement beyond chance, 1 at most.

    None if there is nothing to compare, or if both gave one and the same verdict throughout.
    """
    _check_lengths(first, second)
    total = len(first)
    if not total:
        return None
    agreed = sum(one == other for one, other in zip(first, second, strict=True)) / total
    firsts, seconds = list(first), list(second)
    chance = sum(firsts.count(label) * seconds.count(label) for label in set(firsts)) / total**2
    return None if chance == 1 else (agreed - chance) / (1 - chance)


# ---------------------------------------------------------------- checks


def _check_lengths(*columns: Sequence) -> None:
    if len({len(column) for column in columns}) > 1:
        raise CourseError(
            f"Columns of {' and '.join(str(len(column)) for column in columns)} values cannot be paired.",
            "the models did not answer the same items, or in another order",
        )


def _finite(column: Sequence[float]) -> np.ndarray:
    try:
        values = np.asarray(column, dtype=float)
    except (TypeError, ValueError):
        raise CourseError("A score is not a number.", "a failed answer among the scores", "use with_failures") from None
    if not np.isfinite(values).all():
        raise CourseError("A score is not finite.", "a failed answer among the scores", "use with_failures")
    return values

"""Growth fits: exponents of known laws, how often the interval covers, memory."""

import numpy as np
import pytest

from helpers.bench.growth import fit_growth, measure_growth
from helpers.errors import CourseError


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_a_law_without_noise_is_found_exactly(exponent):
    n = [10, 100, 1000, 5000]
    fit = fit_growth(n, [3.0 * size**exponent for size in n])
    assert (fit.exponent, fit.factor) == pytest.approx((exponent, 3.0))
    assert fit.cost(50) == pytest.approx(3.0 * 50**exponent)
    assert fit.high - fit.low < 1e-6 and fit.r_squared == pytest.approx(1.0)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    n = np.array([16, 32, 64, 128, 256, 512])
    fits = [fit_growth(n, 0.5 * n**1.5 * np.exp(rng.normal(0, 0.2, len(n)))) for _ in range(1000)]
    assert 0.93 <= np.mean([not fit.excludes(1.5) for fit in fits]) <= 0.97
    # And it is of use: quadratic growth is told from it most of the time.
    assert np.mean([fit.excludes(2.0) for fit in fits]) > 0.9


@pytest.mark.parametrize(
    ("n", "cost", "message"),
    [
        ([1, 2], [1, 2], "no law"),
        ([1, 2, 2], [1, 2, 3], "no law"),
        ([1, 2, 3], [1, 2], "do not go together"),
        ([1, 2, 3], [1, 0, 3], "logarithms"),
        ([1, 2, 3], [1, float("nan"), 3], "logarithms"),
    ],
)
def test_what_shows_no_growth_is_refused(n, cost, message):
    with pytest.raises(CourseError, match=message):
        fit_growth(n, cost)


def test_memory_is_measured():
    frame = measure_growth(lambda n: lambda: bytearray(1000 * n), [100, 1000, 10_000], repeats=2)
    assert frame["n"].tolist() == [100, 1000, 10_000] * 2
    assert fit_growth(frame["n"], frame["peak_bytes"]).exponent == pytest.approx(1.0, abs=0.01)

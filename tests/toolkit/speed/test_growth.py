"""Growth: fits of known laws, and how often the interval covers."""

import numpy as np
import pytest

from helpers.errors import CourseError
from toolkit.speed.growth import fit_growth


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_a_law_without_noise_is_found_exactly(exponent):
    n = [10, 100, 1000, 5000]
    fit = fit_growth(n, [3.0 * size**exponent for size in n])
    assert (fit.exponent, fit.factor) == pytest.approx((exponent, 3.0))
    assert fit.high - fit.low < 1e-6 and fit.r_squared == pytest.approx(1.0)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    n = np.array([16, 32, 64, 128, 256, 512])
    fits = [fit_growth(n, 0.5 * n**1.5 * np.exp(rng.normal(0, 0.2, len(n)))) for _ in range(1000)]
    assert 0.93 <= np.mean([fit.low <= 1.5 <= fit.high for fit in fits]) <= 0.97
    # And it is of use: quadratic growth is told from it most of the time.
    assert np.mean([not fit.low <= 2.0 <= fit.high for fit in fits]) > 0.9


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

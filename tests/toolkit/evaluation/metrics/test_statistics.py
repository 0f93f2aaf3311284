"""Statistics: hand-worked and published values, and coverage by simulation."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from helpers.errors import CourseError
from toolkit.evaluation.metrics import statistics
from toolkit.evaluation.metrics.statistics import Battle, bradley_terry, paired_bootstrap, wilson, win_rate

EXPERIMENTS = 2000


def covered(estimates, truth):
    return sum(estimate.low <= truth <= estimate.high for estimate in estimates) / len(estimates)


# ---------------------------------------------------------------- proportions


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (7, 24), (1, 1), (228, 1000)])
def test_wilson_is_the_published_interval(successes, total):
    found = wilson(successes, total)
    wanted = binomtest(successes, total).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.value == successes / total


def test_ten_wins_to_none_do_not_mean_always():
    found = win_rate(10, 0)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(0.72, abs=0.005)


def test_half_widths_of_a_win_rate_are_the_published_ones():
    for wins, half in ((12, 0.186), (50, 0.096)):
        found = win_rate(wins, wins)
        assert (found.high - found.low) / 2 == pytest.approx(half, abs=0.0005)


def test_a_tie_is_half_a_win_and_narrows_the_interval():
    tied, decided = win_rate(5, 5, 10), win_rate(10, 10)
    assert tied.value == decided.value == 0.5
    assert tied.high - tied.low < decided.high - decided.low


def test_nothing_but_ties_is_not_certain():
    found = win_rate(0, 0, 24)
    assert found.low < 0.45 < 0.55 < found.high


def test_nothing_counted_is_no_value():
    assert wilson(0, 0).value is None
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


@pytest.mark.parametrize(("successes", "total"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(successes, total):
    with pytest.raises(CourseError):
        wilson(successes, total)


# ---------------------------------------------------------------- bootstrap


def test_a_clear_difference_is_shown_and_its_sign_follows_the_order():
    rng = np.random.default_rng(1)
    second = rng.random(60)
    first = second + 0.2 + 0.1 * rng.standard_normal(60)
    assert paired_bootstrap(first, second, bounds=None).verdict == "first is higher"
    assert paired_bootstrap(second, first, bounds=None).verdict == "second is higher"


def test_an_interval_over_zero_shows_no_difference():
    found = paired_bootstrap([1, 0, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0])
    assert found.value == pytest.approx(1 / 6)
    assert found.low < 0 < found.high
    assert found.verdict == statistics.NOTHING_SHOWN


def test_the_same_seed_gives_the_same_interval():
    first, second = np.random.default_rng(2).random((2, 30))
    assert paired_bootstrap(first, second) == paired_bootstrap(first, second)
    assert paired_bootstrap(first, second) != paired_bootstrap(first, second, seed=1)


def test_copies_of_a_question_make_a_cluster_no_surer():
    first, second = np.random.default_rng(3).random((2, 30))
    once = paired_bootstrap(first, second)
    clusters = np.repeat(np.arange(30), 8)
    eight_times = paired_bootstrap(np.repeat(first, 8), np.repeat(second, 8), clusters)
    assert eight_times.n == once.n == 30
    assert (eight_times.low, eight_times.high) == pytest.approx((once.low, once.high))
    as_if_independent = paired_bootstrap(np.repeat(first, 8), np.repeat(second, 8))
    assert as_if_independent.high - as_if_independent.low < 0.5 * (once.high - once.low)


def test_items_that_all_agree_are_not_certain():
    found = paired_bootstrap([1.0] * 10, [0.0] * 10)
    unseen = binomtest(0, 10).proportion_ci(method="wilson").high
    assert (found.value, found.low, found.high) == (1, pytest.approx(1 - 2 * unseen), 1)
    same = paired_bootstrap([0.5] * 10, [0.5] * 10)
    assert same.low < 0 < same.high
    assert same.verdict == statistics.NOTHING_SHOWN


def test_a_single_item_shows_nothing():
    assert paired_bootstrap([1.0], [0.0]).verdict == statistics.NOTHING_SHOWN


def test_a_ratio_is_pooled_and_not_a_mean_of_ratios():
    found = statistics.ratio([1, 9], [2, 90])
    assert found.value == pytest.approx(10 / 92)
    assert statistics.ratio([0, 0], [0, 0]).value is None


def test_paired_ratios_resample_both_models_together():
    rng = np.random.default_rng(4)
    wholes = rng.integers(5, 15, 50)
    parts = np.round(wholes * rng.random(50))
    found = statistics.paired_ratios((parts, wholes), (parts, wholes))
    assert found.value == 0
    easier = statistics.paired_ratios((parts, wholes), (0.5 * parts, wholes))
    assert easier.verdict == "first is higher"


def test_failures_are_shown_as_best_and_worst_case():
    first = [1.0, 1.0, None, 1.0, 0.5, 1.0] * 5
    second = [0.5, 0.0, 0.5, 0.5, 0.0, None] * 5
    worst, best = statistics.with_failures(first, second)
    assert worst.value == pytest.approx((0.5 + 1 - 0.5 + 0.5 + 0.5 + 0) / 6)
    assert best.value == pytest.approx((0.5 + 1 + 0.5 + 0.5 + 0.5 + 1) / 6)


def test_failures_can_turn_a_verdict():
    first = [1.0] * 6 + [0.5] * 6 + [None] * 20
    second = [0.0] * 6 + [0.4] * 6 + [0.5] * 20
    worst, best = statistics.with_failures(first, second)
    assert (worst.verdict, best.verdict) == (statistics.NOTHING_SHOWN, "first is higher")


def test_all_failed_is_no_score():
    worst, best = statistics.with_failures([None, None], [0.5, 1.0])
    assert worst.verdict != best.verdict


@pytest.mark.parametrize("column", [[1.0, None], [1.0, math.nan], [1.0, math.inf], [1.0, "high"]])
def test_a_failure_among_scores_is_refused(column):
    with pytest.raises(CourseError, match="score"):
        paired_bootstrap(column, [1.0, 1.0])


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(CourseError, match="paired"):
        paired_bootstrap([1.0], [1.0, 0.0])


# ---------------------------------------------------------------- coverage


def test_the_bootstraps_interval_covers_the_truth():
    """Scenes with one to four questions that share the scene's difficulty; models that differ by 0.1."""
    rng = np.random.default_rng(5)
    estimates = []
    for _ in range(EXPERIMENTS):
        scenes = np.repeat(np.arange(40), rng.integers(1, 5, 40))
        effect = 0.1 + rng.uniform(-0.4, 0.4, 40)[scenes]
        second = rng.integers(0, 2, len(scenes))
        first = second + effect + rng.choice((-0.3, 0.3), len(scenes))
        estimates.append(paired_bootstrap(first, second, scenes, bounds=None, resamples=600))
    assert 0.93 <= covered(estimates, 0.1) <= 0.97


def test_the_bootstraps_interval_covers_the_difference_of_right_and_wrong_answers():
    rng = np.random.default_rng(6)
    estimates = []
    for _ in range(EXPERIMENTS):
        differences = rng.choice((-1.0, 0.0, 1.0), 60, p=(0.1, 0.7, 0.2))
        estimates.append(paired_bootstrap(differences, np.zeros(60), resamples=600))
    assert 0.93 <= covered(estimates, 0.1) <= 0.97


def test_wilsons_interval_covers_the_truth():
    """Averaged over shares, since a binomial's coverage jumps with each."""
    rng = np.random.default_rng(7)
    shares = rng.uniform(0.05, 0.95, EXPERIMENTS)
    hits = [
        (found := wilson(int(count), 50)).low <= share <= found.high
        for share, count in zip(shares, rng.binomial(50, shares), strict=True)
    ]
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("tied", [0.0, 0.3, 0.6])
def test_the_win_rates_interval_covers_the_truth_with_ties(tied):
    rng = np.random.default_rng(8)
    hits = []
    for _ in range(EXPERIMENTS):
        wins = rng.uniform(0.1, 0.9) * (1 - tied)
        count = rng.multinomial(60, (wins, 1 - wins - tied, tied))
        found = win_rate(*map(int, count))
        hits.append(found.low <= wins + tied / 2 <= found.high)
    assert 0.93 <= np.mean(hits) <= 0.97


# ---------------------------------------------------------------- what can be shown


def test_the_promised_power_is_reached():
    """228 items, 30 % discordant, a difference of 10 points: shown in about 80 % of experiments (Connor 1987)."""
    rng = np.random.default_rng(10)
    draws = rng.choice((-1.0, 0.0, 1.0), (500, 228), p=(0.1, 0.7, 0.2))
    shown = [paired_bootstrap(one, np.zeros(228), resamples=400).verdict == "first is higher" for one in draws]
    assert 0.75 <= np.mean(shown) <= 0.86


# ---------------------------------------------------------------- rankings


def round_robin(results, items=40):
    return [Battle(item, *result) for item in range(items) for result in results]


def test_ten_to_none_stays_finite_and_in_order():
    found = bradley_terry(round_robin([("a", "b", 1), ("b", "c", 1), ("a", "c", 1)], 10))
    assert list(found) == ["a", "b", "c"]
    assert all(map(math.isfinite, found.values()))
    assert sum(found.values()) == pytest.approx(0, abs=1e-6)


def test_only_ties_make_equal_strengths():
    found = bradley_terry(round_robin([("a", "b", 0.5), ("b", "c", 0.5), ("a", "c", 0.5)]))
    assert list(found.values()) == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_tie_counts_half_a_win_not_a_loss():
    half = [Battle(item, "a", "b", 0.5) for item in range(200)]
    split = [Battle(item, "a", "b", item % 2) for item in range(200)]
    others = [Battle(item, one, "c", 1) for item in range(200) for one in "ab"]
    tied, decided = bradley_terry(half + others), bradley_terry(split + others)
    for name in "abc":
        assert tied[name] == pytest.approx(decided[name], abs=1e-6)


def test_three_to_one_is_191_points_with_a_faint_prior():
    battles = [Battle(item, *pair, int(item % 4 > 0)) for item in range(400) for pair in (("a", "b"), ("b", "c"))]
    found = bradley_terry(battles, prior=1e-3)
    assert found["a"] - found["b"] == pytest.approx(400 * math.log10(3), abs=1)


def test_which_model_is_named_first_does_not_matter():
    battles = [*round_robin([("a", "b", 1), ("b", "c", 0.5), ("a", "c", 0)], 5), Battle(9, "b", "a", 1)]
    turned = [Battle(item, other, one, 1 - score) for item, one, other, score in battles]
    first, second = (bradley_terry(one) for one in (battles, turned))
    assert first == pytest.approx(second)


def test_two_models_make_no_ranking():
    with pytest.raises(CourseError, match="no ranking"):
        bradley_terry([Battle(0, "a", "b", 1)])


@pytest.mark.parametrize("score", [-1, 0.7, math.nan, None])
def test_an_invalid_verdict_is_no_tie(score):
    with pytest.raises(CourseError, match="No verdict"):
        bradley_terry([Battle(0, "a", "b", score), Battle(0, "b", "c", 1)])


def test_kappa_of_a_hand_worked_table():
    # Cohen's 2 × 2: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreed .7, by chance .5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert statistics.kappa(first, second) == pytest.approx(0.4)
    assert statistics.kappa(["a", "a"], ["a", "a"]) is None
    assert statistics.kappa([], []) is None

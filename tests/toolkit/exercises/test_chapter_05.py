"""The checkers of chapter 05 refuse plausible wrong answers and accept other right ones."""

import math

import numpy as np
from scipy.stats import binomtest, bootstrap, t

from tests.support.exercise_answers import ChapterTests


# 05.2
def independent(first, second):
    rng = np.random.default_rng(0)
    means = [rng.choice(first, len(first)).mean() - rng.choice(second, len(second)).mean() for _ in range(2000)]
    return np.percentile(means, [2.5, 97.5])


def ninety_percent(first, second):
    rng = np.random.default_rng(0)
    differences = np.asarray(first) - second
    means = [rng.choice(differences, len(differences)).mean() for _ in range(2000)]
    return np.percentile(means, [5, 95])


def wrong_way_round(first, second):
    low, high = of_differences(first, second)
    return -high, -low


def spread_of_differences(first, second):
    return np.percentile(np.asarray(first) - second, [2.5, 97.5])


def of_differences(first, second):
    rng = np.random.default_rng(7)
    differences = np.asarray(first) - second
    return np.percentile([rng.choice(differences, len(differences)).mean() for _ in range(2000)], [2.5, 97.5])


def students(first, second):
    differences = np.asarray(first) - second
    half = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return [differences.mean() - half, differences.mean() + half]


def by_scipy(first, second):
    return bootstrap((np.asarray(first) - second,), np.mean, n_resamples=2000, rng=0).confidence_interval


# 05.3
def of_all_items(first, second):
    return binomtest(sum(a > b for a, b in zip(first, second, strict=True)), len(first)).pvalue


def one_sided(first, second):
    alone, other = counts(first, second)
    return binomtest(alone, alone + other, alternative="greater").pvalue if alone + other else 1.0


def chi_square(first, second):
    from scipy.stats import chi2

    alone, other = counts(first, second)
    return chi2.sf((abs(alone - other) - 1) ** 2 / (alone + other), 1) if alone + other else 1.0


def zero_without_pairs(first, second):
    alone, other = counts(first, second)
    return binomtest(alone, alone + other).pvalue if alone + other else 0.0


def by_hand(first, second):
    alone, other = counts(first, second)
    n = alone + other
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(alone, other) + 1)) / 2**n)


def by_table(first, second):
    from statsmodels.stats.contingency_tables import mcnemar

    alone, other = counts(first, second)
    return mcnemar([[0, alone], [other, 0]], exact=True).pvalue


def counts(first, second):
    pairs = list(zip(first, second, strict=True))
    return pairs.count((1, 0)), pairs.count((0, 1))


# 05.4
def first_order_only(judge, a, b):
    return {"first": "a", "second": "b", "tie": "tie", None: "invalid"}[judge(a, b)]


def unreadable_is_a_tie(judge, a, b):
    replies = judge(a, b), judge(b, a)
    return {("first", "second"): "a", ("second", "first"): "b"}.get(replies, "tie")


def same_word_twice(judge, a, b):
    one, two = judge(a, b), judge(b, a)
    return (
        "invalid" if None in (one, two) else {"first": "a", "second": "b", "tie": "tie"}[one] if one == two else "tie"
    )


def by_table_of_replies(judge, a, b):
    replies = judge(b, a), judge(a, b)
    if None in replies:
        return "invalid"
    return {("second", "first"): "a", ("first", "second"): "b"}.get(replies, "tie")


# 05.5
def by_share(validation):
    return all(wins / n > 0.5 for wins, n in validation.values())


def by_the_sum(validation):
    wins, n = (sum(column) for column in zip(*validation.values(), strict=True))
    return binomtest(wins, n).proportion_ci().low > 0.5


def different_from_half(validation):
    return all(binomtest(wins, n).pvalue < 0.05 for wins, n in validation.values())


def by_wilson(validation):
    return all(binomtest(wins, n).proportion_ci(method="wilson").low > 0.5 for wins, n in validation.values())


def given_interval(first, second):
    rng = np.random.default_rng(0)
    means = [rng.choice(first, len(first)).mean() - rng.choice(second, len(second)).mean() for _ in range(4000)]
    return np.percentile(means, [5, 95])


def given_ranking(validation):
    wins, n = (sum(column) for column in zip(*validation.values(), strict=True))
    return wins / n > 0.5


WRONG = [
    ("05.1", 5, "0.062"),
    ("05.1", 20, "fewer would do"),
    ("05.1", "six", "number"),
    ("05.2", independent, "keep the pairs"),
    ("05.2", ninety_percent, "too narrow"),
    ("05.2", wrong_way_round, "first minus second"),
    ("05.2", spread_of_differences, "too wide"),
    ("05.3", of_all_items, "leave them out"),
    ("05.3", one_sided, "one-sided"),
    ("05.3", chi_square, "the exact one"),
    ("05.3", zero_without_pairs, "p is 1"),
    ("05.4", first_order_only, "always takes the first"),
    ("05.4", unreadable_is_a_tie, "'invalid' is right"),
    ("05.4", same_word_twice, "prefers the longer"),
    ("05.5", by_share, "its interval is not"),
    ("05.5", by_the_sum, "the liar wins"),
    ("05.5", different_from_half, "the liar wins"),
]
RIGHT = [
    ("05.1", 6.0),
    ("05.2", of_differences),
    ("05.2", students),
    ("05.2", by_scipy),
    ("05.3", by_hand),
    ("05.3", by_table),
    ("05.4", by_table_of_replies),
    ("05.5", by_wilson),
]
AS_GIVEN = [
    ("05.2", given_interval),
    ("05.5", given_ranking),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "05", RIGHT, WRONG, AS_GIVEN

"""Our figures agree with the libraries that the field knows them by."""

import math
import random

import pytest

from toolkit.evaluation.metrics import statistics
from toolkit.evaluation.metrics import text_metrics as text


def sentences(count, rng):
    words = ["red", "dog", "a", "sits", "left", "beach", "of"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(count)]


def test_error_rates_agree_with_jiwer():
    jiwer = pytest.importorskip("jiwer")
    rng = random.Random(0)
    said, true = sentences(300, rng), sentences(300, rng)
    assert text.wer(said, true) == pytest.approx(jiwer.wer(true, said))
    assert text.cer(said, true) == pytest.approx(jiwer.cer(true, said))


def test_pope_agrees_with_scikit_learn_where_all_is_parsed():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(1)
    true = rng.choices(["yes", "no"], k=200)
    said = [rng.choice([one, "yes"]) for one in true]
    ours = text.pope(said, true)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(true, said))
    for name in ("precision", "recall", "f1"):
        assert getattr(ours, name) == pytest.approx(getattr(metrics, f"{name}_score")(true, said, pos_label="yes"))


def test_kappa_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(2)
    first = rng.choices(["first", "second", "tie"], k=150)
    second = [one if rng.random() < 0.6 else rng.choice(["first", "second", "tie"]) for one in first]
    assert statistics.kappa(first, second) == pytest.approx(metrics.cohen_kappa_score(first, second))


def test_bradley_terry_agrees_with_evalica_as_the_prior_fades():
    evalica = pytest.importorskip("evalica")
    rng = random.Random(3)
    strength, battles = {"a": 2.0, "b": 1.0, "c": 0.5}, []
    for item in range(600):
        first, second = rng.sample(sorted(strength), 2)
        wins = rng.random() < strength[first] / (strength[first] + strength[second])
        battles.append((item, first, second, 0.5 if rng.random() < 0.1 else float(wins)))
    winner = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    theirs = evalica.bradley_terry(
        [one[1] for one in battles], [one[2] for one in battles], [winner[one[3]] for one in battles], tolerance=1e-10
    ).scores
    ours = statistics.bradley_terry(battles, prior=1e-6, resamples=10)
    assert list(ours) == list(theirs.sort_values(ascending=False).index) == ["a", "b", "c"]
    for one, other in (("a", "b"), ("b", "c")):
        difference = 400 * math.log10(theirs[one] / theirs[other])
        assert ours[one].value - ours[other].value == pytest.approx(difference, abs=0.1)

"""What is said about how a served model's cost grows."""

import pandas as pd
import pytest

from benchmarks.growth import SIZES, figures, flatness, law, measure_all, not_held, rows


def series(exponent, *, memory=lambda n: 0.0, fixed=0.0):
    points = [(n, fixed + 1e-3 * n**exponent, memory(n), 0.0) for n in (100, 1000, 10_000) for _ in range(2)]
    return pd.DataFrame(points, columns=["n", "seconds", "server", "client"])


def test_only_what_grows_faster_than_it_may_is_broken():
    assert law("items", series(1.0))["holds"] and law("items", series(0.5))["holds"]
    assert not law("items", series(1.5))["holds"]
    # Attention may be quadratic, and no more.
    assert law("words of a prompt", series(1.9))["holds"] and not law("words of a prompt", series(2.6))["holds"]
    # A great fixed cost flattens the fit, yet the end of the sizes tells.
    hidden = law("items", series(2.0, fixed=5_000.0))
    assert hidden["from"] < 1.0 < hidden["at the end"] and not hidden["holds"]


def test_memory_is_flat_or_has_an_exponent():
    assert law("items", series(1.0, memory=lambda n: 2**20))["memory"] == "flat"
    grown = law("items", series(1.0, memory=lambda n: 2**20 * n))
    assert grown["memory"] == "n^1.00" and grown["holds"]
    assert not law("items", series(1.0, memory=lambda n: 1e5 * n**1.6))["holds"]
    # From nothing to 100 MiB is growth, though nothing has no logarithm.
    some = law("items", series(1.0, memory=lambda n: 100 * 2**20 * (n > 1000)))
    assert 0 < float(some["memory"].removeprefix("n^")) < 1


def test_a_record_names_what_does_not_hold_and_the_run_that_is_not_flat():
    good = [law("items", series(1.0)), law("frames", series(1.8))]
    assert not_held(good, {"server": 0.01, "client": -0.02}) == []
    told = {figure.name: figure.value for figure in figures(good, {"server": 0.01})}
    assert told["memory growth of the server"] == pytest.approx(1.0)
    first, second = not_held([law("items", series(1.5))], {"client": 0.2})
    assert first.startswith("items: n^1.50") and second == "the memory of the client grew by 20.0% within a run"
    assert len(rows(series(1.0).assign(what="items"))) == 3


def test_flatness_is_that_of_a_run_after_its_first_fifth():
    found = flatness([(1e9 if i < 20 else 2e9 + 1e6 * i, 5e8) for i in range(100)])
    assert found["client"] == 0.0
    assert found["server"] == pytest.approx((2e9 + 1e6 * 95.5) / (2e9 + 1e6 * 23.5) - 1)
    assert flatness([(1.0, 1.0)] * 10) == {}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_series_is_measured_on_the_served_model(server):
    sizes = {
        "words of a prompt": (8, 64, 256),
        "items": (4, 8, 16),
        "pixels that the model sees": (64**2, 96**2, 128**2),
        "pixels above its limit": (512**2, 600**2, 700**2),
        "frames": (4, 8, 16),
        "clients": (1, 2, 3),
    }
    points, samples = measure_all(server, sizes, 1)
    assert list(points["what"].unique()) == list(sizes) == list(SIZES)
    assert (points.groupby("what").size() == 3).all() and (points["seconds"] > 0).all() and samples

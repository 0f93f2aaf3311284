"""What is said about how a served model's cost grows."""

import pytest

from benchmarks.growth_record import GrowthRecord, Point, Series
from benchmarks.growth_run import SIZES, _Memory, measure_all, measured_here
from helpers.errors import CourseError
from toolkit.speed.growth import fit_growth


def series(name, exponent, *, sizes=(100, 1000, 10_000), memory=lambda n: 0.0, fixed=0.0):
    return Series(name, [Point(n, fixed + 1e-3 * n**exponent, memory(n), 0.0) for n in sizes for _ in range(2)])


def test_only_what_grows_faster_than_it_may_is_broken():
    assert series("items", 1.0).holds and series("items", 0.5).holds
    assert not series("items", 1.5).holds
    # Attention may be quadratic, and no more.
    assert series("words of a prompt", 1.9).holds and not series("words of a prompt", 2.6).holds
    # A great fixed cost flattens the fit, yet the end of the sizes tells.
    hidden = series("items", 2.0, fixed=5_000.0)
    assert hidden.fit.low < 1.0 < hidden.end and not hidden.holds


def test_memory_is_flat_or_has_an_exponent():
    assert series("items", 1.0, memory=lambda n: 2**20).memory_exponent is None
    grown = series("items", 1.0, memory=lambda n: 2**20 * n)
    assert grown.memory_exponent == pytest.approx(1.0) and grown.holds
    assert not series("items", 1.0, memory=lambda n: 1e5 * n**1.6).holds
    # From nothing to 100 MiB is growth, though nothing has no logarithm.
    assert 0 < series("items", 1.0, memory=lambda n: 100 * 2**20 * (n > 1000)).memory_exponent < 1


def test_a_record_names_what_does_not_hold_and_the_run_that_is_not_flat():
    good = GrowthRecord([series("items", 1.0), series("frames", 1.8)], {"server": 0.01, "client": -0.02}, 10_000)
    assert good.broken() == []
    assert [row["holds"] for row in good.laws()] == [True, True] and len(good.rows()) == 6
    assert {one.name: one.value for one in good.figures()}["memory growth of the server"] == pytest.approx(1.0)
    bad = GrowthRecord([series("items", 1.5)], {"client": 0.2}, 10_000)
    first, second = bad.broken()
    assert first.startswith("items: n^1.50") and second == "the memory of the client grew by 20.0% within the run"
    assert f"NOT HELD: {first}" in bad.notes()


def test_memory_of_this_process_is_measured():
    found = measured_here("items", [100, 1000, 10_000], lambda n: bytearray(1000 * n))
    assert [point.n for point in found.points] == [100, 1000, 10_000] * 3
    sizes, peaks = found.sizes, [found.memory(n)[1] for n in found.sizes]
    assert fit_growth(sizes, peaks).exponent == pytest.approx(1.0, abs=0.01)


def test_flatness_is_that_of_the_last_run_after_its_first_fifth():
    memory = _Memory(None)
    memory._spans["items"] = [(1e9 if i < 20 else 2e9 + 1e6 * i, 5e8) for i in range(100)]
    found = memory.flatness("items")
    assert found["client"] == 0.0
    assert found["server"] == pytest.approx((2e9 + 1e6 * 95.5) / (2e9 + 1e6 * 23.5) - 1)
    assert memory.flatness("clients") == {}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_series_is_measured_on_the_served_model(server):
    items = (4, 8, 16)
    sizes = {
        "words of a prompt": (8, 64, 256),
        "items": items,
        "transcripts read back": items,
        "pixels that the model sees": (64**2, 96**2, 128**2),
        "pixels above its limit": (512**2, 600**2, 700**2),
        "frames": (4, 8, 16),
        "clients": (1, 2, 3),
    }
    found = measure_all(server, sizes, dict.fromkeys(sizes, 1))
    assert [one.name for one in found.series if one.name not in sizes] == []
    assert len(found.series) == len(sizes) and found.of_items == 16
    assert all(len(one.points) >= 3 and min(point.seconds for point in one.points) > 0 for one in found.series)
    assert SIZES.keys() == sizes.keys()
    with pytest.raises(CourseError, match="no series"):
        measure_all(server, {"sounds": (1, 2, 3)})

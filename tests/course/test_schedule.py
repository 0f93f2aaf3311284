"""Which notebooks run side by side, in which order, and how many."""

import pytest

from course import schedule
from course.manifest import load_manifest
from helpers import machine
from tests.support.throwaway import entry

PLAIN = [entry(f"0{n}_part.ipynb", minutes={"cpu": minutes, "gpu": None}) for n, minutes in enumerate((1, 2, 5, None))]
SPEED = entry("04_speed.ipynb", measures_time=True)


@pytest.mark.parametrize(
    ("wanted", "device", "cores", "free", "jobs"),
    [
        (None, "cpu", 2, 9.0, 2),
        (None, "cpu", 16, 99.0, 2),
        (None, "cpu", 1, 99.0, 1),
        (None, "cpu", 2, 7.9, 1),
        (None, "cpu", 2, 0.5, 1),
        (None, "cuda", 16, 99.0, 1),
        (3, "cpu", 1, 99.0, 3),
        (3, "cpu", 2, 8.1, 2),
        (3, "cuda", 2, 0.5, 3),
    ],
)
def test_the_number_follows_cores_and_memory(monkeypatch, wanted, device, cores, free, jobs):
    monkeypatch.setattr(schedule.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(schedule, "free_gib", lambda: free)
    assert schedule.jobs_here(wanted, device, needs_gib=4.0) == jobs


def test_a_containers_limit_counts_as_memory(monkeypatch):
    monkeypatch.setattr(machine, "cgroup_memory", lambda: (3 * 2**30, 2**30))
    assert machine.free_gib() <= 2.0
    monkeypatch.setattr(machine, "cgroup_memory", lambda: (None, 0))
    assert machine.free_gib() > 0


def test_side_by_side_the_first_begins_then_the_longest_and_measurements_end():
    course = [SPEED.model_copy(update={"file": "00_speed.ipynb"}), *PLAIN[1:], SPEED, PLAIN[0]]
    assert schedule.in_order(course, 1, "cpu") == course
    order = schedule.in_order(course, 2, "cpu")
    # 01 is the first that shares, 03 has no measurement, 02 is longer than 00
    assert [listed.number for listed in order] == [1, 3, 2, 0, 0, 4]
    assert [listed.measures_time for listed in order] == [False] * 4 + [True] * 2
    assert schedule.in_order([SPEED], 2, "cpu") == [SPEED]


def test_company_needs_a_place_memory_and_nobody_who_measures(monkeypatch):
    monkeypatch.setattr(schedule, "free_gib", lambda: 4.5)
    first, second, third, _ = PLAIN
    assert schedule.may_start(SPEED, [], 2, 99.0)  # alone it may always try
    assert schedule.may_start(second, [first], 2, 4.0)
    assert not schedule.may_start(third, [first, second], 2, 4.0)
    assert not schedule.may_start(second, [first], 2, 5.0)
    assert not schedule.may_start(SPEED, [first], 2, 4.0)
    assert not schedule.may_start(first, [SPEED], 2, 4.0)


def test_the_notebooks_of_the_course_that_measure_time():
    """All show a server's speed. Notebook 08b trains as long as a clock says, on one core: it may have company."""
    assert [listed.label for listed in load_manifest().notebooks if listed.measures_time] == ["06", "06b", "07", "11"]

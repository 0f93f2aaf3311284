"""The command that runs the notebooks."""

import os

import pytest

from course import run_command as course
from course import schedule
from course.manifest import load_manifest
from helpers.errors import CourseError
from tests.support.throwaway import fields, notebook, write, write_manifest


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """A course of two throwaway notebooks in place of the real one; the second fails."""
    write(tmp_path, "00_good.ipynb", notebook("print('fine')"))
    write(tmp_path, "01_bad.ipynb", notebook("raise RuntimeError('<script>alert(1)</script>')"))
    path = write_manifest(tmp_path, fields("00_good.ipynb"), fields("01_bad.ipynb"))

    class Active:
        class profile:
            name, rehearse, small, needs_gib = "tiny", False, False, 0.0

        served_name, device = "tiny-qwen3-vl", "cpu"
        describe = staticmethod(lambda: "profile tiny: a model on cpu")

    monkeypatch.setattr(course, "MANIFEST_FILE", path)
    monkeypatch.setattr(course, "load_manifest", lambda: load_manifest(path))
    monkeypatch.setattr(course, "use_profile", lambda *_, **__: Active)
    return tmp_path


def test_the_command_runs_all_and_leaves_one_page(small_course, capsys):
    status = course.run_course(output=small_course / "outputs")
    assert status == 1
    page = (small_course / "outputs" / "summary.html").read_text()
    assert "1 of 2 notebooks failed" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert sorted(file.name for file in (small_course / "outputs").iterdir()) == [
        "00_good.html",
        "00_good.ipynb",
        "01_bad.html",
        "01_bad.ipynb",
        "results.json",
        "summary.html",
    ]
    said = capsys.readouterr().out
    assert "RuntimeError: <script>alert(1)</script>" in said
    assert "summary.html" in said


def test_the_command_runs_a_selection(small_course):
    assert course.run_course(only=["0"], output=small_course / "outputs") == 0
    assert "The notebook passed" in (small_course / "outputs" / "summary.html").read_text()


def test_a_run_of_one_notebook_keeps_what_is_known_of_the_others(small_course):
    for only in (["1"], ["0"]):
        course.run_course(only=only, output=small_course / "outputs")
    page = (small_course / "outputs" / "summary.html").read_text()
    assert "The notebook passed; 1 from earlier runs" in page
    assert "&lt;script&gt;" in page and 'href="01_bad.html"' in page


def test_the_command_refuses_an_unknown_notebook_before_it_runs_any(small_course):
    with pytest.raises(CourseError, match="no notebook '9'"):
        course.run_course(only=["9"], output=small_course / "outputs")
    assert not (small_course / "outputs").exists()


def test_an_unknown_profile_is_refused():
    with pytest.raises(CourseError, match="nosuch"):
        course.run_course(profile="nosuch", output="unused")


@pytest.mark.parametrize(("device", "alone"), [("cpu", []), ("cuda", [True])])
def test_a_rehearsal_in_miniature_measures_nothing_so_nobody_runs_alone(small_course, monkeypatch, device, alone):
    """On a GPU an engine still takes most of its memory."""
    started = {}
    active = course.use_profile()
    monkeypatch.setattr(active.profile, "small", True)
    monkeypatch.setattr(active, "device", device)
    monkeypatch.setattr(schedule, "free_gib", lambda: 99.0)
    monkeypatch.setattr(schedule.os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    monkeypatch.setattr(course, "run_notebooks", lambda entries, *rest, **_: started.update(entries=entries, rest=rest))
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    write_manifest(small_course, fields("00_good.ipynb", measures_time=True), fields("01_bad.ipynb"))
    course.run_course(output=small_course / "outputs")
    assert [entry.measures_time for entry in started["entries"] if entry.measures_time] == alone
    assert started["rest"][2].jobs == (1 if alone else 3)
    assert os.environ.get("OMP_NUM_THREADS") == (None if alone else "1")

"""Verdicts of tests are nobody's progress."""

import pytest

pytest.register_assert_rewrite("tests.support.exercise_answers")


@pytest.fixture(autouse=True)
def log(monkeypatch, tmp_path):
    """The file that verdicts are written to."""
    path = tmp_path / "outputs" / "exercises.jsonl"
    monkeypatch.setenv("COURSE_EXERCISES_LOG", str(path))
    return path

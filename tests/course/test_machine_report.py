"""What ``course env`` prints."""

import json
from dataclasses import replace

import pytest

from course import machine_report
from course.machine_report import report_machine
from tests.support.machines import HEALTHY
from toolkit.machine_check import checks


@pytest.mark.parametrize(
    ("found", "code", "words"), [(HEALTHY, 0, "is ready"), (replace(HEALTHY, python="3.9.1"), 1, "not ready")]
)
def test_command_exit_status_text_and_json(monkeypatch, capsys, found, code, words):
    monkeypatch.setattr(checks, "look_here", lambda: found)
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert report_machine() == code
    assert words in capsys.readouterr().out
    assert report_machine(as_json=True) == code
    data = json.loads(capsys.readouterr().out)
    assert data["ready"] is (code == 0) and {"findings", "packages", "profiles"} <= set(data)


def test_outputs_that_cannot_be_written_make_the_machine_not_ready(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(checks, "look_here", lambda: HEALTHY)
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(machine_report, "OUTPUTS", tmp_path / "file" / "outputs")
    assert report_machine() == 1
    assert "cannot be written: set COURSE_OUTPUTS" in capsys.readouterr().out
    monkeypatch.setattr(machine_report, "OUTPUTS", tmp_path / "absent" / "outputs")
    assert report_machine() == 0
    assert f"Outputs go to {tmp_path / 'absent' / 'outputs'}." in capsys.readouterr().out

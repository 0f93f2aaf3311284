"""The static checks: one line per tool, and a status that no failing tool escapes."""

import shutil
import sys
from pathlib import Path

from course import lint


def tool(status, text=""):
    """A command of this interpreter's folder that prints a text and ends with a status."""
    return [Path(sys.executable).name, "-c", f"print({text!r}); raise SystemExit({status})"]


def test_all_tools_run_and_one_failure_decides(monkeypatch, capsys):
    monkeypatch.setattr(lint, "TOOLS", {"first": tool(1, "a finding"), "second": tool(0, "nothing to report")})
    assert lint.lint() == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("first          failed in ")
    assert said[1] == "a finding"
    assert said[-1].startswith("second         passed in ")
    assert "nothing to report" not in said


def test_nothing_found_is_a_line_per_tool(monkeypatch, capsys):
    monkeypatch.setattr(lint, "TOOLS", {"first": tool(0), "second": tool(0)})
    assert lint.lint() == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_tools_are_installed_beside_this_interpreter():
    assert all(shutil.which(command[0], path=str(Path(sys.executable).parent)) for command in lint.TOOLS.values())

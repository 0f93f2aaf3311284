"""Programs that are run to their end, and programs that end with their owner."""

import os
import sys

import pytest

from helpers.processes import SupervisedProcess, last_lines, run_to_end
from tests.support.ended import assert_ended

ECHO = "import sys; print(sys.stdin.read().upper()); print('oh', file=sys.stderr); sys.exit(3)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
if "stay" in sys.argv:
    time.sleep(600)
"""


def test_input_status_output_and_errors():
    ended = run_to_end([sys.executable, "-c", ECHO], text="abc", errors_apart=True)
    assert (ended.status, ended.output, ended.errors) == (3, "ABC\n", "oh\n")
    assert "oh" in run_to_end([sys.executable, "-c", ECHO]).output
    with pytest.raises(OSError):
        run_to_end(["/no/such/program"])


@pytest.mark.parametrize("stay", [[], ["stay"]])
def test_nothing_is_left_behind_by_a_program_that_ends_or_is_too_slow(stay):
    ended = run_to_end([sys.executable, "-c", PARENT, *stay], timeout=10 if stay else 120)
    assert ended.status == (None if stay else 0)
    assert_ended([int(ended.output)])


def test_the_last_lines_are_shown():
    assert last_lines("a\rb\n\nc\n") == "a\nb\nc" and last_lines("\n") == "it printed nothing"


def test_a_supervised_process_ends_with_all_below_it(tmp_path):
    process = SupervisedProcess([sys.executable, "-c", PARENT, "stay"], os.environ, tmp_path / "log")
    assert process.poll() is None and process.watch()
    pid = process.pid
    process.end()
    assert process.poll() is not None
    printed = (tmp_path / "log").read_text().split()
    assert_ended([pid, *map(int, printed)])

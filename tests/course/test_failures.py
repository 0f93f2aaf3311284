"""Causes and remedies of what stops a notebook."""

import pytest

from course.failures import diagnose, kernel_died, timed_out
from helpers.errors import CourseError
from helpers.server import ServerError


def test_a_course_error_keeps_its_own_cause_and_remedy():
    error = CourseError("Port 8085 is taken.", "an earlier server", "stop it\nor use --port")
    failure = diagnose("CourseError", str(error), cell="In [4]")
    assert (failure.what, failure.cause, failure.remedy) == (error.what, error.cause, error.remedy)
    assert failure.cell == "In [4]"


def test_a_server_that_ended_keeps_its_cause_and_remedy_without_its_log(tmp_path):
    error = ServerError("The server has ended.", "it was stopped", "start it again", tmp_path / "log", "CUDA error: x")
    failure = diagnose("ServerError", str(error))
    assert (failure.what, failure.cause, failure.remedy) == (error.what, error.cause, error.remedy)


@pytest.mark.parametrize(
    ("name", "message", "cause", "remedy"),
    [
        ("ModuleNotFoundError", "No module named 'qwen_vl_utils'", "'qwen_vl_utils'", "make setup"),
        ("RuntimeError", "operator torchvision::nms does not exist", "different builds", "make clean setup"),
        (
            "OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 2 GiB",
            "the GPU does not have enough memory",
            "smaller profile",
        ),
        ("ValueError", "No available memory for the cache blocks.", "KV cache", "max_model_len"),
        ("APIConnectionError", "Connection error.", "no server", "from the top"),
        ("OSError", "[Errno 98] Address already in use", "port", "another port"),
        ("OSError", "[Errno 28] No space left on device", "disk is full", "free"),
        ("AssertionError", "", "check in the notebook", "statement"),
    ],
)
def test_known_errors_get_cause_and_remedy(name, message, cause, remedy):
    failure = diagnose(name, message)
    assert cause in failure.cause
    assert remedy in failure.remedy


def test_an_unknown_error_shows_itself_and_the_end_of_its_traceback():
    traceback = "\n".join([*(f"line {n}" for n in range(50)), "\x1b[31mKeyError\x1b[0m: 'colour'"])
    failure = diagnose("KeyError", "'colour'", traceback, cell="In [2]", source="x['colour']")
    assert failure.what == "KeyError: 'colour'"
    assert failure.detail.endswith("KeyError: 'colour'")
    assert "line 3\n" not in failure.detail
    assert failure.source == "x['colour']"


@pytest.mark.parametrize(
    ("exit_code", "memory", "expected"),
    [
        (-9, None, "out of memory"),
        (-9, 0.2, "0.2 GiB of memory was left"),
        (-4, None, "instruction that this CPU does not have"),
        (-11, None, "native code"),
        (3, None, "called exit"),
        (None, 0.3, "memory ran out; 0.3 GiB"),
    ],
)
def test_a_dead_kernel_names_the_likely_cause(exit_code, memory, expected):
    assert expected in kernel_died(exit_code, memory).cause


def test_a_dead_kernel_tells_its_signal_or_status():
    assert "SIGKILL" in kernel_died(-9).what
    assert "exit status 3" in kernel_died(3).what


def test_a_timeout_names_the_cell_and_the_limit_to_raise():
    assert "In [5]" in timed_out(30, whole_notebook=False, cell="In [5]").what
    assert "timeout.cell" in timed_out(30, whole_notebook=False, cell="In [5]").remedy
    assert "timeout.notebook" in timed_out(30, whole_notebook=True, cell="In [5]").remedy

"""A server in the foreground."""

import pytest

from course.serving import serve_until_interrupted
from helpers.errors import CourseError
from helpers.server import Address


def test_the_foreground_command_refuses_what_it_cannot_do(monkeypatch):
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    with pytest.raises(CourseError, match="no profile 'gigantic'"):
        serve_until_interrupted("gigantic", Address(), None, False)

"""The dimensions that two answers are compared by, from ``data/rubric.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from helpers.files import COURSE_ROOT, read_entries

RUBRIC_FILE = COURSE_ROOT / "data" / "rubric.yaml"
#: The dimension that facts decide; judges are validated by it.
DETAIL = "detail"

_Words = Annotated[str, Field(min_length=1)]


class Dimension(BaseModel):
    """One question about two answers; the fields are explained in ``data/rubric.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern="^[a-z][a-z_]*$")
    title: _Words
    question: _Words
    look_at: tuple[_Words, ...] = Field(min_length=1)
    must_not_count: tuple[_Words, ...] = Field(min_length=1)


def read_rubric(path: Path = RUBRIC_FILE) -> dict[str, Dimension]:
    """The dimensions by name, in the file's order.

    Raises:
        CourseError: the file is missing or is not YAML, or a key is unknown, missing or has a wrong value; the message
            names the dimension and the key.
    """
    return read_entries(path, "dimension", Dimension)

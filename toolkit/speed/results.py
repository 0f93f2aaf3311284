"""Results of benchmarks: one dated JSON file per run of a part, never changed or replaced afterwards.

A file stands for itself: machine, versions, command and date are in it, so that a figure can be judged and repeated
years later. A later version of this format may add fields that have defaults; it takes none away.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, first_mistake, shown, write_whole, writing
from helpers.provenance import MachineRecord

FOLDER = COURSE_ROOT / "benchmarks"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Frozen):
    """One number, with its unit and, where it is known, the interval around it."""

    name: str = Field(min_length=1)
    value: Finite | None
    """None: could not be measured; ``about`` says why."""
    unit: str
    low: Finite | None = None
    high: Finite | None = None
    about: str = ""

    @model_validator(mode="after")
    def _interval_is_whole(self) -> Self:
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if len(bounds) == 1 or bounds != sorted(bounds):
            raise ValueError("low and high are given together, low first")
        if self.value is None and not self.about:
            raise ValueError("a figure without a value says why")
        return self


class BenchResult(_Frozen):
    """What one part of the benchmark found on one day."""

    format: Literal[1] = 1
    part: Name
    title: str = Field(min_length=1)
    profile: str = ""
    """Empty where no model took part."""
    date: datetime.date
    time: datetime.datetime
    """When it began, UTC."""
    machine: MachineRecord
    versions: dict[str, str] = Field(min_length=1)
    command: tuple[str, ...] = Field(min_length=1)
    """What was run, word by word, as a person would type it in the course's folder."""
    settings: dict[str, Any] = {}
    seconds: float = Field(ge=0, allow_inf_nan=False)
    """The part took so long, with everything around the measurement."""
    figures: tuple[Figure, ...] = Field(min_length=1)
    tables: dict[str, list[dict[str, Any]]] = {}
    """Title -> rows, for what does not fit in a list of figures."""
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _time_and_names(self) -> Self:
        if self.time.tzinfo is None or self.time.astimezone(datetime.UTC).date() != self.date:
            raise ValueError("date is that of time, in UTC")
        names = [figure.name for figure in self.figures]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two figures are called '{twice[0]}'")
        return self


# ---------------------------------------------------------------- files


def write_result(result: BenchResult, folder: Path = FOLDER) -> Path:
    """Write a result to a file of its own, ``DATE-PART[-PROFILE].json``, and return its path.

    A file that is there is kept: the next one of the same day gets a number.

    Raises:
        CourseError: the folder cannot be written.
    """
    stem = "-".join(filter(None, [result.date.isoformat(), result.part, result.profile]))
    with writing(folder, "use another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        names = (f"{stem}.json" if number == 1 else f"{stem}-{number}.json" for number in count(1))
        path = next(folder / name for name in names if not (folder / name).exists())
        write_whole(path, result.model_dump_json(indent=1) + "\n")
    return path


def read_result(path: Path) -> BenchResult:
    """Read and check one file.

    Raises:
        CourseError: it cannot be read, or is not a result; the message names the key.
    """
    try:
        return BenchResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CourseError(f"{shown(path)} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise CourseError(
            f"{shown(path)} is no result of a benchmark.",
            first_mistake(error),
            "restore it, or move it out of the folder",
        ) from None


def read_results(folder: Path = FOLDER) -> list[BenchResult]:
    """All results of a folder, oldest first; files whose names do not begin with a date are left alone.

    Raises:
        CourseError: as `read_result`, for the first file that is none.
    """
    paths = sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-*.json"))
    return sorted(map(read_result, paths), key=lambda result: (result.time, result.part))


def latest(results: Iterable[BenchResult]) -> list[BenchResult]:
    """The newest result of each part and profile, in the order in which they were measured."""
    newest: dict[tuple[str, str], BenchResult] = {}
    for result in sorted(results, key=lambda result: result.time):
        newest.pop((result.part, result.profile), None)
        newest[result.part, result.profile] = result
    return list(newest.values())

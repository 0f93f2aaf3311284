"""The instructor guide: from ``data/workshop.yaml``, the manifest and the sized server, as Markdown and as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from course.manifest import Manifest, load_manifest
from course.workshop.sizing import SeatServer
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, first_mistake, read_yaml, write_whole
from helpers.templates import render

GUIDE_FILE = COURSE_ROOT / "data" / "workshop.yaml"
TEMPLATES = Path(__file__).parent
#: Minutes to which a time plan rounds up.
GRAIN = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Part):
    """A part of a day: a share of a chapter, whose minutes follow from the manifest, or something else."""

    chapter: str | None = None
    share: float = Field(default=1, gt=0, le=1)
    """Of the learner's minutes; the chapter runs as a whole."""
    what: str = ""
    minutes: int | None = Field(default=None, gt=0)
    do: str

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if bool(self.chapter) == bool(self.what) or bool(self.what) != bool(self.minutes):
            raise ValueError("a step has either 'chapter' or 'what' with 'minutes'")
        return self


class Day(_Part):
    """Its minutes, breaks included, and its steps in order."""

    minutes: int = Field(gt=0)
    steps: tuple[Step, ...] = Field(min_length=1)


class Plan(_Part):
    name: str
    days: tuple[Day, ...] = Field(min_length=1)


class Exchange(_Part):
    """What learners ask and what to answer, or where they get stuck and what helps."""

    when: str
    then: str


class Chapter(_Part):
    """What a teacher should know of a chapter."""

    say: tuple[str, ...] = Field(min_length=2)
    questions: tuple[Exchange, ...] = Field(min_length=2)
    stuck: tuple[Exchange, ...] = Field(min_length=2)


class Guide(_Part):
    """``data/workshop.yaml``."""

    plans: tuple[Plan, ...] = Field(min_length=1)
    chapters: dict[str, Chapter]


def load_guide(path: Path = GUIDE_FILE, manifest: Manifest | None = None) -> Guide:
    """Read and check the guide against the manifest.

    Raises:
        CourseError: not readable, a wrong key, a chapter that is missing or unknown, or a day that does not hold its
            steps.
    """
    manifest = manifest or load_manifest()
    try:
        guide = Guide(**read_yaml(path))
    except (ValidationError, TypeError) as error:
        raise CourseError(f"{path.name} cannot be used.", first_mistake(error), "mend that key") from None
    labels = {entry.label for entry in manifest.notebooks}
    named = {step.chapter for plan in guide.plans for day in plan.days for step in day.steps if step.chapter}
    if wrong := sorted((named - labels) | (labels ^ set(guide.chapters))):
        what = f"{path.name} and course.yaml do not name the same chapters: {', '.join(wrong)}."
        raise CourseError(what, "a chapter was added, removed or renamed", f"mend {path.name}")
    for plan in guide.plans:
        for number, day in enumerate(plan.days, 1):
            if (used := sum(minutes_of(step, manifest) for step in day.steps)) > day.minutes:
                what = f"{path.name}: day {number} of '{plan.name}' takes {used} minutes and has {day.minutes}."
                raise CourseError(what, "a chapter has grown", "lower a 'share', or leave a step out")
    return guide


def minutes_of(step: Step, manifest: Manifest) -> int:
    """A step's minutes: its own, or the machine's measured ones and the share of the learner's estimated ones."""
    if step.minutes:
        return step.minutes
    (entry,) = [entry for entry in manifest.notebooks if entry.label == step.chapter]
    return GRAIN * math.ceil(((entry.minutes.cpu or 0) + step.share * entry.learner_minutes) / GRAIN)


def timetable(day: Day, manifest: Manifest) -> Iterator[tuple[str, int, str, str]]:
    """(time from the day's beginning as '1:05', minutes, what, how) of each step, and what is left at the end."""
    titles = {entry.label: f"{entry.label} · {entry.title}" for entry in manifest.notebooks}
    passed = 0
    for step in day.steps:
        minutes = minutes_of(step, manifest)
        yield _clock(passed), minutes, titles[step.chapter] if step.chapter else step.what, step.do
        passed += minutes
    if passed < day.minutes:
        yield _clock(passed), day.minutes - passed, "Reserve", "for whatever took longer"


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def write_guide(out: Path, guide: Guide, server: SeatServer, *, python: str, with_wheels: bool) -> None:
    from markdown_it import MarkdownIt

    manifest = load_manifest()
    text = render(
        TEMPLATES / "guide.md.j2",
        server=server,
        plans=[(plan.name, [(day, list(timetable(day, manifest))) for day in plan.days]) for plan in guide.plans],
        chapters=[(entry, guide.chapters[entry.label]) for entry in manifest.notebooks],
        python=python,
        with_wheels=with_wheels,
    )
    write_whole(out / "guide.md", text)
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    write_whole(out / "guide.html", render(TEMPLATES / "guide.html.j2", body=body))

"""The manifest of the course, ``notebooks/course.yaml``: which notebooks, in which order, and what they need."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_yaml

MANIFEST_FILE = COURSE_ROOT / "notebooks" / "course.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Minutes(_Entry):
    """Duration of 'Run All' in minutes by class of profile; None means not measured."""

    cpu: float | None = Field(gt=0)
    gpu: float | None = Field(gt=0)


class Timeout(_Entry):
    """Seconds after which the notebook, or one of its cells, is given up."""

    notebook: int = Field(gt=0)
    cell: int = Field(gt=0)


def label_of(file: str) -> str:
    """What a notebook's file name begins with: ``06`` or ``06b``."""
    return file.split("_", 1)[0]


class NotebookEntry(_Entry):
    """One notebook of the course; the fields are explained in ``notebooks/course.yaml``."""

    file: str = Field(pattern=r"^\d\d[a-z]?_[a-z0-9_]+\.ipynb$")
    title: str = Field(min_length=3)
    summary: str = Field(min_length=10)
    minutes: Minutes
    learner_minutes: int = Field(gt=0)
    needs: list[str]
    profiles: Literal["all"] | list[str] = Field(min_length=1)
    timeout: Timeout
    part: str = ""
    builds_on: list[str] = []
    measures_time: bool = False
    rehearsal: dict[str, Any] = {}

    @field_validator("summary")
    @classmethod
    def _one_sentence(cls, summary: str) -> str:
        if not summary.endswith(".") or ". " in summary:
            raise ValueError("must be one sentence that ends with a full stop")
        return summary

    @property
    def number(self) -> int:
        """The place in the course: the two digits that the file name begins with."""
        return int(self.file[:2])

    @property
    def label(self) -> str:
        """The number as readers know it: two digits, and a letter if several notebooks share them (``06b``)."""
        return label_of(self.file)

    @property
    def stem(self) -> str:
        return self.file.removesuffix(".ipynb")

    @property
    def you_can(self) -> str:
        """The summary as it goes on from 'afterwards you can'."""
        return self.summary[0].lower() + self.summary[1:].removesuffix(".")

    def runs_on(self, profile: str) -> bool:
        return self.profiles == "all" or profile in self.profiles


class Manifest(_Entry):
    """All notebooks in the order of the course."""

    notebooks: list[NotebookEntry] = Field(min_length=1)

    def select(self, only: Sequence[str | int] | None = None) -> list[NotebookEntry]:
        """The entries named by number or file name, in the order of the course; all without names.

        A number takes every notebook that begins with it: ``8`` both 08 and 08b, ``"8b"`` the second.

        Raises:
            CourseError: a name that fits no notebook.
        """
        if not only:
            return list(self.notebooks)
        chosen = set()
        for name in map(str, only):
            stem = name.rsplit("/", 1)[-1].removesuffix(".ipynb")
            found = [
                entry.file
                for entry in self.notebooks
                if entry.stem == stem
                or (stem.isdecimal() and int(stem) == entry.number)
                or stem.zfill(3) == entry.label
            ]
            if not found:
                known = ", ".join(entry.stem for entry in self.notebooks)
                raise CourseError(
                    f"There is no notebook '{name}'.", "a misspelt number or name", f"use one of: {known}"
                )
            chosen.update(found)
        return [entry for entry in self.notebooks if entry.file in chosen]


def load_manifest(path: Path | None = None, *, must_exist: bool = True) -> Manifest:
    """Read and check the manifest.

    Args:
        path: the file; the course's own by default.
        must_exist: refuse entries whose notebook is not on disk.

    Raises:
        CourseError: not YAML (with the line), an unknown, missing or wrong key (with notebook and key), two notebooks
            with one number, a wrong order, or a notebook that is not on disk.
    """
    path = Path(path or MANIFEST_FILE)
    raw = read_yaml(path)
    try:
        manifest = Manifest(**raw)
    except (ValidationError, TypeError) as error:
        raise CourseError(
            f"{path.name} cannot be used.", _mistake(error, raw), f"fix that key in {path.name}"
        ) from None
    labels = [entry.label for entry in manifest.notebooks]
    for before, after in itertools.pairwise(labels):
        if after <= before:
            what = "have the same number" if after == before else "are not in ascending order"
            raise CourseError(
                f"{path.name}: two entries {what}, {before} and {after}.",
                "the two digits of 'file', and a letter if there is one, are the place in the course",
                "rename one of the files, or reorder the entries",
            )
    for entry in manifest.notebooks:
        if must_exist and not (path.parent / entry.file).is_file():
            raise CourseError(
                f"{path.name}: key 'file': there is no {entry.file} beside it.",
                "the notebook was moved or renamed, or the name is misspelt",
                "restore the notebook, or fix the entry",
            )
    return manifest


def _mistake(error: Exception, raw: dict) -> str:
    """The first finding as 'notebook, key: message'."""
    if not isinstance(error, ValidationError):
        return str(error)
    finding = error.errors()[0]
    where, keys = "", [str(part) for part in finding["loc"]]
    if len(keys) > 1 and keys[1].isdecimal():
        entry = raw["notebooks"][int(keys[1])]
        name = entry.get("file") if isinstance(entry, dict) else None
        where = f"{name or 'entry ' + str(int(keys[1]) + 1)}, "
        keys = keys[2:]
    keys = [key for key in keys if key not in ("list[str]", "literal['all']")]
    return f"{where}key '{'.'.join(keys)}': {finding['msg']}"

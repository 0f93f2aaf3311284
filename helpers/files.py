"""Where the course and its outputs are, files written whole, YAML read with messages that name the line or key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from helpers.errors import CourseError

COURSE_ROOT = Path(os.environ.get("COURSE_ROOT") or Path(__file__).resolve().parents[1])


def writable_place(environment: Mapping[str, str] = os.environ, root: Path = COURSE_ROOT) -> Path:
    """The course's folder, or one of the user's own where that cannot be written, as in a shared installation."""
    if all(os.access(path, os.W_OK) for path in (root, root / "outputs") if path.exists()):
        return root
    return Path(environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "qwen3-vl-course"


#: Where everything that runs leave behind goes.
OUTPUTS = Path(os.environ.get("COURSE_OUTPUTS") or writable_place() / "outputs").expanduser().absolute()


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse a YAML file whose top level is a mapping.

    Raises:
        CourseError: missing file, or text that is not YAML (with the line).
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"{path.name} cannot be read.", str(error.strerror), f"restore {path.name}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        tab = "a tab character; YAML is indented with spaces" if "\\t" in problem else problem
        raise CourseError(f"{path.name}{where}: not valid YAML.", tab, "fix that line") from None
    if not isinstance(data, dict):
        raise CourseError(f"{path.name}: its top level is not a mapping.", "the file is empty or a list")
    return data


def first_mistake(error: Exception) -> str:
    """The first finding of a pydantic error as 'key: message'."""
    if isinstance(error, ValidationError):
        finding = error.errors()[0]
        key = ".".join(str(part) for part in finding["loc"])
        return f"key '{key}': {finding['msg']}"
    return str(error)


def read_entries(path: Path, kind: str, build: Callable[..., Any]) -> dict[str, Any]:
    """Named entries of one kind, each checked, in the file's order.

    Args:
        path: a YAML file with the top-level key ``<kind>s``, a mapping of names to mappings.
        kind: what an entry is called in messages, such as 'profile'.
        build: a pydantic model, called with ``name`` and the entry's fields.

    Raises:
        CourseError: the file is missing, is not YAML, or a key is unknown, missing or has a wrong value; the message
            names the key.
    """
    entries = read_yaml(path).get(f"{kind}s")
    if not isinstance(entries, dict) or not entries:
        raise CourseError(f"{path.name}: no {kind}s in it.", f"the top-level key '{kind}s' is missing or empty")
    built = {}
    for name, fields in entries.items():
        if not isinstance(fields, dict):
            raise CourseError(f"{path.name}: {kind} '{name}' is not a mapping.", "", "indent its keys below its name")
        try:
            built[str(name)] = build(name=str(name), **fields)
        except (ValidationError, TypeError) as error:
            raise CourseError(
                f"{path.name}: {kind} '{name}' cannot be used.", first_mistake(error), "fix that key and try again"
            ) from None
    return built


def shown(path: str | Path) -> str:
    """Relative to the course's folder where it lies in it."""
    try:
        return str(Path(path).relative_to(COURSE_ROOT))
    except ValueError:
        return str(path)


def search_path(environment: Mapping[str, str]) -> str:
    """``PYTHONPATH`` with which a process that is started in this environment finds the course's package."""
    return os.pathsep.join(filter(None, [str(COURSE_ROOT), environment.get("PYTHONPATH")]))


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all: who reads it meanwhile sees the old one; a full disk leaves it alone."""
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def append_entry(path: Path, entry: dict[str, Any]) -> None:
    """Append to a file that holds a JSON list, which is made if it is missing; written as `write_whole` does."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    write_whole(path, json.dumps([*known, entry], indent=1) + "\n")


@contextmanager
def writing(what: str | Path, remedy: str = "") -> Iterator[None]:
    """Tell of a disk that is full or read-only by a `CourseError`; ``what`` is a path, or words that name one."""
    try:
        yield
    except OSError as error:
        name, cause = (
            shown(what) if isinstance(what, Path) else what,
            "a read-only or full disk, or a name that is taken",
        )
        raise CourseError(f"Cannot write {name}: {error.strerror or error}.", cause, remedy) from None

"""From a notebook's error to a cause and a remedy that a reader can act on."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace

import yaml

from helpers.files import COURSE_ROOT
from helpers.server_log import recognise

KNOWN_ERRORS = COURSE_ROOT / "data" / "notebook_errors.yaml"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Lines of a traceback that are kept.
DETAIL_LINES = 15
#: Characters of an exception's first line that are kept.
MAX_WHAT = 300


@dataclass(frozen=True)
class Failure:
    """Why a notebook stopped. ``cell`` is what the executed notebook shows beside the cell, as 'In [7]'."""

    what: str
    cause: str
    remedy: str
    cell: str = ""
    source: str = ""
    detail: str = ""


def plain(text: str) -> str:
    """The text without terminal colours."""
    return _ANSI.sub("", text)


def _end_of(text: str) -> str:
    return "\n".join(plain(text).strip().splitlines()[-DETAIL_LINES:])


def diagnose(name: str, message: str, traceback: str = "", *, cell: str = "", source: str = "") -> Failure:
    """Cause and remedy of an exception that a cell raised.

    Args:
        name: the exception's class, without module.
        message: its text; a ``CourseError`` carries cause and remedy itself, and they are passed on unchanged.
        traceback: as the kernel sent it; its last lines become the detail.
    """
    message = plain(message).strip()
    where = {"cell": cell, "source": source, "detail": _end_of(traceback)}
    if name == "CourseError" or "\nWhat to do: " in message:  # a subclass may add the end of a log
        told = message.partition("\nThe end of its log")[0]
        parts = re.split(r"^(Likely cause|What to do): ", told, flags=re.MULTILINE)
        given = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
        return Failure(parts[0].strip(), given.get("Likely cause", ""), given.get("What to do", ""), **where)
    first_line = message.splitlines()[0] if message else ""
    what = f"{name}: {first_line}"[:MAX_WHAT] if first_line else name
    for error in yaml.safe_load(KNOWN_ERRORS.read_text(encoding="utf-8")):
        if found := re.search(error["pattern"], f"{name}: {message}"):
            return Failure(what, error["cause"].format(**found.groupdict()), error["remedy"], **where)
    if known := recognise(f"{name}: {message}"):
        return Failure(what, known.cause, known.remedy, **where)
    cause = "not a known one; the last lines of the traceback are below"
    return Failure(what, cause, "open the executed notebook at that cell, fix it there, and run it again", **where)


def kernel_died(
    exit_code: int | None,
    lowest_memory_gib: float | None = None,
    *,
    cell: str = "",
    source: str = "",
    last_words: str = "",
) -> Failure:
    """Cause and remedy of a kernel that ended by itself.

    Args:
        exit_code: of the kernel's process, negative for a signal; None if unknown.
        lowest_memory_gib: the least available memory that was seen while the notebook ran.
        last_words: what the process itself had written; the end becomes the detail.
    """
    memory = ""
    if lowest_memory_gib is not None and lowest_memory_gib < 1:
        memory = f"; {lowest_memory_gib:.1f} GiB of memory was left shortly before"
    name, how = "", "died" if exit_code is None else f"ended with exit status {exit_code}"
    if exit_code is not None and exit_code < 0:
        known = -exit_code in set(signal.Signals)
        name = signal.Signals(-exit_code).name if known else f"signal {-exit_code}"
        how = f"was killed ({name})"
    found = diagnose("KernelDied", f"{name}{memory}", last_words, cell=cell, source=source)
    return replace(found, what=f"The notebook's kernel {how}.")


def timed_out(seconds: float, *, whole_notebook: bool, cell: str = "", source: str = "") -> Failure:
    """Cause and remedy of a cell that took longer than the manifest allows."""
    what = "The notebook" if whole_notebook else "A cell"
    key = "timeout.notebook" if whole_notebook else "timeout.cell"
    return Failure(
        f"{what} took longer than {seconds:g} seconds and was stopped at {cell}.",
        "a slower machine than the limit was made for, or something that waits forever",
        f"raise {key} in notebooks/course.yaml if the cell was still making progress",
        cell=cell,
        source=source,
    )

"""JSONL files that are only ever appended to, so that a killed program loses at most the line that it was writing.

Writing::

    with JsonlWriter(path) as writer:
        writer.append({"item": 1})

Reading: `read_rows` returns dictionaries; `read_lines` parses line by line, for files that do not fit in memory.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from helpers.errors import CourseError
from helpers.files import first_mistake, shown

Row = TypeVar("Row")
_BLOCK = 1 << 16


class JsonlWriter:
    """Appends to a file, as its only writer. Opening creates the file and its folders, and repairs a torn last line.

    Args:
        path: of the file.
        parse: raises ValueError for a line that is not whole; see `repair_last_line`.
        what: of what the lines are, in messages.

    Raises:
        CourseError: another process writes to the file, or it cannot be written.
    """

    def __init__(self, path: str | Path, parse: Callable[[bytes], Any] = json.loads, what: str = "lines"):
        import fcntl

        self.path, self._what = Path(path), what
        self.repaired: str | None = None
        """What was done to a torn last line, for people; None if there was none."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._cannot_write(error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.repaired = repair_last_line(self.path, parse)
        except BlockingIOError:
            self._file.close()
            raise CourseError(
                f"Another process writes to {shown(self.path)}.",
                "a run that has not ended yet",
                "wait for it or stop it, or name another file",
            ) from None
        except OSError as error:
            self._file.close()
            raise self._cannot_write(error) from None

    def append(self, row: Mapping[str, Any] | str) -> None:
        """Write one row (a mapping, or its JSON). The operating system has it when this returns.

        Raises:
            CourseError: a full disk, say. What was written of the line is taken back.
        """
        line = memoryview((row if isinstance(row, str) else json.dumps(row)).encode() + b"\n")
        begin = self._file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(begin)
            raise self._cannot_write(error) from None

    def close(self) -> None:
        """Wait until the lines are on the disk, and let others write."""
        if not self._file.closed:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._cannot_write(error) from None
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _cannot_write(self, error: OSError) -> CourseError:
        return CourseError(
            f"Cannot write {self._what} to {shown(self.path)}: {error.strerror}.",
            "a read-only or full disk, or a folder of that name",
            "fix that and start again; what is in the file is kept",
        )


def append_row(path: str | Path, row: Mapping[str, Any]) -> None:
    """Append one row, as `JsonlWriter` does, and wait until it is on the disk.

    Raises:
        CourseError: as `JsonlWriter`.
    """
    with JsonlWriter(path) as writer:
        writer.append(row)


def read_lines(
    path: str | Path, parse: Callable[[bytes], Row] = json.loads, what: str = "JSON"
) -> Iterator[tuple[int, Row]]:
    """Parse a file line by line, and yield each row with the byte offset at which its line begins.

    Only writers repair: a torn last line (killed, or being written just now) is omitted here, with a warning.

    Args:
        path: of the file.
        parse: raises ValueError for what is no row (pydantic's error is one).
        what: what a line should be, in messages.

    Raises:
        CourseError: no such file, or a line that `parse` refuses (its number is named).
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        cause = f"{shown(path)} cannot be read: {error.strerror}."
        raise CourseError(cause, "a misspelt path", "look at the path") from None
    begin = 0
    with file:
        for number, line in enumerate(file, start=1):  # split at \n alone: texts may hold other line ends
            if line.strip():
                try:
                    row = parse(line)
                except ValueError as error:
                    if not line.endswith(b"\n"):
                        warnings.warn(f"{path.name}: its last line is torn and was omitted.", stacklevel=3)
                        return
                    raise CourseError(
                        f"{path.name} line {number} is not {what}.", first_mistake(error), "fix or delete it"
                    ) from None
                yield begin, row
            begin += len(line)


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file, none if there is no such file; otherwise as `read_lines`."""
    lines: Iterator[tuple[int, dict[str, Any]]] = read_lines(path)
    return [row for _, row in lines] if Path(path).is_file() else []


def repair_last_line(path: Path, parse: Callable[[bytes], Any] = json.loads) -> str | None:
    """Repair a last line that a killed writer left without its end; say for people what was done, None if nothing.

    A line that `parse` accepts gets its end. Else its bytes move to a file of the same name with ``.torn`` added.

    Raises:
        OSError: the file cannot be read, or not be written although it must.
    """
    with path.open("rb") as file:
        begin, torn = _unfinished_line(file)
    if not torn:
        return None
    try:
        parse(torn)
    except ValueError:
        aside = path.with_name(f"{path.name}.torn")
        with aside.open("ab") as other:  # saved first, cut then: killed in between, it is there twice
            other.write(torn + b"\n")
            other.flush()
            os.fsync(other.fileno())
        os.truncate(path, begin)
        return f"{path.name}: a torn last line of {len(torn)} bytes was moved to {aside.name}."
    with path.open("ab") as appended:
        appended.write(b"\n")
    return f"{path.name}: the last line got the end that it lacked."


def _unfinished_line(file: BinaryIO) -> tuple[int, bytes]:
    """Where the last line without an end begins, and its bytes (b'' if the file ends with a line's end)."""
    place = file.seek(0, os.SEEK_END)
    tail = b""
    while place and b"\n" not in tail:
        begin = max(0, place - _BLOCK)
        file.seek(begin)
        tail = file.read(place - begin) + tail
        place = begin
    end = tail.rfind(b"\n") + 1
    return place + end, tail[end:]

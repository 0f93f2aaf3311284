"""What comes out of a batch run: Parquet files in a folder, each written whole or not at all, and never changed.

A row is a `toolkit.evaluation.inference.transcripts.Transcript`; ``pandas.read_parquet(folder)`` reads them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from helpers.errors import CourseError
from helpers.files import shown
from helpers.jsonl import JsonlWriter
from toolkit.evaluation.inference.export import write_parquet
from toolkit.evaluation.inference.transcripts import SETTLED, Transcript


def sole_writer(folder: str | Path) -> JsonlWriter:
    """A context that makes the folder if need be, and keeps other runs out of it.

    Raises:
        CourseError: another run writes there, or it cannot be written.
    """
    return JsonlWriter(Path(folder) / ".lock", what="parts")


def write_part(folder: str | Path, transcripts: Iterable[Transcript]) -> Path:
    """Write the next part and return its path. A part that a killed process left unfinished is not counted.

    Raises:
        CourseError: it cannot be written.
    """
    numbers = [int(path.stem.rpartition("-")[2]) for path in parts(folder)]
    path = Path(folder) / f"part-{max(numbers, default=-1) + 1:05d}.parquet"
    write_parquet(transcripts, path)
    return path


def parts(folder: str | Path) -> list[Path]:
    """The finished parts, in the order in which they were written."""
    return sorted(Path(folder).glob("part-[0-9][0-9][0-9][0-9][0-9].parquet"))


def done_requests(folder: str | Path, again: bool = False) -> dict[tuple[str, str], int]:
    """What need not be asked: (item, request hash) -> -1; with ``again``, failures -> the number of their attempts.

    A changed image, question, model or sampling field makes another request, which is not done.

    Raises:
        CourseError: a part that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done: dict[tuple[str, str], int] = {}
    for path in parts(folder):
        try:
            rows = pq.read_table(path, columns=["item_id", "request_hash", "status", "attempt"]).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise CourseError(
                f"{shown(path)} cannot be read as Parquet: {error}.", "a damaged disk", "delete it: it is made again"
            ) from None
        for row in rows:
            key = row["item_id"], row["request_hash"]
            settled = row["status"] in SETTLED or not again or done.get(key, 0) < 0
            done[key] = -1 if settled else max(row["attempt"], done.get(key, 0))
    return done

"""Transcripts as a table: a Parquet file that is written in batches.

A column is a transcript's field. Media and sampling fields, which differ from run to run, are JSON in one column each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from helpers.files import shown, writing
from toolkit.evaluation.inference.requests import accepted_answers
from toolkit.evaluation.inference.transcripts import Transcript, read_transcripts
from toolkit.toyworld.items import stream_items

#: Transcripts in memory at a time; a row group of the file each.
BATCH = 2000
_NESTED = ("media", "sampling")
_INTEGERS = ("seed", "attempt", "prompt_tokens", "completion_tokens")
_FLOATS = ("latency_seconds",)
#: Of the items, where they are joined: None for a transcript whose item is not among them.
ITEM_COLUMNS = ("kind", "task", "answer", "answers")

_Items = dict[str, dict[str, str | None]]


def write_parquet(transcripts: Iterable[Transcript], path: str | Path, items: str | Path | None = None) -> int:
    """Write a Parquet file with one row per transcript, in their order, and return the number of rows.

    `BATCH` transcripts are in memory at a time, besides the items' answers. A file that is there is replaced when the
    new one is complete. From a folder of ``items``, `ITEM_COLUMNS` are joined by item_id: ``answer`` is the reference,
    ``answers`` all accepted wordings as JSON.

    Raises:
        CourseError: it cannot be written; or as `toolkit.toyworld.items.stream_items`, or as what gives the
            transcripts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, count = Path(path), 0
    part = path.with_name(f"{path.name}.part")
    joined = _read_items(items)
    kinds = {**dict.fromkeys(_INTEGERS, pa.int64()), **dict.fromkeys(_FLOATS, pa.float64())}
    names = (*Transcript.model_fields, *(() if joined is None else ITEM_COLUMNS))
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    with writing(path, "fix that, or name another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pq.ParquetWriter(part, schema, compression="zstd") as writer:
                rest = iter(transcripts)
                while rows := [_row(transcript, joined) for transcript in islice(rest, BATCH)]:
                    writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                    count += len(rows)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return count


def _row(transcript: Transcript, items: _Items | None) -> dict[str, Any]:
    row = transcript.model_dump(mode="json")
    row |= {name: json.dumps(row[name], ensure_ascii=False) for name in _NESTED}
    return row if items is None else row | items.get(transcript.item_id, {})


def _read_items(folder: str | Path | None) -> _Items | None:
    if folder is None:
        return None
    items: _Items = {}
    for record in stream_items(folder):
        answers = accepted_answers(record)
        items[str(record.get("item_id"))] = {
            "kind": record.get("kind"),
            "task": record.get("task"),
            "answer": answers[0] if answers else None,
            "answers": json.dumps(answers, ensure_ascii=False) if answers else None,
        }
    return items


def main(transcripts: Path, out: Path, items: Path | None = None) -> int:
    """Write a file of transcripts as Parquet; ``course evaluate export``."""
    rows = write_parquet(read_transcripts(transcripts), out, items)
    print(f"{rows} transcripts in {shown(out)}")
    return 0

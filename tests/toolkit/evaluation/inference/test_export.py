"""Transcripts as tables: what a column holds, a file that reads back as it was, and memory that stays flat."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from helpers.errors import CourseError
from tests.support.transcripts import append
from toolkit.evaluation.inference import export
from toolkit.evaluation.inference.transcripts import Medium, Transcript

ODD = "line\nend \u2028 \x00 漢字 🐕"


def transcript(item="a", status="ok", **fields):
    failed = status == "error"
    given = {
        "run": "r", "item_id": item, "model": "m", "request_hash": "f" * 64, "status": status,
        "media": (Medium(path="a.png", sha256="0" * 64, width=64, height=None),),
        "sampling": {"temperature": 0.0, "extra": {"deep": [1, None]}}, "seed": 2**40,
        "text": None if failed else ODD, "error": "HTTP 500" if failed else None,
        "completion_tokens": None if failed else 3, "latency_seconds": 0.1,
        "time": "2026-01-02T03:04:05.678+00:00", "origin": "run",
    }  # fmt: skip
    return Transcript(**given | fields)


@pytest.fixture
def items(tmp_path):
    lines = [
        {"item_id": "a", "kind": "scene", "task": "scene", "answer": ["A dog.", "dog"]},
        {"item_id": "b", "answer": "7"},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def read_back(path):
    """The transcripts that the rows of a file hold."""
    rows = [{name: row[name] for name in Transcript.model_fields} for row in pq.read_table(path).to_pylist()]
    return [Transcript(**row | {name: json.loads(row[name]) for name in ("media", "sampling")}) for row in rows]


def table_of(folder, *transcripts, items=None):
    export.write_parquet(transcripts, folder / "table.parquet", items)
    return pd.read_parquet(folder / "table.parquet", dtype_backend="numpy_nullable")


def test_a_table_has_a_row_for_each_and_missing_values_stay_missing(tmp_path):
    frame = table_of(tmp_path, transcript(), transcript("b", "error", sampling={}, media=(), seed=None))
    assert list(frame.columns) == list(Transcript.model_fields)
    assert frame["item_id"].tolist() == ["a", "b"]
    assert frame.loc[0, "text"] == ODD and frame.loc[0, "seed"] == 2**40
    assert frame.loc[1, ["text", "seed", "completion_tokens"]].isna().all()
    assert str(frame["seed"].dtype) == "Int64"
    assert json.loads(frame.loc[0, "sampling"])["extra"] == {"deep": [1, None]}
    assert table_of(tmp_path).shape == (0, len(Transcript.model_fields))


def test_answers_are_joined_by_item(tmp_path, items):
    frame = table_of(tmp_path, transcript("b"), transcript("a"), transcript("c"), items=items)
    assert frame["answer"].tolist()[:2] == ["7", "A dog."]
    assert json.loads(frame.loc[1, "answers"]) == ["A dog.", "dog"]
    assert frame.loc[1, "task"] == "scene"
    assert frame.loc[2, list(export.ITEM_COLUMNS)].isna().all()


def test_a_parquet_file_reads_back_equal(tmp_path, items, monkeypatch):
    monkeypatch.setattr(export, "BATCH", 4)
    written = [transcript(str(n), "error" if n % 3 == 0 else "ok", attempt=n + 1) for n in range(10)]
    for folder in (None, items):
        assert export.write_parquet(iter(written), tmp_path / "new" / "t.parquet", folder) == 10
        assert read_back(tmp_path / "new" / "t.parquet") == written
    assert pq.ParquetFile(tmp_path / "new" / "t.parquet").num_row_groups == 3
    assert export.write_parquet([], tmp_path / "none.parquet") == 0
    assert read_back(tmp_path / "none.parquet") == []


def test_reasoning_has_a_column_of_its_own(tmp_path):
    thinking = transcript("b", status="thinking", text=None, reasoning="Hm.")
    frame = table_of(tmp_path, transcript(reasoning="It barks."), thinking)
    assert frame["reasoning"].tolist() == ["It barks.", "Hm."] and frame["text"].isna().tolist() == [False, True]


def test_rows_are_written_as_they_come(tmp_path, monkeypatch):
    """Never more than a batch in memory: the earlier ones are on the disk when the next is asked for."""
    monkeypatch.setattr(export, "BATCH", 5)
    sizes = []

    def source():
        for number in range(15):
            if number % 5 == 0:
                part = tmp_path / "t.parquet.part"
                sizes.append(part.stat().st_size if part.exists() else 0)
            yield transcript(str(number), text=str(number) * 5000)

    export.write_parquet(source(), tmp_path / "t.parquet")
    assert sizes[0] < sizes[1] < sizes[2]


def test_a_failure_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "t.parquet"
    export.write_parquet([transcript()], path)

    def broken():
        yield transcript()
        raise CourseError("line 2 is not a transcript")

    with pytest.raises(CourseError, match="line 2"):
        export.write_parquet(broken(), path)
    assert read_back(path) == [transcript()]
    assert [one.name for one in tmp_path.iterdir()] == ["t.parquet"]


def test_a_folder_in_the_files_place_is_told(tmp_path):
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(CourseError, match="Cannot write"):
        export.write_parquet([transcript()], tmp_path / "folder.parquet")


def test_the_command_tells_how_many(tmp_path, items, capsys):
    append(tmp_path / "t.jsonl", [transcript(), transcript("b", "error")])
    assert export.main(tmp_path / "t.jsonl", tmp_path / "t.parquet", items) == 0
    assert "2 transcripts in" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "t.parquet")["answer"].to_pylist() == ["A dog.", "7"]

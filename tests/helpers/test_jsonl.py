"""Files that are appended to: torn last lines, other writers, full disks."""

import json

import pytest

from helpers.errors import CourseError
from helpers.jsonl import JsonlWriter, append_row, read_lines, read_rows


def test_rows_come_back_as_they_were_appended(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    assert read_rows(path) == []
    for number in range(3):
        append_row(path, {"number": number, "text": "a\u2028b"})
    assert read_rows(path) == [{"number": number, "text": "a\u2028b"} for number in range(3)]


def test_wherever_a_writer_was_killed_whole_rows_stay_and_appending_goes_on(tmp_path):
    whole = b'{"number": 1}\n{"number": 2}\n'
    for cut in range(len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        complete = [json.loads(line) for line in (b'{"number": 1}', b'{"number": 2}') if line in whole[:cut]]
        append_row(path, {"number": 3})
        assert read_rows(path) == [*complete, {"number": 3}]
        torn = cut not in (0, 13, 14, 27, 28)
        assert path.with_name(f"{cut}.jsonl.torn").exists() == torn


def test_a_reader_omits_a_torn_line_says_so_and_changes_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"number": 1}\n\n{"num')
    with pytest.warns(UserWarning, match="torn"):
        assert list(read_lines(path)) == [(0, {"number": 1})]
    assert path.read_bytes().endswith(b'{"num')


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"number": 1}\nno JSON\n')
    with pytest.raises(CourseError, match="line 2 is not JSON"):
        read_rows(path)
    with pytest.raises(CourseError, match="cannot be read"):
        list(read_lines(tmp_path / "absent.jsonl"))


def test_two_writers_are_one_too_many(tmp_path):
    path = tmp_path / "rows.jsonl"
    with JsonlWriter(path), pytest.raises(CourseError, match="Another process"):
        JsonlWriter(path)
    append_row(path, {})


def test_what_cannot_be_written_is_explained(tmp_path):
    with pytest.raises(CourseError, match="Cannot write votes to"):
        JsonlWriter(tmp_path, what="votes")

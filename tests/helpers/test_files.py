"""Files that are written whole or not at all."""

import json

import pytest

from helpers.files import append_entry, write_whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "page.md"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new, with half a character \ud83c")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_entries_are_appended_to_those_that_are_there(tmp_path):
    path = tmp_path / "record.json"
    for number in range(3):
        append_entry(path, {"number": number})
    assert json.loads(path.read_text()) == [{"number": 0}, {"number": 1}, {"number": 2}]

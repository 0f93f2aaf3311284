"""Files that are written whole or not at all, and where they go."""

import json
import os
import subprocess
import sys

import pytest

from helpers import files
from helpers.files import COURSE_ROOT, append_entry, writable_place, write_whole


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


@pytest.mark.parametrize("locked", ["course", "course/outputs"])
def test_a_course_that_cannot_be_written_leaves_its_outputs_with_the_user(tmp_path, monkeypatch, locked):
    root, home = tmp_path / "course", tmp_path / "home"
    (root / "outputs").mkdir(parents=True)
    monkeypatch.setattr(files.Path, "home", lambda: home)
    assert writable_place({}, root) == root
    # by hand, since nothing stops a user who is root
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or path != tmp_path / locked)
    assert writable_place({}, root) == home / ".local" / "share" / "qwen3-vl-course"
    assert writable_place({"XDG_DATA_HOME": str(tmp_path / "data")}, root) == tmp_path / "data" / "qwen3-vl-course"


def test_a_chosen_folder_takes_all_outputs(tmp_path):
    code = """
import course.hello, helpers.server, helpers.files
print(helpers.files.OUTPUTS, helpers.server.LOG_FOLDER, course.hello.LOG, sep="\\n")
"""
    environment = {**os.environ, "COURSE_OUTPUTS": str(tmp_path / "there"), "PYTHONPATH": str(COURSE_ROOT)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    there = tmp_path / "there"
    assert found.stdout.split() == [str(there), str(there / "logs"), str(there / "hello.log")]


def test_nobody_names_the_folder_of_outputs_by_hand():
    modules = [
        path for top in ("helpers", "toolkit", "course", "benchmarks") for path in (COURSE_ROOT / top).rglob("*.py")
    ]
    by_hand = [path.name for path in modules if 'COURSE_ROOT / "outputs"' in path.read_text(encoding="utf-8")]
    assert by_hand == [], "use helpers.files.OUTPUTS"

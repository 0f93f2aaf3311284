"""The manifest: what is refused, and that the message names file and key."""

import pytest

from course.manifest import load_manifest
from course.readme_table import readme_table
from helpers.errors import CourseError
from helpers.profiles import load_profiles
from tests.support.throwaway import fields, write_manifest


def message_of(path) -> str:
    with pytest.raises(CourseError) as caught:
        load_manifest(path)
    return str(caught.value)


def test_a_good_manifest_keeps_order_and_fields(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, fields("00_first.ipynb"), fields("03_later.ipynb")))
    assert [listed.number for listed in manifest.notebooks] == [0, 3]
    assert manifest.notebooks[1].timeout.cell == 30


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"colour": "red"}, "'colour'"),
        ({"timeout": {"notebook": 60, "cell": -1}}, "'timeout.cell'"),
        ({"timeout": {"notebook": 60}}, "'timeout.cell'"),
        ({"minutes": {"cpu": "soon", "gpu": None}}, "'minutes.cpu'"),
        ({"title": None}, "'title'"),
        ({"summary": "Two. Sentences."}, "'summary'"),
        ({"file": "second.ipynb"}, "'file'"),
    ],
)
def test_a_wrong_key_is_named_with_its_notebook(tmp_path, changes, key):
    path = write_manifest(tmp_path, fields("00_first.ipynb"), fields("01_second.ipynb") | changes)
    message = message_of(path)
    assert "course.yaml" in message
    assert key in message
    assert changes.get("file", "01_second.ipynb") in message


def test_a_missing_key_is_named(tmp_path):
    incomplete = fields("00_first.ipynb")
    del incomplete["needs"]
    assert "00_first.ipynb, key 'needs'" in message_of(write_manifest(tmp_path, incomplete))


def test_a_number_used_twice_is_refused(tmp_path):
    message = message_of(write_manifest(tmp_path, fields("01_one.ipynb"), fields("01_other.ipynb")))
    assert "same number" in message
    assert "01" in message


def test_a_wrong_order_is_refused(tmp_path):
    assert "ascending" in message_of(write_manifest(tmp_path, fields("02_two.ipynb"), fields("01_one.ipynb")))


def test_a_notebook_that_is_not_there_is_refused(tmp_path):
    path = write_manifest(tmp_path, fields("00_first.ipynb"))
    (tmp_path / "00_first.ipynb").unlink()
    assert "00_first.ipynb" in message_of(path)
    assert len(load_manifest(path, must_exist=False).notebooks) == 1


def test_a_tab_gives_the_line(tmp_path):
    path = write_manifest(tmp_path, fields("00_first.ipynb"))
    lines = path.read_text().splitlines()
    lines[2] = "\ttitle: with a tab"
    path.write_text("\n".join(lines))
    message = message_of(path)
    assert "course.yaml line 3" in message
    assert "tab" in message


@pytest.mark.parametrize("content", ["", "- a list\n", "notebooks: []\n", "notebooks: 3\n", "other: []\n"])
def test_something_else_than_a_course_is_refused(tmp_path, content):
    path = tmp_path / "course.yaml"
    path.write_text(content)
    assert "course.yaml" in message_of(path)


def test_selection_by_number_and_by_name(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, *(fields(f"0{n}_part.ipynb") for n in (0, 1, 2))))
    for names, numbers in [([2], [2]), (["02", "0"], [0, 2]), (["notebooks/01_part.ipynb"], [1]), (None, [0, 1, 2])]:
        assert [listed.number for listed in manifest.select(names)] == numbers
    with pytest.raises(CourseError, match="no notebook '7'"):
        manifest.select([7])


def test_a_letter_tells_two_notebooks_of_one_number_apart(tmp_path):
    files = ["07_part.ipynb", "08_part.ipynb", "08b_part.ipynb", "09_part.ipynb"]
    manifest = load_manifest(write_manifest(tmp_path, *map(fields, files)))
    assert [listed.label for listed in manifest.notebooks] == ["07", "08", "08b", "09"]
    assert [listed.number for listed in manifest.notebooks] == [7, 8, 8, 9]
    for name, chosen in [(8, files[1:3]), ("08", files[1:3]), ("8b", files[2:3]), ("08b", files[2:3])]:
        assert [listed.file for listed in manifest.select([name])] == chosen
    assert [listed.file for listed in manifest.select(["08_part"])] == files[1:2]
    assert [line.split(" | ")[0] for line in readme_table(manifest).splitlines()[2:]] == [
        "| 07",
        "| 08",
        "| 08b",
        "| 09",
    ]
    with pytest.raises(CourseError, match="no notebook '7b'"):
        manifest.select(["7b"])


@pytest.mark.parametrize("file", ["08bb_part.ipynb", "08B_part.ipynb", "8b_part.ipynb", "08-b_part.ipynb"])
def test_a_number_is_two_digits_and_at_most_one_letter(tmp_path, file):
    assert "'file'" in message_of(write_manifest(tmp_path, fields(file)))


def test_letters_are_in_ascending_order_too(tmp_path):
    assert "ascending" in message_of(write_manifest(tmp_path, fields("08b_part.ipynb"), fields("08_part.ipynb")))
    assert "08b and 08b" in message_of(write_manifest(tmp_path, fields("08b_part.ipynb"), fields("08b_other.ipynb")))


def test_the_course_names_only_profiles_that_exist():
    known = set(load_profiles())
    for listed in load_manifest().notebooks:
        assert listed.profiles == "all" or set(listed.profiles) <= known, listed.file

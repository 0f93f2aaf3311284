"""The README's table of the course."""

import pytest

from course.manifest import load_manifest
from course.readme_table import TABLE_END, TABLE_START, readme_table, readme_with_table, update_readme
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from tests.support.throwaway import fields, write_manifest

README = f"# Title\n\n{TABLE_START}\nold\n{TABLE_END}\n\nThe rest.\n"


def test_the_table_has_a_row_for_each_notebook(tmp_path):
    manifest = load_manifest(
        write_manifest(
            tmp_path,
            fields("00_first.ipynb", needs=["a <GPU>", "x|y"]),
            fields("01_second.ipynb", minutes={"cpu": 2.5, "gpu": 1}),
        )
    )
    table = readme_table(manifest).splitlines()
    assert len(table) == 4
    assert "[Title of 00](notebooks/00_first.ipynb)" in table[2]
    assert "| 40 | 1 / not measured |" in table[2]
    assert "a &lt;GPU&gt;; x\\|y" in table[2]
    assert "2.5 / 1" in table[3]
    assert "nothing more" in table[3]


def test_only_what_stands_between_the_markers_is_replaced(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, fields("00_first.ipynb")))
    new = readme_with_table(README, manifest)
    assert new.startswith("# Title\n")
    assert new.endswith("\n\nThe rest.\n")
    assert "old" not in new
    assert readme_with_table(new, manifest) == new


@pytest.mark.parametrize("readme", ["# Title\n", README + README, f"{TABLE_END}\n{TABLE_START}"])
def test_a_readme_without_one_place_for_the_table_is_refused(tmp_path, readme):
    manifest = load_manifest(write_manifest(tmp_path, fields("00_first.ipynb")))
    with pytest.raises(CourseError, match="no place for the course table"):
        readme_with_table(readme, manifest)


def test_a_stale_table_is_found_and_updated(tmp_path):
    manifest = write_manifest(tmp_path, fields("00_first.ipynb"))
    places = {"readme": tmp_path / "README.md", "map_file": tmp_path / "map.svg", "manifest": manifest}
    places["readme"].write_text(README)
    assert not update_readme(write=False, **places)
    assert places["readme"].read_text() == README and not places["map_file"].exists()
    assert not update_readme(write=True, **places)
    assert update_readme(write=False, **places)
    places["map_file"].write_text("of an earlier manifest")
    assert not update_readme(write=False, **places)


def test_the_table_in_the_readme_and_the_map_are_up_to_date():
    assert update_readme(write=False), "course readme --write"


def test_the_chinese_readme_gives_the_same_minutes():
    rows = (COURSE_ROOT / "README.zh-CN.md").read_text(encoding="utf-8").splitlines()
    for entry in load_manifest().notebooks:
        (row,) = [row for row in rows if row.startswith(f"| {entry.label} |")]
        assert row.endswith(f" | {entry.learner_minutes} | {entry.minutes.cpu:g} |")

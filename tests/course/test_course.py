"""The course as a whole: the README's table, and the command that runs the notebooks."""

import pytest

from course import run as course
from course.manifest import load_manifest
from helpers.errors import CourseError
from tests.support.throwaway import fields, notebook, write, write_manifest

README = f"# Title\n\n{course.TABLE_START}\nold\n{course.TABLE_END}\n\nThe rest.\n"


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """A course of two throwaway notebooks in place of the real one; the second fails."""
    write(tmp_path, "00_good.ipynb", notebook("print('fine')"))
    write(tmp_path, "01_bad.ipynb", notebook("raise RuntimeError('<script>alert(1)</script>')"))
    path = write_manifest(tmp_path, fields("00_good.ipynb"), fields("01_bad.ipynb"))

    class Active:
        class profile:
            name, rehearse, needs_gib = "tiny", False, 0.0

        served_name, device = "tiny-qwen3-vl", "cpu"
        describe = staticmethod(lambda: "profile tiny: a model on cpu")

    monkeypatch.setattr(course, "MANIFEST_FILE", path)
    monkeypatch.setattr(course, "load_manifest", lambda: load_manifest(path))
    monkeypatch.setattr(course, "use_profile", lambda *_, **__: Active)
    return tmp_path


def test_the_table_has_a_row_for_each_notebook(tmp_path):
    manifest = load_manifest(
        write_manifest(
            tmp_path,
            fields("00_first.ipynb", needs=["a <GPU>", "x|y"]),
            fields("01_second.ipynb", minutes={"cpu": 2.5, "gpu": 1}),
        )
    )
    table = course.readme_table(manifest).splitlines()
    assert len(table) == 4
    assert "[Title of 00](notebooks/00_first.ipynb)" in table[2]
    assert "1 / not measured" in table[2]
    assert "a &lt;GPU&gt;; x\\|y" in table[2]
    assert "2.5 / 1" in table[3]
    assert "nothing more" in table[3]


def test_only_what_stands_between_the_markers_is_replaced(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, fields("00_first.ipynb")))
    new = course.readme_with_table(README, manifest)
    assert new.startswith("# Title\n")
    assert new.endswith("\n\nThe rest.\n")
    assert "old" not in new
    assert course.readme_with_table(new, manifest) == new


@pytest.mark.parametrize("readme", ["# Title\n", README + README, f"{course.TABLE_END}\n{course.TABLE_START}"])
def test_a_readme_without_one_place_for_the_table_is_refused(tmp_path, readme):
    manifest = load_manifest(write_manifest(tmp_path, fields("00_first.ipynb")))
    with pytest.raises(CourseError, match="no place for the course table"):
        course.readme_with_table(readme, manifest)


def test_a_stale_table_is_found_and_renewed(tmp_path):
    manifest = write_manifest(tmp_path, fields("00_first.ipynb"))
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert not course.update_readme(write=False, readme=readme, manifest=manifest)
    assert readme.read_text() == README
    assert not course.update_readme(write=True, readme=readme, manifest=manifest)
    assert course.update_readme(write=False, readme=readme, manifest=manifest)


def test_the_table_in_the_readme_is_up_to_date():
    assert course.update_readme(write=False), "python -m course.run readme --write"


def test_the_command_runs_all_and_leaves_one_page(small_course, capsys):
    status = course.command(output=str(small_course / "outputs"))
    assert status == 1
    page = (small_course / "outputs" / "summary.html").read_text()
    assert "1 of 2 notebooks failed" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert sorted(file.name for file in (small_course / "outputs").iterdir()) == [
        "00_good.ipynb",
        "01_bad.ipynb",
        "summary.html",
    ]
    said = capsys.readouterr().out
    assert "RuntimeError: <script>alert(1)</script>" in said
    assert "summary.html" in said


def test_the_command_runs_a_selection(small_course):
    assert course.command(only=["0"], output=str(small_course / "outputs")) == 0
    assert "The notebook passed" in (small_course / "outputs" / "summary.html").read_text()


def test_the_command_refuses_an_unknown_notebook_before_it_runs_any(small_course):
    with pytest.raises(CourseError, match="no notebook '9'"):
        course.command(only=["9"], output=str(small_course / "outputs"))
    assert not (small_course / "outputs").exists()


def test_an_unknown_profile_is_refused():
    with pytest.raises(CourseError, match="nosuch"):
        course.command(profile="nosuch", output="unused")

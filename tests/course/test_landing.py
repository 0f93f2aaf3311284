"""The landing page of JupyterLab: a row per chapter with the learner's own progress, and a hook that keeps it."""

import json
import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from course import landing
from course.course_map import course_map
from course.manifest import MANIFEST_FILE, load_manifest
from course.results import NotebookResult, keep_results
from helpers.files import COURSE_ROOT
from tests.support.throwaway import notebook, write
from toolkit.exercises import cards


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """A learner's folder with one chapter in it, and no results of any run."""
    monkeypatch.setattr(landing, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(landing, "VERDICTS", tmp_path / "outputs" / "exercises.jsonl")
    (tmp_path / "outputs").mkdir()
    folder = tmp_path / "my-course"
    folder.mkdir()
    shutil.copy(MANIFEST_FILE.parent / "00_environment_check.ipynb", folder)
    return folder


def row(copies, label):
    """The cells of a chapter's row."""
    text = landing.write_landing(copies).read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| {label} \|(.*)\|$", text, re.MULTILINE)
    return [cell.strip() for cell in found.split(" | ")]


def ran(source):
    """A cell as JupyterLab leaves it when it was run and the times are recorded."""
    return new_code_cell(source, metadata={"execution": {"shell.execute_reply": "2030-05-01T12:00:01Z"}})


def test_without_any_progress_every_chapter_has_a_row_with_its_link(copies):
    for entry in load_manifest().notebooks:
        chapter, _, minutes, progress = row(copies, entry.label)
        assert chapter == f"[{entry.title}]({entry.file})" and progress == "–"
        assert minutes == f"{entry.learner_minutes} / {entry.minutes.cpu:g}"


def test_exercises_are_linked_where_there_are_some_and_saving_them_updates_the_page(copies):
    assert "exercises/02.ipynb" not in row(copies, "02")[0]
    (copies / "exercises").mkdir()
    (copies / "exercises" / "02.ipynb").write_text("{}")
    landing.after_save(os_path=str(copies / "exercises" / "02.ipynb"), model={"type": "notebook"})
    assert "[exercises](exercises/02.ipynb)" in (copies / landing.START).read_text(encoding="utf-8")


def test_links_and_the_map_lead_somewhere(copies):
    text = landing.write_landing(copies).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    assert len(targets) > 12
    assert "course-map.svg" in targets
    places = (copies, COURSE_ROOT / "notebooks")
    assert [target for target in targets if not any((place / target).resolve().is_file() for place in places)] == []


@pytest.mark.parametrize(
    ("cells", "progress"),
    [
        ([ran("1"), ran("2"), new_markdown_cell("prose"), new_code_cell("")], "✓ all 2 cells run"),
        ([ran("1"), new_code_cell("2", execution_count=2)], "1 of 2 cells run"),
        ([new_code_cell("1"), new_code_cell("2")], "–"),
    ],
)
def test_cells_count_once_the_learner_ran_them(copies, cells, progress):
    write(copies, "00_environment_check.ipynb", notebook(*cells))
    assert row(copies, "00")[-1] == progress


def test_a_run_and_verdicts_count_and_of_an_exercise_the_last_one(copies):
    entry = load_manifest().select(["06"])[0]
    keep_results(landing.OUTPUTS, [NotebookResult(entry, "passed")])
    told = [("06.1", "incorrect"), ("06.1", "correct"), ("06.2", "incorrect"), ("06.3", "not attempted")]
    told += [(exercise, "correct") for exercise in cards.cards_of("06b")]
    told += [(exercise, "not attempted") for exercise in cards.cards_of("07")]
    lines = [json.dumps({"exercise": name, "state": state}) for name, state in told]
    landing.VERDICTS.write_text("\n".join([*lines, "[1]", '{"exercise": "06.3", "st']), encoding="utf-8")
    others = len(cards.cards_of("06")) - 2
    counted = f"{others + 2} exercises: 1 correct, 1 incorrect, {others} not attempted"
    assert row(copies, "06")[-1] == f"{counted}, passed `make run`"
    assert row(copies, "06b")[-1] == f"{len(cards.cards_of('06b'))} exercises: {len(cards.cards_of('06b'))} correct"
    assert row(copies, "07")[-1] == "–"


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_copy_has_no_progress(copies, text):
    (copies / "00_environment_check.ipynb").write_text(text)
    assert row(copies, "00")[-1] == "–"


def test_saving_a_notebook_updates_the_page_and_only_where_there_is_one(copies, tmp_path):
    page, saved = landing.write_landing(copies), copies / "00_environment_check.ipynb"
    nbformat.write(notebook(ran("1")), saved)
    landing.after_save(os_path=str(copies / "notes.md"), model={"type": "file"}, contents_manager=None)
    assert "all 1 cells" not in page.read_text(encoding="utf-8")
    landing.after_save(os_path=str(saved), model={"type": "notebook"}, contents_manager=None)
    assert "all 1 cells" in page.read_text(encoding="utf-8")
    elsewhere = write(tmp_path, "own.ipynb", notebook("1"))
    landing.after_save(os_path=str(elsewhere), model={"type": "notebook"}, contents_manager=None)
    assert not (tmp_path / landing.START).exists()


def test_the_map_shows_every_chapter_once():
    drawn = course_map(load_manifest())
    for entry in load_manifest().notebooks:
        assert drawn.count(f">{entry.label} · ") == 1, f"{entry.file}: give it one of the map's parts in course.yaml"

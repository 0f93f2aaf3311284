"""``course exercises``: made from the solutions, compared, and explained where there are none."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.exercises import YOURS, exercise_text, solutions_of, update_exercises
from course.manifest import load_manifest
from helpers.errors import CourseError


@pytest.fixture
def notebooks(tmp_path):
    """A folder with one solution."""
    shown = new_output("stream", name="stdout", text="99.1 correct\n")
    cells = [
        new_markdown_cell("## 99.1", id="a"),
        new_code_cell("answer = 42  # SOLUTION", id="b", outputs=[shown], execution_count=1),
        new_markdown_cell("Because.", id="c", metadata={"tags": ["solution"]}),
    ]
    (tmp_path / "solutions").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "solutions" / "99.ipynb")
    return tmp_path


def test_solutions_and_outputs_are_gone(notebooks):
    made = nbformat.reads(exercise_text(notebooks / "solutions" / "99.ipynb"), 4)
    assert [cell.source for cell in made.cells] == ["## 99.1", "answer = ...", YOURS]
    assert made.cells[1].outputs == [] and made.cells[1].execution_count is None
    assert [cell.id for cell in made.cells] == ["a", "b", "c"]


def test_what_is_stale_is_named_and_brought_up_to_date(notebooks):
    made = notebooks / "exercises" / "99.ipynb"
    assert update_exercises(notebooks, write=False) == ["99.ipynb"] and not made.exists()
    assert update_exercises(notebooks, write=True) == ["99.ipynb"] and made.exists()
    assert update_exercises(notebooks, write=False) == []
    made.write_text("changed")
    (made.parent / "98.ipynb").write_text("without a solution")
    assert update_exercises(notebooks, write=True) == ["98.ipynb", "99.ipynb"]
    assert [path.name for path in made.parent.iterdir()] == ["99.ipynb"]


def test_half_a_block_is_explained_with_its_cell(notebooks):
    path = notebooks / "solutions" / "99.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("# BEGIN SOLUTION")]), path)
    with pytest.raises(CourseError, match="cell 0: a block has no end"):
        exercise_text(path)


def test_without_solutions_that_is_said(tmp_path):
    with pytest.raises(CourseError, match="holds no notebooks"):
        update_exercises(tmp_path, write=True)


def test_solutions_are_named_after_their_chapters():
    assert [entry.file for entry in solutions_of(load_manifest().select(["6"]))] == ["06.ipynb", "06b.ipynb"]

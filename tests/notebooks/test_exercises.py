"""Solutions pass every gate and are judged correct; what learners get is made from them, with nothing done yet."""

import re
from collections import Counter

import nbformat
import pytest

from course.exercises import update_exercises
from course.manifest import MANIFEST_FILE, load_manifest
from tests.notebooks import gates
from tests.support.exercise_run import run_as_given
from toolkit.exercises.cards import cards_of, chapters, solution_code

FOLDER = MANIFEST_FILE.parent
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
GIVEN = sorted((FOLDER / "exercises").glob("*.ipynb"))
every_solution = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
every_given = pytest.mark.parametrize("path", GIVEN, ids=lambda path: path.stem)
#: They have no parameters, since `make run` does not run them.
GATES = [gate for gate in gates.ALL if gate is not gates.parameters_are_literals]
MARKS = re.compile(r"SOLUTION|(BEGIN|END) PROMPT")
EXERCISE = re.compile(r'check\("([\w.]+)"')


def no_findings(path, findings):
    assert not findings, "\n".join(f"{path.parent.name}/{path.name}: {finding}" for finding in findings)


def test_the_exercises_are_up_to_date():
    assert update_exercises(write=False) == [], "make them anew with: course exercises"


def test_every_chapter_with_exercises_has_cards_and_a_link():
    assert [path.stem for path in SOLUTIONS] == chapters()
    entries = {entry.label: entry for entry in load_manifest().notebooks}
    for chapter in chapters():
        last = nbformat.read(FOLDER / entries[chapter].file, 4).cells[-1].source
        assert f"(exercises/{chapter}.ipynb)" in last, entries[chapter].file


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_has_a_few_exercises_of_several_kinds(chapter):
    assert [name for name, card in cards_of(chapter).items() if not card.explanation] == []
    kinds = Counter(card.kind for card in cards_of(chapter).values())
    assert 4 <= kinds.total() <= 7
    assert kinds["open"] == 1 and len(kinds) >= 3


@every_solution
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_a_solution_passes(path, gate):
    no_findings(path, gate(nbformat.read(path, 4)))


@every_solution
def test_a_solution_is_a_notebook_with_its_parts(path):
    notebook = nbformat.read(path, 4)
    findings = [*gates.validates(path), *gates.is_small(path), *gates.ruff_is_content(path)]
    findings += gates.has_its_parts(notebook, last=path == SOLUTIONS[-1], exercises=True)
    no_findings(path, findings)


@every_solution
def test_its_exercises_are_those_with_a_card_each_in_a_cell_of_its_own(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    asked = [exercise for cell in cells for exercise in EXERCISE.findall(cell.source)]
    assert asked == list(cards_of(path.stem))
    for exercise in asked:
        assert solution_code(exercise), f"no cell has the metadata exercise: {exercise}"
    marked = [cell for cell in cells if MARKS.search(cell.source)]
    assert [cell.source[:60] for cell in marked if "exercise" not in cell.metadata] == []


@every_solution
def test_its_committed_verdicts_are_correct(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    printed = "\n".join(text for cell in cells for output in cell.outputs for text in gates.texts_of(output))
    assert re.findall(r"^([\w.]+) correct\b", printed, re.MULTILINE) == list(cards_of(path.stem))


@every_solution
def test_titles_and_minutes_are_those_of_the_cards(path):
    prose = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    for exercise, card in cards_of(path.stem).items():
        assert f"## {exercise} · {card.title} *({card.kind}, {card.learner_minutes:g} minutes)*" in prose


@every_given
def test_what_learners_get_is_a_notebook_without_solutions(path):
    notebook = nbformat.read(path, 4)
    findings = [*gates.validates(path), *gates.links_resolve(notebook, path.parent), *gates.code_parses(notebook)]
    no_findings(path, findings)
    assert MARKS.findall("".join(cell.source for cell in notebook.cells)) == []
    assert [cell.outputs for cell in notebook.cells if cell.get("outputs")] == []


@every_given
def test_nothing_is_attempted_yet(path, tmp_path, monkeypatch):
    log = tmp_path / "exercises.jsonl"
    monkeypatch.setenv("COURSE_EXERCISES_LOG", str(log))
    assert run_as_given(path, log) == dict.fromkeys(cards_of(path.stem), "not attempted")

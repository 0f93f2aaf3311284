"""Every notebook passes every static gate, and is in the manifest."""

import ast

import nbformat
import pytest

from course.manifest import MANIFEST_FILE, load_manifest
from tests.notebooks import gates
from toolkit.exercises.cards import cards_of, chapters

FOLDER = MANIFEST_FILE.parent
ROOT = FOLDER.parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def no_findings(path, findings):
    assert not findings, "\n".join(f"{path.name}: {finding}" for finding in findings)


def test_the_manifest_and_the_folder_hold_the_same_notebooks():
    assert [entry.file for entry in load_manifest().notebooks] == [path.name for path in NOTEBOOKS]


def test_the_estimate_of_a_learners_minutes_has_not_been_outgrown():
    """By the formula that the manifest's head states."""
    for entry in load_manifest().notebooks:
        cells = nbformat.read(FOLDER / entry.file, 4).cells
        words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
        cards = cards_of(entry.label).values() if entry.label in chapters() else ()
        code = sum(cell.cell_type == "code" for cell in cells)
        estimated = words / 150 + 0.75 * code + (sum(card.learner_minutes for card in cards) or 30)
        assert entry.learner_minutes == pytest.approx(estimated, rel=0.25), f"{entry.file}: {estimated:.0f}"


def test_a_rehearsal_sets_parameters_that_the_notebook_has():
    for entry in load_manifest().notebooks:
        cells = nbformat.read(FOLDER / entry.file, 4).cells
        (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        names = {target.id for line in ast.parse(source).body for target in line.targets}
        assert set(entry.rehearsal) <= names, entry.file


def test_a_rehearsal_measures_at_enough_lengths_for_a_fit():
    fitted = [entry for entry in load_manifest().notebooks if "fit_growth" in (FOLDER / entry.file).read_text("utf-8")]
    assert fitted
    for entry in fitted:
        lengths = {name: values for name, values in entry.rehearsal.items() if name.endswith("_lengths")}
        assert lengths and all(len(set(values)) >= 3 for values in lengths.values()), entry.file


@every_notebook
def test_it_is_a_notebook(path):
    no_findings(path, gates.validates(path))


@every_notebook
@pytest.mark.parametrize("gate", gates.ALL, ids=lambda gate: gate.__name__)
def test_it_passes(path, gate):
    no_findings(path, gate(nbformat.read(path, 4)))


@every_notebook
def test_it_has_its_parts(path):
    no_findings(path, gates.has_its_parts(nbformat.read(path, 4), last=path == NOTEBOOKS[-1]))


@every_notebook
def test_its_links_lead_somewhere(path):
    no_findings(path, gates.links_resolve(nbformat.read(path, 4), FOLDER))


@every_notebook
def test_it_is_small(path):
    no_findings(path, gates.is_small(path))


@every_notebook
def test_ruff_is_content(path):
    no_findings(path, gates.ruff_is_content(path))


@every_notebook
def test_no_compared_cell_ends_with_a_semicolon(path):
    """The comparison's kernel shows what a semicolon hides; plt.show() or an assignment hides it everywhere."""
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    compared = [cell for cell in cells if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert [cell.id for cell in compared if cell.source.rstrip().endswith(";")] == []

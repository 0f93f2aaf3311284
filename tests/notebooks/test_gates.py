"""A gate that cannot fail is no gate: each finds what it is for in a notebook made wrong, and nothing in a good one."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.notebooks import gates
from tests.support.throwaway import notebook, parameters, printed, write

OPENING = "# A title\n\nAfterwards you can do a thing. About 1 minute. It needs nothing."
CLOSING = "# Summary\n\nYou have learned a thing. Next: [the next one](01_next.ipynb)"


def good():
    """A notebook in which no gate finds anything."""
    first = parameters()
    first.execution_count = 1
    return notebook(OPENING, first, printed("print(1)", "1\n", 2), CLOSING)


def with_cell(cell, place=2):
    changed = good()
    changed.cells.insert(place, cell if not isinstance(cell, str) else new_code_cell(cell))
    return changed


def with_output(text, **more):
    return with_cell(new_code_cell("x", outputs=[new_output("stream", **{"name": "stdout", "text": text} | more)]))


@pytest.mark.parametrize("gate", gates.ALL, ids=lambda gate: gate.__name__)
def test_a_good_notebook_passes(gate):
    assert gate(good()) == []


def parameter_cell(source):
    return notebook(OPENING, parameters(source), CLOSING)


REMOTE_CODE_IN_PROSE = new_markdown_cell("```bash\nvllm serve --trust-remote-code\n```")
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=["no"])
FIGURE = new_output("display_data", {"image/png": "aGk="})
IMAGE = new_output("display_data", {"text/html": '<img src="data:," alt="">'})
WRONG = [
    (gates.figures_are_described, with_cell(new_code_cell("draw()", outputs=[FIGURE])), "cell 2: shows 1 images"),
    (
        gates.figures_are_described,
        with_cell(new_code_cell("draw()", outputs=[FIGURE], metadata={"alt": ["a plot"]})),
        "40 to 300 characters",
    ),
    (gates.figures_are_described, with_cell(new_code_cell("show()", outputs=[IMAGE])), "an <img>"),
    (gates.figures_are_described, with_cell(new_markdown_cell("![](x.png)")), "in its prose"),
    (gates.parameters_are_literals, notebook(OPENING, "profile = 'auto'", CLOSING), "0 cells tagged"),
    (gates.parameters_are_literals, parameter_cell("import os\nprofile = 'auto'"), "only 'name = literal'"),
    (gates.parameters_are_literals, parameter_cell("profile = 'auto'\nother = len('x')"), "'other' is not a literal"),
    (gates.parameters_are_literals, parameter_cell("other = 1\nprofile = 'auto'"), "not the first"),
    (gates.parameters_are_literals, parameter_cell("profile = 'tiny'"), "'tiny', not 'auto'"),
    (gates.starts_nothing_in_the_background, with_cell("!vllm serve model &"), "cell 2"),
    (gates.starts_nothing_in_the_background, with_cell("%%bash\nsleep 100 &\n"), "cell 2"),
    (
        gates.imports_little_of_ours,
        with_cell("from toolkit.speed import " + ", ".join("abcdefghijklm")),
        "imports 13 of",
    ),
    (
        gates.imports_little_of_ours,
        with_cell("from toolkit import batch, speed\nfrom toolkit.planner import a\nimport helpers.media"),
        "imports from 4 of our packages",
    ),
    (gates.imports_little_of_ours, with_cell("from toolkit.speed.charts import draw"), "no face"),
    (gates.imports_little_of_ours, with_cell("from course.lab import open_lab"), "no face"),
    (gates.never_trusts_remote_code, with_cell("LLM(m, trust_remote_code=True)"), "cell 2"),
    (gates.never_trusts_remote_code, with_cell("!vllm serve m --trust-remote-code"), "cell 2"),
    (
        gates.never_trusts_remote_code,
        with_cell(REMOTE_CODE_IN_PROSE),
        "cell 2",
    ),
    (gates.code_parses, with_cell("for x in"), "cell 2, line 1"),
    (gates.cells_fit_a_screen, with_cell("\n".join(["x = 1"] * 26)), "26 lines"),
    (gates.outputs_are_committed_in_order, with_cell("x = 1"), "counts [1, None, 2]"),
    (gates.outputs_are_committed_in_order, with_cell(new_code_cell("x", execution_count=7)), "counts [1, 7, 2]"),
    (gates.outputs_hold_no_error, with_cell(new_code_cell("x", outputs=[ERROR])), "an error"),
    (gates.outputs_hold_no_error, with_output("Traceback (most recent call last):\n ..."), "a traceback"),
    (gates.outputs_hold_nothing_private, with_output("read /home/ann/models"), "/home/a"),
    (gates.outputs_hold_nothing_private, with_output("read /root/models"), "/root/"),
    (gates.outputs_hold_nothing_private, with_output("key sk-abcdefgh1234"), "sk-abcdefgh1234"),
    (gates.outputs_hold_nothing_private, with_output("token hf_abcdefgh1234"), "hf_abcdefgh1234"),
    (
        gates.outputs_hold_nothing_private,
        with_output("from https://pypi.example.org/simple"),
        "https://pypi.example.org",
    ),
    (gates.outputs_hold_nothing_private, with_output("warning", name="stderr"), "stderr"),
    (gates.enough_is_compared, with_cell(printed("1", "1", 3, ["nbval-ignore-output"])), "1 of 2"),
    (gates.enough_is_compared, with_cell(printed("# NBVAL_IGNORE_OUTPUT\n1", "1", 3)), "1 of 2"),
]


@pytest.mark.parametrize(("gate", "wrong", "finding"), WRONG)
def test_a_wrong_notebook_is_found(gate, wrong, finding):
    found = gate(wrong)
    assert len(found) == 1
    assert finding in found[0]


def test_an_expected_error_is_allowed():
    cell = new_code_cell("x", outputs=[ERROR], metadata={"tags": ["raises-exception"]})
    assert gates.outputs_hold_no_error(with_cell(cell)) == []


def test_magics_and_other_languages_parse():
    assert gates.code_parses(notebook("%matplotlib inline\n!ls", "%%bash\ncurl http://x | head", "x = await f()")) == []


def test_prose_may_warn_of_remote_code():
    assert gates.never_trusts_remote_code(notebook("# Never give `--trust-remote-code`.")) == []


def test_parts(tmp_path):
    write(tmp_path, "01_next.ipynb", good())
    assert gates.has_its_parts(good()) == []
    assert gates.links_resolve(good(), tmp_path) == []
    (tmp_path / "01_next.ipynb").unlink()
    assert gates.links_resolve(good(), tmp_path) == ["cell 3: the link to 01_next.ipynb leads nowhere"]


@pytest.mark.parametrize(
    ("opening", "closing", "finding"),
    [
        ("# A title\n\nOne minute. It needs nothing.", CLOSING, "able to do"),
        ("# A title\n\nYou will see. It needs nothing.", CLOSING, "minutes"),
        ("# A title\n\nYou will see. One minute.", CLOSING, "needs"),
        (OPENING, "# Bye\n\n[next](01_next.ipynb)", "learned"),
        (OPENING, "# Summary", "no link"),
        (OPENING, "# Summary\n\n[back](../README.md)", "next notebook"),
        (OPENING, new_code_cell("print('bye')"), "no prose"),
        (new_code_cell("1"), CLOSING, "title"),
    ],
)
def test_missing_parts_are_found(opening, closing, finding):
    assert finding in " ".join(gates.has_its_parts(notebook(opening, "1", closing)))


def test_the_last_notebook_may_link_to_the_readme():
    last = notebook(OPENING, "1", "# Summary\n\n[back](../README.md)")
    assert gates.has_its_parts(last, last=True) == []


def test_exercises_need_no_summary_but_all_other_parts():
    assert gates.has_its_parts(notebook(OPENING, "1", "# Next: [one](01_next.ipynb)"), exercises=True) == []
    assert len(gates.has_its_parts(notebook("# A title", "1", "# Bye"), exercises=True)) == 5


def test_files_that_are_no_notebooks_are_found(tmp_path):
    path = tmp_path / "00_x.ipynb"
    path.write_text("{ not json")
    assert gates.validates(path)
    twins = good()
    twins.cells[1].id = twins.cells[2].id
    path.write_text(nbformat.writes(good()).replace(good().cells[0].id, "x"))
    assert gates.validates(path) == []
    path.write_text(nbformat.v4.writes(twins))
    assert gates.validates(path)


def test_a_large_file_is_found(tmp_path):
    path = write(tmp_path, "00_x.ipynb", good())
    assert gates.is_small(path) == []
    path.write_text(path.read_text() + " " * gates.MAX_BYTES)
    assert gates.is_small(path)


@pytest.mark.parametrize(("source", "tool"), [("import os", "check"), ("x  =  1", "format")])
def test_what_ruff_finds_is_found(tmp_path, source, tool):
    assert gates.ruff_is_content(write(tmp_path, "00_x.ipynb", notebook("x = 1"))) == []
    findings = gates.ruff_is_content(write(tmp_path, "00_x.ipynb", notebook(source)))
    assert any(finding.startswith(f"ruff {tool}") for finding in findings)

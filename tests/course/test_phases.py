"""Where the time of executed notebooks went, read from what papermill and the cells' code say."""

import pytest

from course import phases
from course.phases import ASKING, IMPORTS, REST, STARTING, TRAINING
from helpers.errors import CourseError
from tests.support.throwaway import notebook, write, write_executed

CELLS = [
    ("import os\nimport pandas as pd", 1.0, IMPORTS),
    ("import pandas as pd\npd.DataFrame()", 2.0, REST),  # not for the first time
    ("from vllm import LLM as Engine", 9.0, IMPORTS),
    ("llm = Engine(model)\nllm.generate('x')", 3.0, STARTING),  # how long asking took, nobody said
    ("def run(text):\n    return llm.chat(text)\n\n\nasync def later(text):\n    return run(text)", 0.5, REST),
    ("print(await later('x'))", 4.0, ASKING),
    ("%matplotlib inline", 0.25, REST),
    ("from toolkit.tiny_model import train\nllm = Engine()\ntrain(folder)", 60.0, TRAINING),
    ("def train(x):\n    return x", 0.0, REST),
    ("train(1)", 0.5, REST),  # the notebook's own function
    ("from subprocess import run as go\ngo([python, '-m', 'vllm.entrypoints.cli.main'])", 5.0, ASKING),
    ("class Mine(list):\n    def __init__(self):\n        self.llm = Engine()", 0.0, REST),
    ("mine = Mine()", 2.5, STARTING),
]


@pytest.fixture
def executed(tmp_path):
    """A notebook with a cell for each kind of work."""
    cells = [(source, seconds) for source, seconds, _ in CELLS]
    return write_executed(tmp_path / "03_part.ipynb", cells, seconds=100.0)


def test_each_cell_counts_for_what_it_calls(executed):
    time = phases.time_of(executed)
    assert [cell.phase for cell in time.cells] == [phase for *_, phase in CELLS]
    cells = sum(seconds for _, seconds, _ in CELLS)
    kernel = 100.0 - cells
    assert time.phases == pytest.approx(
        {IMPORTS: 10.0 + kernel, STARTING: 5.5, ASKING: 9.0, TRAINING: 60.0, REST: 3.25}
    )
    assert sum(time.phases.values()) == pytest.approx(time.seconds)


def test_what_a_server_says_of_its_start_is_taken_from_the_asking(tmp_path):
    start = "from helpers.server import serve\n"
    ask = start + "with serve(active) as server:\n    client.chat.completions.create()"
    said = "tiny answers at http://127.0.0.1:8085/v1 after 27 s"
    cells = [(start + "server = serve(active)", 27.4, said), (ask, 60.0, said, said), (ask, 20.0, said)]
    alone, both, rounded = phases.time_of(write_executed(tmp_path / "05_part.ipynb", cells, seconds=110.0)).cells
    assert alone.phases == {STARTING: 27.4}
    assert both.phases == {STARTING: 54.0, ASKING: 6.0}
    assert rounded.phases == {STARTING: 20.0, ASKING: 0.0}


def test_rows_add_up_and_the_slowest_cells_come_first(executed, tmp_path):
    other = write_executed(tmp_path / "04_part.ipynb", [("time.sleep(70)", 70.0)], seconds=71.0)
    write(tmp_path, "05_part.ipynb", notebook("print(1)"))  # never executed
    (tmp_path / "06_part.ipynb").write_text("{ not json")
    times = phases.where_time_goes([executed, other, *(tmp_path / f"0{n}_part.ipynb" for n in (5, 6, 7))])
    rows = phases.rows(times)
    assert [row["notebook"] for row in rows] == ["03_part", "04_part", "all"]
    assert [row["all"] for row in rows] == [100.0, 71.0, 171.0]
    assert rows[-1][REST] == pytest.approx(73.25)
    assert all(sum(row[phase] for phase in phases.PHASES) == pytest.approx(row["all"]) for row in rows)
    slowest = phases.slowest(times, 3)
    assert [(cell.notebook, cell.prompt, cell.seconds) for cell in slowest] == [
        ("04_part", "In [1]", 70.0),
        ("03_part", "In [8]", 60.0),
        ("03_part", "In [3]", 9.0),
    ]


def test_a_notebook_that_was_cut_off_tells_what_it_got_to(tmp_path):
    path = write_executed(tmp_path / "03_part.ipynb", [("1", 2.0), ("while True: pass", None)], seconds=None)
    time = phases.time_of(path)
    assert (time.seconds, [cell.seconds for cell in time.cells]) == (2.0, [2.0])


def test_what_was_not_executed_is_refused(tmp_path):
    with pytest.raises(CourseError, match="not executed by the course"):
        phases.time_of(write(tmp_path, "00_part.ipynb", notebook("1")))
    with pytest.raises(CourseError, match="No such file"):
        phases.time_of(tmp_path / "01_none.ipynb")


def test_the_command_prints_both_tables_or_says_what_to_do(executed, capsys, tmp_path_factory):
    assert phases.print_phases(executed.parent) == 0
    said = capsys.readouterr().out
    assert "03_part" in said
    assert "60.0 s  03  In [8]   training: llm = Engine()" in said
    with pytest.raises(CourseError, match="No executed notebook"):
        phases.print_phases(tmp_path_factory.mktemp("empty"))

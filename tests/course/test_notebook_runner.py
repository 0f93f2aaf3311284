"""Executing notebooks: throwaway ones that pass, fail, kill their kernel, take too long, or are interrupted."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_output

from course.committed_outputs import execute_in_place, strip_volatile
from course.notebook_runner import run_notebooks
from course.results import RunSettings
from tests.support.ended import assert_ended
from tests.support.throwaway import entry, notebook, parameters, write

SETTINGS = RunSettings(profile="tiny", model="tiny-qwen3-vl", device="cpu", description="profile tiny")
SIDE_BY_SIDE = dataclasses.replace(SETTINGS, jobs=3)


def run(folder, entries, settings=SETTINGS, **options):
    """Run and return (exit status, results by number, number of reports)."""
    reports = []
    output = folder / "outputs"
    status = run_notebooks(
        entries, folder, output, settings, lambda results, **how: reports.append((results, how)), **options
    )
    assert reports[-1][1] == {"finished": True}
    return status, {result.entry.number: result for result in reports[-1][0]}, len(reports)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One run of five notebooks, three at a time: good, failing, kernel killed by itself, too slow, good again."""
    folder = tmp_path_factory.mktemp("mixed")
    write(folder, "00_good.ipynb", notebook("# Prose", parameters(), "import nbformat", "print(profile)"))
    write(folder, "01_failing.ipynb", notebook("a = 1", "raise ValueError('<script>alert(1)</script>')", "print(a)"))
    write(folder, "02_dying.ipynb", notebook("a = 1", "import os\nos.write(2, b'last words')\nos._exit(3)"))
    write(folder, "03_slow.ipynb", notebook("import time", "time.sleep(60)"))
    write(folder, "04_good.ipynb", notebook("print('still here')"))
    entries = [
        entry("00_good.ipynb"),
        entry("01_failing.ipynb"),
        entry("02_dying.ipynb"),
        entry("03_slow.ipynb", timeout={"notebook": 60, "cell": 2}),
        entry("04_good.ipynb"),
    ]
    return folder, *run(folder, entries, SIDE_BY_SIDE)


def test_a_failure_does_not_stop_the_others_and_the_status_says_so(mixed):
    _, status, results, reports = mixed
    assert status == 1
    assert list(results) == [0, 1, 2, 3, 4]  # in the order of the course, whichever ended first
    statuses = [results[number].status for number in range(5)]
    assert statuses == ["passed", "failed", "failed", "failed", "passed"]
    assert reports == 11  # before and after each of five, and at the end


def test_the_profile_is_injected_and_the_executed_notebook_written(mixed):
    folder, _, results, _ = mixed
    executed = nbformat.read(folder / "outputs" / results[0].executed, 4)
    assert executed.cells[-1].outputs[0].text == "tiny\n"
    assert results[0].cells_done == results[0].cells_total == 4  # the injected cell is one of them


def test_the_original_is_left_alone(mixed):
    folder, *_ = mixed
    assert nbformat.read(folder / "00_good.ipynb", 4).cells[-1].outputs == []


def test_versions_are_those_of_this_environment(mixed):
    *_, results, _ = mixed
    assert results[0].versions["nbformat"] == nbformat.__version__
    assert results[0].versions["Python"] == sys.version.split()[0]


def test_an_exception_names_its_cell(mixed):
    failure = mixed[2][1].failure
    assert failure.what == "ValueError: <script>alert(1)</script>"
    assert failure.cell == "In [3]"  # papermill has put a parameters cell before the first
    assert mixed[2][1].cells_done == 2


def test_a_dead_kernel_is_told_with_its_exit_status(mixed):
    failure = mixed[2][2].failure
    assert "ended with exit status 3" in failure.what
    assert failure.cell == "In [3]"
    assert failure.detail.endswith("last words")
    assert mixed[2][2].cells_done == 2


def test_a_timeout_names_cell_and_limit(mixed):
    failure = mixed[2][3].failure
    assert "In [3]" in failure.what
    assert "2 seconds" in failure.what
    assert mixed[2][3].seconds < 40


def test_a_kernel_killed_by_the_system_is_told_as_out_of_memory(tmp_path):
    write(tmp_path, "00_killed.ipynb", notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    status, results, _ = run(tmp_path, [entry("00_killed.ipynb")])
    assert status == 1
    assert "SIGKILL" in results[0].failure.what
    assert "out of memory" in results[0].failure.cause


def test_the_whole_notebook_has_a_limit_too(tmp_path):
    write(tmp_path, "00_slow.ipynb", notebook("import time", *["time.sleep(1.5)"] * 20))
    status, results, _ = run(tmp_path, [entry("00_slow.ipynb", timeout={"notebook": 4, "cell": 30})])
    assert status == 1
    assert "The notebook took longer than 4 seconds" in results[0].failure.what


def test_the_kernel_is_this_interpreter_even_if_another_python3_is_installed(tmp_path, monkeypatch):
    elsewhere = tmp_path / "share" / "kernels" / "python3"
    elsewhere.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "elsewhere", "language": "python"}
    (elsewhere / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    write(tmp_path, "00_where.ipynb", notebook("import sys, os\nprint(sys.executable)\nprint(os.getcwd())"))
    status, results, _ = run(tmp_path, [entry("00_where.ipynb")])
    assert status == 0, results[0].failure
    executed = nbformat.read(tmp_path / "outputs" / "00_where.ipynb", 4)
    where, folder = executed.cells[-1].outputs[0].text.split()
    assert where == sys.executable
    assert Path(folder).resolve() == tmp_path.resolve()


def test_a_rehearsal_reaches_the_kernel_by_environment(tmp_path):
    write(tmp_path, "00_what.ipynb", notebook("import os\nprint(os.environ['COURSE_REHEARSE'])"))
    rehearsal = RunSettings(profile="2b", model="m", device="cpu", rehearse=True)
    status, _, _ = run(tmp_path, [entry("00_what.ipynb", profiles=["tiny"])], rehearsal)
    assert status == 0


def test_a_rehearsal_has_parameters_of_its_own(tmp_path):
    own = parameters('profile = "auto"\ncount = 12')
    write(tmp_path, "00_what.ipynb", notebook(own, "assert (profile, count) == ('2b', 2), (profile, count)"))
    rehearsed = entry("00_what.ipynb", rehearsal={"count": 2})
    settings = RunSettings(profile="2b", model="m", device="cpu", rehearse=True)
    status, results, _ = run(tmp_path, [rehearsed], settings)
    assert status == 0, results[0].failure
    status, _, _ = run(tmp_path, [rehearsed], RunSettings(profile="2b", model="m", device="cpu"))
    assert status == 1  # else the reader's own


@pytest.mark.parametrize("rehearse", [False, True])
def test_a_notebook_of_another_profile_is_skipped_and_no_failure(tmp_path, rehearse):
    write(tmp_path, "00_part.ipynb", notebook("1/0"))
    settings = dataclasses.replace(SETTINGS, rehearse=rehearse)
    status, results, _ = run(tmp_path, [entry("00_part.ipynb", profiles=["8b"])], settings)
    assert (status, results[0].status) == (0, "skipped")
    assert "only for 8b" in results[0].note


def test_stopping_at_the_first_failure_on_demand(tmp_path):
    write(tmp_path, "00_bad.ipynb", notebook("1/0"))
    write(tmp_path, "01_good.ipynb", notebook("1"))
    status, results, _ = run(tmp_path, [entry("00_bad.ipynb"), entry("01_good.ipynb")], keep_going=False)
    assert status == 1
    assert results[1].status == "waiting"


#: Waits until another notebook has written a file; 30 s at most.
MEET = """
import pathlib, time
pathlib.Path("met_{mine}").touch()
until = time.monotonic() + 30
while not pathlib.Path("met_{other}").exists():
    assert time.monotonic() < until, "nobody ran at the same time"
    time.sleep(0.05)
assert not pathlib.Path("measuring").exists(), "a notebook that measures time has company"
"""
#: Notes that it measures, and that both others have ended.
MEASURE = """
import pathlib, time
pathlib.Path("measuring").touch()
assert pathlib.Path("ended_1").exists() and pathlib.Path("ended_2").exists(), "it has company"
"""


def test_notebooks_run_side_by_side_and_those_that_measure_time_alone(tmp_path, capsys):
    write(tmp_path, "00_speed.ipynb", notebook(MEASURE))
    for mine, other in ((1, 2), (2, 1)):
        last = f"time.sleep(1)\npathlib.Path('ended_{mine}').touch()"
        write(tmp_path, f"0{mine}_part.ipynb", notebook(MEET.format(mine=mine, other=other), last))
    entries = [entry("00_speed.ipynb", measures_time=True), entry("01_part.ipynb"), entry("02_part.ipynb")]
    status, results, reports = run(tmp_path, entries, SIDE_BY_SIDE)
    assert status == 0, [result.failure for result in results.values()]
    assert (list(results), reports) == ([0, 1, 2], 7)
    assert results[0].began >= max(results[n].began + results[n].seconds for n in (1, 2))
    said = capsys.readouterr().out.splitlines()
    assert "up to 3 notebooks at a time; alone and last, because they measure time: 00" in said
    assert [line.split()[0] for line in said if line.startswith("[")] == ["[1/3]", "[2/3]", "[3/3]"]
    for number in range(3):  # each line says whose it is
        assert sum(line.startswith(f"  {number:02d}  cell ") for line in said) == results[number].cells_total
        assert sum(line.startswith(f"  {number:02d}  passed: ") for line in said) == 1


def test_one_at_a_time_keeps_the_order_of_the_course_and_nobody_company(tmp_path):
    for number in range(2):
        write(tmp_path, f"0{number}_part.ipynb", notebook("1"))
    entries = [entry("00_part.ipynb", measures_time=True), entry("01_part.ipynb")]
    _, results, _ = run(tmp_path, entries)
    assert results[1].began >= results[0].began + results[0].seconds


def test_side_by_side_a_failure_can_stop_what_has_not_begun(tmp_path):
    write(tmp_path, "00_bad.ipynb", notebook("1/0"))
    write(tmp_path, "01_good.ipynb", notebook(OUTLIVE))
    write(tmp_path, "02_good.ipynb", notebook("1"))
    entries = [entry(name, minutes={"cpu": 3 - n, "gpu": None}) for n, name in enumerate(FILES)]
    two = dataclasses.replace(SETTINGS, jobs=2)
    status, results, _ = run(tmp_path, entries, two, keep_going=False)
    assert status == 1
    assert [results[number].status for number in range(3)] == ["failed", "passed", "waiting"]


#: Goes on until the notebook 00 beside it has ended, with a second for the news.
OUTLIVE = """
import contextlib, json, pathlib, time
ended, until = None, time.monotonic() + 30
while not ended:
    assert time.monotonic() < until
    time.sleep(0.1)
    with contextlib.suppress(OSError, ValueError):  # not there yet, or being written
        ended = json.loads(pathlib.Path("outputs/00_bad.ipynb").read_text())["metadata"]["papermill"]["end_time"]
time.sleep(1)
"""
FILES = ("00_bad.ipynb", "01_good.ipynb", "02_good.ipynb")


def test_a_file_that_is_no_notebook_fails_alone(tmp_path):
    (tmp_path / "00_broken.ipynb").write_text("{ not json")
    write(tmp_path, "01_good.ipynb", notebook("1"))
    status, results, _ = run(tmp_path, [entry("00_broken.ipynb"), entry("01_good.ipynb")])
    assert status == 1
    assert (results[0].status, results[1].status) == ("failed", "passed")
    assert results[0].executed is None


def test_progress_in_a_log_is_one_line_per_cell_without_control_characters(tmp_path, capsys):
    write(tmp_path, "00_good.ipynb", notebook("# Prose", "import json\n# a comment\nanswer = 6 * 7", "print(answer)"))
    run(tmp_path, [entry("00_good.ipynb")])
    said = capsys.readouterr()
    assert said.err == ""
    assert "[1/1] Title of 00 (00_good.ipynb)" in said.out
    lines = [line for line in said.out.splitlines() if line.strip().startswith("cell ")]
    assert len(lines) == 3
    assert lines[1].endswith("answer = 6 * 7")
    assert "\r" not in said.out
    assert "\x1b" not in said.out


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_an_interrupt_leaves_a_summary_whole_notebooks_and_no_kernel(tmp_path, number, jobs):
    for name in ("00_long", "01_long"):
        here = f"import os\nopen('pid_{name}', 'w').write(str(os.getpid()))"
        write(tmp_path, f"{name}.ipynb", notebook(here, "while True: pass"))
    write(tmp_path, "02_next.ipynb", notebook("1"))
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from course import run_command as course
from tests.support.throwaway import fields, write_manifest
folder = Path({str(tmp_path)!r})
course.MANIFEST_FILE = write_manifest(folder, *map(fields, ("00_long.ipynb", "01_long.ipynb", "02_next.ipynb")))
course.load_manifest = lambda load=course.load_manifest: load(course.MANIFEST_FILE)
class Active:
    class profile: name, rehearse, small, needs_gib = "tiny", False, False, 0.0
    served_name, device = "tiny", "cpu"
    describe = staticmethod(lambda: "profile tiny")
course.use_profile = lambda *_, **__: Active
sys.exit(course.run_course(output=folder / "outputs", jobs={jobs}))
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pid_files = [tmp_path / f"pid_{name}" for name in ("00_long", "01_long")[:jobs]]
    deadline = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in pid_files):
        assert time.monotonic() < deadline and owner.poll() is None, owner.communicate()[0]
        time.sleep(0.1)
    time.sleep(1.0)
    owner.send_signal(number)
    said, _ = owner.communicate(timeout=60)
    assert owner.returncode == 130, said
    assert "Traceback" not in said
    assert_ended([int(file.read_text()) for file in pid_files], seconds=0)
    page = (tmp_path / "outputs" / "summary.html").read_text()
    assert "Interrupted after 0 of 3 notebooks" in page
    assert page.count("interrupted at In [3]") == jobs
    assert page.count("not run: the course was stopped before") == 3 - jobs
    for executed in (tmp_path / "outputs").glob("*.ipynb"):
        nbformat.validate(nbformat.read(executed, 4))
    assert len(list((tmp_path / "outputs").iterdir())) == 2 * jobs + 2  # notebooks, their pages, two files of results


def test_execute_in_place_writes_outputs_that_repeat(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    source = "import os, sys\nprint(os.environ['COURSE_PROFILE'])\nprint('noise', file=sys.stderr)\nprint(profile)"
    path = write(tmp_path, "00_good.ipynb", notebook("# Prose", parameters(), source))
    assert execute_in_place(entry("00_good.ipynb"), tmp_path) == 0
    first = path.read_bytes()
    assert execute_in_place(entry("00_good.ipynb"), tmp_path) == 0
    assert path.read_bytes() == first
    done = nbformat.read(path, 4)
    nbformat.validate(done)
    assert len(done.cells) == 3  # nothing injected
    assert [cell.execution_count for cell in done.cells[1:]] == [1, 2]
    assert [output.text for output in done.cells[2].outputs] == ["tiny\nauto\n"]
    assert "papermill" not in str(done)
    monkeypatch.setenv("COURSE_PROFILE", "tiny")  # so that monkeypatch restores what execute_in_place has set


def test_execute_in_place_leaves_a_failing_notebook_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    path = write(tmp_path, "00_bad.ipynb", notebook("print(1)", "1/0"))
    before = path.read_bytes()
    assert execute_in_place(entry("00_bad.ipynb"), tmp_path) == 1
    assert path.read_bytes() == before


def test_strip_volatile_removes_timings_widgets_and_colours():
    outputs = [
        new_output(
            "display_data", {"text/plain": "bar", "application/vnd.jupyter.widget-view+json": {"model_id": "7"}}
        ),
        new_output("stream", name="stdout", text="\x1b[1mbold\x1b[0m\n"),
    ]
    cell = new_code_cell("1", outputs=outputs, metadata={"execution": {"iopub.status.busy": "now"}, "tags": []})
    dirty = notebook(cell)
    dirty.metadata.update(widgets={}, papermill={"duration": 3})
    clean = strip_volatile(dirty)
    assert set(clean.metadata) == {"kernelspec", "language_info"}
    assert "version" not in clean.metadata.language_info
    assert clean.cells[0].metadata == {}
    assert clean.cells[0].outputs[0].data == {"text/plain": "bar"}
    assert clean.cells[0].outputs[1].text == "bold\n"


def test_nothing_is_left_running():
    mine = psutil.Process(os.getpid()).children(recursive=True)
    assert not [child for child in mine if "ipykernel" in " ".join(child.cmdline())]

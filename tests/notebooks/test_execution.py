"""Notebooks are executed: nbval finds a changed output, and papermill runs them with a profile injected.

The comparison of the course's own notebooks is `pytest --nbval notebooks`; here it is shown that it can fail.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from course.execution import execute
from course.manifest import MANIFEST_FILE, load_manifest
from course.results import NotebookResult, RunSettings
from course.watch import Watch
from helpers.profiles import load_profiles, local_model
from tests.support.throwaway import fields, notebook, printed, write, write_manifest

ROOT = MANIFEST_FILE.parents[1]
NOISE = "import sys\nprint('log', id(sys), file=sys.stderr)\nprint('answer')"
REPEATING = notebook(
    printed("import os\nprint(os.environ['COURSE_PROFILE'])", "tiny\n", 1),
    printed(NOISE, "answer\n", 2),
    printed("print(object())", "<object object at 0x7f0000000000>\n", 3),
    printed("print('http://127.0.0.1:8085/v1')", "http://127.0.0.1:18231/v1\n", 4),
    printed("import random\nprint(random.random())", "0.5\n", 5, tags=["nbval-ignore-output"]),
)
THREE = new_output("execute_result", {"text/plain": "3"})
WRONG = {
    "01_changed": (printed("print('a woman and a dog')", "a woman and a cat\n"), "Cell outputs differ"),
    "02_more": (printed("print('new')\nprint('old')", "old\n"), "Cell outputs differ"),
    "03_missing": (printed("pass", "was here\n"), "Cell outputs differ"),
    "04_result": (new_code_cell("1 + 1", execution_count=1, outputs=[THREE]), "Cell outputs differ"),
    "05_error": (new_code_cell("raise ValueError('new')", execution_count=1), "caused an exception"),
    "06_slow": (new_code_cell("import time\ntime.sleep(60)", execution_count=1), "Timeout of 2 seconds exceeded"),
}


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """What one `pytest --nbval` on throwaway notebooks found: notebook → messages of its failed cells."""
    root = tmp_path_factory.mktemp("course")
    folder = root / "notebooks"
    folder.mkdir()
    write(folder, "00_repeating.ipynb", REPEATING)
    for stem, (cell, _) in WRONG.items():
        write(folder, f"{stem}.ipynb", notebook(cell))
    entries = [fields("00_repeating.ipynb"), *(fields(f"{stem}.ipynb") for stem in WRONG)]
    entries[-1]["timeout"]["cell"] = 2
    write_manifest(folder, *entries)
    shutil.copy(ROOT / "notebooks" / "conftest.py", folder)
    shutil.copytree(ROOT / "tests", root / "tests", ignore=lambda _, names: set(names) - {"nbval_sanitize.cfg"})
    report = root / "report.xml"
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", f"--rootdir={root}", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_ROOT": str(root), "COURSE_PROFILE": "8b"}
    done = subprocess.run(
        [*command, f"--junitxml={report}"], capture_output=True, text=True, env=environment, cwd=root, check=False
    )
    assert done.returncode == 1, done.stdout
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname").split(".")[1]
        found.setdefault(name, []).extend("".join(part.itertext()) for part in case if part.tag in ("failure", "error"))
    return found


def test_outputs_that_repeat_pass_whatever_stderr_addresses_and_ports_are(failures):
    assert failures["00_repeating"] == []


@pytest.mark.parametrize("stem", WRONG)
def test_what_changed_is_found(failures, stem):
    assert len(failures[stem]) == 1
    assert WRONG[stem][1] in failures[stem][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stem", "profile", "rehearse"),
    [("00_environment_check", "tiny", False), ("02_offline_inference", "qwen2-vl-2b", True)],
)
def test_papermill_runs_it_with_a_profile_injected(stem, profile, rehearse, tmp_path):
    """One without an engine, and one as for a released model; `make run` and `make rehearse` run all of them."""
    if local_model(load_profiles()["tiny"]) is None:
        pytest.skip("absent: the bundled model, data/models/tiny-qwen3-vl")
    entry = next(entry for entry in load_manifest().notebooks if entry.stem == stem)
    result = NotebookResult(entry, status="running")
    settings = RunSettings(profile=profile, model="a model", device="cpu", rehearse=rehearse)
    executed = execute(MANIFEST_FILE.parent, tmp_path / entry.file, settings, Watch(result))
    assert result.failure is None, result.failure
    assert result.cells_done == result.cells_total
    injected = [cell for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert [f'profile = "{profile}"' in cell.source for cell in injected] == [True]
    said = "".join(output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
    assert ("random weights: noise]" in said) == rehearse
    assert nbformat.read(tmp_path / entry.file, 4).metadata.papermill.exception is None


@pytest.mark.slow
def test_the_serving_notebook_runs_on_a_server_that_others_share(server, tmp_path, monkeypatch):
    """A teacher's: with a key and flags of its own, on a machine whose files are not the seat's."""
    monkeypatch.setenv("COURSE_SERVER_URL", server.base_url)
    monkeypatch.setenv("COURSE_SERVER_KEY", server.api_key)
    entry = next(entry for entry in load_manifest().notebooks if entry.stem == "03_serving_and_openai_client")
    result = NotebookResult(entry, status="running")
    settings = RunSettings(profile="tiny", model="tiny-qwen3-vl", device="cpu")
    executed = execute(MANIFEST_FILE.parent, tmp_path / entry.file, settings, Watch(result))
    assert result.failure is None, result.failure
    said = "".join(output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
    assert f"joined {server.base_url}" in said
    assert "skipped: COURSE_SERVER_URL is set" in said  # the plain server is not started
    assert server.api_key not in said  # a class's key stays out of a saved notebook
    assert "[tiny-qwen3-vl] " in said and "[tiny model]" not in said
    assert server.is_alive()

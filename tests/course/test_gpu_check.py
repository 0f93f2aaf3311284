"""`course gpu-check`: without a GPU it runs what it can and says what it left out; with one, everything is recorded."""

import json
from types import SimpleNamespace

import nbformat
import pytest

from course import gpu_check
from helpers.errors import CourseError

PYTEST = {"passed": True, "tests": 12, "failed": []}


@pytest.fixture
def asked(monkeypatch):
    """What pytest would have been asked to run; nothing is run."""
    asked = []

    def run(report, *words):
        asked.append(words)
        return dict(PYTEST)

    monkeypatch.setattr(gpu_check, "_pytest", run)
    return asked


def recorded(folder):
    (file,) = folder.glob("*-gpu-check.json")
    return json.loads(file.read_text()), file.with_suffix(".md").read_text()


def test_without_a_gpu_the_rest_runs_and_what_is_left_out_is_said(tmp_path, monkeypatch, capsys, asked):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.setattr(gpu_check, "gpu_memory_gib", lambda: None)
    assert gpu_check.run_check("tiny,2b", False, tmp_path) == 0
    record, page = recorded(tmp_path)
    assert list(record["parts"]) == ["drift"] and asked == [gpu_check.DRIFT]
    left_out = set(gpu_check.PARTS) - {"drift"}
    assert set(record["left out"]) == left_out
    assert all("no NVIDIA GPU" in why for why in record["left out"].values())
    said = capsys.readouterr().out
    for name in left_out:
        assert f"left out  {name}: " in said and f"* {name}: " in page
    assert record["machine"] in page and record["command"] in page and record["versions"]["vllm"] in page


def test_the_parts_that_need_no_gpu_name_files_that_exist():
    assert all((gpu_check.COURSE_ROOT / name).is_file() for name in gpu_check.DRIFT)


def test_a_failure_is_the_exit_status_and_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.setattr(gpu_check, "_pytest", lambda *_: {"passed": False, "tests": 3, "failed": ["a::test_b"]})
    assert gpu_check.run_check("tiny", False, tmp_path) == 1
    record, page = recorded(tmp_path)
    assert record["parts"]["drift"]["failed"] == ["a::test_b"] and "* a::test_b" in page


def test_on_a_gpu_every_part_runs_and_minutes_are_on_the_page(tmp_path, monkeypatch, asked):
    monkeypatch.setattr(gpu_check, "find_device", lambda: "cuda")
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    ran = []

    def run(entries, folder, output, settings, report):
        from course.results import NotebookResult

        ran.append((settings.profile, settings.rehearse, settings.device))
        assert not any(entry.rehearsal for entry in entries)
        report([NotebookResult(entry, status="passed", seconds=90.0) for entry in entries], finished=True)

    monkeypatch.setattr("course.notebook_runner.run_notebooks", run)
    planned = {"passed": True, "rows": [{"profile": "2b", "planned": 990, "engine": 1000, "off": -0.01}]}
    monkeypatch.setitem(gpu_check.PARTS, "planner", (True, "the planner", lambda _: planned))
    assert gpu_check.run_check("tiny,2b", False, tmp_path) == 0
    record, page = recorded(tmp_path)
    assert list(record["parts"]) == list(gpu_check.PARTS) and not record["left out"]
    assert ran == [("tiny", False, "cuda"), ("2b", True, "cuda")]
    assert "| 2b-rehearsed | 02_offline_inference | passed | 1.5 |" in page and "| 2b | 990 | 1000 | -0.01 |" in page
    assert ("tests", "-m", "gpu") in asked
    (compared,) = [words for words in asked if words[0] == "--nbval"]
    rules = (tmp_path / "sanitize.cfg").read_text()
    assert compared[3].endswith("sanitize.cfg") and "[the device]" in rules and "127" in rules


def test_with_weights_the_models_answers_are_recorded_by_cell(tmp_path, monkeypatch):
    active = SimpleNamespace(
        served_name="Qwen3-VL-2B", label="Qwen3-VL-2B", device="cuda", describe=lambda: "",
        profile=SimpleNamespace(rehearse=False, source="hub"),
    )  # fmt: skip
    monkeypatch.setenv("COURSE_REHEARSE", "")
    monkeypatch.setattr(gpu_check.Check, "settings_of", lambda self, name: active)

    def run(entries, folder, output, settings, report):
        from course.results import NotebookResult

        output.mkdir()
        printed = nbformat.v4.new_output("stream", text="[Qwen3-VL-2B] A dog | a ball.\n[tiny model] A cat.\n")
        cell = nbformat.v4.new_code_cell("print()", id="describe", outputs=[printed])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), output / "03_serving.ipynb")
        report([NotebookResult(entries[0], status="passed", executed="03_serving.ipynb")], finished=True)

    monkeypatch.setattr("course.notebook_runner.run_notebooks", run)
    part = gpu_check.check_notebooks(gpu_check.Check(("2b",), True, tmp_path))
    told = {"model": "Qwen3-VL-2B", "notebook": "03_serving", "cell": "describe", "answer": "A dog | a ball."}
    assert part["answers"] == [told]
    record = gpu_check.about(gpu_check.Check(("2b",), True, tmp_path)) | {"parts": {"notebooks": part}}
    page = gpu_check.as_page(record)
    assert f"recorded on {record['date']}" in page
    assert "| Qwen3-VL-2B | 03_serving | describe | A dog &#124; a ball. |" in page


@pytest.mark.parametrize(("failed", "passed"), [(0, True), (1, True), (2, False)])
def test_some_answers_may_differ_on_another_device(tmp_path, monkeypatch, failed, passed):
    found = {"passed": not failed, "tests": 20, "failed": ["cell"] * failed}
    monkeypatch.setattr(gpu_check, "_pytest", lambda *_: dict(found))
    part = gpu_check.check_outputs(gpu_check.Check(("tiny",), False, tmp_path))
    assert part["passed"] is passed and part["equal"] == 1 - failed / 20


def test_a_wrong_name_or_absent_weights_are_refused_before_anything_runs(tmp_path, monkeypatch, asked):
    with pytest.raises(CourseError, match="'9b'"):
        gpu_check.run_check("tiny,9b", False, tmp_path)
    monkeypatch.setenv("COURSE_MODELS_DIR", str(tmp_path))
    with pytest.raises(CourseError, match="download --profile 2b"):
        gpu_check.run_check("tiny,2b", True, tmp_path)
    assert not asked


def test_pytest_is_run_and_its_report_read(tmp_path):
    test = tmp_path / "test_three.py"
    test.write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n@pytest.mark.skip\ndef test_c(): pass\n"
    )
    part = gpu_check._pytest(tmp_path / "report.xml", str(test), "--rootdir", str(tmp_path), "-c", "/dev/null")
    assert not part["passed"] and part["tests"] == 2 and [name.split("::")[-1] for name in part["failed"]] == ["test_b"]

"""The command: parts chosen by name, each with a dated result, whatever becomes of the others."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks import cli as command
from benchmarks import reach, soak
from benchmarks.setting import Found, Options, Setting
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.profiles import ActiveProfile, load_profiles
from toolkit.speed import results
from toolkit.speed.results import Figure

SETTING = Setting(ActiveProfile(load_profiles()["tiny"], "cpu", "m"))


def found(**fields):
    return Found(("vllm", "bench"), [Figure(name="a", value=1.0, unit="s")], **fields)


@pytest.fixture
def measured(monkeypatch):
    """Parts do what the test says, by name; others give a result."""
    doing = {}

    def load(module):
        return SimpleNamespace(measure=lambda setting: doing.get(module.removeprefix("benchmarks."), found)())

    monkeypatch.setattr(command, "import_module", load)
    return doing


def test_no_minutes_are_not_half_an_hour_and_start_no_server(monkeypatch):
    monkeypatch.setattr(soak, "serve", lambda *_: pytest.fail("a server was started"))
    for options in ({"minutes": 0}, {"rate": 0}):
        with pytest.raises(CourseError, match="refused"):
            soak.measure(Setting(None, Options(**options)))


def test_every_part_is_a_script_and_its_results_add_up(tmp_path, measured):
    assert all((COURSE_ROOT / "benchmarks" / f"{name}.py").is_file() for name in command.PARTS)
    assert callable(reach.measure)
    for _ in range(2):
        assert command.run_parts(SETTING, ["reach"], tmp_path) == []
    assert [(one.part, one.profile) for one in results.read_results(tmp_path)] == [("reach", "tiny")] * 2


def test_a_result_that_does_not_hold_is_kept_and_fails(tmp_path, capsys, measured):
    measured["soak"] = lambda: found(broken=["memory grew"])
    assert command.run_parts(SETTING, ["soak"], tmp_path) == ["soak"]
    assert "memory grew" in capsys.readouterr().err
    assert results.read_results(tmp_path)[0].settings[command.NOT_HELD] == "memory grew"


def test_what_was_measured_before_an_interruption_stays_and_a_failure_stops_nothing(tmp_path, measured):
    def fail():
        raise CourseError("No.")

    def interrupt():
        raise KeyboardInterrupt

    measured |= {"reach": fail, "against": interrupt}
    assert command.run_parts(SETTING, ["reach", "soak"], tmp_path) == ["reach"]
    with pytest.raises(KeyboardInterrupt):
        command.run_parts(SETTING, ["settings", "against"], tmp_path)
    assert {one.part for one in results.read_results(tmp_path)} == {"soak", "settings"}


def test_parts_are_chosen_by_name():
    assert command.choose_parts(["soak", "reach"]) == ["reach", "soak"]
    with pytest.raises(CourseError, match="no part 'x'"):
        command.choose_parts(["x"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "reach          What this machine could reach"),
        (["no-such-part"], 1, "no part 'no-such-part'"),
        (["--no-such-option"], 2, "No such option"),
        (["--page", "--folder", "{folder}"], 1, "holds no results"),
    ],
)
def test_the_course_hands_arguments_on_and_the_status_back(tmp_path, words, status, said):
    program = [sys.executable, "-m", "course", "bench", *(word.format(folder=tmp_path) for word in words)]
    ended = subprocess.run(program, capture_output=True, text=True, cwd=COURSE_ROOT, timeout=120)
    assert ended.returncode == status and said in ended.stdout + ended.stderr, ended
    if words == ["--help"]:
        assert all(f"  {name} " in ended.stdout for name in command.PARTS)

"""The list of parts: each measured once a day, resumed after an interruption, chosen by name."""

import datetime
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import cli as command
from benchmarks import parts, soak
from benchmarks.setting import Found, Options, Part, Setting
from course.manifest import load_manifest
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.profiles import ActiveProfile, load_profiles
from tests.support.throwaway import write_executed
from toolkit import speed
from toolkit.speed import results
from toolkit.speed.results import Figure
from toolkit.speed.vllm_bench import ToolRun


class NoServer:
    profile = "tiny"


def found(value=1.0):
    return Found(("vllm", "bench"), [Figure(name="a", value=value, unit="s")])


def test_a_part_is_measured_once_a_day_and_again_if_asked(tmp_path):
    calls = []
    part = Part("one", "One", lambda setting: calls.append(setting) or found(len(calls)))
    for again in (False, False, True):
        assert command.run_parts(NoServer(), [part], tmp_path, again=again) == []
    assert len(calls) == 2
    assert [one.figures[0].value for one in results.read_results(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    ("part", "known", "same", "others"),
    [
        ("soak", {}, {"minutes": 30.0, "rate": 3}, [{"minutes": 2}, {"rate": 1}, {"minutes": 0}]),
        ("soak", {"minutes": 2}, {"minutes": 2.0}, [{}]),
        ("against", {}, {"requests": 300}, [{"seed": 1}]),
        (
            "against",
            {"requests": 8, "repeats": 3},
            {"requests": 8, "repeats": 3},
            [{"requests": 8}, {}, {"requests": 8, "repeats": 3, "llama_cpp": Path("l")}],
        ),
    ],
)
def test_a_result_of_other_options_is_not_the_one_that_is_asked_for(tmp_path, capsys, part, known, same, others):
    """Also after a third one was measured in between."""
    calls, shipped = [], next(one for one in parts.PARTS if one.name == part)

    def measure(setting):
        calls.append(setting)
        return Found(shipped.command(setting), found().figures)

    def run(options):
        setting = Setting(ActiveProfile(load_profiles()["tiny"], "cpu", "m"), Options(**options))
        return command.run_parts(setting, [replace(shipped, measure=measure)], tmp_path)

    for number, options in enumerate([known, *others], start=1):
        assert run(options) == [] and len(calls) == number
    capsys.readouterr()
    assert run(same) == [] and len(calls) == 1 + len(others)
    assert "measured today already (--again" in capsys.readouterr().out


def test_no_minutes_are_not_half_an_hour_and_start_no_server(monkeypatch):
    monkeypatch.setattr(soak, "serve", lambda *_: pytest.fail("a server was started"))
    for options in ({"minutes": 0}, {"rate": 0}):
        with pytest.raises(CourseError, match="refused"):
            soak.measure(Setting(None, Options(**options)))


@pytest.mark.parametrize("what", ["versions", "machine", "profile", "date"])
def test_what_was_measured_elsewhere_or_earlier_is_measured_anew(tmp_path, monkeypatch, what):
    part, setting = Part("one", "One", lambda setting: found()), NoServer()
    command.run_parts(setting, [part], tmp_path)
    if what == "versions":
        monkeypatch.setattr(command, "these_versions", lambda: {"vllm": "99"})
    elif what == "machine":
        other = command.this_machine().model_copy(update={"cores": 99})
        monkeypatch.setattr(command, "this_machine", lambda: other)
    elif what == "profile":
        setting.profile = "other"
    else:
        (path,) = tmp_path.glob("*.json")
        kept = json.loads(path.read_text())
        path.write_text(json.dumps(kept | {"date": "2020-01-01", "time": "2020-01-01T00:00:00Z"}))
    command.run_parts(setting, [part], tmp_path)
    assert len(results.read_results(tmp_path)) == 2


def test_a_result_that_does_not_hold_is_kept_fails_and_is_measured_anew(tmp_path, capsys):
    calls = []

    def measure(setting):
        calls.append(setting)
        good = found()
        return good if len(calls) > 1 else Found(good.command, good.figures, broken=["memory grew"])

    part = Part("one", "One", measure)
    assert command.run_parts(NoServer(), [part], tmp_path) == ["one"]
    assert "memory grew" in capsys.readouterr().err
    assert results.read_results(tmp_path)[0].settings[command.NOT_HELD] == "memory grew"
    assert command.run_parts(NoServer(), [part], tmp_path) == []
    assert len(results.read_results(tmp_path)) == len(calls) == 2


def test_what_was_measured_before_an_interruption_stays_and_a_failure_stops_nothing(tmp_path):
    def fail(setting):
        raise CourseError("No.")

    def interrupt(setting):
        raise KeyboardInterrupt

    good = [Part(name, name, lambda setting: found()) for name in ("one", "two")]
    assert command.run_parts(NoServer(), [Part("bad", "bad", fail), good[0]], tmp_path) == ["bad"]
    with pytest.raises(KeyboardInterrupt):
        command.run_parts(NoServer(), [good[1], Part("stop", "stop", interrupt)], tmp_path)
    assert {one.part for one in results.read_results(tmp_path)} == {"one", "two"}
    today = datetime.datetime.now(datetime.UTC).date()
    assert abs((today - results.read_results(tmp_path)[0].date).days) <= 1


@pytest.mark.parametrize(
    ("tool", "measure", "names"),
    [
        ("startup", parts.measure_startup, ["engine, cold", "engine, warm", "server"]),
        ("throughput", parts.measure_offline, ["requests", "all tokens", "answer tokens"]),
    ],
)
def test_the_offline_tools_are_read(monkeypatch, tool, measure, names):
    """Of runs of the real tool, kept as they came."""
    kept = json.loads((COURSE_ROOT / "tests" / "toolkit" / "speed" / "data" / f"vllm_bench_{tool}.json").read_text())
    run = ToolRun(tuple(kept["command"]), kept["data"])
    monkeypatch.setattr(speed, f"bench_{tool}", lambda *_, **options: run)
    setting = SimpleNamespace(active=None, server=SimpleNamespace(startup_seconds=20.0))
    figures = measure(setting).figures
    assert [figure.name for figure in figures] == names and all(figure.value > 0 for figure in figures)


def test_parts_are_chosen_by_name():
    assert [part.name for part in command.choose_parts(["runner", "startup"])] == ["startup", "runner"]
    by_name = {part.name for part in parts.PARTS if part.by_name_only}
    assert by_name == {"course", "soak", "settings", "against"}
    assert {part.name for part in command.choose_parts(None)} == {part.name for part in parts.PARTS} - by_name
    assert {part.name for part in command.choose_parts(sorted(by_name))} == by_name
    with pytest.raises(CourseError, match="no part 'x'"):
        command.choose_parts(["x"])


def test_the_course_is_read_from_its_executed_notebooks(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "OUTPUTS", tmp_path / "outputs")
    (tmp_path / "outputs").mkdir()
    entries = load_manifest().notebooks
    began = "2026-11-22T12:00:{:02}+00:00".format
    for number, entry in enumerate(entries[:-1]):
        write_executed(tmp_path / "outputs" / entry.file, [("x = 1", 2.0)], 10.0, began(number))
    with pytest.raises(CourseError, match=f"1 of {len(entries)} notebooks"):
        parts.measure_course(NoServer())
    write_executed(tmp_path / "outputs" / entries[-1].file, [("x = 1", 25.0)], 30.0, began(5))
    found_course = parts.measure_course(NoServer())
    assert [figure.value for figure in found_course.figures] == [35.0, 10.0 * len(entries) + 20]
    by_phase, slowest = found_course.tables.values()
    assert len(by_phase) == len(entries) + 1 and by_phase[-1]["all"] == 10.0 * len(entries) + 20
    assert slowest[0]["seconds"] == 25.0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "serve-text     Server, text, 8 at a time"),
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
        assert all(f"  {part.name} " in ended.stdout for part in parts.PARTS)

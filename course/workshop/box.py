"""``course workshop``: one folder with all that a teacher hands out, starts and reads."""

from __future__ import annotations

import io
import json
import platform
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from course.workshop.guide import load_guide, write_guide
from course.workshop.sizing import size_server
from course.workshop.wheels import check_room, fetch_wheels
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, write_whole
from helpers.profiles import load_profiles
from helpers.templates import render

#: What a learner needs, from the course's folder. Tests and solutions are not among it.
CONTENTS = ("README*.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml", "environment.yml",
            "requirements*.txt", "requirements", "packaging", "notebooks", "helpers", "toolkit", "course",
            "benchmarks", "data", "docs")  # fmt: skip
LEFT_OUT = {"__pycache__", "build", "node_modules", "solutions"}
ROOT_NAME, STUDENT = "qwen3-vl-course", "student.tar.gz"
STAMP = "workshop.json"
#: Cards of exercises, in the course's folder.
CARDS = Path("data", "exercises")
INSTALLER = Path(__file__).with_name("install.sh.j2")


@dataclass(frozen=True)
class Order:
    """For whom a box is made; a rerun must say the same."""

    seats: int
    gpu: str = "auto"
    count: int | None = None
    model: str | None = None


def make_box(order: Order, out: Path, with_wheels: bool = True) -> int:
    """Make the folder, or bring one up to date that the same order made; the status is 0.

    Everything that can be refused is refused before anything is written; the wheels, which take longest, come last.

    Raises:
        CourseError: an order that cannot be met, a folder that holds something else, too little space, no index.
    """
    out = out.expanduser().absolute()
    server, guide = size_server(order.seats, order.gpu, order.count, order.model), load_guide()
    claim(out, order)
    if with_wheels:
        check_room(out / "wheels")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / STAMP, json.dumps(asdict(order), indent=1) + "\n")
    print(server.summary)
    server.write(out / "server")
    print("server/: the command for this room, and a Compose file" if server.plan else "server/: the command")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    script = render(INSTALLER, python=python, machine=platform.machine(), root=ROOT_NAME, student=STUDENT)
    write_whole(out / "install.sh", script)
    (out / "install.sh").chmod(0o755)
    write_guide(out, guide, server, python=python, with_wheels=with_wheels)
    print("guide.md, guide.html: for you")
    print(f"{STUDENT}: {pack(out / STUDENT, out)} files, for the seats", flush=True)
    if with_wheels:
        print(f"wheels/: {fetch_wheels(out / 'wheels')} packages, installed by install.sh without an index")
    return 0


def claim(out: Path, order: Order) -> None:
    """Refuse a folder that is not empty, unless the same order has made it.

    Raises:
        CourseError: it holds something else, or was made for another order.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    elsewhere = "give another --out, or delete this one if nobody needs it"
    try:
        made = json.loads((out / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        what = f"{out} holds something that `course workshop` has not made."
        raise CourseError(what, "a folder or a file of your own; it is left as it is", elsewhere) from None
    if made != asdict(order):
        differs = [f"{name} {made.get(name)}" for name, value in asdict(order).items() if made.get(name) != value]
        raise CourseError(f"{out} was made for another workshop ({', '.join(differs)}).", "", elsewhere)


def pack(archive: Path, out: Path, root: Path = COURSE_ROOT) -> int:
    """Write the student package: the course without solutions, tests, downloads and what runs leave behind."""
    unfinished = archive.with_name(archive.name + ".part")
    try:
        with tarfile.open(unfinished, "w:gz", compresslevel=6) as tar:
            count = 0
            for path in student_files(root, out):
                info = tar.gettarinfo(path, f"{ROOT_NAME}/{path.relative_to(root)}")
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                content = without_answers(path) if path.parent == root / CARDS else path.read_bytes()
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                count += 1
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def without_answers(cards: Path) -> bytes:
    """A chapter's cards of exercises without explanations, which say what is right."""
    read = yaml.safe_load(cards.read_bytes())
    for card in read["exercises"].values():
        card.pop("explanation", None)
    return yaml.safe_dump(read, allow_unicode=True, sort_keys=False).encode()


def student_files(root: Path, out: Path) -> Iterator[Path]:
    """The files, in order. Names that begin with a dot stay at home: keys and caches lie in such."""
    bundled = {profile.model.rpartition("/")[2] for profile in load_profiles().values() if profile.source == "bundled"}
    for pattern in CONTENTS:
        for top in sorted(root.glob(pattern)):
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                parts = path.relative_to(root).parts
                hidden = any(part.startswith(".") or part in LEFT_OUT or part.endswith(".egg-info") for part in parts)
                downloaded = parts[:2] == ("data", "models") and len(parts) > 3 and parts[2] not in bundled
                if path.is_file() and not (hidden or downloaded or path.is_symlink() or path.is_relative_to(out)):
                    yield path

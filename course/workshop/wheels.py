"""Every package of the CPU set as wheels in a folder, so that seats install without an index."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course.bootstrap import explain_failure, installer_environment, lock_file
from helpers.errors import CourseError
from helpers.machine import free_disk_bytes
from helpers.progress import ProgressLine

#: GB (1e9 bytes), measured: 274 wheels for Python 3.11 on x86-64, the CUDA libraries of the index's torch among them.
NEEDED_GB = 3.4
#: Wheels fetched by one call of pip: little is lost by an interruption, and few calls are made.
AT_A_TIME = 12
#: A seat's Python may be any release of its series: 3.11.2 where the box was made with 3.11.7.
RELEASES = [f"{sys.version_info.major}.{sys.version_info.minor}.{release}" for release in range(40)]


@dataclass(frozen=True)
class Pin:
    """One entry of the lock that counts on a seat."""

    name: str
    version: str
    text: str
    """With its hashes and without its marker, for a requirements file."""

    def is_in(self, folder: Path) -> bool:
        """Whether a wheel lies there, and is one that the lock allows."""
        stem = re.sub(r"[-_.]+", "_", self.name)
        return any(
            f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" in self.text
            for file in folder.glob("*.whl")
            if re.sub(r"[-_.]+", "_", file.name.lower()).startswith(f"{stem}_")
            and file.name.split("-")[1] == self.version
        )


def read_pins(lock: Path) -> Iterator[Pin]:
    """The entries of a lock whose markers hold on this platform for any release of this Python's series."""
    from packaging.requirements import Requirement

    entries = re.findall(r"^[a-zA-Z0-9](?:.*\\\n)*.*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    for entry in entries:
        head, _, hashes = entry.partition("\\")
        wanted = Requirement(head.strip())
        if not (marker := wanted.marker) or any(marker.evaluate({"python_full_version": one}) for one in RELEASES):
            version = next(iter(wanted.specifier)).version
            yield Pin(wanted.name, version, f"{wanted.name}=={version} \\{hashes}")


def check_room(folder: Path) -> None:
    """Refuse a disk that the wheels would fill.

    Raises:
        CourseError: too little space.
    """
    held = sum(file.stat().st_size for file in folder.glob("*.whl"))
    free, needed = free_disk_bytes(folder) / 1e9, NEEDED_GB - held / 1e9
    if free < needed:
        what = f"Too little disk space for the wheels: {free:.1f} GB free, about {needed:.1f} GB needed."
        raise CourseError(what, "", "give --out on a larger disk, or --no-wheels if the seats reach an index")


def fetch_wheels(folder: Path, lock: Path | None = None) -> int:
    """Fetch what is missing into the folder; what is there, whole, is kept. Returns the number of wheels.

    Raises:
        CourseError: the index did not give them all; the same call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = list(read_pins(lock or Path(lock_file("cpu"))))
    missing = [pin for pin in pins if not pin.is_in(folder)]
    progress = ProgressLine()
    part, environment = folder / "fetching.txt", installer_environment(sys.executable)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "--requirement", str(part)]
    fetched = len(pins) - len(missing)
    try:
        while missing:
            # pip takes one version of a package at a time
            pins_now = list({pin.name: pin for pin in missing}.values())[:AT_A_TIME]
            missing = [pin for pin in missing if pin not in pins_now]
            progress.show(f"{fetched} of {len(pins)} wheels; fetching {pins_now[0].name} and others")
            part.write_text("\n".join(pin.text for pin in pins_now) + "\n", encoding="utf-8")
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                problem = explain_failure(done.stdout + done.stderr, "fetching the wheels")
                raise CourseError(problem.what, problem.cause, problem.remedy)
            fetched += len(pins_now)
    finally:
        part.unlink(missing_ok=True)
    progress.close(f"{len(pins)} wheels")
    return len(pins)

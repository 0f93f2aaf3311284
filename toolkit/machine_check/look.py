"""Everything that is checked of a machine. It only looks and never fails; torch is asked in a process of its own."""

from __future__ import annotations

import platform
import re
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers import machine

TORCH_SECONDS = 180.0


@dataclass(frozen=True)
class Torch:
    """What torch reports in a separate process. ``problem`` is empty if it could be imported."""

    version: str = ""
    cuda: str = ""
    """The CUDA version that torch was built with; empty for a CPU build."""
    available: bool = False
    capability: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Package:
    """A pinned package: the version required and the version installed ('' if none is)."""

    name: str
    wanted: str
    found: str

    @property
    def matches(self) -> bool:
        """Whether the installed version satisfies the pin (like pip, ignoring a local suffix such as +cpu)."""
        from packaging.specifiers import SpecifierSet

        return bool(self.found) and SpecifierSet(self.wanted).contains(self.found, prereleases=True)


@dataclass(frozen=True)
class Machine:
    """Memory and disk in GiB."""

    system: str
    architecture: str
    python: str
    cpu: str
    cores: int
    cpu_features: tuple[str, ...]
    ram_gib: float
    ram_limit_gib: float | None
    """The container's limit, if it is below the machine's memory."""
    ram_available_gib: float
    disk_free_gib: float
    smi: machine.Smi
    torch: Torch
    packages: tuple[Package, ...] = ()
    requirements: str = ""
    port: int = 8085
    port_free: bool = True

    @property
    def usable_ram_gib(self) -> float:
        """The most RAM that a process may use: the machine's, or the container's limit."""
        return min(self.ram_gib, self.ram_limit_gib or self.ram_gib)


def look_at_machine(requirements: Path, disk: Path, port: int = 8085) -> Machine:
    """Look at everything, for about as long as ``import torch`` takes; ``disk`` is a folder, which need not exist."""
    import psutil

    total, (limit, _) = psutil.virtual_memory().total, machine.cgroup_memory()
    name, features = machine.read_cpu()
    return Machine(
        system=_system(),
        architecture=platform.machine(),
        python=platform.python_version(),
        cpu=name,
        cores=machine.core_count(),
        cpu_features=features,
        ram_gib=total / 2**30,
        ram_limit_gib=limit / 2**30 if limit and limit < total else None,
        ram_available_gib=machine.free_gib(),
        disk_free_gib=machine.free_disk_bytes(disk) / 2**30,
        smi=machine.ask_nvidia_smi(),
        torch=ask_torch(),
        packages=tuple(read_packages(requirements)),
        requirements=requirements.name,
        port=port,
        port_free=is_port_free(port),
    )


def ask_torch(seconds: float = TORCH_SECONDS) -> Torch:
    """Version, CUDA and GPU as torch sees them.

    Asked in a separate process: a torch that crashes or hangs must not take the notebook down, and CUDA must not be
    initialised here, or vLLM's worker processes could not use it ('Cannot re-initialize CUDA in forked subprocess').
    """
    code = (
        "import torch; gpu = torch.cuda.is_available(); "
        "print('\\nfound', torch.__version__, torch.version.cuda or '-', '.'.join(map(str, "
        "torch.cuda.get_device_capability())) if gpu else '-')"
    )
    status, output = machine.ask([sys.executable, "-c", code], seconds)
    if status is None:
        return Torch(problem=output)
    if found := re.search(r"^found (\S+) (\S+) (\S+)$", output, re.M):
        version, cuda, capability = (word.strip("-") for word in found.groups())
        return Torch(version, cuda, bool(capability), capability)
    # The last line of a traceback says enough; a crash in compiled code leaves only a signal.
    why = signal.Signals(-status).name if status < 0 else (output.strip().splitlines() or ["no output"])[-1]
    return Torch(problem=f"import torch failed ({why})")


def read_packages(requirements: Path) -> list[Package]:
    """Every pin of a requirements file, including '-r other.txt', with the version installed here."""
    from packaging.requirements import InvalidRequirement, Requirement

    packages: list[Package] = []
    for line in requirements.read_text(encoding="utf-8").splitlines() if requirements.is_file() else ():
        line = line.split(" #")[0].strip()
        if line.startswith("-r "):
            packages += read_packages(requirements.parent / line[3:].strip())
        with suppress(InvalidRequirement):  # a comment or an option
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate():
                packages.append(Package(wanted.name, str(wanted.specifier), machine.installed_version(wanted.name)))
    return packages


def is_port_free(port: int) -> bool:
    """Whether a server could now listen on 127.0.0.1:``port``."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just closed is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.release()}"

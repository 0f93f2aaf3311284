"""What this machine is: processor, memory, disk, graphics cards, torch and installed packages.

It only looks (:mod:`helpers.environment` judges) and never fails: what cannot be determined is None or empty, and the
reason is kept. Imports neither torch nor vllm into this process.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from helpers.processes import run_to_end

#: Instruction sets that decide how fast, or whether, vLLM's CPU engine runs, by their names in /proc/cpuinfo.
CPU_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_tile": "AMX",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "neon": "NEON",
}
#: No answer within this many seconds counts as broken: a stuck driver makes nvidia-smi hang for minutes.
SMI_SECONDS = 15.0
TORCH_SECONDS = 180.0


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA card. Memory in GiB (the machine's if the card has none of its own); ``capability`` such as '8.9'."""

    name: str
    memory_gib: float
    capability: str = ""


@dataclass(frozen=True)
class Smi:
    """What ``nvidia-smi`` reports. ``problem`` is empty if it answered."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    """The newest CUDA version that the driver supports."""
    problem: str = ""


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
    """Everything that :mod:`helpers.environment` checks. Memory and disk in GiB."""

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
    smi: Smi
    torch: Torch
    packages: tuple[Package, ...] = field(default=())
    requirements: str = ""
    port: int = 8085
    port_free: bool = True

    @property
    def usable_ram_gib(self) -> float:
        """The most RAM that a process may use: the machine's, or the container's limit."""
        return min(self.ram_gib, self.ram_limit_gib or self.ram_gib)


def look_at_machine(requirements: Path, disk: Path, port: int = 8085) -> Machine:
    """Look at everything; takes about as long as ``import torch``.

    Args:
        requirements: the requirements file of the set in use.
        disk: a folder on the disk for models; it need not exist yet.
        port: the port that the course's server tries first.
    """
    import psutil

    total, (limit, _) = psutil.virtual_memory().total, cgroup_memory()
    name, features = read_cpu()
    return Machine(
        system=_system(),
        architecture=platform.machine(),
        python=platform.python_version(),
        cpu=name,
        cores=core_count(),
        cpu_features=features,
        ram_gib=total / 2**30,
        ram_limit_gib=limit / 2**30 if limit and limit < total else None,
        ram_available_gib=free_gib(),
        disk_free_gib=free_disk_bytes(disk) / 2**30,
        smi=ask_nvidia_smi(),
        torch=ask_torch(),
        packages=tuple(read_packages(requirements)),
        requirements=requirements.name,
        port=port,
        port_free=is_port_free(port),
    )


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, tuple[str, ...]]:
    """The processor's name, and which of :data:`CPU_FEATURES` it has."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:  # not Linux
        arm = platform.machine().lower() in {"arm64", "aarch64"}
        return platform.processor() or platform.machine(), ("NEON",) if arm else ()
    lines = dict(reversed([line.split(":", 1) for line in text.splitlines() if ":" in line]))
    values = {key.strip().lower(): value.strip() for key, value in lines.items()}
    flags = set((values.get("flags") or values.get("features") or "").split())
    found = [label for flag, label in CPU_FEATURES.items() if flag in flags]
    return values.get("model name") or platform.machine(), tuple(dict.fromkeys(found))


def cgroup_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[int | None, int]:
    """(limit, used) in bytes of the tightest memory control group around this process; (None, 0) without a limit.

    Reads version 2 (``memory.max``) and version 1 (``memory.limit_in_bytes``), from the process's own group up to
    the root, because a container's limit may be set on any of them. Cached files do not count as used: the system
    drops them when programs need the memory.
    """
    tightest: tuple[int | None, int] = (None, 0)
    try:
        entries = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return tightest
    for _, controllers, path in entries:
        if controllers == "":
            base, limit_name, used_name = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit_name, used_name = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        while group == base or base in group.parents:
            limit = _read_int(group / limit_name)
            # Version 1 writes 'no limit' as the largest multiple of the page size below 2**63.
            if limit is not None and limit < 1 << 60 and (tightest[0] is None or limit < tightest[0]):
                used = _read_int(group / used_name) or 0
                tightest = (limit, max(0, used - _cached_files(group / "memory.stat")))
            group = group.parent
    return tightest


def core_count() -> int:
    """Processor cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ram_gib() -> float:
    """RAM in GiB: the machine's, or the container's limit."""
    import psutil

    total, (limit, _) = psutil.virtual_memory().total, cgroup_memory()
    return min(total, limit or total) / 2**30


def free_gib() -> float:
    """Memory in GiB still available to programs: the machine's, or what a container's limit leaves of it."""
    import psutil

    available = psutil.virtual_memory().available
    limit, used = cgroup_memory()
    return (available if limit is None else min(available, max(0, limit - used))) / 2**30


def free_disk_bytes(folder: Path) -> int:
    """Free space on the disk that holds or will hold a folder."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free


def ask_nvidia_smi(seconds: float = SMI_SECONDS) -> Smi:
    """Cards, driver and the driver's CUDA version, from ``nvidia-smi``; at most about ``seconds`` per query."""
    rows, problem = query_cards("name,memory.total,driver_version,compute_cap", seconds)
    if problem:
        return Smi(problem=problem)
    match = re.search(r"CUDA Version:\s*([\d.]+)", ask(["nvidia-smi"], seconds)[1])
    gpus = tuple(Gpu(row[0], card_gib(row[1]), row[3]) for row in rows)
    return Smi(gpus, rows[0][2], match.group(1) if match else "")


def query_cards(fields: str, seconds: float = SMI_SECONDS) -> tuple[list[list[str]], str]:
    """These comma-separated fields of every NVIDIA card, and '' or the reason why there are none."""
    if not shutil.which("nvidia-smi"):
        return [], "nvidia-smi is not installed: no NVIDIA driver"
    status, output = ask(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"], seconds)
    if status is None:
        return [], output
    commas = fields.count(",")
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines() if line.count(",") == commas]
    if status or not rows:
        return [], f"nvidia-smi failed ({output.strip().splitlines()[0] if output.strip() else 'no output'})"
    return rows, ""


def card_gib(mebibytes: str) -> float:
    """A card's memory in GiB, as ``nvidia-smi`` gives it; for '[N/A]', a card that shares the machine's RAM, that."""
    try:
        return float(mebibytes) / 1024
    except ValueError:
        return ram_gib()


def ask_torch(seconds: float = TORCH_SECONDS) -> Torch:
    """Version, CUDA and GPU as torch sees them.

    Asked in a separate process: a torch that crashes or hangs must not take the notebook down, and CUDA must not be
    initialised here, or vLLM's worker processes could not use it ('Cannot re-initialize CUDA in forked subprocess').
    """
    code = (
        "import json, torch; gpu = torch.cuda.is_available(); "
        "print('\\n' + json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda or '', 'available': gpu, "
        "'capability': '.'.join(map(str, torch.cuda.get_device_capability())) if gpu else ''}))"
    )
    status, output = ask([sys.executable, "-c", code], seconds)
    if status is None:
        return Torch(problem=output)
    lines = output.strip().splitlines() or ["no output"]
    try:
        found = next(json.loads(line) for line in reversed(lines) if line.startswith("{"))
        return Torch(**found)
    except (StopIteration, ValueError, TypeError):
        # The last line of a traceback says enough; a crash in compiled code leaves only a signal.
        why = signal.Signals(-status).name if status < 0 else lines[-1]
        return Torch(problem=f"import torch failed ({why})")


def read_packages(requirements: Path) -> list[Package]:
    """Every pin of a requirements file, including '-r other.txt', with the version installed here."""
    from packaging.requirements import InvalidRequirement, Requirement

    packages: list[Package] = []
    try:
        lines = requirements.read_text(encoding="utf-8").splitlines()
    except OSError:
        return packages
    for line in lines:
        line = line.split(" #")[0].strip()
        if line.startswith("-r "):
            packages += read_packages(requirements.parent / line[3:].strip())
            continue
        try:
            wanted = Requirement(line)
        except InvalidRequirement:  # a comment or an option, too
            continue
        if wanted.marker is None or wanted.marker.evaluate():
            packages.append(Package(wanted.name, str(wanted.specifier), installed_version(wanted.name)))
    return packages


def installed_version(name: str) -> str:
    """A package's version; '' if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()} | {name: installed_version(name) for name in names}
    return {name: number for name, number in found.items() if number}


def is_port_free(port: int) -> bool:
    """Whether a server could now listen on 127.0.0.1:``port``."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just closed is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def ask(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Exit status and output of a program; None and the reason if it did not run to its end."""
    program = Path(command[0]).name
    try:
        ended = run_to_end(command, timeout=seconds)
    except OSError as error:
        return None, f"{program} cannot be started ({error.strerror})"
    if ended.status is None:
        return None, f"{program} did not answer within {seconds:g} seconds"
    return ended.status, ended.output


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.release()}"


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):  # version 2 writes 'max' for no limit
        return None


def _cached_files(stat: Path) -> int:
    """Bytes of cached files in a group; version 1 has a ``total_`` that includes the groups below it."""
    try:
        counts = dict(line.split() for line in stat.read_text().splitlines())
        names = ("active_file", "inactive_file")
        return sum(int(counts.get(f"total_{name}", counts.get(name, 0))) for name in names)
    except (OSError, ValueError):
        return 0

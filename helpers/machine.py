"""What this machine is: processor, memory, disk, GPUs and installed packages.

It never fails: what cannot be determined is None or empty, and the reason is kept. Imports neither torch nor vllm.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from helpers.processes import run_to_end

#: Instruction sets that decide how fast, or whether, vLLM's CPU engine runs; most are so called in /proc/cpuinfo, too.
CPU_FEATURES = {name.lower().replace("-", "_"): name for name in ("AVX2", "AVX512-VNNI", "AVX512-BF16", "AMX-BF16")}
CPU_FEATURES |= {"avx512f": "AVX512", "amx_tile": "AMX", "asimd": "NEON", "neon": "NEON"}
#: No answer within this many seconds counts as broken: a stuck driver makes nvidia-smi hang for minutes.
SMI_SECONDS = 15.0


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


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, tuple[str, ...]]:
    """The processor's name, and which of :data:`CPU_FEATURES` it has."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:  # not Linux
        arm = platform.machine().lower() in {"arm64", "aarch64"}
        return platform.processor() or platform.machine(), ("NEON",) if arm else ()
    name = re.search(r"^model name\s*: *(.+)", text, re.M)
    flags = re.search(r"^(?:flags|features)\s*:(.*)", text, re.M | re.I)
    known = [CPU_FEATURES[flag] for flag in CPU_FEATURES if flags and flag in flags[1].split()]
    return name[1] if name else platform.machine(), tuple(dict.fromkeys(known))


def cgroup_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[int | None, int]:
    """(limit, used) in bytes of the tightest memory control group around this process; (None, 0) without a limit.

    Versions 1 and 2, from the process's own group up to the root: a container's limit may be set on any of them. Cached
    files do not count as used: the system drops them when programs need the memory.
    """
    limits: list[tuple[int, int]] = []
    for line in own.read_text().splitlines() if own.is_file() else ():
        _, controllers, path = line.split(":", 2)
        base, names = root, ("memory.max", "memory.current")
        if "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        elif controllers:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            limit, used = (_read_int(folder / name) for name in names)
            # Version 1 writes 'no limit' as the largest multiple of the page size below 2**63.
            if folder.is_relative_to(base) and limit is not None and limit < 1 << 60:
                limits.append((limit, max(0, (used or 0) - _cached_files(folder / "memory.stat"))))
    return min(limits, default=(None, 0))


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


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):  # version 2 writes 'max' for no limit
        return None


def _cached_files(stat: Path) -> int:
    """Bytes of cached files in a group; version 1 has a ``total_`` that includes the groups below it."""
    with suppress(OSError, ValueError):
        counts = dict(line.split() for line in stat.read_text().splitlines())
        names = ("active_file", "inactive_file")
        return sum(int(counts.get(f"total_{name}", counts.get(name, 0))) for name in names)
    return 0

"""Is this machine ready for the course? What was found and what is needed, and which profiles run here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from helpers.files import COURSE_ROOT, read_yaml
from helpers.machine import Smi, installed_version
from helpers.profiles import BFLOAT16_CAPABILITY, Profile, find_device, load_profiles, local_model, models_folder
from toolkit.machine_check.look import Machine, look_at_machine

if TYPE_CHECKING:
    import pandas

CheckResult = Literal["ok", "note", "warning", "missing"]
CHECKS_FILE = COURSE_ROOT / "data" / "machine_checks.yaml"
#: Shown for everything that only a GPU needs.
OPTIONAL = "none for profile tiny"
#: Weights in bf16, plus a tenth for the tokenizer and as a margin, in bytes per parameter.
DISK_BYTES_PER_PARAMETER = 2 * 1.1
#: Only tests and linters need these; notebooks run without them.
DEVELOPMENT_ONLY = {"pytest", "pytest-timeout", "nbval", "ruff", "setuptools", "uv", "jupyterlab", "papermill"}


@dataclass(frozen=True)
class Finding:
    """One row: 'missing': the course cannot run; 'warning': it runs with drawbacks; 'note': for information."""

    item: str
    found: str
    needed: str
    verdict: CheckResult
    remedy: str = ""


def requirements_in_use() -> Path:
    """The requirements file of the installed set: the CPU set unless vLLM's CUDA build is installed."""
    cuda_set = "cpu" not in (installed_version("vllm") or "cpu")
    return COURSE_ROOT / ("requirements.txt" if cuda_set else "requirements-cpu.txt")


def look_here() -> Machine:
    """This machine, with the pins of the set in use and the disk for models."""
    return look_at_machine(requirements_in_use(), models_folder())


def findings(machine: Machine) -> list[Finding]:
    """Check a machine, the most basic things first."""
    cpu_set = machine.requirements == "requirements-cpu.txt"
    port = _rated("port", "free" if machine.port_free else "in use", machine.port_free, f"port {machine.port}")
    return [*_basics(machine, cpu_set), *_graphics(machine, cpu_set), *_packages(machine), port]


def check_table(machine: Machine) -> pandas.DataFrame:
    """The findings as a table with the columns item, found, needed, verdict, remedy."""
    import pandas as pd

    return pd.DataFrame([vars(finding) for finding in findings(machine)])


def package_table(machine: Machine) -> pandas.DataFrame:
    """Every pinned package: package, wanted, found, matches."""
    import pandas as pd

    rows = [(pin.name, pin.wanted, pin.found or "not installed", pin.matches) for pin in machine.packages]
    return pd.DataFrame(rows, columns=["package", "wanted", "found", "matches"])


def profile_table(machine: Machine, profiles: dict[str, Profile] | None = None) -> pandas.DataFrame:
    """Which profiles run here: profile, model, needs_gib, on_disk, runs_here ('yes', 'no'), why."""
    import pandas as pd

    device = find_device()
    rows = []
    for profile in (profiles or load_profiles()).values():
        fits, why = _fit(profile, machine, device)
        on_disk, runs_here = ("yes" if answer else "no" for answer in (local_model(profile), fits))
        rows.append((profile.name, profile.title, profile.needs_gib, on_disk, runs_here, why))
    return pd.DataFrame(rows, columns=["profile", "model", "needs_gib", "on_disk", "runs_here", "why"])


@lru_cache(maxsize=1)
def _checks() -> dict[str, Any]:
    return read_yaml(CHECKS_FILE)["checks"]


def _rated(key: str, found: str, good: bool, item: str = "", needed: str = "") -> Finding:
    check = _checks()[key]
    verdict: CheckResult = "ok" if good else check["otherwise"]
    return Finding(item or key, found, needed or check["needed"], verdict, "" if good else check["remedy"])


def _basics(machine: Machine, cpu_set: bool) -> list[Finding]:
    linux = not any(name in machine.system.lower() for name in ("windows", "darwin"))
    python = (3, 11) <= _version(machine.python)[:2] <= (3, 14)
    tiny = load_profiles()["tiny"].needs_gib
    ram, free = f"{machine.ram_gib:.1f} GiB", machine.ram_available_gib
    if machine.ram_limit_gib is not None:
        ram = f"{machine.ram_limit_gib:.1f} GiB (limit of this container; the machine has {ram})"
    return [
        _rated("operating system", f"{machine.system}, {machine.architecture}", linux),
        _rated("Python", machine.python, python),
        _rated("processor", f"{machine.cpu}, {machine.cores} cores", machine.cores > 1),
        _instructions(machine, cpu_set),
        _rated("memory (RAM)", ram, machine.usable_ram_gib >= tiny, needed=f"{tiny:g} GiB"),
        _rated("memory free now", f"{free:.1f} GiB", free >= tiny, needed=f"{tiny:g} GiB"),
        _rated("disk free", f"{machine.disk_free_gib:.0f} GiB", machine.disk_free_gib >= 1),
    ]


def _instructions(machine: Machine, cpu_set: bool) -> Finding:
    has = set(machine.cpu_features)
    verdict: CheckResult = "missing" if cpu_set else "note"
    remedy = "use another machine, or in a virtual machine pass the host's CPU through (cpu: host)"
    if has & {"AMX", "AVX512", "NEON"} or ("AVX2" in has and not cpu_set):
        verdict, remedy = "ok", ""
    elif "AVX2" in has:
        verdict, remedy = "note", "none needed: vLLM uses its AVX2 code, slower than AVX512 or AMX"
    needed = "AVX2 or NEON; AVX512 and AMX are faster" if cpu_set else "any"
    found = ", ".join(machine.cpu_features) or "none of AVX2, AVX512, AMX, NEON"
    return Finding("processor features", found, needed, verdict, remedy)


def _graphics(machine: Machine, cpu_set: bool) -> list[Finding]:
    smi, torch = machine.smi, machine.torch
    needed_cuda = f"at least {torch.cuda}" if smi.gpus and torch.cuda else OPTIONAL
    compared = _compare_cuda(smi.cuda, torch.cuda, bool(smi.gpus))
    rows = [
        _cards(smi),
        _optional("driver", smi.driver or "none", smi.driver),
        Finding("CUDA of the driver", smi.cuda or "none", needed_cuda, *compared),
        _rated("torch", torch.problem or torch.version, not torch.problem),
    ]
    if torch.problem:
        return rows
    built, seen = torch.cuda or "none (CPU build)", ("torch.cuda.is_available()", str(torch.available))
    if cpu_set:
        rows.append(_optional("torch.version.cuda", built, torch.cuda))
    else:
        rows.append(_rated("torch.version.cuda", built, bool(torch.cuda)))
    if torch.available or (cpu_set and not smi.gpus):
        needed = OPTIONAL if cpu_set else "True"
        rows.append(Finding(*seen, needed, "ok" if torch.available else "note"))
    else:
        remedy = "the driver is older than torch's CUDA, CUDA_VISIBLE_DEVICES hides the card, or the container lacks it"
        rows.append(Finding(*seen, "True", "warning" if cpu_set else "missing", remedy))
    capability = torch.capability or (smi.gpus[0].capability if smi.gpus else "")
    if not capability:
        return [*rows, _optional("compute capability", "none", "")]
    enough = _version(capability) >= _version(str(BFLOAT16_CAPABILITY))
    return [*rows, _rated("compute capability", capability, enough, needed=f"{BFLOAT16_CAPABILITY} for bfloat16")]


def _optional(item: str, found: str, present: str) -> Finding:
    return Finding(item, found, OPTIONAL, "ok" if present else "note")


def _cards(smi: Smi) -> Finding:
    if smi.gpus:
        return Finding("GPU", ", ".join(f"{gpu.name} ({gpu.memory_gib:.0f} GiB)" for gpu in smi.gpus), OPTIONAL, "ok")
    broken = "not installed" not in smi.problem
    remedy = "reboot, or reinstall the NVIDIA driver; in a container start it with --gpus all" if broken else ""
    return Finding("GPU", f"none ({smi.problem})", OPTIONAL, "warning" if broken else "note", remedy)


def _compare_cuda(driver: str, built: str, has_gpu: bool) -> tuple[CheckResult, str]:
    if not has_gpu or not built:
        return ("ok" if driver else "note"), ""
    if not driver:
        return "warning", "nvidia-smi does not report it: compare the driver with torch's CUDA version yourself"
    if _version(driver)[0] < _version(built)[0]:
        return "missing", f"update the NVIDIA driver: it supports CUDA up to {driver}, but torch is built with {built}"
    if _version(driver) < _version(built):
        return "note", "none needed: within a major version, older drivers work"
    return "ok", ""


def _packages(machine: Machine) -> list[Finding]:
    total = len(machine.packages)
    if not total:
        return [Finding("packages", "no pins found", "a requirements file", "missing", "restore requirements*.txt")]
    others = [package for package in machine.packages if not package.matches]
    remedy = f"make setup (installs {machine.requirements})"
    found = f"{total - len(others)} of {total} match"
    result: CheckResult = "warning" if others else "ok"
    rows = [Finding("packages", found, f"the pins of {machine.requirements}", result, remedy if others else "")]
    for package in others:
        verdict: CheckResult = "warning" if package.found or package.name in DEVELOPMENT_ONLY else "missing"
        rows.append(Finding(package.name, package.found or "not installed", package.wanted, verdict, remedy))
    return rows


def _fit(profile: Profile, machine: Machine, device: str) -> tuple[bool, str]:
    if device not in profile.devices:
        return False, "needs an NVIDIA GPU and the CUDA set; COURSE_REHEARSE=full tries its size with random weights"
    if device == "cuda":
        memory, kind = max((gpu.memory_gib for gpu in machine.smi.gpus), default=0.0), "GPU memory"
    else:
        memory, kind = machine.usable_ram_gib, "RAM"
    if memory < profile.needs_gib:
        return False, f"needs {profile.needs_gib:g} GiB of {kind}"
    if local_model(profile) is None:
        download = profile.parameters_billions * 1e9 * DISK_BYTES_PER_PARAMETER / 2**30
        if machine.disk_free_gib < download:
            return False, f"fits in {kind}, but its download needs about {download:.0f} GiB of disk"
        return True, f"fits in {kind}; after its download (notebook 01)"
    return True, f"fits in {kind}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit()) or (0,)

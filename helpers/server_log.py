"""What the log of ``vllm serve`` means, by ``data/server_log.yaml``: a start's phase, a failure's cause and remedy."""

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from helpers.files import COURSE_ROOT, read_yaml

PATTERNS_FILE = COURSE_ROOT / "data" / "server_log.yaml"
BEFORE_THE_LOG = "starting Python and importing vLLM"


@dataclass(frozen=True)
class Diagnosis:
    """Cause and remedy of a failure, recognised in a log."""

    cause: str
    remedy: str


def read_log(path: Path | None, last_bytes: int | None = None) -> str:
    """A log's text, whatever its encoding; '' if there is none.

    Without its NULs, ASCII text in UTF-16 or UTF-32 reads as if it were UTF-8, from wherever the reading begins.
    """
    if not path or not path.is_file():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - last_bytes) if last_bytes else 0)
        return log.read().replace(b"\0", b"").decode(errors="replace").replace("\r", "\n")


def recognise(text: str, among: str = "failures") -> Diagnosis | None:
    """Cause and remedy of the first known failure found in a log or message; ``among`` 'silent': of what goes on."""
    for entry in read_yaml(PATTERNS_FILE)[among]:
        if match := re.search(entry["pattern"], text, re.IGNORECASE):
            return Diagnosis(_filled(entry["cause"], match), _filled(entry["remedy"], match))
    return None


def diagnose(log: str, status: int | None = None) -> Diagnosis:
    """Diagnose a failure from a server's log.

    Args:
        log: the log's text.
        status: the exit status, 128 + n for a server ended by signal n; None if it was still running.
    """
    if known := recognise(log):
        return known
    outcomes = {None: "late", 0: "stopped", 128 + signal.SIGTERM: "stopped"}
    outcomes |= {128 + signal.SIGKILL: "killed", 128 + signal.SIGBUS: "bus error"}
    return Diagnosis(**read_yaml(PATTERNS_FILE)["otherwise"][outcomes.get(status, "unknown")])


def phase(log: str) -> str:
    """The last phase of the start that a log shows."""
    reached = [entry["name"] for entry in read_yaml(PATTERNS_FILE)["phases"] if re.search(entry["pattern"], log, re.I)]
    return reached[-1] if reached else BEFORE_THE_LOG


def last_words(log: str, lines: int = 10) -> str:
    """The end of a log: its error messages, without tracebacks, if there are any, else its last lines."""
    prefix = re.compile(r"^(\(\w+ pid=\d+\) )?((ERROR|WARNING|INFO) [\d :-]+\[\S+:\d+\] ?)?")
    kept = [prefix.sub("", line).rstrip() for line in log.split("\n")]
    kept = [line for line in kept if line.strip()]
    errors = [line for line in kept if re.match(r"([\w.]+(Error|Exception)\b.*: |.*\berror: |\s+Value error, )", line)]
    chosen = list(dict.fromkeys(errors)) or kept
    return "\n".join(line[:300] for line in chosen[-lines:])


def _filled(text: str, match: re.Match[str]) -> str:
    """``{1}`` replaced by what the pattern's first group matched."""
    return re.sub(r"\{(\d)\}", lambda number: (match[int(number[1])] or "").strip(), text)

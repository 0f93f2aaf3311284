"""Keeps a server from outliving its owner: ``supervisor.py OWNER_PID LOG COMMAND...``; standard library only.

An owner that is killed with ``kill -9`` (a notebook kernel out of memory, an editor that closes) runs no clean-up code,
and a server that loses its engine may hang on to the port. So between them stands this small process, which

- stops everything when the pipe from its owner closes or the owner's process is gone, or on SIGTERM,
- sends SIGTERM to the server alone first (told together, the engine dies first and the server reports a crash), and
  kills what is left of the family after a grace period,
- stops the server if one of the processes that it had when it became ready (its engine) dies and the server stays up,
- adopts orphans of the server (Linux), so that no grandchild escapes.

On its standard input the owner writes ``ready``, answered with ``watching``; closing it means stop. On its standard
output it writes ``started PID`` and, at the end, ``exited CODE``.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

#: Seconds that the server may take for its own shutdown before the rest of its family is killed.
GRACE_SECONDS = 5.0
#: Seconds that a server may live on without its engine; vLLM's own watchdog looks every 5 s.
ENGINE_LOSS_SECONDS = 6.0
POLL_SECONDS = 0.25

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def supervise(owner: int, log: Path, command: list[str]) -> int:
    """Run ``command`` until it ends or has to be ended, and leave no process behind; returns its exit status."""
    stop_requested = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop_requested.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _process_control(PR_SET_CHILD_SUBREAPER, 1)
    with log.open("ab") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # no other thread runs in this process
        )
    _say(f"started {server.pid}")
    engines: set[int] = set()
    engine_lost_at = None
    while server.poll() is None and not stop_requested:
        line = _read_owner()
        if line == "" or os.getppid() != owner:  # a forked child of the owner may keep the pipe open
            break
        if line == "ready":
            engines = descendants(server.pid)
            _say("watching")
        if engines and not engines <= descendants(server.pid):
            engine_lost_at = engine_lost_at or time.monotonic()
            if time.monotonic() - engine_lost_at > ENGINE_LOSS_SECONDS:
                break
        _reap_adopted(server.pid)
    code = end(server)
    _say(f"exited {code}")
    return code if code >= 0 else 128 - code


def end(server: subprocess.Popen, grace: float = GRACE_SECONDS) -> int:
    """Ask the server to stop, then kill what is left of its family. Returns the server's own exit status."""
    if server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(grace)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline:
        family = descendants(os.getpid())
        if not family:
            break
        for pid in family:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        server.poll()
        _reap_adopted(server.pid)
    if sys.platform != "linux":  # no /proc and nothing adopts orphans: the server's process group is the family
        with suppress(OSError):
            os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


def descendants(pid: int) -> set[int]:
    """Ids of all living descendants of a process (without zombies); empty where there is no /proc."""
    children: dict[int, set[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may itself hold spaces and parentheses: count from the last one.
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state not in "ZX":
            children.setdefault(int(parent), set()).add(int(entry.parent.name))
    found, queue = set[int](), {pid}
    while queue:
        queue = {child for parent in queue for child in children.get(parent, ())} - found
        found |= queue
    return found


def _read_owner() -> str | None:
    """The owner's next line; '' when the pipe is closed; None when there was nothing for a moment."""
    if sys.stdin.closed or not select.select([0], [], [], POLL_SECONDS)[0]:
        return None
    return os.read(0, 64).decode(errors="replace").strip()


def _reap_adopted(server: int) -> None:
    """Collect adopted orphans that have ended. The server itself is left to ``Popen``."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == server:
            return
        os.waitpid(ended.si_pid, 0)


def _die_with_parent() -> None:
    """If even this process is killed, the kernel asks the server to stop."""
    _process_control(PR_SET_PDEATHSIG, signal.SIGTERM)


def _process_control(option: int, value: int) -> None:
    """Linux ``prctl``; nothing happens elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0)


def _say(line: str) -> None:
    with suppress(OSError):  # the owner may be gone, and with it the reader
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))

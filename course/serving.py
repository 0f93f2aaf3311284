"""What ``course serve`` and ``course servers`` do: one server in the foreground, and all that are running."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from course.hello import bundled_task
from helpers import supervisor
from helpers.files import shown
from helpers.processes import STOP_SECONDS, family
from helpers.profiles import use_profile
from helpers.server import Address, ServerError, serve
from helpers.server_checks import last_value

if TYPE_CHECKING:
    import psutil


def serve_until_interrupted(profile: str, address: Address, key: str | None, rehearse: bool) -> int:
    """Serve a profile in the foreground until interrupted.

    Returns:
        The exit status: 0 after an interruption, 1 if the server died.
    """
    if threading.current_thread() is threading.main_thread():
        # Shells start background jobs with SIGINT ignored; 'until interrupted' holds there, too.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
    active = use_profile(profile, rehearse=True if rehearse else None)
    try:
        with serve(active, api_key=key, address=address) as server:
            print(f"\nPYTHONPATH=. {shlex.join(server.command)}\n")
            print(f"base URL: {server.base_url}    model: {server.model_name}    log: {shown(server.log_path or '')}")
            print("try it in another terminal, with a text and with an image:\n")
            print(server.curl("Write the sentence 'I love Qwen3-VL-4B-Instruct' in reverse."))
            scene = bundled_task()
            print(server.curl(scene.question, scene.image.as_uri()))
            print("\nCtrl-C stops it.", flush=True)
            while True:
                time.sleep(1)
                server.check()
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
        return 0
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


def list_servers(stop: bool = False) -> int:
    """Print this user's servers, whoever's checkout started them, and, if asked to, stop them; the status is 0."""
    import psutil

    guards = supervisors()
    print(
        f"{'PID':>8}{'port':>7}{'GiB':>7}{'minutes':>9}  {'started by':<16}model" if guards else "no server is running"
    )
    for guard in guards:
        with suppress(psutil.Error, OSError):  # ended meanwhile
            print(describe_server(guard))
    if stop and guards:
        for guard in guards:
            with suppress(psutil.Error):
                guard.terminate()  # it stops its server and all below it
        for guard in psutil.wait_procs(guards, STOP_SECONDS)[1]:
            guard.kill()
        print(f"stopped {len(guards)}")
    return 0


def supervisors() -> list[psutil.Process]:
    """This user's supervisors, the oldest first; each stands above one server and bears its script's name."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "uids", "create_time"]):
        script, user = Path(*(process.info["cmdline"] or [])[2:3]), process.info["uids"]
        if user and user.real == os.getuid() and script.parts[-2:] == Path(supervisor.__file__).parts[-2:]:
            found.append(process)
    return sorted(found, key=lambda process: process.info["create_time"])


def describe_server(guard: psutil.Process) -> str:
    """One line; memory is what its processes hold, shared pages counted once where the system tells."""
    import psutil

    (owner_pid, _, *command), below = guard.cmdline()[3:], family(guard.pid)[1:]
    sizes = [getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss for process in below]
    minutes = (time.time() - guard.create_time()) / 60
    try:
        owner = psutil.Process(int(owner_pid)).cmdline()
    except psutil.Error:
        owner = []
    by = "a notebook" if any("ipykernel" in word for word in owner) else "course" if "serve" in owner else "a program"
    model = last_value(command, "--served-model-name") or last_value(command, "serve") or Path(command[0]).name
    pid, port = below[0].pid if below else "-", last_value(command, "--port") or "-"
    return f"{pid:>8}{port:>7}{sum(sizes) / 2**30:>7.1f}{minutes:>9.0f}  {by:<16}{model}"

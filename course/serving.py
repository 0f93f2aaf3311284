"""What ``course serve`` does: one server in the foreground."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time

from helpers.files import shown
from helpers.profiles import use_profile
from helpers.server import Address, ServerError, serve


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
            print("try it in another terminal:\n")
            print(server.curl("Write the sentence 'I love Qwen3-VL-4B-Instruct' in reverse."))
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

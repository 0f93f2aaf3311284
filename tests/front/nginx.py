"""nginx with the configuration of `toolkit.planner.front`, run for as long as it is tried."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.planner.front import FrontSettings


@contextmanager
def nginx_front(binary: str, settings: FrontSettings) -> Iterator[ssl.SSLContext]:
    """nginx as an ordinary user in the foreground, with a certificate of its own, in a folder that goes with it; gives
    what clients trust.

    Args:
        binary: path of nginx.
        settings: certificate and key are replaced.

    Raises:
        CourseError: no openssl, a configuration that nginx refuses, or an nginx that does not start.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        certificate, key = folder / "front.pem", folder / "front.key"
        self_signed(certificate, key)
        settings = replace(settings, certificate=str(certificate), certificate_key=str(key))
        (folder / "nginx.conf").write_text(settings.nginx_conf(prefix=True), encoding="utf-8")
        words = [binary, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]
        # Root's nginx would start its workers as somebody who may not enter this folder.
        more: dict[str, Any] = {}
        if os.getuid() == 0:
            more = {"user": "nobody", "group": _group_of_nobody(), "extra_groups": []}
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "nobody")
        tested = subprocess.run([*words, "-t"], capture_output=True, text=True, timeout=30, **more)
        if tested.returncode:
            raise CourseError("nginx refuses its configuration.", tested.stderr.strip()[-400:], "correct the template")
        with (folder / "nginx.log").open("wb") as log:
            running = subprocess.Popen(words, stdout=log, stderr=log, **more)
        try:
            host, _, port = settings.listen.rpartition(":")
            deadline = time.monotonic() + 10
            while not _answers(host, int(port)):
                if running.poll() is not None or time.monotonic() > deadline:
                    cause = (folder / "nginx.log").read_text(errors="replace").strip()[-400:]
                    raise CourseError("nginx did not start.", cause, "look at its port")
                time.sleep(0.05)
            yield ssl.create_default_context(cafile=str(certificate))
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def self_signed(certificate: Path, key: Path) -> None:
    """A certificate for this machine, good for two days of trying.

    Raises:
        CourseError: there is no openssl, or it failed.
    """
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run(
            [*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CourseError("No certificate could be made.", str(error), "install openssl") from None
    key.chmod(0o600)


def nginx_version(binary: str) -> str:
    """What nginx says of itself, such as '1.22.1'."""
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=30).stderr
    return said.strip().rpartition("/")[2]


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def _group_of_nobody() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_gid

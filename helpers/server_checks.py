"""Checks before half a minute is spent on starting a server: model folder, memory, port."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from helpers.errors import CourseError
from helpers.files import shown
from helpers.local_http import LOCALHOST
from helpers.machine import free_gib
from helpers.profiles import ActiveProfile

FIRST_PORT = 8085
#: What a CPU server needs besides weights and KV cache: two or three processes that import torch and vLLM.
PROCESSES_GIB = 1.5


def check_model(model: str, flags: Sequence[str] = ()) -> None:
    """Check a model folder. A hub id passes.

    Raises:
        CourseError: the folder, its configuration, tokenizer or a weight file is missing or damaged.
    """
    folder = Path(model)
    if not (folder.is_absolute() or model.startswith(".") or folder.is_dir()):
        return
    restore = "restore the folder from its source: for a hub model, python -m course download --profile <name>"
    if not folder.is_dir():
        raise CourseError(f"There is no model folder {shown(folder)}.", "it was moved, or never downloaded", restore)
    where = shown(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["architectures"][0]
    except FileNotFoundError:
        raise CourseError(f"{where} has no config.json.", "an incomplete download or copy", restore) from None
    except (ValueError, KeyError, IndexError, TypeError, OSError):
        cause = "it is not JSON, or names no architecture"
        raise CourseError(f"{where}/config.json is damaged.", cause, restore) from None
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        raise CourseError(f"{where} has no tokenizer.", "an incomplete download or copy", restore)
    if "dummy" not in (last_value(flags, "--load-format") or ""):
        _check_weights(folder, restore)


def check_memory(active: ActiveProfile) -> None:
    """Compare free RAM, within a container's limit, with the least that a CPU server needs.

    Raises:
        CourseError: too little, with the numbers in GiB.
    """
    flags = active.engine_arguments()
    environment = active.environment() | dict(os.environ)
    cache_gib = float(environment.get("VLLM_CPU_KVCACHE_SPACE") or 0)
    cache_gib = cache_gib or float(flags.get("kv_cache_memory_bytes") or 0) / 2**30
    bytes_each = 4 if active.profile.dtype.get("cpu") == "float32" else 2
    weights_gib = active.profile.parameters_billions * 1e9 * bytes_each / 2**30
    needed = weights_gib + cache_gib + PROCESSES_GIB
    free = free_gib()
    if free < needed:
        raise CourseError(
            f"Too little memory for profile {active.profile.name}: {free:.1f} GiB free, about {needed:.1f} GiB needed.",
            f"weights {weights_gib:.1f}, KV cache {cache_gib:.1f}, processes {PROCESSES_GIB:.1f} GiB",
            "close other programs and notebooks, or use a smaller profile or VLLM_CPU_KVCACHE_SPACE",
        )


def reserve_port(port: int | None = None, host: str = LOCALHOST) -> socket.socket:
    """Hold a free port until vLLM, which binds only after its imports, takes it.

    The socket is bound but does not listen: on Linux, vLLM, which also sets SO_REUSEADDR, can bind the same port, while
    programs that look for a free one skip it.

    Raises:
        CourseError: the port is taken (by whom, if known) or not allowed, or the address is not this machine's.
    """
    if port is not None and not 1 <= port <= 65535:
        raise CourseError(f"{port} is not a port.", "ports are numbers from 1 to 65535", "choose one of them, or none")
    for candidate in [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + 50), 0]:
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            # Bound without SO_REUSEADDR, so that a port held by anyone counts as taken; then shared. With two sockets,
            # another process could take the port in between.
            held.bind((host, candidate))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return held
        except PermissionError:
            held.close()
            raise CourseError(
                f"Port {candidate} is not allowed.", "ports below 1024 are reserved for root", "use 8085"
            ) from None
        except (OSError, OverflowError) as error:
            held.close()
            if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
                raise CourseError(f"{host} is not an address of this machine.", str(error), "bind 127.0.0.1") from None
            continue
    holder = port and port_holder(port)
    raise CourseError(
        f"Port {port} is taken.",
        f"{holder} is listening there" if holder else "another program is listening there, perhaps an older server",
        "stop that program, choose another port, or choose none to get a free one",
    )


def port_holder(port: int) -> str | None:
    """Name and id of the process that listens on a port, if this user may see it."""
    import psutil

    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None


def last_value(flags: Sequence[str], name: str) -> str | None:
    value = None
    for position, flag in enumerate(flags):
        if flag == name:
            value = flags[position + 1] if position + 1 < len(flags) else None
        elif flag.startswith(f"{name}="):
            value = flag.partition("=")[2]
    return value


def _check_weights(folder: Path, restore: str) -> None:
    index = folder / "model.safetensors.index.json"
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else None
    except (ValueError, KeyError, AttributeError, OSError):
        raise CourseError(f"{shown(index)} is damaged.", "it is not a list of weight files", restore) from None
    files = [folder / name for name in sorted(names)] if names else sorted(folder.glob("*.safetensors"))
    if not files:
        raise CourseError(f"{shown(folder)} has no weights.", "it contains no *.safetensors file", restore)
    for file in files:
        if not file.is_file():
            raise CourseError(f"{shown(file)} is missing.", "the index lists it: an incomplete download", restore)
        expected, size = _safetensors_size(file), file.stat().st_size
        if expected is None:
            raise CourseError(f"{shown(file)} is damaged.", "its header cannot be read", restore)
        if expected != size:
            raise CourseError(
                f"{shown(file)} is damaged.", f"it has {size:,} bytes; its header says {expected:,}", restore
            )


def _safetensors_size(file: Path) -> int | None:
    """Size in bytes by the file's own header (8 bytes of length, JSON, data); None if unreadable."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(100_000_000, file.stat().st_size):
                return None
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None

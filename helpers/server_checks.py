"""Checks before half a minute is spent on starting a server: model folder, environment, memory, port."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown
from helpers.local_http import LOCALHOST
from helpers.machine import free_gib
from helpers.profiles import ActiveProfile

FIRST_PORT = 8085
#: What a CPU server needs besides weights and KV cache: two or three processes that import torch and vLLM.
PROCESSES_GIB = 1.5
#: Semaphores and buffers that processes share need some room there.
SHARED_MEMORY, SHARED_MIB = Path("/dev/shm"), 1  # noqa: S108


def check_model(model: str, flags: Sequence[str] = ()) -> None:
    """Check a model folder. A hub id passes.

    Raises:
        CourseError: the folder, its configuration, tokenizer or a weight file is missing or damaged.
    """
    folder = Path(model)
    if not (folder.is_absolute() or model.startswith(".") or folder.is_dir()):
        return
    where, partial = shown(folder), "an incomplete download or copy"
    restore = "restore the folder from its source: for a hub model, python -m course download --profile <name>"
    if not folder.is_dir():
        raise CourseError(f"There is no model folder {where}.", "it was moved, or never downloaded", restore)
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    except FileNotFoundError:
        raise CourseError(f"{where} has no config.json.", partial, restore) from None
    except (ValueError, KeyError, IndexError, TypeError, OSError):
        cause = "it is not JSON, or names no architecture"
        raise CourseError(f"{where}/config.json is damaged.", cause, restore) from None
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        raise CourseError(f"{where} has no tokenizer.", partial, restore)
    if "dummy" not in (last_value(flags, "--load-format") or ""):
        _check_weights(folder, restore)


def check_environment(environment: Mapping[str, str]) -> None:
    """Check what vLLM will read from a server's environment, and the memory that processes share.

    Raises:
        CourseError: a variable that must be a number is none, or /dev/shm is full.
    """
    vllm = PathFinder.find_spec("vllm")
    source = Path(vllm.origin or "").with_name("envs.py") if vllm else None
    text = source.read_text(encoding="utf-8") if source and source.is_file() else ""
    numbers = re.findall(r'(int|float)\(\s*os\.(?:getenv|environ\.get)\(\s*"(VLLM_\w+)"', text)
    for kind, name in [("int", "VLLM_PORT"), ("int", "VLLM_CPU_KVCACHE_SPACE"), *numbers]:
        value, number = environment.get(name, "0"), "whole number" if kind == "int" else "number"
        try:
            (int if kind == "int" else float)(value)
        except ValueError:
            unit = " of GiB" if name == "VLLM_CPU_KVCACHE_SPACE" else ""
            cause = f"vLLM reads a {number}{unit} there, without unit or other text"
            remedy = f"set it to a {number}, or unset it"
            raise CourseError(f"The environment variable {name} is '{value}'.", cause, remedy) from None
    free = shutil.disk_usage(SHARED_MEMORY).free / 2**20 if SHARED_MEMORY.is_dir() else None
    if free is not None and free < SHARED_MIB:
        raise CourseError(
            f"{SHARED_MEMORY}, the memory that processes share, is full: {free:.1f} MiB free.",
            "programs that were killed left files there, or a container got little of it",
            f"delete what no running program uses (ls -l {SHARED_MEMORY}); start a container with --shm-size=1g",
        )


def check_memory(active: ActiveProfile) -> None:
    """Compare free RAM, within a container's limit, with the least that a CPU server needs.

    Raises:
        CourseError: too little, with the numbers in GiB.
    """
    cache_gib = float((active.environment() | dict(os.environ)).get("VLLM_CPU_KVCACHE_SPACE") or 0)
    cache_gib = cache_gib or float(active.engine_arguments().get("kv_cache_memory_bytes") or 0) / 2**30
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
            # another process could take the port in between. Connections of a server that has ended keep its port for
            # a minute (TIME_WAIT); SO_REUSEADDR is meant for that, and a listening program still refuses it.
            if port is not None and _connections(port) and not port_holder(port):
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
    holder = port and port_holder(port)
    raise CourseError(
        f"Port {port} is taken.",
        f"{holder} is listening there" if holder else "another program holds it, perhaps a server that is starting",
        "stop that program (`course servers` lists the course's own), choose another port, or none to get a free one",
    )


def port_holder(port: int) -> str | None:
    """Name and id of the process that listens on a port; 'another user's program' if this user may not see it."""
    import psutil

    listening = [entry for entry in _connections(port) if entry.status == psutil.CONN_LISTEN]
    with suppress(psutil.Error):
        for pid in filter(None, (entry.pid for entry in listening)):
            return f"{psutil.Process(pid).name()} (process {pid})"
    return "another user's program" if listening else None


def _connections(port: int) -> list[Any]:
    import psutil

    with suppress(psutil.Error, OSError):  # not every system shows them
        return [entry for entry in psutil.net_connections("tcp") if entry.laddr and entry.laddr.port == port]
    return []


def last_value(flags: Sequence[str], name: str) -> str | None:
    value = None
    for position, flag in enumerate(flags):
        if flag == name:
            value = flags[position + 1] if position + 1 < len(flags) else None
        elif flag.startswith(f"{name}="):
            value = flag.partition("=")[2]
    return value


def _check_weights(folder: Path, restore: str) -> None:
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else None
    except (ValueError, KeyError, AttributeError, OSError):
        raise CourseError(f"{shown(index)} is damaged.", "it is not a list of weight files", restore) from None
    files = [folder / name for name in sorted(names)] if names else sorted(folder.glob("*.safetensors"))
    if not files:
        raise CourseError(f"{shown(folder)} has no weights.", "it contains no *.safetensors file", restore)
    for file in files:
        try:
            with safe_open(file, "np"):  # compares the header with the file's size
                pass
        except FileNotFoundError:
            raise CourseError(
                f"{shown(file)} is missing.", "the index lists it: an incomplete download", restore
            ) from None
        except (SafetensorError, OSError) as error:
            raise CourseError(f"{shown(file)} is damaged.", str(error), restore) from None

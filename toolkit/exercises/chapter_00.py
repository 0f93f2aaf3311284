"""Checkers of chapter 00: what a machine needs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from toolkit.exercises.judging import NotAttempted, call, describe, is_close

AVAILABLE = [True, False, True, False]
CAPABILITIES = {"V100": 7.0, "T4": 7.5, "A100": 8.0, "RTX 4090": 8.9, "H100": 9.0}


def exercise_1(available: Any) -> str | None:
    """Four times True or False."""
    if not isinstance(available, list | tuple) or len(available) != len(AVAILABLE):
        return f"a list of {len(AVAILABLE)} values, True or False, is expected, not {describe(available)}"
    reasons = [
        "the two versions are equal",
        "its driver cannot run what was built with CUDA 13",
        "a newer driver runs what was built with an older CUDA",
        "without a driver no GPU is seen, whatever PyTorch was built with",
    ]
    for place, (answer, expected) in enumerate(zip(available, AVAILABLE, strict=True)):
        if answer not in (True, False):
            return f"machine {place + 1}: True or False is expected, not {describe(answer)}"
        if bool(answer) != expected:
            return f"machine {place + 1}: {reasons[place]}"
    return None


def exercise_2(driver_suffices: Callable[..., Any]) -> str | None:
    """Major versions compared as numbers."""
    cases = [
        ("13.0", "13.0", True), ("12.8", "13.0", False), ("13.1", "12.8", True), ("13.0", "13.1", True),
        ("9.2", "13.0", False), ("10.1", "9.2", True),
    ]  # fmt: skip
    said = [bool(call(driver_suffices, driver, torch)) for driver, torch, _ in cases]
    if said == [True, False, True, True, True, False]:
        raise NotAttempted("it still behaves as given: 9.2 is taken to be newer than 13.0")
    for (driver, torch, expected), answer in zip(cases, said, strict=True):
        if answer != expected:
            same = " (within one major version an older driver works)" if driver[:3] == torch[:3] else ""
            return f"driver {driver} with PyTorch's {torch} should be {expected}{same}; your function says {answer}"
    return None


def exercise_3(usable_gib: Callable[..., Any]) -> str | None:
    """The smaller of the two, in GiB."""
    gib = 2**30
    cases = [(16 * gib, 4 * gib, 4, "a limit below the machine's memory"), (16 * gib, None, 16, "no limit")]
    cases.append((8 * gib, 2**63 - 1, 8, "a limit above the machine's memory"))
    for total, limit, expected, what in cases:
        answer = call(usable_gib, total, limit)
        if is_close(answer, expected * gib / 1e9):
            return "that is in GB, of 1,000,000,000 bytes; a GiB has 2**30"
        if not is_close(answer, expected):
            return f"with {what} it is {expected} GiB; your function says {answer}"
    return None


def exercise_4(is_free: Callable[..., Any]) -> str | None:
    """A taken port, and a free one that stays free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if call(is_free, port):
            return "a port on which another program listens is not free"
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # taken, though nobody answers
        if call(is_free, bound.getsockname()[1]):
            return "a port can be taken although nobody answers there: try to take it yourself"
    with socket.create_server(("127.0.0.1", 0)) as released:
        port = released.getsockname()[1]
    if not call(is_free, port):
        return "a port that nobody holds is free"
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return "your function leaves the port taken: close the socket"
    return None


def exercise_5(with_bfloat16: Any) -> str | None:
    """Compute capability 8.0 and more."""
    if not isinstance(with_bfloat16, list | tuple | set):
        return f"a list of names is expected, not {describe(with_bfloat16)}"
    names = {str(name).lower().replace("rtx 4090", "4090").replace("rtx4090", "4090") for name in with_bfloat16}
    for name, capability in CAPABILITIES.items():
        short = name.lower().removeprefix("rtx ")
        if (short in names) != (capability >= 8.0):
            return f"look at the {name} again: its compute capability is {capability}, and bfloat16 came with Ampere"
    unknown = names - {name.lower().removeprefix("rtx ") for name in CAPABILITIES}
    return f"not among the cards: {', '.join(sorted(unknown))}" if unknown else None

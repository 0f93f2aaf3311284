"""Exercises of chapter 11: what LoRA trains, what is learned, merging, and paths from clients."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, describe, is_close, number

#: A frozen layer of 2,560 inputs and 9,728 outputs (the MLP of Qwen3-VL-4B), rank 16.
_INPUTS, _OUTPUTS, _RANK = 2560, 9728, 16
_IGNORED = -100


def exercise_1(answer: dict[str, Any]) -> str | None:
    """Parameters of LoRA beside one layer, and the bytes that training them takes."""
    trained = _RANK * (_INPUTS + _OUTPUTS)
    wanted = {"trained parameters": trained, "bytes to train them": 16 * trained, "parameters at rank 32": 2 * trained}
    words = {
        "trained parameters": "A has rank × inputs numbers, B has outputs × rank",
        "bytes to train them": "weight, gradient and two moments of AdamW, 4 bytes each",
        "parameters at rank 32": "both matrices grow with the rank, in proportion",
    }
    for name, value in wanted.items():
        if not is_close(answer[name], value, what=name):
            return f"{name}: not {number(answer[name]):,.0f}; {words[name]}"
    return None


def exercise_2(labels_of: Callable[[list[int], int, int], Any]) -> str | None:
    """Labels of a padded sequence: the answer and its end mark, nothing else."""
    end, pad = 7, 0
    cases = [
        ([3, 4, 5, 9, 8, end, pad, pad], 3),
        ([1, 2, end], 2),
        ([5, end, 6, 4, end, pad], 3),
        ([2, 9, pad, 8, end], 1),
    ]
    for ids, prompt in cases:
        last = max(place for place, token in enumerate(ids) if token == end)
        wanted = [token if prompt <= place <= last else _IGNORED for place, token in enumerate(ids)]
        result = call(labels_of, list(ids), prompt, end)
        found = [int(label) for label in result]
        if found == wanted:
            continue
        what = f"tokens {ids}, of which {prompt} are the prompt and {end} is the end mark"
        if found == [_IGNORED] * prompt + ids[prompt:]:
            raise NotAttempted("it still behaves as given: padding is learned")
        if len(found) != len(ids):
            return f"{what}: a label for each token is expected, yours are {len(found)}"
        if any(label != _IGNORED for label in found[:prompt]):
            return f"{what}: the prompt must not be learned, so its labels are -100"
        if found[last] == _IGNORED:
            return f"{what}: the end mark is learned, too, or the model never stops"
        if any(label != _IGNORED for label in found[last + 1 :]):
            return f"{what}: what comes after the end mark is padding, and not learned"
        return f"{what}: labels {wanted} are expected, yours are {found}"
    return None


def exercise_3(merge: Callable[[Any, Any, Any, float], Any]) -> str | None:
    """The weight of a merged layer."""
    import numpy as np

    rng = np.random.default_rng(11)
    for outputs, inputs, rank, alpha in ((4, 6, 2, 4.0), (5, 3, 1, 16.0), (3, 3, 3, 1.0)):
        weight, a, b = rng.random((outputs, inputs)), rng.random((rank, inputs)), rng.random((outputs, rank))
        given = [weight.copy(), a.copy(), b.copy()]
        found = np.asarray(call(merge, *given, alpha))
        what = f"W of {outputs} × {inputs}, rank {rank}, alpha {alpha:g}"
        if not np.array_equal(given[0], weight):
            return f"{what}: the frozen weight has been changed; return a new one"
        if found.shape != weight.shape:
            return f"{what}: a weight of {weight.shape} is expected, yours is {found.shape}"
        if np.allclose(found, weight + alpha / rank * b @ a):
            continue
        if np.allclose(found, weight + b @ a):
            return f"{what}: BA is scaled by alpha / r"
        if np.allclose(found, weight + alpha * b @ a):
            return f"{what}: alpha is divided by the rank, which is the number of rows of A"
        return f"{what}: W + alpha / r · BA is expected"
    return None


def exercise_4(is_inside: Callable[[str, str], Any]) -> str | None:
    """Whether a path that a client names lies in the folder of adapters."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "adapters"
        (root / "receipts" / "v2").mkdir(parents=True)
        (root.parent / "adapters-old" / "x").mkdir(parents=True)
        (root.parent / "secret").mkdir()
        (root / "link").symlink_to(root.parent / "secret")
        cases = {
            root / "receipts": (True, "a folder in it"),
            root / "receipts" / "v2": (True, "a folder further down"),
            root / "receipts" / ".." / "receipts": (True, "a path with .. that stays inside"),
            root / ".." / "secret": (False, "a path that leaves with .."),
            root.parent / "adapters-old" / "x": (False, "a neighbour whose name begins alike"),
            root.parent / "secret": (False, "another folder"),
            root / "link": (False, "a symbolic link that leads out"),
        }
        found = {path: call(is_inside, str(path), str(root)) for path in cases}
    if not all(isinstance(verdict, bool) for verdict in found.values()):
        raise Mistake(f"True or False is expected, not {describe(next(iter(found.values())))}")
    wrong = [what for path, (wanted, what) in cases.items() if found[path] is not wanted]
    given = {path: str(path).startswith(str(root)) for path in cases}
    if found == given:
        raise NotAttempted("it still behaves as given: it compares the beginnings of texts")
    return f"{wrong[0]} is judged wrongly" if wrong else None

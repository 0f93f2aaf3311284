"""Checkers of chapter 01: a model and what it takes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.model_facts import find_model_facts
from toolkit.exercises.judging import NotAttempted, call, describe, is_close

PIN = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": True,
    "merges.txt": True,
    "chat_template.jinja": True,
    "model-00001-of-00002.safetensors": True,
    "model.safetensors.index.json": True,
    "pytorch_model.bin": False,
    "weights.pth": False,
    "onnx/config.json": False,
    "original/model.safetensors": False,
}
#: Layers, query heads, KV heads, width of a head.
SHAPES = [(36, 32, 8, 128), (28, 16, 8, 128), (4, 4, 2, 64)]


def exercise_1(pins: Any) -> str | None:
    """The commit alone."""
    names = [pins] if isinstance(pins, str) else pins
    if not isinstance(names, list | tuple | set):
        return f"a list of revisions is expected, not {describe(pins)}"
    if set(names) & {"main", "master"}:
        return "a branch is the newest version of today; tomorrow it may be another"
    if "v1.0" in names:
        return "a tag looks fixed, but the repository's owner can move it"
    return None if set(names) == {PIN} else "one of the four is a hash of its own content"


def exercise_2(is_wanted: Callable[..., Any]) -> str | None:
    """Configuration, vocabularies, templates, safetensors; top level only."""
    said = {path: bool(call(is_wanted, path)) for path in FILES}
    wrong = {path for path in FILES if said[path] != FILES[path]}
    given = {"merges.txt", "chat_template.jinja", "pytorch_model.bin", "onnx/config.json", "original/model.safetensors"}
    if wrong == given:
        raise NotAttempted("it still behaves as given: it takes pytorch_model.bin, and no template")
    for path in FILES:
        if path in wrong:
            return f"{path} should be {'taken' if FILES[path] else 'left'}"
    return None


def exercise_3(damaged: Callable[..., Any]) -> str | None:
    """Missing and changed files, sorted."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, contents = Path(scratch), {"b.json": b"{}", "a.bin": bytes(range(256)), "c.txt": b"words\r\n"}
        recorded = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        (folder / "not-recorded.txt").write_text("anything")
        changed = bytes([1, *contents["a.bin"][1:]])  # of the same size
        steps: list[tuple[str, Callable[[], Any], list[str]]] = [
            ("all files are as recorded", lambda: None, []),
            ("a bit of a.bin is flipped", lambda: (folder / "a.bin").write_bytes(changed), ["a.bin"]),
            ("c.txt is missing, too", lambda: (folder / "c.txt").unlink(), ["a.bin", "c.txt"]),
        ]
        for what, happen, expected in steps:
            happen()
            answer = call(damaged, folder, dict(recorded))
            if not isinstance(answer, list | tuple | set) or sorted(map(str, answer)) != expected:
                return f"{what}: {expected} is expected; your function says {describe(answer)}"
            if not isinstance(answer, set) and list(answer) != expected:
                return "the names should be sorted"
    return None


def exercise_4(bfloat16_gib: Any, fp8_gib: Any) -> str | None:
    """Two and one bytes per parameter."""
    facts = find_model_facts("Qwen/Qwen3-VL-8B-Instruct")
    for dtype, answer in (("bfloat16", bfloat16_gib), ("fp8", fp8_gib)):
        expected = facts.weight_bytes(dtype) / 2**30
        if is_close(answer, expected, 0.02, what=dtype):
            continue
        if is_close(answer, facts.weight_bytes(dtype) / 1e9, 0.02):
            return f"{dtype}: that is in GB; a GiB has 2**30 bytes, 7 % more than a GB"
        return f"{dtype}: parameters × bytes per parameter, in GiB, is not {answer}"
    return None


def exercise_5(kv_bytes_per_token: Callable[..., Any]) -> str | None:
    """2 × layers × KV heads × width × 2 bytes."""
    for layers, heads, kv_heads, width in SHAPES:
        config = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
        config |= {"head_dim": width, "hidden_size": heads * width}
        answer, expected = call(kv_bytes_per_token, config), 4 * layers * kv_heads * width
        if is_close(answer, expected):
            continue
        for cause, other in (
            ("that counts the query heads; several of them share one key and value", expected * heads / kv_heads),
            ("that is half of it: keys and values, and 2 bytes for each number", expected / 2),
            ("that is a quarter of it: keys and values, and 2 bytes for each number", expected / 4),
            ("that is one layer's", expected / layers),
        ):
            if is_close(answer, other):
                return cause
        return f"with {layers} layers, {kv_heads} KV heads of {width}, it is {expected:,} bytes, not {answer}"
    return None


def exercise_6(tokens_that_fit: Callable[..., Any]) -> str | None:
    """What is left of the share, in tokens."""
    gib = 2**30
    cases = [(24 * gib, 9 * gib, 147_456, 0.92, 2 * gib), (80 * gib, 17 * gib, 147_456, 0.9, 4 * gib)]
    cases.append((16 * gib, 17 * gib, 147_456, 0.92, 2 * gib))
    for card, weights, per_token, utilization, reserve in cases:
        expected = max(0, int((card * utilization - weights - reserve) // per_token))
        answer = call(tokens_that_fit, card, weights, per_token, utilization, reserve)
        if expected == 0 and not is_close(answer, 0):
            return f"where not even the weights fit, no token does; your function says {answer}"
        if not is_close(answer, expected, 1e-9):
            sizes = f"a card of {card // gib} GiB, weights of {weights // gib} and a reserve of {reserve // gib} GiB"
            return f"{sizes} at {utilization} leave {expected:,} tokens; your function says {answer}"
    return None

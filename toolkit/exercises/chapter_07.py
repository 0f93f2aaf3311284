"""Exercises of chapter 07: planning a deployment.

What the planner computes stands here as numbers; a test compares them with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, describe, is_close, number

#: 4B in bfloat16 on an RTX 4090: the largest context with a KV cache of 16 bits, and of 8.
LARGEST_CONTEXT = {"auto": 82_464, "fp8": 164_960}
#: 32B on two RTX 4090 with 8,192 tokens, as `toolkit.planner.recommend` answers.
RECOMMENDED: dict[str, Any] = {
    "weights": "fp8",
    "tensor parallel": 2,
    "largest context": 25_552,
    "requests of 8,192 tokens at once": 3,
    "somebody has tried it": False,
}
#: (model, format, TP, EP) → whether vLLM can split it so.
LAYOUTS = {
    "8B, bfloat16, TP 6": False,
    "4B, bfloat16, TP 8": True,
    "4B, fp8, TP 8": False,
    "30B-A3B, fp8, TP 4": False,
    "30B-A3B, fp8, TP 4 and EP": True,
}
#: Of the command to mend.
GIVEN_FLAGS = {"--host": "0.0.0.0", "--tensor-parallel-size": "2", "--max-model-length": "262144"}  # noqa: S104
#: GiB of all GPUs together that 30 seats need at most.
ENOUGH_GIB = 48


def exercise_1(kv_bytes: Callable[[dict[str, Any], int], Any]) -> str | None:
    """Bytes of KV cache per token, from the text part of a ``config.json``."""
    four_b = {
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_size": 2560,
        "head_dim": 128,
    }
    older = {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
    cases = [
        ("the 4B model in bfloat16", four_b, 2, 147_456),
        ("the 4B model with a cache in FP8", four_b, 1, 73_728),
        ("a model without head_dim, where it is hidden_size / num_attention_heads", older, 2, 57_344),
    ]
    for name, config, size, wanted in cases:
        found = call(kv_bytes, dict(config), size)
        if is_close(found, wanted, what="the bytes"):
            continue
        words = {
            wanted / 2: "each token leaves a key and a value",
            wanted
            * config["num_attention_heads"]
            / config["num_key_value_heads"]: "several query heads share a KV head",
        }
        why = next((word for value, word in words.items() if is_close(found, value)), "")
        return f"{name}: {wanted:,} bytes, your function says {number(found):,.0f}" + (f"; {why}" if why else "")
    return None


def exercise_2(answer: dict[Any, Any]) -> str | None:
    """KiB of KV cache per token on each GPU, for a model with 4 KV heads and TP 1, 2, 4, 8."""
    for tensor, wanted in {1: 188, 2: 94, 4: 47, 8: 47}.items():
        found = answer[tensor]
        if not is_close(found, wanted, 0.01, f"TP {tensor}"):
            word = (
                "a head is not cut: beyond four GPUs it is kept twice"
                if tensor == 8
                else "each GPU keeps its own KV heads"
            )
            return f"TP {tensor}: not {number(found):g} KiB; {word}"
    return None


def exercise_3(answer: dict[str, Any]) -> str | None:
    """Which layouts vLLM accepts."""
    words = {
        "8B, bfloat16, TP 6": "can 32 heads be shared by 6?",
        "4B, bfloat16, TP 8": "32 heads, 8 KV heads and 9,728 MLP columns by 8",
        "4B, fp8, TP 8": "9,728 columns by 8 are 1,216: how many blocks of 128 is that?",
        "30B-A3B, fp8, TP 4": "each expert has 768 columns, cut in 4: how many blocks of 128 is that?",
        "30B-A3B, fp8, TP 4 and EP": "what does expert parallelism do with an expert?",
    }
    for layout, wanted in LAYOUTS.items():
        if bool(answer[layout]) is not wanted:
            return f"{layout} is wrong: {words[layout]}"
    return None


def exercise_4(answer: dict[str, Any]) -> str | None:
    """What a recommendation says."""
    for key, wanted in RECOMMENDED.items():
        found = answer[key]
        if isinstance(wanted, str):
            right = str(found).strip().lower() == wanted
        elif isinstance(wanted, bool):
            right = bool(found) is wanted
        else:
            right = is_close(found, wanted, 0.001, key)
        if not right:
            return f"{key!r} is not {describe(found)}; read the report again"
    return None


def exercise_5(command: str | Sequence[str]) -> str | None:
    """A command that starts 4B on one RTX 4090, for this machine alone."""
    words = shlex.split(command.replace("\\\n", " ")) if isinstance(command, str) else [str(word) for word in command]
    flags = _flags(words)
    if flags == GIVEN_FLAGS:
        raise NotAttempted("it is still the command that was given")
    if words[:2] != ["vllm", "serve"] or "Qwen/Qwen3-VL-4B-Instruct" not in words:
        return "the command should still be vllm serve Qwen/Qwen3-VL-4B-Instruct …"
    for gone in ("--max-model-length", "--rope-scaling", "--trust-remote-code"):
        if gone in flags:
            return f"{gone} has no place here: {'never set it' if 'trust' in gone else 'vLLM does not know it'}"
    split = [
        name for name in ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size") if flags.get(name, "1") != "1"
    ]
    if split:
        return f"{split[0]} is {flags[split[0]]}, and there is one GPU"
    if flags.get("--host") not in ("127.0.0.1", "localhost", "::1"):
        return "with that --host the server listens on every network card, and so it does without one"
    if "--max-model-len" not in flags:
        return "without --max-model-len the model's own context, 262,144 tokens, has to fit"
    largest = LARGEST_CONTEXT["fp8" if flags.get("--kv-cache-dtype", "").startswith("fp8") else "auto"]
    tokens = _tokens(flags["--max-model-len"])
    if tokens > largest:
        return f"one request of {tokens:,} tokens does not fit: at most {largest:,} with the KV cache you chose"
    return None if tokens >= 16_384 else "the users were promised 16,384 tokens"


def _flags(words: Sequence[str]) -> dict[str, str]:
    flags = {}
    for place, word in enumerate(words):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            following = words[place + 1] if place + 1 < len(words) else ""
            flags[name] = value if equals else "" if following.startswith("--") else following
    return flags


def _tokens(text: str) -> int:
    units = {"k": 1000, "K": 1024, "m": 10**6, "M": 2**20}  # as vLLM reads them
    try:
        return int(float(text[:-1]) * units[text[-1]]) if text[-1:] in units else int(text)
    except ValueError:
        raise Mistake(f"--max-model-len should be a number of tokens, not {text!r}") from None


def exercise_6(plan: Any) -> str | None:
    """A `MemoryPlan` for thirty seats of 8B, on no more memory than that takes."""
    setup = getattr(plan, "setup", None)
    if setup is None:
        return f"a plan is expected, as plan_memory returns it, not {describe(plan)}"
    if "8B" not in setup.facts.name:
        return f"the class wants the 8B model; this is a plan for {setup.facts.name}"
    if not plan.fits:
        return plan.describe()
    if setup.max_model_len < 8192:
        return f"a context of 8,192 tokens was promised, your plan has {setup.max_model_len:,}"
    if setup.images < 1 or not setup.image_size or setup.tokens_per_image < 1024:
        return "each question has an image of 1024 × 1024, which is 1,024 tokens: say so in the workload"
    seats = plan.concurrent_requests(3000)
    if seats < 30:
        return f"{seats} requests of 3,000 tokens and an image fit at once, 30 are needed"
    gib = setup.gpu.visible_gib * setup.count
    if gib > ENOUGH_GIB:
        return f"{seats} requests fit at once, but on {gib:.0f} GiB; {ENOUGH_GIB} GiB are enough"
    return None

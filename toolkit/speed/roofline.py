"""What this machine could reach at most: its memory bandwidth and arithmetic, and the speed of a model at that limit.

The roofline model (Williams, Waterman and Patterson, 2009): work takes at least its bytes over the bandwidth, and at
least its operations over the arithmetic. Both limits are measured here, in the same run as the model or right before,
since virtual machines change from hour to hour. Bandwidth as in STREAM (McCalpin, 1995): arrays far larger than the
caches, the best of several passes, bytes counted as the program names them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import CourseError
from helpers.machine import free_gib
from helpers.model_facts import BYTES, ModelFacts

if TYPE_CHECKING:
    import torch

#: Each of the three arrays, in bytes: several times the last cache of any processor that the course may meet.
ARRAY_BYTES = 256 * 2**20
MATRIX = 2048
PASSES = 5


@dataclass(frozen=True)
class MachineLimits:
    """Measured limits of one device."""

    read_bytes_per_second: float
    """Matrix times vector, as in decoding."""
    copy_bytes_per_second: float
    triad_bytes_per_second: float
    """a = b + s · c."""
    flops_per_second: float
    """Matrix times matrix, a multiplication and an addition being two operations."""
    threads: int
    device: str
    dtype: str
    array_bytes: int
    matrix: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        """The greatest of the three: a limit must not be below what was seen."""
        return max(self.read_bytes_per_second, self.copy_bytes_per_second, self.triad_bytes_per_second)

    @property
    def balance(self) -> float:
        """Operations per byte at which arithmetic becomes the limit."""
        return self.flops_per_second / self.bytes_per_second

    def describe(self) -> str:
        return (
            f"{self.bytes_per_second / 1e9:.1f} GB/s (read {self.read_bytes_per_second / 1e9:.1f}, copy "
            f"{self.copy_bytes_per_second / 1e9:.1f}, triad {self.triad_bytes_per_second / 1e9:.1f}), "
            f"{self.flops_per_second / 1e9:.0f} GFLOP/s in {self.dtype} with {self.threads} "
            f"thread{'s' if self.threads > 1 else ''} on {self.device}"
        )


def best_of(*measured: MachineLimits) -> MachineLimits:
    """The greatest of each limit, of measurements with the same threads, device and type.

    What was seen once is possible; a machine that was busy for a minute would otherwise pass for a slow one.
    """
    rates = ("read_bytes_per_second", "copy_bytes_per_second", "triad_bytes_per_second", "flops_per_second")
    greatest = {name: max(getattr(limits, name) for limits in measured) for name in rates}
    return replace(measured[0], **greatest, seconds=sum(limits.seconds for limits in measured))


def measure_limits(
    threads: int | None = None,
    *,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    array_bytes: int = ARRAY_BYTES,
    matrix: int = MATRIX,
    passes: int = PASSES,
) -> MachineLimits:
    """Measure bandwidth and arithmetic with torch; a few seconds, and three arrays of memory.

    A model whose weights fit in the last cache, as the tiny one's 20 MB may, is not bound by this bandwidth: for such a
    one measure again with ``array_bytes`` of its size, and say so.

    Args:
        threads: of torch; None keeps its setting. It should be what the engine uses.
        device: ``cpu``, or ``cuda`` (not tried by the course).
        array_bytes: of each of three arrays.
        matrix: rows and columns of the matrices that are multiplied.
        passes: of which the fastest counts, after one that does not.

    Raises:
        CourseError: numbers below 1, arrays too small, or too little memory for them.
    """
    import torch

    if min(threads or 1, matrix, passes) < 1 or array_bytes < 2**16:
        raise CourseError(f"{threads=}, {array_bytes=}, {matrix=}, {passes=} was refused.", "", "numbers from 1 on")
    needed = 3 * array_bytes
    if device == "cpu" and needed > free_gib() * 2**30:
        raise CourseError(
            f"{needed / 2**30:.1f} GiB for three arrays are not free.", "", "close something, or smaller array_bytes"
        )
    earlier, began = torch.get_num_threads(), time.perf_counter()
    kind = getattr(torch, dtype)
    columns = 4096
    rows = max(1, array_bytes // BYTES[dtype] // columns)
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None  # a CPU is done when a call returns
    try:
        if threads:
            torch.set_num_threads(threads)
        used = torch.get_num_threads()
        with torch.inference_mode():
            size = rows * columns * BYTES[dtype]
            read, copy, triad = _passes_over_memory(rows, columns, kind, device, passes, wait)
            multiply = _fastest(_product(matrix, kind, device), passes, wait)
    finally:
        torch.set_num_threads(earlier)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()  # an engine may want it next
    return MachineLimits(
        read_bytes_per_second=size / read,
        copy_bytes_per_second=2 * size / copy,
        triad_bytes_per_second=3 * size / triad,
        flops_per_second=2 * matrix**3 / multiply,
        threads=used,
        device=device,
        dtype=dtype,
        array_bytes=size,
        matrix=matrix,
        seconds=time.perf_counter() - began,
    )


def _passes_over_memory(
    rows: int, columns: int, kind: torch.dtype, device: str, passes: int, wait: Callable[[], Any]
) -> tuple[float, float, float]:
    """Seconds of the fastest read, copy and triad; the arrays are gone afterwards."""
    import torch

    a, b, c = (torch.full((rows, columns), value, dtype=kind, device=device) for value in (0.0, 1.0, 2.0))
    vector, out = torch.ones(columns, dtype=kind, device=device), torch.empty(rows, dtype=kind, device=device)
    return (
        _fastest(lambda: torch.mv(b, vector, out=out), passes, wait),
        _fastest(lambda: a.copy_(b), passes, wait),
        _fastest(lambda: torch.add(b, c, alpha=3.0, out=a), passes, wait),
    )


def _product(size: int, kind: torch.dtype, device: str) -> Callable[[], Any]:
    import torch

    left, right = (torch.rand((size, size), device=device).to(kind) for _ in range(2))
    out = torch.empty((size, size), dtype=kind, device=device)
    return lambda: torch.mm(left, right, out=out)


def _fastest(run: Callable[[], Any], passes: int, wait: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(passes + 1):
        began = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


# ---------------------------------------------------------------- a model's work


def matrix_parameters(facts: ModelFacts) -> tuple[int, int]:
    """Parameters of the language model that a token is multiplied with: those of the layers, and of the output head.

    The table of embeddings is looked up, not multiplied; where the head is tied to it, it counts as the head.
    """
    table = facts.vocab * facts.hidden
    layers = facts.active_parameters() - (table if facts.tied else 2 * table)
    return layers, table


def prefill_flops(facts: ModelFacts, prompt_tokens: int) -> int:
    """Operations to read a prompt: 2 per active parameter and token, and the attention.

    The head is needed for the last token only. Attention takes 4 · heads · head_dim · layers operations (scores and
    sums) per pair of a token and one that it may look at, n(n + 1) / 2 pairs (Kaplan et al., 2020, with the causal
    half left out). The vision tower is not counted, so with images the true limit is lower.
    """
    layers, head = matrix_parameters(facts)
    pairs = prompt_tokens * (prompt_tokens + 1) // 2
    return 2 * layers * prompt_tokens + 2 * head + _per_pair(facts) * pairs


def decode_flops(facts: ModelFacts, context: int) -> int:
    """Operations for one further token after ``context`` tokens: 2 per active parameter, and the attention."""
    layers, head = matrix_parameters(facts)
    return 2 * (layers + head) + _per_pair(facts) * (context + 1)


def decode_bytes(facts: ModelFacts, context: int, batch: int = 1, dtype: str = "bfloat16") -> float:
    """Bytes to be read for one further token: the weights, shared by the batch, and this sequence's KV cache.

    Of a mixture of experts the chosen ones of one token are counted; a batch may need more of them.
    """
    layers, head = matrix_parameters(facts)
    return (layers + head) * BYTES[dtype] / batch + context * facts.kv_cache_bytes_per_token(dtype)


def _per_pair(facts: ModelFacts) -> int:
    return 4 * facts.layers * facts.heads * facts.head_dim


@dataclass(frozen=True)
class Reach:
    """The most tokens per second, and what sets the limit."""

    tokens_per_second: float
    limit: Literal["memory", "arithmetic"]
    bytes_per_token: float
    flops_per_token: float

    def share(self, measured: float) -> float:
        return measured / self.tokens_per_second


def prefill_reach(facts: ModelFacts, limits: MachineLimits, prompt_tokens: int) -> Reach:
    """How fast a prompt could be read, in the data type of the limits: the weights pass once for all its tokens.

    Raises:
        CourseError: a number below 1.
    """
    _check_sizes(prompt_tokens, 1)
    layers, head = matrix_parameters(facts)
    cache = facts.kv_cache_bytes_per_token(limits.dtype)  # written once
    per_token = (layers + head) * BYTES[limits.dtype] / prompt_tokens + cache
    return _reach(limits, per_token, prefill_flops(facts, prompt_tokens) / prompt_tokens)


def decode_reach(facts: ModelFacts, limits: MachineLimits, context: int, batch: int = 1) -> Reach:
    """How fast answers could grow, over all sequences of a batch, in the data type of the limits.

    Args:
        context: tokens of prompt and answer so far, per sequence.
        batch: sequences at a time.

    Raises:
        CourseError: numbers below 1.
    """
    _check_sizes(context, batch)
    return _reach(limits, decode_bytes(facts, context, batch, limits.dtype), float(decode_flops(facts, context)))


def _reach(limits: MachineLimits, bytes_per_token: float, flops_per_token: float) -> Reach:
    memory, arithmetic = bytes_per_token / limits.bytes_per_second, flops_per_token / limits.flops_per_second
    limit: Literal["memory", "arithmetic"] = "memory" if memory >= arithmetic else "arithmetic"
    return Reach(1 / max(memory, arithmetic), limit, bytes_per_token, flops_per_token)


def _check_sizes(tokens: int, batch: int) -> None:
    if min(tokens, batch) < 1:
        raise CourseError(f"{tokens} tokens in {batch} sequences were refused.", "", "numbers from 1 on")

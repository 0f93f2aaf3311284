"""Exercises of chapter 06b: what limits the speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolkit.exercises.judging import NotAttempted, call, is_close, number


def exercise_1(answer: dict[str, Any]) -> str | None:
    """Operations per byte in decoding, from batch and data type alone."""
    wanted = {"bfloat16, 16 at once": 16, "float32, 16 at once": 8, "fp8, 16 at once": 32, "bfloat16, 1 at once": 1}
    for case, value in wanted.items():
        if not is_close(answer[case], value, 0.01, case):
            word = "a multiplication and an addition per weight and request, each weight read once per step"
            return f"{case}: not {number(answer[case]):g} operations per byte. Count again: {word}"
    return None


def exercise_2(decode_rate: Callable[[float, float, int, float, float], Any]) -> str | None:
    """Tokens per second of all requests together, at the roofline."""
    cases = [
        ("one request, where memory is the limit", (4e9, 2, 1, 1e12, 1e15), 125.0),
        ("eight requests, where memory is the limit", (4e9, 2, 8, 1e12, 1e15), 1000.0),
        ("a batch of 4,096, where arithmetic is the limit", (4e9, 2, 4096, 1e12, 1e15), 125_000.0),
        ("a processor: 64 requests, where arithmetic is the limit", (2e6, 4, 64, 15e9, 160e9), 40_000.0),
        ("weights of one byte", (4e9, 1, 1, 1e12, 1e15), 250.0),
    ]
    for name, arguments, wanted in cases:
        found = call(decode_rate, *arguments)
        if not is_close(found, wanted, 0.01, "the rate"):
            word = f"{name}: at most {wanted:,.0f} tokens per second, your function says {number(found):,.0f}"
            if is_close(found, wanted / arguments[2], 0.01):
                word += "; a step gives each request of the batch a token"
            return word
    return None


def exercise_3(what_limits: Callable[[float, float, float, float], Any]) -> str | None:
    """'memory' or 'arithmetic', by comparing intensity and balance."""
    cases = [
        ("decoding on a GPU", (2 * 8e9 * 4, 16e9, 3.3e12, 1e15), "memory"),
        ("prefill of 1,024 tokens on a GPU", (2 * 8e9 * 1024, 16e9, 3.3e12, 1e15), "arithmetic"),
        ("32 requests at once on a processor core", (2 * 2e6 * 32, 8e6, 15e9, 160e9), "arithmetic"),
        ("the same 32 requests on a GPU", (2 * 2e6 * 32, 8e6, 3.3e12, 1e15), "memory"),
        ("more bytes than operations, on a machine of slow arithmetic", (1e6, 2e6, 1e12, 1e9), "arithmetic"),
    ]
    all_found = [str(call(what_limits, *arguments)).strip().lower() for _, arguments, _ in cases]
    if all_found == ["memory" if moved > operations else "arithmetic" for _, (operations, moved, _, _), _ in cases]:
        raise NotAttempted("it still behaves as given: it knows the work and not the machine")
    for found, (name, _, wanted) in zip(all_found, cases, strict=True):
        if found != wanted:
            return f"{name}: {wanted} is the limit, your function says {found!r}"
    return None


def exercise_4(exponent: Callable[[Sequence[float], Sequence[float]], Any]) -> str | None:
    """The k of cost = c · nᵏ."""
    lengths = [128, 512, 1024, 2048, 4096]
    for name, k, c in (("linear", 1.0, 3.0), ("quadratic", 2.0, 0.01), ("between", 1.3, 5.0), ("constant", 0.0, 40.0)):
        found = call(exponent, list(lengths), [c * n**k for n in lengths])
        if abs(number(found, "the exponent") - k) > 0.01:
            word = "; on logarithmic axes a power is a straight line" if k > 1 else ""
            return f"{name} cost, {c:g} · n^{k:g}: your exponent is {number(found):.3g}{word}"
    noisy = [c * n for n, c in zip(lengths, (1.0, 1.1, 0.95, 1.05, 1.0), strict=True)]
    if abs(number(call(exponent, list(lengths), noisy)) - 1) > 0.1:
        return "with a little noise on linear cost your exponent is no longer near 1: use all points, not two"
    return None


def exercise_5(context: Callable[[float, float, int], Any]) -> str | None:
    """Tokens per request at which the KV cache is as many bytes as the weights."""
    cases = [
        ("4B in bfloat16, one request", (8e9, 147_456, 1), 54_253),
        ("4B in bfloat16, 32 requests", (8e9, 147_456, 32), 1695),
        ("a tiny model, 8 requests", (7.7e6, 4096, 8), 235),
    ]
    for name, arguments, wanted in cases:
        found = call(context, *arguments)
        if not is_close(found, wanted, 0.01, "the number of tokens"):
            return f"{name}: about {wanted:,} tokens each, your function says {number(found):,.0f}"
    return None


def exercise_6(verdict: Callable[[list[float], list[float], list[float]], Any]) -> str | None:
    """'faster', 'slower' or 'no difference shown', by a rule that is fixed beforehand."""
    cases = [
        ("every repeat exceeds every present one", ([100, 102, 101], [110, 112, 111], [99, 103, 100]), "faster"),
        ("the machine drifted: the later present runs are as fast", ([100, 102, 101], [110, 112, 111], [109, 113, 112]),
         "no difference shown"),
        ("one repeat is within the spread", ([100, 104, 101], [110, 103, 111], [99, 102, 100]), "no difference shown"),
        ("every repeat is below every present one", ([100, 102, 101], [90, 88, 91], [99, 103, 100]), "slower"),
        ("equal to the fastest", ([100, 102, 101], [103, 104, 105], [99, 103, 100]), "no difference shown"),
        ("a better mean, all from one lucky repeat", ([100, 102, 101], [150, 100, 101], [99, 103, 100]),
         "no difference shown"),
    ]  # fmt: skip
    for name, (before, changed, after), wanted in cases:
        found = call(verdict, list(before), list(changed), list(after))
        if str(found).strip().lower() != wanted:
            return f"{name}: {wanted!r} is right, your function says {found!r}"
    return None

"""Exercises of chapter 06: throughput and latency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.exercises.judging import NotAttempted, call, is_close, number

Row = dict[str, float]


def exercise_1(answer: dict[str, Any]) -> str | None:
    """Mean, p50, p95 and p99 of 98 latencies of 100 ms and two of 5,000 ms."""
    wanted = {"mean": 198, "p50": 100, "p95": 100, "p99": 5000}
    words = {
        "mean": "add all hundred latencies and divide",
        "p50": "sort them: what is in the middle?",
        "p95": "sort them: the two slow ones are the last two of a hundred",
        "p99": "one request in a hundred exceeds it, and two are slow",
    }
    for name, value in wanted.items():
        if not is_close(answer[name], value, 0.01, name):
            return f"{name} is not {number(answer[name]):g} ms: {words[name]}"
    return None


def exercise_2(measure: Callable[[float, list[tuple[float, str]]], Any]) -> str | None:
    """TTFT, TPOT and E2E in milliseconds, from the moments at which the pieces of a streamed answer arrive."""
    streams: list[tuple[str, float, list[tuple[float, str]], dict[str, float | None]]] = [
        ("three tokens", 10.0, [(10.2, "A"), (10.3, " dog"), (10.4, ".")], {"ttft": 200, "tpot": 100, "e2e": 400}),
        (
            "a first chunk that holds only the role",
            0.0,
            [(0.5, ""), (0.7, "A"), (0.8, " dog"), (0.9, "."), (1.0, " It")],
            {"ttft": 700, "tpot": 100, "e2e": 1000},
        ),
        ("an uneven stream", 2.0, [(2.1, "A"), (2.2, " b"), (3.1, " c")], {"ttft": 100, "tpot": 500, "e2e": 1100}),
        ("an answer of one token", 0.0, [(0.1, ""), (0.3, "Yes")], {"ttft": 300, "tpot": None, "e2e": 300}),
    ]
    for name, sent, chunks, wanted in streams:
        found = call(measure, sent, list(chunks))
        for metric, value in wanted.items():
            got = found[metric]
            if value is None:
                if got is not None:
                    return f"{name} has no time per output token: return None for tpot, not {got!r}"
            elif not is_close(got, value, 1e-4, metric):
                return f"{name}: your {metric} is {number(got):g} ms, {value:g} is right"
    return None


def exercise_3(goodput: Callable[[list[Row], float, float, float], Any]) -> str | None:
    """Requests per second that met both targets."""
    runs: list[tuple[str, list[tuple[int, int]], int, int]] = [
        ("all good", [(100, 20)] * 8, 4, 2),
        ("half of them late at the start", [(100, 20)] * 4 + [(900, 20)] * 4, 4, 1),
        ("half of them slow in the middle", [(100, 20)] * 4 + [(100, 90)] * 4, 4, 1),
        ("no request exactly average: one very late, nine good", [(9000, 20)] + [(10, 20)] * 9, 3, 3),
        ("exactly on the target", [(500, 50)] * 6, 3, 2),
        ("none good", [(900, 90)] * 5, 5, 0),
    ]
    all_found = []
    for _, pairs, seconds, _ in runs:
        rows = [{"first_text_ms": first, "token_ms": token} for first, token in pairs]
        all_found.append(number(call(goodput, rows, seconds, 500, 50), "goodput"))
    means = [sum(first for first, _ in pairs) / len(pairs) for _, pairs, _, _ in runs]
    if all_found == [(mean <= 500) * len(run[1]) / run[2] for run, mean in zip(runs, means, strict=True)]:
        raise NotAttempted("it still behaves as given: it looks at the mean of the first texts alone")
    for found, (name, _, _, wanted) in zip(all_found, runs, strict=True):
        if not is_close(found, wanted, 1e-6, "goodput"):
            return f"{name}: {wanted} requests per second met the target, your function says {found:g}"
    return None


def exercise_4(cached_tokens: Callable[[list[int], list[list[int]], int], Any]) -> str | None:
    """Tokens of a prompt that the prefix cache holds: whole blocks of a common beginning, never all of the prompt."""
    long = list(range(100))
    cases = [
        ("nothing was asked before", long, [], 16, 0),
        ("a prompt that begins alike for 40 tokens", long, [[*range(40), 999, 998]], 16, 32),
        ("an equal prompt of 100 tokens", long, [long], 16, 96),
        ("an equal prompt of 96 tokens, six whole blocks: the last token must be read", long[:96], [long[:96]], 16, 80),
        ("a prompt that differs in the first token only", long, [[999, *range(1, 100)]], 16, 0),
        ("two earlier prompts, the second with more in common", long, [[*range(20), 9], [*range(70), 9]], 16, 64),
        ("blocks of 128 tokens", long, [long], 128, 0),
        ("an earlier prompt that is shorter", long, [long[:50]], 16, 48),
    ]
    for name, prompt, earlier, block, wanted in cases:
        found = call(cached_tokens, list(prompt), [list(one) for one in earlier], block)
        if not is_close(found, wanted, what="the count"):
            return f"{name}, blocks of {block}: {wanted} tokens are known, your function says {number(found):g}"
    return None


def exercise_5(highest_rate: Callable[[list[Row], float], Any]) -> str | None:
    """The highest offered rate that the server sustains within the target."""
    rows = [
        {"offered": 2.0, "served": 1.98, "p95": 300.0},
        {"offered": 4.0, "served": 3.95, "p95": 340.0},
        {"offered": 6.0, "served": 5.9, "p95": 480.0},
        {"offered": 8.0, "served": 6.6, "p95": 495.0},
        {"offered": 12.0, "served": 6.7, "p95": 4000.0},
    ]
    cases = [
        ("a target of 500 ms", rows, 500.0, 6.0),
        ("a target of 350 ms", rows, 350.0, 4.0),
        ("a target of 200 ms, which no load meets", rows, 200.0, 0.0),
        ("the same rows in another order", rows[::-1], 500.0, 6.0),
        ("a target of 10 s: more is offered than served from 8 per second on", rows, 10_000.0, 6.0),
    ]
    for name, table, target, wanted in cases:
        found = call(highest_rate, [dict(row) for row in table], target)
        if not is_close(found, wanted, what="the rate"):
            return f"{name}: {wanted:g} requests per second is right, your function says {number(found):g}"
    return None

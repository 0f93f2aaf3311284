"""The checkers of chapter 06 refuse plausible wrong answers and accept other right ones."""

import numpy as np

from tests.support.exercise_answers import ChapterTests

LATENCIES = {"mean": 198, "p50": 100, "p95": 100, "p99": 5000}


# 06.2
def first_chunk_counts(sent, chunks):
    moments = [1000 * (moment - sent) for moment, _ in chunks]
    gaps = len(moments) - 1
    return {"ttft": moments[0], "tpot": (moments[-1] - moments[0]) / gaps, "e2e": moments[-1]}


def divided_by_tokens(sent, chunks):
    moments = [1000 * (moment - sent) for moment, text in chunks if text]
    return {"ttft": moments[0], "tpot": (moments[-1] - moments[0]) / len(moments), "e2e": moments[-1]}


def in_seconds(sent, chunks):
    return {name: value and value / 1000 for name, value in by_gaps(sent, chunks).items()}


def zero_for_one_token(sent, chunks):
    found = by_gaps(sent, chunks)
    return found | {"tpot": found["tpot"] or 0.0}


def by_gaps(sent, chunks):
    moments = np.array([moment for moment, text in chunks if text != ""]) - sent
    gaps = np.diff(moments)
    return {"ttft": 1e3 * moments[0], "tpot": 1e3 * gaps.mean() if len(gaps) else None, "e2e": 1e3 * moments[-1]}


# 06.3
def by_the_mean(requests, seconds, first_ms, token_ms):
    means = [np.mean([request[name] for request in requests]) for name in ("first_text_ms", "token_ms")]
    return len(requests) / seconds if means[0] <= first_ms and means[1] <= token_ms else 0.0


def first_text_alone(requests, seconds, first_ms, token_ms):
    return sum(request["first_text_ms"] <= first_ms for request in requests) / seconds


def a_share(requests, seconds, first_ms, token_ms):
    return frame_of(requests, 1, first_ms, token_ms) / len(requests)


def frame_of(requests, seconds, first_ms, token_ms):
    import pandas as pd

    frame = pd.DataFrame(requests)
    return len(frame[(frame.first_text_ms <= first_ms) & (frame.token_ms <= token_ms)]) / seconds


# 06.4
def tokens_in_common(prompt, earlier, block=16):
    return max((_common(prompt, known) for known in earlier), default=0)


def whole_prompt(prompt, earlier, block=16):
    return max((_common(prompt, known) // block * block for known in earlier), default=0)


def last_prompt_alone(prompt, earlier, block=16):
    return min(_common(prompt, earlier[0]), len(prompt) - 1) // block * block if earlier else 0


def any_equal_block(prompt, earlier, block=16):
    known = {tuple(one[at : at + block]) for one in earlier for at in range(0, len(one) - block + 1, block)}
    return sum(tuple(prompt[at : at + block]) in known for at in range(0, len(prompt) - block, block)) * block


def block_by_block(prompt, earlier, block=16):
    size = 0
    while size + block < len(prompt) and any(one[: size + block] == prompt[: size + block] for one in earlier):
        size += block
    return size


def _common(one, other):
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


# 06.5
def by_latency(rows, target):
    return max((row["offered"] for row in rows if row["p95"] <= target), default=0)


def by_what_is_served(rows, target):
    return max((row["offered"] for row in rows if row["served"] >= 0.95 * row["offered"]), default=0)


def most_served(rows, target):
    return max(row["served"] for row in rows)


def climbing(rows, target):
    best = 0.0
    for row in sorted(rows, key=lambda row: row["offered"]):
        if row["p95"] > target or row["served"] / row["offered"] < 0.95:
            break
        best = row["offered"]
    return best


def given_goodput(requests, seconds, first_ms, token_ms):
    mean = sum(request["first_text_ms"] for request in requests) / len(requests)
    return len(requests) / seconds if mean <= first_ms else 0.0


WRONG = [
    ("06.1", LATENCIES | {"mean": 100}, "add all"),
    ("06.1", LATENCIES | {"p95": 5000}, "the last two"),
    ("06.1", LATENCIES | {"p99": 100}, "two are slow"),
    ("06.2", first_chunk_counts, "the role"),
    ("06.2", divided_by_tokens, "tpot"),
    ("06.2", in_seconds, "ttft"),
    ("06.2", zero_for_one_token, "None"),
    ("06.3", by_the_mean, "half of them"),
    ("06.3", first_text_alone, "slow in the middle"),
    ("06.3", a_share, "all good"),
    ("06.4", tokens_in_common, "32 tokens are known"),
    ("06.4", whole_prompt, "the last token must be read"),
    ("06.4", last_prompt_alone, "two earlier prompts"),
    ("06.4", any_equal_block, "differs in the first token"),
    ("06.5", by_latency, "6 requests per second"),
    ("06.5", by_what_is_served, "a target of 350 ms"),
    ("06.5", most_served, "6 requests per second"),
]
RIGHT = [
    ("06.1", {"mean": 198.0, "p50": 100.0, "p95": 100.0, "p99": 5000.0}),
    ("06.2", by_gaps),
    ("06.3", frame_of),
    ("06.4", block_by_block),
    ("06.5", climbing),
]
AS_GIVEN = [
    ("06.3", given_goodput),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "06", RIGHT, WRONG, AS_GIVEN

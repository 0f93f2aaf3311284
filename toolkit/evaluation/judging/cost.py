"""What judging will cost, before it starts: calls, tokens, time, money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from helpers.errors import CourseError
from toolkit.evaluation.inference.requests import Request
from toolkit.evaluation.inference.transcripts import words_in
from toolkit.evaluation.judging.model_judge import ModelJudge
from toolkit.evaluation.judging.pairwise import Pair

#: Rule of thumb for English text.
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Prices:
    """Of a million tokens each."""

    prompt: float
    completion: float

    @classmethod
    def given(cls, prompt: float | None, completion: float | None) -> Prices | None:
        """Both prices, or None without any.

        Raises:
            CourseError: one without the other, or below 0.
        """
        if prompt is None and completion is None:
            return None
        if prompt is None or completion is None or min(prompt, completion) < 0:
            raise CourseError(
                "The prices cannot be used.", "one is missing or below 0", "give both, for a million tokens each"
            )
        return cls(prompt, completion)


@dataclass(frozen=True)
class JudgeCost:
    """An estimate for the calls that are still to be made."""

    judge: str
    calls: int
    n_cached: int
    """Calls whose replies are in the file already."""
    prompt_tokens: int
    completion_tokens: int
    measured: bool
    """Whether the tokens per call were measured on replies of this judge; else the prompt's are estimated from its
    characters, and the completion's are the most that is allowed."""
    images_counted: bool
    seconds: float | None
    """None if no call of this judge has been timed yet."""
    price: float | None
    """In the currency of the prices; None without prices."""

    def describe(self) -> str:
        """One line for people."""
        there = f" ({self.n_cached} are there already)" if self.n_cached else ""
        how = "measured on its earlier replies" if self.measured else "estimated; the answers' are the most allowed"
        images = "" if self.images_counted else ", without the images'"
        time = "time unknown: no rate has been measured" if self.seconds is None else f"about {_duration(self.seconds)}"
        price = "" if self.price is None else f"; price {self.price:.2f}"
        return (
            f"{self.judge}: {self.calls:,} calls{there}; {self.prompt_tokens:,} prompt tokens{images} and "
            f"{self.completion_tokens:,} for answers ({how}); {time}{price}"
        )


def estimate_cost(judge: ModelJudge, pairs: Iterable[Pair], prices: Prices | None = None) -> JudgeCost:
    """What it takes to judge these pairs in both orders. Nothing is sent.

    Where the file has replies of this judge, their means are used: tokens, and seconds per call with as many calls in
    flight as the endpoint allows. What is asked twice is paid once.

    Raises:
        CourseError: a medium that cannot be read.
    """
    requests: dict[str, Request] = {}
    for pair in pairs:
        for texts in ((pair.first_text, pair.second_text), (pair.second_text, pair.first_text)):
            request = judge.request(pair.item, *texts)
            requests.setdefault(request.hash, request)
    new = [request for request in requests.values() if not judge.endpoint.known(request)]
    prompt_mean, completion_mean, seconds = (
        judge.endpoint.mean(judge.name, name) for name in ("prompt_tokens", "completion_tokens", "latency_seconds")
    )
    prompt = sum(-(-len(words_in(request.messages)) // CHARACTERS_PER_TOKEN) for request in new)
    completion = len(new) * judge.sampling.max_completion_tokens
    measured = prompt_mean is not None and completion_mean is not None
    if prompt_mean is not None and completion_mean is not None:
        prompt, completion = round(len(new) * prompt_mean), round(len(new) * completion_mean)
    return JudgeCost(
        judge.name,
        len(new),
        len(requests) - len(new),
        prompt,
        completion,
        measured,
        images_counted=measured or not any(request.paths for request in new),
        seconds=len(new) * seconds / judge.endpoint.policy.concurrency if seconds else None,
        price=(prompt * prices.prompt + completion * prices.completion) / 1e6 if prices else None,
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""What judging will cost, before it starts: calls, tokens, time, money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from helpers.errors import CourseError
from toolkit.evaluation.inference.requests import Request
from toolkit.evaluation.inference.transcripts import texts_of
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
    characters and its images, and the completion's are the most that is allowed."""
    images_counted: bool
    """False if images are sent whose tokens nobody named."""
    seconds: float | None
    """None without a rate."""
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


def estimate_cost(
    judge: ModelJudge,
    pairs: Iterable[Pair],
    *,
    image_tokens: int | None = None,
    calls_per_second: float | None = None,
    prices: Prices | None = None,
) -> JudgeCost:
    """What it takes to judge these pairs in both orders. Nothing is sent.

    Where the file has replies of this judge, their means are used: tokens, and seconds per call with as many calls in
    flight as the endpoint allows.

    Args:
        judge: with its endpoint open, for what is in the file.
        pairs: to be judged; what is asked twice is paid once.
        image_tokens: of each image; see `helpers.model_facts` for a Qwen model.
        calls_per_second: a rate that was measured.
        prices: what the server charges.

    Raises:
        CourseError: a rate of 0 or less; a medium that cannot be read.
    """
    if calls_per_second is not None and calls_per_second <= 0:
        raise CourseError(f"{calls_per_second:g} calls per second is no rate.", "", "measure it, or leave it out")
    requests = _distinct_requests(judge, pairs)
    new = [request for request in requests if not judge.endpoint.known(request)]
    images = sum(len(request.paths) for request in new)
    before = judge.endpoint.measured(judge.name)
    prompt = sum(_text_tokens(request.messages) for request in new) + images * (image_tokens or 0)
    completion = len(new) * judge.sampling.max_completion_tokens
    measured = before.prompt_tokens is not None and before.completion_tokens is not None
    if before.prompt_tokens is not None and before.completion_tokens is not None:
        prompt, completion = round(len(new) * before.prompt_tokens), round(len(new) * before.completion_tokens)
    rate = calls_per_second or (judge.endpoint.policy.concurrency / before.seconds if before.seconds else None)
    return JudgeCost(
        judge=judge.name,
        calls=len(new),
        n_cached=len(requests) - len(new),
        prompt_tokens=prompt,
        completion_tokens=completion,
        measured=measured,
        images_counted=measured or not images or image_tokens is not None,
        seconds=len(new) / rate if rate else None,
        price=(prompt * prices.prompt + completion * prices.completion) / 1e6 if prices else None,
    )


def _distinct_requests(judge: ModelJudge, pairs: Iterable[Pair]) -> list[Request]:
    found: dict[str, Request] = {}
    for pair in pairs:
        for texts in ((pair.first_text, pair.second_text), (pair.second_text, pair.first_text)):
            request = judge.request(pair.item, *texts)
            found.setdefault(request.hash, request)
    return list(found.values())


def _text_tokens(messages: list[dict]) -> int:
    """Of the words in the messages, roughly."""
    characters = sum(len(text) for message in messages for text in texts_of(message["content"]))
    return -(-characters // CHARACTERS_PER_TOKEN)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""What judging will cost, before it starts: calls, tokens, time, money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from helpers.errors import CourseError
from toolkit.evaluation.inference.transcripts import texts_of
from toolkit.evaluation.judging.model_judge import ModelJudge
from toolkit.evaluation.judging.pairwise import Pair

#: Rule of thumb for English text.
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class JudgeCost:
    """An estimate for the calls that are still to be made."""

    judge: str
    calls: int
    there: int
    """Calls whose replies are in the file already."""
    prompt_tokens: int
    completion_tokens: int
    measured: bool
    """Whether the tokens a call were measured on replies of this judge; else the prompt's are estimated from its
    characters and its pictures, and the completion's are the most that is allowed."""
    pictures_counted: bool
    """False if pictures are sent whose tokens nobody named."""
    seconds: float | None
    """None without a rate."""
    price: float | None
    """In the currency of the prices; None without prices."""

    def describe(self) -> str:
        """One line for people."""
        there = f" ({self.there} are there already)" if self.there else ""
        how = "measured on its earlier replies" if self.measured else "estimated; the answers' are the most allowed"
        pictures = "" if self.pictures_counted else ", without the pictures'"
        time = "time unknown: no rate has been measured" if self.seconds is None else f"about {_duration(self.seconds)}"
        price = "" if self.price is None else f"; price {self.price:.2f}"
        return (
            f"{self.judge}: {self.calls:,} calls{there}; {self.prompt_tokens:,} prompt tokens{pictures} and "
            f"{self.completion_tokens:,} for answers ({how}); {time}{price}"
        )


def estimate_cost(
    judge: ModelJudge,
    pairs: Iterable[Pair],
    *,
    picture_tokens: int | None = None,
    calls_per_second: float | None = None,
    prompt_price: float | None = None,
    completion_price: float | None = None,
) -> JudgeCost:
    """What it takes to judge these pairs in both orders. Nothing is sent.

    Where the file has replies of this judge, their means are used: tokens, and seconds a call with as many calls under
    way as the endpoint allows.

    Args:
        judge: with its endpoint open, for what is in the file.
        pairs: to be judged; what is asked twice is paid once.
        picture_tokens: of each picture; see `helpers.model_facts` for a Qwen model.
        calls_per_second: a rate that was measured.
        prompt_price: of a million prompt tokens.
        completion_price: of a million completion tokens.

    Raises:
        CourseError: one price without the other, a price below 0, a rate of 0 or less; a medium that cannot be read.
    """
    prices = prompt_price, completion_price
    if (None in prices) != (prices == (None, None)) or any(price is not None and price < 0 for price in prices):
        raise CourseError(
            "The prices cannot be used.", "one is missing or below 0", "give both, for a million tokens each"
        )
    if calls_per_second is not None and calls_per_second <= 0:
        raise CourseError(f"{calls_per_second:g} calls a second is no rate.", "", "measure it, or leave it out")
    seen: dict[str, bool] = {}
    prompt = pictures = 0
    for pair in pairs:
        for texts in ((pair.first_text, pair.second_text), (pair.second_text, pair.first_text)):
            request = judge.request(pair.item, *texts)
            if request.hash in seen:
                continue
            seen[request.hash] = judge.endpoint.known(request)
            if not seen[request.hash]:
                pictures += len(request.paths)
                prompt += _text_tokens(request.messages) + len(request.paths) * (picture_tokens or 0)
    there = sum(seen.values())
    calls = len(seen) - there
    before = judge.endpoint.measured(judge.name)
    measured = before.prompt_tokens is not None and before.completion_tokens is not None
    completion = calls * judge.sampling.max_completion_tokens
    if measured:
        prompt, completion = round(calls * before.prompt_tokens), round(calls * before.completion_tokens)
    rate = calls_per_second or (judge.endpoint.concurrency / before.seconds if before.seconds else None)
    return JudgeCost(
        judge=judge.name,
        calls=calls,
        there=there,
        prompt_tokens=prompt,
        completion_tokens=completion,
        measured=measured,
        pictures_counted=measured or not pictures or picture_tokens is not None,
        seconds=calls / rate if rate else None,
        price=None if None in prices else (prompt * prompt_price + completion * completion_price) / 1e6,
    )


def _text_tokens(messages: list[dict]) -> int:
    """Of the words in the messages, roughly."""
    characters = sum(len(text) for message in messages for text in texts_of(message["content"]))
    return -(-characters // CHARACTERS_PER_TOKEN)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""A model as judge, at any endpoint that speaks OpenAI's chat completions; every reply is recorded before it is read.

The file of replies is one of transcripts: a program that was killed continues where it was, and a pair that has been
judged costs nothing again. Verdicts are read from the replies each time, so a better reader needs no new call.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Self

from PIL import Image

from helpers.errors import CourseError
from toolkit.evaluation.inference.client import (
    Asker,
    Endpoint,
    RequestPolicy,
    encodable,
    open_client,
    read_address,
    without_credentials,
)
from toolkit.evaluation.inference.requests import Request, SamplingFields, describe_media, read_request, request_body
from toolkit.evaluation.inference.transcripts import (
    Transcript,
    TranscriptWriter,
    read_transcripts,
    request_hash,
    words_in,
)
from toolkit.evaluation.judging.pairwise import Pair, Verdicts
from toolkit.evaluation.judging.prompt import Dimension, judge_messages, no_verdicts, read_verdicts, verdict_schema
from toolkit.toyworld.items import png_bytes

#: Greedy, so that a judge repeats itself; four short reasons fit.
SAMPLING = SamplingFields(temperature=0.0, top_p=1.0, max_completion_tokens=1024, seed=0)
JUDGE_POLICY = RequestPolicy(timeout_seconds=300.0)
#: No image has it, and it is neither dark nor bright.
BLANK = (128, 128, 128)


class JudgeEndpoint(contextlib.AsyncExitStack):
    """An endpoint with the file of its replies. Use it as ``async with JudgeEndpoint(...) as endpoint``.

    Args:
        endpoint: the model; another revision of it, or another address without one, is another judge.
        out: file of transcripts, only ever appended to. See `TranscriptWriter` for a torn last line.

    Raises:
        CourseError: an unusable address; the file cannot be read or written, or another process writes to it.
    """

    def __init__(self, endpoint: Endpoint, out: str | Path, policy: RequestPolicy = JUDGE_POLICY):
        super().__init__()
        address = read_address(endpoint.base_url)
        self.endpoint, self.model, self.out, self.policy = endpoint, endpoint.model, Path(out), policy
        self.weights = endpoint.revision or without_credentials(address)
        """What they are known by."""
        self._server = address.netloc.decode()
        self._settled: dict[str, Transcript] = {}
        self._tried: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = asyncio.Semaphore(policy.concurrency)
        self.calls = 0
        """Requests that were sent, retries among them."""

    async def __aenter__(self) -> Self:
        self._writer = TranscriptWriter(self.out)
        self.callback(self._writer.close)
        try:
            for transcript in read_transcripts(self.out):
                self._remember(transcript)
            client = await self.enter_async_context(open_client(self.endpoint, self.policy.concurrency))
        except CourseError:
            await self.aclose()
            raise
        self._asker = Asker(client, f"The judge's server at {self._server}", self.endpoint.api_key, self.policy)
        return self

    @property
    def repaired(self) -> str | None:
        """What was done to a torn last line, for people; None if there was none."""
        return self._writer.repaired

    def known(self, request: Request) -> bool:
        return request.hash in self._settled

    def mean(self, run: str, name: str) -> float | None:
        """The mean of a field of this judge's settled calls in the file; None where no reply says it."""
        found = [getattr(one, name) for one in self._settled.values() if one.run == run]
        values = [value for value in found if value is not None]
        return fmean(values) if values else None

    async def ask(self, run: str, sampling: dict[str, Any], build: Callable[[], Request]) -> Transcript:
        """The reply to a judge's request: from the file, or else from the server; see `Asker.settle` for errors.

        The request is built in a thread when its turn comes, so that not all wait in memory.
        """
        async with self._slots:
            request = await asyncio.to_thread(build)
            async with self._locks[request.hash]:  # two answers alike are one request in both orders
                if there := self._settled.get(request.hash):
                    return there
                media = await asyncio.to_thread(describe_media, request)
                body = await asyncio.to_thread(request_body, request, self.model, sampling)
                revision = self.endpoint.revision
                fields: dict[str, Any] = {
                    "run": run, "item_id": request.item_id, "model": self.model, "revision": revision,
                    "endpoint": None if revision else self.weights, "server": self._server, "media": media,
                    "request_hash": request.hash, "sampling": sampling, "seed": sampling.get("seed"), "origin": "judge",
                }  # fmt: skip

                def record(number: int, reply: dict[str, Any]) -> Transcript:
                    self.calls += 1
                    transcript = Transcript(**fields, **reply, attempt=self._tried.get(request.hash, 0) + 1)
                    self._writer.append(transcript)
                    self._remember(transcript)
                    return transcript

                return await self._asker.settle(body, record)

    def _remember(self, transcript: Transcript) -> None:
        known_by = transcript.request_hash
        if transcript.settled:
            self._settled.setdefault(known_by, transcript)
        self._tried[known_by] = max(self._tried.get(known_by, 0), transcript.attempt)


@dataclass(frozen=True)
class ModelJudge:
    """A model that is asked which answer is better, by each dimension of a rubric.

    Raises:
        CourseError: it is to look at images, and no folder says where they lie.
    """

    endpoint: JudgeEndpoint
    rubric: Mapping[str, Dimension]
    sees: Literal["nothing", "image", "blank"] = "nothing"
    """'image' sends an item's images and videos too; 'blank' grey images of their sizes instead."""
    folder: Path | None = None
    """That the items' media lie in."""
    told_facts: bool = True
    """Whether the item's facts are told. A judge that is told them need not look."""
    sampling: SamplingFields = SAMPLING
    longest_reason: int | None = None
    """See `verdict_schema`."""
    name: str = field(init=False)
    """The model's name, and a hash of everything else that the verdicts depend on."""

    def __post_init__(self) -> None:
        if self.sees != "nothing" and self.folder is None:
            raise CourseError("The judge is to look at images, and no folder is named.", "", "give the items' folder")
        question = judge_messages({}, "", "", self.rubric, with_media=False, with_facts=False)
        settings = self._sent() | {"sees": self.sees, "told_facts": self.told_facts}
        known_by = request_hash(question, [], settings, self.endpoint.weights, self.endpoint.model)
        object.__setattr__(self, "name", f"{self.endpoint.model}-{known_by[:8]}")

    async def judge(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Verdicts:
        """Verdicts on two answers in this order; see `Judge`.

        A reply that is cut off, refused, not JSON or not of the schema is invalid; no reply is an error.
        """
        reply = await self.endpoint.ask(self.name, self._sent(), lambda: self.request(item, first_text, second_text))
        schema = self._schema()
        if reply.status == "ok":
            return read_verdicts(reply.text or "", schema)
        if reply.settled:
            told = {"thinking": "reasoning without a verdict"}.get(reply.status, reply.status)
            return no_verdicts(schema, "invalid", f"the reply is {told}")
        return no_verdicts(schema, "error", reply.error or reply.status)

    def on_blank(self) -> ModelJudge | None:
        """The same judge with a blank image in place of the item's; None if it looks at none."""
        return dataclasses.replace(self, sees="blank") if self.sees == "image" else None

    def request(self, item: Mapping[str, Any], first_text: str, second_text: str) -> Request:
        """What is asked about a pair in this order; a video cannot be blank."""
        messages = judge_messages(
            item, first_text, second_text, self.rubric, with_media=self.sees != "nothing", with_facts=self.told_facts
        )
        texts = (hashlib.sha256(encodable(text).encode()).hexdigest()[:12] for text in (first_text, second_text))
        record = {"item_id": "/".join([str(item.get("item_id")), *texts]), "messages": messages}
        known_by = self._sent(), self.endpoint.weights, self.endpoint.model
        request = read_request(self.folder or Path(), record, *known_by)
        if self.sees != "blank":
            return request
        contents = tuple(map(blank_like, request.paths, request.contents))
        digests = tuple(hashlib.sha256(content).hexdigest() for content in contents)
        blank = request_hash(messages, digests, *known_by)
        paths = ("blank.png",) * len(contents)
        return dataclasses.replace(request, paths=paths, contents=contents, digests=digests, hash=blank)

    def _schema(self) -> dict[str, Any]:
        return verdict_schema(self.rubric, self.longest_reason)

    def _sent(self) -> dict[str, Any]:
        form = {"name": "verdicts", "strict": True, "schema": self._schema()}
        return self.sampling.sent() | {"response_format": {"type": "json_schema", "json_schema": form}}


def blank_like(name: str, content: bytes) -> bytes:
    """A grey image, as PNG, of another image's size. A video raises a `CourseError`."""
    try:
        with Image.open(io.BytesIO(content)) as image:  # reads the header only
            return png_bytes(Image.new("RGB", image.size, BLANK))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise CourseError(f"{name} has no blank counterpart.", "it is no image", "leave videos out") from None


#: Rule of thumb for English text.
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Prices:
    """Of a million tokens each."""

    prompt: float
    completion: float

    @classmethod
    def given(cls, prompt: float | None, completion: float | None) -> Prices | None:
        """Both prices, or None without any; a `CourseError` for one without the other, or below 0."""
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

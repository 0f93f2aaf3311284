"""An ASGI middleware for ``vllm serve --middleware helpers.guard.ClientErrors``: a client's mistake gets a 4xx answer.

Four things that vLLM 0.32 leaves to the operator:

- An image too large for Pillow, a ``file://`` address without a file, or a host that does not answer ends as status
  500, so that clients retry and operators are alerted (vLLM issues 21254 and 47163 report it for other addresses).
- A video of one frame causes a division by zero in the loader for Qwen2-VL, which also ends as status 500.
- What a processor refuses (one frame, an image 300 times as long as wide) is reported with its pixels, not a reason.
- ``<|image_pad|>`` or ``<|video_pad|>`` typed into a text becomes the real special token, and takes the place of an
  image in the same request (vLLM issue 57740). Such text is refused.

vLLM runs this before it checks the key, so a body is read only when the application asks for it: requests that it
refuses by their header (401, 404, 405) cost no memory.

Only the standard library is imported here: the module is loaded into the server.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import PurePath
from traceback import walk_tb
from typing import Any

#: Tokens that stand for the features of an image or video; never legitimate in what a client writes.
MEDIA_TOKENS = ("<|image_pad|>", "<|video_pad|>")
#: Exceptions of the media loader that the request causes, by name (nothing is imported for it), and the answer.
CLIENT_EXCEPTIONS = {
    "DecompressionBombError": (413, "The image has too many pixels to be opened."),
    "FileNotFoundError": (404, "There is no such file in the media folder."),
    "IsADirectoryError": (400, "The address leads to a folder, not to a file."),
    "PermissionError": (403, "The server may not read that file."),
    "ClientConnectorError": (424, "The address of the image or video cannot be reached."),
    "ClientConnectorDNSError": (424, "The address of the image or video cannot be reached."),
}
#: What vLLM's video loader raises, by accident, for a video that it cannot sample; from elsewhere they are not the
#: client's mistakes.
LOADER_EXCEPTIONS = {"ZeroDivisionError", "RuntimeError"}
VIDEO_LOADER = ("vllm", "multimodal", "video.py")
UNUSABLE_VIDEO = (400, "The video has fewer than two frames: send it as an image, or send a longer one.")
#: A time-out that passes through this file is another host's; any other is the server's own.
MEDIA_FETCHER = ("vllm", "multimodal", "media", "connector.py")
SILENT_HOST = (424, "The host of the image or video did not answer in time.")
#: In vLLM's report that the processor refused; the request's own pixels follow.
REFUSED_BY_PROCESSOR = b"Processor on data="
UNUSABLE_MEDIA = (
    "The model's processor refused the image or video: too few frames (two at least), or too long a shape "
    "(one side at most 200 times the other)."
)

Message = dict[str, Any]
#: What an application receives that is to stop.
HUNG_UP: Message = {"type": "http.disconnect"}
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientErrors:
    """Refuse typed media tokens, and turn the exceptions above into their answers; all else passes unchanged."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection, as ASGI defines it."""
        if scope["type"] != "http" or scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        known = None
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            known = answer_for(error)
            if exchange.started or not (known or exchange.token):
                raise
        if exchange.token and not exchange.started:
            known = 400, f"The text contains {exchange.token}, which is reserved for real images and videos."
        if known:
            await _answer(send, *known)


class _Exchange:
    """One request and its answer on their way through."""

    def __init__(self, receive: Receive, send: Send):
        self._receive, self._send = receive, send
        self._read = False
        self.started = False
        """Whether the application has begun to answer."""
        self.token: str | None = None
        """The media token that the client typed."""
        self._refusal: list[Message] = []  # start and body of an answer with status 400, held back until it is whole

    async def receive(self) -> Message:
        """The whole body first; for an application that shall not go on, the client seems gone."""
        if self._read:
            return HUNG_UP if self.token else await self._receive()
        message, self._read = await _whole_body(self._receive), True
        self.token = typed_media_token(message.get("body", b""))
        return HUNG_UP if self.token else message

    async def send(self, message: Message) -> None:
        """Pass the answer on, or replace it."""
        if self.token and not self.started:
            return  # what the application makes of a client that seems gone
        if message["type"] == "http.response.start":
            self.started = True
            if message["status"] == 400:
                self._refusal.append(message)
                return
        if not self._refusal:
            await self._send(message)
            return
        self._refusal.append(message)
        if not message.get("more_body"):
            await _pass_on(self._send, self._refusal)


async def _pass_on(send: Send, refusal: list[Message]) -> None:
    """The answer as it is, or a reason in the place of a dump of pixels."""
    if any(REFUSED_BY_PROCESSOR in part.get("body", b"") for part in refusal):
        await _answer(send, 400, UNUSABLE_MEDIA)
        return
    for part in refusal:
        await send(part)


def answer_for(error: Exception) -> tuple[int, str] | None:
    """Status and message for an exception that the request caused; None for any other."""
    name = type(error).__name__
    if name in CLIENT_EXCEPTIONS:
        return CLIENT_EXCEPTIONS[name]
    if name in LOADER_EXCEPTIONS and _came_through(error, VIDEO_LOADER):
        return UNUSABLE_VIDEO
    if isinstance(error, TimeoutError) and _came_through(error, MEDIA_FETCHER):  # aiohttp's are of that class, too
        return SILENT_HOST
    return None


def _came_through(error: Exception, file: tuple[str, ...]) -> bool:
    """Whether a function of the file, given by the end of its path, stands in the trace."""
    paths = (PurePath(frame.f_code.co_filename).parts for frame, _ in walk_tb(error.__traceback__))
    return any(parts[-len(file) :] == file for parts in paths)


def typed_media_token(body: bytes) -> str | None:
    """The first media token in the texts of a JSON body; addresses (of images, say) are not texts."""
    # Escapes such as \u003c may hide a token; without either there is none, and no megabytes need parsing.
    if b"_pad" not in body and b"\\u" not in body:
        return None
    try:
        texts = _texts(json.loads(body))
        return next((token for text in texts for token in MEDIA_TOKENS if token in text), None)
    except (ValueError, RecursionError):
        return None  # no JSON, or absurdly deep: vLLM says so itself


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not key.endswith("_url"):
                yield from _texts(entry)


async def _whole_body(receive: Receive) -> Message:
    """The body as a single message, or the message that the client hung up."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return {"type": "http.request", "body": b"".join(parts), "more_body": False}
    return message


async def _answer(send: Send, status: int, message: str) -> None:
    """An error in the form of the OpenAI API."""
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""An ASGI middleware for ``vllm serve --middleware helpers.guard.ClientErrors``: a client's mistake gets a 4xx answer.

What vLLM 0.32 leaves to the operator:

- A request may be as large as its sender likes, and one grammar or one list keeps everybody else waiting.
- ``<|image_pad|>`` or ``<|video_pad|>`` typed into a text becomes the real special token, and takes the place of an
  image in the same request (vLLM issue 57740); an image with a ``uuid`` of the client's choice takes the place of
  another client's (issue 55547). ``helpers/guard_body.py`` has the limits and says what is refused.
- An image that cannot be opened, a host that does not answer, or a schema of which no grammar can be made ends as
  status 500, so that clients retry and operators are alerted. Some reasons are missing, or drown in the image's pixels:
  ``helpers/guard_answers.py``.

vLLM runs this before it checks the key, so a body is read only when the application asks for it: requests that it
refuses by their header (401, 404, 405) cost no memory. What is not refused passes byte for byte.

Only the standard library is imported here (Pillow for the frames of ``data:video/jpeg``): the module is loaded into
the server.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from helpers.guard_answers import answer_for, better, in_stream
from helpers.guard_body import MAX_BODY_BYTES, Refused, check

Message = dict[str, Any]
#: What an application receives that is to stop.
HUNG_UP: Message = {"type": "http.disconnect"}
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
TOO_LARGE = Refused(413, f"The body has more than {MAX_BODY_BYTES // 2**20} MiB: send smaller images, or fewer.")
MAX_RECEIVED = 4 * MAX_BODY_BYTES
#: Answers that may need better words; all are short and come in one piece.
HELD_BACK = {400, 422, 500, 501}


class ClientErrors:
    """Refuse what a request may not contain, and answer the client's mistakes; all else passes unchanged."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection, as ASGI defines it."""
        if scope["type"] != "http" or scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(dict(scope.get("headers", ())), receive, send)
        known = None
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            known = answer_for(error)
            if exchange.started or not (known or exchange.refused):
                raise
        if exchange.refused and not exchange.started:
            known = exchange.refused.answer
        if known:
            await _answer(send, *known)


class _Exchange:
    """One request and its answer on their way through."""

    def __init__(self, headers: dict[bytes, bytes], receive: Receive, send: Send):
        self._headers, self._receive, self._send = headers, receive, send
        self._read = self._constrained = False
        self.started = False
        """Whether the application has begun to answer."""
        self.refused: Refused | None = None
        self._held: list[Message] = []  # start and body of an error, held back until it is whole

    async def receive(self) -> Message:
        """The whole body first; for an application that shall not go on, the client seems gone."""
        if self._read:
            return HUNG_UP if self.refused else await self._receive()
        self._read = True
        try:
            message = await self._whole_body()
            if message["type"] == "http.request":
                self._constrained = check(message["body"])
        except Refused as refused:
            self.refused = refused
            return HUNG_UP
        return message

    async def _whole_body(self) -> Message:
        """The body as a single message, or the message that the client hung up.

        What goes beyond the limit is received, since many clients read no answer before they have sent all, but not
        kept; an endless body is cut off.
        """
        announced = self._headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > MAX_RECEIVED:
            raise TOO_LARGE
        parts: list[bytes] = []
        size, whole = 0, False
        while not whole:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            size += len(message.get("body", b""))
            whole = not message.get("more_body")
            if size <= MAX_BODY_BYTES:
                parts.append(message.get("body", b""))
            elif whole or size > MAX_RECEIVED:
                raise TOO_LARGE
            else:
                parts.clear()
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}

    async def send(self, message: Message) -> None:
        """Pass the answer on, or replace it."""
        if self.refused and not self.started:
            return  # what the application makes of a client that seems gone
        if message["type"] == "http.response.start":
            self.started = True
            if message["status"] in HELD_BACK:
                self._held.append(message)
                return
        if not self._held:
            await self._send(in_stream(message) if self._constrained else message)
            return
        self._held.append(message)
        if not message.get("more_body"):
            await self._pass_on()

    async def _pass_on(self) -> None:
        """The error as it is, or one with a better reason."""
        body = b"".join(part.get("body", b"") for part in self._held)
        if replacement := better(self._held[0]["status"], body, constrained=self._constrained):
            await _answer(self._send, *replacement)
            return
        for part in self._held:
            await self._send(part)


async def _answer(send: Send, status: int, message: str) -> None:
    """An error in the form of the OpenAI API."""
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

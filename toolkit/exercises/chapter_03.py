"""Checkers of chapter 03: requests to a server. With ``server`` they ask it, too."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, describe, is_close

if TYPE_CHECKING:
    from helpers.server import Server

STATUSES = {"an unknown model": 404, "a wrong key": 401, "half of an image": 400, "a short answer": 200}
#: Pixels of one colour, with the beginning of data URLs for them.
IMAGES = {"one.png": "data:image/png;base64,", "two.jpg": "data:image/jpeg;base64,"}


def exercise_1(image_message: Callable[..., Any], server: Server | None = None) -> str | None:
    """The image as a data URL, then the question."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as scratch:
        for name, beginning in IMAGES.items():
            file = Path(scratch) / name
            Image.new("RGB", (64, 64), "orange").save(file)
            message = call(image_message, file, "What is it?")
            if word := _message_problem(message, file.read_bytes(), beginning, "What is it?"):
                return f"{name}: {word}"
            if server:
                _ask(server, [message])
    return None


def _message_problem(message: Any, data: bytes, beginning: str, question: str) -> str | None:
    if not isinstance(message, dict):
        return f"one message, a dictionary, is expected, not {describe(message)}"
    content = message.get("content")
    if message.get("role") != "user" or not isinstance(content, list):
        return "a message has the role user and, as its content, a list of parts"
    kinds = [part.get("type") if isinstance(part, dict) else None for part in content]
    if kinds != ["image_url", "text"]:
        return f"the parts should be of the types image_url and text, in this order, not {kinds}"
    if content[1].get("text") != question:
        return "the part of type text should hold the question"
    image = content[0].get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        return 'an image is {"type": "image_url", "image_url": {"url": …}}'
    if not url.startswith(beginning):
        return f"the URL should begin with {beginning}, not with {url[:25]!r}"
    try:
        sent = base64.b64decode(url.removeprefix(beginning), validate=True)
    except ValueError:
        return "what follows the comma is no base64; did str() of bytes get in, with its b'…'?"
    return None if sent == data else "the URL holds something other than the file's bytes"


def exercise_2(read_stream: Callable[..., Any]) -> str | None:
    """Text and tokens of streams of several forms."""
    plain = [_chunk("A do"), _chunk("g."), _chunk(usage=3)]
    streams = [
        (plain, ("A dog.", 3)),
        ([_chunk(None), *plain[:2], _chunk(None), _chunk(usage=9)], ("A dog.", 9)),
        ([_chunk(""), _chunk(usage=0)], ("", 0)),
    ]
    for chunks, expected in streams:
        try:
            answer = call(read_stream, iter(chunks))
        except Mistake as mistake:
            if chunks is plain and "IndexError" in str(mistake):
                raise NotAttempted(f"it still behaves as given: {mistake}, on the last chunk") from None
            raise
        if not isinstance(answer, list | tuple) or len(answer) != 2:
            return f"a text and a number of tokens are expected, not {describe(answer)}"
        if answer[0] != expected[0]:
            return f"the text is {expected[0]!r}; your function says {describe(answer[0])}"
        if not is_close(answer[1], expected[1], what="the number of tokens"):
            return f"usage says {expected[1]} tokens, in {len(chunks)} chunks; your function says {answer[1]}"
    return None


def exercise_3(place_format: Callable[..., Any], server: Server | None = None) -> str | None:
    """A schema that admits what it should, and that the server takes."""
    import jsonschema

    places = ["beach", "park", "room"]
    form = call(place_format, list(places))
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return f'response_format is a dictionary with "type": "json_schema", not {describe(form)}'
    inner = form.get("json_schema")
    if not isinstance(inner, dict) or not inner.get("name") or not isinstance(inner.get("schema"), dict):
        return 'under the key "json_schema" belong a "name" and a "schema"'
    schema = inner["schema"]
    try:
        valid = jsonschema.validators.validator_for(schema)(schema)
        valid.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"this is no JSON schema: {error.message[:150]}"
    if not all(valid.is_valid({"place": place}) for place in places):
        return 'the schema refuses {"place": "beach"}, though beach is among the places'
    for document, why in (
        ({"place": "moon"}, "a place that is not in the list"),
        ({}, "an object without a place: which keys are required?"),
        ({"place": "park", "mood": "calm"}, "a second key: what does additionalProperties say?"),
        ("park", "text instead of an object"),
    ):
        if valid.is_valid(document):
            return f"the schema admits {why}"
    if server:
        said = _ask(server, [{"role": "user", "content": "Where is it?"}], response_format=form)
        try:
            valid.validate(json.loads(said))
        except (ValueError, jsonschema.ValidationError):
            return f"the server took it, and answered {describe(said)}"
    return None


def exercise_4(next_turn: Callable[..., Any]) -> str | None:
    """The whole conversation, and the old list as it was."""
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "What is it?"}]
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": image}]
    before = deepcopy(conversation)
    messages = call(next_turn, conversation, "A dog.", "Which colour?")
    if messages == [{"role": "user", "content": "Which colour?"}]:
        raise NotAttempted("it still behaves as given: only the new question is sent")
    if conversation != before:
        return "the old list was changed; return a new one"
    if not isinstance(messages, list | tuple):
        return f"a list of messages is expected, not {describe(messages)}"
    if list(messages[: len(before)]) != before:
        return "the new list should begin with the whole conversation so far, image included"
    roles = [message.get("role") for message in messages[len(before) :]]
    if roles != ["assistant", "user"]:
        return f"then come the model's answer (assistant) and the question (user), not {roles}"
    contents = [message.get("content") for message in messages[len(before) :]]
    return None if contents == ["A dog.", "Which colour?"] else "answer and question should be as they were given"


def exercise_5(statuses: Any) -> str | None:
    """Four numbers."""
    if not isinstance(statuses, list | tuple) or len(statuses) != len(STATUSES):
        return f"a list of {len(STATUSES)} numbers is expected, not {describe(statuses)}"
    meanings = {
        404: "the name is not among those that the server has",
        401: "the server does not know who asks",
        400: "the request itself is wrong, and the server says so",
        200: "an answer that is cut off is an answer; finish_reason tells",
    }
    for (what, expected), answer in zip(STATUSES.items(), statuses, strict=True):
        if not is_close(answer, expected, what=what):
            return f"{what}: not {answer}; {meanings[expected]}"
    return None


def exercise_6(longest_wait: Callable[..., Any]) -> str | None:
    """Attempts × time-out."""
    for timeout, retries, status, attempts in (
        (30, 2, 503, 3), (600, 2, 429, 3), (10, 0, 500, 1), (30, 2, 400, 1), (5, 4, 408, 5), (20, 1, 404, 1),
    ):  # fmt: skip
        answer = call(longest_wait, timeout, retries, status)
        if not is_close(answer, timeout * attempts):
            why = f"{attempts} attempt{'s' * (attempts > 1)}"
            return f"status {status} with {retries} retries is {why}, so {timeout * attempts} s; not {answer}"
    return None


def _chunk(content: str | None = None, usage: int | None = None) -> SimpleNamespace:
    """A chunk as the OpenAI client gives it; the last one has usage and no choices."""
    if usage is not None:
        return SimpleNamespace(choices=[], usage=SimpleNamespace(prompt_tokens=7, completion_tokens=usage))
    delta = SimpleNamespace(content=content, role="assistant")
    return SimpleNamespace(choices=[SimpleNamespace(delta=delta, finish_reason=None)], usage=None)


def _ask(server: Server, messages: list[Any], **options: Any) -> str:
    """What the server answers, greedily and in a few tokens.

    Raises:
        Mistake: it refuses the request.
    """
    from openai import APIStatusError, OpenAI

    client = OpenAI(base_url=server.base_url, api_key=server.api_key, timeout=120, max_retries=0)
    options |= {"model": server.model_name, "temperature": 0, "max_completion_tokens": 64}
    try:
        return client.chat.completions.create(messages=messages, **options).choices[0].message.content or ""
    except APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        words = str(body.get("message", error)).partition("\n")[0][:150]
        raise Mistake(f"the server refuses it with status {error.status_code}: {words}") from None

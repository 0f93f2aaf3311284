"""The course's middleware, without a server: requests in, answers out."""

import asyncio
import json

import pytest

from helpers.guard import CLIENT_EXCEPTIONS, ClientErrors, typed_media_token


def chat(text, **more):
    return json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}], **more}).encode()


def ask(app, body: bytes, method: str = "POST", pieces: int = 1) -> tuple[int, bytes]:
    """Send one request through the middleware."""
    sent = []
    size = max(1, -(-len(body) // pieces))
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(ClientErrors(app)({"type": "http", "method": method}, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def echo(scope, receive, send):
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def failing(name):
    async def app(scope, receive, send):
        raise type(name, (Exception,), {})("secret path")

    return app


@pytest.mark.parametrize("pieces", [1, 3])
def test_ordinary_requests_pass_unchanged(pieces):
    body = chat("Describe this image. 🎉 \\u003c")
    assert ask(echo, body, pieces=pieces) == (200, body)


@pytest.mark.parametrize("text", ["<|image_pad|>", "a <|video_pad|> b", "x<|vision_start|><|image_pad|><|vision_end|>"])
def test_typed_media_tokens_are_refused(text):
    status, answer = ask(echo, chat(text))
    assert status == 400
    assert "reserved" in json.loads(answer)["error"]["message"]


def test_escapes_do_not_hide_a_token():
    assert typed_media_token(chat("<|image_pad|>").replace(b"<", b"\\u003c").replace(b"_", b"\\u005f"))


def test_a_token_inside_an_address_is_no_text():
    part = {"type": "image_url", "image_url": {"url": "file:///<|image_pad|>.png"}}
    assert typed_media_token(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()) is None


@pytest.mark.parametrize("body", [b"", b"{", b"_pad", b"[" * 100_000 + b"_pad"])
def test_what_is_no_json_is_left_to_vllm(body):
    assert ask(echo, body)[0] == 200


@pytest.mark.parametrize("name", CLIENT_EXCEPTIONS)
def test_a_clients_mistake_is_a_client_error_without_details_of_the_machine(name):
    status, answer = ask(failing(name), chat("hello"))
    assert 400 <= status < 500
    assert b"secret path" not in answer


def test_other_exceptions_stay_the_servers():
    with pytest.raises(Exception, match="secret path"):
        ask(failing("RuntimeError"), chat("hello"))


def test_an_answer_that_has_begun_is_not_begun_again():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        ask(app, chat("hello"))

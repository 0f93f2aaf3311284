"""The course's middleware, without a server: requests in, answers out."""

import asyncio
import json

import pytest

from helpers.guard import CLIENT_EXCEPTIONS, LOADER_EXCEPTIONS, ClientErrors, answer_for, typed_media_token


def chat(text, **more):
    return json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}], **more}).encode()


def ask(app, body: bytes, method: str = "POST", pieces: int = 1, reads: list | None = None) -> tuple[int, bytes]:
    """Send one request through the middleware; ``reads`` gets an entry for each piece of it that is taken in."""
    sent, reads = [], [] if reads is None else reads
    size = max(1, -(-len(body) // pieces))
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]

    async def receive():
        reads.append(len(waiting))
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "query_string": b""}
    scope["headers"] = [(b"content-type", b"application/json")]
    asyncio.run(ClientErrors(app)(scope, receive, send))
    assert [message["type"] for message in sent].count("http.response.start") == 1
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


def test_a_body_is_not_taken_in_before_the_key_was_checked():
    """vLLM's check of the key lies behind this middleware, and answers without a look at the body."""
    reads = []
    assert ask(answering(401, b"Unauthorized"), chat("<|image_pad|>"), pieces=5, reads=reads) == (401, b"Unauthorized")
    assert reads == []
    assert ask(echo, chat("hello"), pieces=5, reads=reads)[0] == 200
    assert len(reads) == 5


def test_refused_text_does_not_reach_a_route_and_gets_one_answer():
    """FastAPI, which vLLM's routes are made of, has an answer of its own for a client that seems gone."""
    from fastapi import FastAPI

    app, seen = FastAPI(), []

    @app.post("/")
    def route(body: dict):
        seen.append(body)
        return {"fine": True}

    status, answer = ask(app, chat("<|image_pad|>"), pieces=3)
    assert status == 400 and "reserved" in json.loads(answer)["error"]["message"] and not seen
    assert ask(app, chat("hello"), pieces=3) == (200, b'{"fine":true}') and seen == [json.loads(chat("hello"))]


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


# ---------------------------------------------------------------- clips that the loader cannot sample

LOADER = "/env/lib/python3.11/site-packages/vllm/multimodal/video.py"


def raised_in(file: str, kind: str | type[Exception], below: str = "") -> Exception:
    """An exception of that name or class, raised by a function in that file, or called from there in ``below``."""
    error = (type(kind, (Exception,), {}) if isinstance(kind, str) else kind)("secret path")
    names = {"error": error}
    exec(compile("def fail():\n    raise error", below or file, "exec"), names)
    exec(compile("def call():\n    fail()", file, "exec"), names)
    try:
        names["call"]()
    except Exception as caught:
        return caught


def raising(error: Exception):
    async def app(scope, receive, send):
        raise error

    return app


@pytest.mark.parametrize("name", sorted(LOADER_EXCEPTIONS))
@pytest.mark.parametrize("below", ["", "/env/lib/python3.11/site-packages/torch/functional.py"])
def test_a_clip_that_the_loader_cannot_sample_is_the_clients_mistake(name, below):
    error = raised_in(LOADER, name, below)
    status, message = answer_for(error)
    assert status == 400 and "fewer than two frames" in message
    status, answer = ask(raising(error), chat("hello"))
    assert status == 400
    assert "fewer than two frames" in json.loads(answer)["error"]["message"]
    assert b"secret path" not in answer


@pytest.mark.parametrize("name", sorted(LOADER_EXCEPTIONS))
@pytest.mark.parametrize(
    "file",
    [
        "/env/lib/python3.11/site-packages/vllm/v1/engine/core.py",
        "/env/lib/python3.11/site-packages/vllm/multimodal/image.py",
        "/env/lib/python3.11/site-packages/vllm/multimodal/media/video.py",
        "/env/lib/python3.11/site-packages/other/multimodal/video.py",
        "/env/lib/python3.11/site-packages/notvllm/multimodal/video.py",
        "/home/somebody/video.py",
        "video.py",
        "<string>",
    ],
)
def test_the_same_exception_from_elsewhere_stays_the_servers(file, name):
    error = raised_in(file, name)
    assert answer_for(error) is None
    with pytest.raises(Exception, match="secret path"):
        ask(raising(error), chat("hello"))


@pytest.mark.parametrize("name", ["TypeError", "AttributeError", "MemoryError", "AssertionError"])
def test_other_exceptions_of_the_loader_stay_the_servers(name):
    assert answer_for(raised_in(LOADER, name)) is None


def test_an_exception_that_was_never_raised_has_no_answer():
    assert answer_for(ZeroDivisionError()) is None
    assert answer_for(TimeoutError()) is None


@pytest.mark.parametrize("kind", [TimeoutError, type("ServerTimeoutError", (TimeoutError,), {})])
def test_a_host_that_keeps_silent_is_told_and_any_other_time_out_stays_the_servers(kind):
    fetcher = "/env/lib/python3.11/site-packages/vllm/multimodal/media/connector.py"
    status, answer = ask(raising(raised_in(fetcher, kind, "/env/aiohttp/client.py")), chat("hello"))
    assert status == 424 and b"secret path" not in answer
    assert "did not answer in time" in json.loads(answer)["error"]["message"]
    with pytest.raises(TimeoutError, match="secret path"):
        ask(raising(raised_in("/env/lib/python3.11/site-packages/vllm/v1/engine/core.py", kind)), chat("hello"))


def answering(status, *parts):
    """An app that answers with these parts."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        for number, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts) - 1})

    return app


def test_a_dump_of_pixels_becomes_a_reason():
    dump = b'{"error": {"message": "Failed to apply Qwen3VLProcessor on data={...[[172, 190, 206]..."}}'
    status, body = ask(answering(400, dump), chat("hello"))
    assert status == 400
    assert "two at least" in json.loads(body)["error"]["message"] and b"172" not in body


@pytest.mark.parametrize("parts", [(b'{"error": "no"}',), (b'{"err', b'or": "no"}'), (b"",)])
def test_other_refusals_pass_unchanged(parts):
    assert ask(answering(400, *parts), chat("hello")) == (400, b"".join(parts))


def test_what_succeeds_may_speak_of_processors():
    text = b"Qwen3VLProcessor on data=x"
    assert ask(answering(200, text), chat("hello")) == (200, text)

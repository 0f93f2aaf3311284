"""The course's middleware, without a server: requests in, answers out."""

import asyncio
import errno
import json

import pytest

from helpers import guard
from helpers.guard import MAX_RECEIVED, ClientErrors
from helpers.guard_answers import CLIENT_EXCEPTIONS, LOADER_EXCEPTIONS, answer_for
from helpers.guard_body import MAX_BODY_BYTES


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
    body = chat("<|image_pad|>").replace(b"<", b"\\u003c").replace(b"_", b"\\u005f")
    assert ask(echo, body)[0] == 400


def test_a_token_inside_an_address_is_refused_too():
    """No address has such characters, and what looks like one may stand in a tool's schema, which is rendered."""
    part = {"type": "image_url", "image_url": {"url": "file:///<|image_pad|>.png"}}
    assert ask(echo, json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())[0] == 400


@pytest.mark.parametrize("body", [b"", b"{", b"_pad", b'{"n": ' + b"1" * 5000 + b"}"])
def test_what_is_no_json_is_left_to_vllm(body):
    assert ask(echo, body) == (200, body)


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


def error(status, message):
    """An app that fails in vLLM's words."""
    kind = {"message": message, "type": "InternalServerError", "param": None, "code": status}
    return after_reading(answering(status, json.dumps({"error": kind}).encode()))


def after_reading(app):
    async def reading(scope, receive, send):
        await receive()
        await app(scope, receive, send)

    return reading


def test_a_dump_of_pixels_becomes_a_reason():
    plain = " with kwargs={'return_tensors': 'pt'}"
    for settings in ("", plain, plain.replace("}", ", 'fps': 1, 'do_sample_frames': True}")):
        dump = f"Failed to apply Qwen3VLProcessor on data={{...[[172, 190, 206]...{settings}"
        status, body = ask(error(400, dump), chat("hello"))
        message = json.loads(body)["error"]["message"]
        assert status == 400 and "Usual causes: too few frames (two at least)" in message and "172" not in message
        # Which settings the processor got, as vLLM says: they may be the reason.
        assert ("settings together: 'fps': 1, 'do_sample_frames': True." in message) == ("fps" in settings)
        assert "return_tensors" not in message


def test_vllms_words_are_kept_and_what_they_leave_out_is_added():
    words = "Failed to load image: cannot identify image file <_io.BytesIO object>"
    status, body = ask(error(400, words), chat("hello"))
    assert status == 400 and words in str(json.loads(body)) and b"redirect" in body
    for scheme, added in (("https", True), ("http", False)):
        words = f"Failed to fetch media from URL: Invalid URL (parameter=image_url, value={scheme}://x)"
        status, body = ask(error(422, words), chat("hello"))
        assert status == 422 and words in str(json.loads(body)) and (b"certificate" in body) == added
    status, body = ask(error(501, "Only base64 data URLs are supported for now."), chat("hello"))
    assert status == 400 and b"Only base64 data URLs" in body


SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}}


def test_a_grammar_that_cannot_be_made_is_the_clients_mistake():
    failed = error(500, "Internal server error")
    assert ask(failed, chat("hello", **SCHEMA))[0] == 400
    assert ask(failed, chat("hello"))[0] == 500
    assert ask(error(500, "EngineCore encountered an issue."), chat("hello", **SCHEMA))[0] == 500


def test_so_it_is_in_a_stream():
    event = b'data: {"error": {"message": "Internal server error", "type": "InternalServerError", "code": 500}}'
    stream = answering(200, b'data: {"x": "a"}', event + b"\n\n", b"data: [DONE]")
    status, body = ask(after_reading(stream), chat("hello", stream=True, **SCHEMA))
    assert status == 200 and body.count(b"data: ") == 3
    assert b"Internal" not in body and b"could not make a grammar" in body
    assert event in ask(after_reading(stream), chat("hello", stream=True))[1]


@pytest.mark.parametrize("body", [b"[]", b'{"error": []}', b'{"error": {"message": [1]}}', b"<html>", b""])
@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_errors_in_other_forms_pass_unchanged(status, body):
    assert ask(answering(status, body), chat("hello")) == (status, body)


@pytest.mark.parametrize("parts", [(b'{"error": "no"}',), (b'{"err', b'or": "no"}'), (b"",)])
def test_other_refusals_pass_unchanged(parts):
    assert ask(answering(400, *parts), chat("hello")) == (400, b"".join(parts))


def test_what_succeeds_may_speak_of_processors():
    text = b"Qwen3VLProcessor on data=x"
    assert ask(answering(200, text), chat("hello")) == (200, text)


# ---------------------------------------------------------------- bodies that are too large


def receiving(app, scope, messages):
    """What an app answers behind the middleware, and how many messages it left unread."""
    sent, waiting = [], iter(messages)
    taken = []

    async def receive():
        taken.append(next(waiting))
        return taken[-1]

    async def send(message):
        sent.append(message)

    asyncio.run(ClientErrors(app)({"type": "http", "method": "POST"} | scope, receive, send))
    return sent[0]["status"], len(taken)


def pieces_of(size, piece=2**22):
    sizes = [piece] * (size // piece) + ([size % piece] if size % piece else [])
    block = bytes(piece)
    return [
        {"type": "http.request", "body": block[:length], "more_body": number < len(sizes) - 1}
        for number, length in enumerate(sizes)
    ]


def test_a_body_that_is_too_large_is_received_to_its_end_and_refused():
    """Without an announcement, too; a client that is cut off while it sends would not read the reason."""
    pieces = pieces_of(MAX_BODY_BYTES + 1)
    assert receiving(echo, {"headers": []}, pieces) == (413, len(pieces))


def test_what_is_far_too_large_is_not_received():
    announced = {"headers": [(b"content-length", str(MAX_RECEIVED + 1).encode())]}
    assert receiving(echo, announced, pieces_of(2**23)) == (413, 0)
    status, taken = receiving(echo, {"headers": []}, pieces_of(2 * MAX_RECEIVED))
    assert status == 413 and taken == MAX_RECEIVED // 2**22 + 1


def test_the_largest_body_passes(monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", len(chat("hello")))
    assert ask(echo, chat("hello"), pieces=3) == (200, chat("hello"))
    assert ask(echo, chat("hello!"), pieces=3)[0] == 413


def test_a_client_that_hangs_up_is_passed_on():
    heard = []

    async def app(scope, receive, send):
        heard.append(await receive())
        await send({"type": "http.response.start", "status": 499, "headers": []})

    gone = {"type": "http.disconnect"}
    assert receiving(app, {"headers": []}, [{"type": "http.request", "body": b"{", "more_body": True}, gone]) == (
        499,
        2,
    )
    assert heard == [gone]


# ---------------------------------------------------------------- hosts and files that misbehave

CONNECTOR = "/env/lib/python3.11/site-packages/vllm/multimodal/media/connector.py"


def of_library(name, library, **attributes):
    return type(name, (Exception,), {"__module__": f"{library}.inner", **attributes})


FETCHING = {
    "429": (of_library("ClientResponseError", "aiohttp", status=429), 424, "status 429"),
    "503": (of_library("ClientResponseError", "aiohttp", status=503), 424, "status 503"),
    "cut off": (of_library("ClientPayloadError", "aiohttp"), 424, "less than it announced"),
    "anything else": (of_library("TooManyRedirects", "aiohttp", status=0), 424, "TooManyRedirects"),
    "reset": (ConnectionResetError, 424, "without an answer"),
    "too long": (lambda words: OSError(errno.ENAMETOOLONG, words), 400, "does not lead to a file"),
    "loop": (lambda words: OSError(errno.ELOOP, words), 400, "does not lead to a file"),
    "a damaged PNG": (of_library("error", "cv2"), 400, "damaged"),
}


@pytest.mark.parametrize("name", FETCHING)
def test_what_fails_while_an_image_is_fetched_is_told(name):
    kind, status, words = FETCHING[name]
    caught = raised_in(CONNECTOR, kind)
    assert (
        answer_for(caught)[0] == status
        and words in answer_for(caught)[1]
        and "secret path" not in answer_for(caught)[1]
    )
    elsewhere = raised_in("/env/lib/python3.11/site-packages/vllm/v1/engine/core.py", kind)
    assert answer_for(elsewhere) is None or name == "cut off"


def test_what_a_decoder_stumbles_over_is_damaged():
    inside = "/env/lib/python3.11/site-packages/PIL/PngImagePlugin.py"
    assert answer_for(raised_in(CONNECTOR, SyntaxError, inside))[0] == 400
    assert answer_for(raised_in(CONNECTOR, MemoryError, inside)) is None
    assert answer_for(raised_in(CONNECTOR, AttributeError)) is None  # the server's own
    assert "circles" in answer_for(raised_in(CONNECTOR, RuntimeError, "/usr/lib/python3.11/pathlib.py"))[1]
    assert answer_for(raised_in(CONNECTOR, RuntimeError)) is None

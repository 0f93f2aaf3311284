"""Chapter 03: right answers of other forms pass, wrong ones get a word, and a server that refuses is quoted."""

import base64
import json
import mimetypes

from tests.support.chat_endpoint import ChatEndpoint, answer
from tests.support.exercise_answers import ChapterTests, verdict_on


class AServer:
    """What a checker needs of a server."""

    api_key, model_name = "key", "m"

    def __init__(self, url):
        self.base_url = url


def by_library(file, question):
    data = base64.encodebytes(file.read_bytes()).replace(b"\n", b"").decode("ascii")
    part = {"type": "image_url", "image_url": {"url": f"data:{mimetypes.guess_type(file)[0]};base64,{data}"}}
    return {"content": [part, {"text": question, "type": "text"}], "role": "user"}


def changed(change):
    """The right message after a change of it."""

    def build(file, question):
        message = by_library(file, question)
        change(message)
        return message

    return build


def with_url(make):
    return changed(lambda message: message["content"][0].update(image_url={"url": make(message)}))


def url_of(message):
    return message["content"][0]["image_url"]["url"]


def joined(stream):
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    return ["".join(text for text in texts if text), chunks[-1].usage.completion_tokens]


def counted(stream):
    texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    return "".join(text or "" for text in texts), len(texts)


def without_none(stream):
    return "".join(chunk.choices[0].delta.content for chunk in stream if chunk.choices), 3


def as_given(stream):
    text, written = "", 0
    for chunk in stream:
        text += chunk.choices[0].delta.content
        written += 1
    return text, written


def schema(places, **changes):
    whole = {
        "type": "object",
        "properties": {"place": {"type": "string", "enum": places}},
        "required": ["place"],
        "additionalProperties": False,
    } | changes
    return {key: value for key, value in whole.items() if value is not None}


def form(**changes):
    return lambda places: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema(places, **changes)}}


def one_of(places):
    alternatives = [schema([place]) for place in places]
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"anyOf": alternatives}}}


def extended(conversation, said, question, role="assistant"):
    return [*conversation, {"role": role, "content": said}, {"role": "user", "content": question}]


def in_place(conversation, said, question):
    conversation += [{"role": "assistant", "content": said}, {"role": "user", "content": question}]
    return conversation


def waiting(timeout, retries, status, repeated=(408, 409, 429, *range(500, 600)), more=1):
    return sum(timeout for attempt in range(retries + more) if attempt == 0 or status in repeated)


RIGHT = [
    ("03.1", by_library),
    ("03.2", joined),
    ("03.3", form()),
    ("03.3", one_of),
    ("03.4", extended),
    ("03.5", [404, 401, 400, 200]),
    ("03.6", waiting),
]
WRONG = [
    ("03.1", changed(lambda message: message["content"].reverse()), "in this order"),
    ("03.1", changed(lambda message: message.update(content="What is it?")), "a list of parts"),
    ("03.1", with_url(lambda message: url_of(message).replace("jpeg", "png")), "data:image/jpeg"),
    ("03.1", with_url(lambda message: url_of(message).partition(",")[2]), "should begin with"),
    ("03.1", with_url(lambda message: url_of(message).replace(",", ",b'") + "'"), "no base64"),
    ("03.1", with_url(lambda message: url_of(message)[:-8]), "other than the file's bytes"),
    ("03.1", changed(lambda message: message["content"][0].update(image_url=url_of(message))), "an image is"),
    ("03.1", changed(lambda message: message["content"][1].update(text="?")), "hold the question"),
    ("03.1", lambda file, question: [by_library(file, question)], "one message"),
    ("03.2", counted, "usage says 3 tokens"),
    ("03.2", without_none, "your function raised TypeError"),
    ("03.2", lambda stream: joined(stream)[0], "a text and a number"),
    ("03.2", lambda stream: ("A dog", joined(stream)[1]), "the text is 'A dog.'"),
    ("03.3", form(required=None), "which keys are required?"),
    ("03.3", form(additionalProperties=None), "additionalProperties"),
    ("03.3", form(properties={"place": {"type": "string"}}), "not in the list"),
    ("03.3", form(type=None), "text instead of an object"),
    ("03.3", form(type="dictionary"), "no JSON schema"),
    ("03.3", form(properties={"place": {"enum": ["room"]}}), "refuses"),
    ("03.3", lambda places: schema(places), '"type": "json_schema"'),
    ("03.3", lambda places: {"type": "json_schema", "json_schema": schema(places)}, 'a "name" and a "schema"'),
    ("03.4", lambda conversation, said, question: extended(conversation, said, question, "user"), "(assistant)"),
    (
        "03.4",
        lambda conversation, said, question: extended(conversation[-1:], said, question),
        "the whole conversation",
    ),
    ("03.4", in_place, "the old list was changed"),
    ("03.4", lambda conversation, said, question: extended(conversation, question, said), "as they were given"),
    ("03.5", [400, 401, 400, 200], "an unknown model: not 400"),
    ("03.5", [404, 403, 400, 200], "a wrong key: not 403"),
    ("03.5", [404, 401, 500, 200], "half of an image: not 500"),
    ("03.5", [404, 401, 400, 400], "a short answer: not 400"),
    ("03.6", lambda *wait: waiting(*wait, more=0), "is 3 attempts"),
    ("03.6", lambda timeout, retries, status: timeout * (retries + 1), "is 1 attempt,"),
    ("03.6", lambda *wait: waiting(*wait, repeated=range(500, 600)), "status 429"),
]
AS_GIVEN = [
    ("03.2", as_given),
    ("03.4", lambda conversation, said, question: [{"role": "user", "content": question}]),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "03", RIGHT, WRONG, AS_GIVEN


def test_a_server_is_asked_and_what_it_refuses_is_quoted():
    with ChatEndpoint(lambda question, time: answer(json.dumps({"place": "park"}))) as endpoint:
        assert verdict_on("03.1", by_library, server=AServer(endpoint.url)).state == "correct"
        assert verdict_on("03.3", form(), server=AServer(endpoint.url)).state == "correct"
        formats = [body.get("response_format", {}).get("type") for body in endpoint.bodies]
    assert formats == [None, None, "json_schema"]
    refusal = (400, {}, {"message": "no such schema", "error": {"message": "no such schema"}})
    with ChatEndpoint(lambda question, time: refusal) as endpoint:
        verdict = verdict_on("03.3", form(), server=AServer(endpoint.url))
    assert verdict.state == "incorrect" and "refuses it with status 400: no such schema" in verdict.message
    with ChatEndpoint(lambda question, time: answer("The park.")) as endpoint:
        assert "and answered 'The park.'" in verdict_on("03.3", form(), server=AServer(endpoint.url)).message

"""Requests that are too large, out of date or out to harm, against the one server: each gets a 4xx with its reason."""

import base64
import io
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from helpers.profiles import COURSE_ROOT
from helpers.server import MEDIA_FOLDER
from tests.support.odd_host import odd_host
from toolkit.toyworld.items import read_items

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(400)]

SCENES = COURSE_ROOT / "data" / "scenes"
SCENE = sorted(SCENES.glob("*.png"))[0]
TOKEN = "<|image_pad|>"


def text(words):
    return {"type": "text", "text": words}


def picture(url, **more):
    return {"type": "image_url", "image_url": {"url": url}, **more}


def data_url(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def encoded(image, form):
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def looking_at(url, **more):
    return {"messages": [{"role": "user", "content": [picture(url, **more), text("Describe this image.")]}]}


def saying(words="hello", **more):
    return {"messages": [{"role": "user", "content": words}], **more}


def schema(form, **more):
    return saying(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": form}}, **more)


@pytest.fixture(scope="module")
def post(server):
    """Send a body to a route; the answer of httpx."""
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    with httpx.Client(headers=headers, timeout=120, trust_env=False) as client:

        def send(body, route="/v1/chat/completions"):
            if isinstance(body, dict):
                body = json.dumps({"model": server.model_name, "max_tokens": 4, "temperature": 0} | body).encode()
            return client.post(f"{server.root_url}{route}", content=body)

        yield send


@pytest.fixture(autouse=True)
def others_are_answered(server, post):
    """After every test the server is well, and makes a grammar for somebody else."""
    yield
    assert server.is_alive()
    assert post(saying(structured_outputs={"choice": ["yes", "no"]})).status_code == 200


def refused(answer, *words):
    """The message of a 4xx that has all these words."""
    message = answer.json()["error"]["message"]
    assert 400 <= answer.status_code < 500, message
    assert all(word in message for word in words), message
    return message


# ---------------------------------------------------------------- images and where they come from

HOSTS = {
    "/302": "redirect",
    "/page": "answered with a page",
    "/403": "403",
    "/429": "answered with status 429",
    "/500": "answered with status 500",
    "/503": "answered with status 503",
    "/short": "less than it announced",
    "/gzip": "garbled",
    "/reset": "host of the image or video",
    "/drop": "without an answer",
}


def test_a_host_that_misbehaves_is_named_as_the_reason(post):
    with odd_host() as host, ThreadPoolExecutor(len(HOSTS) + 1) as pool:  # vLLM tries some of them three times
        asked = {path: pool.submit(post, looking_at(f"{host}{path}")) for path in HOSTS}
        plain = pool.submit(post, looking_at(host.replace("http:", "https:") + "/page"))
        for path, answer in asked.items():
            refused(answer.result(), HOSTS[path])
        refused(plain.result(), "TLS")


def test_names_that_lead_nowhere_are_refused(post):
    with tempfile.TemporaryDirectory(dir=MEDIA_FOLDER) as folder:
        here = Path(folder)
        (here / "a").symlink_to(here / "b")
        (here / "b").symlink_to(here / "a")
        (here / "out.png").symlink_to("/etc/hostname")
        (here / "in.png").symlink_to(SCENE)
        assert post(looking_at((here / "in.png").as_uri())).status_code == 200
        refused(post(looking_at((here / "out.png").as_uri())), "must be a subpath")
        refused(post(looking_at((here / "a").as_uri())))
        refused(post(looking_at((here / ("x" * 300)).as_uri())), "does not lead to a file")
    refused(post(looking_at(f"{SCENE.as_uri()}/x.png")), "does not lead to a file")


def test_an_image_of_many_pixels_is_refused_unopened(post):
    large = encoded(Image.new("1", (13_300, 13_300)), "PNG")
    refused(post(looking_at(data_url(large))), "exceed", "50000000 pixels")


def test_frames_of_many_pixels_are_refused_unopened(post):
    frame = encoded(Image.new("L", (5_000, 5_000)), "JPEG")
    url = data_url(frame, "video/jpeg") + f",{base64.b64encode(frame).decode()}" * 5
    body = saying([{"type": "video_url", "video_url": {"url": url}}, text("Describe this video.")])
    refused(post(body), "100,000,000 pixels together")


def test_only_base64_is_read_from_data_addresses(post):
    refused(post(looking_at("data:image/svg+xml;utf8,<svg/>")), "Only base64")


def test_another_clients_image_cannot_be_asked_for(post):
    refused(post(looking_at(data_url(SCENE.read_bytes()), uuid="lesson-1")), "uuid", "another client's image")
    refused(post(saying([{"type": "image_url", "image_url": None, "uuid": "lesson-1"}, text("x")])), "uuid")


def test_prompts_with_images_are_not_cut(post):
    for length in (4, 400):
        refused(post(looking_at(data_url(SCENE.read_bytes())) | {"truncate_prompt_tokens": length}), "truncate")
    assert post(looking_at(data_url(SCENE.read_bytes())) | {"truncate_prompt_tokens": -1}).status_code == 200
    assert post(saying("one two three", truncate_prompt_tokens=4)).status_code == 200


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    "field",
    [{"stop": ["\ud800"]}, {"bad_words": ["\ud800"]}, {"request_id": "\ud800"}, {"vllm_xargs": {"a": "\ud800"}}],
    ids=lambda field: next(iter(field)),
)
def test_half_a_character_is_refused_everywhere(post, field):
    refused(post(saying(**field)), "surrogate")


def test_reserved_names_and_aged_fields_are_refused(post):
    refused(post(saying(vllm_xargs={"kv_transfer_params": 1})), "fields of their own")
    refused(post(saying(guided_choice=["yes"])), "guided_choice", "structured_outputs")


ENDLESS = {"$ref": "#"}
TANGLED = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}


@pytest.mark.parametrize("form", [ENDLESS, TANGLED])
def test_a_schema_without_an_end_is_refused(post, form):
    refused(post(schema(form)), "could not make a grammar")
    streamed = post(schema(form, stream=True)).text
    assert "could not make a grammar" in streamed and '"code": 400' in streamed and "Internal" not in streamed


def test_a_schema_of_a_tree_is_used(post):
    tree = {"type": "object", "properties": {"branches": {"type": "array", "items": {"$ref": "#"}}}}
    assert post(schema(tree)).status_code == 200


LARGE = {
    "choices": saying(structured_outputs={"choice": [f"{number:08d}" for number in range(60_000)]}),
    "properties": schema({"type": "object", "properties": {f"p{number}": {} for number in range(20_000)}}),
    "pattern": saying(structured_outputs={"regex": "abcdefghi|" * 100_000}),
    "length": schema({"type": "string", "maxLength": 100_000}),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_grammar_that_would_keep_others_waiting_is_refused(post, name):
    assert post(LARGE[name]).status_code == 413


def test_a_body_of_too_many_parts_or_bytes_is_refused(post):
    refused(post(saying([text("a")] * 300_000)), "The body has more than")
    refused(post(json.dumps(saying()).encode()[:-1] + b', "x": ["_pad"' + b",[]" * 2**24 + b"]}"), "20,000 lists")
    refused(post(json.dumps(saying("a" * 2**26)).encode()), "64 MiB")


# ---------------------------------------------------------------- routes

PARTS = [text("<|image_"), text("pad|>")]
ROUTES = {
    "/v1/chat/completions": saying,
    "/v1/chat/completions/batch": lambda content: {"messages": [[{"role": "user", "content": content}]]},
    "/v1/responses": lambda content: {
        "input": content
        if isinstance(content, str)
        else [{"role": "user", "content": [part | {"type": "input_text"} for part in content]}],
    },
    "/v1/messages": saying,
    "/invocations": saying,
    "/tokenize": saying,
}


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_passes_a_text_and_refuses_a_token_in_pieces(post, route):
    assert post(ROUTES[route]("hello"), route).status_code == 200
    refused(post(ROUTES[route](PARTS), route), "reserved for real images")
    body = json.dumps(ROUTES[route](TOKEN))
    refused(post(body.encode("utf-16"), route), "not UTF-8")


# ---------------------------------------------------------------- JSON without endless blanks


def test_json_ends_where_blanks_and_digits_have_limits(post):
    """A model that does not know a form writes blanks between its parts, or digits, as long as the grammar lets it."""
    form = {
        "type": "object",
        "properties": {
            "place": {"enum": ["beach", "park", "street", "snow", "room"]},
            "n": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["place", "n"],
        "additionalProperties": False,
    }
    limited = {"type": "json_schema", "json_schema": form, "max_whitespace_cnt": 1}
    items = [item for item in read_items(SCENES) if item["facts"]][:6]
    for item in items:
        body = looking_at(data_url((SCENES / item["media"][0]).read_bytes()))
        body["messages"][0]["content"][1] = text("Describe this image as JSON.")
        body |= {"max_tokens": 256, "response_format": {"type": "structural_tag", "format": limited}}
        choice = post(body).json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert json.loads(choice["message"]["content"])["place"] == item["facts"]["place"]

"""What the guard reads in a request: tokens in hiding, limits, fields. Compared with what chat templates render."""

import base64
import io
import json
import re

import pytest
from hypothesis import given, settings, strategies
from PIL import Image

from helpers.guard_body import (
    AGED,
    ENVIRONMENT,
    MAX_BODY_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_GRAMMAR,
    MAX_GRAMMAR_VALUES,
    MAX_REMARKS,
    MAX_REPETITIONS,
    MAX_SEQUENCE_PIXELS,
    MAX_TEXTS,
    MAX_VALUES,
    MEDIA_TOKENS,
    Refused,
    check,
)
from helpers.profiles import COURSE_ROOT, TINY

IMAGE, VIDEO = MEDIA_TOKENS


def chat(content="hello", **more):
    return {"messages": [{"role": "user", "content": content}], **more}


def text(words):
    return {"type": "text", "text": words}


def tool(parameters):
    return chat(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])


def schema(form):
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": form}})


def called(arguments):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"messages": [{"role": "assistant", "tool_calls": [call]}]}


def refusal(request):
    """Status and message with which a body, or what is to become one, is refused."""
    with pytest.raises(Refused) as caught:
        check(request if isinstance(request, bytes) else json.dumps(request).encode())
    return caught.value.answer


def passes(request):
    check(request if isinstance(request, bytes) else json.dumps(request).encode())
    return True


# ---------------------------------------------------------------- tokens in hiding

HIDDEN = {
    "plain": chat(IMAGE),
    "in two parts": chat([text("<|image_"), text("pad|>")]),
    "in many parts": chat([text(character) for character in f"a{VIDEO}b"]),
    "in parts around an image": chat(
        [text("<|image"), {"type": "image_url", "image_url": {"url": "x"}}, text("_pad|>")]
    ),
    "in parts around an empty one": chat([text("<|"), text(""), text("image_pad|>")]),
    "in parts with more keys": chat([{**text("<|image_"), "also": "x"}, {"also": "y", **text("pad|>")}]),
    "in two messages": {"messages": [{"content": "<|image_"}, {"content": "pad|>"}]},
    "in a batch": {"messages": [[{"role": "user", "content": [text("<|image_"), text("pad|>")]}]]},
    "in strings of a list": {"input": ["<|image_", "pad|>"]},
    "a key of a schema": tool({"type": "object", "properties": {IMAGE: {"type": "string"}}}),
    "below a key that ends with _url": tool({"properties": {"image_url": {"description": IMAGE}}}),
    "escaped in arguments": called('{"a": "\\u003c|image_pad|>"}'),
    "twice escaped in arguments": called(json.dumps(json.dumps({"a": IMAGE}).replace("<", "\\u003c"))),
    "a key in arguments": called('{"\\u003c|video\\u005fpad|>": 1}'),
    "in a name": {"messages": [{"role": IMAGE, "content": ""}]},
    "in no JSON": b'{"messages": <|image_pad|>',
    "in a list": [IMAGE],
    "below much": {"z": json.loads("[" * 90 + f'"{IMAGE}"' + "]" * 90)},
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_token_in_hiding_is_found(name):
    status, message = refusal(HIDDEN[name])
    assert status == 400 and "reserved for real images" in message


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-32-be", "utf-32"])
def test_json_that_is_not_utf8_is_refused(code):
    assert refusal(json.dumps(chat("hello")).encode(code)) == (400, "The body is not UTF-8, as JSON has to be.")


def test_utf8_with_a_mark_is_read_as_vllm_reads_it():
    assert passes(b"\xef\xbb\xbf" + json.dumps(chat("hello")).encode())
    assert refusal(b"\xef\xbb\xbf" + json.dumps(chat(IMAGE)).encode())[0] == 400


@pytest.mark.parametrize("character", ["\ud800", "\udfff", "a\udc00b"])
@pytest.mark.parametrize("request_of", [chat, lambda half: {half: 1}, lambda half: called(json.dumps({"a": half}))])
def test_half_a_character_is_refused_wherever_it_stands(character, request_of):
    assert "surrogate" in refusal(request_of(character))[1]


def test_half_a_character_in_bytes_is_refused():
    assert refusal(json.dumps(chat("X")).encode().replace(b"X", b"\xed\xa0\x80"))[0] == 400


HARMLESS = {
    "pieces in another order": chat([text("pad|>"), text("<|image_")]),
    "a beginning alone": chat([text("a < b"), text("<|image_"), text("x")]),
    "quotes in Markdown": chat([text("if a <"), text("> quoted"), text("|image|")]),
    "other tokens": chat("<|im_start|>user<|vision_start|><|vision_end|><|endoftext|>"),
    "JSON with escapes": chat('[{"a": "\\u003cb\\u003e"}]'),
    "no JSON after all": chat('{"a": "\\u003c'),
    "emoji": chat("🎉 \N{DEVANAGARI LETTER KA}"),
    "a uuid in a schema": tool({"properties": {"uuid": {"type": "string"}, "content": {"uuid": {}}}}),
    "ids of a long prompt": {"prompt": list(range(262_144))},
    "brackets in a text": chat("[{,}]" * 2 * MAX_CONTAINERS),
    "commas in a text": chat(",\\\"" * 2 * MAX_VALUES),
    "a long description": tool({"properties": {"a": {"type": "string", "description": 'of "a" ' * 20_000}}}),
    "old fields without a value": chat(guided_json=None, functions=None),
    "a cut prompt": chat("hello", truncate_prompt_tokens=5),
    "a cut prompt that says image": chat("an image of a video", truncate_prompt_tokens=5),
    "uncut images": chat([{"type": "image_url", "image_url": {"url": "x"}}], truncate_prompt_tokens=-1),
    "a number": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_requests_pass(name):
    assert passes(HARMLESS[name])


# ---------------------------------------------------------------- the same as chat templates

#: After Qwen3-VL's: tools as JSON, arguments as JSON or text, answers of tools, parts joined without anything between.
WITH_TOOLS = """
{%- macro content_of(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}{%- for part in content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}{%- endmacro -%}
{%- for tool in tools or [] -%}{{ tool | tojson }}\n{% endfor -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}\n
{%- if message.role == 'tool' -%}<tool_response>{{ content_of(message.content) }}</tool_response>
{%- else -%}{{ content_of(message.content) }}{%- endif -%}
{%- for call in message.tool_calls or [] -%}{"name": "{{ call.function.name }}", "arguments":
{%- if call.function.arguments is string -%}{{ call.function.arguments }}
{%- else -%}{{ call.function.arguments | tojson }}{%- endif -%}}{%- endfor -%}<|im_end|>\n
{%- endfor -%}
"""


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(COURSE_ROOT / "data" / TINY)


def rendered(tokenizer, request, template):
    """The prompt, of arguments that were decoded as vLLM does."""
    for message in request["messages"]:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    settings = {"chat_template": template, "tokenize": False}
    return tokenizer.apply_chat_template(request["messages"], tools=request.get("tools"), **settings)


CUTS = [token[start:end] for token in MEDIA_TOKENS for start in range(14) for end in range(start + 1, 14)]
WORDS = strategies.sampled_from(["", "a", "<", *CUTS]) | strategies.builds(
    lambda token, cut: f"{token[:cut]}|{token[cut:]}", strategies.sampled_from(MEDIA_TOKENS), strategies.integers(0, 13)
)
#: Runs of pieces that make a token, so that many examples have one.
PIECES = strategies.builds(
    lambda token, cuts: [token[start:end] for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 13], strict=True)],
    strategies.sampled_from(MEDIA_TOKENS),
    strategies.lists(strategies.integers(0, 13), max_size=4),
) | strategies.lists(WORDS, max_size=4)
PLAIN = strategies.recursive(
    WORDS | strategies.integers() | strategies.booleans(),
    lambda below: strategies.lists(below, max_size=3) | strategies.dictionaries(WORDS, below, max_size=3),
    max_leaves=5,
)
CONTENT = WORDS | strategies.builds(
    lambda pieces, image: [*map(text, pieces), *([{"type": "image"}] if image else [])], PIECES, strategies.booleans()
)
MESSAGE = strategies.fixed_dictionaries({"role": strategies.sampled_from(["user", "system"]), "content": CONTENT})
ARGUMENTS = strategies.builds(
    lambda value, escaped: json.dumps({"a": value}).replace("<", "\\u003c" if escaped else "<"),
    PLAIN,
    strategies.booleans(),
)
TOOL_MESSAGE = strategies.fixed_dictionaries({"role": strategies.just("tool"), "content": CONTENT}) | ARGUMENTS.map(
    lambda arguments: called(arguments)["messages"][0] | {"content": ""}
)
TOOLS = strategies.lists(PLAIN.map(lambda form: tool({"properties": form})["tools"][0]), max_size=2)
WAYS = {
    "ascii": json.dumps,
    "utf-8": lambda request: json.dumps(request, ensure_ascii=False),
    "escaped": lambda request: json.dumps(request).replace("<", "\\u003c").replace("_", "\\u005F"),
}


def agree(tokenizer, request, template, way):
    """A request that passes renders as many tokens as it has images; the example's own arguments are not changed."""
    body = WAYS[way](request).encode()
    try:
        check(body)
    except Refused as refused:
        return refused.answer[1]
    request = json.loads(body)
    images = json.dumps(request).count('{"type": "image"}')
    prompt = rendered(tokenizer, request, template)
    assert sum(map(prompt.count, MEDIA_TOKENS)) == images, (request, prompt)
    return ""


@settings(max_examples=300, deadline=None, derandomize=True)
@given(messages=strategies.lists(MESSAGE, min_size=1, max_size=3), way=strategies.sampled_from(sorted(WAYS)))
def test_the_bundled_template_renders_no_token_that_passed(tokenizer, messages, way):
    template = (COURSE_ROOT / "data" / TINY / "chat_template.jinja").read_text()
    agree(tokenizer, {"messages": messages}, template, way)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    messages=strategies.lists(MESSAGE | TOOL_MESSAGE, min_size=1, max_size=3),
    tools=TOOLS,
    way=strategies.sampled_from(sorted(WAYS)),
)
def test_a_template_with_tools_renders_no_token_that_passed(tokenizer, messages, tools, way):
    agree(tokenizer, {"messages": messages, "tools": tools}, WITH_TOOLS, way)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_whatever_is_no_token_passes(value):
    request = json.loads(json.dumps(value).replace("<", "(").replace("pad", "pat"))
    assert passes({"messages": [{"role": "user", "content": "hello"}], "metadata": request})


# ---------------------------------------------------------------- limits


def test_depth_is_limited():
    assert passes(json.dumps({"a": json.loads("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))}).encode())
    for depth in (MAX_DEPTH + 1, 980, MAX_CONTAINERS - 1):
        assert "deep" in refusal(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")[1]
    assert refusal(b"[" * 100_000)[0] == 413
    assert "deep" in refusal(called("[" * 990 + "]" * 990))[1]


@pytest.mark.parametrize("form", [b"[%s]", b'{"a": [%s]}', b'["\\"[,[,", %s]'])
def test_lists_objects_and_values_are_limited(form):
    assert passes(form % b",".join([b"[]"] * (MAX_CONTAINERS - 2)))
    assert refusal(form % b",".join([b"{}"] * (MAX_CONTAINERS + 1)))[0] == 413
    assert passes(form % b",".join([b"1"] * (MAX_VALUES - 2)))
    assert refusal(form % b",".join([b"1"] * (MAX_VALUES + 2)))[0] == 413
    for text_of in (b'"\\""', b'""', b'"\\\\"', b'"a":"b"'):
        assert refusal(form % b",".join([text_of] * (MAX_VALUES + 2)))[0] == 413
    assert "texts" in refusal(form % b",".join([b'"\\""'] * (MAX_TEXTS + 1)))[1]
    assert passes(form % b",".join([b'"\\""'] * (MAX_TEXTS - 2)))
    assert refusal(called("[" + "[]," * MAX_CONTAINERS + "[]]"))[0] == 413


@pytest.mark.parametrize("end", ["", "\\", '"'])
def test_a_text_without_an_end_costs_no_more_than_its_length(end):
    """Each of the quotes might begin a text that reaches to the end: a million of them would take hours."""
    assert passes(('{"a": "' + "[" * (MAX_CONTAINERS + 1) + '\\"' * 2**20 + end).encode())


def choices(count, length):
    return chat(structured_outputs={"choice": [f"{number:0{length}d}" for number in range(count)]})


def test_what_becomes_a_grammar_is_limited():
    assert passes(choices(1_000, 8))
    assert passes(schema({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1_000)}}))
    large = [
        choices(60_000, 8),
        choices(20, MAX_GRAMMAR // 10),
        choices(5_100, 1),
        schema({"type": "object", "properties": {f"p{n}": {} for n in range(20_000)}}),
        chat(structured_outputs={"regex": "abcdefghi|" * 100_000}),
        chat(stop=["x"] * 5_100),
        schema({"const": {"description": "x" * (MAX_GRAMMAR + 1)}}),
        schema({"enum": [{"title": "x" * (MAX_GRAMMAR + 1)}]}),
        chat(structured_outputs={"choice": [r"\u0022title\u0022: \u0022" + "x" * MAX_GRAMMAR]}),
        tool({"properties": {"a": {"description": "x" * (MAX_REMARKS + 1)}}}),
        tool({"properties": {f"p{n}": {"type": "string"} for n in range(2_000)}}),
        {"input": "hello", "text": {"format": {"schema": {f"p{n}": {} for n in range(20_000)}}}},
        {"output_config": {"format": {"schema": {f"p{n}": {} for n in range(20_000)}}}},
    ]
    for request in large:
        status, message = refusal(request)
        assert status == 413 and ("together" in message or "lists and objects" in message)


def test_repetitions_are_limited():
    few, many = MAX_REPETITIONS // 2, MAX_REPETITIONS + 1
    assert passes(schema({"type": "string", "minLength": few, "maxLength": few}))
    assert passes(chat(structured_outputs={"regex": "a{1,1000}b{2,}c{,3}d{4}"}))
    for request in (
        schema({"type": "string", "maxLength": many}),
        schema({"type": "string", "minLength": 1e9}),
        schema({"properties": {f"p{number}": {"maxLength": 100} for number in range(many // 100 + 1)}}),
        schema({"type": "string", "pattern": f"a{{{many}}}"}),
        chat(structured_outputs={"regex": f"a{{1,{many}}}"}),
        chat(structured_outputs={"regex": f"a{{{many},}}"}),
        chat(structured_outputs={"regex": f"a{{,{'9' * 5_000}}}"}),
        chat(structured_outputs={"json": json.dumps({"maxLength": many})}),
        chat(structured_outputs={"json": '{"max\\u004cength": 9999}'}),
    ):
        assert "repetitions" in refusal(request)[1]


def frames(count, width, height, form="JPEG"):
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, form)
    return f"data:Video/JPEG;base64,{','.join([base64.b64encode(stream.getvalue()).decode()] * count)}"


def test_pixels_of_frames_are_limited_together():
    watching = [{"type": "video_url", "video_url": {"url": frames(32, 640, 480)}}]
    assert passes(chat(watching))
    for url in (frames(6, 5_000, 5_000), frames(3, 6_000, 6_000, "PNG")):
        assert refusal(chat([{"type": "video_url", "video_url": {"url": url}}]))[0] == 413
    assert passes(chat([{"type": "video_url", "video_url": {"url": "data:video/jpeg;base64,@@@,eA=="}}]))


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize("name", AGED)
def test_aged_fields_are_refused_with_what_to_send(name):
    status, message = refusal(chat(**{name: {"a": 1}}))
    assert status == 400 and f'"{name}"' in message and AGED[name] in message


def test_aged_fields_are_none_that_vllm_reads():
    """Read in the source: the classes of requests import the whole engine."""
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("vllm").submodule_search_locations[0]) / "entrypoints"
    sources = [file.read_text() for file in folder.rglob("protocol.py")]
    assert any("    structured_outputs: " in source for source in sources)
    for name in AGED:
        assert not any(f"\n    {name}: " in source for source in sources if "function_call: FunctionCall" not in source)


@pytest.mark.parametrize("of", [{"type": "image_url", "image_url": None}, {"image_url": "x"}, {"type": "video_url"}])
def test_an_image_has_no_key_of_the_clients_choice(of):
    for request in (
        chat([of | {"uuid": "a"}]),
        {"content_parts": [of | {"uuid": "a"}]},
        {"messages": [[chat([of | {"uuid": "a"}])]]},
    ):
        assert "another client's image" in refusal(request)[1]
    assert passes(chat([of | {"uuid": None}]))
    assert "choose under which key" in refusal({"features": {"mm_hashes": {"image": ["a"]}}})[1]


@pytest.mark.parametrize("kind", ["image_url", "video_url", "input_image", "image"])
def test_prompts_with_media_are_not_cut(kind):
    for request in (chat([{"type": kind}]), {"input": [{"content": [{kind: "x"}]}]}):
        assert "apart" in refusal(request | {"truncate_prompt_tokens": 5})[1]


def test_reserved_names_are_refused():
    assert "vllm_xargs" in refusal(chat(vllm_xargs={"kv_transfer_params": 1}))[1]
    assert passes(chat(vllm_xargs={"other": 1}))


def test_notebook_07_has_these_limits():
    notebook = next((COURSE_ROOT / "notebooks").glob("07_*.ipynb"))
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    told = next(text for cell in cells if "nested 100 deep" in (text := "".join(cell["source"])))
    limits = [MAX_CONTAINERS, MAX_TEXTS, MAX_VALUES, MAX_GRAMMAR, MAX_GRAMMAR_VALUES, MAX_REPETITIONS, MAX_REMARKS]
    limits += [MAX_SEQUENCE_PIXELS, int(ENVIRONMENT["VLLM_MAX_IMAGE_PIXELS"]), int(ENVIRONMENT["VLLM_MAX_N_SEQUENCES"])]
    assert all(re.search(rf"(?<![\d,]){limit:,}(?![\d,]\d)", told) for limit in limits)
    assert f"{MAX_BODY_BYTES // 2**20} MiB" in told and f"nested {MAX_DEPTH} deep" in told

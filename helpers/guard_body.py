"""What a request may contain: read before vLLM reads it, and refused with a reason.

The promise: no text that a chat template renders contains ``<|image_pad|>`` or ``<|video_pad|>`` unless the server put
it there. Every string of the body counts, keys included, and so do strings that a template may join: a token is found
in any strings that follow each other, whatever stands between them. JSON inside a string is decoded where vLLM may do
so, and a body that cannot be read for certain (not UTF-8, too deep) is refused. Not covered: token ids in the place of
text (``prompt: [1, 2]``), and what the model itself writes.
"""

import base64
import json
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

#: Tokens that stand for the features of an image or video; never legitimate in what a client writes.
MEDIA_TOKENS = ("<|image_pad|>", "<|video_pad|>")
# The limits of one request; notebook 07 explains them in a table.
MAX_BODY_BYTES = 64 * 2**20
MAX_DEPTH = 100
MAX_CONTAINERS, MAX_TEXTS, MAX_VALUES = 20_000, 100_000, 300_000
MAX_REMARKS, MAX_GRAMMAR, MAX_GRAMMAR_VALUES, MAX_REPETITIONS = 2**20, 2**16, 5_000, 2_000
MAX_SEQUENCE_PIXELS = 100_000_000
#: What vLLM checks itself, if told to.
ENVIRONMENT = {"VLLM_MAX_IMAGE_PIXELS": "50000000", "VLLM_MAX_N_SEQUENCES": "64", "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"}

#: Of these vLLM makes a grammar, one after the other; the others cost time in a like manner.
CONSTRAINTS = ("response_format", "structured_outputs", "output_config", "text", "tools")
#: Fields that vLLM no longer reads, answering as if they were not there, and what to send instead.
AGED = {
    **{f"guided_{name}": f'"structured_outputs": {{"{name}": …}}' for name in ("json", "regex", "choice", "grammar")},
    "guided_decoding_backend": "the server's flag --structured-outputs-config",
    "guided_whitespace_pattern": '"response_format" of type "structural_tag" with "max_whitespace_cnt"',
    "structural_tag": '"structured_outputs": {"structural_tag": …}',
    "functions": '"tools"',
    "function_call": '"tool_choice"',
    "logits_processors": "the server's flag --logits-processors",
    "extra_body": "its fields one level up, as the OpenAI client does",
}
_REMARKS, _ANSWERS = ("description", "title", "$comment"), ("const", "enum")
_REPETITION = re.compile(r"(?:\{(\d*),?|(?:min|max)Length\W{1,5})(\d*)")
_ESCAPED_ASCII = re.compile(r"\\{1,8}u00([2-7][0-9a-f])", re.IGNORECASE)
_MEDIA = re.compile(r'"(?:input_)?(?:image|video|audio)(?:_\w+)?"')


class Refused(Exception):
    """A request that goes no further: status and message of the answer."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.answer = status, message


def check(body: bytes) -> bool:
    """Whether vLLM makes a grammar for the answer.

    Raises:
        Refused: the body holds what the limits or the promise above do not allow.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Refused(400, "The body is not UTF-8, as JSON has to be.")
    request = _json(text)
    begun: set[int] = set()
    for number, part in enumerate([text] if request is None else _texts(request)):
        _check_text(part, begun)
        if number == MAX_TEXTS:
            raise Refused(413, f"The body has more than {MAX_TEXTS:,} texts, names of fields included.")
    if not isinstance(request, dict):
        return False
    _check_fields(request)
    return any(request.get(name) for name in CONSTRAINTS)


def _json(text: str) -> Any:
    """What the text says; None if it is not JSON, which vLLM will say itself."""
    bare = text
    for characters, limit, what in (("[{", MAX_CONTAINERS, "lists and objects"), (",", MAX_VALUES, "values")):
        if sum(map(bare.count, characters)) > limit:
            bare = _outside_strings(text)
        if sum(map(bare.count, characters)) > limit:
            raise Refused(413, f"The body has more than {limit:,} {what}.")
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused(400, f"The body nests lists and objects more than {MAX_DEPTH} deep.") from None
    except ValueError:
        return None


def _outside_strings(text: str) -> str:
    bare = text.replace("\\\\", "").replace('\\"', "")
    if bare.count('"') > 4 * MAX_VALUES:  # keys among them
        raise Refused(413, f"The body has more than {MAX_VALUES:,} values.")
    return "".join(bare.split('"')[::2])


def _texts(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """All strings in the order of the body; ``key`` is the one above, for an entry of a list with ``[]`` appended."""
    if depth > MAX_DEPTH:
        raise Refused(400, f"The body nests lists and objects more than {MAX_DEPTH} deep.")
    if isinstance(value, str):
        yield value
        hides = "\\u" in value and value.lstrip()[:1] in '{["' and _ESCAPED_ASCII.search(value)
        if (key == "arguments" or hides) and (inner := _json(value)) != value:
            yield from _texts(inner, "", depth + 1)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry, f"{key}[]", depth + 1)
    elif isinstance(value, dict):
        if key in ("content[]", "content_parts[]") and value.get("uuid") is not None:
            raise Refused(
                400,
                "A part of the message has a uuid. vLLM takes an image with a known uuid from its cache, whoever sent "
                "it, so another client's image may be the one that is answered about. Omit the uuid.",
            )
        for name, entry in value.items():
            yield name
            yield from _texts(entry, name, depth + 1)


def _check_text(text: str, begun: set[int]) -> None:
    """One string and what the earlier ones begin: ``begun`` counts the characters of a token that they may end in."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(400, "A text contains half of a surrogate pair (\\ud800 to \\udfff): no character.") from None
    if text[:15].lower() == "data:video/jpeg":
        _check_frames(text)
    if not begun and "<" not in text:
        return
    for token in MEDIA_TOKENS:
        if token in text or any(text.startswith(token[length:]) for length in begun):
            raise Refused(400, f"The text contains {token}, which is reserved for real images and videos.")
        begun |= {length + len(text) for length in begun if text and token[length:].startswith(text)}
        if "<" in text[-len(token) :]:
            begun |= {length for length in range(1, len(token)) if text.endswith(token[:length])}


def _check_frames(address: str) -> None:
    """The frames of a ``data:video/jpeg`` address, which vLLM decodes one by one and then holds together."""
    from PIL import Image

    pixels = 0
    for frame in address.partition(",")[2].split(","):
        try:
            with Image.open(BytesIO(base64.b64decode(frame))) as image:
                pixels += image.width * image.height
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # vLLM says so
        if pixels > MAX_SEQUENCE_PIXELS:
            raise Refused(413, f"The frames of the video have more than {MAX_SEQUENCE_PIXELS:,} pixels together.")


def _check_fields(request: dict[str, Any]) -> None:
    for name, instead in AGED.items():
        if request.get(name) is not None:
            raise Refused(400, f'vLLM no longer reads "{name}" and would answer without it. Send {instead}.')
    features, extra = request.get("features"), request.get("vllm_xargs")
    if isinstance(features, dict) and features.get("mm_hashes"):
        raise Refused(400, "features.mm_hashes would let the client choose under which key vLLM caches an image.")
    if isinstance(extra, dict) and not extra.keys().isdisjoint({"kv_transfer_params", "ec_transfer_params"}):
        raise Refused(400, "kv_transfer_params and ec_transfer_params are fields of their own, not of vllm_xargs.")
    messages = [request.get(name) for name in ("messages", "input", "content_parts")]
    if request.get("truncate_prompt_tokens") not in (None, -1) and _MEDIA.search(json.dumps(messages)):
        raise Refused(400, "truncate_prompt_tokens would cut an image or video apart: shorten the text instead.")
    made = [request.get(name) for name in (*CONSTRAINTS, "stop", "bad_words")]
    _limit(len(json.dumps(made, ensure_ascii=False)), MAX_REMARKS, "characters")
    said = json.dumps(_bare(made), ensure_ascii=False)
    _limit(len(said), MAX_GRAMMAR, "characters besides descriptions")
    said = _ESCAPED_ASCII.sub(lambda found: chr(int(found[1], 16)), said)
    _limit(said.count(",") + said.count(":"), MAX_GRAMMAR_VALUES, "values")
    repetitions = (max(int(low[:9] or 0), int(high[:9] or 0)) for low, high in _REPETITION.findall(said))
    _limit(sum(repetitions), MAX_REPETITIONS, "repetitions (minLength, maxLength, {n,m})")


def _bare(value: Any, key: str = "") -> Any:
    """The value without descriptions, except where they belong to an answer."""
    if isinstance(value, dict) and key not in _ANSWERS:
        entries = {name: entry for name, entry in value.items() if name not in _REMARKS or not isinstance(entry, str)}
        return {name: _bare(entry, name) for name, entry in entries.items()}
    return [_bare(entry) for entry in value] if isinstance(value, list) and key not in _ANSWERS else value


def _limit(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise Refused(413, f"Schema, choices, pattern, tools and stop words have more than {limit:,} {what} together.")

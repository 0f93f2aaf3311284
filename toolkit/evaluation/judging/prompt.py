"""What a judging model is asked (``prompt.txt.jinja``) by which dimensions (``data/rubric.yaml``), and how its reply is
read.

The answers are called A and B and stand without Markdown; the reply must follow a JSON schema, reasons before verdicts,
so that the reason is not made up afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from helpers.files import COURSE_ROOT, read_entries
from helpers.templates import render
from toolkit.evaluation.inference.transcripts import MEDIA_PARTS, words_in
from toolkit.evaluation.judging.pairwise import Preference, Status, Verdict
from toolkit.toyworld.scenes import KINDS

PROMPT_FILE = Path(__file__).with_name("prompt.txt.jinja")
RUBRIC_FILE = COURSE_ROOT / "data" / "rubric.yaml"
_PREFERENCES: dict[str, Preference] = {"A": "first", "B": "second", "tie": "tie"}
#: Of the toy world's facts: where things were drawn, which no answer tells.
_COORDINATES = {"x", "ground", "box"}
_TAG = re.compile(r"<[^<>]*>")
#: What frames the parts of a prompt.
_FRAME = re.compile(r"<\s*/?\s*(?:answer-[ab]|facts)\s*>", re.IGNORECASE)
_Words = Annotated[str, Field(min_length=1)]


class Dimension(BaseModel):
    """One question about two answers; the fields are explained in ``data/rubric.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern="^[a-z][a-z_]*$")
    title: _Words
    question: _Words
    look_at: tuple[_Words, ...] = Field(min_length=1)
    must_not_count: tuple[_Words, ...] = Field(min_length=1)


def read_rubric(path: Path = RUBRIC_FILE) -> dict[str, Dimension]:
    """The dimensions by name, in the file's order.

    Raises:
        CourseError: as `helpers.files.read_entries`; the message names the dimension and the key.
    """
    return read_entries(path, "dimension", Dimension)


def strip_markdown(text: str) -> str:
    """The words of a text without its Markdown and HTML tags: lists, headings and bold print sway judges.

    Read as CommonMark with tables and strikethrough. Of list items the markers go, of links the addresses, of images
    all but their captions; code stays as it is.
    """
    from markdown_it import MarkdownIt

    blocks = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type == "inline":
            inner = [part for part in token.children or () if part.type != "html_inline"]
            blocks.append("".join("\n" if part.type.endswith("break") else part.content for part in inner))
        elif token.type in ("fence", "code_block"):
            blocks.append(token.content)
        elif token.type == "html_block":
            blocks.append(_TAG.sub("", token.content))
    return "\n".join(block.strip() for block in blocks if block.strip())


def without_frames(text: str) -> str:
    """The text without anything that could end or begin a frame of the prompt, even one put together by removals."""
    while (shorter := _FRAME.sub("", text)) != text:
        text = shorter
    return text


def facts_as_text(item: Mapping[str, Any]) -> str:
    """An item's facts for a judge to read: JSON, without coordinates and without what is not there. '' if none."""
    facts = item.get("facts")
    if not facts:
        return ""
    if _is_scene(facts):
        subjects = [_subject(subject, facts["subjects"]) for subject in facts["subjects"]]
        facts = {**facts, "subjects": subjects}
        facts["in the background"] = (facts.pop("landmark", None) or {}).get("name")
    return json.dumps(_plain(facts), ensure_ascii=False, indent=1)


def _is_scene(facts: Mapping[str, Any]) -> bool:
    """Of a drawn scene everything is known; of a photograph it never is."""
    return isinstance(facts.get("subjects"), list)


def _subject(subject: Mapping[str, Any], subjects: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A scene's subject with keys that say what they are of."""
    group = KINDS.get(subject["kind"])
    told = dict(subject)
    if group == "person":
        told["shirt"] = f"{told.pop('pattern', '')} {told.pop('colour', '')}".strip()
    else:
        told.pop("pattern", None)
    if group != "animal":
        told.pop("facing", None)
    if told.get("holder") is not None:
        told["leash held by"] = subjects[told.pop("holder")]["kind"]
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _plain(inner) for key, inner in value.items() if key not in _COORDINATES}
        return {key: inner for key, inner in kept.items() if inner not in (None, "", [], {})}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def judge_messages(
    item: Mapping[str, Any],
    first_text: str,
    second_text: str,
    rubric: Mapping[str, Dimension],
    *,
    with_media: bool,
    with_facts: bool,
) -> list[dict[str, Any]]:
    """The question about a pair, in OpenAI's form: the first text is A. It shows the item's media and tells its facts
    where it is to."""
    first, second = (without_frames(strip_markdown(text)).strip() for text in (first_text, second_text))
    text = render(
        PROMPT_FILE,
        request=words_in(item.get("messages", ())),
        with_media=with_media,
        facts=facts_as_text(item) if with_facts else "",
        complete=_is_scene(item.get("facts") or {}),
        first=first,
        second=second,
        rubric=rubric,
    ).removesuffix("\n")
    media = _media_of(item) if with_media else []
    return [{"role": "user", "content": [*media, {"type": "text", "text": text}] if media else text}]


def _media_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    contents = [message.get("content") for message in item.get("messages", ())]
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return [dict(part) for part in parts if part.get("type") in MEDIA_PARTS]


def verdict_schema(rubric: Iterable[str], longest_reason: int | None = None) -> dict[str, Any]:
    """JSON schema of a reply by these dimensions.

    A limit on the reason's characters is for vLLM, which holds a model to it; other servers may refuse such a schema.
    """
    limit = {"maxLength": longest_reason} if longest_reason else {}
    verdict = _object({"reason": {"type": "string", **limit}, "verdict": {"type": "string", "enum": [*_PREFERENCES]}})
    return _object(dict.fromkeys(rubric, verdict))


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_verdicts(text: str, schema: Mapping[str, Any]) -> dict[str, Verdict]:
    """Verdicts by dimension from a reply; all are invalid if it is not JSON or does not follow the schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return no_verdicts(schema, "invalid", "the reply is not JSON")
    if error := best_match(Draft202012Validator(schema).iter_errors(found)):
        return no_verdicts(schema, "invalid", f"the reply does not follow the schema: {error.message}")
    names = schema["properties"]
    return {name: Verdict("given", _PREFERENCES[found[name]["verdict"]], found[name]["reason"]) for name in names}


def no_verdicts(schema: Mapping[str, Any], status: Status, why: str) -> dict[str, Verdict]:
    """The same failure for every dimension of a schema."""
    return {name: Verdict(status, None, why) for name in schema["properties"]}

"""What a model is asked: sampling fields, the items of a folder, and an item as a request with its media's bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from helpers.errors import CourseError
from helpers.files import first_mistake, shown
from toolkit.evaluation.inference.transcripts import Medium, media_parts, request_hash, with_media
from toolkit.toyworld.items import stream_items

#: Suffixes of the media that are sent, and what they are sent as.
MIME = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".bmp": "image/bmp", ".mp4": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska",
    ".mov": "video/quicktime", ".avi": "video/x-msvideo",
}  # fmt: skip


class SamplingFields(BaseModel):
    """What is sent with every request, so that as little as possible is left to defaults of server and checkpoint.

    The first four are required; ``max_tokens`` is read as ``max_completion_tokens``. Of the others, those that are
    None are not sent, and the server decides. The course's own servers then use vLLM's neutral values
    (``--generation-config vllm``); another may take them from the checkpoint's ``generation_config.json``, as vLLM does
    by default: ask for that flag, or set ``top_k``, ``min_p`` and the penalties here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    max_completion_tokens: int = Field(gt=0, validation_alias=AliasChoices("max_completion_tokens", "max_tokens"))
    seed: int
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None
    extra_body: dict[str, Any] = {}
    """Further fields of the request, such as ``mm_processor_kwargs`` or ``response_format``."""

    @model_validator(mode="after")
    def _no_field_twice(self) -> SamplingFields:
        if twice := sorted({"model", "messages", "stream", "n", *type(self).model_fields} & self.extra_body.keys()):
            raise ValueError(f"extra_body must not hold '{twice[0]}'")
        return self

    def sent(self) -> dict[str, Any]:
        further = json.loads(json.dumps(self.extra_body))  # as they come back from a file
        return self.model_dump(exclude_none=True, exclude={"extra_body"}) | further


def sampling_fields(sampling: SamplingFields | Mapping[str, Any]) -> SamplingFields:
    """Sampling fields, checked.

    Raises:
        CourseError: one is missing, unknown or has a wrong value; the message names it.
    """
    if isinstance(sampling, SamplingFields):
        return sampling
    try:
        return SamplingFields.model_validate(dict(sampling))
    except ValidationError as error:
        raise CourseError(
            "The sampling fields cannot be used.",
            first_mistake(error),
            "give temperature, top_p, max_completion_tokens and seed, so that no default decides",
        ) from None


def check_items(folder: str | Path, limit: int | None = None) -> int:
    """Read all items through before the first is sent, and return how many there are.

    Raises:
        CourseError: no items, a medium that is not a file, or as `checked`.
    """
    count = 0
    for record in checked(islice(stream_items(folder), limit), folder):
        count += 1
        for part in media_parts(record["messages"]):
            existing_medium(folder, record["item_id"], part["url"])
    if not count:
        raise CourseError(f"{shown(folder)}/items.jsonl has no items.", "an empty file", "draw items first")
    return count


def checked(
    records: Iterable[dict[str, Any]], folder: str | Path, images_only: bool = False
) -> Iterator[dict[str, Any]]:
    """The records, each when it was found to be one that can be asked; its media need not exist.

    Raises:
        CourseError: an item without name or messages, a name that comes twice, a medium that lies outside the folder or
            on the network, or whose suffix is that of no image (or video, unless ``images_only``).
    """
    kinds = "image/" if images_only else ("image/", "video/")
    seen: set[str] = set()
    for record in records:
        name, messages = record.get("item_id"), record.get("messages")
        if not isinstance(name, str) or not name:
            raise CourseError(f"Item {len(seen) + 1} of {shown(folder)} has no item_id.", "", "give each item one")
        if name in seen:
            raise CourseError(
                f"There are two items '{name}'.", "a line was copied", "give each item an item_id of its own"
            )
        seen.add(name)
        try:
            urls = [part["url"] for part in media_parts(messages)] if messages else [None]
        except (AttributeError, KeyError, TypeError):
            urls = [None]
        for url in urls:
            if not isinstance(url, str):
                raise CourseError(
                    f"The messages of item '{name}' cannot be used.",
                    "they are missing, or not in the OpenAI form",
                    'write them as [{"role": "user", "content": ...}], media as {"image_url": {"url": PATH}}',
                )
            if "://" in url or url.startswith("data:"):
                raise CourseError(
                    f"Item '{name}' shows {url[:60]}.",
                    "only files are sent: what lies elsewhere may change, and its bytes are not known",
                    "save it beside items.jsonl and name the file",
                )
            if not mime_of(url).startswith(kinds):
                usable = (suffix for suffix, mime in MIME.items() if mime.startswith(kinds))
                what = "that is no image" + (": leave videos to evaluate run" if images_only else " or video")
                raise CourseError(f"Item '{name}' shows {url}.", what, f"use {', '.join(usable)}")
            medium_path(folder, name, url)
        yield record


def accepted_answers(record: Mapping[str, Any]) -> list[str]:
    """Wordings that count as right, the first being the reference; none of an item without an answer."""
    answer = record.get("answer") or []
    return [answer] if isinstance(answer, str) else [str(wording) for wording in answer]


def medium_path(folder: str | Path, item_id: str, url: str) -> Path:
    """The file that an item shows, links followed: every reader of media opens this path, and no other.

    Items from elsewhere must not send, or show, other files of this disk.

    Raises:
        CourseError: it lies outside the items' folder, or a link leads there.
    """
    folder = Path(folder).resolve()
    try:
        path = (folder / url).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # links in a circle, a name with a NUL
        raise CourseError(f"Item '{item_id}' shows {url!r}, which is no path: {error}.", "a damaged line") from None
    if Path(url).is_absolute() or ".." in Path(url).parts or not path.is_relative_to(folder):
        link = f": it is a link to {path}" if path != folder / url and ".." not in url else ""
        raise CourseError(
            f"Item '{item_id}' shows {url}, which is outside the items' folder{link}.",
            "only what lies in that folder is sent or shown",
            "copy the file itself beside items.jsonl and name it relative to that",
        )
    return path


def existing_medium(folder: str | Path, item_id: str, url: str) -> Path:
    """As `medium_path`.

    Raises:
        CourseError: as `medium_path`, or there is no such file.
    """
    path = medium_path(folder, item_id, url)
    if not path.is_file():
        raise CourseError(
            f"Item '{item_id}' shows {url}, and there is no such file in {shown(folder)}.",
            "it was moved or never drawn, or the folder is not that of the transcripts",
            "name the folder that holds the items' media",
        )
    return path


@dataclass(frozen=True)
class Request:
    """An item with its media's bytes, ready to be sent."""

    item_id: str
    messages: list[dict[str, Any]]
    paths: tuple[str, ...]
    """As the item names them."""
    files: tuple[Path, ...]
    contents: tuple[bytes, ...]
    digests: tuple[str, ...]
    hash: str


def read_request(
    folder: Path, record: Mapping[str, Any], sampling: dict[str, Any], weights: str | None, model: str
) -> Request:
    """An item of a folder with its media's bytes, and the hash that it is known by; see `request_hash`.

    Raises:
        CourseError: a medium cannot be read, or lies outside the folder.
    """
    messages = record["messages"]
    paths = tuple(part["url"] for part in media_parts(messages))
    files = tuple(medium_path(folder, record["item_id"], path) for path in paths)
    try:
        contents = tuple(file.read_bytes() for file in files)
    except OSError as error:
        raise CourseError(
            f"A medium of item '{record['item_id']}' cannot be read: {error.strerror}.", "it was moved meanwhile"
        ) from None
    digests = tuple(hashlib.sha256(content).hexdigest() for content in contents)
    known_by = request_hash(messages, digests, sampling, weights, model)
    return Request(record["item_id"], messages, paths, files, contents, digests, known_by)


def describe_media(request: Request) -> tuple[Medium, ...]:
    """A request's media, as transcripts name them.

    Raises:
        CourseError: a file that is neither an image nor a video, whatever its suffix.
    """
    media = []
    for path, file, content, digest in zip(
        request.paths, request.files, request.contents, request.digests, strict=True
    ):
        width, height = _size(path, file, content)
        media.append(Medium(path=path, sha256=digest, width=width, height=height))
    return tuple(media)


def _size(path: str, file: Path, content: bytes) -> tuple[int, int]:
    if mime_of(path).startswith("video/"):
        from helpers.media import probe

        info = probe(file)
        return info.width, info.height
    try:
        with Image.open(io.BytesIO(content)) as image:  # reads the header only
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CourseError(f"{Path(path).name} cannot be read as an image: {error}.") from None


def request_body(request: Request, model: str, sampling: dict[str, Any]) -> bytes:
    """What is sent: JSON, with media as data URLs."""
    urls = map(data_url, request.paths, request.contents)
    return json.dumps({"model": model, "messages": with_media(request.messages, urls), **sampling}).encode()


def mime_of(path: str | Path) -> str:
    """What a medium is sent as, by its suffix; '' for what is no image or video."""
    return MIME.get(Path(path).suffix.lower(), "")


def data_url(path: str | Path, content: bytes) -> str:
    """A medium's bytes as a URL that holds them."""
    return f"data:{mime_of(path) or 'application/octet-stream'};base64,{base64.b64encode(content).decode()}"

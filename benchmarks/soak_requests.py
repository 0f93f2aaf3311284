"""The requests of the soak: bodies that a server has to refuse, and one request each of what clients do.

Each of the latter returns whether it went as it should, and what came in few words.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import httpx

    from helpers.server import Server

_PATH = "/v1/chat/completions"


def about_medium(kind: Literal["image_url", "video_url"], mime: str, content: bytes) -> list[dict[str, Any]]:
    """The content of a message that asks about one image or video."""
    url = f"data:{mime};base64,{base64.b64encode(content).decode()}"
    return [{"type": kind, kind: {"url": url}}, {"type": "text", "text": "Describe this."}]


def chat_body(model: str, content: Any, **more: Any) -> bytes:
    """A request of one message, or of all of them, decoded greedily, as it is sent."""
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    return json.dumps({"model": model, "messages": messages, "temperature": 0, "seed": 0} | more).encode()


async def ask(client: httpx.AsyncClient, body: bytes) -> tuple[bool, str]:
    """An answer in one piece."""
    answer = await client.post(_PATH, content=body)
    if answer.status_code != 200:
        return False, f"{answer.status_code} {_reason(answer.content)}"
    choice = answer.json()["choices"][0]
    return _whole(choice["finish_reason"], choice["message"]["content"])


async def ask_streamed(client: httpx.AsyncClient, body: bytes) -> tuple[bool, str]:
    """An answer in pieces, which has to have an end."""
    text, finish, last = "", None, ""
    async with client.stream("POST", _PATH, content=body) as answer:
        if answer.status_code != 200:
            return False, f"{answer.status_code} {_reason(await answer.aread())}"
        async for line in answer.aiter_lines():
            last = line or last
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    return False, f"an error in the stream: {chunk['error']}"[:120]
                for choice in chunk["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
    if last != "data: [DONE]":
        return False, "a stream without its end"
    return _whole(finish, text)


def _whole(finish: str | None, text: str | None) -> tuple[bool, str]:
    if finish not in ("stop", "length"):
        return False, f"an answer that ended by {finish}"
    return (True, "an answer") if text else (False, "an empty answer")


async def ask_what_is_refused(client: httpx.AsyncClient, body: bytes) -> tuple[bool, str]:
    """A fault, which has to be answered by 4xx with a reason."""
    answer = await client.post(_PATH, content=body)
    reason = _reason(answer.content)
    told = 400 <= answer.status_code < 500 and bool(reason)
    return told, f"{answer.status_code} with a reason" if told else f"{answer.status_code} {reason}".strip()


def _reason(content: bytes) -> str:
    """The message of an error, as the OpenAI API has it; '' if there is none."""
    try:
        told = json.loads(content)
        return str((told.get("error") or told)["message"])[:120]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


async def cancel_stream(client: httpx.AsyncClient, body: bytes, pieces: int) -> tuple[bool, str]:
    """Read some pieces of a long answer, and close the connection."""
    seen = 0
    async with client.stream("POST", _PATH, content=body) as answer:
        if answer.status_code != 200:
            return False, f"{answer.status_code} {_reason(await answer.aread())}"
        async for line in answer.aiter_lines():
            seen += line.startswith("data: {")
            if seen == pieces:
                break
    return (True, "closed by the client") if seen == pieces else (False, f"the stream ended after {seen} pieces")


async def leave(client: httpx.AsyncClient, body: bytes, seconds: float) -> tuple[bool, str]:
    """Send everything, wait a moment, and close the connection."""
    try:
        answer = await asyncio.wait_for(client.post(_PATH, content=body), seconds)
    except TimeoutError:
        return True, "closed by the client"
    return answer.status_code == 200, f"{answer.status_code} before the client left"


async def break_off(server: Server, body: bytes) -> tuple[bool, str]:
    """Announce a body, send half of it, and close the connection."""
    import httpx

    url = httpx.URL(server.root_url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {_PATH} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {server.api_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body[: len(body) // 2])
        await writer.drain()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return True, "closed by the client"


def refused_requests(folder: Path, model: str) -> dict[str, bytes]:
    """Bodies that a server has to refuse, by what is wrong with them."""
    from PIL import Image

    from toolkit.toyworld import broken_media as broken

    png = io.BytesIO()
    Image.effect_noise((96, 96), 60).save(png, "PNG")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    videos = {
        "cut off": broken.half(folder / "cut.mp4", broken.write(folder / "whole.mp4", draw=broken.corners)),
        "no frames": broken.write(folder / "none.mp4", frames=0),
        "one frame": broken.write(folder / "one.mp4", frames=1),
        "sound only": broken.sound(folder / "sound.mp4"),
    }
    contents: dict[str, Any] = {
        "an image that is text": about_medium("image_url", "image/png", b"This is no image."),
        "an image cut off": about_medium("image_url", "image/png", png.getvalue()[: len(png.getvalue()) // 2]),
        "an image of 20,000 × 20,000 pixels": about_medium("image_url", "image/png", bomb.getvalue()),
        **{
            f"a video: {name}": about_medium("video_url", "video/mp4", file.read_bytes())
            for name, file in videos.items()
        },
        "a prompt longer than the context": "word " * 20_000,
        "typed media tokens": "Describe <|image_pad|>.",
    }
    bodies = {name: chat_body(model, content, max_completion_tokens=8) for name, content in contents.items()}
    bodies["an answer longer than the context"] = chat_body(model, "Hello", max_completion_tokens=10**7)
    bodies["a temperature below 0"] = chat_body(model, "Hello", temperature=-1)
    bodies["an unknown model"] = chat_body("no-such-model", "Hello")
    bodies["no messages"] = json.dumps({"model": model}).encode()
    bodies["no JSON"] = b'{"model": '
    return {f"fault: {name}": body for name, body in bodies.items()}

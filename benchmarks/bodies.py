"""Bodies of chat requests as they are sent, for measurements that watch the bytes and the connection themselves."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal


def about_medium(kind: Literal["image_url", "video_url"], mime: str, content: bytes) -> list[dict[str, Any]]:
    """The content of a message that asks about one image or video."""
    url = f"data:{mime};base64,{base64.b64encode(content).decode()}"
    return [{"type": kind, kind: {"url": url}}, {"type": "text", "text": "Describe this."}]


def chat_body(model: str, content: Any, **more: Any) -> bytes:
    """A request of one message, or of all of them, decoded greedily, as it is sent."""
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    return json.dumps({"model": model, "messages": messages, "temperature": 0, "seed": 0} | more).encode()

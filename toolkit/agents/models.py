"""A served model, asked with tools by either of two APIs: chat completions, and responses."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.agents.tools import Result, Tool

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Call:
    """A tool call as a model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """One answer of a model."""

    text: str | None
    thought: str | None
    calls: tuple[Call, ...]
    tokens: int
    """That it wrote."""
    cut_off: bool
    """Whether the token limit ended it."""


def data_url(image: Image.Image) -> str:
    """The image as a PNG in a URL."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class ChatModel:
    """Chat completions: the history is a list of messages, and each request sends all of it."""

    client: Any
    """``openai.OpenAI``"""
    name: str
    options: dict[str, Any]
    """Sent with every request, such as ``{"temperature": 0}``."""

    def ask(self, history: Sequence[Any], tools: Sequence[Tool], tokens: int, seconds: float, choice: Any) -> Reply:
        """One request.

        Args:
            history: messages so far.
            tools: that the model may use.
            tokens: that it may write.
            seconds: that it may take.
            choice: ``tool_choice``.
        """
        asked = {"tools": [tool.schema() for tool in tools], "tool_choice": choice} if tools else {}
        reply = self.client.with_options(timeout=seconds, max_retries=0).chat.completions.create(
            model=self.name, messages=list(history), max_completion_tokens=tokens, **asked, **self.options
        )
        said = reply.choices[0]
        calls = [Call(one.id, one.function.name, one.function.arguments) for one in said.message.tool_calls or ()]
        thought = getattr(said.message, "reasoning", None)
        written = reply.usage.completion_tokens if reply.usage else 0
        return Reply(said.message.content or None, thought, tuple(calls), written, said.finish_reason == "length")

    def told(self, reply: Reply, results: Sequence[Result]) -> list[dict[str, Any]]:
        """What a reply and the results of its calls add to the history. Thoughts are not kept."""
        calls = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
        added: list[dict[str, Any]] = [{"role": "assistant", "content": reply.text or ""}]
        if calls:
            added[0]["tool_calls"] = calls
        for call, result in zip(reply.calls, results, strict=True):
            content: Any = result.text
            if result.image is not None:
                shown = {"type": "image_url", "image_url": {"url": data_url(result.image)}}
                content = [shown, *([{"type": "text", "text": result.text}] if result.text else [])]
            added.append({"role": "tool", "tool_call_id": call.call_id, "content": content})
        return added


@dataclass(frozen=True)
class ResponsesModel:
    """The Responses API: the history is a list of items, where a call and its output are items of their own."""

    client: Any
    name: str
    options: dict[str, Any]

    def ask(self, history: Sequence[Any], tools: Sequence[Tool], tokens: int, seconds: float, choice: Any) -> Reply:
        """One request; arguments as those of `ChatModel.ask`."""
        flat = [{"type": "function", **tool.schema()["function"]} for tool in tools]
        reply = self.client.with_options(timeout=seconds, max_retries=0).responses.create(
            model=self.name, input=list(history), max_output_tokens=tokens, tools=flat, tool_choice=choice,
            store=False, **self.options,
        )  # fmt: skip
        calls = [Call(one.call_id, one.name, one.arguments) for one in reply.output if one.type == "function_call"]
        thoughts = [part.text for one in reply.output if one.type == "reasoning" for part in one.content or ()]
        written = reply.usage.output_tokens if reply.usage else 0
        text, thought = reply.output_text or None, "".join(thoughts) or None
        return Reply(text, thought, tuple(calls), written, reply.status == "incomplete")

    def told(self, reply: Reply, results: Sequence[Result]) -> list[dict[str, Any]]:
        """As `ChatModel.told`."""
        added: list[dict[str, Any]] = [{"role": "assistant", "content": reply.text}] if reply.text else []
        for call, result in zip(reply.calls, results, strict=True):
            known = {"call_id": call.call_id}
            added.append({"type": "function_call", **known, "name": call.name, "arguments": call.arguments})
            output: Any = result.text
            if result.image is not None:
                shown = {"type": "input_image", "image_url": data_url(result.image), "detail": "auto"}
                output = [shown, *([{"type": "input_text", "text": result.text}] if result.text else [])]
            added.append({"type": "function_call_output", **known, "output": output})
        return added

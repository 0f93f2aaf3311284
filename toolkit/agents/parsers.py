"""The parser matrix: what vLLM's own parsers make of the texts that each edition of Qwen3-VL writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.files import COURSE_ROOT
from helpers.profiles import quiet_imports

if TYPE_CHECKING:
    import pandas

#: Values of ``--reasoning-parser`` and ``--tool-call-parser`` that are tried; "none" is without the flag.
REASONING_PARSERS = ("none", "qwen3")
TOOL_PARSERS = ("none", "hermes", "qwen3_xml")
BUNDLED = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"
#: Tokens of the released vocabularies that the bundled tokenizer lacks.
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "image_zoom_in_tool",
        "parameters": {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]},
    },
}
_THOUGHT, _ANSWER = "It has four legs.", "A dog."
_CALLS = [("image_zoom_in_tool", {"label": "dog"}), ("image_zoom_in_tool", {"label": "cat"})]


@dataclass(frozen=True)
class Written:
    """A text as a model writes it, and what a client should get."""

    edition: str
    """Instruct or Thinking."""
    what: str
    thought: str | None
    answer: str | None
    calls: tuple[tuple[str, Any], ...] = ()

    @property
    def prompt(self) -> str:
        """The end of the prompt: the template of a Thinking edition opens the thoughts itself."""
        return "<|im_start|>assistant\n" + ("<think>\n" if self.edition == "Thinking" else "")

    @property
    def text(self) -> str:
        """Everything that the model writes."""
        parts = [f"{self.thought}\n</think>\n\n" if self.answer or self.calls else self.thought] if self.thought else []
        return "".join(filter(None, [*parts, self.answer])) + "\n".join(map(as_call, self.calls))


def as_call(call: tuple[str, Any]) -> str:
    """A tool call in Qwen3-VL's own notation."""
    return "<tool_call>\n" + json.dumps({"name": call[0], "arguments": call[1]}) + "\n</tool_call>"


TEXTS = (
    Written("Instruct", "answer", None, _ANSWER),
    Written("Instruct", "call", None, None, (_CALLS[0],)),
    Written("Instruct", "two calls", None, None, tuple(_CALLS)),
    Written("Thinking", "answer", _THOUGHT, _ANSWER),
    Written("Thinking", "call", _THOUGHT, None, (_CALLS[0],)),
    Written("Thinking", "two calls", _THOUGHT, None, tuple(_CALLS)),
    Written("Thinking", "cut off", _THOUGHT, None),
)


@dataclass(frozen=True)
class Parsed:
    """What reaches the client."""

    thought: str | None
    answer: str | None
    calls: tuple[tuple[str, Any], ...] = ()


def judge(written: Written, parsed: Parsed) -> str:
    """One of 'right', 'thoughts in the text', 'call in the text', 'swallowed' by the thoughts, and 'lost'."""
    thought, answer = (text.strip() if text else None for text in (parsed.thought, parsed.answer))
    if written.calls == parsed.calls and (not written.answer or written.answer in (answer or "")):
        stray = written.thought and written.thought in (answer or "")
        return "thoughts in the text" if stray else "right" if written.thought == thought else "lost"
    needle = written.calls[0][0] if written.calls else written.answer or ""
    if needle in (answer or ""):
        return "call in the text"
    return "swallowed" if needle in (thought or "") else "lost"


def parse(written: Written, parsers: tuple[str, str], streamed: bool, tokenizer: Any) -> Parsed:
    """Hand a text to the parsers as the server does, whole or token by token.

    Args:
        written: the text.
        parsers: for reasoning and for tools, ``"none"`` for none.
        streamed: whether the client asked for a stream.
        tokenizer: as `bundled_tokenizer` returns it.
    """
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    reasoning, tools = (None if name == "none" else name for name in parsers)
    kind = ParserManager.get_parser(tools, reasoning, enable_auto_tools=tools is not None, tokenizer=tokenizer)
    if kind is None:
        return Parsed(None, written.text)
    messages = [{"role": "user", "content": "What is it?"}]
    request = ChatCompletionRequest(model="m", messages=messages, tools=[TOOL], stream=streamed)
    parser = kind(tokenizer, request.tools)
    ids = tokenizer.encode(written.text, add_special_tokens=False)
    if streamed:
        prompt = tokenizer.encode(written.prompt, add_special_tokens=False)
        deltas = [
            parser.parse_delta(tokenizer.decode([one]), [one], request, prompt, finished=place == len(ids))
            for place, one in enumerate(ids, start=1)
        ]
        return joined(filter(None, deltas))
    thought, answer, calls = parser.parse(written.text, request, tools is not None, ids)
    return Parsed(thought, answer, tuple((call.name, _loaded(call.arguments)) for call in calls or ()))


def joined(deltas: Iterable[Any]) -> Parsed:
    """What a client puts together from the deltas of a stream."""
    thought, answer = "", ""
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for delta in deltas:
        thought, answer = thought + (getattr(delta, "reasoning", None) or ""), answer + (delta.content or "")
        for call in delta.tool_calls or ():
            if call.function and call.function.name:
                names[call.index] = call.function.name
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return Parsed(thought, answer, tuple((name, _loaded(arguments[place])) for place, name in sorted(names.items())))


def _loaded(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def bundled_tokenizer(folder: Path = BUNDLED) -> Any:
    """The tokenizer of a bundled model, with the released models' tokens for thoughts and calls."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([mark for mark in MARKS if mark not in tokenizer.get_vocab()])
    return tokenizer


def parser_matrix(texts: Sequence[Written] = TEXTS) -> pandas.DataFrame:
    """What becomes of each text, by parser; needs vLLM, but neither an engine nor a model.

    Returns:
        Columns edition, text, reasoning (parser), tools (parser), streamed, verdict, as `judge` gives it.
    """
    import pandas as pd

    quiet_imports()
    tokenizer = bundled_tokenizer()
    columns = ["edition", "text", "reasoning", "tools", "streamed", "verdict"]
    rows = [
        (one.edition, one.what, *parsers, streamed, judge(one, parse(one, parsers, streamed, tokenizer)))
        for one, parsers, streamed in product(texts, product(REASONING_PARSERS, TOOL_PARSERS), (False, True))
    ]
    return pd.DataFrame(rows, columns=columns)

"""A row of the parser matrix on a real server: what is written is dictated, so that any model does."""

from pathlib import Path

import pytest
import yaml
from openai import OpenAI

from helpers.server import serve
from toolkit.agents.parsers import TEXTS, TOOL, Parsed, joined, judge

EXPECTED = yaml.safe_load(Path(__file__).with_name("parser_matrix.yaml").read_text(encoding="utf-8"))
ROW = [text for text in TEXTS if text.edition == "Instruct"]


@pytest.fixture(scope="module")
def asked():
    with serve("tiny", extra_flags=["--enable-auto-tool-choice", "--tool-call-parser", "hermes"], quiet=True) as server:
        client = OpenAI(base_url=server.base_url, api_key=server.api_key, timeout=120)

        def ask(text, streamed):
            return client.chat.completions.create(
                model=server.model_name, messages=[{"role": "user", "content": "What is it?"}], tools=[TOOL],
                stream=streamed, temperature=0, max_completion_tokens=400,
                extra_body={"structured_outputs": {"choice": [text.text]}},
            )  # fmt: skip

        yield ask


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("text", ROW, ids=lambda text: text.what)
def test_the_server_does_what_the_matrix_says(text, streamed, asked):
    reply = asked(text, streamed)
    if streamed:
        deltas = [choice.delta for chunk in reply for choice in chunk.choices]
    else:
        message = reply.choices[0].message
        for index, call in enumerate(message.tool_calls or []):
            call.index = index
        deltas = [message]
    parsed = joined(deltas)
    assert isinstance(parsed, Parsed)
    assert judge(text, parsed) == EXPECTED[text.edition][text.what]["none + hermes"]

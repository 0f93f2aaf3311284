"""The example of docs/agents.md: shown as it is, pinned, and run against an endpoint where its library is installed."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.support.chat_endpoint import Scripted, answer, calling

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "zoom_with_pydantic_ai.py"
PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
PINS = (ROOT / "requirements" / "agents.txt").read_text(encoding="utf-8")
ZOOM = "image_zoom_in_tool"


def test_the_page_shows_the_example_and_the_pinned_version():
    assert f"```python\n{EXAMPLE.read_text(encoding='utf-8')}```" in PAGE
    assert re.search(r"^pydantic-ai-slim==(\S+)$", PINS, re.MULTILINE)[1] in PAGE


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("pydantic_ai", reason="pydantic-ai-slim is not installed: requirements/agents.txt")
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def whole(reply):
    """With what a library checks beside the answer."""
    choice, usage = {"index": 0, **reply["choices"][0]}, {**reply["usage"], "total_tokens": 10}
    return {"id": "r", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def ask(example, *replies):
    with Scripted(*map(whole, replies)) as endpoint:
        run, boxes = example.zoom(endpoint.url, "m", Image.new("RGB", (200, 100)), "What is it?", first="required")
    return run, boxes, endpoint.bodies


def test_the_library_tells_errors_shows_the_crop_and_ends_with_the_answer(example):
    reversed_corners, right = (
        calling((ZOOM, '{"bbox_2d": [750, 0, 250, 500]}')),
        calling((ZOOM, '{"bbox_2d": [0, 0, 500, 500]}')),
    )
    run, boxes, (first, second, third) = ask(example, reversed_corners, right, answer("A dog."))
    assert (run.output, boxes) == ("A dog.", [pytest.approx((0, 0, 115, 57.5))])
    assert [body["tool_choice"] for body in (first, second, third)] == ["required", "auto", "auto"]
    assert "reversed" in second["messages"][-1]["content"]
    (shown,) = third["messages"][-1]["content"]
    assert shown["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_tool_that_does_not_exist_is_told(example):
    run, boxes, bodies = ask(example, calling(("delete_all", "{}")), answer("A dog."))
    assert (run.output, boxes) == ("A dog.", []) and "delete_all" in bodies[1]["messages"][-1]["content"]


def test_an_endless_loop_raises_after_six_requests(example):
    from pydantic_ai import UsageLimitExceeded

    with pytest.raises(UsageLimitExceeded):
        ask(example, calling((ZOOM, '{"bbox_2d": [0, 0, 500, 500]}')))

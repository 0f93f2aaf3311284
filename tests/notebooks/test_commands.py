"""Whole commands that a chapter's prose gives pass the parser of the installed vLLM; nothing is started."""

import json
import shlex

import jinja2
import nbformat
import pytest

from course.manifest import MANIFEST_FILE
from helpers.files import COURSE_ROOT
from tests.notebooks.gates import fenced_blocks
from toolkit.planner import Launch, check_launches

CHAPTER = MANIFEST_FILE.parent / "10_thinking_and_tools.ipynb"
COMMANDS = [
    shlex.split(block)
    for cell in nbformat.read(CHAPTER, 4).cells
    if cell.cell_type == "markdown"
    for block in fenced_blocks(cell.source)
    if block.startswith("vllm serve ")
]


@pytest.fixture(scope="module")
def vllm_says():
    return check_launches({words[2]: Launch(words[2], tuple(words[3:])) for words in COMMANDS})


def test_embedding_and_reranker_are_among_them():
    assert [words[2] for words in COMMANDS] == ["Qwen/Qwen3-VL-Embedding-2B", "Qwen/Qwen3-VL-Reranker-2B"]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[2])
def test_the_installed_vllm_takes_the_command(words, vllm_says):
    assert vllm_says[words[2]] == []
    assert words[words.index("--host") + 1] == "127.0.0.1"


def test_the_reranker_is_told_its_class_and_tokens():
    words = COMMANDS[1]
    overrides = json.loads(words[words.index("--hf-overrides") + 1])
    assert overrides["architectures"] == ["Qwen3VLForSequenceClassification"]
    assert overrides["classifier_from_token"] == ["no", "yes"] and overrides["is_original_qwen3_reranker"]
    template = jinja2.Template((COURSE_ROOT / words[words.index("--chat-template") + 1]).read_text(encoding="utf-8"))
    prompt = template.render(messages=[{"role": "query", "content": "a dog"}, {"role": "document", "content": "a cat"}])
    assert "<Query>:a dog\n<Document>:a cat<|im_end|>\n" in prompt and prompt.endswith("<|im_start|>assistant\n")

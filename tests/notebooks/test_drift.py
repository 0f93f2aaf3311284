"""Nothing that a notebook teaches about vLLM, openai and the hubs has been removed from the installed versions."""

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from course.manifest import MANIFEST_FILE
from helpers.files import COURSE_ROOT, read_yaml
from helpers.profiles import PROFILES_FILE
from tests.notebooks import drift
from tests.support.throwaway import notebook

NOTEBOOKS = sorted(MANIFEST_FILE.parent.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_only_what_is_accepted(path, accepted):
    findings = drift.findings_in(nbformat.read(path, 4), accepted)
    assert not findings, "\n".join(f"{path.name}, {finding}" for finding in findings)


def test_the_page_about_the_guides_uses_only_what_is_accepted(accepted):
    page = (COURSE_ROOT / "docs" / "guides_and_today.md").read_text()
    assert drift.findings_in(notebook(new_markdown_cell(page)), accepted) == []
    broken = page.replace("--max-concurrency", "--max-concurrent")
    assert drift.findings_in(notebook(new_markdown_cell(broken)), accepted) != []


def test_the_profiles_use_only_what_is_accepted(accepted):
    assert drift.in_profiles(read_yaml(PROFILES_FILE), accepted) == []


def test_the_question_is_answered_for_everything_that_notebooks_use(accepted):
    """An empty list would accept nothing, and None everything: neither may happen unseen."""
    assert {"serve", "bench serve", "bench latency", "bench throughput"} <= set(accepted["flags"])
    for name in ("LLM", "SamplingParams", "OpenAI", "chat.completions.create", "huggingface_hub.snapshot_download"):
        assert len(accepted["keywords"][name] or []) > 5, name
    assert "messages" in accepted["request"]
    assert "VLLM_CPU_KVCACHE_SPACE" in accepted["environment"]


# Each is found in a throwaway notebook, with the name that is wrong.
WRONG_CODE = [
    ("from vllm import LLM\nllm = LLM(model, rope_scaling={})", "LLM does not accept rope_scaling"),
    ("import vllm\nllm = vllm.LLM(model, max_length=3)", "LLM does not accept max_length"),
    ("SamplingParams(temperature=0, max_new_tokens=3)", "SamplingParams does not accept max_new_tokens"),
    ("llm.chat(messages, sampling=None)", "llm.chat does not accept sampling"),
    ("client.chat.completions.create(model=m, message=[])", "chat.completions.create does not accept message"),
    ("await async_client.chat.completions.create(modle=m)", "chat.completions.create does not accept modle"),
    ("client.chat.completions.create(model=m, extra_body={'topk': 1})", "a chat request has no field topk"),
    ("from openai import OpenAI as Client\nClient(url='x')", "openai.OpenAI does not accept url"),
    (
        "from huggingface_hub import snapshot_download\nsnapshot_download('x', dir='y')",
        "huggingface_hub.snapshot_download does not accept dir",
    ),
    (
        "from modelscope.hub.snapshot_download import snapshot_download\nsnapshot_download('x', folder='y')",
        "modelscope.snapshot_download does not accept folder",
    ),
    ("subprocess.Popen(['vllm', 'serve', model, '--rope-scaling', '{}'])", "vllm serve does not accept --rope-scaling"),
    ("serve(profile, extra_flags=['--no-such-flag'])", "vllm serve does not accept --no-such-flag"),
    ("flags = {'--task': 'generate'}", "vllm serve does not accept --task"),
    ("!vllm serve model --rope-scaling x", "vllm serve does not accept --rope-scaling"),
    ("%%bash\nvllm bench serve \\\n  --no-such-flag", "vllm bench serve does not accept --no-such-flag"),
    ("print('vllm serve model --rope-scaling=x')", "vllm serve does not accept --rope-scaling"),
    ("import os\nos.environ['VLLM_USE_V1'] = '1'", "vLLM does not read the variable VLLM_USE_V1"),
]


@pytest.mark.parametrize(("source", "finding"), WRONG_CODE)
def test_what_is_wrong_in_code_is_found_by_name(source, finding, accepted):
    found = drift.findings_in(notebook("# Prose", source), accepted)
    assert found == [f"cell 1: {finding}"] or found == [f"cell 1: {finding.removeprefix('openai.')}"]


@pytest.mark.parametrize(
    ("command", "finding"),
    [
        ("vllm serve m --max-model-len 3 \\\n  --rope-scaling x", "vllm serve does not accept --rope-scaling"),
        ("VLLM_USE_V1=1 vllm serve m", "vLLM does not read the variable VLLM_USE_V1"),
        ("vllm bench online", "there is no command 'vllm bench online' any more"),
        ("python -m vllm.entrypoints.openai.api_server --modle m", "vllm serve does not accept --modle"),
    ],
)
def test_what_is_wrong_in_a_fenced_command_is_found(command, finding, accepted):
    cell = new_markdown_cell(f"Start it:\n\n```bash\n{command}\n```\n")
    assert drift.findings_in(notebook(cell), accepted) == [f"cell 0: {finding}"]


RIGHT_CODE = [
    "from vllm import LLM\nllm = LLM(**arguments, max_model_len=3, limit_mm_per_prompt={'image': 1})",
    "SamplingParams(temperature=0, max_tokens=3, top_p=1, seed=0)",
    "client.chat.completions.create(model=m, messages=[], max_completion_tokens=3, extra_body={'top_k': 1})",
    "subprocess.run([sys.executable, '-m', 'helpers', 'serve', '--profile', 'tiny'])",
    "['vllm', 'serve', model, '--limit-mm-per-prompt.video', '0', '--no-enable-prefix-caching', '--max_model_len=3']",
    "!curl --silent http://127.0.0.1/health | head",
    "%%bash\nvllm serve --help | grep --color=never async",
]


@pytest.mark.parametrize("source", RIGHT_CODE)
def test_what_is_right_is_left_alone(source, accepted):
    assert drift.findings_in(notebook(source), accepted) == []


def test_a_removed_flag_may_be_mentioned_in_a_sentence_or_in_a_tagged_cell(accepted):
    tagged = notebook("flags = {'--rope-scaling': 'gone'}")
    tagged.cells[0].metadata.tags = [drift.REMOVED_FLAGS_TAG]
    assert drift.findings_in(tagged, accepted) == []
    assert drift.findings_in(notebook("# `--rope-scaling` was removed in 0.11.1"), accepted) == []


def test_wrong_names_in_a_profile_are_found(accepted):
    raw = {
        "profiles": {
            "x": {
                "engine": {"max_length": 1},
                "sampling": {"max_new_tokens": 1},
                "environment": {"VLLM_USE_V1": "1", "TOKENIZERS_PARALLELISM": "false"},
            }
        }
    }
    found = " ".join(drift.in_profiles(raw, accepted))
    for name in ("LLM does not accept max_length", "--max-length", "max_new_tokens", "VLLM_USE_V1"):
        assert name in found
    assert "TOKENIZERS" not in found

"""`course hello`: what it prints and how it fails, with a stand-in for vLLM."""

import gc
import io
import os
import re
import sys
import threading
import types
from typing import ClassVar

import pytest
from PIL import Image

from course import hello
from helpers import profiles
from helpers.errors import CourseError


class StandInEngine:
    """Answers with the size of the image; remembers how it was started."""

    started_with: ClassVar[dict] = {}
    failure: ClassVar[Exception | None] = None

    def __init__(self, **arguments):
        os.write(2, b"INFO a line that compiled code writes\n")
        if StandInEngine.failure:
            raise StandInEngine.failure
        StandInEngine.started_with = arguments

    def chat(self, messages, sampling, use_tqdm):
        image, question = messages[0]["content"]
        text = f" {question['text']} {image['image_pil'].size} "
        return [types.SimpleNamespace(outputs=[types.SimpleNamespace(text=text)])]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The course's code with a stand-in for vLLM, writing its log into an empty folder."""
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = StandInEngine, lambda **arguments: arguments
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(StandInEngine, "failure", None)
    monkeypatch.setattr(hello, "LOG", tmp_path / "hello.log")
    weights = profiles.local_model(profiles.load_profiles()["tiny"])
    if weights is None:
        pytest.skip("the bundled tiny model is absent")
    yield tmp_path
    gc.unfreeze()


def test_the_first_bundled_scene_is_described(course, capfd, monkeypatch):
    monkeypatch.setenv("COURSE_SETUP_SECONDS", "12.3")
    assert hello.describe_image(profile="tiny") == 0
    out, err = capfd.readouterr()
    task = hello.bundled_task(hello.COURSE_ROOT / hello.SAMPLES)
    assert "profile tiny:" in out
    assert f"image: {task.image.relative_to(hello.COURSE_ROOT)} (" in out
    assert "tiny model: Describe this image. (" in out
    assert f"drawn from: {task.reference}" in out
    seconds = r"(\d+\.\d)"
    pattern = f"seconds: set-up 12\\.3, import {seconds}, engine start {seconds}, answer {seconds}; together {seconds}"
    *phases, total = map(float, re.search(pattern, out).groups())
    assert total == pytest.approx(12.3 + sum(phases), abs=0.25)
    assert "importing vLLM" in err and "compiled" not in err
    assert "compiled code" in (course / "hello.log").read_text()


def test_a_question_of_the_readers_has_no_reference(course, capfd):
    assert hello.describe_image(profile="tiny", question="Where is this?") == 0
    out = capfd.readouterr().out
    assert "question: Where is this?" in out and "tiny model: Where is this? (" in out
    assert "drawn from" not in out


def test_an_image_of_the_readers_has_no_reference(course, capfd):
    Image.new("CMYK", (40, 30)).save(course / "mine.jpg")
    assert hello.describe_image(profile="tiny", image=str(course / "mine.jpg")) == 0
    out = capfd.readouterr().out
    assert "(40, 30)" in out
    assert "drawn from" not in out


def test_the_engine_gets_the_profiles_arguments_and_room_for_one_image(course):
    hello.describe_image(profile="tiny")
    assert StandInEngine.started_with["model"].endswith("tiny-qwen3-vl")
    assert StandInEngine.started_with["limit_mm_per_prompt"] == {"image": 1, "video": 0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.png", None, "There is no image"),
        ("empty.png", b"", "cannot be read as an image"),
        ("text.png", b"no picture at all", "cannot be read as an image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01", "cannot be read as an image"),
    ],
)
def test_what_is_no_image_is_refused_before_an_engine_starts(course, monkeypatch, name, content, message):
    monkeypatch.setattr(StandInEngine, "failure", AssertionError("an engine was started"))
    if content is not None:
        (course / name).write_bytes(content)
    with pytest.raises(CourseError, match=message):
        hello.describe_image(profile="tiny", image=str(course / name))


def test_the_phases_of_a_start_are_shown_while_it_lasts(tmp_path):
    """The log is read until it says more; a log that is no text does no harm."""
    log, terminal = tmp_path / "log", io.StringIO()
    log.write_bytes(b"\xff\xfe\0Starting to load model x")
    shown = threading.Event()
    terminal.flush = lambda: shown.set() if "loading the weights" in terminal.getvalue() else None
    with hello.ticking(log, terminal):
        assert shown.wait(60)
    assert terminal.getvalue().splitlines()[0] == "importing vLLM"


def test_a_known_failure_is_explained_with_its_remedy(course, monkeypatch):
    error = ValueError("To serve at least one request, ... larger than the available KV cache memory (0.0 GiB)")
    monkeypatch.setattr(StandInEngine, "failure", error)
    with pytest.raises(CourseError) as failure:
        hello.describe_image(profile="tiny")
    assert "too small to hold one request" in failure.value.cause and "lower max_model_len" in failure.value.remedy


def test_an_engine_that_does_not_start_is_explained_with_its_last_words(course, capfd, monkeypatch):
    monkeypatch.setattr(StandInEngine, "failure", RuntimeError("no memory\nmany more lines"))
    with pytest.raises(CourseError) as failure:
        hello.describe_image(profile="tiny")
    assert "no memory" in failure.value.cause
    assert "many more lines" not in failure.value.cause
    assert "a line that compiled code writes" in failure.value.cause
    os.write(2, b"stderr works again\n")
    assert "stderr works again" in capfd.readouterr().err


@pytest.mark.parametrize("content", [None, "", "not json\n", '{"messages": []}\n'])
def test_damaged_samples_are_explained(tmp_path, content):
    samples = tmp_path / "items.jsonl"
    if content is not None:
        samples.write_text(content)
    with pytest.raises(CourseError, match="bundled images cannot be read"):
        hello.bundled_task(samples)


def test_a_variable_that_vllm_could_not_read_is_named_before_the_start(course, monkeypatch):
    monkeypatch.setattr(StandInEngine, "failure", AssertionError("an engine was started"))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4GB")
    with pytest.raises(CourseError, match="VLLM_CPU_KVCACHE_SPACE is '4GB'"):
        hello.describe_image(profile="tiny")


def test_an_unknown_profile_is_refused(course):
    with pytest.raises(CourseError, match="no profile 'huge'"):
        hello.describe_image(profile="huge")

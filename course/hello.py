"""The shortest way to an answer: one image, described in the terminal, with the seconds that each phase took."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, OUTPUTS, shown
from helpers.media import open_image
from helpers.profiles import ActiveProfile, use_profile
from helpers.progress import ProgressLine
from helpers.server_checks import check_environment
from helpers.server_log import BEFORE_THE_LOG, last_words, phase, read_log, recognise

SAMPLES = Path("data") / "scenes" / "items.jsonl"
QUESTION = "Describe this image."
LOG = OUTPUTS / "hello.log"


@dataclass(frozen=True)
class Task:
    """An image, what is asked about it, and the text that it was drawn from (None for the reader's own)."""

    image: Path
    question: str
    reference: str | None = None


def bundled_task(samples: Path = COURSE_ROOT / SAMPLES) -> Task:
    """The first bundled scene.

    Raises:
        CourseError: the samples are missing or unreadable.
    """
    try:
        with samples.open(encoding="utf-8") as lines:
            item = json.loads(next(lines))
        text = next(part["text"] for part in item["messages"][-1]["content"] if part["type"] == "text")
        answer = item["answer"]
        return Task(samples.parent / item["media"][0], text, answer if isinstance(answer, str) else answer[0])
    except (OSError, ValueError, KeyError, IndexError, TypeError, StopIteration) as error:
        raise CourseError(
            "The bundled images cannot be read.",
            f"{samples.name}: {error or type(error).__name__}",
            "restore them: git checkout -- data/scenes, or name an image of yours with --image",
        ) from None


@contextlib.contextmanager
def stderr_to(log: Path) -> Iterator[TextIO]:
    """Send everything written to stderr, by compiled code, too, into a file; gives what stderr was."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", errors="replace") as terminal:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)


@contextlib.contextmanager
def ticking(log: Path, terminal: TextIO) -> Iterator[None]:
    """Show which phase of the start a log has reached, and the seconds so far."""
    progress, ended, began = ProgressLine(stream=terminal), threading.Event(), time.monotonic()

    def tick() -> None:
        while not ended.wait(0.5):
            reached = phase(read_log(log))
            name = "importing vLLM" if reached == BEFORE_THE_LOG else reached
            progress.show(f"{name} … {time.monotonic() - began:.0f} s")

    progress.show("importing vLLM … 0 s")
    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        progress.close("")


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Import without collecting: what is imported stays, so scanning it again and again gains nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_on:
            gc.enable()


def ask(active: ActiveProfile, task: Task, image: Any) -> tuple[str, dict[str, float]]:
    """Start an engine in this process and ask about one image.

    Returns:
        The answer, and the seconds of ``import``, ``engine start`` and ``answer``.
    """
    seconds, began = {}, time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[phase], began = now - began, now

    with without_garbage_collection():
        from vllm import LLM, SamplingParams
    lap("import")
    # One image, one question: no need for more room than that.
    engine = LLM(**{**active.engine_arguments(), "limit_mm_per_prompt": {"image": 1, "video": 0}})
    lap("engine start")
    content = [{"type": "image_pil", "image_pil": image}, {"type": "text", "text": task.question}]
    sampling = SamplingParams(**active.sampling_arguments())
    outputs = engine.chat([{"role": "user", "content": content}], sampling, use_tqdm=False)
    lap("answer")
    return outputs[0].outputs[0].text.strip(), seconds


def describe_image(profile: str = "auto", image: str | None = None, question: str | None = None) -> int:
    """Ask about one image, by default the first bundled scene, and say where the time went; the exit status is 0.

    Raises:
        CourseError: unknown profile, unreadable image, or an engine that does not start.
    """
    task = Task(Path(image).expanduser(), question or QUESTION) if image else bundled_task()
    if question:
        task = Task(task.image, question)
    opened = open_image(task.image)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")  # the log tells how far the start is
    os.environ["VLLM_LOGGING_STREAM"] = "ext://sys.stderr"
    active = use_profile(profile, quiet=True)
    check_environment(os.environ)
    print(active.describe())
    print(f"image: {shown(task.image.resolve())} ({opened.width} x {opened.height} pixels)")
    print(f"question: {task.question}", flush=True)
    try:
        with stderr_to(LOG) as terminal, ticking(LOG, terminal):
            answer, seconds = ask(active, task, opened)
    except Exception as error:
        text = read_log(LOG)
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        known = recognise(f"{text}\n{error}")
        remedy = f"read {shown(LOG)}; `course env` checks the machine"
        raise CourseError(
            "vLLM gave no answer.",
            f"{known.cause} ({cause})" if known else f"{cause} ({last_words(text, 3)})",
            f"{known.remedy}; or {remedy}" if known else remedy,
        ) from error
    print(f"\n{active.label}: {answer}")
    if task.reference and not active.profile.rehearse:
        print(f"drawn from: {task.reference}")
    setup = float(os.environ.get("COURSE_SETUP_SECONDS") or 0)
    phases = {"set-up": setup, **seconds}
    print("\nseconds: " + ", ".join(f"{name} {value:.1f}" for name, value in phases.items()), end="")
    print(f"; together {sum(phases.values()):.1f}")
    return 0

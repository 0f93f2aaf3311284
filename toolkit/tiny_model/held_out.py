"""Held-out items with everything that is accepted as right, and their prompts for transformers and vLLM."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from helpers.errors import CourseError
from helpers.media import sampled_indices
from toolkit.tiny_model import dataset
from toolkit.tiny_model.patches import PatchLayout
from toolkit.toyworld import clips, scenes, sentences
from toolkit.toyworld.items import VALIDATION_SEED, Clip, kind_module
from toolkit.toyworld.questions import PAIRS, find_question

#: task -> what two clips differ in, and the task whose question is asked about both. A question that names the verb
#: would give the speed away, so the speed is read from the description.
PAIR_TASKS = PAIRS | {"pair_speed": ("speed", "clip")}
GUIDE_TASK = "sentence_guide"
TASKS = (*dataset.TASKS, *PAIR_TASKS, GUIDE_TASK)


@dataclass(frozen=True)
class HeldOut:
    """One request of the measurement."""

    task: str
    number: int
    kind: str
    seed: int
    facts: dict[str, Any]
    request: str
    accepted: tuple[str, ...]
    """Wordings that count as right, the first being the reference."""

    def medium(self) -> dataset.Medium | None:
        """What is shown before the request, drawn at each call; of a clip, only the frames that are looked at."""
        return dataset.draw_medium(self.kind, self.facts, self.seed, scenes.SIZE)

    def turn(self) -> dataset.Turn:
        """As the trainer would see it."""
        times = dataset.sampled_times(self.facts["frames"], self.facts["fps"]) if self.kind == "clip" else ()
        return dataset.Turn(self.request, self.accepted[0], self.medium(), times)


@dataclass(frozen=True)
class Answer:
    """What a model wrote."""

    text: str
    """Without what it thought before."""
    tokens: tuple[int, ...] = ()
    finished: bool = True
    """False if it was cut off because it became too long."""
    logprobs: list[dict[int, float]] = field(default_factory=list)
    """Per token, the log-probabilities of the most probable ones; only if they were asked for."""


def held_out(task: str, number: int, difficulty: int = 3) -> list[HeldOut]:
    """Item ``number`` of a task: one request, or two for a pair of clips.

    For the tasks of `dataset.TASKS` it is the item of `dataset.validation_turns`: seeds from ``VALIDATION_SEED`` on,
    and where a task does not apply to a seed's facts, the seed 100,000 further.

    Raises:
        CourseError: no such task.
    """
    if task == GUIDE_TASK:
        guide = {"sentence": sentences.GUIDE_SENTENCE, "length": len(sentences.GUIDE_SENTENCE)}
        return [_ask(task, number, "sentence", VALIDATION_SEED, guide, "sentence")]
    seed = VALIDATION_SEED + number
    if task in PAIR_TASKS:
        difference, asked = PAIR_TASKS[task]
        return [_ask(task, number, "clip", seed, facts, asked) for facts in clips.make_pair(seed, difference)]
    kind = next((kind for kind, tasks in dataset.KIND_TASKS.items() if task in tasks), None)
    if kind is None:
        raise CourseError(f"There is no task '{task}'.", "a misspelt --tasks", f"use some of: {', '.join(TASKS)}")
    seed, facts, question = find_question(task, kind, seed, difficulty)
    return [HeldOut(task, number, kind, seed, facts, question.request, question.answers)]


def _ask(task: str, number: int, kind: str, seed: int, facts: dict[str, Any], asked: str) -> HeldOut:
    offered = kind_module(kind).questions(facts, random.Random(f"{task}-{number}"))
    question = next(question for question in offered if question.task == asked)
    return HeldOut(task, number, kind, seed, facts, question.request, question.answers)


# ---------------------------------------------------------------- prompts


def prompt(tokenizer: Any, item: HeldOut) -> str:
    """The request as the chat template lays it out; one placeholder stands for the medium."""
    content: list[dict[str, str]] = [{"type": "text", "text": item.request}]
    if item.kind != "sentence":
        content.insert(0, {"type": "video" if item.kind == "clip" else "image"})
    chat = [{"role": "user", "content": content}]
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def trained_prompt(tokenizer: Any, item: HeldOut, layout: PatchLayout) -> list[int]:
    """Token ids up to the answer or thought, as the trainer lays them out: what every engine must produce."""
    thinks = "<think>" in tokenizer.get_vocab()
    example = dataset.encode(tokenizer, [replace(item.turn(), thinking="" if thinks else None)], None, layout)
    return example.input_ids[: int(np.argmax(example.labels != dataset.IGNORED))].tolist()


def vllm_request(tokenizer: Any, item: HeldOut, layout: PatchLayout) -> dict[str, Any]:
    """A request for ``vllm.LLM.generate``.

    vLLM's Qwen3-VL wants videos with metadata, from which it takes the times that it writes into the prompt. Its
    Qwen2-VL takes the frames alone.
    """
    request: dict[str, Any] = {"prompt": prompt(tokenizer, item)}
    medium = item.medium()
    if isinstance(medium, Clip):
        frames, metadata = _video(medium, item.facts)
        with_metadata = (frames, metadata | {"do_sample_frames": False})
        request["multi_modal_data"] = {"video": with_metadata if layout.textual_timestamps else frames}
    elif medium is not None:
        request["multi_modal_data"] = {"image": medium}
    return request


def processor_inputs(processor: Any, item: HeldOut) -> dict[str, Any]:
    """The same request for transformers' ``generate``, as torch tensors."""
    media: dict[str, Any] = {}
    medium = item.medium()
    if isinstance(medium, Clip):
        frames, metadata = _video(medium, item.facts)
        metadata |= {"video_backend": "none"}
        media = {"videos": [frames], "video_metadata": [metadata], "do_sample_frames": False}
    elif medium is not None:
        media = {"images": [medium]}
    return processor(text=[prompt(processor.tokenizer, item)], return_tensors="pt", **media)


def _video(clip: Clip, facts: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """uint8 (frames, height, width, 3), and the places of these frames in the whole clip, as engines want them."""
    return np.stack([np.asarray(frame) for frame in clip.frames]), {
        "fps": float(facts["fps"]),
        "duration": facts["frames"] / facts["fps"],
        "total_num_frames": facts["frames"],
        "frames_indices": sampled_indices(facts["frames"], facts["fps"]),
    }

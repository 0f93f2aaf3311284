"""Training examples: conversations over toy-world items, as token ids, labels, patches and grids."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from helpers.media import sampled_indices
from toolkit.tiny_model.patches import PatchLayout, normalized, patchify
from toolkit.tiny_model.tokenizer import TAUGHT
from toolkit.toyworld import clips, scenes, sentences
from toolkit.toyworld.items import VALIDATION_SEED, Clip, Question, kind_module
from toolkit.toyworld.questions import find_question

IGNORED = -100
#: So many consecutive batches share a plan, so that two processes that take one each need the same time.
ALIKE = 2
#: Every task of the world, by kind of item.
KIND_TASKS = {kind: kind_module(kind).TASKS for kind in TAUGHT}
TASKS = tuple(task for tasks in KIND_TASKS.values() for task in tasks)
#: How a scene's first question is chosen; the rest of the probability is shared equally by all other questions.
FIRST_QUESTION = {"scene": 0.4, "scene_json": 0.1, "scene_box": 0.1}
#: Of independent questions: how often a scene's include a long answer, and the weight of each short task. What a tiny
#: model finds easy is asked seldom.
LONG_ANSWERS = {"scene": 0.45, "scene_json": 0.2}
SHORT_ANSWERS = {"scene_exists": 3, "scene_left": 2, "scene_pose": 2, "scene_place": 0.15, "scene_light": 0.15,
                 "scene_weather": 0.3}  # fmt: skip
OTHER_SHORT_ANSWERS = 1.5
#: Tokens, roughly, of a scene's questions and answers together: where examples are alike in length, little is padded.
TOKEN_BUDGET = 215
#: A scene's questions are drawn so often; most tasks then ask about several subjects.
ROUNDS = 4
DESCRIBE_WORDINGS = ("Describe the image.", "Describe this picture.", "What is in this image?", "What do you see?")
Medium = Image.Image | Clip


@dataclass(frozen=True)
class Turn:
    """One request and its answer; ``medium`` is shown before the request."""

    request: str
    answer: str
    medium: Medium | None = None
    times: tuple[float, ...] = ()
    """Of a clip's frames, in seconds."""
    thinking: str | None = None
    """What is written before the answer; None: the turn of a model that does not think."""
    from_tool: bool = False
    """The medium is what a tool gave back, not what a user showed."""
    learned: bool = True
    """Whether the answer is; else it is context for the turns that follow."""


@dataclass
class Example:
    """One conversation, tokenized: L tokens."""

    input_ids: np.ndarray
    """int64 (L,)"""
    labels: np.ndarray
    """int64 (L,): the answers' tokens, everything else ``IGNORED``."""
    parts: np.ndarray
    """int64 (L,): 0 for what every later token sees; n for the n-th of independent questions, see `encode`."""
    images: list[tuple[np.ndarray, tuple[int, int, int]]]
    """Per image: uint8 (patches, 3 × 2 × patch × patch) and the grid: time, height, width in patches."""
    videos: list[tuple[np.ndarray, tuple[int, int, int]]]


# ---------------------------------------------------------------- conversations


def sampled_clip(facts: dict[str, Any], seed: int) -> Clip:
    """Those frames of a toy-world clip that a model sees, see `helpers.media.sampled_indices`."""
    return clips.draw(facts, seed, frames=sampled_indices(facts["frames"], facts["fps"]))


def sampled_times(frames: int, fps: float) -> tuple[float, ...]:
    """Seconds of the frames that a clip is shown with, see `helpers.media.sampled_indices`."""
    return tuple(index / fps for index in sampled_indices(frames, fps))


def conversation(
    kind: str, seed: int, difficulty: int = 3, side: int = scenes.SIZE, apart: bool = False
) -> tuple[str | None, list[Turn]]:
    """System prompt and turns of the training example with this seed; ``side`` is a scene's, in pixels.

    In a conversation, earlier answers give later ones away: after a description, no question needs eyes. With
    ``apart``, there are more questions, and each is to see the medium and no other question (`encode`).
    """
    rng = random.Random(f"conversation-{kind}-{seed}")
    system = "You are a helpful assistant." if rng.random() < 0.06 else None
    if kind == "sentence":
        return system, [_about_a_sentence(rng, difficulty) for _ in range(1 if rng.random() < 0.7 else 2)]
    facts = kind_module(kind).make_facts(rng, difficulty)
    choose = _independent_questions if apart else _some_questions
    turns = [_turn(question, rng) for question in choose(kind, facts, rng)]
    turns[0] = _with_medium(turns[0], kind, facts, seed, side)
    if kind == "scene" and not apart and rng.random() < 0.06:
        turns.append(_about_a_sentence(rng, difficulty))
    return system, turns


def _some_questions(kind: str, facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """Several questions about one medium, so that each costly image teaches more than one thing."""
    offered = kind_module(kind).questions(facts, rng)
    if kind == "scene":
        by_task = {question.task: question for question in offered}
        first = by_task.pop(_draw_or_none(FIRST_QUESTION, rng) or "", None)
        rest = [question for question in by_task.values() if question.task not in ("scene", "scene_json")]
        rng.shuffle(rest)
        return ([first] if first else []) + rest[: 2 if first else 4]
    if kind == "receipt" and len(offered) > 1:
        return rng.sample(offered, 2)
    if kind == "clip":
        rest = offered[1:]
        rng.shuffle(rest)
        return [offered[0], *rest[:2]] if rng.random() < 0.6 or not rest else [*rest[:3]]
    return offered[:1]


def _independent_questions(kind: str, facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """Questions about one medium, each request once."""
    module = kind_module(kind)
    if kind == "scene":
        drawn = [question for _ in range(ROUNDS) for question in module.questions(facts, rng)]
        distinct = {question.request: question for question in drawn}.values()
        task = _draw_or_none(LONG_ANSWERS, rng)
        long = [question for question in distinct if question.task == task]
        short = [question for question in distinct if question.task not in LONG_ANSWERS]
        # Efraimidis and Spirakis: a weighted sample without replacement.
        short.sort(key=lambda q: rng.random() ** (1 / SHORT_ANSWERS.get(q.task, OTHER_SHORT_ANSWERS)), reverse=True)
        ends = itertools.accumulate(map(_estimated_tokens, long + short))
        return [q for q, end in zip(long + short, ends, strict=True) if end <= TOKEN_BUDGET or q in long]
    offered = module.questions(facts, rng)
    if kind == "receipt" and len(offered) > 2:
        text, total, as_json = offered
        return rng.choices(([text, total], [as_json, total], offered), weights=(9, 7, 4))[0]
    return offered


def _draw_or_none(shares: dict[str, float], rng: random.Random) -> str | None:
    """One of the names, each with its share of all draws; None for the rest of them."""
    draw = rng.random()
    for name, share in shares.items():
        if draw < share:
            return name
        draw -= share
    return None


def _estimated_tokens(question: Question) -> float:
    """An estimate without a tokenizer: marks of the turn, words of five letters, and single digits and punctuation."""
    text = question.request + question.answers[0]
    single = sum(not (letter.isalpha() or letter.isspace()) for letter in text)
    return 9 + single + (len(text) - single) / 5


def draw_medium(kind: str, facts: dict[str, Any], seed: int, side: int) -> Medium | None:
    """What is shown (a sentence shows nothing): of a clip, only the frames that the model sees; ``side`` of a scene."""
    if kind == "clip":
        return sampled_clip(facts, seed)
    return kind_module(kind).draw(facts, seed, **({"size": side} if kind in ("scene", "foreign") else {}))


def _with_medium(turn: Turn, kind: str, facts: dict[str, Any], seed: int, side: int) -> Turn:
    times = sampled_times(facts["frames"], facts["fps"]) if kind == "clip" else ()
    return Turn(turn.request, turn.answer, draw_medium(kind, facts, seed, side), times)


def _turn(question: Question, rng: random.Random) -> Turn:
    request = question.request
    if request == scenes.DESCRIBE and rng.random() < 0.2:
        request = rng.choice(DESCRIBE_WORDINGS)
    return Turn(request, question.answers[0])


def _about_a_sentence(rng: random.Random, difficulty: int) -> Turn:
    facts = sentences.make_facts(rng, difficulty)
    if rng.random() < 0.002:
        facts["sentence"] = sentences.GUIDE_SENTENCE
    reverse, daily = sentences.questions(facts, rng)
    return _turn(daily if rng.random() < 0.1 else reverse, rng)


def validation_turns(task: str, number: int, difficulty: int = 3) -> list[Turn]:
    """Held-out item ``number`` of a task, as one turn; items to which the task does not apply are skipped."""
    kind = next(kind for kind, tasks in KIND_TASKS.items() if task in tasks)
    seed, facts, question = find_question(task, kind, VALIDATION_SEED + number, difficulty)
    return [_with_medium(Turn(question.request, question.answers[0]), kind, facts, seed, scenes.SIZE)]


# ---------------------------------------------------------------- tokens


def encode(tokenizer: Any, turns: list[Turn], system: str | None, layout: PatchLayout, apart: bool = False) -> Example:
    """Tokenize a conversation as the chat template lays it out; only answers and their ``<|im_end|>`` are labelled.

    With ``apart``, the turns are as many conversations of one turn about the first turn's medium. They share what
    precedes the request, so that the costly image is computed once; ``Example.parts`` says what belongs together.
    """
    ids: list[int] = []
    labels: list[int] = []
    parts: list[int] = []
    images, videos = [], []
    part = 0

    def add(text: str, learn: bool = False) -> None:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        ids.extend(tokens)
        labels.extend(tokens if learn else [IGNORED] * len(tokens))
        parts.extend([part] * len(tokens))

    if system:
        add(f"<|im_start|>system\n{system}<|im_end|>\n")
    for number, turn in enumerate(turns, start=1):
        if not (apart and part):
            add("<|im_start|>user\n<tool_response>\n" if turn.from_tool else "<|im_start|>user\n")
        if isinstance(turn.medium, Clip):
            videos.append(patchify(list(turn.medium.frames), layout))
            for piece in _video_text(videos[-1][1], turn.times, layout):
                add(piece)
        elif turn.medium is not None:
            images.append(patchify([turn.medium], layout))
            add("<|vision_start|>" + "<|image_pad|>" * _tokens(images[-1][1], layout) + "<|vision_end|>")
        part = number if apart else 0
        request = "\n</tool_response>" if turn.from_tool else turn.request
        thinks = turn.thinking is not None
        add(f"{request}<|im_end|>\n<|im_start|>assistant\n" + ("<think>\n" if thinks else ""))
        thought = f"{turn.thinking}\n</think>\n\n" if thinks else ""
        add(f"{thought}{turn.answer}<|im_end|>", learn=turn.learned)
        add("\n")
    input_ids, labelled, part_of = (np.array(column, dtype=np.int64) for column in (ids, labels, parts))
    return Example(input_ids, labelled, part_of, images, videos)


def _tokens(grid: tuple[int, int, int], layout: PatchLayout) -> int:
    return grid[0] * grid[1] * grid[2] // layout.merge**2


def _video_text(grid: tuple[int, int, int], times: tuple[float, ...], layout: PatchLayout) -> list[str]:
    """The placeholder of a video; Qwen3-VL announces each pair of frames by the mean of its two times.

    The outer vision marks around Qwen3-VL's pairs are there because transformers (since 5.10) and vLLM expand the
    ``<|video_pad|>`` between them.
    """
    if not layout.textual_timestamps:
        return ["<|vision_start|>" + "<|video_pad|>" * _tokens(grid, layout) + "<|vision_end|>"]
    padded = [*times, times[-1]] if len(times) % 2 else list(times)
    pads = "<|video_pad|>" * _tokens((1, *grid[1:]), layout)
    pieces = ["<|vision_start|>"]
    for first, second in zip(padded[::2], padded[1::2], strict=True):
        pieces += [f"<{(first + second) / 2:.1f} seconds>", f"<|vision_start|>{pads}<|vision_end|>"]
    return [*pieces, "<|vision_end|>"]


def collate(examples: list[Example], tokenizer: Any, layout: PatchLayout) -> dict[str, Any]:
    """Right-padded tensors for the model's forward call; lengths are rounded up to multiples of 16.

    No attention mask is needed: padding is on the right, attention is causal, and padded labels are ignored. If
    questions are independent, there are ``parts``, int64 (conversations, length); padding belongs to the last part.
    """
    import torch

    length = -(-max(len(example.input_ids) for example in examples) // 16) * 16
    ids = np.full((len(examples), length), tokenizer.pad_token_id, dtype=np.int64)
    labels = np.full((len(examples), length), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = example.input_ids
        labels[row, : len(example.labels)] = example.labels
    batch = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
    if any(example.parts[-1] for example in examples):
        padded = [np.pad(example.parts, (0, length - len(example.parts)), mode="edge") for example in examples]
        batch["parts"] = torch.from_numpy(np.stack(padded))
    image, video = (tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video"))
    batch["mm_token_type_ids"] = (batch["input_ids"] == image).int() + 2 * (batch["input_ids"] == video).int()
    for suffix, grid_name, media in (
        ("", "image_grid_thw", [image for example in examples for image in example.images]),
        ("_videos", "video_grid_thw", [video for example in examples for video in example.videos]),
    ):
        if media:
            pixels = normalized(np.concatenate([patches for patches, _ in media]))
            batch[f"pixel_values{suffix}"] = torch.from_numpy(pixels)
            batch[grid_name] = torch.tensor([grid for _, grid in media])
    return batch


@dataclass(frozen=True)
class Batches:
    """Training batches by number, each a pure function of its number: order and content never depend on workers.

    All examples of a batch are of one kind, difficulty and image size, so that little is padded.
    """

    tokenizer: Any
    layout: PatchLayout
    preset: Any
    """A ``Preset``: its phases give mixture, difficulty and sizes by share of all batches."""
    batch_size: int
    count: int
    """Batches of the whole run, or a guess of it: numbers from there on belong to the last phase."""
    first_seed: int = 0
    """Examples seen by the model that the run starts from; none of them is drawn again."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        from toolkit.tiny_model.thinking import thoughtful_conversation

        kind, difficulty, side = self.plan(number)
        apart = self.apart(number)
        draw = thoughtful_conversation if self.preset.thinking else conversation
        first = self.first_seed + number * self.batch_size
        examples = []
        for seed in range(first, first + self.batch_size):
            system, turns = draw(kind, seed, difficulty, side, apart)
            examples.append(encode(self.tokenizer, turns, system, self.layout, apart))
        return collate(examples, self.tokenizer, self.layout)

    def plan(self, number: int) -> tuple[str, int, int]:
        """Kind of item, difficulty, and side of the scenes of a batch."""
        phase = self._phase(number)
        rng = random.Random(f"batch-{self.first_seed + number // ALIKE}")
        return _weighted(rng, phase.mixture), _weighted(rng, phase.difficulty), _weighted(rng, phase.sides)

    def apart(self, number: int) -> bool:
        """Whether the questions of a batch are independent; sentences have nothing to share."""
        drawn = random.Random(f"apart-{self.first_seed + number // ALIKE}").random()
        kind = self.plan(number)[0]
        return drawn < self._phase(number).apart and kind in TAUGHT and kind != "sentence"

    def _phase(self, number: int) -> Any:
        share = number / self.count
        return next((phase for phase in self.preset.phases if share < phase.until), self.preset.phases[-1])


def _weighted(rng: random.Random, weights: dict[Any, float]) -> Any:
    return rng.choices(tuple(weights), tuple(weights.values()))[0]

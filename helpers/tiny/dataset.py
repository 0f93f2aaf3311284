"""Training examples: conversations over toy-world items, as token ids, labels, patches and positions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from helpers.toyworld import scenes, sentences
from helpers.toyworld.items import VALIDATION_SEED

PATCH, MERGE, TEMPORAL = 16, 2, 2
IGNORED = -100
REVERSAL_SHARE = 0.42
#: Sides of training pictures: mostly the world's own, some others, so that sizes may vary at inference too.
SIDES, SIDE_WEIGHTS = (scenes.SIZE, 96, 192), (90, 5, 5)
DESCRIBE_WORDINGS = (
    scenes.DESCRIBE,
    "Describe the image.",
    "Describe this picture.",
    "What is in this image?",
    "What do you see?",
)


@dataclass(frozen=True)
class Turn:
    """One request and its answer; ``picture`` is shown before the request."""

    request: str
    answer: str
    picture: Image.Image | None = None


@dataclass
class Example:
    """One conversation, tokenized. L tokens, P patches of all its pictures together."""

    input_ids: np.ndarray
    """int64 (L,)"""
    labels: np.ndarray
    """int64 (L,): the answers' tokens, everything else ``IGNORED``."""
    patches: np.ndarray
    """float32 (P, 3 × 2 × 16 × 16)"""
    grids: np.ndarray
    """int64 (pictures, 3): time, height and width in patches."""


def patchify(picture: Image.Image) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A picture whose sides are multiples of 32 pixels, as normalized patches in the order of the stock processor.

    Returns:
        float32 (height/16 × width/16, 1536) and the grid (1, height/16, width/16). Order and values equal
        ``Qwen2VLImageProcessor`` (a test compares them); a picture counts as two equal frames.
    """
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0
    pixels = ((pixels - 0.5) / 0.5).transpose(2, 0, 1)
    channels, height, width = pixels.shape
    rows, columns = height // PATCH, width // PATCH
    tiles = pixels.reshape(channels, rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH)
    tiles = tiles.transpose(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, channels, 1, PATCH, PATCH)
    tiles = np.repeat(tiles, TEMPORAL, axis=2)
    return tiles.reshape(rows * columns, -1), (1, rows, columns)


def conversation(seed: int) -> tuple[str | None, list[Turn]]:
    """System prompt and turns of the training example with this seed."""
    rng = random.Random(f"conversation-{seed}")
    system = "You are a helpful assistant." if rng.random() < 0.08 else None
    if rng.random() < REVERSAL_SHARE:
        turns = [_reversal(rng) for _ in range(1 if rng.random() < 0.75 else 2)]
        return system, turns
    turns = _about_one_scene(rng, seed, "a")
    draw = rng.random()
    if draw < 0.06:
        turns += _about_one_scene(rng, seed, "b")[:1]
    elif draw < 0.14:
        turns.append(_reversal(rng))
    return system, turns


def _reversal(rng: random.Random) -> Turn:
    sentence = sentences.GUIDE_SENTENCE if rng.random() < 0.002 else sentences.make_sentence(rng)
    return Turn(sentences.QUESTION.format(sentence), sentences.reverse(sentence))


def _about_one_scene(rng: random.Random, seed: int, part: str) -> list[Turn]:
    facts = scenes.make_facts(rng)
    side = rng.choices(SIDES, SIDE_WEIGHTS)[0]
    picture = scenes.draw(facts, f"{seed}{part}", side)
    wording = scenes.DESCRIBE if rng.random() < 0.7 else rng.choice(DESCRIBE_WORDINGS)
    describe = (wording, scenes.describe(facts))
    as_json = (scenes.AS_JSON, scenes.facts_as_json(facts))
    asked = rng.sample(scenes.questions(facts, rng), 2)
    draw = rng.random()
    if draw < 0.5:
        turns = [describe]
    elif draw < 0.62:
        turns = [as_json]
    elif draw < 0.8:
        turns = asked
    else:
        turns = [asked[0], describe]
    if draw < 0.62 and rng.random() < 0.3:
        turns += asked[:1]
    return [Turn(*words, picture if number == 0 else None) for number, words in enumerate(turns)]


def validation_turns(kind: str, number: int) -> list[Turn]:
    """Held-out item ``number`` of a kind, as one turn."""
    if kind == "sentence":
        item = sentences.make_item(VALIDATION_SEED + number)
        return [Turn(item.messages[0]["content"], item.answer[0])]
    item = scenes.make_item(VALIDATION_SEED + number)
    return [Turn(scenes.DESCRIBE, item.answer[0], next(iter(item.media.values())))]


def encode(tokenizer: Any, turns: list[Turn], system: str | None = None) -> Example:
    """Tokenize a conversation as the chat template lays it out; only answers and their ``<|im_end|>`` are labelled."""
    ids: list[int] = []
    labels: list[int] = []
    patches, grids = [], []

    def add(text: str, learn: bool = False) -> None:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        ids.extend(tokens)
        labels.extend(tokens if learn else [IGNORED] * len(tokens))

    if system:
        add(f"<|im_start|>system\n{system}<|im_end|>\n")
    for turn in turns:
        pad = ""
        if turn.picture is not None:
            values, grid = patchify(turn.picture)
            patches.append(values)
            grids.append(grid)
            pad = "<|vision_start|>" + "<|image_pad|>" * (grid[1] * grid[2] // MERGE**2) + "<|vision_end|>"
        add(f"<|im_start|>user\n{pad}{turn.request}<|im_end|>\n<|im_start|>assistant\n")
        add(f"{turn.answer}<|im_end|>", learn=True)
        add("\n")
    width = 3 * TEMPORAL * PATCH * PATCH
    return Example(
        np.array(ids, dtype=np.int64),
        np.array(labels, dtype=np.int64),
        np.concatenate(patches) if patches else np.zeros((0, width), dtype=np.float32),
        np.array(grids, dtype=np.int64).reshape(-1, 3),
    )


def collate(examples: list[Example], padding: int, image_token: int) -> dict[str, Any]:
    """Right-padded tensors for the model's forward call; lengths are rounded up to multiples of 16.

    No attention mask is needed: padding stands to the right, attention is causal, and padded labels are ignored.
    """
    import torch

    length = -(-max(len(example.input_ids) for example in examples) // 16) * 16
    ids = np.full((len(examples), length), padding, dtype=np.int64)
    labels = np.full((len(examples), length), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = example.input_ids
        labels[row, : len(example.labels)] = example.labels
    batch = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
    batch["mm_token_type_ids"] = (batch["input_ids"] == image_token).int()
    if any(len(example.grids) for example in examples):
        batch["pixel_values"] = torch.from_numpy(np.concatenate([example.patches for example in examples]))
        batch["image_grid_thw"] = torch.from_numpy(np.concatenate([example.grids for example in examples]))
    return batch


def batches(tokenizer: Any, first_seed: int, batch_size: int, image_token: int) -> Iterator[dict[str, Any]]:
    """Endless training batches from ``first_seed`` on, each with the seed that follows it in ``next_seed``.

    Sixteen batches' worth of examples are drawn, sorted by length so that little is padded, and shuffled as batches.
    """
    pool_size = 16 * batch_size
    seed = first_seed
    while True:
        pool = [_drawn(tokenizer, number) for number in range(seed, seed + pool_size)]
        pool.sort(key=lambda example: (len(example.grids) > 0, len(example.input_ids)))
        groups = [pool[start : start + batch_size] for start in range(0, pool_size, batch_size)]
        random.Random(f"order-{seed}").shuffle(groups)
        seed += pool_size
        for group in groups:
            yield {**collate(group, tokenizer.pad_token_id, image_token), "next_seed": seed}


def _drawn(tokenizer: Any, seed: int) -> Example:
    system, turns = conversation(seed)
    return encode(tokenizer, turns, system)

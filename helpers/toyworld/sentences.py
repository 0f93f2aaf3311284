"""Sentences to write in reverse: the source guides' daily question, with an answer that code can check."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

from helpers.toyworld.items import Item

LONGEST = 32
GUIDE_SENTENCE = "I love Qwen3-VL-4B-Instruct"
QUESTION = "Write the sentence '{}' in reverse."

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_OTHERS = _LETTERS.upper() + "0123456789" + "-.,!?"


def make_item(seed: int) -> Item:
    """A sentence of 3 to ``LONGEST`` characters to reverse, with the exact answer."""
    sentence = make_sentence(random.Random(f"sentence-{seed}"))
    messages = [{"role": "user", "content": QUESTION.format(sentence)}]
    facts = {"sentence": sentence, "length": len(sentence)}
    return Item("sentence", seed, messages, [reverse(sentence)], facts)


def reverse(sentence: str) -> str:
    """Character by character; the generator uses no combining characters, so code points are enough."""
    return sentence[::-1]


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[list[str], list[str]]:
    """Everyday words and names, the two paragraphs of ``words.txt``."""
    everyday, names = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split("\n\n")
    return everyday.split(), names.split()


def make_sentence(rng: random.Random) -> str:
    """Everyday words, model names and invented words, so that spelling cannot be learned by heart."""
    everyday, names = _vocabulary()
    target = rng.randint(3, LONGEST)
    parts: list[str] = []
    while len(" ".join(parts)) < target:
        draw = rng.random()
        if draw < 0.45:
            word = rng.choice(everyday)
        elif draw < 0.55:
            word = rng.choice(names)
        elif draw < 0.65:
            word = "-".join(
                "".join(rng.choices(_LETTERS + _OTHERS, k=rng.randint(1, 5))) for _ in range(rng.randint(1, 3))
            )
        else:
            word = "".join(rng.choices(_LETTERS, k=rng.randint(1, 8)))
            if rng.random() < 0.2:
                word += "".join(rng.choices(_OTHERS, k=rng.randint(1, 3)))
        if rng.random() < 0.15:
            word = word[0].upper() + word[1:]
        parts.append(word)
    sentence = " ".join(parts)[:LONGEST].strip()
    if rng.random() < 0.15 and len(sentence) < LONGEST:
        sentence += rng.choice(".!?")
    return sentence

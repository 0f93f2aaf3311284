"""Sentences to write in reverse, the source guides' daily question, and other questions that code can check."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from typing import Any

from toolkit.toyworld.items import Question

TASKS = ("sentence", "sentence_daily")
#: difficulty -> longest sentence, in characters
LONGEST = {1: 16, 2: 32, 3: 40}
GUIDE_SENTENCE = "I love Qwen3-VL-4B-Instruct"
QUESTION = "Write the sentence '{}' in reverse."

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_OTHERS = _LETTERS.upper() + "0123456789" + "-.,!?"


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """A sentence and its length in characters: up to 16, 32 or 40 by difficulty."""
    sentence = make_sentence(rng, LONGEST[difficulty])
    return {"sentence": sentence, "length": len(sentence)}


def draw(facts: dict[str, Any], seed: int) -> None:
    """Nothing: the request says it all."""


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """Write it in reverse; and one of: count its words, its last word, its first letter, the day after a day."""
    sentence = facts["sentence"]
    words = sentence.split()
    day = rng.randrange(7)
    daily = rng.choice([
        (f"How many words are in '{sentence}'?", str(len(words))),
        (f"What is the last word of '{sentence}'?", words[-1]),
        (f"What is the first word of '{sentence}'?", words[0]),
        (f"What day comes after {DAYS[day]}?", DAYS[(day + 1) % 7]),
    ])  # fmt: skip
    return [
        Question("sentence", QUESTION.format(sentence), (sentence[::-1],)),
        Question("sentence_daily", daily[0], (daily[1], f"{daily[1]}.")),
    ]


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[list[str], list[str]]:
    """Everyday words and names, the two paragraphs of ``words.txt``."""
    everyday, names = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split("\n\n")
    return everyday.split(), names.split()


def make_sentence(rng: random.Random, longest: int = LONGEST[3]) -> str:
    """Everyday words, model names and invented words, so that spellings cannot be memorized.

    3 to ``longest`` characters; lengths are equally likely.
    """
    everyday, names = _vocabulary()
    target = rng.randint(3, longest)
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
    sentence = " ".join(parts)[:longest].strip()
    if rng.random() < 0.15 and len(sentence) < longest:
        sentence += rng.choice(".!?")
    return sentence

"""Measures a tiny model through vLLM on validation items, greedy, float32."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from helpers.profiles import use_profile
from helpers.toyworld import scenes, sentences
from helpers.toyworld.items import VALIDATION_SEED


def command(model: Path | None = None, count: int = 300, out: Path | None = None) -> int:
    """Print the table of `evaluate` and, with ``out``, write it as JSON."""
    table = evaluate(model, count)
    print(as_markdown(table))
    if out:
        Path(out).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return 0


def evaluate(model: Path | None = None, count: int = 300, seed: int = VALIDATION_SEED) -> dict[str, Any]:
    """Scores on ``count`` items per task with seeds from ``seed`` on.

    Scene facts: every scene states its place, its light, and for each subject kind, colour, pose and position. A fact
    counts if the description states it of the right subject (the one at that position). Precision divides by what was
    stated, recall by what there is to state.

    Returns:
        per score its value, the number it is a share of, and its 95 % Wilson interval (Wilson 1927; SciPy's
        ``binomtest(...).proportion_ci``); facts of one scene depend on each other, so their interval is too narrow.
    """
    from vllm import LLM, SamplingParams

    active = use_profile("tiny")
    arguments = active.engine_arguments() | ({"model": str(model)} if model else {})
    engine = LLM(**arguments)
    greedy = SamplingParams(**active.sampling_arguments())

    def ask(conversations: list[list[dict[str, Any]]]) -> list[str]:
        return [answer.outputs[0].text for answer in engine.chat(conversations, greedy, use_tqdm=False)]

    drawn = [scenes.make_item(number) for number in range(seed, seed + count)]
    pictures = [next(iter(item.media.values())) for item in drawn]
    described = ask([_about(picture, scenes.DESCRIBE) for picture in pictures])
    as_json = ask([_about(picture, scenes.AS_JSON) for picture in pictures])
    asked = [random.Random(f"asked-{item.seed}").choice(_questions(item)) for item in drawn]
    short = ask([_about(picture, question) for picture, (question, _) in zip(pictures, asked, strict=True)])
    to_reverse = [sentences.make_item(number) for number in range(seed, seed + count)]
    reversed_texts = ask([item.messages for item in to_reverse])
    guide = ask([[{"role": "user", "content": sentences.QUESTION.format(sentences.GUIDE_SENTENCE)}]])[0]

    counts = [
        scenes.count_facts(item.facts, scenes.read_description(text))
        for item, text in zip(drawn, described, strict=True)
    ]
    right, stated, there = (sum(values) for values in zip(*counts, strict=True))
    rows = {
        "scene facts, recall": (right, there),
        "scene facts, precision": (right, stated),
        "scene description, exact": (sum(t == i.answer[0] for i, t in zip(drawn, described, strict=True)), count),
        "scene as JSON, exact": (
            sum(t == scenes.facts_as_json(i.facts) for i, t in zip(drawn, as_json, strict=True)),
            count,
        ),
        "questions about scenes, exact": (sum(t == a for (_, a), t in zip(asked, short, strict=True)), count),
        "reversal, exact": (sum(t == i.answer[0] for i, t in zip(to_reverse, reversed_texts, strict=True)), count),
        "the guides' sentence reversed": (int(guide == sentences.reverse(sentences.GUIDE_SENTENCE)), 1),
    }
    return {"items_per_task": count, "first_seed": seed, "scores": {k: _share(*v) for k, v in rows.items()}}


def as_markdown(table: dict[str, Any]) -> str:
    """The scores as a Markdown table."""
    lines = ["| score | value | 95 % interval | of |", "| --- | ---: | ---: | ---: |"]
    for name, score in table["scores"].items():
        low, high = score["interval"]
        lines.append(f"| {name} | {score['value']:.3f} | {low:.3f} to {high:.3f} | {score['of']} |")
    return "\n".join(lines)


def _share(right: int, total: int) -> dict[str, Any]:
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(method="wilson") if total else (0.0, 1.0)
    value = right / total if total else 0.0
    return {"value": round(value, 4), "of": total, "interval": [round(float(bound), 4) for bound in interval]}


def _questions(item: Any) -> list[tuple[str, str]]:
    return scenes.questions(item.facts, random.Random(f"questions-{item.seed}"))


def _about(picture: Any, request: str) -> list[dict[str, Any]]:
    content = [{"type": "image_pil", "image_pil": picture}, {"type": "text", "text": request}]
    return [{"role": "user", "content": content}]

"""Checkers of chapter 02: offline inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from helpers.model_facts import find_model_facts
from toolkit.exercises.judging import Mistake, NotAttempted, call, describe, is_close

RELEASED = "Qwen/Qwen3-VL-4B-Instruct"
SIZES = [(480, 640), (1080, 1920), (100, 100)]
#: Height, width, least and most pixels: as they are, rounded, enlarged, shrunk, and long.
RULE_CASES = [
    (480, 640, 65_536, 16_777_216),
    (1080, 1920, 65_536, 16_777_216),
    (100, 130, 65_536, 16_777_216),
    (3000, 4000, 4_096, 262_144),
    (333, 70, 4_096, 262_144),
    (40, 30, 4_096, 262_144),
]
PLACE = "<|vision_start|><|image_pad|><|vision_end|>"


def exercise_1(predicted: Any) -> str | None:
    """Three numbers of tokens."""
    facts = find_model_facts(RELEASED)
    if not isinstance(predicted, list | tuple) or len(predicted) != len(SIZES):
        return f"a list of {len(SIZES)} numbers is expected, not {describe(predicted)}"
    for (height, width), answer in zip(SIZES, predicted, strict=True):
        expected = facts.image_tokens(height, width)
        if is_close(answer, expected, what=f"the answer for {height} × {width}"):
            continue
        rows, columns = facts.resized(height, width)
        if height * width < facts.min_pixels:
            return f"{height} × {width} has less than {facts.min_pixels:,} pixels: what does the processor do first?"
        return f"{height} × {width}: which multiples of 32 are nearest? Not {answer} tokens" + (
            "" if (rows, columns) == (height, width) else "; one of the sides has to be rounded"
        )
    return None


def exercise_2(image_tokens: Callable[..., Any]) -> str | None:
    """The rule of smart_resize."""
    facts = find_model_facts(RELEASED)
    for height, width, least, most in RULE_CASES:
        expected = replace(facts, min_pixels=least, max_pixels=most).image_tokens(height, width)
        answer = call(image_tokens, height, width, least, most)
        if not is_close(answer, expected):
            area = height * width
            which = "too large" if area > most else "too small" if area < least else "within the limits"
            return f"{height} × {width}, which is {which}, costs {expected} tokens; your function says {answer}"
    return None


def exercise_3(prompt_about_image: Callable[..., Any]) -> str | None:
    """One placeholder before the question, and an open turn of the assistant."""
    for question in ("Describe this image.", "What time is it?"):
        prompt = call(prompt_about_image, question)
        if not isinstance(prompt, str):
            return f"the prompt should be text, not {describe(prompt)}"
        opened = prompt.rstrip().endswith("<|im_start|>assistant")
        if "<|image_pad|>" not in prompt and not opened:
            raise NotAttempted("it still behaves as given: no place for the image, and nobody's turn at the end")
        if prompt.count("<|image_pad|>") != 1:
            return f"one <|image_pad|> is needed per image; the prompt has {prompt.count('<|image_pad|>')}"
        if PLACE not in prompt:
            return "<|image_pad|> stands between <|vision_start|> and <|vision_end|>; let the template write all three"
        if question not in prompt:
            return "the question is missing from the prompt"
        if not opened:
            return "the assistant's turn is not opened: the model does not know that it should answer"
    return None


def exercise_4(cut_off: Callable[..., Any]) -> str | None:
    """Positions of the answers that ended by length."""
    for reasons in (["stop", "length", "stop", "length"], ["stop", "stop"], ["length"]):
        texts = ["A dog", "It is a dog.", "", "A dog sits."]
        answer = call(cut_off, [_result(text, reason) for text, reason in zip(texts, reasons, strict=False)])
        expected = [place for place, reason in enumerate(reasons) if reason == "length"]
        try:
            given = [int(place) for place in answer]
        except (TypeError, ValueError):
            return f"a list of positions is expected, not {describe(answer)}"
        if given != expected:
            return f"for the reasons {reasons} the positions are {expected}; your function says {given}"
    return None


def exercise_5(cached_128: Any, cached_16: Any) -> str | None:
    """Tokens of whole blocks."""
    for block, answer in ((128, cached_128), (16, cached_16)):
        if not is_close(answer, 790 // block * block):
            if is_close(answer, 790):
                return f"only whole blocks are cached: 790 is no multiple of {block}"
            return f"with blocks of {block} tokens it is not {answer}: how many whole blocks does 790 hold?"
    return None


def exercise_6(conversations: Callable[..., Any]) -> str | None:
    """Rules and image before the question, and nothing lost."""
    image, rules, questions = object(), "Answer in one word.", ["Who is it?", "Where is the dog?"]
    chats = list(call(conversations, image, rules, questions))
    if len(chats) != len(questions):
        return f"one conversation per question is expected: {len(questions)}, not {len(chats)}"
    for chat, question in zip(chats, questions, strict=True):
        parts = [part for message in chat for part in _parts(message)]
        if sorted(map(str, parts)) != sorted(map(str, [rules, image, question])):
            return "each conversation holds the rules, the image and its question, and nothing else"
        order = [parts.index(wanted) for wanted in (rules, image, question)]
        if order == [0, 2, 1]:
            raise NotAttempted("it still behaves as given: the question comes before the image")
        if order[2] != 2:
            return "something that all prompts share still stands after the question"
        if chat[0]["role"] != "system":
            return "the rules are the system's message, as before"
    return None


def _result(text: str, reason: str) -> SimpleNamespace:
    return SimpleNamespace(outputs=[SimpleNamespace(text=text, finish_reason=reason, token_ids=[1] * len(text))])


def _parts(message: dict[str, Any]) -> list[Any]:
    """What a message holds, in order: texts and images."""
    content = message["content"]
    if isinstance(content, str):
        return [content]
    parts = [part.get("text", part.get("image_pil")) for part in content]
    if any(part is None for part in parts):
        raise Mistake("a part of the content is neither text nor the image")
    return parts

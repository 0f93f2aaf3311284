"""Chapter 02: right answers of other forms pass, plausible wrong ones get a word."""

import math

from transformers import AutoTokenizer

from helpers.profiles import COURSE_ROOT
from tests.support.exercise_answers import ChapterTests

TINY = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"


def tokens(height, width, least=65_536, most=16_777_216, shrink=math.floor, enlarge=math.ceil):
    rows, columns = round(height / 32), round(width / 32)
    if rows * columns > most // 1024:
        factor = (most / height / width) ** 0.5
        return shrink(height * factor / 32) * shrink(width * factor / 32)
    if rows * columns < least // 1024:
        factor = (least / height / width) ** 0.5
        return enlarge(height * factor / 32) * enlarge(width * factor / 32)
    return rows * columns


def templated(content, opened=True):
    messages = [{"role": "user", "content": content}]
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened)


def picture(question):
    return [{"type": "image"}, {"type": "text", "text": question}]


def by_hand(question):
    place = "<|vision_start|><|image_pad|><|vision_end|>"
    return f"<|im_start|>user\n{place}{question}<|im_end|>\n<|im_start|>assistant\n"


def chats(order, system=True):
    """Conversations whose user content is in this order; rules are the system's or a part of the content."""

    def build(image, rules, questions):
        built = []
        for question in questions:
            parts = {"image": {"type": "image_pil", "image_pil": image}, "question": {"type": "text", "text": question}}
            parts["rules"] = {"type": "text", "text": rules}
            user = {"role": "user", "content": [parts[name] for name in order]}
            built.append([{"role": "system", "content": rules}, user] if system else [user])
        return built

    return build


def ended(reason):
    return lambda results: [place for place, result in enumerate(results) if result.outputs[0].finish_reason == reason]


RIGHT = [
    ("02.1", [300, 2040, 64]),
    ("02.2", tokens),
    ("02.3", by_hand),
    ("02.3", lambda question: templated(picture(question))),
    ("02.4", ended("length")),
    ("02.4", lambda results: (n for n, result in enumerate(results) if result.outputs[0].finish_reason != "stop")),
    ("02.5", (768.0, 784)),
    ("02.6", chats(["image", "question"])),
]
WRONG = [
    ("02.1", [300, 2025, 64], "1080 × 1920"),
    ("02.1", [300, 2040, 9], "less than 65,536 pixels"),
    ("02.1", [300, 2040, 16], "less than 65,536 pixels"),
    ("02.1", [300, 2040], "a list of 3 numbers"),
    ("02.2", lambda height, width, least, most: tokens(height, width, 0, 10**9), "too small"),
    ("02.2", lambda height, width, least, most: tokens(height, width, least, 10**9), "too large"),
    ("02.2", lambda *sizes: tokens(*sizes, shrink=math.ceil), "too large"),
    ("02.2", lambda height, width, least, most: height * width / 1024, "within the limits"),
    ("02.3", lambda question: templated(picture(question), opened=False), "assistant's turn is not opened"),
    ("02.3", lambda question: templated(question), "the prompt has 0"),
    ("02.3", lambda question: by_hand(question).replace("<|vision_start|>", ""), "<|vision_start|>"),
    ("02.3", lambda question: by_hand("Describe this image."), "question is missing"),
    ("02.3", lambda question: [question], "should be text"),
    ("02.4", ended("stop"), "the positions are"),
    ("02.4", lambda results: sum(result.outputs[0].finish_reason == "length" for result in results), "a list of"),
    ("02.4", lambda results: [n for n, r in enumerate(results) if not r.outputs[0].text.endswith(".")], "positions"),
    ("02.5", (790, 790), "only whole blocks"),
    ("02.5", (640, 784), "with blocks of 128"),
    ("02.5", (768, 768), "with blocks of 16"),
    ("02.6", chats(["image", "question"], system=False), "each conversation holds"),
    ("02.6", chats(["image", "question", "rules"], system=False), "after the question"),
    ("02.6", chats(["rules", "image", "question"], system=False), "system's message"),
    (
        "02.6",
        lambda image, rules, questions: chats(["image", "question"])(image, rules, questions)[:1],
        "one conversation",
    ),
]
AS_GIVEN = [
    ("02.3", lambda question: templated(question, opened=False)),
    ("02.6", chats(["question", "image"])),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "02", RIGHT, WRONG, AS_GIVEN

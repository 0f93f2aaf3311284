"""The Thinking edition: its tokens and template, its lessons, and the zoom tool."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from toolkit.agents import zoom_tool
from toolkit.grounding.closer import ENLARGED
from toolkit.tiny_model import architecture, dataset, evaluation
from toolkit.tiny_model.held_out import Answer, held_out, prompt, trained_prompt
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.presets import find_preset
from toolkit.tiny_model.thinking import LESSONS, added_up, in_pieces, sums, thoughtful_conversation, validation_lesson
from toolkit.tiny_model.tokenizer import SPECIAL_TOKENS, THINKING_TOKENS, build_tokenizer
from toolkit.tiny_model.zoom import NAME, zoom_call
from toolkit.toyworld import receipts, scenes

LAYOUT = layout_of("qwen3-vl")
TOOL = zoom_tool(Image.new("RGB", (8, 8))).schema()


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(thinking=True)


# ---------------------------------------------------------------- tokens and template


def test_the_thinking_tokens_come_after_all_others_and_stay_in_the_text(tokenizer):
    plain = build_tokenizer().get_vocab()
    assert {token: tokenizer.get_vocab()[token] for token in plain} == plain
    assert [tokenizer.get_vocab()[token] for token in THINKING_TOKENS] == [*range(len(plain), len(tokenizer))]
    ids = tokenizer.encode("<think>a</think><tool_call>b</tool_call><|im_end|>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a</think><tool_call>b</tool_call>"
    assert not set(THINKING_TOKENS) & set(SPECIAL_TOKENS)


def as_messages(turns, reasoning):
    """The turns of a zoom lesson in OpenAI's form, all but the last answer."""
    asked, _ = turns
    call = json.loads(asked.answer.split("\n")[1])
    message = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]}
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked.request}]},
        message | ({"reasoning_content": reasoning} if reasoning else {}),
        {"role": "tool", "content": [{"type": "image"}]},
    ]


@pytest.mark.parametrize("kept", [True, False])
def test_the_template_writes_a_tool_loop_as_it_is_learned(tokenizer, kept):
    lessons = (LESSONS["zoom"](random.Random(seed), seed, 3) for seed in range(100))
    system, turns = next(lesson for lesson in lessons if lesson[1][0].learned == kept)
    processor = architecture.build_processor(tokenizer)
    text = processor.apply_chat_template(
        as_messages(turns, turns[0].thinking), tools=[TOOL], tokenize=False, add_generation_prompt=True
    )
    images = [turn.medium for turn in turns]
    ids = processor(text=[text], images=images, return_tensors="np")["input_ids"][0]
    example = dataset.encode(tokenizer, turns, system, LAYOUT)
    assert example.input_ids[: len(ids)].tolist() == ids.tolist()
    learned = tokenizer.decode(example.input_ids[len(ids) :])
    assert learned == f"\n</think>\n\n{turns[1].answer}<|im_end|>\n"
    assert (tokenizer.convert_tokens_to_ids("<tool_call>") in example.labels) == kept


def test_thinking_is_dropped_once_the_user_asks_again(tokenizer):
    messages = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "<think>\nso\n</think>\n\nB"},
        {"role": "user", "content": "C"},
        {"role": "assistant", "content": "D", "reasoning": "because"},
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nbecause\n</think>\n\nD<|im_end|>\n"
    )
    ready = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert ready == "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_tools_join_the_system_prompt_and_answers_of_several_tools_one_turn(tokenizer):
    answers = [{"role": "tool", "content": "x"}, {"role": "tool", "content": "y"}]
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "A"}, *answers]
    assert tokenizer.apply_chat_template(messages, tools=[TOOL], tokenize=False) == (
        "<|im_start|>system\nS\n\n# Tools\n<tools>\nimage_zoom_in_tool(bbox_2d, label)\n</tools><|im_end|>\n"
        "<|im_start|>user\nA<|im_end|>\n<|im_start|>user\n<tool_response>\nx\n</tool_response>\n"
        "<tool_response>\ny\n</tool_response><|im_end|>\n"
    )
    with pytest.raises(Exception, match="judge"):
        tokenizer.apply_chat_template([{"role": "judge", "content": "x"}], tokenize=False)


@pytest.mark.parametrize("task", ["scene_count", "sentence"])
def test_a_measured_request_ends_where_the_thought_begins(tokenizer, task):
    (item,) = held_out(task, 1)
    ids = trained_prompt(tokenizer, item, LAYOUT)
    text = prompt(tokenizer, item)
    pads = ids.count(tokenizer.convert_tokens_to_ids("<|image_pad|>"))
    assert tokenizer.decode(ids) == text.replace("<|image_pad|>", pads * "<|image_pad|>")
    assert text.endswith("<think>\n")


def test_only_what_follows_the_thought_is_scored():
    output = SimpleNamespace(text="man 1, dog\n</think>\n\n1.", token_ids=[1, 2], finish_reason="stop", logprobs=None)
    assert evaluation._as_answer(output) == Answer("1.", (1, 2))
    output.text = "\n1."
    assert evaluation._as_answer(output).text == "\n1."


# ---------------------------------------------------------------- thoughts


def test_a_sentence_is_reversed_piece_by_piece():
    sentence = "I love Qwen3-VL-4B-Instruct"
    pieces = [line.split("|") for line in in_pieces(sentence).split("\n")]
    assert "".join(piece for piece, _ in pieces) == sentence
    assert "".join(reverse for _, reverse in reversed(pieces)) == sentence[::-1]


def test_sums_show_each_column_with_its_carry():
    assert sums(["4.20", "6.81"]) == "04.20+06.81: 01 10 11 01: 11.01"
    assert sums(["0.78", "17.68", "0.32"]) == "00.78+17.68: 16 14 08 01: 18.46\n18.46+00.32: 08 07 08 01: 18.78"
    assert sums(["9.99"]) == ""


@pytest.mark.parametrize("difficulty", [2, 3])
def test_the_last_sum_equals_the_printed_total_where_the_receipt_adds_up(difficulty):
    answers = set()
    for seed in range(60):
        rng = random.Random(seed)
        facts = receipts.with_total(receipts.make_facts(rng, difficulty), rng)
        answer = receipts.adds_up_question(facts).answers[0]
        *lines, total = added_up(facts).split("\n")
        if lines and lines[-1]:
            assert (lines[-1][-5:] == total.removeprefix("TOTAL ")) == (answer == "Yes.")
        answers.add(answer)
    assert answers == {"Yes.", "No."}


@pytest.mark.parametrize("kind", [*LESSONS, "scene", "receipt", "clip", "sentence", "foreign"])
def test_every_lesson_follows_its_seed_and_ends_in_an_answer(tokenizer, kind):
    one, two = thoughtful_conversation(kind, 3), thoughtful_conversation(kind, 3)
    examples = [dataset.encode(tokenizer, turns, system, LAYOUT) for system, turns in (one, two)]
    assert np.array_equal(examples[0].input_ids, examples[1].input_ids)
    assert all(turn.thinking is not None for turn in one[1] if turn.learned)
    assert not np.array_equal(
        examples[0].input_ids, dataset.encode(tokenizer, thoughtful_conversation(kind, 4)[1], None, LAYOUT).input_ids
    )


def test_what_is_counted_is_numbered():
    for number in range(30):
        _, (turn,) = validation_lesson("scene_count", number)
        numbers = [int(word.split()[-1]) for word in turn.thinking.split(", ") if word[-1].isdigit()]
        assert numbers == [*range(1, len(numbers) + 1)]
        assert turn.answer == f"{len(numbers)}."


def test_a_pose_is_looked_at_with_the_tool_and_answered_without():
    poses = {"offered": 0, "not": 0}
    for seed in range(40):
        system, turns = thoughtful_conversation("scene", seed, apart=True)
        for turn in turns:
            called = turn.answer.startswith("<tool_call>")
            if " doing?" in turn.request:
                poses["offered" if system else "not"] += 1
                assert called == bool(system)
            else:
                assert not called
    assert all(poses.values())


def test_batches_of_a_thinking_preset_mix_lessons_and_kinds(tokenizer):
    batches = dataset.Batches(tokenizer, LAYOUT, find_preset("think"), 2, 100)
    planned = {batches.plan(number)[0] for number in range(100)}
    assert planned & LESSONS.keys() and planned - LESSONS.keys()
    assert not any(batches.apart(number) for number in range(100) if batches.plan(number)[0] in LESSONS)
    assert (batches[0]["labels"] != dataset.IGNORED).any()


def test_only_a_thinking_preset_may_mix_lessons():
    from toolkit.tiny_model.presets import Preset

    fields = find_preset("think").model_dump() | {"thinking": False}
    with pytest.raises(ValueError, match="thinking: true"):
        Preset(**fields)


# ---------------------------------------------------------------- the tool


def test_the_call_is_the_tools():
    call = json.loads(zoom_call([1, 2, 3, 4], "dog").removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
    assert call["name"] == TOOL["function"]["name"] == NAME
    assert call["arguments"].keys() == TOOL["function"]["parameters"]["properties"].keys()


def test_the_lesson_shows_who_is_asked_about():
    system, (asked, close) = validation_lesson("zoom", 5)
    assert "image_zoom_in_tool" in system and asked.medium.size == (scenes.SIZE, scenes.SIZE)
    assert close.from_tool and max(close.medium.size) == ENLARGED

"""A small byte-level BPE with Qwen's special tokens, learned from the toy world's own words."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.rehearsal import THINKING_TEMPLATE
from toolkit.toyworld.items import kind_module

#: Qwen2-VL's and Qwen3-VL's special tokens that chat, images and boxes use, in the released order.
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
#: The Thinking edition has these, too. They are no special tokens, in Qwen's tokenizer neither: parsers see their text.
THINKING_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
#: Kinds of the toy world that the tiny models learn; another one here would change their vocabulary.
TAUGHT = ("scene", "receipt", "clip", "sentence", "foreign")
VOCABULARY = 768
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
#: Qwen's pre-tokenization: words with their leading space, single digits, runs of punctuation.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(examples: int = 2000, thinking: bool = False) -> Any:
    """Train the tokenizer on the toy world's questions and answers; of sentences to reverse, tokens are nearly letters.

    The same call gives the same vocabulary. Returns a fast transformers tokenizer of ``VOCABULARY`` tokens whose end
    of sequence is ``<|im_end|>`` and whose padding is ``<|endoftext|>``, with the chat template set. ``thinking``
    appends the tokens of `THINKING_TOKENS`, and sets the template that thinks and offers tools.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=20,
    )
    tokenizer.train_from_iterator(_texts_of_the_world(examples), trainer)
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    if thinking:
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in THINKING_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    template = THINKING_TEMPLATE if thinking else CHAT_TEMPLATE
    fast.chat_template = template.read_text(encoding="utf-8").rstrip("\n")
    return fast


def _texts_of_the_world(examples: int) -> Iterator[str]:
    """Questions and first answers about every kind that is taught; of sentences only the wording, not the sentence."""
    for number in range(examples):
        yield "user\nassistant\nsystem\n<0.5 seconds>Write the sentence 'a' in reverse.How many words are in 'a'?"
        yield "What is the last word of 'a'? What is the first word of 'a'?"
        for kind in TAUGHT:
            if kind == "sentence":
                continue
            rng = random.Random(f"words-{kind}-{number}")
            module = kind_module(kind)
            for question in module.questions(module.make_facts(rng), rng):
                yield question.request
                yield question.answers[0]

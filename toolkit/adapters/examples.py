"""From items to tensors: what a model is shown, and which tokens it is to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import CourseError

IGNORED = -100
#: What is stacked along the first axis; everything else is padded along the second.
_PATCHES = ("pixel_values", "image_grid_thw")


def read_examples(folder: str | Path, processor: Any, max_tokens: int = 2048) -> list[dict[str, Any]]:
    """The items of a folder, ready for training: the processor's tensors, with ``labels``.

    Only the answer and its ``<|im_end|>`` are labelled; all else is -100. An item is a line of ``items.jsonl`` as
    `toolkit.toyworld` writes them: ``messages`` in OpenAI's form, whose ``image_url`` names a file of the folder, and
    ``answer``, a list whose first entry is learned.

    Raises:
        CourseError: no such file; a line without these fields, with a video, with an image that is not in the folder
            or cannot be read, or longer than ``max_tokens``. The item is named.
    """
    from toolkit.toyworld.items import stream_items

    folder = Path(folder).resolve()
    examples = []
    for number, item in enumerate(stream_items(folder), start=1):
        where = f"items.jsonl, item {item.get('item_id', number)}"
        try:
            messages = [_with_images(message, folder) for message in item["messages"]]
            answer = str(item["answer"][0])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            remedy = "give each line messages (OpenAI's form) and answer (a list)"
            raise CourseError(f"{where} cannot be used: {type(error).__name__} {error}.", "", remedy) from None
        except (OSError, ValueError) as error:
            raise CourseError(f"{where} cannot be used: {error}", "", "put each image beside items.jsonl") from None
        example = encode(processor, messages, answer)
        if (length := example["input_ids"].shape[1]) > max_tokens:
            remedy = "send smaller images, or raise max_tokens and plan the memory for it"
            raise CourseError(f"{where} has {length} tokens; at most {max_tokens} are taken.", "", remedy)
        examples.append(example)
    if not examples:
        raise CourseError(f"There is no item in {folder.name}/items.jsonl.", "an empty file")
    return examples


def _with_images(message: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from PIL import Image

    content = message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts = []
    for part in content:
        if part["type"] == "image_url":
            path = (folder / part["image_url"]["url"]).resolve()
            if folder not in path.parents:
                raise ValueError(f"{part['image_url']['url']} is outside the folder.")
            with Image.open(path) as image:
                part = {"type": "image", "image": image.convert("RGB")}
        elif part["type"] != "text":
            raise ValueError(f"a part of type {part['type']}: text and image_url are taken.")
        parts.append(part)
    return {"role": message["role"], "content": parts}


def encode(processor: Any, messages: Sequence[Mapping[str, Any]], answer: str) -> dict[str, Any]:
    """One conversation as the chat template lays it out, and its labels; tensors of one row each."""
    import torch

    settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    example = dict(processor.apply_chat_template(list(messages), **settings))
    example.pop("attention_mask")  # nothing is padded yet
    prompt = example["input_ids"]
    learned = torch.tensor([processor.tokenizer.encode(f"{answer}<|im_end|>", add_special_tokens=False)])
    example["input_ids"] = torch.cat([prompt, learned], 1)
    example["labels"] = torch.cat([torch.full_like(prompt, IGNORED), learned], 1)
    if (kinds := example.get("mm_token_type_ids")) is not None:
        example["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(learned.shape)], 1)
    return example


def make_batch(examples: Sequence[Mapping[str, Any]], pad_token: int = 0) -> dict[str, Any]:
    """Examples as one batch, padded on the right; causal attention and unlabelled padding need no mask."""
    import torch

    length = max(example["input_ids"].shape[1] for example in examples)
    fill = {"input_ids": pad_token, "labels": IGNORED, "mm_token_type_ids": 0}
    batch = {
        name: torch.cat([_padded(example[name], length, fill[name]) for example in examples])
        for name in fill
        if name in examples[0]
    }
    patches = {name: [example[name] for example in examples if name in example] for name in _PATCHES}
    return batch | {name: torch.cat(found) for name, found in patches.items() if found}


def _padded(row: Any, length: int, value: int) -> Any:
    import torch

    return torch.nn.functional.pad(row, (0, length - row.shape[1]), value=value)

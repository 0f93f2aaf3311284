"""Items become tensors; only the answer is learned; what cannot be used is named."""

import json
import shutil

import pytest
import torch

from helpers.errors import CourseError
from toolkit.adapters import make_batch, read_examples
from toolkit.toyworld import read_items


def test_only_the_answer_and_its_end_are_learned(items, examples, processor):
    for item, example in zip(read_items(items), examples, strict=True):
        learned = example["labels"][0] != -100
        text = processor.tokenizer.decode(example["labels"][0][learned], skip_special_tokens=False)
        assert text == item["answer"][0] + "<|im_end|>"
        assert torch.equal(example["input_ids"][0][learned], example["labels"][0][learned])


def test_the_prompt_is_the_one_that_an_engine_makes(items, examples, processor):
    record = read_items(items)[0]
    content = [{"type": "image"}, record["messages"][0]["content"][1]]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    shown = examples[0]["input_ids"][0][examples[0]["labels"][0] == -100]
    pads = int((shown == processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum())
    assert processor.tokenizer.decode(shown) == prompt.replace("<|image_pad|>", "<|image_pad|>" * pads)
    assert pads * 4 == len(examples[0]["pixel_values"])


def test_a_batch_is_padded_and_its_loss_is_that_of_its_examples(examples, make_model):
    model = make_model().eval()
    batch = make_batch(examples)
    assert len({example["input_ids"].shape[1] for example in examples}) > 1
    tokens = [int((example["labels"] != -100).sum()) for example in examples]
    with torch.no_grad():
        alone = [model(**example).loss.item() * count for example, count in zip(examples, tokens, strict=True)]
        together = model(**batch).loss.item()
    assert together == pytest.approx(sum(alone) / sum(tokens), rel=1e-4)


def test_items_without_images_go_too(tmp_path, processor):
    line = {"messages": [{"role": "user", "content": "Hello"}], "answer": ["Hi"]}
    (tmp_path / "items.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line) + "\n")
    assert "pixel_values" not in make_batch(read_examples(tmp_path, processor))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda item: item.pop("answer"), "answer"),
        (lambda item: item.update(answer=[]), "cannot be used"),
        (lambda item: item["messages"][0]["content"][0].update(type="video_url"), "video_url"),
        (lambda item: item["messages"][0]["content"][0]["image_url"].update(url="missing.png"), "missing.png"),
        (lambda item: item["messages"][0]["content"][0]["image_url"].update(url="../secret.png"), "outside the folder"),
        (lambda item: item["messages"][0]["content"][1].update(text="word " * 3000), "tokens"),
    ],
)
def test_an_item_that_cannot_be_used_is_named(change, word, items, tmp_path, processor):
    folder = tmp_path / "mine"
    shutil.copytree(items, folder)
    records = read_items(folder)
    change(records[2])
    (folder / "items.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(CourseError, match=word) as caught:
        read_examples(folder, processor)
    assert records[2]["item_id"] in caught.value.what


def test_an_empty_folder_is_refused(tmp_path, processor):
    (tmp_path / "items.jsonl").write_text("")
    with pytest.raises(CourseError, match="no item"):
        read_examples(tmp_path, processor)

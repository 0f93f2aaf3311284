"""Boxes that the served model gives stay where they were: an engine that moves them, and changes no text, is noticed.

``served_boxes.json`` has the answers of the pinned vLLM. Another processor may round otherwise, so that single boxes
differ; the mean overlap decides. ``python -m tests.toolkit.grounding.test_served_boxes`` asks for them anew.
"""

import base64
import json
from pathlib import Path

import pytest

from helpers.files import COURSE_ROOT
from toolkit.grounding import iou, read_objects

SCENES = COURSE_ROOT / "data" / "scenes"
COMMITTED = Path(__file__).with_name("served_boxes.json")
#: Mean overlap with the committed boxes. A few boxes of twenty may jump; all of them moved by 2 % of the image may not.
LEAST = 0.85


def asked():
    """(Image file, kind, true box) of a subject per scene whose kind is there once."""
    for line in (SCENES / "items.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        subjects = item["facts"]["subjects"]
        kinds = [subject["kind"] for subject in subjects]
        single = next((subject for subject in subjects if kinds.count(subject["kind"]) == 1), None)
        if single:
            yield item["media"][0], single["kind"], single["box"]


def served_boxes(client, model):
    """Image file → box in thousandths; None for an answer without one."""
    found = {}
    for file, kind, _ in asked():
        data = base64.b64encode((SCENES / file).read_bytes()).decode()
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            {"type": "text", "text": f"Where is the {kind}? Answer with a box as JSON."},
        ]
        messages = [{"role": "user", "content": content}]
        reply = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=64)
        objects = read_objects(reply.choices[0].message.content).objects
        found[file] = list(objects[0].box) if objects else None
    return found


def overlap(found, expected):
    return sum(iou(found[file], box) if found[file] else 0.0 for file, box in expected.items()) / len(expected)


@pytest.fixture(scope="module")
def committed():
    return json.loads(COMMITTED.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_served_boxes_are_where_they_were(server, client, committed):
    found = served_boxes(client, server.model_name)
    assert found.keys() == committed.keys()
    assert overlap(found, committed) >= LEAST


def test_the_committed_boxes_are_worth_keeping(committed):
    truth = {file: box for file, _, box in asked()}
    assert committed.keys() == truth.keys()
    assert overlap(committed, truth) >= 0.5


@pytest.mark.parametrize(
    "moved",
    [
        lambda box: [side + 20 for side in box],
        lambda box: [side * 0.96 for side in box],
        lambda box: [side * 256 / 1000 for side in box],
        lambda box: box[1::-1] + box[:1:-1],
        lambda box: None,
    ],
    ids=["2 % to the lower right", "4 % smaller", "pixels", "x and y exchanged", "none"],
)
def test_boxes_that_moved_are_noticed(moved, committed):
    assert overlap({file: moved(box) for file, box in committed.items()}, committed) < LEAST


def test_a_few_boxes_may_jump(committed):
    files = list(committed)
    assert overlap(committed | dict.fromkeys(files[:2]), committed) >= LEAST


def main():
    """Ask a server for the boxes, and write them."""
    from openai import OpenAI

    from helpers.profiles import use_profile
    from helpers.server import serve

    with serve(use_profile("tiny"), quiet=True) as running:
        found = served_boxes(OpenAI(base_url=running.base_url, api_key=running.api_key), running.model_name)
    lines = ",\n".join(f"  {json.dumps(file)}: {json.dumps(box)}" for file, box in found.items())
    COMMITTED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

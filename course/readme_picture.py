"""The README's image: a bundled scene and what the tiny model says of it; `python -m course.readme_picture` makes it.

The answers come from the bundled weights through transformers, greedily; nothing in the image is written by hand.
"""

from __future__ import annotations

import base64
import html
import json
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

from helpers.files import COURSE_ROOT, write_whole
from helpers.templates import render

PICTURE = COURSE_ROOT / "docs" / "answer.svg"
PICTURE_TEMPLATE = Path(__file__).with_name("readme_picture.svg.j2")
MODEL = "tiny-qwen3-vl"
SCENES = COURSE_ROOT / "data" / "scenes"
DESCRIBE = "Describe this image."
#: Colours of the boxes, legible on light and dark pages and told apart by the colour-blind.
_COLOURS = ("#d55e00", "#0072b2")


def answers(image: Path, questions: list[str]) -> list[str]:
    """What the bundled tiny model says of an image, one answer per question."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = COURSE_ROOT / "data" / "models" / MODEL
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    said = []
    for question in questions:
        content = [{"type": "image", "path": str(image)}, {"type": "text", "text": question}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=160)
        said.append(processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return said


def _where(kind: str) -> str:
    return f"Where is the {kind}? Answer with a box as JSON."


def drawn(image: Path, description: str, boxes: list[dict[str, Any]]) -> str:
    """The whole as SVG: the scene with boxes on the left, question and answer on the right.

    Args:
        image: a PNG.
        description: the answer to `DESCRIBE`.
        boxes: the model's own answers, ``bbox_2d`` in thousandths of width and height, and ``label``.
    """
    said = [(DESCRIBE, textwrap.wrap(description, 52))]
    said += [(_where(box["label"]), [json.dumps(box)]) for box in boxes]
    return render(
        PICTURE_TEMPLATE,
        filters={"text": partial(html.escape, quote=False)},
        model=MODEL,
        image=base64.b64encode(image.read_bytes()).decode(),
        description=description,
        boxes=boxes,
        colours=_COLOURS,
        said=said,
    )


def main(seed: int = 11049591) -> None:
    image = SCENES / f"scene-{seed}.png"
    item = next(json.loads(line) for line in (SCENES / "items.jsonl").open(encoding="utf-8") if f"-{seed}" in line)
    kinds = [subject["kind"] for subject in item["facts"]["subjects"]][: len(_COLOURS)]
    description, *found = answers(image, [DESCRIBE, *map(_where, kinds)])
    write_whole(PICTURE, drawn(image, description, [json.loads(answer) for answer in found]))
    print(PICTURE, description, *found, sep="\n")


if __name__ == "__main__":
    main()

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
    from transformers import pipeline

    ask = pipeline("image-text-to-text", str(COURSE_ROOT / "data" / "models" / MODEL), dtype=torch.float32)
    said = []
    for question in questions:
        content = [{"type": "image", "path": str(image)}, {"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        (answer,) = ask(
            text=messages, return_full_text=False, generate_kwargs={"do_sample": False, "max_new_tokens": 160}
        )
        said.append(answer["generated_text"].strip())
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

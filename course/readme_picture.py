"""The README's image: a bundled scene and what the tiny model says of it; `python -m course.readme_picture` makes it.

The answers come from the bundled weights through transformers, greedily; nothing in the image is written by hand.
"""

from __future__ import annotations

import base64
import html
import json
import textwrap
from pathlib import Path
from typing import Any

from helpers.files import COURSE_ROOT, write_whole

PICTURE = COURSE_ROOT / "docs" / "answer.svg"
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
    side, left = 300, 330
    lines = textwrap.wrap(description, 52)
    parts = [
        '<rect class="paper" width="760" height="320" rx="8"/>',
        f'<image href="data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}" '
        f'x="10" y="10" width="{side}" height="{side}"/>',
    ]
    for colour, box in zip(_COLOURS, boxes, strict=False):
        x0, y0, x1, y1 = (10 + side * value / 1000 for value in box["bbox_2d"])
        label = html.escape(box["label"])
        parts.append(
            f'<rect x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}" fill="none" '
            f'stroke="{colour}" stroke-width="3"/>'
            f'<rect x="{x0:.0f}" y="{y0 - 18:.0f}" width="{9 * len(label) + 10}" height="18" fill="{colour}"/>'
            f'<text x="{x0 + 5:.0f}" y="{y0 - 5:.0f}" fill="#fff" font-size="13">{label}</text>'
        )
    said = [(DESCRIBE, lines), *((_where(box["label"]), [json.dumps(box)]) for box in boxes)]
    y = 28
    for question, answer in said:
        parts.append(f'<text x="{left}" y="{y}" class="soft">{html.escape(question)}</text>')
        parts += [
            f'<text x="{left}" y="{y + 22 * number}">{html.escape(line, quote=False)}</text>'
            for number, line in enumerate(answer, start=1)
        ]
        y += 22 * len(answer) + 30
    parts.append(f'<text x="{left}" y="306" class="soft">{MODEL}, 5.4 M parameters</text>')
    alt = html.escape(f"A drawn scene. {MODEL} says: {description}")
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 320" role="img" aria-label="{alt}">
<style>
  text {{ font: 15.5px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b2530; }}
  .soft {{ font-size: 13px; fill: #52606d; }} rect + text {{ fill: #fff; font-size: 13px; }}
  .paper {{ fill: #fff; }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e4e9ef; }} .soft {{ fill: #a3afbc; }} .paper {{ fill: #1a2129; }}
  }}
</style>
{body}
</svg>
"""


def main(seed: int = 11049591) -> None:
    """Ask the model and write the image."""
    image = SCENES / f"scene-{seed}.png"
    item = next(json.loads(line) for line in (SCENES / "items.jsonl").open(encoding="utf-8") if f"-{seed}" in line)
    kinds = [subject["kind"] for subject in item["facts"]["subjects"]][: len(_COLOURS)]
    description, *found = answers(image, [DESCRIBE, *map(_where, kinds)])
    write_whole(PICTURE, drawn(image, description, [json.loads(answer) for answer in found]))
    print(PICTURE, description, *found, sep="\n")


if __name__ == "__main__":
    main()

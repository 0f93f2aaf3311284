"""Why does the tiny Qwen2-VL not read? Both families, with parts exchanged, learn to read two lines of digits.

``python -m benchmarks.reading --seeds 1`` trains each variant of ``reading.yaml`` from scratch for the same number of
steps, with the trainer's optimizers and loss and in float32, and adds to ``reading_check.json`` what it reads of
held-out images. A run that is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import nn

from benchmarks.reading_grafts import add_deepstack, learn_positions, normalize_queries_and_keys, share_frequencies
from benchmarks.record import write_record
from helpers.files import read_yaml
from toolkit.tiny_model import architecture, dataset
from toolkit.tiny_model.fast_kernels import hidden_states_at, use_fast_kernels
from toolkit.tiny_model.loss import summed_loss
from toolkit.tiny_model.mrope import with_positions
from toolkit.tiny_model.optimizers import build_optimizers, clip_gradients, lr_factor, rescale_gradients
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.presets import find_preset
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.toyworld.receipt_drawing import font

HERE = Path(__file__).parent
DIGITS, STEPS, BATCH, WARM_UP, HELD_OUT, FIRST_HELD_OUT = 3, 100, 16, 20, 256, 10_000_000
#: Pixels of an image whose tokens are squares of 32, and what the processor makes of it if they are squares of 28.
SIZES = {32: (96, 64), 28: (84, 56)}
#: Drawn so much larger and reduced once, so that neither size has the sharper letters.
ENLARGED = 4


def draw(seed: int, size: tuple[int, int]) -> tuple[Image.Image, str]:
    """Two lines of three digits, always at the same place; shades and half a pixel follow the seed."""
    rng = random.Random(f"reading-{seed}")  # noqa: S311
    lines = ["".join(rng.choices("0123456789", k=DIGITS)) for _ in range(2)]
    image = Image.new("L", (SIZES[32][0] * ENLARGED, SIZES[32][1] * ENLARGED), rng.randint(235, 255))
    typeface = font("sans", False, 26 * ENLARGED)
    left, top, ink = 22 * ENLARGED + rng.randint(0, 2), rng.randint(0, 2), rng.randint(10, 60)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((left, top + 28 * number * ENLARGED), line, fill=ink, font=typeface)
    return image.resize(size, Image.Resampling.LANCZOS).convert("RGB"), "\n".join(lines)


class Reader:
    """A variant of a model with random weights, and its batches."""

    def __init__(self, variant: dict[str, Any], seed: int):
        self.size, self.layout = SIZES[variant["drawn"]], layout_of(variant["family"])
        self.tokenizer = build_tokenizer()
        config = architecture.build_config(self.tokenizer, variant["family"])
        if patch := variant.get("patch"):
            config.vision_config.patch_size, self.layout = patch, replace(self.layout, patch=patch)
        if variant.get("deepstack") is False:
            config.vision_config.deepstack_visual_indexes = []
        self.model = architecture.build_model(config, seed)
        use_fast_kernels(self.model)
        if rope := variant.get("rope"):
            share_frequencies(self.model, rope)
        if "positions" in variant:
            learn_positions(self.model, variant["positions"], self.batch(range(1))["pixel_values"].shape[0])
        for layer in self.model.model.language_model.layers if "first_qk" in variant else ():
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                projection.weight.data *= variant["first_qk"]
        if "qk_norm" in variant:
            normalize_queries_and_keys(self.model, variant["qk_norm"])
        if variant.get("deepstack"):
            add_deepstack(self.model)

    def batch(self, seeds: range) -> dict[str, Any]:
        drawn = [draw(seed, self.size) for seed in seeds]
        turns = [dataset.Turn("Read.", text, image) for image, text in drawn]
        examples = [dataset.encode(self.tokenizer, [turn], None, self.layout) for turn in turns]
        return with_positions(dataset.collate(examples, self.tokenizer, self.layout), self.layout)

    def score(self) -> dict[str, Any]:
        """Wrong digits of held-out images, given those before; and images without one, which is exact match."""
        wrong, perfect = 0, 0
        digits = torch.tensor(self.tokenizer.convert_tokens_to_ids(list("0123456789")))
        for start in range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT, 64):
            batch = self.batch(range(start, start + 64))
            targets = batch.pop("labels")[:, 1:]
            asked = nn.functional.pad(torch.isin(targets, digits), (0, 1))
            with torch.no_grad():
                said = self.model.lm_head(hidden_states_at(self.model, asked, batch)).argmax(-1)
            missed = (said != targets[asked[:, :-1]]).view(64, 2 * DIGITS).sum(1)
            wrong, perfect = wrong + int(missed.sum()), perfect + int((missed == 0).sum())
        return {"wrong_digits": wrong / (2 * DIGITS * HELD_OUT), "exact": perfect / HELD_OUT, "images": HELD_OUT}


def run(name: str, variant: dict[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Train one variant; its scores at every fifth of the steps, in ``curve``."""
    began, reader, curve, smoothed = time.process_time(), Reader(variant, seed), [], None
    optimizers = build_optimizers(reader.model, find_preset("strips"))
    for step in range(steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * lr_factor(step, step / steps, WARM_UP)
        first = (seed * 1_000 + step) * BATCH
        total, count = summed_loss(reader.model, reader.batch(range(first, first + BATCH)))
        (total / count).backward()
        rescale_gradients(reader.model, min(clip_gradients(reader.model), 1.0))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        smoothed = 0.9 * (smoothed or total.item() / count) + 0.1 * total.item() / count
        if (step + 1) % (steps // 5) == 0:
            curve.append({"step": step + 1, "loss": round(smoothed, 4), **reader.score()})
            print(name, seed, curve[-1], f"{time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
    parameters = sum(parameter.numel() for parameter in reader.model.parameters())
    seconds = round(time.process_time() - began)
    return {
        "variant": name,
        "seed": seed,
        "parameters": parameters,
        "cpu_seconds": seconds,
        **curve[-1],
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", help="names in reading.yaml; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=HERE / "reading_check.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    variants = read_yaml(HERE / "reading.yaml")
    record = json.loads(given.out.read_text()) if given.out.is_file() else {"runs": []}
    for seed in given.seeds:
        for name in given.variants or variants:
            if any((made["variant"], made["seed"]) == (name, seed) for made in record["runs"]):
                continue
            record["runs"].append(run(name, variants[name], seed, given.steps))
            record |= {"steps": given.steps, "variants": variants}
            write_record(given.out, "python -m benchmarks.reading", record)


if __name__ == "__main__":
    main()

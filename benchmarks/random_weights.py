"""A checkpoint of random weights on disk, for programs that cannot make up their own as vLLM can."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from helpers.errors import CourseError
from helpers.files import shown


def write_random_checkpoint(shape: Path, target: Path, seed: int = 0) -> Path:
    """A checkpoint of random weights for a folder that has none, so that all contenders load the same ones.

    float32, which is what all compute in: transformers then maps the file, and its processes share the memory.
    Normal with a deviation of 0.02, as transformers begins a training; norms are 1, biases 0.

    Args:
        shape: folder with configuration, tokenizer and processor.
        target: it is written there, once; 8.5 GB for 2 billion parameters.
        seed: of the weights.

    Raises:
        CourseError: the disk is full or read-only.
    """
    import shutil

    if (target / "model.safetensors").is_file():
        return target
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(shape))
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in tied}
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, size in shapes.items():
        begin, end = end, end + 4 * math.prod(size)
        header[name] = {"dtype": "F32", "shape": size, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)  # aligned
    generator = torch.Generator().manual_seed(seed)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in shape.iterdir():
            if path.is_file() and path.suffix != ".safetensors":
                shutil.copyfile(path, target / path.name)
        unfinished = target / "unfinished"
        with unfinished.open("wb") as file:  # tensor by tensor: the whole would not fit twice in memory
            file.write(struct.pack("<Q", len(text)) + text)
            for name, size in shapes.items():
                tensor = torch.zeros(size) if name.endswith("bias") else torch.ones(size)
                if len(size) > 1:
                    tensor.normal_(0, 0.02, generator=generator)
                file.write(memoryview(tensor.numpy()).cast("B"))
        unfinished.replace(target / "model.safetensors")
    except OSError as error:
        raise CourseError(
            f"Cannot write random weights to {shown(target)}: {error.strerror}.", "a full or read-only disk"
        ) from None
    return target

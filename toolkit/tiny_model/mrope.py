"""M-RoPE positions of tokens and patches, computed where a batch is drawn instead of in the model's forward pass."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.tiny_model.patches import PatchLayout

TEXT, IMAGE, VIDEO = 0, 1, 2


def with_positions(batch: dict[str, Any], layout: PatchLayout) -> dict[str, Any]:
    """The batch of `dataset.collate`, with ``position_ids`` (tokens), ``image_`` and ``video_position_ids`` (patches).

    The stock model computes both in loops over conversations and images, which holds up a GPU. And of Qwen2-VL's two
    readings this gives vLLM's: after an image or video, text continues after the largest of its positions, as in the
    released code. In transformers 5.19 (``Qwen2VLModel.get_rope_index``) it continues after its height and width only,
    which differs for videos that have more pairs of frames than rows and columns of tokens.
    """
    import torch
    from transformers.vision_utils import get_vision_position_ids

    found = {}
    for name in ("image", "video"):
        if (grids := batch.get(f"{name}_grid_thw")) is not None:
            found[f"{name}_position_ids"] = get_vision_position_ids(grids, layout.merge)
    if found:
        images, videos = (batch[key].tolist() if key in batch else [] for key in ("image_grid_thw", "video_grid_thw"))
        parts = batch["parts"].numpy() if "parts" in batch else None
        positions = mrope_positions(batch["mm_token_type_ids"].numpy(), images, videos, layout, parts)
        found["position_ids"] = torch.from_numpy(positions)
    if "parts" in batch:
        found["attention_mask"] = attention_mask(batch["parts"])
    return {key: value for key, value in batch.items() if key != "parts"} | found


def attention_mask(parts: Any) -> Any:
    """Which token sees which: an earlier one, or itself, that is of its own part or of part 0.

    Args:
        parts: int64 tensor (conversations, length), see `dataset.Example`.

    Returns:
        bool (conversations, 1, length, length), True where the row's token sees the column's.
    """
    mine = (parts[:, :, None] == parts[:, None, :]) | (parts[:, None, :] == 0)
    return mine.tril()[:, None]


def mrope_positions(
    kinds: np.ndarray,
    images: list[list[int]],
    videos: list[list[int]],
    layout: PatchLayout,
    parts: np.ndarray | None = None,
) -> np.ndarray:
    """M-RoPE: three positions of every token.

    Args:
        kinds: int (conversations, length): 0 text, 1 image, 2 video.
        images: time, height and width in patches of each image, in the order of their tokens.
        videos: the same of each video. With textual timestamps, each pair of frames stands between text of its own.
        parts: int (conversations, length): independent questions (`dataset.Example`); each continues from the end of
            part 0, as if it were the only one. None: there are none.

    Returns:
        int64 (3, conversations, length): time, height, width; the same number three times for text.
    """
    if layout.textual_timestamps:
        videos = [[1, *grid[1:]] for grid in videos for _ in range(grid[0])]
    grids = {IMAGE: iter(images), VIDEO: iter(videos)}
    positions = np.zeros((3, *kinds.shape), dtype=np.int64)
    parts = np.zeros_like(kinds) if parts is None else parts
    for row, of_row in enumerate(zip(parts.tolist(), kinds.tolist(), strict=True)):
        start = position = shared = 0
        for (part, kind), run in itertools.groupby(zip(*of_row, strict=True)):
            end = start + len(list(run))
            if part:
                position = shared
            if kind == TEXT:
                positions[:, row, start:end] = np.arange(position, position + end - start)
                position += end - start
            else:
                times, height, width = next(grids[kind])
                shape = (times, height // layout.merge, width // layout.merge)
                positions[:, row, start:end] = np.indices(shape).reshape(3, -1) + position
                position += max(shape)
            if not part:
                shared = position
            start = end
    return positions


@dataclass(frozen=True)
class PreparedBatches:
    """The batches of a data set with their positions, as the training step takes them."""

    batches: Any
    layout: PatchLayout
    bfloat16: bool = False
    """Patches in bfloat16: half the memory between processes, and what autocast makes of them anyway."""

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        batch = with_positions(self.batches[number], self.layout)
        if self.bfloat16:
            batch |= {key: value.bfloat16() for key, value in batch.items() if key.startswith("pixel_values")}
        return batch

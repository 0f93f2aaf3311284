"""From pixels to patches: how a family cuts images and videos into tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from helpers.errors import CourseError


@dataclass(frozen=True)
class PatchLayout:
    """What differs between the families on the way from pixels to tokens; the tiny models keep the released values."""

    family: str
    patch: int
    """Side of a patch, in pixels."""
    textual_timestamps: bool
    """Each pair of frames is announced by its time as text, between vision marks of its own."""
    merge: int = 2
    """Patches merged into one token, along each side."""
    temporal: int = 2
    """Frames that share a patch."""

    @property
    def unit(self) -> int:
        """Side, in pixels, of the square that becomes one token."""
        return self.patch * self.merge


_LAYOUTS = {
    "qwen3-vl": PatchLayout("qwen3-vl", patch=16, textual_timestamps=True),
    "qwen2-vl": PatchLayout("qwen2-vl", patch=14, textual_timestamps=False),
}
FAMILIES = tuple(_LAYOUTS)


def layout_of(family: str) -> PatchLayout:
    """The layout of a family.

    Raises:
        CourseError: unknown family.
    """
    if family not in _LAYOUTS:
        raise CourseError(
            f"There is no family '{family}'.", "a misspelt --family", f"use one of: {', '.join(FAMILIES)}"
        )
    return _LAYOUTS[family]


def patchify(frames: list[Image.Image], layout: PatchLayout) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Frames of one size, as patches in the order of the stock processors.

    A single image counts as two equal frames; an odd number of frames repeats the last. Sides are rounded to whole
    tokens, as the processors' ``smart_resize`` does (without its limits on pixels).

    Returns:
        uint8 (time × height × width in patches, 3 × 2 × patch × patch) and the grid. Order and values equal
        ``Qwen2VLImageProcessor`` and ``Qwen3VLVideoProcessor`` before normalization (tests compare them).
    """
    patch, merge, temporal = layout.patch, layout.merge, layout.temporal
    pixels = np.stack([np.asarray(_fit(frame, layout.unit).convert("RGB")) for frame in frames])
    if len(pixels) % temporal:
        pixels = np.concatenate([pixels, pixels[-1:]])
    count, height, width, channels = pixels.shape
    times, rows, columns = count // temporal, height // patch, width // patch
    tiles = pixels.reshape(
        times, temporal, rows // merge, merge, patch, columns // merge, merge, patch, channels
    ).transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return tiles.reshape(times * rows * columns, -1), (times, rows, columns)


def _fit(image: Image.Image, unit: int) -> Image.Image:
    width, height = (max(1, round(side / unit)) * unit for side in image.size)
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.BICUBIC)


def normalized(patches: np.ndarray) -> np.ndarray:
    """float32 from -1 to 1, as the processors' mean and standard deviation of 0.5 give."""
    return patches.astype(np.float32) * (2 / 255) - 1

"""How a family cuts pictures and clips into tokens."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.errors import CourseError


@dataclass(frozen=True)
class Layout:
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
    "qwen3-vl": Layout("qwen3-vl", patch=16, textual_timestamps=True),
    "qwen2-vl": Layout("qwen2-vl", patch=14, textual_timestamps=False),
}
FAMILIES = tuple(_LAYOUTS)


def layout_of(family: str) -> Layout:
    """The layout of a family.

    Raises:
        CourseError: unknown family.
    """
    if family not in _LAYOUTS:
        raise CourseError(
            f"There is no family '{family}'.", "a misspelt --family", f"use one of: {', '.join(FAMILIES)}"
        )
    return _LAYOUTS[family]

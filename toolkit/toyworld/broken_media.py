"""Video files as phones, interrupted downloads and screen recorders leave them: unusual ones, and broken ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

import numpy as np

if TYPE_CHECKING:
    from av import VideoStream

#: Ticks per second in which the times of frames are written where the rate varies.
CLOCK = 90


def plain(number: int, width: int, height: int) -> np.ndarray:
    """A grey frame; the shade tells its number (of the first 32)."""
    return np.full((height, width, 3), number % 32 * 8, np.uint8)


def broken_clips(folder: Path) -> dict[str, Path]:
    """Write one of each kind into ``folder``, and return their paths; the last one is missing."""
    ordinary = write(folder / "ordinary.mp4", draw=corners)
    front = write(folder / "front.mp4", frames=60, fps=10, draw=noise, faststart=True)
    text = folder / "text.mp4"
    text.write_text("not a video\n", encoding="utf-8")
    return {
        "an ordinary clip": ordinary,
        "cut off": half(folder / "cut.mp4", ordinary),
        "whole, header in front": front,
        "cut off, header in front": half(folder / "cut-front.mp4", front),
        "no frames": write(folder / "none.mp4", frames=0),
        "one frame": write(folder / "one.mp4", frames=1),
        "sound only": sound(folder / "sound.mp4"),
        "variable frame rate": variable(folder / "variable.mp4"),
        "turned by a quarter": write(folder / "turned.mp4", frames=8, width=128, draw=corners, rotation=90),
        "odd sides": write(folder / "odd.mp4", frames=8, width=63, height=41, pixels="yuv444p"),
        "1 × 2 pixels": write(folder / "speck.mov", frames=8, width=1, height=2, codec="png", pixels="rgb24"),
        "8 × 1800 pixels": write(folder / "strip.mp4", frames=8, width=8, height=1800),
        "10,000 frames": write(folder / "long.mp4", frames=10_000, fps=30),
        "a text named mp4": text,
        "an mp4 named png": Path(shutil.copy(ordinary, folder / "clip.png")),
        "not there": folder / "missing.mp4",
    }


class Encoding(TypedDict, total=False):
    """How `write` encodes."""

    rotation: int
    """Degrees by which a player is told to turn the frames, counterclockwise."""
    codec: str
    """FFmpeg's name for it; default: libx264."""
    pixels: str
    """Their layout; the default, yuv420p, needs even sides."""
    faststart: bool
    """Whether the header stands in front of the frames."""


def write(
    path: Path,
    *,
    frames: int = 16,
    fps: float | Fraction = 4,
    width: int = 64,
    height: int = 64,
    draw: Callable[[int, int, int], np.ndarray] = plain,
    ticks: Iterable[int] | None = None,
    **encoding: Unpack[Encoding],
) -> Path:
    """Write a video whose container follows from the name's suffix, and return its path.

    ``draw`` makes a frame from its number, width and height (in pixels, before the rotation). ``ticks`` are the times
    of the frames in 1/90 s, where the rate varies.
    """
    import av

    moments = None if ticks is None else list(ticks)
    codec = encoding.get("codec", "libx264")
    with av.open(str(path), "w", options={"movflags": "faststart"} if encoding.get("faststart") else {}) as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001)))
        stream.width, stream.height, stream.pix_fmt = width, height, encoding.get("pixels", "yuv420p")
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "threads": "1"}
        if moments is not None:
            stream.codec_context.time_base = Fraction(1, CLOCK)
        if rotation := encoding.get("rotation"):
            stream.set_display_rotation(rotation)
        if not frames:
            container.start_encoding()
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number, width, height), format="rgb24")
            if moments is not None:
                frame.pts, frame.time_base = moments[number], Fraction(1, CLOCK)
            container.mux(stream.encode(frame))
        if frames:
            container.mux(stream.encode(None))
    return path


def variable(path: Path) -> Path:
    """30 frames: 15 at 30 per second, then 15 at 2 per second."""
    return write(path, frames=30, fps=30, ticks=[*range(0, 45, 3), *range(45, 45 + 15 * 45, 45)])


def noise(number: int, width: int, height: int) -> np.ndarray:
    """A frame that does not compress."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def corners(number: int, width: int, height: int) -> np.ndarray:
    """Red at the top left, green at the top right, blue at the bottom left, black at the bottom right."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2, 0] = 255
    frame[: height // 2, width // 2 :, 1] = 255
    frame[height // 2 :, : width // 2, 2] = 255
    return frame


def sound(path: Path) -> Path:
    """A second of silence, without images."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def half(path: Path, whole: Path) -> Path:
    """The first half of another file."""
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path

"""Clips: frames in memory, and the MP4 files that they become."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

#: x264's constant rate factor; 12 leaves flat drawings nearly as they were.
QUALITY = 12


@dataclass(frozen=True)
class Clip:
    """A short video: RGB frames of one size."""

    frames: tuple[Image.Image, ...]
    fps: float


def mp4_bytes(clip: Clip) -> bytes:
    """The clip as an MP4 file (H.264, yuv420p) that browsers, PyAV and OpenCV read.

    Frames must have even sides. The same clip gives the same bytes with the same PyAV: one thread, no time stamps.
    """
    import av

    buffer = io.BytesIO()
    rate = Fraction(clip.fps).limit_denominator(1000)
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = clip.frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(QUALITY), "preset": "medium", "threads": "1", "flags": "+bitexact"}
        stream.codec_context.thread_count = 1
        for image in clip.frames:
            # Two by two pixels share their colour: the mean of the four (AREA) stays nearest to the original.
            frame = av.VideoFrame.from_image(image).reformat(format="yuv420p", interpolation="AREA")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()

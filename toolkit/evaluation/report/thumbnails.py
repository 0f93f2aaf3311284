"""Images and videos made small enough to embed in a page: data URLs of a few kilobytes each."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from helpers.errors import CourseError
from helpers.media import eight_bits
from toolkit.evaluation.inference.requests import data_url, mime_of

#: Pixels of an image's longer side.
SIDE = 256
#: A video becomes this many of its frames, in two rows, each this wide.
FRAMES, FRAME_WIDTH = 8, 120
#: Bytes of a video up to which it is embedded whole, to be played.
MAX_VIDEO = 400_000
_JPEG_QUALITY = 80
_COLOURS = 128


@dataclass(frozen=True)
class Thumbnail:
    """A small image of a medium, for a page."""

    url: str
    """A data URL of a JPEG or PNG image."""
    width: int
    height: int
    caption: str
    """Name of the file; of a video, also the seconds of its frames."""
    video: str = ""
    """The video itself as a data URL, if it is small."""


def thumbnail(path: Path) -> Thumbnail:
    """An image scaled down to `SIDE`, or some frames of a video on one sheet: from left to right, then the next row.

    Raises:
        CourseError: no such file, or one that is neither an image nor a video.
    """
    if mime_of(path).startswith("video/"):
        return _sheet(path)
    try:
        with Image.open(path) as image:
            small = eight_bits(image).convert("RGBA" if image.has_transparency_data else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CourseError(f"{path.name} cannot be read as an image: {error}.", "a moved or damaged file") from None
    if small.mode == "RGBA":
        paper = Image.new("RGB", small.size, "white")
        paper.paste(small, mask=small.getchannel("A"))
        small = paper
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return Thumbnail(_url(small), *small.size, path.name)


def _sheet(path: Path) -> Thumbnail:
    import numpy as np

    from helpers.media import probe, read_frames

    info = probe(path)
    numbers = np.linspace(0, info.frames - 1, min(FRAMES, info.frames)).round().astype(int).tolist()
    frames = [Image.fromarray(frame) for frame in read_frames(info, numbers)]
    width = min(FRAME_WIDTH, info.width)
    size = (width, max(1, round(width * info.height / info.width)))
    columns = -(-len(frames) // 2)
    sheet = Image.new("RGB", (columns * (width + 2) - 2, 2 * size[1] + 2 if len(frames) > 1 else size[1]), "white")
    for place, frame in enumerate(frames):
        small = frame.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(small, (place % columns * (width + 2), place // columns * (size[1] + 2)))
    seconds = ", ".join(f"{info.times[number]:.1f}" for number in numbers)
    video = data_url(path, path.read_bytes()) if path.stat().st_size <= MAX_VIDEO else ""
    return Thumbnail(_url(sheet), *sheet.size, f"{path.name}: frames at {seconds} s", video)


def _url(image: Image.Image) -> str:
    """The smaller of a JPEG (photographs) and a PNG of few colours (drawings)."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    image.quantize(_COLOURS).save(png, "PNG", optimize=True)
    kind, content = min((("jpeg", jpeg.getvalue()), ("png", png.getvalue())), key=lambda pair: len(pair[1]))
    return data_url(f"image.{kind}", content)

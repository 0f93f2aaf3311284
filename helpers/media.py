"""Videos on their way to a model: what is in a file, which of its frames a model sees, and those frames as an array.

PyAV decodes: it brings FFmpeg in its wheel, so nothing has to be installed beside it. Images beside text in a
notebook are here too.
"""

from __future__ import annotations

import base64
import bisect
import html
import math
import mimetypes
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from helpers.errors import CourseError
from helpers.files import shown

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

#: What `qwen-vl-utils`, transformers' Qwen3-VL video processor and vLLM's loaders for both families share: 2 frames per
#: second of video, at least 4 and at most 768.
SAMPLED_FPS, FEWEST_FRAMES, MOST_FRAMES = 2.0, 4, 768
#: By this share may intervals between frames differ in a video of constant frame rate: containers round.
STEADY = 0.05
#: How HEIC and HEIF files name themselves after ``ftyp``.
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True)
class Sampling:
    """How many frames of a video a model is to see.

    ``fps`` frames per second of the video, but no fewer than ``min_frames`` and no more than ``max_frames``, and
    never more than there are.

    Raises:
        CourseError: a rate that is not a positive number, or limits that contradict each other.
    """

    fps: float = SAMPLED_FPS
    min_frames: int = FEWEST_FRAMES
    max_frames: int = MOST_FRAMES

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            cause = "it is the number of frames to look at per second"
            raise CourseError(f"fps={self.fps} was refused.", cause, "give 2, say")
        if not 2 <= self.min_frames <= self.max_frames:
            raise CourseError(
                f"min_frames={self.min_frames} with max_frames={self.max_frames} was refused.",
                "a model sees frames in pairs, so the least is 2, and the least cannot exceed the most",
                f"the models' own limits are {FEWEST_FRAMES} and {MOST_FRAMES}",
            )


def sampled_indices(
    count: int, video_fps: float, fps: float = SAMPLED_FPS, fewest: int = FEWEST_FRAMES, most: int = MOST_FRAMES
) -> list[int]:
    """Which of ``count`` frames a model that samples ``fps`` frames per second sees, in order.

    This is the rule of ``Qwen3VLVideoProcessor.sample_frames`` in transformers, which vLLM's Qwen3-VL video loader
    repeats: as many frames as fit the video's length, spread evenly from the first to the last.
    """
    import numpy as np

    number = int(count / video_fps * fps)
    number = min(max(number, fewest), most, count)
    return np.linspace(0, count - 1, number).round().astype(int).tolist()


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its first video stream, and what its packets show."""

    path: Path
    fps: float
    """Frames per second, on average."""
    times: tuple[float, ...]
    """Seconds at which each frame is shown, rising, the first at 0."""
    width: int
    """Pixels, as shown: after the rotation."""
    height: int
    codec: str
    rotation: int = 0
    """Degrees by which a player turns the frames, counterclockwise."""

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return self.frames / self.fps

    @property
    def steady(self) -> bool:
        """Whether the frames follow each other at equal intervals."""
        return all(abs((later - earlier) * self.fps - 1) <= STEADY for earlier, later in pairwise(self.times))

    def at(self, second: float) -> int:
        """Number of the frame that is shown at that second."""
        return max(bisect.bisect_right(self.times, second + 1e-6) - 1, 0)

    def indices(self, numbers: Sequence[int]) -> list[int]:
        """What a model is told about these frames: their numbers in a video of the same length and constant rate."""
        return [round(self.times[number] * self.fps) for number in numbers]

    def describe(self) -> str:
        """One line for people."""
        rate = f"{self.fps:g} frames per second" + ("" if self.steady else " on average (variable)")
        turned = f", turned by {self.rotation}°" if self.rotation else ""
        return (
            f"{self.path.name}: {self.frames} frames, {rate}, {self.seconds:.1f} s, "
            f"{self.width} × {self.height} pixels{turned}, {self.codec}"
        )


def probe(path: str | Path) -> VideoInfo:
    """Read what is in a file without decoding more than its first frame; memory does not grow with its pixels.

    The content decides, whatever the name ends in.

    Raises:
        CourseError: no such file, no video in it, no frames, or fewer than its header promises (cut off).
    """
    import av

    path = Path(path).absolute()  # FFmpeg takes the part before a colon for a protocol
    if not path.is_file():
        raise CourseError(f"There is no file {shown(path)}.", "a misspelt path, or a folder", "look at the path")
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            promised, rate = stream.frames, stream.average_rate or stream.guessed_rate
            packets = [
                (packet.is_discard, float(packet.pts * packet.time_base))
                for packet in container.demux(stream)
                if packet.pts is not None and packet.size
            ]
            times = sorted(time for hidden, time in packets if not hidden)  # a trimmed video hides its first frames
            codec = stream.codec_context.name
        if not times:
            raise CourseError(f"{path.name} has no frames.", "a recording that was never begun", "record it again")
        if promised and len(packets) < promised:
            raise _cut_off(f"{path.name} is cut off: {len(packets)} of {promised} frames are there.")
        first = next(iter(_decoded(path)))
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from None
    span = times[-1] - times[0]
    fps = float(rate) if rate else (len(times) - 1) / span if span else 0.0
    if not fps:
        raise CourseError(f"{path.name} does not say how fast it plays.", "a single image", "send it as an image")
    turned = _turns(first) % 2
    return VideoInfo(
        path=path,
        fps=fps,
        times=tuple(time - times[0] for time in times),
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        codec=codec,
        rotation=_turns(first) * 90,
    )


def read_frames(info: VideoInfo, numbers: Sequence[int]) -> np.ndarray:
    """Decode the frames of these rising numbers; the others pass through memory one by one.

    Returns:
        uint8 (N, height, width, 3), red, green, blue; turned the way a player shows them.

    Raises:
        CourseError: the file is damaged before the last of them.
    """
    import av
    import numpy as np

    wanted, found = set(numbers), {}
    try:
        for number, frame in enumerate(_decoded(info.path)):
            if number in wanted:
                found[number] = np.rot90(frame.to_ndarray(format="rgb24"), _turns(frame))
            if len(found) == len(wanted):
                break
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(info.path, error) from None
    if missing := wanted - set(found):
        raise _cut_off(f"{info.path.name} is damaged: frame {min(missing)} of {info.frames} cannot be decoded.")
    return np.stack([found[number] for number in numbers])


def qwen_vl_utils_reader(element: dict[str, Any]) -> tuple[Any, dict[str, Any], float]:
    """Read a video for ``qwen_vl_utils``, whose own three readers need a system FFmpeg or unmaintained packages.

    Put it in the place of the reader that torchvision 0.28 no longer has, which is also the one that is fallen back to:
    ``vision_process.VIDEO_READER_BACKENDS["torchvision"] = qwen_vl_utils_reader`` and
    ``vision_process.FORCE_QWENVL_VIDEO_READER = "torchvision"``.

    Args:
        element: of a message: ``video`` (a path or ``file://`` address), and ``fps``, ``min_frames``, ``max_frames``.
            The package itself applies the pixel limits.

    Returns:
        uint8 tensor (N, 3, height, width); the metadata that vLLM wants; frames per second after sampling.

    Raises:
        CourseError: what `probe` and `read_frames` raise; a video of one frame; a wrong ``fps``; an option that the
            other readers know and this one does not.
    """
    import torch

    if unknown := sorted({"nframes", "video_start", "video_end"} & set(element)):
        remedy = "use fps, min_frames and max_frames, or cut the video"
        raise CourseError(f"'{unknown[0]}' is not known to this reader.", "", remedy)
    address = str(element["video"])
    info = probe(url2pathname(urlsplit(address).path) if address.startswith("file://") else address)
    sampling = Sampling(**{key: element[key] for key in ("fps", "min_frames", "max_frames") if key in element})
    numbers = evenly(info, sampling)
    frames, metadata = read_frames(info, numbers), {"fps": info.fps, "frames_indices": info.indices(numbers)}
    metadata |= {"total_num_frames": info.frames, "video_backend": "pyav"}
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(), metadata, len(numbers) / info.seconds


def refuse_still(info: VideoInfo) -> None:
    """Raises: CourseError, for a video of one frame: models see frames in pairs, and servers refuse it, too."""
    if info.frames < 2:
        raise CourseError(f"{info.path.name} has one frame.", "it is an image", "send it as an image")


def evenly(info: VideoInfo, sampling: Sampling) -> list[int]:
    """Numbers of the frames that ``qwen_vl_utils`` looks at: an even count, evenly spread from first to last.

    The count is that of its ``smart_nframes``. Where the frame rate varies, the spread is even in time.

    Raises:
        CourseError: a video of one frame.
    """
    import numpy as np

    refuse_still(info)
    fewest, most = math.ceil(sampling.min_frames / 2) * 2, min(sampling.max_frames, info.frames) // 2 * 2
    count = int(min(max(info.seconds * sampling.fps, fewest), most)) // 2 * 2
    if info.steady:
        return np.linspace(0, info.frames - 1, count).round().astype(int).tolist()
    return [info.at(second) for second in np.linspace(0, info.times[-1], count)]


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        cause = "sound alone, or another kind of file"
        raise CourseError(f"{path.name} has no video in it.", cause, "look at the file")
    return container.streams.video[0]


def _turns(frame: Any) -> int:
    """Quarter turns counterclockwise; like other players, none for an angle in between."""
    return frame.rotation % 360 // 90 if frame.rotation % 90 == 0 else 0


def _decoded(path: Path) -> Any:
    """Decoded frames in the order in which they are shown, one at a time."""
    import av

    with av.open(str(path)) as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


def _cut_off(what: str) -> CourseError:
    return CourseError(what, "an unfinished download or copy", "get the file again")


def _unreadable(path: Path, error: Exception) -> CourseError:
    return CourseError(
        f"{path.name} cannot be read as a video: {getattr(error, 'strerror', None) or error}.",
        "another kind of file, or one that is cut off",
        "play it with a player; if that fails too, get the file again",
    )


def open_image(path: str | Path) -> Image.Image:
    """The image in a file, as 8-bit RGB, the way a viewer shows it: upright, and 16 bits per channel scaled to 8.

    A vLLM server turns it upright, too, but does not scale: it cuts off whatever is above 255, so that most 16-bit
    images arrive there as white. Convert those before you send them.

    Raises:
        CourseError: no such file, or no image in it; HEIC and HEIF files are named as such.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image: Image.Image = opened
            with suppress(Exception):  # a damaged note about the orientation: vLLM ignores it, too
                image = ImageOps.exif_transpose(opened)
            return eight_bits(image).convert("RGB")
    except FileNotFoundError:
        raise CourseError(f"There is no image {path}.", "a misspelt path", "give the path of a PNG or JPEG") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable_image(path, error) from None


def eight_bits(image: Image.Image) -> Image.Image:
    """The image itself, or a grey one of 8 bits if its values are wider, which `Image.convert` would cut off at 255.

    The whole range of 16 bits becomes that of 8; integers of 32 bits and floats are scaled to their largest value.
    """
    import numpy as np
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float32)).clip(min=0)
    largest = 65_535 if image.mode.startswith("I;16") else values.max() or 1
    return Image.fromarray((values * (255 / largest)).round().astype(np.uint8))


def unreadable_image(path: str | Path, error: Exception) -> CourseError:
    """What to say when Pillow cannot open a file."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            kind = file.read(12)[4:]
    except OSError:
        kind = b""
    if kind.startswith(b"ftyp") and kind[4:] in HEIF_BRANDS:
        return CourseError(
            f"{path} is a HEIC image, which neither Pillow nor vLLM reads.",
            "iPhones and some cameras save photos in this format",
            "convert it to JPEG: sips -s format jpeg IMG.heic --out IMG.jpg (macOS), heif-convert IMG.heic IMG.jpg "
            "(Linux, package libheif-examples), or in a photo program",
        )
    cause = f"not an image, cut off, or larger than Pillow accepts ({error})"
    return CourseError(f"{path} cannot be read as an image.", cause, "open it in a viewer; try another")


def beside(images: Path | list[Path], text: str, *, width: int = 220) -> Any:
    """An HTML display of PNG or JPEG files, embedded and ``width`` CSS pixels wide, with a text to their right.

    The text is shown as written; markup in it has no effect.
    """
    from IPython.display import HTML

    files = [images] if isinstance(images, Path) else images
    tags = "".join(
        f'<img width="{width}" alt="{html.escape(file.name)}" src="data:{mimetypes.guess_type(file.name)[0]};base64,'
        f'{base64.b64encode(file.read_bytes()).decode()}">'
        for file in files
    )
    style = "display:flex;gap:1em;align-items:center;white-space:pre-line"
    return HTML(f'<div style="{style}">{tags}<div style="max-width:36em">{html.escape(text)}</div></div>')

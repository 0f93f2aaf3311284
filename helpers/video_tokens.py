"""What a video will cost, before it is sent: sampled frames, grid and tokens, by the rules of both families.

The rules are those of vLLM 0.32 with transformers 5.19, written out so that they can be read; the tests compare them
with the engine's own count of prompt tokens. Sources: ``vllm/multimodal/video.py`` (which frames the server takes),
``qwen_vl_utils/vision_process.py`` (which frames it takes offline, and its resizing), ``smart_resize`` in
``video_processing_qwen3_vl.py`` and ``video_processing_qwen2_vl.py`` of transformers (the processor's resizing), and
``get_video_repl`` in ``vllm/model_executor/models/qwen3_vl.py`` (timestamps).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.media import MOST_FRAMES, Sampling, VideoInfo, evenly, refuse_still, sampled_indices

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

#: A server looks at no more frames per second than this, whatever the request says (vLLM, ``_MAX_FPS``).
FASTEST = 30
#: Side ratio from which on every processor refuses.
LONGEST_RATIO = 200
#: Tokens per frame that ``qwen_vl_utils`` keeps to, and for a whole video (90 % of its default ``MODEL_SEQ_LEN``).
FRAME_TOKENS, VIDEO_TOKENS = (128, 768), 128_000 * 0.9


@dataclass(frozen=True)
class VideoRules:
    """What a model's video processor does to frames; made by `rules_of`.

    ``temporal`` frames share a patch. Limits of pixels are for all frames of a video together (Qwen3-VL) or for each
    (Qwen2-VL). If ``capped``, each frame is limited to its share as well, which is computed from ``most_tokens``: of a
    frame (Qwen3-VL) or of a video (Qwen2-VL). ``sampling`` is what the processor itself would look at.
    """

    family: str
    patch: int
    merge: int
    temporal: int
    fewest_pixels: int
    most_pixels: int
    capped: bool
    most_tokens: int
    sampling: Sampling

    @property
    def unit(self) -> int:
        """Side in pixels of the square that becomes one token."""
        return self.patch * self.merge


@dataclass(frozen=True)
class VideoPlan:
    """What becomes of a video in a prompt."""

    info: VideoInfo
    rules: VideoRules
    numbers: tuple[int, ...]
    """Of the frames that the model sees."""
    size: tuple[int, int]
    """Height and width of a frame in pixels, after all resizing."""
    marks: tuple[str, ...]
    """Qwen3-VL: the time written before each pair of frames. Qwen2-VL: nothing."""
    mark_tokens: tuple[int, ...]
    """Tokens of each pair that are not pixels: its time, and the vision marks around it."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """Pairs of frames, patches down, patches across."""
        pairs = -(-len(self.numbers) // self.rules.temporal)
        return pairs, self.size[0] // self.rules.patch, self.size[1] // self.rules.patch

    @property
    def tokens_per_pair(self) -> int:
        """Tokens that stand for the pixels of one pair of frames."""
        return self.grid[1] * self.grid[2] // self.rules.merge**2

    @property
    def tokens(self) -> int:
        """Tokens that take the place of the one ``<|video_pad|>`` in the prompt."""
        return self.grid[0] * self.tokens_per_pair + sum(self.mark_tokens)

    def prompt_tokens(self, tokenizer: Any, prompt: str) -> int:
        """Tokens of a whole prompt, made by the chat template, with this video for its one ``<|video_pad|>``."""
        return len(tokenizer.encode(prompt, add_special_tokens=False)) - 1 + self.tokens

    def rows(self) -> list[dict[str, Any]]:
        """A table: for each pair its frames, their seconds, the time as the model reads it, and its tokens."""
        step = self.rules.temporal
        pairs = [self.numbers[first : first + step] for first in range(0, len(self.numbers), step)]
        return [
            {
                "frames": ", ".join(map(str, numbers)),
                "seconds": ", ".join(f"{self.info.times[number]:.2f}" for number in numbers),
                "time in the prompt": self.marks[pair] if self.marks else "",
                "tokens of pixels": self.tokens_per_pair,
                "other tokens": self.mark_tokens[pair] if self.mark_tokens else 0,
            }
            for pair, numbers in enumerate(pairs)
        ]

    def draw(self, frames: np.ndarray) -> Figure:
        """The frames that the model sees, uint8 (N, height, width, 3), in pairs, with their tokens and times."""
        from helpers.drawings import frame_strip

        return frame_strip(self, frames)


def rules_of(processor: Any) -> VideoRules:
    """The rules of a loaded processor (``transformers.AutoProcessor``).

    Raises:
        CourseError: neither Qwen3-VL's nor Qwen2-VL's.
    """
    video = processor.video_processor
    kind = type(video).__name__
    family = {"Qwen3VLVideoProcessor": "qwen3-vl", "Qwen2VLVideoProcessor": "qwen2-vl"}.get(kind)
    if family is None:
        remedy = "use Qwen3-VL, Qwen2-VL or Qwen2.5-VL"
        raise CourseError(f"No rules for {kind} are known here.", "another family of models", remedy)
    return VideoRules(
        family=family,
        patch=video.patch_size,
        merge=video.merge_size,
        temporal=video.temporal_patch_size,
        fewest_pixels=video.size["shortest_edge"],
        most_pixels=video.size["longest_edge"],
        capped=bool(video.cap_pixels_per_frame),
        most_tokens=video.max_video_tokens,
        sampling=Sampling(video.fps or Sampling.fps, video.min_frames, video.max_frames),
    )


def plan_served(info: VideoInfo, processor: Any, sampling: Sampling | None = None) -> VideoPlan:
    """What ``vllm serve`` makes of a video.

    Args:
        info: from `helpers.media.probe`.
        processor: of the model, loaded by transformers.
        sampling: what the server was started with (``--media-io-kwargs '{"video": {"fps": …}}'``); None: its default.

    Raises:
        CourseError: a video that the server would refuse.
    """
    rules, sampling = rules_of(processor), sampling or Sampling()
    _refuse_useless(info)
    if rules.family == "qwen2-vl":
        numbers = _qwen2_numbers(info, rules, sampling)
    else:
        numbers = _qwen3_numbers(info, sampling)
        if len(numbers) == info.frames:  # the loader left all of them: the processor samples again, by its own rule
            numbers = _qwen3_numbers(info, rules.sampling)
    seconds = [number / info.fps for number in numbers]  # as if the rate were constant
    return _plan(info, processor, numbers, seconds, (info.height, info.width))


def plan_offline(
    info: VideoInfo,
    processor: Any,
    sampling: Sampling | None = None,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> VideoPlan:
    """What ``process_vision_info`` and then the engine make of a video that PyAV reads.

    Args:
        info, processor: as for `plan_served`.
        sampling: ``fps``, ``min_frames`` and ``max_frames`` in the message.
        min_pixels, max_pixels: of a frame, as in the message; None: 128 and 768 tokens.

    Raises:
        CourseError: as `plan_served`, or limits that contradict each other or leave nothing of a side.
    """
    rules = rules_of(processor)
    _refuse_useless(info)
    numbers = evenly(info, sampling or Sampling())
    square = rules.unit**2
    fewest = FRAME_TOKENS[0] * square if min_pixels is None else min_pixels
    share = VIDEO_TOKENS * square / len(numbers) * 2
    most = max(min(FRAME_TOKENS[1] * square, share), int(fewest * 1.05))
    most = most if max_pixels is None else min(max_pixels, most)
    if most < fewest:
        raise CourseError(
            f"max_pixels={max_pixels} is below min_pixels={fewest}.",
            f"without another one, min_pixels is that of {FRAME_TOKENS[0]} tokens",
            "give both",
        )
    first = fit((info.height, info.width), rules.unit, (fewest, most), shortest=rules.unit, least=0)
    if not all(first):
        raise CourseError(
            f"{info.path.name}: {info.width} × {info.height} pixels are too long a shape for max_pixels={max_pixels}.",
            "qwen-vl-utils would leave nothing of the shorter side",
            "give more pixels, or cut the video to its middle",
        )
    seconds = [index / info.fps for index in info.indices(numbers)]
    return _plan(info, processor, numbers, seconds, first)


def _refuse_useless(info: VideoInfo) -> None:
    """What every processor refuses."""
    refuse_still(info)
    if max(info.height, info.width) > LONGEST_RATIO * min(info.height, info.width):
        raise CourseError(
            f"{info.path.name}: {info.width} × {info.height} pixels is too long a shape.",
            f"the processors refuse a side that is over {LONGEST_RATIO} times the other",
            "cut the video to its middle",
        )


def _plan(
    info: VideoInfo, processor: Any, numbers: list[int], seconds: list[float], size: tuple[int, int]
) -> VideoPlan:
    rules, tokenizer = rules_of(processor), processor.tokenizer
    marks: tuple[str, ...] = ()
    mark_tokens: tuple[int, ...] = ()
    if rules.family == "qwen3-vl":
        seconds = seconds + seconds[-1:] * (-len(seconds) % rules.temporal)
        pairs = zip(seconds[:: rules.temporal], seconds[rules.temporal - 1 :: rules.temporal], strict=True)
        marks = tuple(f"<{(first + last) / 2:.1f} seconds>" for first, last in pairs)
        mark_tokens = tuple(len(tokenizer.encode(mark, add_special_tokens=False)) + 2 for mark in marks)
    return VideoPlan(info, rules, tuple(numbers), _processed(size, rules, len(numbers)), marks, mark_tokens)


def _processed(size: tuple[int, int], rules: VideoRules, frames: int) -> tuple[int, int]:
    """The processor's own resizing."""
    most, square = rules.most_pixels, rules.unit**2
    if rules.family == "qwen2-vl":
        if rules.capped:
            share = int(rules.most_tokens * square * 0.9) * rules.temporal // frames
            most = max(min(most, share), int(rules.fewest_pixels * 1.05))
        return fit(size, rules.unit, (rules.fewest_pixels, most))
    if rules.capped:
        most = frames * max(min(rules.most_tokens * square, most // frames), int(rules.fewest_pixels * 1.05))
    height, width = size
    if min(size) < rules.unit:
        scale = max(rules.unit / height, rules.unit / width)
        height, width = int(height * scale), int(width * scale)
    counted = round(frames / rules.temporal) * rules.temporal
    return fit((height, width), rules.unit, (rules.fewest_pixels, most), frames=frames, counted=counted)


def _qwen3_numbers(info: VideoInfo, sampling: Sampling) -> list[int]:
    most = min(sampling.max_frames, MOST_FRAMES)
    return sampled_indices(info.frames, info.fps, min(sampling.fps, FASTEST), sampling.min_frames, most)


def _qwen2_numbers(info: VideoInfo, rules: VideoRules, sampling: Sampling) -> list[int]:
    import torch

    step = rules.temporal
    most = min(sampling.max_frames, MOST_FRAMES, info.frames) // step * step
    count = info.frames / info.fps * min(sampling.fps, FASTEST)
    count = int(min(max(count, sampling.min_frames), most, info.frames)) // step * step
    # In float32, as the loader does: float64 would give another frame now and then.
    numbers = torch.arange(0, info.frames, info.frames / count).int()
    return torch.clamp(numbers, max=info.frames - 1).tolist()


def fit(
    size: tuple[int, int],
    unit: int,
    limits: tuple[float, float],
    *,
    frames: int = 1,
    counted: int = 1,
    shortest: int = 0,
    least: int | None = None,
) -> tuple[int, int]:
    """``smart_resize``: (height, width) in pixels of whole tokens, with the aspect ratio kept as nearly as possible.

    Args:
        size: height and width in pixels.
        unit: side of a token's square in pixels.
        limits: fewest and most pixels of all ``frames`` together.
        frames: 1 for an image; ``counted`` is their number rounded to whole pairs.
        shortest: rounding does not go below this side, nor shrinking below ``least`` (None: one token).
    """
    fewest, most = limits
    high, wide = (max(shortest, round(side / unit) * unit) for side in size)
    if counted * high * wide > most:
        shrink = math.sqrt(frames * size[0] * size[1] / most)
        floor = unit if least is None else least
        high, wide = (max(floor, math.floor(side / shrink / unit) * unit) for side in size)
    elif counted * high * wide < fewest:
        grow = math.sqrt(fewest / (frames * size[0] * size[1]))
        high, wide = (math.ceil(side * grow / unit) * unit for side in size)
    return high, wide

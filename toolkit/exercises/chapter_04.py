"""Checkers of chapter 04: video."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, describe, is_close, number

#: Of the clip with 16 frames in 4 seconds.
FRAMES = {"fps=2": 8, "fps=0.5": 4, "fps=8": 16, "fps=2, max_frames=6": 6}
#: Seconds and overlap of windows are compared to this many seconds.
CLOSE = 1e-6


def exercise_1(frames: Any) -> str | None:
    """Four numbers of frames."""
    if not isinstance(frames, list | tuple) or len(frames) != len(FRAMES):
        return f"a list of {len(FRAMES)} numbers is expected, not {describe(frames)}"
    reasons = {2: "below min_frames", 32: "more than the clip has", 8: "look at max_frames"}
    for (setting, expected), answer in zip(FRAMES.items(), frames, strict=True):
        if not is_close(answer, expected, what=setting):
            reason = reasons.get(int(answer)) if setting != "fps=2" else None
            return f"{setting}: {answer} is {reason}" if reason else f"{setting}: seconds × fps, then the limits"
    return None


def exercise_2(pixel_tokens: Callable[..., Any]) -> str | None:
    """Pairs of frames × area / 1024."""
    cases = [
        (10, 320, 320, 20, ""),
        (1, 640, 352, 4, " (mind the least number of frames)"),
        (2.7, 320, 256, 4, " (5 frames are odd, so 4 are taken)"),
        (600, 64, 64, 768, " (mind the most frames)"),
    ]
    for seconds, width, height, frames, mind in cases:
        expected = frames // 2 * width * height // 1024
        answer = call(pixel_tokens, seconds, width, height)
        if not is_close(answer, expected):
            if is_close(answer, 2 * expected):
                mind = " (two frames share their tokens)"
            return f"{seconds} s of {width} × {height} cost {expected} tokens{mind}; your function says {answer}"
    return None


def exercise_3(times: Callable[..., Any]) -> str | None:
    """The mean time of each pair."""
    for numbers, fps in (([0, 6, 12, 19], 6.0), ([0, 15, 30, 45, 60, 75], 30), ([100, 150], 25.0)):
        texts = call(times, list(numbers), fps)
        if not isinstance(texts, list | tuple) or len(texts) != len(numbers) // 2:
            return f"{len(numbers)} frames are {len(numbers) // 2} pairs, each with a text; not {describe(texts)}"
        for pair, text in enumerate(texts):
            first, second = numbers[2 * pair : 2 * pair + 2]
            found = re.fullmatch(r"<(\d+\.\d) seconds>", str(text))
            if not found:
                return f"the form is <0.2 seconds>, with one digit after the point; not {describe(text)}"
            expected = (first + second) / 2 / fps
            if abs(float(found[1]) - expected) > 0.06:  # rounding may go either way
                other = " (that is the first frame's)" if abs(float(found[1]) - first / fps) < 0.06 else ""
                return f"frames {first} and {second} at {fps:g} fps: {expected:.2f} s is expected, not {text}{other}"
    return None


def exercise_4(metadata_of: Callable[..., Any]) -> str | None:
    """Of the video, not of the frames."""
    numbers, video_fps, total = [10, 14, 18, 22], 8.0, 40
    answer = call(metadata_of, list(numbers), video_fps, total)
    if not isinstance(answer, dict):
        return f"a dictionary is expected, not {describe(answer)}"
    lacking = [key for key in ("fps", "frames_indices", "total_num_frames") if key not in answer]
    if lacking:
        return f"the processor needs {lacking[0]!r}"
    indices, fps, frames = list(answer["frames_indices"]), answer["fps"], answer["total_num_frames"]
    if (indices, fps, frames) == ([0, 1, 2, 3], 2.0, 4):
        raise NotAttempted("it still behaves as given: frames 0 to 3 of a video of 2 frames per second")
    if indices != numbers:
        return f"frames_indices are the numbers of the frames in the video, {numbers}; yours are {indices}"
    if not is_close(fps, video_fps, what="fps"):
        return f"fps is the video's own rate, {video_fps:g} here; yours is {fps}"
    if frames != total:
        return f"total_num_frames is how many frames the video has, {total} here; yours is {frames}"
    return None


def exercise_5(windows: Callable[..., Any]) -> str | None:
    """Covering, overlapping, within the video."""
    for seconds, length, overlap in ((300, 4, 2), (10, 4, 1), (3, 4, 1), (101.5, 8, 3), (8, 4, 0)):
        given = f"{seconds} s in windows of {length} s with {overlap} s of overlap"
        found = [_window(window) for window in call(windows, seconds, length, overlap)]
        if not found:
            return f"{given}: there are no windows"
        if word := _problem(found, seconds, length, overlap):
            return f"{given}: {word}"
    return None


def exercise_6(watching: Any) -> str | None:
    """The one that the reversal turns around."""
    names = {watching} if isinstance(watching, str) else watching
    if not isinstance(names, list | tuple | set):
        return f"a list of names is expected, not {describe(watching)}"
    names = {str(name).strip().upper() for name in names}
    if "A" in names:
        return "A says the same when the film runs backwards: it does not need the movement"
    if "C" in names:
        return "C is right about half of the clips whatever it sees: it guesses"
    return None if names == {"B"} else "one of the three turns its answer around when the film runs backwards"


def _window(window: Any) -> tuple[float, float]:
    if not isinstance(window, list | tuple) or len(window) != 2:
        raise Mistake(f"each window should be (start, end), not {describe(window)}")
    return number(window[0], "a start"), number(window[1], "an end")


def _problem(found: list[tuple[float, float]], seconds: float, length: float, overlap: float) -> str:
    for start, end in found:
        if not 0 <= end - start <= length + CLOSE:
            return f"the window {start:g} to {end:g} s is longer than {length} s or ends before it starts"
        if start < -CLOSE or end > seconds + CLOSE:
            return f"the window {start:g} to {end:g} s reaches beyond the video"
    if abs(found[0][0]) > CLOSE:
        return f"nothing covers the video's beginning: the first window starts at {found[0][0]:g} s"
    if abs(found[-1][1] - seconds) > CLOSE:
        return f"the last {seconds - found[-1][1]:g} s are in no window"
    for (start, end), (next_start, _) in pairwise(found):
        if next_start <= start:
            return "each window should start after the one before it"
        if end - next_start < overlap - CLOSE:
            return f"the windows that start at {start:g} and {next_start:g} s overlap by {end - next_start:g} s only"
    return ""

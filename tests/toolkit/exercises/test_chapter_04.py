"""Chapter 04: right answers of other forms pass, plausible wrong ones get a word."""

import numpy as np

from tests.support.exercise_answers import ChapterTests


def cost(seconds, width, height, least=4, most=768, together=2):
    frames = max(least, min(most, int(2 * seconds))) // 2 * 2
    return width // 32 * (height // 32) * frames / together


def mean_times(numbers, fps):
    return tuple(f"<{second:.1f} seconds>" for second in (np.array(numbers) / fps).reshape(-1, 2).mean(axis=1))


def of_the_first(numbers, fps):
    return [f"<{number / fps:.1f} seconds>" for number in numbers[::2]]


def described(fps=None, indices=None, total=None):
    """Metadata in which one value is replaced."""
    return lambda numbers, video_fps, frames: {
        "fps": fps or video_fps,
        "frames_indices": np.array(indices or numbers),
        "total_num_frames": total or frames,
    }


def shifted_last(seconds, length, overlap):
    """Windows of one length; the last one is moved back."""
    if seconds <= length:
        return [[0, seconds]]
    starts = [*np.arange(0, seconds - length, length - overlap), seconds - length]
    return [[float(start), float(start + length)] for start in starts]


def without_the_rest(seconds, length, overlap):
    starts = range(0, int(seconds) - length + 1, length - overlap)
    return [(start, start + length) for start in starts] or [(0, seconds)]


def beyond(seconds, length, overlap):
    return [(start, start + length) for start in range(0, int(seconds), length - overlap)]


def side_by_side(seconds, length, overlap):
    return [(start, min(start + length, seconds)) for start in np.arange(0, seconds, length)]


RIGHT = [
    ("04.1", [8.0, 4, 16, 6]),
    ("04.2", cost),
    ("04.3", mean_times),
    ("04.4", described()),
    ("04.5", shifted_last),
    ("04.6", "b"),
]
WRONG = [
    ("04.1", [8, 2, 16, 6], "fps=0.5: 2 is below min_frames"),
    ("04.1", [8, 4, 32, 6], "fps=8: 32 is more than the clip has"),
    ("04.1", [8, 4, 16, 8], "look at max_frames"),
    ("04.1", [16, 4, 16, 6], "fps=2: seconds × fps"),
    ("04.1", [8, 4, 16], "a list of 4 numbers"),
    ("04.2", lambda *video: cost(*video, together=1), "share their tokens"),
    ("04.2", lambda *video: cost(*video, least=0), "the least number of frames"),
    ("04.2", lambda *video: cost(*video, most=10**6), "the most frames"),
    ("04.2", lambda seconds, width, height: max(int(seconds * 2), 4) / 2 * width * height / 1024, "5 frames are odd"),
    ("04.3", of_the_first, "that is the first frame's"),
    ("04.3", lambda numbers, fps: mean_times(numbers, 2), "is expected"),
    ("04.3", lambda numbers, fps: [text.replace("<", "") for text in mean_times(numbers, fps)], "the form"),
    ("04.3", lambda numbers, fps: [f"<{number / fps:.1f} seconds>" for number in numbers], "4 frames are 2 pairs"),
    ("04.4", described(fps=2.0), "the video's own rate"),
    ("04.4", described(indices=[0, 1, 2, 3]), "numbers of the frames in the video"),
    ("04.4", described(total=4), "how many frames the video has"),
    ("04.4", lambda numbers, video_fps, total: {"fps": video_fps}, "the processor needs 'frames_indices'"),
    ("04.5", without_the_rest, "s are in no window"),
    ("04.5", beyond, "reaches beyond the video"),
    ("04.5", side_by_side, "overlap by 0 s only"),
    ("04.5", lambda seconds, length, overlap: [(0, seconds)], "is longer than"),
    ("04.5", lambda seconds, length, overlap: range(0, seconds, length), "should be (start, end)"),
    ("04.6", ["A", "B"], "A says the same"),
    ("04.6", ["B", "C"], "C is right about half"),
    ("04.6", ["A"], "A says the same"),
]
AS_GIVEN = [("04.4", described(fps=2.0, indices=[0, 1, 2, 3], total=4))]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "04", RIGHT, WRONG, AS_GIVEN

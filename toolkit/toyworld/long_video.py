"""Long videos: minutes of clips, one after the other, in which one thing happens once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.toyworld import clips
from toolkit.toyworld.items import Clip
from toolkit.toyworld.video import mp4_bytes

#: Length and frames per second of a shot, which is one clip of eight slots.
SHOT_SECONDS = 8 * clips.SLOT
FPS = 4


def write_long_video(path: str | Path, seed: int, seconds: float, thing: str = "rocket") -> list[dict[str, Any]]:
    """Draw a video in which one person heads for ``thing``, and write it as MP4.

    Returns:
        facts of its shots, as from `make_shots`.

    Raises:
        CourseError: as `make_shots`.
    """
    shots = make_shots(seed, seconds, thing)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(mp4_bytes(draw_shots(shots, seed)))
    return shots


def make_shots(seed: int, seconds: float, thing: str = "rocket") -> list[dict[str, Any]]:
    """Facts of a video's shots; in one, somewhere between the first and the last, a person heads for ``thing``.

    Each shot's facts are those of `clips.make_facts`; shot number n begins at n × `SHOT_SECONDS`.

    Raises:
        CourseError: a video of fewer than three shots, or a thing that no clip has.
    """
    count = int(seconds / SHOT_SECONDS)
    if count < 3:
        raise CourseError(f"A video of {seconds:g} s is too short.", "", f"give at least {3 * SHOT_SECONDS:g} s")
    if thing not in {thing for things in clips.THINGS.values() for thing in things}:
        raise CourseError(f"No clip has a {thing}.", "a misspelt thing", "use one of toolkit.toyworld.clips.THINGS")
    rng = random.Random(f"film-{seed}")
    event = rng.randrange(1, count - 1)
    return [_shot(rng, thing, wanted=number == event) for number in range(count)]


def draw_shots(shots: list[dict[str, Any]], seed: int) -> Clip:
    """All frames of the shots, one after the other, at `FPS`."""
    drawn = [clips.draw(facts, seed + number).frames for number, facts in enumerate(shots)]
    return Clip(tuple(frame for frames in drawn for frame in frames), FPS)


def _shot(rng: random.Random, thing: str, wanted: bool) -> dict[str, Any]:
    """Drawn until the person heads for the thing (``wanted``), or until the thing is not there at all."""
    while True:
        facts = clips.make_facts(rng, difficulty=2)
        if (clips.target(facts) == thing) if wanted else (thing not in facts["things"].values()):
            return facts

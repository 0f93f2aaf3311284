"""Long videos: minutes of clips, one after the other, in which one thing happens once."""

from __future__ import annotations

import random
from typing import Any

from helpers.errors import CourseError
from toolkit.toyworld import clips
from toolkit.toyworld.items import Clip

#: Length and frames per second of a shot, which is one clip of eight slots.
SHOT_SECONDS = 8 * clips.SLOT
FPS = 4


def make_film(seed: int, seconds: float, thing: str = "rocket") -> list[dict[str, Any]]:
    """Facts of the shots of a film in which one person heads for ``thing``, somewhere between its first and last shot.

    Each shot's facts are those of `clips.make_facts`; shot number n begins at n × `SHOT_SECONDS`.

    Raises:
        CourseError: a film of fewer than three shots, or a thing that no clip has.
    """
    count = int(seconds / SHOT_SECONDS)
    if count < 3:
        raise CourseError(f"A film of {seconds:g} s is too short.", "", f"give at least {3 * SHOT_SECONDS:g} s")
    if thing not in {thing for things in clips.THINGS.values() for thing in things}:
        raise CourseError(f"No clip has a {thing}.", "a misspelt thing", "use one of toolkit.toyworld.clips.THINGS")
    rng = random.Random(f"film-{seed}")
    event = rng.randrange(1, count - 1)
    return [_shot(rng, thing, wanted=number == event) for number in range(count)]


def draw_film(shots: list[dict[str, Any]], seed: int) -> Clip:
    """All frames of the film, at `FPS`."""
    drawn = [clips.draw(facts, seed + number).frames for number, facts in enumerate(shots)]
    return Clip(tuple(frame for frames in drawn for frame in frames), FPS)


def _shot(rng: random.Random, thing: str, wanted: bool) -> dict[str, Any]:
    """Drawn until the person heads for the thing (``wanted``), or until the thing is not there at all."""
    while True:
        facts = clips.make_facts(rng, difficulty=2)
        if (clips.target(facts) == thing) if wanted else (thing not in facts["things"].values()):
            return facts

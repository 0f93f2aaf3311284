"""Long videos with one event, and the collection of broken clips."""

import pytest

from helpers.errors import CourseError
from helpers.media import probe
from toolkit.toyworld import clips, long_video, write_long_video
from toolkit.toyworld.broken_media import broken_clips


@pytest.mark.parametrize("thing", ["rocket", "door", "ball"])
def test_one_person_heads_for_the_thing_and_no_other_shot_shows_it(thing):
    shots = long_video.make_shots(11_000_005, 60, thing)
    events = [number for number, facts in enumerate(shots) if clips.target(facts) == thing]
    assert len(shots) == 15
    assert len(events) == 1 and 0 < events[0] < 14
    assert all(thing not in facts["things"].values() for number, facts in enumerate(shots) if number != events[0])


def test_the_same_seed_gives_the_same_video_and_another_one_another():
    first, again, other = (long_video.make_shots(seed, 40) for seed in (11_000_001, 11_000_001, 11_000_002))
    assert first == again != other
    drawn, redrawn = (long_video.draw_shots(shots[:2], 7).frames for shots in (first, again))
    assert [frame.tobytes() for frame in drawn] == [frame.tobytes() for frame in redrawn]


def test_every_shot_begins_on_time():
    shots = long_video.make_shots(11_000_003, 12)
    drawn = long_video.draw_shots(shots, 5)
    assert len(drawn.frames) == len(shots) * long_video.SHOT_SECONDS * long_video.FPS
    second = clips.draw(shots[1], 6).frames[0]
    assert drawn.frames[int(long_video.SHOT_SECONDS * long_video.FPS)].tobytes() == second.tobytes()


def test_a_written_video_holds_its_shots(tmp_path):
    path = tmp_path / "new" / "long.mp4"
    shots = write_long_video(path, 11_000_003, 12, "door")
    assert shots == long_video.make_shots(11_000_003, 12, "door")
    assert probe(path).seconds == len(shots) * long_video.SHOT_SECONDS == 12


def test_impossible_videos_are_refused():
    with pytest.raises(CourseError, match="too short"):
        long_video.make_shots(11_000_000, 8)
    with pytest.raises(CourseError, match="No clip has a dragon"):
        long_video.make_shots(11_000_000, 60, "dragon")


def test_broken_clips_are_what_they_say(tmp_path):
    files = broken_clips(tmp_path)
    there = {what: file for what, file in files.items() if file.exists()}
    assert set(files) - set(there) == {"not there"}
    fit = {"an ordinary clip", "whole, header in front", "variable frame rate", "turned by a quarter", "odd sides"}
    fit |= {"one frame", "1 × 2 pixels", "8 × 1800 pixels", "10,000 frames", "an mp4 named png"}
    readable = set()
    for what, file in there.items():
        try:
            probe(file)
            readable.add(what)
        except CourseError:
            pass
    assert readable == fit

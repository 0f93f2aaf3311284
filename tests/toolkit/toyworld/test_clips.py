"""Clips: what the facts say can be seen, at two frames a second too, and the words say what the facts say."""

import copy
import io
import json
import random
from itertools import pairwise, product

import numpy as np
import pytest

from helpers import media
from helpers.errors import CourseError
from toolkit.toyworld import clips, items, video

GUIDES = {
    "person": "man",
    "colour": "red",
    "place": "control room",
    "things": {"left": None, "right": "rocket"},
    "fps": 4,
    "frames": 16,
    "actions": [
        {"action": "walks", "direction": "right", "start": 0.0, "end": 3.0},
        {"action": "stops", "start": 3.0, "end": 4.0},
    ],
}


def some_facts(count, difficulty=3):
    return [clips.make_facts(random.Random(f"test-{seed}"), difficulty) for seed in range(count)]


def sampled(facts, seed):
    """The frames that a model sees which looks twice a second."""
    return clips.draw(facts, seed, frames=media.sampled_indices(facts["frames"], facts["fps"], 2))


def arrays(clip):
    return [np.asarray(frame).astype(int) for frame in clip.frames]


def where(pixels, colour):
    """Rows and columns of the pixels of (nearly) this colour."""
    return np.nonzero(np.abs(pixels - np.array(colour)).max(axis=2) <= 2)


def ways(facts):
    return [action for action in facts["actions"] if "direction" in action]


def jacket_positions(facts, clip):
    """The column of the jacket's centre of mass in each frame, sleeves (in two shades) included."""
    shades = [[share * channel for channel in clips.JACKETS[facts["colour"]]] for share in (1.0, 0.88, 0.72)]
    return [np.concatenate([where(pixels, shade)[1] for shade in shades]).mean() for pixels in arrays(clip)]


# ---------------------------------------------------------------- facts and frames


def test_same_seed_same_facts_and_frames():
    first, second = (items.make_item("clip", 123) for _ in range(2))
    assert first.record() == second.record()
    (name,) = first.record()["media"]
    assert name == "clip-123.mp4"
    for one, other in zip(first.media[name].frames, second.media[name].frames, strict=True):
        assert items.png_bytes(one) == items.png_bytes(other)
    assert items.make_item("clip", 124).record()["facts"] != first.record()["facts"]
    facts = first.facts
    assert not np.array_equal(clips.draw(facts, 1).frames[0], clips.draw(facts, 2).frames[0])


@pytest.mark.parametrize("difficulty", items.DIFFICULTIES)
def test_clips_have_eight_to_thirty_two_frames_and_actions_fill_whole_slots(difficulty):
    lengths, numbers = set(), set()
    for facts in some_facts(400, difficulty):
        assert 8 <= facts["frames"] <= 32
        lengths.add((facts["frames"], facts["fps"]))
        numbers.add(len(facts["actions"]))
        moment = 0.0
        for action in facts["actions"]:
            assert moment <= action["start"] and action["start"] % clips.SLOT == action["end"] % clips.SLOT == 0
            assert action["end"] - action["start"] >= 2 * clips.SLOT * action.get("count", 1)
            moment = action["end"]
        assert moment <= facts["frames"] / facts["fps"]
        assert json.loads(json.dumps(facts)) == facts
    assert numbers == set(range(1, difficulty + 1))
    assert lengths == {(16, 4)} if difficulty < 3 else {(16, 4), (8, 2), (32, 8), (32, 4), (8, 4)} <= lengths


def test_frames_are_as_many_and_as_large_as_said():
    for seed, facts in enumerate(some_facts(10)):
        clip = clips.draw(facts, seed)
        assert (len(clip.frames), clip.fps) == (facts["frames"], facts["fps"])
        assert {frame.size for frame in clip.frames} == {(128, 128)} and clip.frames[0].mode == "RGB"
    assert clips.draw(facts, seed, size=256).frames[0].size == (256, 256)


def test_each_fact_changes_the_picture():
    facts = copy.deepcopy(GUIDES)
    facts["actions"] = [
        {"action": "picks up", "thing": "box", "start": 0.0, "end": 1.0},
        {"action": "walks", "direction": "right", "start": 1.0, "end": 4.0},
    ]
    before = sampled(facts, 5)
    pictures = [before]
    for key, value in (("person", "woman"), ("colour", "blue"), ("place", "park"), ("thing", "ball")):
        other = copy.deepcopy(facts)
        (other["actions"][0] if key == "thing" else other)[key] = value
        pictures.append(sampled(other, 5))
    for first in range(len(pictures)):
        for second in range(first):
            for one, other in zip(arrays(pictures[first]), arrays(pictures[second]), strict=True):
                assert (np.abs(one - other).max(axis=2) > 30).sum() >= 40


def test_every_thing_can_be_seen_beside_the_person():
    for place, things in clips.THINGS.items():
        for thing in things:
            for side in ("left", "right"):
                facts = {**copy.deepcopy(GUIDES), "place": place, "things": {"left": None, "right": None}}
                facts["actions"][0]["direction"] = side
                without = arrays(sampled(facts, 3))
                facts["things"][side] = thing
                for bare, shown in zip(without, arrays(sampled(facts, 3)), strict=True):
                    changed = np.nonzero(np.abs(bare - shown).max(axis=2) > 30)[1]
                    assert len(changed) >= 80, (thing, side)
                    assert changed.max() < 40 if side == "left" else changed.min() > 88


# ---------------------------------------------------------------- what happens can be seen


def test_the_jacket_moves_the_stated_way_and_back_when_played_backwards():
    seen = set()
    for seed, facts in enumerate(some_facts(40)):
        clip = clips.draw(facts, seed)
        positions = jacket_positions(facts, clip)
        backwards = jacket_positions(facts, items.Clip(clip.frames[::-1], clip.fps))
        for way in ways(facts):
            first, last = (round(way[edge] * facts["fps"]) for edge in ("start", "end"))
            sign = 1 if way["direction"] == "right" else -1
            steps = sign * np.diff(positions[first:last])
            assert (steps > 0).all(), (seed, way)
            assert sum(steps) > 4 * (last - 1 - first) / facts["fps"]
            there = len(positions) - last
            assert (sign * np.diff(backwards[there : there + last - first]) < 0).all()
            seen.add((way["action"], way["direction"]))
    assert len(seen) == 4


def test_standing_people_stay_where_they_are():
    facts = copy.deepcopy(GUIDES)
    positions = jacket_positions(facts, clips.draw(facts, 1))
    assert max(positions[13:]) - min(positions[13:]) < 0.01 < 2 < positions[12] - positions[10]


def test_people_stay_between_the_things():
    for seed, facts in enumerate(some_facts(60)):
        positions = jacket_positions(facts, sampled(facts, seed))
        assert min(positions) > 0.2 * 128 and max(positions) < 0.8 * 128


def test_waves_can_be_counted_at_two_frames_a_second():
    counted = []
    for seed, facts in enumerate(some_facts(300)):
        waves = [action for action in facts["actions"] if "count" in action]
        sleeve = [0.88 * channel for channel in clips.JACKETS[facts["colour"]]]
        if len(counted) > 40 or not waves:
            continue
        raised = []
        for pixels in arrays(sampled(facts, seed)):
            rows, _ = where(pixels, sleeve)
            raised.append(int((rows < 0.44 * 128).sum() >= 20))
        # Each time the arm is up in one frame and down in the next.
        assert sum(raised) == waves[0]["count"], (seed, raised)
        assert not any(one and other for one, other in pairwise(raised))
        assert raised.index(1) == waves[0]["start"] / clips.SLOT
        counted.append(waves[0]["count"])
    assert set(counted) == {1, 2, 3}


def test_a_thing_that_is_picked_up_rises_from_the_ground():
    facts = {**copy.deepcopy(GUIDES), "place": "street", "things": {"left": None, "right": "door"}}
    facts["actions"] = [
        {"action": "walks", "direction": "right", "start": 0.0, "end": 2.0},
        {"action": "picks up", "thing": "ball", "start": 2.0, "end": 3.0},
    ]
    heights = [where(pixels, (240, 132, 44))[0].mean() for pixels in arrays(sampled(facts, 1))]
    assert all(abs(height - heights[0]) < 6 for height in heights[:5])
    assert all(height < heights[0] - 25 for height in heights[5:])


# ---------------------------------------------------------------- pairs


def same_but_for(what, facts):
    """The facts without what the two of a pair may differ in."""
    facts = copy.deepcopy(facts)
    for action in facts["actions"]:
        if what == "direction":
            action.pop("direction", None)
        elif what == "speed":
            action["action"] = action["action"].replace("runs", "walks")
        else:
            action["length"] = action.pop("end") - action.pop("start")
    if what == "order":
        facts["actions"].sort(key=lambda action: action["action"])
    return facts


@pytest.mark.parametrize("what", clips.PAIRS)
def test_pairs_differ_in_one_fact_and_in_the_picture(what):
    for seed in range(40):
        first, second = clips.make_pair(seed, what)
        assert (first, second) == clips.make_pair(seed, what)
        assert first != second and same_but_for(what, first) == same_but_for(what, second)
        answers = [{asked.task: asked.answers[0] for asked in clips.questions(facts)} for facts in (first, second)]
        task = {"direction": "clip_direction", "order": "clip_order", "speed": "clip"}[what]
        assert answers[0][task] != answers[1][task]
        one, other = (arrays(sampled(facts, seed)) for facts in (first, second))
        changed = [(np.abs(a - b).max(axis=2) > 30).sum() for a, b in zip(one, other, strict=True)]
        assert max(changed) > 300
        # Above the raised hand and the rocket's tip nothing differs: it is the same place.
        assert all(np.array_equal(a[:20], b[:20]) for a, b in zip(one, other, strict=True))


def test_pairs_in_direction_end_at_either_side():
    for seed in range(10):
        left, right = clips.make_pair(seed, "direction")
        assert left["things"] == right["things"] and clips.target(left) != clips.target(right)
        ends = [jacket_positions(facts, sampled(facts, seed))[-1] for facts in (left, right)]
        assert ends[1] - ends[0] > 12


def test_runners_go_twice_as_far_as_walkers_from_the_same_start():
    for seed in range(10):
        walker, runner = clips.make_pair(seed, "speed")
        paths = [jacket_positions(facts, sampled(facts, seed)) for facts in (walker, runner)]
        assert abs(paths[0][0] - paths[1][0]) < 8
        lengths = [abs(path[-1] - path[0]) for path in paths]
        assert 1.6 < lengths[1] / lengths[0] < 2.4


def test_unknown_pairs_are_refused():
    with pytest.raises(CourseError, match="differ in 'colour'"):
        clips.make_pair(0, "colour")


# ---------------------------------------------------------------- words


def answers(facts):
    asked = clips.questions(facts)
    assert asked[0].task == "clip"
    return {question.request: question.answers[0] for question in asked}


def test_the_guides_clip_can_be_told():
    assert answers(GUIDES) == {
        "Describe this video, and guess what the man is going to do.": (
            "A man in a red jacket walks to the right in a control room. Then he stops. "
            "He is going to board the rocket."
        ),
        "Which way does the man walk?": "To the right.",
        "What does the man do first, and what then?": "First he walks, then he stops.",
        "What is the man going to do?": "He is going to board the rocket.",
    }


def test_questions_about_a_woman_who_waves_and_runs():
    facts = {**copy.deepcopy(GUIDES), "person": "woman", "place": "park", "things": {"left": "dog", "right": "ball"}}
    facts["actions"] = [
        {"action": "waves", "count": 2, "start": 0.0, "end": 2.0},
        {"action": "runs", "direction": "left", "start": 2.0, "end": 4.0},
    ]
    assert answers(facts) == {
        "Describe this video, and guess what the woman is going to do.": (
            "A woman in a red jacket waves twice in a park. Then she runs to the left. She is going to pet the dog."
        ),
        "Which way does the woman run?": "To the left.",
        "What does the woman do first, and what then?": "First she waves, then she runs.",
        "How many times does the woman wave?": "Twice.",
        "What is the woman going to do?": "She is going to pet the dog.",
    }


def test_what_does_not_happen_is_not_asked():
    facts = {**copy.deepcopy(GUIDES), "actions": [{"action": "waves", "count": 1, "start": 0.0, "end": 1.0}]}
    assert answers(facts) == {
        "Describe this video.": "A man in a red jacket waves once in a control room.",
        "How many times does the man wave?": "Once.",
    }
    facts["things"]["left"] = "door"
    facts["actions"] = [
        {"action": "walks", "direction": "left", "start": 0.0, "end": 1.0},
        {"action": "turns around", "start": 1.0, "end": 2.0},
        {"action": "walks", "direction": "right", "start": 2.0, "end": 3.0},
    ]
    asked = {question.task: question.answers[0] for question in clips.questions(facts)}
    assert set(asked) == {"clip", "clip_order", "clip_intention"}
    assert asked["clip_order"] == "First he walks, then he turns around, then he walks."
    assert asked["clip_intention"] == "He is going to board the rocket."


def test_wording_is_small_regular_and_fits_the_person():
    words, tasks = set(), set()
    for facts in some_facts(1500):
        for question in clips.questions(facts):
            tasks.add(question.task)
            assert len(set(question.answers)) == len(question.answers) >= 1
            for answer in question.answers:
                assert answer[0].isupper() or answer[0].isdigit()
                assert answer.endswith(".") and "  " not in answer
                said = set(answer.lower().replace(".", "").replace(",", "").split())
                assert not said & ({"she", "woman"} if facts["person"] == "man" else {"he", "man"})
            words |= set(question.answers[0].lower().replace(".", "").replace(",", "").split())
    assert tasks == set(clips.TASKS) and len(words) <= 65
    assert all(clips.target(facts) for facts in some_facts(500) if ways(facts))


# ---------------------------------------------------------------- sampling and files


def test_frames_are_sampled_as_transformers_samples_them():
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    from transformers.video_utils import VideoMetadata

    processor = Qwen3VLVideoProcessor()
    for count, clip_fps, fps in product((1, 3, 4, 8, 15, 16, 24, 31, 32, 100, 900), (2, 4, 8, 24), (1, 2, 4)):
        metadata = VideoMetadata(total_num_frames=count, fps=clip_fps)
        expected = processor.sample_frames(metadata, fps=fps).tolist()
        assert media.sampled_indices(count, clip_fps, fps) == expected, (count, clip_fps, fps)
    assert processor.fps == media.SAMPLED_FPS


def test_a_sampled_clip_has_the_frames_and_the_pace():
    facts = clips.make_pair(1, "speed")[1]
    clip = clips.draw(facts, 1)
    seen = sampled(facts, 1)
    for frame, index in zip(seen.frames, (0, 2, 4, 6, 9, 11, 13, 15), strict=True):
        assert frame.tobytes() == clip.frames[index].tobytes()
    assert (len(seen.frames), seen.fps) == (8, 2.0)


@pytest.mark.parametrize(
    "family", ["qwen3_vl.video_processing_qwen3_vl.Qwen3VL", "qwen2_vl.video_processing_qwen2_vl.Qwen2VL"]
)
def test_both_families_see_every_half_second_once(family):
    from importlib import import_module

    from transformers.video_utils import VideoMetadata

    module, name = family.rsplit(".", 1)
    processor = getattr(import_module(f"transformers.models.{module}"), f"{name}VideoProcessor")()
    for count, fps in {(facts["frames"], facts["fps"]) for facts in some_facts(400)}:
        metadata = VideoMetadata(total_num_frames=count, fps=fps)
        indices = processor.sample_frames(metadata, fps=2, temporal_patch_size=2)
        assert [int(index) // (fps * clips.SLOT) for index in indices] == list(range(count * 2 // fps)), (count, fps)


def test_drawing_only_what_is_sampled_gives_the_same_frames():
    for seed, facts in enumerate(some_facts(25)):
        indices = media.sampled_indices(facts["frames"], facts["fps"])
        whole, only = clips.draw(facts, seed), sampled(facts, seed)
        assert only.fps == whole.fps * len(indices) / len(whole.frames)
        for index, frame in zip(indices, only.frames, strict=True):
            assert frame.tobytes() == whole.frames[index].tobytes()


def test_files_hold_the_frames_and_are_the_same_twice():
    import av

    for seed in (11_000_000, 11_000_001, 11_000_002):
        (clip,) = items.make_item("clip", seed).media.values()
        data = video.mp4_bytes(clip)
        assert data == video.mp4_bytes(clip) and len(data) < 60_000
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (stream.frames, float(stream.average_rate)) == (len(clip.frames), clip.fps)
            frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        # Colour is kept at half the sides, hence more than one or two levels at edges.
        for drawn, decoded in zip(arrays(clip), frames, strict=True):
            assert np.abs(drawn - decoded).mean() < 4.5


def test_opencv_reads_the_files_too(tmp_path):
    cv2 = pytest.importorskip("cv2")
    list(items.write_items("clip", 1, 11_000_000, tmp_path, frames=True))
    (clip,) = items.make_item("clip", 11_000_000).media.values()
    capture = cv2.VideoCapture(str(tmp_path / "clip-11000000.mp4"))
    decoded = []
    while (read := capture.read())[0]:
        decoded.append(read[1][..., ::-1].astype(int))
    assert capture.get(cv2.CAP_PROP_FPS) == clip.fps
    assert all(np.abs(a - b).mean() < 4.5 for a, b in zip(arrays(clip), decoded, strict=True))
    assert len(list((tmp_path / "clip-11000000").glob("*.png"))) == len(clip.frames)

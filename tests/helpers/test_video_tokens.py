"""Predicted frames, sizes and tokens of clips are those of the libraries, and of the engine itself."""

import base64
import dataclasses
import json
import os
import random
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from openai import APIStatusError, OpenAI

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.guard_answers import answer_for
from helpers.media import MOST_FRAMES, Sampling, VideoInfo, evenly, probe
from helpers.profiles import TINY, use_profile
from helpers.server import serve
from helpers.video_tokens import fit, plan_offline, plan_served, rules_of
from tests.support import video_files
from tests.support.offline_engine import summary
from toolkit.tiny_model import architecture
from toolkit.tiny_model.export import export
from toolkit.tiny_model.tokenizer import build_tokenizer

FAMILIES = ("qwen3-vl", "qwen2-vl")
#: Pixel limits: of the tiny models, of Qwen3-VL's and Qwen2-VL's releases, and narrow ones that bind often.
LIMITS = {
    "qwen3-vl": [None, (4096, 25_165_824), (128 * 32 * 32, 768 * 32 * 32), (2_000, 300_000)],
    "qwen2-vl": [None, (128 * 28 * 28, 768 * 28 * 28), (56 * 56, 30_000)],
}
SIDES = (1, 2, 13, 27, 28, 31, 32, 33, 45, 48, 64, 100, 180, 199, 320, 457)
#: Longest prompt in the tests with an engine: the context is 4,096 tokens, and many short prompts show more.
LONGEST_PROMPT = 600
OTHER_SAMPLING = Sampling(3, 6, 14)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def processor_of(tokenizer, family, limits=None, **settings):
    """The family's processor; ``settings`` are those of its video part."""
    processor = architecture.build_processor(tokenizer, family)
    video = processor.video_processor
    if limits:
        settings["size"] = dict(zip(("shortest_edge", "longest_edge"), limits, strict=True))
    if settings:
        processor.video_processor = type(video)(**{**video.to_dict(), **settings})
    return processor


def clip(frames=16, fps=4.0, width=64, height=64):
    """Facts of a clip of constant rate that is in no file."""
    times = tuple(number / fps for number in range(frames))
    return VideoInfo(Path("clip.mp4"), float(fps), times, width, height, "h264")


def some_clips(count, seed=0):
    rng = random.Random(seed)
    rates = [1, 2, 3.3, 4, 7.5, 10, 12, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60, 120]
    for _ in range(count):
        frames = rng.choice([rng.randint(2, 40), rng.randint(2, 400), rng.randint(2, 20_000)])
        yield clip(frames, rng.choice(rates), 2 * rng.randint(1, 400), 2 * rng.randint(1, 400))


def some_samplings(count, seed=0):
    rng = random.Random(seed)
    for _ in range(count):
        fewest = rng.choice([2, 3, 4, 5, 8, 30])
        most = rng.choice([most for most in (2, 3, 6, 8, 15, 16, 64, 768, 5000) if most >= fewest])
        yield Sampling(rng.choice([0.1, 0.5, 1, 2, 2.5, 4, 9, 29, 31, 1e9]), fewest, most)


def near_200(info):
    return max(info.width, info.height) > 199 * min(info.width, info.height)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(("fewest", "most"), [(4096, 50_000), (1, 10**9), (200_000, 400_000), (1000, 2100)])
def test_sizes_of_pictures_and_clips_are_those_of_the_processors(fewest, most):
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import smart_resize as of_qwen2
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as of_qwen3

    for height, width in product(SIDES, SIDES):
        if max(height, width) > 200 * min(height, width):
            continue
        if round(height / 28) and round(width / 28):  # Qwen2-VL's rule wants a token's width or divides by zero
            expected = of_qwen2(height, width, 28, fewest, most)
            assert fit((height, width), 28, (fewest, most)) == expected, (height, width)
        for frames in (2, 3, 5, 16):
            if min(height, width) >= 32:
                expected = of_qwen3(frames, height, width, 2, 32, fewest, most)
                counted = round(frames / 2) * 2
                found = fit((height, width), 32, (fewest, most), frames=frames, counted=counted)
                assert found == expected, (frames, height, width)


@pytest.mark.parametrize("unit", [28, 32])
@pytest.mark.parametrize(("fewest", "most"), [(128, 768), (4, 16), (100, 105), (1, 100_000)])
def test_sizes_before_the_processor_are_those_of_qwen_vl_utils(unit, fewest, most):
    from qwen_vl_utils.vision_process import smart_resize

    limits = fewest * unit**2, most * unit**2
    for height, width in product(SIDES, SIDES):
        if max(height, width) <= 200 * min(height, width) and 0 not in (
            expected := smart_resize(height, width, unit, *limits)
        ):
            assert fit((height, width), unit, limits, shortest=unit) == expected, (height, width)


@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_served_clips_size_is_the_processors(tokenizer, family, capped):
    from transformers.models.qwen2_vl import video_processing_qwen2_vl as qwen2
    from transformers.models.qwen3_vl import video_processing_qwen3_vl as qwen3

    for limits in LIMITS[family]:
        processor = processor_of(tokenizer, family, limits, cap_pixels_per_frame=capped)
        video, unit = processor.video_processor, rules_of(processor).unit
        for info in some_clips(50, seed=str((family, limits))):
            if near_200(info):
                continue
            plan = plan_served(info, processor)
            frames, most = len(plan.numbers), video.size["longest_edge"]
            if family == "qwen3-vl":
                if capped:
                    least = int(video.size["shortest_edge"] * 1.05)
                    most = max(min(video.max_video_tokens * unit**2, most // frames), least) * frames
                expected = qwen3.smart_resize(
                    frames, info.height, info.width, 2, unit, video.size["shortest_edge"], most
                )
            else:
                if capped:
                    share = int(video.max_video_tokens * unit**2 * 0.9) * 2 // frames
                    most = max(min(most, share), int(video.size["shortest_edge"] * 1.05))
                expected = qwen2.smart_resize(info.height, info.width, unit, video.size["shortest_edge"], most)
            assert plan.size == expected, (info.describe(), limits)


CALLED = [(2, 64, 64), (3, 48, 200), (5, 33, 31), (6, 8, 300), (9, 128, 40), (16, 96, 160), (24, 50, 50), (7, 2, 6)]


@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_is_that_of_the_processor_when_it_is_called(tokenizer, family, capped):
    rng, seen = np.random.default_rng(0), set()
    # max_video_tokens is so low that the cap binds.
    for limits, tokens in product([(4096, 200_000), (3000, 25_000)], [20, 100_000]):
        settings = {"cap_pixels_per_frame": capped, "max_video_tokens": tokens}
        processor = processor_of(tokenizer, family, limits, **settings)
        for frames, height, width in CALLED:
            info = clip(frames, 2, width, height)
            plan = plan_served(info, processor, Sampling(min_frames=2, max_frames=frames))
            video = rng.integers(0, 256, (len(plan.numbers), height, width, 3), dtype=np.uint8)
            found = processor.video_processor(videos=[video], do_sample_frames=False, return_tensors="pt")
            assert tuple(found["video_grid_thw"][0].tolist()) == plan.grid, (info.describe(), limits, tokens)
            seen.add((frames, height, width, limits, plan.grid, tokens))
    by_tokens = [{entry[:-1] for entry in seen if entry[-1] == tokens} for tokens in (20, 100_000)]
    assert (by_tokens[0] != by_tokens[1]) == capped


@pytest.mark.parametrize("family", FAMILIES)
def test_an_offline_clips_size_is_that_of_both_libraries_in_turn(tokenizer, family):
    from qwen_vl_utils.vision_process import smart_resize

    processor = processor_of(tokenizer, family)
    unit = rules_of(processor).unit
    for info, pixels in product(some_clips(30, seed=family), [(None, None), (4096, 65_536), (None, 200_000)]):
        if near_200(info):
            continue
        plan = plan_offline(info, processor, min_pixels=pixels[0], max_pixels=pixels[1])
        least = pixels[0] or 128 * unit**2
        limit = max(min(768 * unit**2, 128_000 * unit**2 * 0.9 / len(plan.numbers) * 2), int(least * 1.05))
        height, width = smart_resize(info.height, info.width, unit, least, min(pixels[1] or limit, limit))
        if 0 in (height, width):
            continue
        resized = dataclasses.replace(info, height=height, width=width)
        expected = plan_served(resized, processor)  # of the same clip in that size, and with as many frames
        if len(expected.numbers) == len(plan.numbers):
            assert plan.size == expected.size, (info.describe(), pixels)


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("family", FAMILIES)
def test_a_served_clips_frames_are_those_of_the_loader(tokenizer, family):
    from transformers.video_utils import VideoMetadata
    from vllm.multimodal.video import Qwen2VLVideoBackend, Qwen3VLVideoBackend
    from vllm.multimodal.video_decoders import VideoSourceMetadata, VideoTargetMetadata

    loader = Qwen3VLVideoBackend if family == "qwen3-vl" else Qwen2VLVideoBackend
    processor = processor_of(tokenizer, family)
    sampled_twice = 0
    clips = [info for info in some_clips(250, seed=family) if not near_200(info)]
    for info, sampling in zip(clips, some_samplings(len(clips)), strict=True):
        source = VideoSourceMetadata(info.frames, info.fps, info.seconds)
        target = VideoTargetMetadata(-1, sampling.fps, 300)
        limits = {"min_frames": sampling.min_frames, "max_frames": sampling.max_frames}
        expected = loader.compute_frames_index_to_sample(source, target, **limits)
        if family == "qwen3-vl" and len(expected) == info.frames:
            metadata = VideoMetadata(total_num_frames=info.frames, fps=info.fps)
            expected = processor.video_processor.sample_frames(metadata, fps=processor.video_processor.fps).tolist()
            sampled_twice += 1
        plan = plan_served(info, processor, sampling)
        assert list(plan.numbers) == expected, (info.describe(), sampling)
        assert len(plan.numbers) <= min(info.frames, MOST_FRAMES)
    assert family == "qwen2-vl" or sampled_twice > 10


def test_vllms_own_loader_still_raises_what_the_guard_knows():
    from vllm.multimodal.video import Qwen2VLVideoBackend
    from vllm.multimodal.video_decoders import VideoSourceMetadata, VideoTargetMetadata

    with pytest.raises(ZeroDivisionError) as caught:
        Qwen2VLVideoBackend.compute_frames_index_to_sample(
            VideoSourceMetadata(1, 4.0, 0.25), VideoTargetMetadata(-1, 2, 300)
        )
    assert answer_for(caught.value)[0] == 400


def test_an_offline_clips_frames_are_those_of_qwen_vl_utils():
    import torch
    from qwen_vl_utils.vision_process import smart_nframes

    clips = list(some_clips(600))
    for info, sampling in zip(clips, some_samplings(len(clips)), strict=True):
        count = smart_nframes(dataclasses.asdict(sampling), info.frames, info.fps)
        numbers = evenly(info, sampling)
        assert len(numbers) == count, (info.describe(), sampling)
        expected = torch.linspace(0, info.frames - 1, count, dtype=torch.float64).round().long().tolist()
        assert numbers == expected, (info.describe(), sampling)
    for info in clips[:100]:
        assert len(evenly(info, Sampling())) == smart_nframes({}, info.frames, info.fps)


# ---------------------------------------------------------------- tables and refusals


@pytest.mark.parametrize("plan_of", [plan_served, plan_offline])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_adds_up_to_the_tokens(tokenizer, family, plan_of):
    processor = processor_of(tokenizer, family)
    for info in some_clips(80):
        if near_200(info):
            continue
        plan = plan_of(info, processor, Sampling(max_frames=64))
        rows = plan.rows()
        assert len(rows) == plan.grid[0]
        assert sum(row["tokens of pixels"] + row["other tokens"] for row in rows) == plan.tokens
        numbers = [int(number) for row in rows for number in row["frames"].split(", ")]
        assert tuple(numbers) == plan.numbers
        seconds = [float(second) for row in rows for second in row["seconds"].split(", ")]
        assert seconds == pytest.approx([info.times[number] for number in numbers], abs=0.006)
        if family == "qwen2-vl":
            assert {(row["time in the prompt"], row["other tokens"]) for row in rows} == {("", 0)}
        else:
            ends = [[float(second) for second in row["seconds"].split(", ")] for row in rows]
            middles = [float(row["time in the prompt"].removeprefix("<").removesuffix(" seconds>")) for row in rows]
            assert middles == pytest.approx([(pair[0] + pair[-1]) / 2 for pair in ends], abs=0.06)


def test_tokens_take_the_place_of_one_pad(tokenizer):
    processor = processor_of(tokenizer, "qwen3-vl")
    plan = plan_served(clip(), processor)
    prompt = "<|vision_start|><|video_pad|><|vision_end|>Describe this video."
    rest = len(tokenizer.encode(prompt.replace("<|video_pad|>", ""), add_special_tokens=False))
    assert plan.prompt_tokens(tokenizer, prompt) == rest + plan.tokens


@pytest.mark.parametrize("plan_of", [plan_served, plan_offline])
@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_over_200_to_1_are_refused(tokenizer, family, plan_of):
    processor = processor_of(tokenizer, family)
    for width, height in ((10, 2002), (2002, 10)):
        with pytest.raises(CourseError, match=f"{width} × {height} pixels is too long a shape") as caught:
            plan_of(clip(width=width, height=height), processor)
        assert "clip.mp4" in str(caught.value)
    for width, height in ((10, 2000), (2000, 10)):
        assert plan_of(clip(width=width, height=height), processor).tokens > 0


@pytest.mark.parametrize("plan_of", [plan_served, plan_offline])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_frame_is_refused(tokenizer, family, plan_of):
    with pytest.raises(CourseError, match=r"clip\.mp4 has one frame"):
        plan_of(clip(frames=1), processor_of(tokenizer, family))


def test_rules_of_the_tiny_models(tokenizer):
    rules = {family: rules_of(processor_of(tokenizer, family)) for family in FAMILIES}
    assert [rules[family].family for family in FAMILIES] == list(FAMILIES)
    assert [rules[family].unit for family in FAMILIES] == [32, 28]
    assert all(rule.capped and rule.temporal == 2 and rule.sampling == Sampling() for rule in rules.values())
    assert not rules_of(processor_of(tokenizer, "qwen3-vl", cap_pixels_per_frame=False)).capped


def test_another_family_is_told_from_these(tokenizer):
    processor = processor_of(tokenizer, "qwen3-vl")
    processor.video_processor = object()
    with pytest.raises(CourseError, match="No rules for object"):
        rules_of(processor)


# ---------------------------------------------------------------- the engine's own count

with_engine = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]


def marked(test):
    for mark in with_engine:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return video_files.many(tmp_path_factory.mktemp("clips"), 106, most_frames=60)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tokenizer):
    """A checkpoint of each family: the trained one, and random weights."""
    random_weights = tmp_path_factory.mktemp("qwen2")
    config = architecture.build_config(tokenizer, "qwen2-vl")
    export(architecture.build_model(config), tokenizer, random_weights)
    return {"qwen3-vl": COURSE_ROOT / "data" / TINY, "qwen2-vl": random_weights}


@pytest.fixture(scope="module")
def processors(folders):
    from transformers import AutoProcessor

    return {family: AutoProcessor.from_pretrained(folders[family]) for family in FAMILIES}


def prompt_of(processor):
    content = [{"type": "video"}, {"type": "text", "text": "Describe this video."}]
    messages = [{"role": "user", "content": content}]
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def assert_same(planned, found):
    """Every count, and every time in the prompt."""
    assert len(planned) == len(found) >= 100
    different = [
        f"{plan.info.describe()}: {plan.numbers}, {plan.size}, {tokens} tokens, {plan.marks}; the engine: {result}"
        for (plan, tokens), result in zip(planned, found, strict=True)
        if tokens != result["tokens"] or seconds_of(plan.marks) != pytest.approx(seconds_of(result["marks"]), abs=1e-9)
    ]
    assert not different, f"{len(different)} of {len(planned)}:\n" + "\n".join(different[:10])
    assert len({tokens for _, tokens in planned}) > 40


def seconds_of(marks):
    return [float(mark.removeprefix("<").removesuffix(" seconds>")) for mark in marks]


@marked
def test_offline_the_prediction_is_the_engines_count(clips, folders, processors, tmp_path):
    active, jobs, planned = use_profile("tiny", quiet=True), [], {}
    for family in FAMILIES:
        processor, rng, requests = processors[family], random.Random(family), []
        prompt, planned[family] = prompt_of(processor), []
        for path in clips:
            sampling = Sampling(rng.choice([0.5, 1, 2, 4, 9]), rng.choice([2, 4, 6]), rng.choice([8, 16, 768]))
            least, most = rng.choice([(None, None), (4096, 32_768), (1024, 65_536)])
            plan = plan_offline(probe(path), processor, sampling, min_pixels=least, max_pixels=most)
            tokens = plan.prompt_tokens(processor.tokenizer, prompt)
            if tokens > LONGEST_PROMPT:
                continue
            element = {"type": "video", "video": str(path), **dataclasses.asdict(sampling)}
            if least:
                element |= {"min_pixels": least, "max_pixels": most}
            requests.append({"prompt": prompt, "element": element})
            planned[family].append((plan, tokens))
        arguments = active.engine_arguments() | {"model": str(folders[family])}
        jobs.append({"arguments": arguments, "patch": rules_of(processor).patch, "requests": requests})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    files = [str(tmp_path / "jobs.json"), str(tmp_path / "counts.json")]
    command = [sys.executable, "-m", "tests.support.offline_engine", *files]
    environment = os.environ | active.environment()
    done = subprocess.run(command, cwd=COURSE_ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "counts.json").read_text())
    for family, found in zip(FAMILIES, results, strict=True):
        assert_same(planned[family], found)


def served_counts(server, processor, paths):
    """What the server says about each clip: tokens of the prompt, and the times in it."""
    client = OpenAI(base_url=server.base_url, api_key=server.api_key, timeout=120, max_retries=0)
    for path in paths:
        url = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
        content = [
            {"type": "video_url", "video_url": {"url": url}},
            {"type": "text", "text": "Describe this video."},
        ]
        answer = client.chat.completions.create(
            model=server.model_name,
            messages=[{"role": "user", "content": content}],
            max_completion_tokens=1,
            temperature=0,
            extra_body={"return_token_ids": True},
        )
        found = summary(processor.tokenizer, answer.prompt_token_ids)
        assert found["tokens"] == answer.usage.prompt_tokens
        yield found


def compare_served(server, processor, clips, sampling=None):
    planned = []
    for path in clips:
        plan = plan_served(probe(path), processor, sampling)
        tokens = plan.prompt_tokens(processor.tokenizer, prompt_of(processor))
        if tokens <= LONGEST_PROMPT:
            planned.append((plan, tokens))
    found = list(served_counts(server, processor, [plan.info.path for plan, _ in planned]))
    assert_same(planned, found)


@marked
def test_served_the_prediction_is_the_engines_count(server, clips, processors):
    compare_served(server, processors["qwen3-vl"], clips)


@pytest.fixture(scope="module")
def other_server(folders):
    """Qwen2-VL, with another sampling than the default."""
    hidden = {name: os.environ.pop(name, None) for name in ("COURSE_SERVER_URL", "VLLM_API_KEY")}
    flags = ["--media-io-kwargs", json.dumps({"video": dataclasses.asdict(OTHER_SAMPLING)})]
    active = dataclasses.replace(use_profile("tiny", quiet=True), model_path=str(folders["qwen2-vl"]))
    with serve(active, extra_flags=flags, quiet=True) as running:
        yield running
    os.environ.update({name: value for name, value in hidden.items() if value is not None})


@marked
def test_served_by_the_other_family_with_another_sampling_it_is_so_too(other_server, clips, processors):
    compare_served(other_server, processors["qwen2-vl"], clips, OTHER_SAMPLING)


@marked
def test_the_other_family_refuses_bad_clips_and_lives_on(other_server, clips, processors, tmp_path):
    files = video_files.bad(tmp_path) | {
        "one frame": video_files.write(tmp_path / "one.mp4", frames=1),
        "a PNG named mp4": video_files.picture(tmp_path / "picture.mp4"),
        "225 times as high as wide": video_files.write(tmp_path / "strip.mp4", width=8, height=1800),
    }
    files.pop("cut off, header in front")  # answered about what is there
    for name, path in files.items():
        with pytest.raises(APIStatusError) as caught:
            list(served_counts(other_server, processors["qwen2-vl"], [path]))
        assert 400 <= caught.value.status_code < 500, name
        assert name != "one frame" or "fewer than two frames" in str(caught.value)
    assert other_server.is_alive()
    plan = plan_served(probe(clips[0]), processors["qwen2-vl"], OTHER_SAMPLING)
    (found,) = served_counts(other_server, processors["qwen2-vl"], clips[:1])
    assert found["tokens"] == plan.prompt_tokens(processors["qwen2-vl"].tokenizer, prompt_of(processors["qwen2-vl"]))


def test_limits_that_qwen_vl_utils_refuses_are_refused(processors):
    def clip(width, height):
        return VideoInfo(Path("c.mp4"), 4.0, tuple(number / 4 for number in range(16)), width, height, "h264")

    with pytest.raises(CourseError, match="below min_pixels"):
        plan_offline(clip(400, 300), processors["qwen3-vl"], max_pixels=65_536)
    with pytest.raises(CourseError, match="too long a shape"):
        plan_offline(clip(3900, 20), processors["qwen3-vl"], min_pixels=4096, max_pixels=65_536)

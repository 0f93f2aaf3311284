"""What a video file holds, which frames are looked at, how they are decoded; and pictures beside texts."""

import base64
import tracemalloc
import weakref
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from helpers import media
from helpers.errors import CourseError
from helpers.media import Sampling, beside, evenly, open_image, probe, qwen_vl_utils_reader, read_frames
from tests.support import video_files
from toolkit.toyworld.broken_media import plain

EVERY_FRAME = Sampling(fps=1e9)


@pytest.fixture(scope="module")
def usable(tmp_path_factory):
    return video_files.usable(tmp_path_factory.mktemp("usable"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return video_files.bad(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """10,000 frames."""
    return video_files.write(tmp_path_factory.mktemp("long") / "long.mp4", frames=10_000, fps=30, width=32, height=32)


@pytest.fixture
def reader(monkeypatch):
    """``qwen_vl_utils`` with the course's reader in it, as a notebook puts it there."""
    from qwen_vl_utils import vision_process

    monkeypatch.setitem(vision_process.VIDEO_READER_BACKENDS, "torchvision", qwen_vl_utils_reader)
    monkeypatch.setattr(vision_process, "FORCE_QWENVL_VIDEO_READER", "torchvision")
    vision_process.get_video_reader_backend.cache_clear()
    yield vision_process
    vision_process.get_video_reader_backend.cache_clear()


@pytest.fixture
def decoding(monkeypatch):
    """Counts decoded frames, and how many of them are in memory at once."""

    class Counter:
        decoded = most = 0

    class Frame:
        def __init__(self, frame):
            self.frame = frame

        def __getattr__(self, name):
            return getattr(self.frame, name)

    held, decode = weakref.WeakSet(), media._decoded

    def counted(path):
        for frame in decode(path):
            wrapped = Frame(frame)
            held.add(wrapped)
            Counter.decoded += 1
            Counter.most = max(Counter.most, len(held))
            yield wrapped

    monkeypatch.setattr(media, "_decoded", counted)
    return Counter


# ---------------------------------------------------------------- what is in a file

FACTS = {  # frames, frames a second, width, height, codec, degrees, whether the rate is constant
    "constant rate": (16, 4, 64, 64, "h264", 0, True),
    "variable rate": (30, pytest.approx(30 / 7.5, rel=0.01), 64, 64, "h264", 0, False),
    "turned": (8, 4, 64, 128, "h264", 90, True),
    "odd sides": (8, 4, 63, 41, "h264", 0, True),
    "1 × 2 pixels": (8, 4, 1, 2, "png", 0, True),
    "header in front": (16, 4, 64, 64, "h264", 0, True),
    "an mp4 named png": (16, 4, 64, 64, "h264", 0, True),
}


@pytest.mark.parametrize("name", FACTS)
def test_what_is_in_a_file(usable, name):
    info = probe(usable[name])
    found = info.frames, info.fps, info.width, info.height, info.codec, info.rotation, info.steady
    assert found == FACTS[name]
    assert info.times[0] == 0 and list(info.times) == sorted(info.times)
    assert info.seconds == info.frames / info.fps
    assert read_frames(info, range(info.frames)).shape == (info.frames, info.height, info.width, 3)


def test_the_line_for_people_has_the_facts(usable):
    assert probe(usable["constant rate"]).describe() == (
        "constant.mp4: 16 frames, 4 frames per second, 4.0 s, 64 × 64 pixels, h264"
    )
    assert "on average (variable)" in probe(usable["variable rate"]).describe()
    assert "turned by 90°" in probe(usable["turned"]).describe()


def test_a_path_may_be_a_string(usable):
    assert probe(str(usable["constant rate"])) == probe(usable["constant rate"])


@pytest.mark.parametrize("fps", [1, 7.5, Fraction(24000, 1001), 25, Fraction(30000, 1001), 60])
def test_frames_of_a_constant_rate_are_shown_at_equal_intervals(tmp_path, fps):
    info = probe(video_files.write(tmp_path / "clip.mp4", frames=50, fps=fps))
    assert info.fps == pytest.approx(float(fps), rel=1e-4)
    assert info.steady
    assert info.times == pytest.approx([number / float(fps) for number in range(50)], abs=1e-3)


def test_seconds_of_a_variable_rate_are_those_written(usable):
    info = probe(usable["variable rate"])
    assert info.times == pytest.approx([*(n / 30 for n in range(15)), *(0.5 + n / 2 for n in range(15))], abs=1e-3)


def test_the_frame_at_a_second_is_the_last_that_has_begun(usable):
    info = probe(usable["variable rate"])
    shown = {-1: 0, 0: 0, 0.03: 0, 0.034: 1, 0.49: 14, 0.5: 15, 0.99: 15, 1.0: 16, 7.5: 29, 1000: 29}
    assert {second: info.at(second) for second in shown} == shown
    assert [info.at(second) for second in info.times] == list(range(info.frames))


@pytest.mark.parametrize("container", ["mkv", "avi", "mov"])
def test_other_containers_are_read_too(tmp_path, container):
    info = probe(video_files.write(tmp_path / f"clip.{container}", frames=30, fps=Fraction(30000, 1001)))
    assert (info.frames, info.steady) == (30, True)
    assert info.fps == pytest.approx(29.97, abs=0.01)


def test_facts_cost_one_decoded_frame(long, decoding):
    info = probe(long)
    assert (info.frames, info.fps) == (10_000, 30)
    assert decoding.decoded == 1


REASONS = {
    "cut off": "cut off",
    "cut off, header in front": "cut off: 30 of 60 frames",
    "no frames": "no video",
    "sound only": "no video in it",
    "text": "cannot be read as a video",
    "0 bytes": "cannot be read as a video",
}


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_file_is_told_with_its_name_and_a_cause(bad, name):
    with pytest.raises(CourseError, match=REASONS[name]) as caught:
        probe(bad[name])
    assert bad[name].name in str(caught.value)
    assert caught.value.cause and caught.value.remedy
    assert str(bad[name].parent) not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart_from_bad_ones(tmp_path):
    for path in (tmp_path / "absent.mp4", tmp_path):
        with pytest.raises(CourseError, match="There is no file") as caught:
            probe(path)
        assert path.name in str(caught.value)


def test_one_frame_is_a_picture(tmp_path):
    clip = video_files.write(tmp_path / "one.mp4", frames=1)
    image = video_files.picture(tmp_path / "image.mp4")
    for path in (clip, image):
        info = probe(path)
        assert info.frames == 1
        with pytest.raises(CourseError, match=f"{path.name} has one frame") as caught:
            evenly(info, Sampling())
        assert "send it as an image" in str(caught.value)


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_damage_behind_a_whole_header_is_told(tmp_path, filling):
    whole = video_files.write(tmp_path / "w.mp4", frames=60, fps=10, draw=video_files.noise, faststart=True)
    content = bytearray(whole.read_bytes())
    start = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[start : start + 5000] = filling * 5000
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    with pytest.raises(CourseError, match=r"damaged\.mp4 (is damaged|cannot be read)") as caught:
        read_frames(probe(damaged), range(60))
    assert caught.value.cause


# ---------------------------------------------------------------- decoding


def test_decoded_frames_are_the_drawn_ones(usable):
    info = probe(usable["constant rate"])
    frames = read_frames(info, [0, 3, 3, 15])
    assert frames.dtype == np.uint8
    drawn = [plain(number, 64, 64) for number in (0, 3, 3, 15)]
    assert np.abs(frames.astype(int) - np.stack(drawn)).max() <= 3


def test_colours_are_red_green_blue(tmp_path):
    info = probe(video_files.write(tmp_path / "c.mp4", frames=2, draw=video_files.corners))
    (frame,) = read_frames(info, [0]).astype(int)
    assert frame[16, 16] == pytest.approx([255, 0, 0], abs=12)
    assert frame[16, 48] == pytest.approx([0, 255, 0], abs=12)
    assert frame[48, 16] == pytest.approx([0, 0, 255], abs=12)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_clips_stand_upright_as_in_opencv(tmp_path, degrees):
    import cv2

    path = video_files.write(tmp_path / "c.mp4", frames=4, width=128, draw=video_files.corners, rotation=degrees)
    info = probe(path)
    (frame,) = read_frames(info, [0])
    assert (info.height, info.width) == frame.shape[:2] == ((64, 128) if degrees == 180 else (128, 64))
    capture = cv2.VideoCapture(str(path))
    _, players = capture.read()
    capture.release()
    assert players.shape == frame.shape
    assert np.abs(frame.astype(int) - players[:, :, ::-1]).max() <= 3
    # Red is drawn at the top left and goes counterclockwise.
    row, column = {90: (-16, 16), 180: (-16, -16), 270: (16, -16)}[degrees]
    assert frame[row, column].astype(int) == pytest.approx([255, 0, 0], abs=12)


def test_pixels_of_a_lossless_clip_come_back_exactly(tmp_path):
    path = video_files.write(
        tmp_path / "c.mov", frames=3, width=5, height=3, codec="png", pixels="rgb24", draw=video_files.noise
    )
    frames = read_frames(probe(path), range(3))
    assert (frames == np.stack([video_files.noise(number, 5, 3) for number in range(3)])).all()


def test_eight_of_ten_thousand_frames_cost_little_memory(long, decoding):
    info = probe(long)
    numbers = evenly(info, Sampling(max_frames=8))
    assert len(numbers) == 8 and numbers[-1] == 9_999
    read_frames(info, numbers[:2])
    tracemalloc.start()
    frames = read_frames(info, numbers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoding.decoded > 10_000 and decoding.most <= 3
    assert peak < 4 * frames.nbytes + 2**20 < 10_000 * frames[0].nbytes / 10
    shades = frames.mean(axis=(1, 2, 3))
    assert shades == pytest.approx([number % 32 * 8 for number in numbers], abs=3)


def test_reading_ends_with_the_last_wanted_frame(long, decoding):
    read_frames(probe(long), [0, 5])
    assert decoding.decoded <= 1 + 6


def test_a_number_beyond_the_last_frame_is_told(usable):
    info = probe(usable["constant rate"])
    with pytest.raises(CourseError, match="frame 16 of 16 cannot be decoded"):
        read_frames(info, [3, 16])


# ---------------------------------------------------------------- which frames


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), float("-inf")])
def test_a_rate_that_is_not_positive_is_refused(fps):
    with pytest.raises(CourseError, match=r"fps=.* was refused"):
        Sampling(fps=fps)


@pytest.mark.parametrize(("fewest", "most"), [(0, 8), (1, 8), (-4, 8), (8, 4), (4, 2), (2, 1), (4, -1)])
def test_contradicting_limits_are_refused(fewest, most):
    with pytest.raises(CourseError, match=f"min_frames={fewest} with max_frames={most} was refused"):
        Sampling(min_frames=fewest, max_frames=most)


@pytest.mark.parametrize("frames", [2, 3, 7, 16, 33])
def test_an_enormous_rate_gives_all_frames_in_an_even_count(tmp_path, frames):
    info = probe(video_files.write(tmp_path / "c.mp4", frames=frames))
    numbers = evenly(info, EVERY_FRAME)
    assert len(numbers) == frames // 2 * 2 == len(set(numbers))
    if frames % 2 == 0:
        assert numbers == list(range(frames))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(fps=0.01), Sampling(fps=9), Sampling(max_frames=6)])
@pytest.mark.parametrize("name", FACTS)
def test_frames_are_taken_from_first_to_last_in_rising_order(usable, name, sampling):
    info = probe(usable[name])
    numbers = evenly(info, sampling)
    assert numbers[0] == 0 and numbers[-1] == info.frames - 1
    assert numbers == sorted(numbers)
    assert len(numbers) % 2 == 0 and len(numbers) <= sampling.max_frames
    if info.steady:
        assert max(b - a for a, b in pairwise(numbers)) - min(b - a for a, b in pairwise(numbers)) <= 1


def test_a_variable_rate_is_looked_at_evenly_in_time(usable):
    info = probe(usable["variable rate"])
    numbers = evenly(info, Sampling(fps=4))
    wanted = np.linspace(0, info.times[-1], len(numbers))
    for number, second in zip(numbers, wanted, strict=True):
        assert info.times[number] <= second + 1e-3
        assert number == info.frames - 1 or second < info.times[number + 1] + 1e-3
    # Half of the frames belong to the first half second, but no half of those chosen.
    assert sum(info.times[number] < 0.5 for number in numbers) <= len(numbers) / 7
    assert info.frames // 2 in numbers


# ---------------------------------------------------------------- qwen_vl_utils


def looked_at(vision_process, path, **settings):
    """One clip through ``process_vision_info``."""
    element = {"type": "video", "video": str(path), **settings}
    messages = [{"role": "user", "content": [element, {"type": "text", "text": "Describe this video."}]}]
    return vision_process.process_vision_info(
        messages, image_patch_size=16, return_video_kwargs=True, return_video_metadata=True
    )


def test_process_vision_info_gives_the_frames_and_their_metadata(reader, usable):
    path = usable["turned"]
    images, (video,), settings = looked_at(reader, path, fps=1.0, min_frames=4, max_frames=6)
    frames, metadata = video
    assert images is None and settings == {"do_sample_frames": False}
    assert metadata == {"fps": 4.0, "frames_indices": [0, 2, 5, 7], "total_num_frames": 8, "video_backend": "pyav"}
    info = probe(path)
    direct = read_frames(info, [0, 2, 5, 7])
    height, width = frames.shape[-2:]
    assert frames.shape == (4, 3, height, width) and height == pytest.approx(2 * width, rel=0.1)
    centres = frames[0].permute(1, 2, 0).numpy()
    for row, column in ((1, 1), (1, 3), (3, 1), (3, 3)):
        small = direct[0, info.height * row // 4, info.width * column // 4].astype(int)
        assert centres[height * row // 4, width * column // 4] == pytest.approx(small, abs=12)


def test_the_reader_gives_unresized_frames_and_the_rate_after_sampling(usable):
    path = usable["constant rate"]
    frames, metadata, rate = qwen_vl_utils_reader({"type": "video", "video": f"file://{path}"})
    assert tuple(frames.shape) == (8, 3, 64, 64) and str(frames.dtype) == "torch.uint8" and frames.is_contiguous()
    assert metadata["frames_indices"] == evenly(probe(path), Sampling())
    assert rate == 2
    expected = read_frames(probe(path), metadata["frames_indices"]).transpose(0, 3, 1, 2)
    assert (frames.numpy() == expected).all()


@pytest.mark.parametrize("name", ["variable rate", "constant rate"])
@pytest.mark.parametrize("fps", [0.5, 2, 4, 1e9])
def test_indices_divided_by_the_rate_are_the_frames_seconds(usable, name, fps):
    info = probe(usable[name])
    _, metadata, _ = qwen_vl_utils_reader({"video": str(info.path), "fps": fps})
    numbers = evenly(info, Sampling(fps=fps))
    for index, number in zip(metadata["frames_indices"], numbers, strict=True):
        assert abs(index / metadata["fps"] - info.times[number]) <= 0.5 / metadata["fps"] + 1e-6


def test_the_readers_messages_reach_the_user(reader, bad, usable):
    with pytest.raises(CourseError, match="cut off: 30 of 60"):
        looked_at(reader, bad["cut off, header in front"])
    with pytest.raises(CourseError, match="fps=0 was refused"):
        looked_at(reader, usable["constant rate"], fps=0)


def test_the_versions_here_still_want_a_reader():
    """Once torchvision reads videos again, the course's own reader can go."""
    from torchvision import io

    assert not hasattr(io, "read_video")


# ---------------------------------------------------------------- images


def ramp():
    """From black to white in 16 bits, left to right."""
    return np.tile(np.linspace(0, 65_535, 256).astype(np.uint16), (8, 1))


@pytest.mark.parametrize("name", ["grey.png", "grey.tiff"])
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path, name):
    Image.fromarray(ramp()).save(tmp_path / name)
    assert Image.open(tmp_path / name).mode.startswith("I"), "else this test shows nothing"
    opened = open_image(tmp_path / name)
    row = np.asarray(opened)[0, :, 0].astype(int)
    assert opened.mode == "RGB" and abs(row - np.arange(256)).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_still_wider_values_are_scaled_to_the_largest(tmp_path, dtype):
    values = ramp().astype(dtype) / (65_535 if dtype is np.float32 else 1)
    Image.fromarray(values.astype(dtype)).save(tmp_path / "wide.tiff")
    row = np.asarray(open_image(tmp_path / "wide.tiff"))[0, :, 0].astype(int)
    assert abs(row - np.arange(256)).max() <= 1
    Image.fromarray(np.zeros((4, 4), dtype)).save(tmp_path / "black.tiff")
    assert np.asarray(open_image(tmp_path / "black.tiff")).max() == 0


def test_vllm_cuts_off_what_we_scale(tmp_path):
    """The difference that `open_image` tells of; if it goes, so must the sentence."""
    vllm_image = pytest.importorskip("vllm.multimodal.media.image")
    Image.fromarray(ramp()).save(tmp_path / "grey.png")
    served = vllm_image.ImageMediaIO().load_bytes((tmp_path / "grey.png").read_bytes()).media
    assert (np.asarray(served)[:, 2:] == 255).all()


def test_images_stand_upright_as_they_do_in_a_viewer(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.new("RGB", (40, 20), "red").save(tmp_path / "phone.jpg", exif=exif)
    assert open_image(tmp_path / "phone.jpg").size == (20, 40)


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_is_named_with_the_way_out(tmp_path, brand):
    (tmp_path / "IMG_0001.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(64))
    with pytest.raises(CourseError, match="is a HEIC image") as caught:
        open_image(tmp_path / "IMG_0001.jpg")
    assert "heif-convert" in caught.value.remedy
    (tmp_path / "notes.jpg").write_text("not an image, and not HEIC")
    with pytest.raises(CourseError, match="cannot be read as an image"):
        open_image(tmp_path / "notes.jpg")


# ---------------------------------------------------------------- pictures beside texts


def test_pictures_are_embedded_and_text_is_only_text(tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.jpg"
    first.write_bytes(b"png bytes")
    second.write_bytes(b"jpeg bytes")
    shown = beside([first, second], "<script>1 < 2</script>").data
    assert f"data:image/png;base64,{base64.b64encode(b'png bytes').decode()}" in shown
    assert "data:image/jpeg;base64," in shown
    assert "<script>" not in shown
    assert "1 &lt; 2" in shown
    assert str(tmp_path) not in shown


def test_a_clip_trimmed_without_new_encoding_is_whole(tmp_path):
    """An edit list hides the first frames; players, the server and we count those that are shown."""
    import av

    source = video_files.write(tmp_path / "source.mp4", frames=20)
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(tmp_path / "trimmed.mp4"), "w", options=options) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        ticks = int(1.5 / stream.time_base)
        for packet in old.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, copy
                new.mux(packet)
    info = probe(tmp_path / "trimmed.mp4")
    assert info.frames == 14
    assert len(read_frames(info, range(14))) == 14


def test_an_address_with_blanks_and_a_name_with_a_colon_are_found(tmp_path, monkeypatch):
    clip = video_files.write(tmp_path / "a clip: ä.mp4")
    assert qwen_vl_utils_reader({"video": clip.as_uri()})[1]["total_num_frames"] == 16
    monkeypatch.chdir(tmp_path)
    assert probe("a clip: ä.mp4").frames == 16


def test_an_angle_between_quarters_turns_nothing(tmp_path):
    info = probe(video_files.write(tmp_path / "slanted.mp4", frames=4, width=128, rotation=45))
    assert (info.height, info.width) == read_frames(info, [0]).shape[1:3] == (64, 128)


@pytest.mark.parametrize("option", ["nframes", "video_start", "video_end"])
def test_options_that_the_reader_does_not_know_are_refused(tmp_path, option):
    clip = video_files.write(tmp_path / "clip.mp4")
    with pytest.raises(CourseError, match=option):
        qwen_vl_utils_reader({"video": str(clip), option: 2})

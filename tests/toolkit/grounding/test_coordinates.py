"""One helper converts coordinates: every scale, shape and crop, there and back, as the processors resize."""

from types import SimpleNamespace

import pytest
from PIL import Image

from helpers.errors import CourseError
from toolkit.grounding import Canvas, Found, Reading
from toolkit.grounding.coordinates import seen_size

NAN = float("nan")
#: As Qwen2.5-VL's and Qwen3-VL's processors are released.
OLDER = SimpleNamespace(patch_size=14, merge_size=2, size={"shortest_edge": 3136, "longest_edge": 12_845_056})
NEWER = SimpleNamespace(patch_size=16, merge_size=2, size={"shortest_edge": 65_536, "longest_edge": 16_777_216})
#: Wide, tall, enlarged (too few pixels), reduced (too many), and sides that are no multiples.
SHAPES = [(640, 480), (2000, 100), (60, 1900), (40, 30), (9000, 6000), (333, 777), (256, 256)]


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("processor", [OLDER, NEWER])
def test_the_resized_size_is_that_of_transformers_and_of_qwen_vl_utils(size, processor):
    from qwen_vl_utils.vision_process import smart_resize
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as of_transformers

    unit = processor.patch_size * processor.merge_size
    limits = {"min_pixels": processor.size["shortest_edge"], "max_pixels": processor.size["longest_edge"]}
    seen = seen_size(size, processor)
    assert seen[::-1] == of_transformers(size[1], size[0], factor=unit, **limits)
    assert seen[::-1] == smart_resize(size[1], size[0], factor=unit, **limits)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("scale", [1000, 999, "pixels"])
@pytest.mark.parametrize("cropped", [False, True])
def test_there_and_back(size, scale, cropped):
    width, height = size
    crop = (width / 4, height / 2, width, height) if cropped else None
    canvas = Canvas.of(size, scale, crop=crop, processor=OLDER)
    box = (width * 0.3, height * 0.55, width * 0.8, height * 0.9)
    assert canvas.to_pixels(canvas.from_pixels(box)) == pytest.approx(box)
    assert canvas.to_pixels((canvas.across, canvas.down)) == pytest.approx((width, height))
    assert canvas.to_pixels((0, 0)) == pytest.approx(crop[:2] if crop else (0, 0))


def test_each_scale_by_hand():
    box = (100, 200, 500, 1000)
    assert Canvas.of((640, 480)).to_pixels(box) == pytest.approx((64, 96, 320, 480))
    assert Canvas.of((999, 999), 999).to_pixels(box) == pytest.approx(box)
    # 641 × 481 is seen as 644 × 476, 23 and 17 squares of 28 pixels
    assert Canvas.of((641, 481), "pixels", processor=OLDER).to_pixels((644, 476)) == pytest.approx((641, 481))
    assert Canvas.of(Image.new("RGB", (640, 480))).to_pixels((500, 500)) == pytest.approx((320, 240))


def test_relative_coordinates_do_not_care_how_the_image_was_sent_and_pixels_do():
    box = (100, 200, 500, 900)
    assert Canvas.of((640, 480), sent=(1280, 960)).to_pixels(box) == Canvas.of((640, 480)).to_pixels(box)
    small = Canvas.of((640, 480), "pixels", processor=OLDER)
    large = Canvas.of((640, 480), "pixels", processor=OLDER, sent=(1288, 980))
    assert (small.across, small.down) == (644, 476)
    assert (large.across, large.down) == (1288, 980)
    assert large.to_pixels(box)[2] == pytest.approx(500 / 1288 * 640)


def test_a_crop_is_a_part_of_the_whole_image():
    canvas = Canvas.of((1000, 800), crop=(200, 400, 600, 600))
    assert canvas.to_pixels((500, 500)) == pytest.approx((400, 500))
    assert canvas.place(Reading((Found("dog", box=(-100, 500, 2000, 1000)),))).objects[0].box == (200, 500, 600, 600)


@pytest.mark.parametrize(
    "crop",
    [
        (10, 10, 10, 50),
        (10, 10, 5, 50),
        (0, 0, 0, 0),
        (-1, 0, 50, 50),
        (0, 0, 101, 50),
        (0, 0, float("nan"), 5),
        (1, 2),
    ],
)
def test_a_crop_without_area_or_outside_is_refused(crop):
    with pytest.raises(CourseError):
        Canvas.of((100, 80), crop=crop)


@pytest.mark.parametrize("scale", ["pixels", "permille", 0, -1])
def test_an_unknown_scale_is_refused(scale):
    with pytest.raises(CourseError):
        Canvas.of((100, 80), scale)


def test_an_image_without_area_is_refused():
    with pytest.raises(CourseError):
        Canvas.of((0, 80))


def test_what_lies_outside_is_named_and_nothing_leaves_the_image():
    found = (
        Found("inside", box=(0, 0, 1000, 1000)),
        Found("across", box=(900, -50, 1200, 500)),
        Found("outside", box=(1100, 0, 1200, 500)),
        Found("flat", box=(100, 100, 100, 500)),
        Found("corner", point=(1000, 1000)),
        Found("beyond", point=(500, 1001)),
        Found("heading", text="no box"),
    )
    placed = Canvas.of((200, 100)).place(Reading(found, ("cut off",)))
    assert [thing.label for thing in placed.objects] == ["inside", "across", "corner", "heading"]
    assert placed.objects[1].box == pytest.approx((180, 0, 200, 50))
    assert placed.problems == (
        "cut off",
        "'across' reaches out of the image",
        "'outside' lies outside the image",
        "'flat' lies outside the image",
        "'beyond' lies outside the image",
    )

"""The enlarged part of an image: where it lies, and its size. Boxes that are refused are tested with the zoom tool."""

import pytest
from PIL import Image

from toolkit.grounding.closer import ENLARGED, UNIT, look_closer


def test_the_enlarged_part_is_where_the_box_is():
    image = Image.new("RGB", (256, 128), "white")
    image.paste("red", (128, 0, 256, 128))
    half, box = look_closer(image, [500, 0, 1000, 1000], margin=0)
    assert half.size == (256, 256) and half.getpixel((20, 128)) == (255, 0, 0) and box == (128, 0, 256, 128)
    close, _ = look_closer(image, [250, 0, 750, 1000], margin=0)
    assert close.size == (256, 256)
    assert close.getpixel((10, 128)) == (255, 255, 255) and close.getpixel((245, 128)) == (255, 0, 0)


@pytest.mark.parametrize("box", [[0, 0, 1000, 1000], [400, 100, 460, 900], [-50, 900, 1200, 1100]])
def test_the_enlarged_part_has_whole_tokens_and_one_long_side(box):
    close, _ = look_closer(Image.new("RGBA", (300, 200)), box)
    assert close.mode == "RGB" and max(close.size) == ENLARGED and not any(side % UNIT for side in close.size)

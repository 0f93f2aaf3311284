"""The README's picture."""

from xml.etree import ElementTree

from course.readme_picture import PICTURE, SCENES, drawn

SVG = "{http://www.w3.org/2000/svg}"


def test_boxes_lie_where_the_model_says_and_text_is_text():
    image = sorted(SCENES.glob("*.png"))[0]
    picture = ElementTree.fromstring(
        drawn(image, "A <b> & a dog.", [{"bbox_2d": [100, 200, 400, 900], "label": "dog"}])
    )
    box = next(one for one in picture.iter(f"{SVG}rect") if one.get("stroke"))
    assert [box.get(name) for name in ("x", "y", "width", "height")] == ["40", "70", "90", "210"]
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert "A <b> & a dog." in words and "tiny-qwen3-vl, 5.4 M parameters" in words
    assert "A <b> & a dog." in picture.get("aria-label")


def test_the_shipped_picture_asks_no_host_for_anything():
    text = PICTURE.read_text(encoding="utf-8")
    assert text.count("http") == 1 and 'xmlns="http://www.w3.org/2000/svg"' in text

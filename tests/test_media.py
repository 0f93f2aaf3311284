"""Pictures beside texts."""

import base64

from helpers.media import beside


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

"""What the drawings of the engine say."""

import pytest

from toolkit.drawings import paged_kv_cache

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_each_block_of_a_request_is_found_once_in_memory():
    seen, memory = ([text.get_text() for text in axes.texts] for axes in paged_kv_cache().axes)
    blocks = [text.removeprefix("block ") for text in seen if text.startswith("block ")]
    assert blocks == ["A0", "A1", "A2", "B0", "B1"]
    assert sorted(text for text in memory if text in blocks) == blocks

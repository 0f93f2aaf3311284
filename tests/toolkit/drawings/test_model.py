"""The drawings show the model's own numbers, and every parameter is in one of the bar's groups."""

from itertools import pairwise

import pytest

from helpers.model_facts import load_catalogue
from toolkit.drawings import draw_path, draw_shares
from toolkit.drawings.model import GROUPS

pytestmark = pytest.mark.usefixtures("closed_figures")
CATALOGUE = load_catalogue()


def words(figure):
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def test_the_path_shows_the_models_numbers():
    shown = words(draw_path(CATALOGUE["Qwen/Qwen3-VL-4B-Instruct"]))
    for number in ["16 × 16", "24 blocks", "36 layers", "32 heads", "8 for K and V", "151,936", "blocks 5, 11, 17"]:
        assert number in shown


def test_a_model_without_deepstack_shows_none():
    assert "deepstack" not in words(draw_path(CATALOGUE["Qwen/Qwen2-VL-2B-Instruct"]))


def test_boxes_do_not_overlap():
    import matplotlib.patches

    for facts in CATALOGUE.values():
        boxes = [patch for patch in draw_path(facts).axes[0].patches if isinstance(patch, matplotlib.patches.Rectangle)]
        edges = [(box.get_x(), box.get_x() + box.get_width()) for box in boxes]
        assert len(edges) == 6 and all(first[1] < second[0] for first, second in pairwise(edges))


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_parameter_is_in_exactly_one_group(name):
    for part in CATALOGUE[name].parameter_table():
        assert sum(part.startswith(starts) for starts in GROUPS.values()) == 1, part


def test_bars_reach_100_percent():
    figure = draw_shares(CATALOGUE)
    ends = [patch.get_x() + patch.get_width() for patch in figure.axes[0].patches[-len(CATALOGUE) :]]
    assert ends == pytest.approx([100] * len(CATALOGUE))

import matplotlib
from PIL import Image

from toolkit.agents import draw_steps
from toolkit.agents.loop import Run, Step
from toolkit.agents.models import Reply
from toolkit.agents.tools import Result

matplotlib.use("agg")
SILENT = Reply(None, None, (), 1, False)


def test_every_crop_is_drawn_beside_the_image_and_failed_calls_are_not():
    crop = Image.new("RGB", (64, 32))
    results = (Result("", crop, "one", (0.0, 0.0, 20.0, 10.0)), Result("Error", failed=True))
    run = Run([], [Step(SILENT, results), Step(SILENT, (Result("", crop, "two", (5.0, 5.0, 30.0, 20.0)),))])
    figure = draw_steps(Image.new("RGB", (200, 100)), run, "zoom")
    assert [axes.get_title() for axes in figure.axes] == ["zoom", "step 1: one", "step 2: two"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["step 1", "step 2"]


def test_a_run_without_crops_shows_the_image_alone():
    assert len(draw_steps(Image.new("RGB", (20, 10)), Run([])).axes) == 1

"""Figures of the speed notebooks: what they draw is what they were given."""

import pandas as pd
import pytest

from toolkit.speed import charts
from toolkit.speed.roofline import MachineLimits

pytestmark = pytest.mark.usefixtures("closed_figures")
LIMITS = MachineLimits(10e9, 8e9, 9e9, 100e9, 1, "cpu", "float32", 1, 1, 0.0)


def lines(axes):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]


def test_the_timeline_names_each_metric():
    texts = {text.get_text() for text in charts.request_timeline().axes[0].texts}
    assert {"queue", "prefill", "time to first token (TTFT)", "inter-token latency (ITL)"} <= texts


def test_a_sweep_shows_every_request_and_the_medians():
    frame = pd.DataFrame({"size": [1, 1, 1, 4, 4], "e2e_ms": [1.0, 2.0, 9.0, 5.0, 7.0]})
    (axes,) = charts.sweep_panels([(frame, "size", "e2e_ms", "pixels")]).axes
    dots, medians = lines(axes)
    assert len(dots[0]) == 5 and medians == ([1, 4], [2.0, 6.0])
    assert axes.get_ylabel() == "end to end, ms" and axes.get_xlabel() == "pixels"


def test_each_panel_says_its_own_time():
    frame = pd.DataFrame({"n": [1, 2], "e2e_ms": [1.0, 2.0], "first_text_ms": [1.0, 1.0]})
    panels = [(frame, "n", "first_text_ms", "n"), (frame, "n", "e2e_ms", "n")]
    assert [axes.get_ylabel() for axes in charts.sweep_panels(panels).axes] == [
        "time to first text, ms",
        "end to end, ms",
    ]


def test_what_one_user_sees_is_the_inverse_of_the_time_for_a_token():
    columns = {"tokens_per_second": [50.0, 160.0], "e2e_p50": [600.0, 900.0], "e2e_p95": [700.0, 1500.0]}
    table = pd.DataFrame(columns | {"token_p50": [20.0, 25.0]}, index=[1, 4])
    *_, right = charts.concurrency_plot(table).axes
    assert lines(right) == [([50.0, 40.0], [50.0, 160.0])]
    assert [text.get_text() for text in right.texts] == ["1", "4"]


def test_load_is_drawn_against_what_comes_with_the_capacity_marked():
    table = pd.DataFrame(
        {"offered": [2.0, 9.0], "served": [2.0, 8.0], "good": [2.0, 1.0], "p50": [9, 90], "p95": [9, 99]}
    )
    left, right = charts.load_plot(table, 8.0).axes
    assert ([8.0, 8.0], [0, 1]) in lines(left) and ([2.0, 9.0], [2.0, 1.0]) in lines(right)


def test_the_roof_bends_at_the_balance_and_points_lie_at_what_was_reached():
    (axes,) = charts.roofline_plot(LIMITS, {"decode": (0.5, 1e9)}).axes
    roof, gap, point = lines(axes)
    assert roof[0][1] == 10.0 and roof[1][1] == pytest.approx(100.0) and roof[1][0] < roof[1][1] == roof[1][2]
    assert gap == ([0.5, 0.5], [1.0, 5.0]) and point == ([0.5], [1.0])

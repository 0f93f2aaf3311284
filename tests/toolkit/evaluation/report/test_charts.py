"""Comparisons as notebooks show them."""

import pytest

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.evaluation.inference.transcripts import Transcript
from toolkit.evaluation.metrics.scoring import Scored, score_answer
from toolkit.evaluation.report.charts import difference_plot, marked, side_by_side
from toolkit.toyworld.items import read_items

pytestmark = pytest.mark.usefixtures("closed_figures")
ITEM = read_items("data/scenes")[0]


def scored(text, run="one", **what):
    what = {"status": "ok", "text": text} | what
    one = Transcript(run=run, item_id=ITEM["item_id"], model="m", request_hash="0", time="", origin="run", **what)
    scores, report = score_answer(ITEM, text) if text else ({}, None)
    return Scored(run, ITEM, "scene", one, scores, report)


def test_claims_are_marked_and_text_is_escaped():
    page = marked(scored("A brown dog and a red cat. <script>alert(1)</script>"))
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count("<span") == page.count('style="color:#'), "dark text on pale colours, also on a dark page"
    assert 'title="dog: colour brown, supported"' in page and "dashed" in page


def test_a_failure_is_never_shown_as_an_answer():
    page = marked(scored(None, status="timeout", error="No answer within <1> s."))
    assert page == "<i>timeout: No answer within &lt;1&gt; s.</i>"
    assert "reasoning alone" in marked(scored(None, status="thinking", reasoning="A dog?"))


def test_both_answers_stand_beside_the_picture():
    page = side_by_side("data/scenes", [scored("A dog."), scored("A cat.")], ["<one>", "two"])
    assert page.count("<img") == 1 and "data:image/" in page and "&lt;one&gt;" in page
    assert "Describe this image." in page and ITEM["answer"][0][:40] in page


def test_a_link_out_of_the_folder_is_not_shown(tmp_path):
    (tmp_path / ITEM["media"][0]).symlink_to(COURSE_ROOT / "data" / "scenes" / ITEM["media"][0])
    with pytest.raises(CourseError, match="is a link to"):
        side_by_side(tmp_path, [scored("A dog.")], ["one"])


def test_right_of_zero_the_first_is_better_whatever_the_measure():
    import pandas as pd

    common = {"task": "t", "title": "t", "n": 9}
    rows = [
        {"measure": "right", "difference": 0.5, "low": 0.2, "high": 0.8, "verdict": "first is better"},
        {"measure": "cer", "difference": 0.5, "low": 0.2, "high": 0.8, "verdict": "second is better"},
        {"measure": "words", "difference": 9.0, "low": 8.0, "high": 10.0, "verdict": "first is higher"},
    ]
    axes = difference_plot(pd.DataFrame([row | common for row in rows]), "a", "b").axes[0]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == [-0.5, 0.5], "from below: error rates are turned round, and more words are not better"

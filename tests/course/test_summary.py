"""The summary page: what it says, and that it is one file that no text can break."""

import dataclasses
import datetime
import re
from html.parser import HTMLParser

import pytest

from course.failures import Failure
from course.results import RESULTS_FILE, NotebookResult, RunSettings, keep_results, read_results
from course.summary import write_summary
from tests.support.throwaway import entry, write_executed

STARTED = datetime.datetime(2030, 5, 1, 12, 30, tzinfo=datetime.UTC)
SETTINGS = RunSettings(profile="tiny", model="tiny-qwen3-vl", device="cpu", description="profile tiny on cpu")


def passed(number=0):
    return NotebookResult(
        entry(f"0{number}_good.ipynb"),
        status="passed",
        seconds=90,
        cells_done=7,
        cells_total=7,
        executed=f"0{number}_good.ipynb",
        page=f"0{number}_good.html",
        model="tiny-qwen3-vl",
        device="cpu",
        time="2030-05-01 10:00",
        versions={"Python": "3.11.9", "vllm": "0.32.0"},
    )


def failed(text="ValueError: no"):
    failure = Failure(text, "a cause & more", "a remedy", cell="In [3]", source=text, detail=text)
    return NotebookResult(
        entry("01_bad.ipynb"), status="failed", seconds=30, cells_done=2, cells_total=9, failure=failure
    )


def page_of(tmp_path, results, **options):
    page = tmp_path / "summary.html"
    write_summary(page, results, settings=SETTINGS, started=STARTED, **options)
    return page.read_text(encoding="utf-8")


def test_status_minutes_cells_model_device_and_versions_are_there(tmp_path):
    text = page_of(tmp_path, [passed()], finished=True)
    for expected in (
        "passed",
        "1.5",
        "7 of 7",
        "tiny-qwen3-vl",
        "cpu",
        "vllm 0.32.0",
        'href="00_good.html"',
        "2030-05-01",
    ):
        assert expected in text


def test_cause_and_remedy_of_a_failure_are_there(tmp_path):
    text = page_of(tmp_path, [passed(), failed()], finished=True)
    assert "1 of 2 notebooks failed" in text
    for expected in ("ValueError: no", "a cause &amp; more", "a remedy", "In [3]", "2 of 9"):
        assert expected in text


def test_markup_in_an_error_is_shown_and_not_run(tmp_path):
    hostile = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    text = page_of(tmp_path, [failed(hostile)], finished=True)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") == 3


def test_the_page_needs_nothing_but_itself_and_the_executed_notebooks(tmp_path):
    found = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.extend(value for name, value in attributes if name in ("src", "href", "action"))

    Links().feed(page_of(tmp_path, [passed(), passed(2)], finished=True))
    assert found == ["00_good.html", "02_good.html"]


def test_an_unfinished_page_reloads_and_a_finished_one_does_not(tmp_path):
    running = NotebookResult(entry("02_next.ipynb"), status="running")
    assert "http-equiv" in page_of(tmp_path, [passed(), running])
    assert "http-equiv" not in page_of(tmp_path, [passed()], finished=True)


@pytest.mark.parametrize(
    ("statuses", "headline"),
    [
        (["passed", "passed"], "All 2 notebooks passed"),
        (["passed"], "The notebook passed"),
        (["passed", "skipped"], "1 of 2 notebooks passed, 1 skipped"),
        (["failed", "passed"], "1 of 2 notebooks failed"),
        (["passed", "interrupted", "waiting"], "Interrupted after 1 of 3 notebooks"),
    ],
)
def test_the_headline_says_how_it_went(tmp_path, statuses, headline):
    results = [NotebookResult(entry(f"0{n}_x.ipynb"), status=status) for n, status in enumerate(statuses)]
    text = page_of(tmp_path, results, finished=True)
    assert re.search(r"<h1>(.*)</h1>", text)[1] == headline


def test_where_the_time_went_is_told_at_the_end(tmp_path):
    write_executed(tmp_path / "00_good.ipynb", [("from vllm import LLM\nllm = LLM('<b>')", 8.25)], seconds=11.5)
    assert "Where the time went" not in page_of(tmp_path, [passed()])
    assert "Where the time went" not in page_of(tmp_path, [failed()], finished=True)  # nothing was executed
    text = page_of(tmp_path, [passed(), failed()], finished=True)
    assert re.search(r"<th>00_good</th>\s*<td>3.2</td><td>8.2</td>(<td>0.0</td>){3}<td>11.5</td>", text)
    assert "<code>llm = LLM(&#39;&lt;b&gt;&#39;)</code>" in text


def test_minutes_are_those_of_the_clock_also_side_by_side(tmp_path):
    results = [passed(0), passed(1)]
    results[1].began = 60
    two = dataclasses.replace(SETTINGS, jobs=2)
    page = tmp_path / "summary.html"
    write_summary(page, results, settings=two, started=STARTED, finished=True)
    assert "2.5 minutes, 2 notebooks at a time" in page.read_text()


def test_results_of_earlier_runs_stand_beside_these_and_are_not_counted_with_them(tmp_path):
    text = page_of(tmp_path, [failed()], finished=True, earlier=[passed(2), passed(0)])
    assert "<h1>1 of 1 notebooks failed; 2 from earlier runs</h1>" in text
    assert text.count("from an earlier run, 2030-05-01 10:00") == 2
    assert text.index("Title of 00") < text.index("Title of 01") < text.index("Title of 02")


def test_results_are_kept_until_the_notebook_is_run_again(tmp_path):
    keep_results(tmp_path, [passed(0), failed(), passed(2)])
    assert read_results(tmp_path) == [passed(0), failed(), passed(2)]
    again = dataclasses.replace(failed(), status="passed", failure=None)
    keep_results(tmp_path, [NotebookResult(entry("00_good.ipynb")), again])
    assert read_results(tmp_path) == [passed(0), again, passed(2)]
    (tmp_path / RESULTS_FILE).write_text("[{]")
    assert read_results(tmp_path) == []


def test_nothing_half_written_is_left(tmp_path):
    page_of(tmp_path, [passed()])
    assert [file.name for file in tmp_path.iterdir()] == ["summary.html"]

"""Results of benchmarks and the page made of them."""

import datetime
import json
from html.parser import HTMLParser

import pytest

from benchmarks.page import PAGES, build_page, number_text, render
from helpers.errors import CourseError
from helpers.provenance import MachineRecord
from toolkit.speed.results import (
    FOLDER,
    BenchResult,
    Figure,
    find_result,
    latest,
    read_results,
    results_frame,
    write_result,
)

NOON = datetime.datetime(2030, 5, 1, 12, 0, tzinfo=datetime.UTC)
MACHINE = MachineRecord(cpu="Some CPU", cores=2, cpu_features=("AVX2",), ram_gib=23.5, system="Linux x86_64")
VERSIONS = {"python": "3.11.7", "vllm": "0.32.0"}


def result(part="serve-text", time=NOON, **fields):
    return BenchResult(
        **{
            "part": part,
            "title": f"Title of {part}",
            "profile": "tiny",
            "date": time.date(),
            "time": time,
            "machine": MACHINE,
            "versions": VERSIONS,
            "command": ("vllm", "bench", "serve", "--goodput", "a b"),
            "seconds": 12.5,
            "figures": (Figure(name="ttft p50", value=93.456, unit="ms"),),
            **fields,
        }
    )


# ---------------------------------------------------------------- files


def test_results_come_back_and_none_is_replaced(tmp_path):
    first, second = result(), result(time=NOON + datetime.timedelta(hours=1))
    paths = [write_result(one, tmp_path) for one in (first, second)]
    assert [path.name for path in paths] == ["2030-05-01-serve-text-tiny.json", "2030-05-01-serve-text-tiny-2.json"]
    assert read_results(tmp_path) == [first, second]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"machine": None}, "machine"),
        ({"versions": {}}, "versions"),
        ({"command": []}, "command"),
        ({"surprise": 1}, "surprise"),
        ({"format": 2}, "format"),
        ({"date": "2030-05-02"}, "date is that of time"),
        ({"figures": [{"name": "a", "value": None, "unit": ""}]}, "says why"),
        ({"figures": [{"name": "a", "value": 1, "unit": "", "low": 2, "high": 1}]}, "low first"),
    ],
)
def test_what_a_figure_cannot_be_judged_without_is_demanded(tmp_path, change, key):
    path = write_result(result(), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CourseError, match="is no result of a benchmark") as caught:
        read_results(tmp_path)
    assert key in caught.value.cause


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.json").write_text("[]")
    (tmp_path / "2030-05-01-log.txt").write_text("x")
    assert read_results(tmp_path) == []


def test_find_result_wants_the_same_day_machine_and_versions():
    known = [result(), result(seconds=2.0)]
    same = {"date": NOON.date(), "machine": MACHINE, "versions": VERSIONS}
    assert find_result(known, "serve-text", "tiny", **same) is known[1]
    for part, profile, change in (
        ("other", "tiny", {}),
        ("serve-text", "2b", {}),
        ("serve-text", "tiny", {"date": datetime.date(2030, 5, 2)}),
        ("serve-text", "tiny", {"machine": MACHINE.model_copy(update={"cores": 4})}),
        ("serve-text", "tiny", {"versions": VERSIONS | {"vllm": "0.33.0"}}),
    ):
        assert find_result(known, part, profile, **same | change) is None


def test_a_frame_has_a_row_for_each_figure_with_its_surroundings():
    figures = (Figure(name="a", value=1, unit="s"), Figure(name="b", value=None, unit="s", about="no GPU"))
    frame = results_frame([result(figures=figures), result("other")])
    assert frame["name"].tolist() == ["a", "b", "ttft p50"]
    assert set(frame["machine"]) == {MACHINE.describe()}
    assert frame["command"][0] == "vllm bench serve --goodput 'a b'"


# ---------------------------------------------------------------- page


class Text(HTMLParser):
    """What a reader of a page sees; every element must be closed."""

    def __init__(self, page):
        super().__init__()
        self.text, self.open = "", []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def pages(folder):
    markdown, html = build_page(folder)
    return markdown.read_text(), Text(html.read_text()).text


def test_the_page_names_machine_versions_and_command_of_every_result(tmp_path):
    other = MachineRecord(cpu="Another CPU", cores=16, ram_gib=128, system="Linux x86_64", gpus=("Big GPU (80 GiB)",))
    write_result(result(), tmp_path)
    write_result(result("offline", NOON, machine=other, versions={"vllm": "0.33.0"}), tmp_path)
    for text in pages(tmp_path):
        for wanted in ("Some CPU (AVX2), 2 cores", "Big GPU (80 GiB)", "python 3.11.7, vllm 0.32.0", "vllm 0.33.0"):
            assert text.count(wanted) >= 2  # in the overview and beside the figures
        assert "2030-05-01" in text and "vllm bench serve --goodput 'a b'" in text and "93.5 ms" in text


def test_the_page_shows_the_newest_and_lists_the_older(tmp_path):
    figures = (Figure(name="ttft p50", value=11.1, unit="ms"),)
    later = result(time=NOON + datetime.timedelta(days=1), figures=figures)
    for one in (later, result()):
        write_result(one, tmp_path)
    assert latest(read_results(tmp_path)) == [later]
    for text in pages(tmp_path):
        assert "11.1 ms" in text and "93.5" not in text
        assert "2030-05-01: Title of serve-text" in text


def test_the_page_is_made_of_the_files_alone(tmp_path):
    write_result(result(tables={"passes": [{"client": "tool", "seconds": 1.5}, {"client": "runner", "seconds": None}]}),
                 tmp_path)  # fmt: skip
    first = [path.read_bytes() for path in build_page(tmp_path)]
    assert [path.read_bytes() for path in build_page(tmp_path)] == first
    markdown = first[0].decode()
    assert "| client | seconds |\n| --- | --- |\n| tool | 1.50 |\n| runner |  |\n" in markdown


def test_the_shipped_page_is_that_of_the_shipped_results():
    shipped = read_results(FOLDER)
    assert shipped
    for name, template in PAGES.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == render(shipped, template), "python -m course bench --page"


def test_no_text_breaks_the_page(tmp_path):
    figures = (Figure(name="<b>|`x`", value=1, unit="s"), Figure(name="none", value=None, unit="s", about="a | b"))
    write_result(result(title="<script>&", figures=figures), tmp_path)
    markdown, html = pages(tmp_path)
    assert "<b>|`x`" in html and "not measured" in html and "<script>&" in html
    row = next(line for line in markdown.splitlines() if "&lt;b>" in line)
    assert row.replace("\\|", "").count("|") == 5


def test_no_results_no_page(tmp_path):
    with pytest.raises(CourseError, match="holds no results"):
        build_page(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.95, "0.950"),
        (123.4, "123"),
        (12345.6, "12,346"),
        (1.5, "1.50"),
        (0.00001, "1.00e-05"),
        (-2.0, "-2.00"),
    ],
)
def test_numbers(value, text):
    assert number_text(value) == text

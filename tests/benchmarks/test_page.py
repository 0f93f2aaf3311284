"""The page made of the results of benchmarks."""

import datetime
import re

import pytest

from benchmarks.page import PAGE, build_page, chart, chart_file, number_text, render_page
from helpers.errors import CourseError
from helpers.provenance import MachineRecord
from tests.support.bench_results import NOON, result
from toolkit.speed.results import FOLDER, Figure, latest, read_results, write_result


def page(folder):
    return build_page(folder).read_text()


def test_the_page_names_machine_versions_and_command_of_every_result(tmp_path):
    other = MachineRecord(cpu="Another CPU", cores=16, ram_gib=128, system="Linux x86_64", gpus=("Big GPU (80 GiB)",))
    write_result(result(), tmp_path)
    write_result(result("offline", NOON, machine=other, versions={"vllm": "0.33.0"}), tmp_path)
    text = page(tmp_path)
    for wanted in ("Some CPU (AVX2), 2 cores", "Big GPU (80 GiB)", "python 3.11.7, vllm 0.32.0", "vllm 0.33.0"):
        assert text.count(wanted) >= 2  # in the overview and beside the figures
    assert "2030-05-01" in text and "vllm bench serve --goodput 'a b'" in text and "93.5 ms" in text


def test_the_page_shows_the_newest_and_lists_the_older(tmp_path):
    figures = (Figure(name="ttft p50", value=11.1, unit="ms"),)
    later = result(time=NOON + datetime.timedelta(days=1), figures=figures)
    for one in (later, result()):
        write_result(one, tmp_path)
    assert latest(read_results(tmp_path)) == [later]
    text = page(tmp_path)
    assert "11.1 ms" in text and "93.5" not in text
    assert "2030-05-01: Title of serve-text" in text


def test_the_page_is_made_of_the_files_alone(tmp_path):
    write_result(result(tables={"passes": [{"client": "tool", "seconds": 1.5}, {"client": "runner", "seconds": None}]}),
                 tmp_path)  # fmt: skip
    first = page(tmp_path)
    assert page(tmp_path) == first
    assert "| client | seconds |\n| --- | --- |\n| tool | 1.50 |\n| runner |  |\n" in first


def test_the_shipped_page_is_that_of_the_shipped_results():
    shipped = read_results(FOLDER)
    assert shipped
    assert (FOLDER / PAGE).read_text(encoding="utf-8") == render_page(shipped), "python -m course bench --page"
    charts = {chart_file(one): chart(one) + "\n" for one in latest(shipped) if chart(one)}
    assert charts == {f"charts/{path.name}": path.read_text(encoding="utf-8") for path in FOLDER.glob("charts/*")}


def test_contents_lead_to_parts_whose_headings_differ(tmp_path):
    for profile in ("tiny", "2b"):
        write_result(result(profile=profile), tmp_path)
    markdown = page(tmp_path)
    for name, heading in (
        ("serve-text-tiny", "Title of serve-text (tiny)"),
        ("serve-text-2b", "Title of serve-text (2b)"),
    ):
        assert f"[{heading}](#{name})" in markdown and f'<a id="{name}">' in markdown


def test_bars_are_as_long_as_their_values(tmp_path):
    rows = [{"contender": "<fast>", "tokens/s": 100.0}, {"contender": "slow", "tokens/s": 25.0}]
    one = result("against", tables={"Contenders": rows})
    assert re.findall(r'width="([\d.]+)" height', chart(one)) == ["380.0", "95.0"]
    assert "&lt;fast&gt;" in chart(one) and chart(result()) == ""
    write_result(one, tmp_path)
    assert "as bars: <fast> 100; slow 25.0](charts/against-tiny.svg)" in page(tmp_path)
    assert (tmp_path / "charts" / "against-tiny.svg").read_text() == chart(one) + "\n"


def test_no_text_breaks_the_page(tmp_path):
    figures = (Figure(name="<b>|`x`", value=1, unit="s"), Figure(name="none", value=None, unit="s", about="a | b"))
    write_result(result(title="<script>&", figures=figures), tmp_path)
    markdown = page(tmp_path)
    assert "not measured" in markdown and "&lt;script>&amp;" in markdown
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

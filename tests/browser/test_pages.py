"""The project's pages in a real browser: readable light and dark, on a phone, by a screen reader, with no network."""

import datetime
import itertools
import json
import shutil

import pytest

from course.failures import Failure
from course.manifest import MANIFEST_FILE, load_manifest
from course.notebook_page import write_page
from course.results import NotebookResult, RunSettings
from course.summary import write_summary
from course.workshop.guide import load_guide, write_guide
from course.workshop.preflight import Target
from course.workshop.seats import Room
from course.workshop.sizing import size_server
from helpers.files import COURSE_ROOT
from tests.support.throwaway import write_executed
from toolkit.evaluation.inference.transcripts import Transcript, TranscriptWriter
from toolkit.evaluation.report.page import write_report
from toolkit.toyworld.items import read_items

DATA = COURSE_ROOT / "data"


def summary_page(folder):
    statuses = ("passed", "failed", "skipped", "interrupted", "running", "waiting")
    results = [
        NotebookResult(entry, status, seconds=90, cells_done=7, cells_total=9, versions={"vllm": "0.32.0"}, model="m")
        for entry, status in zip(load_manifest().notebooks, statuses, strict=False)
    ]
    results[0].page = results[0].executed = "00.ipynb"
    write_executed(
        folder / "00.ipynb", [("from vllm import LLM\nllm = LLM('a long, long line of code')", 8.25)], seconds=11.5
    )
    results[1].failure = Failure("ValueError: " + 200 * "x", "a cause", "a remedy", "In [3]", 200 * "y", 200 * "z")
    settings = RunSettings("tiny", "tiny-qwen3-vl", "cpu", description="profile tiny on cpu")
    now = datetime.datetime(2030, 5, 1, tzinfo=datetime.UTC)
    write_summary(folder / "summary.html", results, settings=settings, started=now, finished=True)
    return folder / "summary.html"


def notebook_page(folder):
    name = next(entry.file for entry in load_manifest().notebooks if entry.label == "05")
    return folder / write_page(shutil.copy(MANIFEST_FILE.parent / name, folder / name), MANIFEST_FILE.parent)


def report_page(folder):
    made = []
    for kind in ("scenes", "receipts", "clips"):
        for item in read_items(DATA / kind)[:2]:
            for name in item["media"]:
                shutil.copy(DATA / kind / name, folder)
            made.append(item)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in made), encoding="utf-8")
    with TranscriptWriter(folder / "runs.jsonl") as writer:
        for run, item in itertools.product(("one", "two"), made):
            told = item["answer"][0] if run == "one" else item["answer"][0].replace("a", "o", 3) + " And a red cat."
            writer.append(
                Transcript(run=run, model="m", item_id=item["item_id"], request_hash=item["item_id"], status="ok",
                           text=told, time="2030-05-01T12:00:00.000+00:00", origin="run")
            )  # fmt: skip
    return write_report(folder, folder / "runs.jsonl", folder / "report.html")


def seats_page(folder):
    figures = {"requests running": "5", "KV cache in use": "25%"}
    seats = {"row-1-seat-1": "passed", "row-1-seat-with-a-very-long-name-indeed-2": "memory.disk"}
    room = Room(Target("http://gpu-machine:8000"), 30, folder / "log", figures, seats, "timed out", "12:00:00")
    (folder / "seats.html").write_text(room.as_page(), encoding="utf-8")
    return folder / "seats.html"


def guide_page(folder):
    write_guide(folder, load_guide(), size_server(30, "L4"), python="3.11", with_wheels=True)
    return folder / "guide.html"


MAKERS = {
    "summary": summary_page,
    "notebook": notebook_page,
    "report": report_page,
    "seats": seats_page,
    "guide": guide_page,
}


@pytest.fixture(scope="module", params=MAKERS)
def page(request, browser, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(page, look, scheme):
    found = look(page, scheme)
    assert found.violations == []
    assert found.asked == [] and found.failures == []


def test_a_phone_shows_it_without_scrolling_sideways(page, look):
    assert look(page, width=375).width == 375

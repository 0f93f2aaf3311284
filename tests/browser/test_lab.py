"""Chapters, landing page and vote in a real JupyterLab, as a learner uses them.

Two short chapters run by default, all of them with ``COURSE_BROWSER=all``, and some with ``COURSE_BROWSER=03,04,08``;
03, 04 and 08 are first interrupted in the middle, and their kernel is restarted.
"""

import json
import os

import nbformat
import pytest

from course.manifest import load_manifest
from helpers.files import COURSE_ROOT
from tests.support.lab_pages import IDLE, LabNotebook, errors, running_lab, unfinished
from tests.support.throwaway import notebook, write
from toolkit.evaluation.blind_vote.panel import LABELS
from toolkit.evaluation.inference.transcripts import Transcript, TranscriptWriter
from toolkit.exercises.markers import solved
from toolkit.toyworld.items import read_items

CHOSEN = os.environ.get("COURSE_BROWSER", "00,01")
CHAPTERS = load_manifest().select(None if CHOSEN == "all" else CHOSEN.split(","))
#: Chapter → the id of a cell that takes long, in the middle.
INTERRUPTED = {"03": "measure", "04": "measure", "08": "run-trials"}


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    with running_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def page(browser, lab):
    """A page that knows what it asked of other hosts."""
    opened = browser.new_page(viewport={"width": 1100, "height": 900})
    opened.asked = []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.lab = lab
    yield opened
    opened.close()


def other_hosts(page):
    own = page.lab.address.partition("/lab/")[0]
    return [url for url in page.asked if not url.startswith((own, "data:", "blob:", own.replace("http", "ws")))]


def test_the_landing_page_shows_the_map_and_leads_to_every_chapter(page, lab):
    page.goto(lab.url())
    page.wait_for_selector(".jp-MarkdownViewer table")
    page.wait_for_function("document.querySelector('.jp-MarkdownViewer img')?.naturalWidth > 0")
    page.wait_for_load_state("networkidle")
    page.set_viewport_size({"width": 550, "height": 450})  # 1,100 pixels at 200 %: the map grows, too
    drawn = page.locator(".jp-MarkdownViewer img").bounding_box()
    assert drawn["width"] >= 700 > page.locator(".jp-MarkdownViewer").bounding_box()["width"]
    page.set_viewport_size({"width": 1100, "height": 900})
    assert page.get_by_text("notified about official Jupyter news").count() == 0
    links = page.locator(".jp-MarkdownViewer td a")
    titles = [text for text in links.all_inner_texts() if text != "exercises"]
    assert titles == [entry.title for entry in load_manifest().notebooks]
    for link in (links.first, page.locator(".jp-MarkdownViewer a", has_text="Set-up")):
        with page.expect_response(lambda answer: "/api/contents/" in answer.url and answer.request.method == "GET"):
            link.click()
        page.get_by_role("tab", name="START.md").click()
    tabs = page.locator(".jp-MainAreaWidget, .jp-Document").count()
    assert tabs >= 3
    page.wait_for_selector(".jp-NotebookPanel .jp-Toolbar-kernelName >> text=Qwen3-VL course", state="attached")
    page.wait_for_function(IDLE)  # JupyterLab ends a kernel that is still starting a minute later
    assert other_hosts(page) == []


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("entry", CHAPTERS, ids=lambda entry: entry.label)
def test_a_chapter_runs_whole_and_nothing_of_it_is_left(page, lab, entry):
    chapter = LabNotebook(page, lab, entry.file, entry.timeout.notebook)
    if entry.label in INTERRUPTED:
        code = [cell for cell in nbformat.read(chapter.path, 4).cells if cell.cell_type == "code"]
        place = next(place for place, cell in enumerate(code) if cell.id == INTERRUPTED[entry.label])
        chapter.start_all()
        chapter.wait(f"/\\d/.test(prompts[{place - 1}]) && prompts[{place}].includes('*')")
        chapter.interrupt()
        chapter.wait_for_end()
        found = errors(chapter.saved())
        assert len(found) == 1 and found[0].rpartition(": ")[0].endswith(("KeyboardInterrupt", "CancelledError"))
        chapter.restart()
    chapter.start_all()
    chapter.wait_for_end()
    done = chapter.saved()
    assert errors(done) == [] and unfinished(done) == []
    assert chapter.cut_off() == []
    landing = chapter.path.with_name("START.md").read_text(encoding="utf-8")
    (progress,) = [line for line in landing.splitlines() if entry.file in line]
    assert "✓ all " in progress
    chapter.shut_down()
    assert other_hosts(page) == []


#: Chapter → wrong answers to its first four exercises; they need no engine.
WRONG = {
    "10": (
        'check("10.1", dict.fromkeys("abcd", "right"))',
        'check("10.2", lambda deltas: [(delta["name"], delta["arguments"]) for delta in deltas])',
        'check("10.3", lambda ask, tools, most: ask([]))',
        'check("10.4", lambda box, size: [round(side) for side in box])',
    ),
    "11": (
        'check("11.1", {"trained parameters": 1, "bytes to train them": 2, "parameters at rank 32": 3})',
        'check("11.2", lambda ids, prompt, end: ids)',
        'check("11.3", lambda weight, a, b, alpha: weight + alpha * (b @ a))',
        'check("11.4", lambda path, root: True)',
    ),
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("label", WRONG)
def test_exercises_tell_wrong_from_not_attempted_and_the_landing_page_counts_them(page, lab, label):
    file = lab.place / "my-course" / "exercises" / f"{label}.ipynb"
    wrong = nbformat.read(file, 4)
    cells = [cell for cell in wrong.cells if "exercise" in cell.metadata]
    for cell, source in zip(cells, WRONG[label], strict=False):
        cell.source = source
    right = nbformat.read(COURSE_ROOT / "notebooks" / "solutions" / file.name, 4)
    for cell in right.cells:
        cell.source = solved(cell.source)
    for answered, state, counted in (
        (wrong, "incorrect: ", "5 exercises: 4 incorrect, 1 not attempted"),
        (right, "correct", "5 exercises: 5 correct"),
    ):
        for cell in answered.cells:
            cell.get("outputs", []).clear()
        nbformat.write(answered, file)
        opened = LabNotebook(page, lab, f"exercises/{file.name}", limit=250)
        opened.start_all()
        opened.wait_for_end()
        done = opened.saved()
        assert errors(done) == [] and opened.cut_off() == []
        said = [
            "".join(out.get("text", "") for out in cell.outputs) for cell in done.cells if "exercise" in cell.metadata
        ]
        assert all(f"{label}.{place} {state}" in text for place, text in enumerate(said[:4], 1))
        landing = (file.parent.parent / "START.md").read_text(encoding="utf-8")
        assert counted in next(line for line in landing.splitlines() if f"exercises/{file.name}" in line)
        opened.shut_down()


VOTE = """
from pathlib import Path
from toolkit import evaluation

folder, answers, votes = map(Path, {paths!r})
pairs, _ = evaluation.read_pairs(folder, answers, "one", "two")
evaluation.make_ballot(pairs, folder, n=3, seed=1).panel(votes)
"""


@pytest.fixture
def vote(page, lab, tmp_path):
    """The cell of chapter 5 in which a reader votes, on three scenes; and the file of the votes."""
    folder = COURSE_ROOT / "data" / "scenes"
    scenes = read_items(folder)[:3]
    with TranscriptWriter(tmp_path / "runs.jsonl") as writer:
        for run in ("one", "two"):
            for item in scenes:
                writer.append(
                    Transcript(run=run, model="m", item_id=item["item_id"], request_hash=item["item_id"], status="ok",
                               text=f"An answer of {run}.", time="2030-05-01T12:00:00.000+00:00", origin="run")
                )  # fmt: skip
    paths = [str(path) for path in (folder, tmp_path / "runs.jsonl", tmp_path / "votes.jsonl")]
    write(lab.place / "my-course", "vote.ipynb", notebook(VOTE.format(paths=paths)))
    return LabNotebook(page, lab, "vote.ipynb"), tmp_path / "votes.jsonl"


def test_votes_by_mouse_and_keyboard_survive_a_reload(vote, page):
    opened, votes = vote
    opened.start_all()
    page.get_by_text("item 1 of 3; 0 have all their votes").wait_for()
    buttons = [page.get_by_role("button", name=name, exact=True) for name in LABELS.values()]
    assert len({button.bounding_box()["y"] for button in buttons}) == 1
    buttons[0].click()
    page.get_by_text("item 2 of 3; 1 have all their votes").wait_for()
    opened.saved()
    page.reload()
    opened.wait_until_idle()
    opened.start_all()
    page.get_by_text("item 2 of 3; 1 have all their votes").wait_for()
    field = page.get_by_placeholder("then Enter")
    field.focus()
    page.keyboard.type("b")
    page.keyboard.press("Enter")
    page.get_by_text("item 3 of 3; 2 have all their votes").wait_for()
    page.keyboard.type("x")
    page.keyboard.press("Enter")
    page.get_by_text("'x' is no choice").wait_for()
    button = page.get_by_role("button", name="tie")
    button.focus()
    page.keyboard.press("Space")
    page.get_by_text("item 3 of 3; 3 have all their votes").wait_for()
    cast = [json.loads(line)["choice"] for line in votes.read_text(encoding="utf-8").splitlines()]
    assert cast == ["A", "B", "tie"]
    opened.shut_down()

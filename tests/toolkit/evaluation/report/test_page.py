"""The report of two runs: what it says, that answers are coloured rightly, and that no text of a model can break it."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.evaluation.inference.transcripts import Transcript, TranscriptWriter
from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.metrics.scene_facts import Claim, check
from toolkit.evaluation.report.highlight import Piece, differing, not_stated, pieces
from toolkit.evaluation.report.page import write_report
from toolkit.evaluation.report.thumbnails import SIDE, thumbnail
from toolkit.toyworld.items import read_items

SCENES = COURSE_ROOT / "data" / "scenes"
HOSTILE = "</script><script>document.title='hacked'</script>'\"><img src=x onerror=document.title=1> & <!-- \x1b[31mred"


def transcript(run, item_id, text=None, **fields):
    fields = {"status": "ok", "completion_tokens": 7, "latency_seconds": 0.25, **fields}
    return Transcript(
        run=run, model=f"model of {run}", revision="r1", server="vllm", server_version="1.2.3", device="cpu",
        dtype="bfloat16", item_id=item_id, request_hash=item_id, sampling={"temperature": 0.0}, seed=3, text=text,
        time="2030-05-01T12:00:00.000+00:00", origin="run", **fields,
    )  # fmt: skip


class Folder:
    """Items, and what two runs answered; item i of A and of B are ``first[i]`` and ``second[i]``."""

    def __init__(self, path):
        self.path, self.records, self.transcripts = path, [], []
        path.mkdir()

    def add(self, record, first, second, media=()):
        self.records.append(record)
        for run, answer in (("one", first), ("two", second)):
            fields = answer if isinstance(answer, dict) else {"text": answer}
            self.transcripts.append(transcript(run, record["item_id"], **fields))
        for source, name in media:
            shutil.copy(source, self.path / name)

    def sentence(self, name, first, second):
        request = [{"role": "user", "content": f"Write '{name}' in reverse."}]
        record = {"item_id": name, "kind": "sentence", "messages": request, "media": [], "answer": [name[::-1]]}
        self.add(record | {"facts": {}}, first, second)

    def scene(self, place, first, second, **changed):
        record = read_items(SCENES)[place]
        source = SCENES / record["media"][0]
        name = changed.pop("picture", source.name)
        record = json.loads(json.dumps(record).replace(source.name, name)) | changed
        self.add(record, first, second, [(source, name)])
        return record

    def write(self, **options):
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        (self.path / "items.jsonl").write_text(lines, encoding="utf-8")
        with TranscriptWriter(self.path / "runs.jsonl") as writer:
            for one in self.transcripts:
                writer.append(one)
        return write_report(self.path, self.path / "runs.jsonl", self.path.parent / "report.html", **options)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "items")


class Page(HTMLParser):
    """Tags, attributes, the contents of scripts and styles, and the words in between."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.contents, self.words = [], [], {}, ""
        self.inside = None
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        island = {dict(found).get("id"): text for found, text in self.contents.items() if dict(found).get("id")}
        self.items = {item["id"]: item for item in json.loads(island["data-items"])["items"]}
        self.media = json.loads(island["data-media"])
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *one) for one in attributes]
        self.inside = (("tag", tag), *attributes) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.contents[self.inside] = self.contents.get(self.inside, "") + data
        else:
            self.words += f" {data}"


def text_of(answer):
    return "".join(piece[0] for piece in answer["pieces"])


def test_reasoning_stands_apart_and_thinking_without_an_answer_is_a_failure_and_no_wrong_answer(folder):
    thought = {"text": "cba", "reasoning": f"From the end. {HOSTILE}"}
    folder.sentence("abc", thought, {"status": "thinking", "reasoning": "From the"})
    folder.sentence("def", "fed", "fed")
    page = Page(folder.write())
    first, second = page.items["abc"]["answers"]
    assert (text_of(first), first["reasoning"]) == ("cba", visible(thought["reasoning"]))
    assert (second["pieces"], second["reasoning"], second["scores"]) == (None, "From the", [])
    assert "reasoning alone" in second["problem"][0] and page.items["abc"]["failed"]
    assert page.items["def"]["answers"][0]["reasoning"] is None


def test_a_link_out_of_the_folder_is_not_shown(folder, tmp_path):
    (record := folder.scene(0, "A dog.", "A cat."))
    name = record["media"][0]
    (folder.path / name).rename(tmp_path / name)
    (folder.path / name).symlink_to(tmp_path / name)
    with pytest.raises(CourseError, match="is a link to"):
        folder.write()


# ---------------------------------------------------------------- colouring


def claim(start, end, verdict, kind="colour"):
    return Claim(start, end, "x", "dog", kind, "red", False, verdict)


def test_pieces_are_the_text_and_the_gravest_verdict_of_claims_that_overlap_counts():
    text = "two red dogs sit"
    found = pieces(
        text, [claim(0, 12, "supported", "count"), claim(4, 7, "contradicted"), claim(13, 99, "uncheckable")]
    )
    assert "".join(piece.text for piece in found) == text
    verdicts = [("two ", "supported"), ("red", "contradicted"), (" dogs", "supported"), (" ", None)]
    assert [(piece.text, piece.verdict) for piece in found] == [*verdicts, ("sit", "uncheckable")]
    assert found[1].notes == ("dog: count red, supported", "dog: colour red, contradicted")


def test_a_copy_is_marked_where_it_differs_from_the_nearest_wording():
    found = list(differing("Tea 1.2O", ["Milk 1.20", "Tea x1.20"]))
    assert found == [
        Piece("Tea "),
        Piece("", "missing", ("should be: x",)),
        Piece("1.2"),
        Piece("O", "wrong", ("should be: 0",)),
    ]
    assert list(differing("Tea!", ["Tea"])) == [Piece("Tea"), Piece("!", "wrong", ("too much",))]


def test_a_wrong_copy_shows_its_characters_and_a_right_one_nothing(folder):
    folder.sentence("abcd", "dcxa", '"dcba"')
    wrong, right = Page(folder.write()).items["abcd"]["answers"]
    assert wrong["pieces"] == [["dc"], ["x", "wrong", "should be: b"], ["a"]]
    assert right["pieces"] == [['"dcba"']]


def test_what_a_description_leaves_out_and_tells_wrongly_is_listed():
    record = read_items(SCENES)[0]
    report = check("A woman in a red shirt is standing in the middle.", record["facts"])
    found = not_stated(report)
    assert found["contradicted"] == ["colour of the woman: blue"]
    assert {"dog", "pose of the dog: raising a paw", "place: beach"} <= set(found["omitted"])
    assert "woman" not in found["omitted"]


def test_characters_that_act_unseen_become_visible():
    assert visible("a\x1b[31m\x00\x7f\r\nb\tc\u202eé😀") == "a␛[31m␀␡\nb\tc⟨U+202E⟩é😀"


# ---------------------------------------------------------------- media


def test_pictures_and_clips_become_small_data_urls(tmp_path):
    Image.effect_noise((900, 600), 80).save(tmp_path / "photo.png")
    clip = sorted((COURSE_ROOT / "data" / "clips").glob("*.mp4"))[0]
    for path, limit in ((tmp_path / "photo.png", SIDE), (clip, 2 * SIDE)):
        small = thumbnail(path)
        kind, content = re.fullmatch(r"data:image/(jpeg|png);base64,(.*)", small.url).groups()
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert picture.format.lower() == kind
            assert picture.size == (small.width, small.height)
            assert max(picture.size) <= limit
        assert len(small.url) < 60_000
    assert "frames at 0.0, " in thumbnail(clip).caption
    video = base64.b64decode(thumbnail(clip).video.removeprefix("data:video/mp4;base64,"))
    assert video == clip.read_bytes(), "a small clip can be played"
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(CourseError, match=r"no\.png cannot be read"):
        thumbnail(tmp_path / "no.png")


def test_a_picture_is_embedded_once_even_under_two_names(folder):
    folder.scene(0, "A dog.", "A cat.")
    folder.scene(0, "A dog.", "A cat.", item_id="again", picture="copy.png")
    page = Page(folder.write())
    assert len(page.items) == 2
    assert page.source.count("data:image/") == 1
    assert {key for item in page.items.values() for key in item["media"]} == set(page.media)


# ---------------------------------------------------------------- safety


def test_what_a_model_wrote_is_never_markup(folder):
    folder.sentence("abc", HOSTILE, {"status": "error", "error": HOSTILE})
    folder.records[0]["messages"][0]["content"] = HOSTILE
    folder.transcripts = [one.model_copy(update={"model": HOSTILE}) for one in folder.transcripts]
    page = Page(folder.write())
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    assert not [one for one in page.attributes if one[1].startswith("on")]
    shown = HOSTILE.replace("\x1b", "␛")
    assert text_of(page.items["abc"]["answers"][0]) == shown
    assert page.items["abc"]["question"] == shown
    assert "\x1b" not in page.source


def test_the_policy_forbids_all_but_this_script_and_style(folder):
    folder.scene(0, "A dog.", "A cat.")
    page = Page(folder.write())
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        content = page.contents[(("tag", tag),)]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not [one for one in page.attributes if one[1] == "style"]
    links = [one for one in page.attributes if one[1] in ("src", "href", "action", "srcset")]
    assert links == []


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium on the PATH")
def test_a_browser_draws_the_items_and_runs_nothing_of_a_model(folder):
    folder.scene(0, f"A woman in a red shirt. {HOSTILE}", {"status": "timeout", "error": "No answer within 5 s."})
    page = folder.write()
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    command.insert(1, f"--user-data-dir={page.parent / 'profile'}")
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>one and two, side by side</title>" in drawn
    listed = re.search(r'<div id="list">(.*?)<h2 id="method">', drawn, re.DOTALL)[1]
    assert '<mark class="contradicted"' in listed
    assert "&lt;script&gt;" in listed
    assert "<script" not in listed
    assert 'class="problem"><b>no answer in time</b>' in listed


# ---------------------------------------------------------------- contents


def test_findings_name_the_better_run_its_interval_and_where_nothing_is_shown(folder):
    for number in range(12):
        name = f"sentence number {number}"
        folder.sentence(name, name[::-1], "something else entirely")
    same = read_items(COURSE_ROOT / "data" / "scenes")[:4]
    for place, record in enumerate(same):
        folder.scene(place, record["answer"][0], record["answer"][0])
    page = Page(folder.write())
    words = page.words
    assert re.search(r"Sentences reversed A is better : right answers 100\s% for A and 0\s% for B", words)
    assert re.search(
        r"Scene descriptions No difference shown : facts, F1 .*\(95\s% interval .* to .*; 4 items\)", words
    )
    # Less is better: a lower error rate of the first is its advantage, though the difference is below 0.
    assert re.search(r"character error rate \(less is better\) 12 0\.00 \d\.\d\d −.* A better", words)
    places = [float(place) for place in re.findall(r'class="is-a">.*?cx="([\d.]+)"', page.source)]
    assert len(places) == 3  # of right answers twice, and of the error rate
    assert min(places) > 110


def test_the_runs_exchanged_turn_the_finding_round(folder):
    for number in range(12):
        folder.sentence(f"number {number}", f"number {number}"[::-1], "something else")
    assert "B is better : right answers" in Page(folder.write(first="two", second="one")).words


def test_failures_are_marked_and_never_shown_as_text(folder):
    folder.sentence("abc", {"status": "error", "error": "HTTP 500: out of memory"}, "cba")
    folder.sentence("def", {"status": "truncated", "text": "fe", "finish_reason": "length"}, "fed")
    folder.sentence("ghi", "ihg", "ihg")
    folder.transcripts.pop()
    page = Page(folder.write())
    error, truncated, whole = (page.items[name]["answers"][0] for name in ("abc", "def", "ghi"))
    assert error["pieces"] is None
    assert error["scores"] == []
    assert error["problem"] == ["failed: no answer", "HTTP 500: out of memory"]
    assert truncated["problem"][1] == "finish reason: length"
    assert text_of(truncated) == "fe"
    assert whole["problem"] is None
    assert page.items["ghi"]["answers"][1] is None
    assert all(item["failed"] for item in page.items.values())


def test_no_single_item_or_answer_ends_the_report(folder):
    folder.sentence("abc", "cba", "x")
    message = [{"role": "user", "content": "Read it."}]
    for task in ("receipt", "receipt_json", "scene_box", "scene_count"):
        folder.add({"item_id": task, "task": task, "messages": message, "media": []}, "Tea 1.20", "9" * 5000)
    box = {"task": "scene_box", "messages": message, "media": [], "answer": ['{"bbox_2d": [1, 2, 3, 4]}']}
    folder.add({"item_id": "box"} | box, f'{{"bbox_2d": [1, 2, 3, {"4" * 400}]}}', "There.")
    folder.add({"item_id": "n", "task": "scene_count", "messages": message, "answer": ["2."]}, "9" * 5000, "2.")
    page = Page(folder.write())
    assert len(page.items) == 7
    assert page.items["receipt"]["answers"][0]["scores"] == []
    assert ["could not be read", "", "no"] in page.items["box"]["answers"][0]["scores"]


def test_a_report_of_items_without_answers_is_a_report(folder):
    folder.add({"item_id": "r", "task": "receipt", "messages": [{"role": "user", "content": "Read it."}]}, "a", "b")
    assert text_of(Page(folder.write()).items["r"]["answers"][1]) == "b"


@pytest.mark.parametrize("where", ["../out.png", "absolute"])
def test_what_lies_outside_the_folder_is_not_embedded(folder, where):
    outside = folder.path.parent / "out.png"
    Image.new("RGB", (8, 8), "red").save(outside)
    content = [{"type": "image_url", "image_url": {"url": str(outside) if where == "absolute" else where}}]
    folder.add({"item_id": "x", "messages": [{"role": "user", "content": content}]}, "a", "b")
    with pytest.raises(CourseError, match=r"Item 'x' shows .*out\.png, which is outside"):
        folder.write()


def test_scores_facts_and_disagreements_reach_the_items(folder):
    record = folder.scene(0, "A woman in a red shirt is standing in the middle.", "x")
    folder.transcripts[-1] = transcript("two", record["item_id"], record["answer"][0])
    folder.sentence("abc", "cba", "cba")
    page = Page(folder.write())
    scene = page.items[record["item_id"]]
    assert ["red", "contradicted", "woman: colour red, contradicted"] in scene["answers"][0]["pieces"]
    assert scene["answers"][0]["not_stated"]["contradicted"] == ["colour of the woman: blue"]
    assert scene["answers"][1]["not_stated"] == {"contradicted": [], "omitted": []}
    assert scene["lead"] < 0
    assert page.items["abc"]["lead"] == 0
    assert page.items["abc"]["answers"][0]["scores"][0] == ["right", "", "yes"]
    assert page.items["abc"]["answers"][0]["size"] == ["1 word", "7 tokens", "0.25 s"]


def test_what_else_differs_and_how_the_runs_were_made_is_told(folder):
    folder.sentence("abc", "cba", "x")
    folder.transcripts[1] = folder.transcripts[1].model_copy(update={"device": "an accelerator"})
    words = Page(folder.write()).words
    assert "The device differs. one: cpu; two: an accelerator." in words
    for told in ("model of one", "r1", "vllm 1.2.3", "bfloat16", '{"temperature": 0.0}', "2030-05-01"):
        assert told in words


def test_the_same_runs_give_the_same_file_and_nothing_half_written(folder):
    folder.scene(0, "A dog.", "A cat.")
    out = folder.write()
    before = out.read_bytes()
    write_report(folder.path, [folder.path / "runs.jsonl"], out)
    assert out.read_bytes() == before
    assert {path.name for path in out.parent.iterdir()} == {"items", "report.html"}


def test_two_runs_must_be_told_apart(folder):
    folder.sentence("abc", "cba", "x")
    with pytest.raises(CourseError, match="no run 'on'"):
        folder.write(first="on")
    with pytest.raises(CourseError, match="compared with itself"):
        folder.write(first="one", second="one")
    folder.transcripts = [transcript("three", "abc", "cba")]
    with pytest.raises(CourseError, match="hold 3: one, two, three"):
        folder.write()
    only = Folder(folder.path.parent / "only")
    only.sentence("abc", "cba", "x")
    only.transcripts.pop()
    with pytest.raises(CourseError, match="hold 1: one"):
        only.write()

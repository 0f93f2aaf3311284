"""Batch runs: what is left to do, parts that are whole or absent, workers that are killed, listeners, bad pictures."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.profiles import ActiveProfile, use_profile
from toolkit.batch.describer import COLUMNS, Describer
from toolkit.batch.run import BatchOptions, local_ray, run_batch
from toolkit.batch.tasks import done_requests, fields_of, parts, remaining_tasks, sole_writer, write_part

WHEN = "2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def active():
    return use_profile("tiny", quiet=True)


@pytest.fixture
def asked(active):
    return fields_of(active)


@pytest.fixture
def pictures(tmp_path):
    """Six pictures without items.jsonl; one is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")
    (folder / "5.png").write_bytes(b"no picture")
    return folder


def answer(task, **fields):
    """A worker's row."""
    row = {"item_id": task.item_id, "status": "ok", "text": f"about {task.item_id}", "error": None, "time": WHEN}
    return row | fields


def answered(asked, tasks, **fields):
    return [task.transcript(asked, answer(task, **fields)) for task in tasks]


class StandIn:
    """Answers without an engine; its process is killed once at '3.png', and each time at a picture called 'poison'."""

    def __init__(self, active: ActiveProfile, folder: Path):
        assert isinstance(active, ActiveProfile)
        self.killed = folder / "killed"

    def __call__(self, batch):
        import pyarrow as pa

        names = batch["item_id"].to_pylist()
        if "poison.png" in names or ("3.png" in names and not self.killed.exists()):
            self.killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        rows = [{"item_id": name, "status": "ok", "text": f"by {os.getpid()}", "time": WHEN} for name in names]
        return pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS.items())))


# ---------------------------------------------------------------- what is left


def test_what_has_an_answer_is_left_out_until_its_picture_changes(asked, pictures, tmp_path):
    tasks = remaining_tasks(pictures, asked, {})[0]
    assert [task.item_id for task in tasks] == [f"{number}.png" for number in range(6)]
    write_part(tmp_path / "out", answered(asked, tasks[:4]))
    tasks, items = remaining_tasks(pictures, asked, done_requests(tmp_path / "out"))
    assert ([task.item_id for task in tasks], items) == (["4.png", "5.png"], 6)
    Image.new("RGB", (32, 32), "white").save(pictures / "1.png")
    tasks, _ = remaining_tasks(pictures, asked, done_requests(tmp_path / "out"))
    assert [task.item_id for task in tasks] == ["1.png", "4.png", "5.png"]
    others, _ = remaining_tasks(pictures, asked, done_requests(tmp_path / "out"), question="How many?")
    assert len(others) == 6


def test_a_failure_is_asked_again_only_on_demand_and_its_answer_then_counts(asked, pictures, tmp_path):
    out, tasks = tmp_path / "out", remaining_tasks(pictures, asked, {})[0]
    write_part(out, answered(asked, tasks[:5]) + answered(asked, tasks[5:], status="error", text=None, error="broken"))
    assert remaining_tasks(pictures, asked, done_requests(out))[0] == []
    (again,) = remaining_tasks(pictures, asked, done_requests(out, again=True))[0]
    assert (again.item_id, again.attempt) == ("5.png", 2)
    write_part(out, answered(asked, [again]))
    assert remaining_tasks(pictures, asked, done_requests(out, again=True))[0] == []
    rows = [row for path in parts(out) for row in rows_of(path)]
    assert [(row["item_id"], row["status"], row["attempt"]) for row in rows[5:]] == [
        ("5.png", "error", 1),
        ("5.png", "ok", 2),
    ]


def test_an_unfinished_part_counts_for_nothing_and_numbers_go_on(asked, pictures, tmp_path):
    out, tasks = tmp_path / "out", remaining_tasks(pictures, asked, {})[0]
    assert write_part(out, answered(asked, tasks[:2])).name == "part-00000.parquet"
    (out / "part-00001.parquet.part").write_bytes(b"torn")
    assert len(done_requests(out)) == 2
    assert write_part(out, answered(asked, tasks[2:4])).name == "part-00001.parquet"
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in parts(out)]


def test_the_same_request_is_known_by_the_same_hash_as_at_a_server(asked, pictures):
    from toolkit.evaluation.inference.requests import read_request

    (pictures / "items.jsonl").write_text(json.dumps({"item_id": "a", "messages": showing("0.png")}))
    (task,) = remaining_tasks(pictures, asked, {})[0]
    record = {"item_id": "a", "messages": task.messages}
    known_by = read_request(pictures, record, asked["sampling"], asked["revision"], asked["model"]).hash
    assert (task.request_hash, task.media[0].width) == (known_by, 32)


def showing(name, form="image_url"):
    """Messages that show a file."""
    return [{"role": "user", "content": [{"type": form, form: {"url": name}}]}]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ({"messages": []}, "no item_id"),
        ({"item_id": "a"}, "messages of item 'a'"),
        ({"item_id": "a", "messages": showing("https://example.org/a.png")}, "only files are sent"),
        ({"item_id": "a", "messages": showing("a.mp4", "video_url")}, "a.mp4"),
        ({"item_id": "a", "messages": showing("../a.png")}, r"\.\./a.png"),
    ],
)
def test_items_that_cannot_be_asked_about_are_refused(asked, tmp_path, line, named):
    (tmp_path / "items.jsonl").write_text(json.dumps(line))
    with pytest.raises(CourseError, match=named):
        remaining_tasks(tmp_path, asked, {})


def test_a_link_out_of_the_folder_is_refused_before_and_by_the_actor(asked, pictures, tmp_path):
    (pictures / "5.png").rename(tmp_path / "secret.png")
    (pictures / "5.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(CourseError, match="is a link to"):
        remaining_tasks(pictures, asked, {})
    describer = object.__new__(Describer)
    describer.folder = pictures
    with pytest.raises(CourseError, match="is a link to"):
        describer.with_images("5.png", showing("5.png"))


def test_two_runs_cannot_write_to_one_folder(active, pictures, tmp_path):
    with sole_writer(tmp_path / "out"), pytest.raises(CourseError, match="Another process"):
        run_batch(pictures, tmp_path / "out", active, describer=StandIn)
    with pytest.raises(CourseError, match="batch_size 0"):
        BatchOptions(batch_size=0)


# ---------------------------------------------------------------- the actor, its engine replaced


class Engine:
    """Refuses what a picture of one pixel is in, and with it the whole call, as vLLM does."""

    prompt = "<|im_start|>assistant\n"

    def chat(self, chats, sampling, use_tqdm):
        sizes = [chat[0]["content"][0]["image_pil"].size for chat in chats]
        if (1, 1) in sizes:
            raise ValueError("too small")
        return [self.output(f"{width} wide") for width, _ in sizes]

    def output(self, text):
        reply = types.SimpleNamespace(text=text, finish_reason="length", token_ids=[1, 2])
        return types.SimpleNamespace(outputs=[reply], prompt_token_ids=[1], prompt=self.prompt)


def test_a_bad_picture_becomes_an_error_and_the_others_are_answered(asked, pictures):
    import pyarrow as pa

    Image.new("RGB", (1, 1)).save(pictures / "0.png")
    (pictures / "1.png").unlink()
    lines = [json.dumps({"item_id": name, "messages": showing(f"{name}.png")}) for name in "012345"]
    (pictures / "items.jsonl").write_text("\n".join(lines))
    tasks = remaining_tasks(pictures, asked, {})[0]
    describer = object.__new__(Describer)
    describer.folder, describer.engine, describer.sampling = pictures, Engine(), None
    describer.refusals = (ValueError,)
    rows = describer(pa.Table.from_pylist([task.row() for task in tasks])).to_pylist()
    assert [row["status"] for row in rows] == ["error", "error", "truncated", "truncated", "truncated", "error"]
    assert [row["text"] for row in rows[2:5]] == ["32 wide"] * 3
    assert rows[0]["error"] == "too small"
    assert "1.png" in rows[1]["error"]
    assert "5.png" in rows[5]["error"]
    assert str(pictures) not in json.dumps(rows)
    assert tasks[1].transcript(asked, rows[1]).media[0].width is None


@pytest.mark.parametrize(
    ("prompt", "said", "status", "reasoning", "text"),
    [
        ("assistant\n<think>\n", "It barks.\n</think>\n\nA dog.", "truncated", "It barks.", "A dog."),
        ("assistant\n<think>\n", "It ba", "thinking", "It ba", None),
        ("assistant\n", "It ba", "truncated", None, "It ba"),
    ],
)
def test_reasoning_of_a_thinking_model_is_kept_apart(asked, prompt, said, status, reasoning, text):
    describer, engine = object.__new__(Describer), Engine()
    engine.prompt = prompt
    engine.chat = lambda chats, sampling, use_tqdm: [engine.output(said)]
    describer.engine, describer.sampling = engine, None
    (row,) = describer.answer([[]])
    assert (row["status"], row.get("reasoning"), row.get("text")) == (status, reasoning, text)


#: Run as a program: the actor outside Ray, with the real engine; the second of three prompts is too long.
ENGINE = """
import json, sys
import pyarrow as pa
from toolkit.batch.describer import Describer
from helpers.profiles import use_profile
from toolkit.toyworld.items import read_items

records = read_items(sys.argv[1])[:3]
records[1]["messages"][0]["content"].append({"type": "text", "text": "Describe this image. " * 2000})
batch = [{"item_id": one["item_id"], "messages": json.dumps(one["messages"])} for one in records]
rows = Describer(use_profile("tiny", quiet=True), sys.argv[1])(pa.Table.from_pylist(batch))
print("\\n" + json.dumps(rows.to_pylist()))
"""


@pytest.mark.slow
def test_the_real_engine_answers_all_but_the_prompt_that_is_too_long():
    command = [sys.executable, "-c", ENGINE, str(COURSE_ROOT / "data" / "scenes")]
    done = subprocess.run(command, cwd=COURSE_ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert "4096" in rows[1]["error"]
    assert all(row["text"] and row["prompt_tokens"] > 10 for row in (rows[0], rows[2]))


# ---------------------------------------------------------------- with Ray


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_and_a_poisonous_picture_does_not_go_on_for_ever(active, pictures, tmp_path):
    out, before = tmp_path / "out", dict(os.environ)
    before.pop("RAY_AUTH_TOKEN", None)
    with local_ray(1):
        assert not {address for address in listeners() if address not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")}
        summary = run_batch(pictures, out, active, BatchOptions(batch_size=2), describer=StandIn)
        assert (summary.items, summary.parts, summary.statuses) == (6, 3, {"ok": 6})
        assert (pictures / "killed").exists()
        rows = [row for path in parts(out) for row in rows_of(path)]
        assert sorted(row["item_id"] for row in rows) == [f"{number}.png" for number in range(6)]
        # By the process that was killed, as far as it came, and by its successor.
        assert len({row["text"] for row in rows}) in (1, 2)

        Image.new("RGB", (32, 32)).save(pictures / "poison.png")
        Image.new("RGB", (32, 32)).save(pictures / "0 more.png")
        with pytest.raises(CourseError, match="lost its worker"):
            run_batch(pictures, out, active, BatchOptions(batch_size=1, retries=0), describer=StandIn)
        (pictures / "poison.png").unlink()
        assert run_batch(pictures, out, active, describer=StandIn).items == 7
    found = sorted(row["item_id"] for path in parts(out) for row in rows_of(path))
    assert found == sorted(["0 more.png", *(f"{number}.png" for number in range(6))])
    os.environ.pop("RAY_AUTH_TOKEN")
    assert dict(os.environ) == before


def listeners():
    """Addresses on which this process's children listen."""
    import psutil

    children = psutil.Process().children(recursive=True)
    assert any("raylet" in child.name() for child in children)
    return {
        connection.laddr.ip
        for child in children
        for connection in child.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def rows_of(path):
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()

"""Transcripts: what a line may say, how a request is known, and files that survive whoever writes them."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from helpers.errors import CourseError
from tests.support.transcripts import SAMPLING, append, line, transcript
from toolkit.evaluation.inference import transcripts
from toolkit.evaluation.inference.transcripts import (
    TranscriptWriter,
    read_outcomes,
    read_transcripts,
)

SHOWN = [
    {"role": "system", "content": "Answer."},
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": "a.png"}},
            {"type": "text", "text": "What is it?"},
            {"type": "video_url", "video_url": {"url": "b.mp4"}},
        ],
    },
]


def items_of(path):
    return [one.item_id for one in read_transcripts(path)]


# ---------------------------------------------------------------- one transcript


def test_what_is_read_is_what_was_written(tmp_path):
    odd = 'line\nend, \u2028 separator, \x85 next line, "quotes", \\ and \x00, 漢字 🐕'
    written = [transcript("a", text=odd), transcript("b", "timeout", revision="c0ffee", seed=3, latency_seconds=0.25)]
    assert append(tmp_path / "new" / "t.jsonl", written) == 2
    assert list(read_transcripts(tmp_path / "new" / "t.jsonl")) == written


def test_an_error_is_never_a_text_and_a_text_never_an_error():
    for status in ("error", "timeout"):
        with pytest.raises(ValidationError, match="error and no text"):
            transcript(status=status, text="HTTP 500", error="HTTP 500")
        with pytest.raises(ValidationError, match="error and no text"):
            transcript(status=status, error=None)
    for status in ("ok", "truncated"):
        with pytest.raises(ValidationError, match="text and no error"):
            transcript(status=status, error="HTTP 500")
        with pytest.raises(ValidationError, match="text and no error"):
            transcript(status=status, text=None)


def test_an_empty_answer_is_an_answer_and_a_refusal_may_have_words_or_not():
    assert transcript(text="").settled
    assert transcript(status="refused", text="I won't.").settled
    assert transcript(status="refused", text=None, error="HTTP 400: filtered").settled
    assert not transcript(status="timeout").settled


def test_unknown_fields_and_statuses_are_refused():
    with pytest.raises(ValidationError):
        transcript(status="fine")
    with pytest.raises(ValidationError):
        transcript(score=1)


# ---------------------------------------------------------------- requests


def hashed(messages=SHOWN, media=("1" * 64, "2" * 64), sampling=SAMPLING, revision="c0ffee", model="m"):
    return transcripts.request_hash(messages, media, sampling, revision, model)


def test_every_part_of_a_request_makes_another_hash():
    asked = [SHOWN[0], {"role": "user", "content": [*SHOWN[1]["content"], {"type": "text", "text": "Why?"}]}]
    different = {
        hashed(),
        hashed(messages=asked),
        hashed(media=("3" * 64, "2" * 64)),
        hashed(media=("2" * 64, "1" * 64)),
        hashed(sampling=SAMPLING | {"temperature": 0.7}),
        hashed(sampling=SAMPLING | {"seed": 1}),
        hashed(revision=None),
        hashed(model="n"),
    }
    assert len(different) == 8


def test_names_of_files_and_the_order_of_keys_make_no_other_request():
    renamed = transcripts.with_media(SHOWN, ["c.png", "d/e.mp4"])
    assert renamed != SHOWN
    assert hashed(messages=renamed) == hashed()
    assert hashed(sampling=dict(reversed(SAMPLING.items()))) == hashed()
    assert hashed(messages=json.loads(json.dumps(SHOWN, sort_keys=True))) == hashed()


def test_a_hash_is_the_same_tomorrow():
    """Changing how requests are hashed would make every run begin anew: that must be meant."""
    assert hashed() == "119f2ddf61839d9c78de0cfc750db262bd0b39504307212c9b34866a98dfed5f"


def test_media_and_parts_that_show_must_match_in_number():
    with pytest.raises(ValueError):
        hashed(media=("1" * 64,))
    with pytest.raises(ValueError):
        hashed(messages=[{"role": "user", "content": "no media"}])


def test_filling_in_media_leaves_the_messages_as_they_were():
    before = json.dumps(SHOWN)
    changed = transcripts.with_media(SHOWN, ["data:x", "data:y"])
    assert [part["url"] for part in transcripts.media_parts(changed)] == ["data:x", "data:y"]
    assert json.dumps(SHOWN) == before


# ---------------------------------------------------------------- files


def test_cut_at_any_byte_a_file_loses_nothing_and_goes_on(tmp_path):
    whole, last = [transcript("a"), transcript("b", text="é漢")], transcript("c", text="üx", media=(), sampling={})
    start, end = b"".join(line(one) for one in whole), line(last)
    for cut in range(len(end) + 1):
        path, aside = tmp_path / f"{cut}.jsonl", tmp_path / f"{cut}.jsonl.torn"
        path.write_bytes(start + end[:cut])
        with TranscriptWriter(path) as writer:
            assert bool(writer.repaired) == (0 < cut < len(end)), cut
            writer.append(transcript("d"))
        complete = cut >= len(end) - 1
        assert items_of(path) == (["a", "b", "c", "d"] if complete else ["a", "b", "d"]), cut
        assert (aside.read_bytes() if aside.exists() else b"") == (b"" if complete or not cut else end[:cut] + b"\n"), (
            cut
        )


def test_a_file_that_is_one_torn_line_is_repaired_even_if_it_is_long(tmp_path):
    path = tmp_path / "t.jsonl"
    torn = line(transcript(text="x" * 300_000))[:-10]
    path.write_bytes(torn)
    with TranscriptWriter(path) as writer:
        assert "t.jsonl.torn" in writer.repaired
    assert path.read_bytes() == b""
    assert path.with_name("t.jsonl.torn").read_bytes() == torn + b"\n"


def test_a_reader_leaves_a_torn_line_out_says_so_and_changes_nothing(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(line(transcript("a")) + line(transcript("b"))[:-30])
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="torn"):
        assert items_of(path) == ["a"]
    assert path.read_bytes() == before


def test_damage_in_the_middle_is_named_by_its_line(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(line(transcript("a")) + b"\n" + b'{"run": 1}\n' + line(transcript("b")))
    with pytest.raises(CourseError, match="line 3 is not a transcript"):
        list(read_transcripts(path))
    with pytest.raises(CourseError, match="cannot be read"):
        list(read_transcripts(tmp_path / "none.jsonl"))


def test_two_writers_cannot_have_one_file(tmp_path):
    path = tmp_path / "t.jsonl"
    with TranscriptWriter(path), pytest.raises(CourseError, match="Another process writes"):
        TranscriptWriter(path)
    assert append(path, [transcript()]) == 1


def test_a_folder_in_the_files_place_is_told(tmp_path):
    with pytest.raises(CourseError, match="Cannot write transcripts"):
        TranscriptWriter(tmp_path)


def test_a_full_disk_takes_back_what_it_wrote_of_a_line(tmp_path):
    """A limit on the file's size stands for the disk."""
    path = tmp_path / "t.jsonl"
    script = """
import resource, signal, sys
from helpers.errors import CourseError
from toolkit.evaluation.inference.transcripts import Transcript, TranscriptWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
one = Transcript.model_validate_json(sys.argv[2])
with TranscriptWriter(sys.argv[1]) as writer:
    writer.append(one)
    size = len(one.model_dump_json()) + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, size + size // 2))
    try:
        writer.append(one)
    except CourseError as error:
        print(error.what)
"""
    there = line(transcript())
    done = subprocess.run(
        [sys.executable, "-c", script, path, there.decode()], capture_output=True, text=True, check=True
    )
    assert "Cannot write transcripts" in done.stdout
    assert path.read_bytes() == there


# ---------------------------------------------------------------- outcomes


def test_of_many_attempts_the_settled_one_counts_and_of_failures_the_last(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = [
        transcript("a", "error", attempt=1),
        transcript("b", "error", attempt=1),
        transcript("a", "ok", attempt=2, text="first"),
        transcript("b", "timeout", attempt=2),
        transcript("a", "ok", attempt=3, text="second"),
        transcript("a", "error", attempt=4),
        transcript("c", "truncated"),
    ]
    append(path, lines)
    assert list(read_outcomes(path)) == [lines[2], lines[3], lines[6]]


def test_a_line_that_is_there_twice_counts_once(tmp_path):
    path = tmp_path / "t.jsonl"
    append(path, [transcript("a"), transcript("a"), transcript("b"), transcript("a")])
    assert [one.item_id for one in read_outcomes(path)] == ["a", "b"]


def test_runs_are_kept_apart_and_a_changed_item_counts_as_it_is_now(tmp_path):
    path = tmp_path / "t.jsonl"
    append(
        path,
        [
            transcript("a", text="of the old picture"),
            transcript("a", run="other"),
            transcript("a", request_hash="e" * 64, text="of the new picture"),
        ],
    )
    assert [(one.run, one.text) for one in read_outcomes(path)] == [("other", "A dog."), ("r", "of the new picture")]

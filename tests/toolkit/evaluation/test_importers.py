"""Logs of lmms-eval and Inspect: what becomes a text, what never does, and the shapes that those tools write.

The logs are made here, after the schemas of both tools.
"""

import json
import zipfile
import zlib

import pyarrow as pa
import pytest

from helpers.errors import CourseError
from toolkit.evaluation.inference import importers
from toolkit.evaluation.inference.importers import read_inspect_ai, read_lmms_eval
from toolkit.evaluation.inference.transcripts import read_transcripts

# ---------------------------------------------------------------- lmms-eval

DATE = "20260806_102223"
RESULTS = {
    "model_name": "Qwen/Qwen3-VL-4B-Instruct",
    "config": {
        "model": "vllm",
        "model_args": "model=Qwen/Qwen3-VL-4B-Instruct,revision=c0ffee,dtype=bfloat16",
        "gen_kwargs": "temperature=0.5,do_sample=True",
        "device": "cuda:0",
        "resolved_cli_args": {"timezone": "Asia/Singapore"},
    },
    "configs": {"mme": {"generation_kwargs": {"max_new_tokens": 16, "temperature": 0, "until": ["\n"]}, "repeats": 1}},
}


def lmms_sample(doc=0, **fields):
    return {"doc_id": doc, "target": "cat", "filtered_resps": "cat", "token_counts": [{"output_tokens": 3}],
            "doc_hash": "d" * 8, "input": "What is it?", "exact_match": 1.0} | fields  # fmt: skip


def lmms_log(folder, *samples, results=RESULTS, task="mme"):
    if results:
        (folder / f"{DATE}_results.json").write_text(json.dumps(results))
    path = folder / f"{DATE}_samples_{task}.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def test_an_answer_of_lmms_eval_with_all_that_its_log_says(tmp_path):
    (one,) = read_lmms_eval(lmms_log(tmp_path, lmms_sample(4)))
    assert (one.run, one.item_id, one.status, one.text) == ("Qwen/Qwen3-VL-4B-Instruct-mme", "mme-4", "ok", "cat")
    assert (one.model, one.revision, one.server, one.dtype) == (RESULTS["model_name"], "c0ffee", "vllm", "bfloat16")
    assert one.sampling == {"max_completion_tokens": 16, "temperature": 0.5, "stop": ["\n"], "do_sample": True}
    assert (one.completion_tokens, one.prompt_tokens, one.latency_seconds, one.seed) == (3, None, None, None)
    assert (one.time, one.origin, one.media) == ("2026-08-06T02:22:23.000+00:00", "lmms-eval", ())


@pytest.mark.parametrize(
    "fields",
    [
        {"filtered_resps": "cat"},
        {"filtered_resps": ["cat"], "resps": [["cat"]]},
        {"filtered_resps": [["cat"]], "resps": [["cat"]]},
        {"filtered_resps": "C", "resps": ["cat"]},
        {"filtered_resps": ["C"], "resps": [["cat"]]},
    ],
)
def test_the_text_is_the_models_in_every_version_of_the_format(fields, tmp_path):
    (one,) = read_lmms_eval(lmms_log(tmp_path, lmms_sample(**fields)))
    assert one.text == "cat"


@pytest.mark.parametrize(
    "failure",
    [
        "[LMMS_EVAL_REQUEST_FAILED after 5 retries] Error code: 500",
        "[LMMS_EVAL_BUDGET_EXCEEDED]",
        'Error: can only concatenate str (not "NoneType") to str',
    ],
)
def test_what_lmms_eval_writes_in_place_of_an_answer_is_an_error(failure, tmp_path):
    samples = [lmms_sample(0, filtered_resps=failure), lmms_sample(1, filtered_resps=f"It says '{failure}'.")]
    failed, told = read_lmms_eval(lmms_log(tmp_path, *samples))
    assert (failed.status, failed.text, failed.error) == ("error", None, failure)
    assert told.status == "ok"


def test_a_request_that_was_never_sent_is_an_error(tmp_path):
    (one,) = read_lmms_eval(lmms_log(tmp_path, lmms_sample(resps=[[]], filtered_resps=[])))
    assert (one.status, one.error) == ("error", "The log holds no answer.")


def test_as_many_tokens_as_the_limit_is_truncated_and_unknown_ones_are_not(tmp_path):
    counts = [[{"output_tokens": 16}], [{"output_tokens": 15}], [{}], [None]]
    samples = [lmms_sample(number, token_counts=count) for number, count in enumerate(counts)]
    assert [one.status for one in read_lmms_eval(lmms_log(tmp_path, *samples))] == ["truncated", "ok", "ok", "ok"]
    path = lmms_log(tmp_path, samples[0], results=None)
    (tmp_path / f"{DATE}_results.json").unlink()
    (one,) = read_lmms_eval(path, model="m", run="mine")
    assert (one.status, one.model, one.run, one.time) == ("ok", "m", "mine", "2026-08-06T10:22:23")
    with pytest.raises(CourseError, match="does not say which model"):
        list(read_lmms_eval(path))


def test_repeats_become_runs_and_what_is_no_single_text_is_refused(tmp_path):
    twice = RESULTS | {"configs": {"mme": {"repeats": 2}}}
    for resps in (["cat", "dog"], [["cat"], ["dog"]], [["cat", "dog"]]):
        log = lmms_log(tmp_path, lmms_sample(resps=resps), results=twice)
        assert [(one.run[-8:], one.text) for one in read_lmms_eval(log)] == [("ruct-mme", "cat"), ("repeat-2", "dog")]
    likelihoods = [[["-1.2", "True"]], [["-3.4", "False"]]]
    for resps in (likelihoods, ["first round", "second round"]):
        log = lmms_log(tmp_path, lmms_sample(), lmms_sample(1, resps=resps))
        with pytest.raises(CourseError, match=r"mme\.jsonl line 2 has no single answer"):
            list(read_lmms_eval(log))


def test_a_sample_that_is_there_for_each_filter_counts_once(tmp_path):
    samples = [lmms_sample(number, filtered_resps=said, resps=["cat"]) for said in ("C", "cat") for number in (0, 1)]
    assert [one.item_id for one in read_lmms_eval(lmms_log(tmp_path, *samples))] == ["mme-0", "mme-1"]


def test_other_files_and_damaged_lines_are_named(tmp_path):
    path = lmms_log(tmp_path, lmms_sample())
    path.write_text(path.read_text() + '{"doc_id": 1}\n{"doc')
    for match in (r"line 2 is no sample", r"line 3 is no sample"):
        with pytest.raises(CourseError, match=match):
            list(read_lmms_eval(path))
        path.write_text(path.read_text().replace('{"doc_id": 1}\n', "\n"))
    with pytest.raises(CourseError, match="no log of lmms-eval's"):
        list(read_lmms_eval(tmp_path / f"{DATE}_results.json"))
    with pytest.raises(CourseError, match="cannot be read"):
        list(read_lmms_eval(tmp_path / "x_samples_y.jsonl", model="m"))


# ---------------------------------------------------------------- Inspect

HEADER = {
    "version": 2,
    "status": "success",
    "eval": {
        "created": "2026-01-02T03:04:05-05:00", "task": "course/scenes", "model": "vllm/Qwen/Qwen3-VL-4B-Instruct",
        "model_args": {"revision": "c0ffee"}, "model_generate_config": {"max_tokens": 64, "temperature": 1.0},
    },
    "plan": {"config": {"temperature": 0.0, "max_retries": 3, "seed": 5, "extra_body": {"min_p": 0.1}, "top_p": None}},
}  # fmt: skip
USAGE = {"input_tokens": 60, "input_tokens_cache_read": 6, "output_tokens": 2, "total_tokens": 68}


def output(text="A dog.", reason="stop", usage=USAGE, **fields):
    choice = {"message": {"role": "assistant", "content": text}, "stop_reason": reason}
    return {"model": "m", "choices": [choice], "usage": usage, "time": 0.25} | fields


def inspect_sample(name="scene-11000000", epoch=1, **fields):
    return {"id": name, "epoch": epoch, "input": "What is it?", "target": "dog", "output": output(),
            "attachments": {}} | fields  # fmt: skip


def json_log(folder, *samples, **header):
    (folder / "log.json").write_text(json.dumps(HEADER | header | {"samples": list(samples)}))
    return folder / "log.json"


def outcome(folder, **fields):
    (one,) = read_inspect_ai(json_log(folder, inspect_sample(**fields)))
    return one.status, one.text, one.error


def test_an_answer_of_inspect_with_all_that_its_log_says(tmp_path):
    (one,) = read_inspect_ai(json_log(tmp_path, inspect_sample(started_at="2026-01-02T03:04:06.5+00:00")))
    assert (one.run, one.item_id) == ("Qwen/Qwen3-VL-4B-Instruct-scenes", "scene-11000000")
    assert (one.status, one.finish_reason, one.text) == ("ok", "stop", "A dog.")
    assert (one.model, one.server, one.revision) == ("Qwen/Qwen3-VL-4B-Instruct", "vllm", "c0ffee")
    assert one.sampling == {"max_completion_tokens": 64, "temperature": 0.0, "seed": 5, "min_p": 0.1}
    assert (one.seed, one.prompt_tokens, one.completion_tokens, one.latency_seconds) == (5, 66, 2, 0.25)
    assert (one.time, one.origin, one.attempt) == ("2026-01-02T03:04:06.500+00:00", "inspect_ai", 1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output": output(reason="max_tokens")}, ("truncated", "A dog.", None)),
        ({"output": output(reason="length")}, ("truncated", "A dog.", None)),
        ({"output": output(reason="model_length")}, ("truncated", "A dog.", None)),
        ({"output": output("the maximum context length is 8", "model_length", None)},
         ("error", None, "the maximum context length is 8")),
        ({"output": output("blocked by policy", "content_filter", None)}, ("refused", None, "blocked by policy")),
        ({"output": output("x", "content_filter", error="prompt blocked")}, ("refused", None, "prompt blocked")),
        ({"output": output("I cannot", "content_filter")}, ("refused", "I cannot", None)),
        ({"output": output([{"type": "text", "text": "No.", "refusal": True}])}, ("refused", "No.", None)),
        ({"output": output("", "stop")}, ("ok", "", None)),
        ({"output": output([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "A"},
                            {"type": "text", "text": "B"}])}, ("ok", "A\nB", None)),
        ({"output": output(completion="extracted")}, ("ok", "extracted", None)),
        ({"output": output("attachment://abc"), "attachments": {"abc": "long"}}, ("ok", "long", None)),
        ({"error": {"message": "RuntimeError('no')", "traceback": "Traceback"}}, ("error", None, "RuntimeError('no')")),
        ({"output": {"choices": [], "completion": ""}}, ("error", None, "The log holds no answer.")),
        ({"output": {"choices": []}, "limit": {"type": "time", "limit": 60}},
         ("timeout", None, "The sample's limit was reached: time 60.")),
        ({"output": {"choices": []}, "limit": {"type": "token", "limit": 9}},
         ("error", None, "The sample's limit was reached: token 9.")),
        ({"limit": {"type": "token", "limit": 9}}, ("truncated", "A dog.", None)),
        ({"invalidation": {"author": "me", "reason": "wrong picture"}}, ("error", None, "Invalidated: wrong picture")),
    ],
)  # fmt: skip
def test_what_a_sample_of_inspect_comes_to(fields, expected, tmp_path):
    assert outcome(tmp_path, **fields) == expected


def test_a_failed_sample_has_no_figures_of_an_earlier_answer(tmp_path):
    (one,) = read_inspect_ai(json_log(tmp_path, inspect_sample(error={"message": "no"})))
    assert (one.prompt_tokens, one.completion_tokens, one.latency_seconds) == (None, None, None)


def test_retries_are_attempts_and_epochs_are_runs(tmp_path):
    again = inspect_sample(7, error_retries=[{"message": "once"}, {"message": "twice"}])
    found = list(read_inspect_ai(json_log(tmp_path, again, inspect_sample(7, 2)), run="r"))
    assert [(one.run, one.item_id, one.attempt, one.status) for one in found] == [
        ("r", "scenes-7", 1, "error"),
        ("r", "scenes-7", 2, "error"),
        ("r", "scenes-7", 3, "ok"),
        ("r-epoch-2", "scenes-7", 1, "ok"),
    ]
    assert len({one.request_hash for one in found}) == 1


def test_random_names_of_messages_make_no_other_request(tmp_path):
    hashes = set()
    for name in ("x", "y"):
        asked = [{"id": name, "role": "user", "content": [{"type": "image", "image": "attachment://1"}]}]
        (one,) = read_inspect_ai(json_log(tmp_path, inspect_sample(input=asked)))
        hashes.add(one.request_hash)
    assert len(hashes) == 1


def eval_log(folder, entries, method=zipfile.ZIP_DEFLATED):
    path = folder / "log.eval"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, json.dumps(content))
    return path


SAMPLES = [
    ("_journal/start.json", HEADER),
    ("samples/a/b_epoch_1.json", inspect_sample("a/b")),
    ("samples/2_epoch_1.json", inspect_sample(2, output=output("NaN", score=float("nan")))),
    ("_journal/summaries/1.json", [{"id": 2}]),
]


def test_an_eval_file_gives_the_same_as_a_json_file(tmp_path):
    from_zip = list(read_inspect_ai(eval_log(tmp_path, [*SAMPLES, ("header.json", HEADER)])))
    assert from_zip == list(read_inspect_ai(json_log(tmp_path, SAMPLES[1][1], SAMPLES[2][1])))
    assert [one.item_id for one in from_zip] == ["a/b", "scenes-2"]
    assert from_zip == list(read_inspect_ai(eval_log(tmp_path, SAMPLES)))  # a run that was killed has no header


def zstandard(path, frames=1):
    """Pack the entries of a zip file again, as Inspect does now (method 93), each into so many frames."""
    with zipfile.ZipFile(path) as archive:
        contents = [(name, archive.read(name)) for name in archive.namelist()]
    body, directory = b"", b""
    for name, content in contents:
        size = -(-len(content) // frames)
        parts = [content[start : start + size] for start in range(0, len(content), size)]
        packed = b"".join(pa.compress(part, "zstd", asbytes=True) for part in parts)
        fields = (93).to_bytes(2, "little") + bytes(4)
        fields += b"".join(number.to_bytes(4, "little") for number in (zlib.crc32(content), len(packed), len(content)))
        fields += len(name.encode()).to_bytes(2, "little")
        place = len(body).to_bytes(4, "little")
        body += b"PK\x03\x04" + b"\x14\0\0\0" + fields + b"\x04\0" + name.encode() + b"\xff\xff\0\0" + packed
        directory += b"PK\x01\x02" + b"\x14\0\x14\0\0\0" + fields + bytes(12) + place + name.encode()
    count = len(contents).to_bytes(2, "little")
    sizes = len(directory).to_bytes(4, "little") + len(body).to_bytes(4, "little")
    path.write_bytes(body + directory + b"PK\x05\x06" + bytes(4) + count * 2 + sizes + bytes(2))


def test_entries_in_zstandard_are_read_and_checked(tmp_path):
    path = eval_log(tmp_path, SAMPLES)
    plain = list(read_inspect_ai(path))
    for frames in (1, 3):
        path = eval_log(tmp_path, SAMPLES)
        zstandard(path, frames)
        assert list(read_inspect_ai(path)) == plain
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.infolist()[1].header_offset
    content[place + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CourseError, match="is damaged"):
        list(read_inspect_ai(path))


def test_a_sample_in_chunks_finds_its_attachments(tmp_path):
    shell = inspect_sample("c", output=output("attachment://3"))
    del shell["attachments"]
    chunks = [
        ("samples/c_epoch_1/attachments/0.json", ["0", "1"]),
        ("samples/c_epoch_1/attachments/2.json", ["2", "3"]),
    ]
    messages = ("samples/c_epoch_1/messages/0.json", [])
    (one,) = read_inspect_ai(
        eval_log(tmp_path, [*SAMPLES[:1], ("samples/c_epoch_1/sample.json", shell), *chunks, messages])
    )
    assert one.text == "3"


def test_what_is_no_log_of_inspects_or_has_no_samples_is_refused(tmp_path):
    path = tmp_path / "log.json"
    for written, match in (("{", "is not JSON"), ("[]", "is not what it should be"), ("{}", "no log of Inspect's")):
        path.write_text(written)
        with pytest.raises(CourseError, match=match):
            list(read_inspect_ai(path))
    with pytest.raises(CourseError, match=r"holds no samples(.|\n)*'cancelled'"):
        list(read_inspect_ai(json_log(tmp_path, status="cancelled")))
    with pytest.raises(CourseError, match=r"Sample 1 in log\.json cannot be read"):
        list(read_inspect_ai(json_log(tmp_path, {"epoch": 1})))
    with pytest.raises(CourseError, match="a zip file of something else"):
        list(read_inspect_ai(eval_log(tmp_path, [("x.json", {})])))
    whole = eval_log(tmp_path, SAMPLES)
    whole.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(CourseError, match="is damaged"):
        list(read_inspect_ai(whole))


# ---------------------------------------------------------------- the command


def test_the_command_appends_all_or_nothing_and_once(tmp_path, capsys):
    out = tmp_path / "t.jsonl"
    good = json_log(tmp_path, inspect_sample(), inspect_sample("b", error={"message": "no"}))
    assert importers.command("inspect-ai", good, out) == 0
    assert "Qwen/Qwen3-VL-4B-Instruct-scenes: 1 error, 1 ok" in capsys.readouterr().out
    assert importers.command("lmms-eval", lmms_log(tmp_path, lmms_sample()), out) == 0
    assert [one.origin for one in read_transcripts(out)] == ["inspect_ai", "inspect_ai", "lmms-eval"]
    before = out.read_bytes()
    with pytest.raises(CourseError, match=r"has a run .* already"):
        importers.command("inspect-ai", good, out)
    with pytest.raises(CourseError, match="line 2"):
        importers.command("lmms-eval", lmms_log(tmp_path, lmms_sample(), {}), out, run="new")
    with pytest.raises(CourseError, match="no import from 'helm'"):
        importers.command("helm", good, out)
    with pytest.raises(CourseError, match="name the model"):
        importers.command("inspect-ai", good, out, model="m")
    assert out.read_bytes() == before

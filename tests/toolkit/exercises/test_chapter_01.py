"""Chapter 01: right answers of other forms pass, plausible wrong ones get a word."""

import hashlib
from fnmatch import fnmatch
from pathlib import Path

from tests.support.exercise_answers import ChapterTests

PIN = "0123456789abcdef0123456789abcdef01234567"


def taken(*patterns, top=True):
    return lambda path: (not top or "/" not in path) and any(fnmatch(path, pattern) for pattern in patterns)


def by_suffix(path):
    name = Path(path)
    return str(name.parent) == "." and name.suffix in {".json", ".txt", ".jinja", ".safetensors"}


def digest_of(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed(folder, recorded):
    """Right, from what is there."""
    present = {path.name: digest_of(path) for path in Path(folder).iterdir()}
    return sorted(name for name in recorded if present.get(name) != recorded[name])


def changed_but_not_missing(folder, recorded):
    return [name for name in changed(folder, recorded) if (folder / name).exists()]


def kv(part, layers="num_hidden_layers", heads="num_key_value_heads"):
    return lambda config: part * config[layers] * config[heads] * config["head_dim"]


def fits(card, weights, per_token, utilization=0.92, reserve=2 * 2**30, least=0):
    return max(least, int((card * utilization - weights - reserve) / per_token))


RIGHT = [
    ("01.1", PIN),
    ("01.1", {PIN}),
    ("01.2", by_suffix),
    ("01.3", changed),
    ("01.3", lambda folder, recorded: set(changed(folder, recorded))),
    ("01.4", (8_767_123_696 * 2 / 2**30, 8.17)),
    ("01.5", kv(4)),
    ("01.6", fits),
]
WRONG = [
    ("01.1", ["main", PIN], "a branch"),
    ("01.1", ["v1.0", PIN], "a tag"),
    ("01.1", [], "a hash of its own content"),
    ("01.2", taken("*.json", "*.txt", "*.jinja", "*.safetensors", top=False), "onnx/config.json should be left"),
    ("01.2", taken("*.json", "*.txt", "*.safetensors"), "chat_template.jinja should be taken"),
    ("01.2", taken("*"), "pytorch_model.bin should be left"),
    ("01.2", taken("*.json", "*.txt", "*.jinja", "model.safetensors"), "model-00001-of-00002.safetensors"),
    ("01.3", changed_but_not_missing, "c.txt is missing"),
    ("01.3", lambda folder, recorded: [n for n in recorded if not (folder / n).exists()], "a bit of a.bin"),
    ("01.3", lambda folder, recorded: sorted(changed(folder, recorded), reverse=True), "sorted"),
    ("01.3", lambda folder, recorded: [(folder / n).read_bytes() for n in recorded] and [], "a bit of a.bin"),
    ("01.4", (17.5, 8.8), "that is in GB"),
    ("01.4", (16.3, 16.3), "fp8"),
    ("01.4", (8.2, 4.1), "bfloat16"),
    ("01.4", ("16.3 GiB", 8.2), "should be a number"),
    ("01.5", kv(4, heads="num_attention_heads"), "query heads"),
    ("01.5", kv(2), "half of it"),
    ("01.5", lambda config: 4 * config["num_key_value_heads"] * config["head_dim"], "one layer's"),
    ("01.5", lambda config: 4 * config["layers"], "your function raised KeyError"),
    ("01.6", lambda *sizes: fits(*sizes, least=-(10**9)), "no token does"),
    ("01.6", lambda card, weights, per_token, share, reserve: fits(card, weights, per_token, share, 0), "reserve"),
    ("01.6", lambda card, weights, per_token, share, reserve: fits(card, weights, per_token, 1, reserve), "at 0.92"),
]
AS_GIVEN = [("01.2", taken("*.json", "*.bin", "*.safetensors", top=False))]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "01", RIGHT, WRONG, AS_GIVEN

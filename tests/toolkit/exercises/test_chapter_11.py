"""The checkers of chapter 11 refuse plausible wrong answers and accept other right ones."""

import os
from pathlib import Path

import numpy as np

from tests.support.exercise_answers import ChapterTests

COUNTS = {"trained parameters": 196_608, "bytes to train them": 3_145_728, "parameters at rank 32": 393_216}


# 11.2
def without_the_end(ids, prompt, end):
    last = len(ids) - 1 - ids[::-1].index(end)
    return [token if prompt <= place < last else -100 for place, token in enumerate(ids)]


def with_the_prompt(ids, prompt, end):
    last = len(ids) - 1 - ids[::-1].index(end)
    return [token if place <= last else -100 for place, token in enumerate(ids)]


def by_the_token(ids, prompt, end):
    return [token if place >= prompt and token else -100 for place, token in enumerate(ids)]


def too_short(ids, prompt, end):
    return ids[prompt:]


def as_given(ids, prompt, end):
    return [-100] * prompt + ids[prompt:]


def from_the_end(ids, prompt, end):
    labels, learning = [], False
    for place in reversed(range(len(ids))):
        learning = learning or ids[place] == end
        labels.append(ids[place] if learning and place >= prompt else -100)
    return np.array(labels[::-1])


# 11.3
def in_place(weight, a, b, alpha):
    weight += alpha / len(a) * b @ a
    return weight


def with_einsum(weight, a, b, alpha):
    return weight + np.einsum("or,ri->oi", b, a) * alpha / b.shape[1]


# 11.4
def by_the_beginning(path, root):
    return path.startswith(root)


def with_a_slash(path, root):
    return path.startswith(root + "/")


def without_links(path, root):
    return Path(os.path.normpath(path)).is_relative_to(root)


def only_children(path, root):
    return Path(path).resolve().parent == Path(root).resolve()


def by_the_common_path(path, root):
    real = os.path.realpath(root)
    return os.path.commonpath([os.path.realpath(path), real]) == real


WRONG = [
    ("11.1", COUNTS | {"trained parameters": 2560 * 9728}, "rank × inputs"),
    ("11.1", COUNTS | {"bytes to train them": 4 * 196_608}, "moments"),
    ("11.1", COUNTS | {"parameters at rank 32": 4 * 196_608}, "proportion"),
    ("11.2", without_the_end, "never stops"),
    ("11.2", with_the_prompt, "prompt must not"),
    ("11.2", by_the_token, "labels"),
    ("11.2", too_short, "for each token"),
    ("11.3", in_place, "has been changed"),
    ("11.3", lambda weight, a, b, alpha: weight + b @ a, "scaled by alpha / r"),
    ("11.3", lambda weight, a, b, alpha: weight + alpha * (b @ a), "divided by the rank"),
    ("11.3", lambda weight, a, b, alpha: b @ a, "is expected"),
    ("11.3", lambda weight, a, b, alpha: a, "weight of"),
    ("11.4", with_a_slash, "leaves with .."),
    ("11.4", without_links, "symbolic link"),
    ("11.4", only_children, "further down"),
    ("11.4", lambda path, root: 1, "True or False"),
]
RIGHT = [
    ("11.1", {name: float(value) for name, value in COUNTS.items()}),
    ("11.2", from_the_end),
    ("11.3", with_einsum),
    ("11.4", by_the_common_path),
]
AS_GIVEN = [("11.2", as_given), ("11.4", by_the_beginning)]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "11", RIGHT, WRONG, AS_GIVEN

"""The mixed workload: the same bytes for the same seed, the promised mixture, and the forms in which it is sent."""

import base64
import hashlib
from collections import Counter

import pytest

from helpers.errors import CourseError
from toolkit.evaluation.inference.requests import check_items
from toolkit.speed.workload import (
    KINDS,
    plan_workload,
    ready_messages,
    write_workload,
)
from toolkit.toyworld.items import read_items


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_workload(tmp_path / name, 8, seed=3)
    write_workload(tmp_path / "other", 8, seed=4)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert digests(tmp_path / "one").keys() != digests(tmp_path / "other").keys()


def test_the_mixture_is_the_promised_one():
    plan = plan_workload(300)
    assert Counter(planned.sort for planned in plan) == {"text": 120, "image": 120, "clip": 60}
    assert all(planned.kind in KINDS[planned.sort] for planned in plan)
    assert len({planned.seed for planned in plan}) == 300
    lengths = sorted(planned.answer_tokens for planned in plan)
    assert 8 <= lengths[0] < 10 and 240 < lengths[-1] <= 256
    # Even over the logarithm: half of them below the geometric mean of 8 and 256.
    assert 35 <= lengths[150] <= 58
    short = sorted(planned.answer_tokens for planned in plan_workload(300, skew=2.0))
    assert short[150] < 25 and 40 < sum(short) / 300 < 55 and short[0] >= 8 and 200 < short[-1] <= 256
    # Mixed, not sorted: no long stretch of one sort.
    assert max(len(list(run)) for run in _runs([planned.sort for planned in plan])) < 15


def _runs(values):
    from itertools import groupby

    return [list(group) for _, group in groupby(values)]


@pytest.mark.parametrize("count", [1, 2, 7, 11])
def test_every_count_is_met(count):
    assert len(plan_workload(count)) == count


@pytest.mark.parametrize(
    "arguments",
    [{"count": 0}, {"answers": (9, 8)}, {"answers": (0, 8)}],
)
def test_impossible_mixtures_are_refused(arguments):
    with pytest.raises(CourseError, match="refused"):
        plan_workload(**{"count": 5, **arguments})


def test_a_workload_is_items_that_are_sent_byte_for_byte(tmp_path):
    records = write_workload(tmp_path, 6, seed=0)
    assert read_items(tmp_path) == records and check_items(tmp_path) == 6
    for sort, kind, prefix in (("image", "image_url", "image/png"), ("clip", "video_url", "video/mp4")):
        record = next(record for record in records if record["sort"] == sort)
        url = ready_messages(tmp_path, record)[0]["content"][0][kind]["url"]
        head, _, content = url.partition(",")
        assert head == f"data:{prefix};base64"
        assert base64.b64decode(content) == (tmp_path / record["media"][0]).read_bytes()


def test_a_link_out_of_the_folder_is_not_sent(tmp_path):
    write_workload(tmp_path / "w", 8, seed=3)
    record = next(one for one in read_items(tmp_path / "w") if one["media"])
    medium = tmp_path / "w" / record["media"][0]
    medium.rename(tmp_path / medium.name)
    medium.symlink_to(tmp_path / medium.name)
    with pytest.raises(CourseError, match="is a link to"):
        ready_messages(tmp_path / "w", record)

"""Results of benchmarks: what a file must say, and which one is found."""

import datetime
import json

import pytest

from helpers.errors import CourseError
from tests.support.bench_results import NOON, result
from toolkit.speed.results import read_results, write_result

# ---------------------------------------------------------------- files


def test_results_come_back_and_none_is_replaced(tmp_path):
    first, second = result(), result(time=NOON + datetime.timedelta(hours=1))
    paths = [write_result(one, tmp_path) for one in (first, second)]
    assert [path.name for path in paths] == ["2030-05-01-serve-text-tiny.json", "2030-05-01-serve-text-tiny-2.json"]
    assert read_results(tmp_path) == [first, second]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"machine": None}, "machine"),
        ({"versions": {}}, "versions"),
        ({"command": []}, "command"),
        ({"surprise": 1}, "surprise"),
        ({"format": 2}, "format"),
        ({"date": "2030-05-02"}, "date is that of time"),
        ({"figures": [{"name": "a", "value": None, "unit": ""}]}, "says why"),
        ({"figures": [{"name": "a", "value": 1, "unit": "", "low": 2, "high": 1}]}, "low first"),
    ],
)
def test_what_a_figure_cannot_be_judged_without_is_demanded(tmp_path, change, key):
    path = write_result(result(), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CourseError, match="is no result of a benchmark") as caught:
        read_results(tmp_path)
    assert key in caught.value.cause


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.json").write_text("[]")
    (tmp_path / "2030-05-01-log.txt").write_text("x")
    assert read_results(tmp_path) == []

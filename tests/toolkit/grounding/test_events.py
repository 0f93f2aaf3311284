"""When something happens, in the forms that models write, and how much two spans share."""

import pytest

from toolkit.grounding import overlaps, read_events
from toolkit.grounding.events import Event, seconds


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (3, 3), (2.5, 2.5), ("2.5", 2.5), ("2.5 s", 2.5), ("3 seconds", 3), ("00:03.50", 3.5), ("01:05.25", 65.25),
        ("1:00:05", 3605), (None, None), ("soon", None), (-1, None), (float("nan"), None), (True, None), ([1], None),
    ],
)  # fmt: skip
def test_times(time, expected):
    assert seconds(time) == expected


def test_events_are_found_wherever_they_stand():
    walks, waves = Event("walks", 0.5, 2), Event("waves", 2, 4)
    for answer in (
        '[{"start": 0.5, "end": 2, "event": "walks"}, {"start": "2 s", "end": "00:04.00", "event": "waves"}]',
        '```json\n{"events": [{"start_time": 0.5, "end_time": 2, "label": "walks"}, '
        '{"from": 2, "to": 4, "action": "waves"}]}\n```',
    ):
        assert read_events(answer).objects == (walks, waves)
        assert read_events(answer).problems == ()
    assert read_events([{"action": "walks", "start": 0.5, "end": 2}]).objects == (walks,)


def test_what_is_wrong_is_named():
    reading = read_events('[{"start": 4, "end": 1, "event": "a"}, {"start": 1, "event": "b"}, {"start": NaN, "end": 2')
    assert reading.objects == (Event("a", 1, 4),)
    assert reading.problems == ("'a': ends before it starts", "'b': no start and end in seconds", "cut off")
    assert read_events("Nothing happens.").objects == ()


def test_temporal_iou():
    event = Event("a", 1, 3)
    assert event.iou(Event("b", 2, 4)) == pytest.approx(1 / 3)
    assert event.iou(event) == 1
    assert event.iou(Event("b", 3, 4)) == event.iou(Event("b", 5, 6)) == 0
    assert Event("a", 2, 2).iou(Event("b", 2, 2)) == 0


def test_each_event_counts_once():
    true = [Event("a", 0, 2), Event("b", 2, 4)]
    assert overlaps([Event("x", 0, 4)], true) == [0.5, 0]
    assert overlaps(true[::-1], true) == [1, 1]
    assert overlaps([], true) == [0, 0]

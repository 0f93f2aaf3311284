"""The panel to vote with, without a browser: what it shows, clicks, keys, going back, and going on the next day."""

import pytest

from toolkit.evaluation.blind_vote.ballot import make_ballot, read_votes
from toolkit.evaluation.blind_vote.panel import KEYS, LABELS
from toolkit.evaluation.judging.pairwise import Pair

NAMES = ("model-tall", "model-small")
TWO = {"detail": "Which tells more?", "language": "Which is <b>better</b>?"}


@pytest.fixture
def pairs():
    def one(number):
        content = [{"type": "image_url", "image_url": {"url": "p.png"}}, {"type": "text", "text": "What is there?"}]
        item = {"item_id": f"i-{number}", "messages": [{"role": "user", "content": content}]}
        return Pair(item, *NAMES, f"<script>alert({number})</script> & \u202emore", "")

    return [one(number) for number in range(6)]


@pytest.fixture
def panel(pairs, tmp_path):
    (tmp_path / "p.png").write_bytes(b"picture")

    def make(n=3, **given):
        return make_ballot(pairs, tmp_path, n, seed=3, **given).panel(tmp_path / "votes.jsonl")

    return make


def votes(panel):
    return [(vote.item_id, vote.dimension, vote.choice) for vote in read_votes(panel.box.path)]


def everything(widget):
    """The state of a widget and of all within, as a browser gets it."""
    return str(widget.get_state()) + "".join(map(everything, getattr(widget, "children", ())))


def press_enter(panel, word):
    panel.field.value = word
    panel.field._handle_custom_msg({"event": "submit"}, [])


def test_a_click_is_saved_and_shows_the_next_item(panel):
    shown = panel()
    names = [slip.item_id for slip in shown.box.ballot.pairs]
    for choice, name in zip(("A", "tie", "skip"), names, strict=True):
        assert shown.pair.item_id == name
        shown.buttons["overall", choice].click()
    assert votes(shown) == [(names[0], "overall", "A"), (names[1], "overall", "tie"), (names[2], "overall", "skip")]
    assert "All items have their votes" in shown.status.value


def test_a_narrow_window_moves_the_buttons_of_a_question_together(panel):
    shown = panel(questions=TWO)
    rows = [child for row in shown.widget.children for child in getattr(row, "children", ())]
    for dimension in TWO:
        buttons = [shown.buttons[dimension, choice] for choice in LABELS]
        assert any(list(getattr(row, "children", ())) == buttons for row in rows)


def test_the_next_day_it_opens_where_it_was(panel):
    panel().buttons["overall", "B"].click()
    again = panel()
    assert again.place == 1 and "item 2 of 3; 1 have" in again.status.value
    again.previous.click()
    chosen = [choice for (_, choice), button in again.buttons.items() if button.button_style]
    assert chosen == ["B"] and again.previous.disabled


def test_going_back_replaces_a_choice_and_stays_there(panel):
    shown = panel()
    shown.buttons["overall", "A"].click()
    shown.previous.click()
    shown.buttons["overall", "B"].click()
    assert shown.place == 0
    assert [choice for *_, choice in votes(shown)] == ["A", "B"]
    assert shown.box.choice(shown.pair, "overall") == "B" and shown.box.done == 1


def test_letters_and_enter_do_what_the_buttons_do(panel):
    shown = panel()
    for word in ("a", " T ", "p", "s", "n", "b"):
        press_enter(shown, word)
        assert shown.field.value == ""
    assert [(shown.box.ballot.pairs.index(slip), choice) for slip in shown.box.ballot.pairs
            if (choice := shown.box.choice(slip, "overall"))] == [(0, "A"), (1, "skip"), (2, "B")]  # fmt: skip
    press_enter(shown, "x")
    press_enter(shown, "")
    assert len(votes(shown)) == 4 and "is no choice" in shown.status.value
    assert set(KEYS.values()) == set(LABELS)


def test_a_letter_that_is_only_left_in_the_field_is_no_vote(panel):
    shown = panel()
    shown.field.value = "a"
    shown.buttons["overall", "B"].click()
    assert [choice for *_, choice in votes(shown)] == ["B"]


def test_an_item_with_several_dimensions_waits_for_all(panel):
    shown = panel(questions=TWO)
    shown.buttons["language", "tie"].click()
    assert shown.place == 0
    press_enter(shown, "b")
    assert shown.place == 1
    assert [vote[1:] for vote in votes(shown)] == [("language", "tie"), ("detail", "B")]
    shown.previous.click()
    press_enter(shown, "a")
    assert len(votes(shown)) == 2 and "change one with its button" in shown.status.value


def test_what_a_model_wrote_has_no_effect_and_no_name_reaches_the_browser(panel):
    shown = panel(questions=TWO)
    state = everything(shown.widget)
    assert "<script" not in state and "&lt;script&gt;" in state
    assert "\u202e" not in state and "(an empty answer)" in state
    assert "Which is <b>better" not in state
    assert "data:image/png;base64," in shown.media.value
    assert not any(name in state for name in NAMES)


def test_a_vote_that_cannot_be_saved_says_so_and_does_not_count(panel, tmp_path):
    shown = panel()
    (tmp_path / "votes.jsonl").mkdir()
    shown.buttons["overall", "A"].click()
    assert "Not saved. Cannot write votes" in shown.status.value
    assert shown.place == 0 and shown.box.choice(shown.pair, "overall") is None


def test_a_picture_that_was_moved_is_told(panel, tmp_path):
    shown = panel()
    (tmp_path / "p.png").unlink()
    shown.next.click()
    assert "cannot be read" in shown.media.value

"""The blind vote: what is drawn and hidden, votes that survive, ballots filled in by hand, and what they come to."""

import json
import random

import pytest
import yaml

from helpers.errors import CourseError
from toolkit.evaluation.blind_vote.ballot import VoteBox, make_ballot, read_votes
from toolkit.evaluation.blind_vote.ballot_file import read_ballot, write_ballot
from toolkit.evaluation.blind_vote.tally import facts_comparisons, tally
from toolkit.evaluation.judging.pairwise import Pair

NAMES = ("model-tall", "model-small")
SEED = 7
TWO = {"detail": "Which tells more?", "language": "Which is written better?"}


def pair(number, first=None, second=None, facts=None, url="p.png"):
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is there?"}]
    item = {"item_id": f"i-{number}", "messages": [{"role": "user", "content": content}], "facts": facts or {}}
    return Pair(item, *NAMES, first or f"long answer {number}", second or f"short one {number}")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p.png").write_bytes(b"picture")
    return tmp_path


@pytest.fixture
def pairs():
    return [pair(number) for number in range(40)]


def side_of_first(slip):
    return "A" if slip.a.startswith("long") else "B"


# ---------------------------------------------------------------- drawing


def test_a_link_out_of_the_folder_is_not_on_the_ballot(folder, pairs, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (folder / "p.png").rename(other / "p.png")
    (folder / "p.png").symlink_to(other / "p.png")
    with pytest.raises(CourseError, match="is a link to"):
        make_ballot(pairs, folder, 20, seed=SEED)


def test_the_same_seed_draws_the_same_and_another_seed_other_items_and_sides(pairs, folder):
    ballot = make_ballot(pairs, folder, 20, seed=SEED)
    assert ballot == make_ballot(random.Random(1).sample(pairs, 40), folder, 20, seed=SEED)
    other = make_ballot(pairs, folder, 20, seed=8)
    assert {slip.item_id for slip in ballot.pairs} != {slip.item_id for slip in other.pairs}
    assert [slip.item_id for slip in ballot.pairs] != sorted(slip.item_id for slip in ballot.pairs)
    sides = [side_of_first(slip) for slip in make_ballot(pairs, folder, 40, seed=SEED).pairs]
    assert 10 <= sides.count("A") <= 30
    assert ballot.pairs == make_ballot(pairs, folder, 40, seed=SEED).pairs[:20]


def test_sides_do_not_follow_from_the_order_of_the_items(folder):
    """Both come from hashes; were they of the same words, the first half of a ballot would be all A."""
    ballot = make_ballot([pair(number) for number in range(200)], folder, 200, seed=SEED)
    sides = [side_of_first(slip) for slip in ballot.pairs]
    assert 30 < sides[:100].count("A") < 70


def test_neither_ballot_nor_file_nor_votes_tell_who_wrote_what(pairs, folder):
    ballot = make_ballot(pairs, folder, 5, seed=SEED)
    path = write_ballot(ballot, folder / "ballot.yaml")
    VoteBox(ballot, folder / "votes.jsonl").cast(ballot.pairs[0], "overall", "A")
    written = repr(ballot) + path.read_text() + (folder / "votes.jsonl").read_text()
    assert not any(name in written for name in (*NAMES, "first", "second", "seed"))


def test_what_the_reader_has_seen_with_names_is_not_drawn(pairs, folder):
    whole = make_ballot(pairs, folder, 40, seed=SEED).pairs
    seen = [slip.item_id for slip in whole[:5:2]]
    ballot = make_ballot(pairs, folder, 10, seed=SEED, exclude=seen)
    assert ballot.pairs == tuple(slip for slip in whole if slip.item_id not in seen)[:10]
    with pytest.raises(CourseError, match="asks nothing"):
        make_ballot([pair(1)], folder, 1, seed=SEED, exclude=["i-1"])


def test_the_same_ballot_has_the_same_digest_and_other_answers_another(pairs, folder):
    ballot = make_ballot(pairs, folder, 5, seed=SEED)
    assert ballot.digest == make_ballot(pairs, folder, 5, seed=SEED).digest
    number = int(ballot.pairs[0].item_id.removeprefix("i-"))
    changed = [*pairs[:number], pair(number, "long and new"), *pairs[number + 1 :]]
    others = [make_ballot(changed, folder, 5, seed=SEED), make_ballot(pairs, folder, 5, seed=8)]
    assert len({ballot.digest, *(other.digest for other in others)}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, "asks nothing"),
        ({"n": 0}, "asks nothing"),
        ({"questions": {}}, "asks nothing"),
        ({"pairs": [pair(1), pair(1)]}, "two pairs for item 'i-1'"),
        ({"folder": "elsewhere"}, "Item 'i-1' shows p.png, and there is no such file in elsewhere"),
        ({"pairs": [pair(1, url="../p.png")]}, "Item 'i-1' shows ../p.png, which is outside"),
        ({"pairs": [pair(1, url="/tmp/p.png")]}, "Item 'i-1' shows /tmp/p.png, which is outside"),
    ],
)
def test_a_ballot_that_cannot_be_is_refused(change, message, folder):
    given = {"pairs": [pair(1)], "folder": folder, "n": 3, "seed": 1} | change
    with pytest.raises(CourseError, match=message):
        make_ballot(given.pop("pairs"), given.pop("folder"), given.pop("n"), **given)


# ---------------------------------------------------------------- votes


def test_every_vote_is_in_the_file_at_once_and_the_last_counts_after_reopening(pairs, folder):
    ballot, path = make_ballot(pairs, folder, 3, seed=SEED, questions=TWO), folder / "new" / "votes.jsonl"
    box = VoteBox(ballot, path)
    one, two, three = ballot.pairs
    for slip, dimension, choice in ((one, "detail", "A"), (one, "language", "tie"), (one, "detail", "B")):
        box.cast(slip, dimension, choice)
        assert json.loads(path.read_text().splitlines()[-1])["choice"] == choice
    box.cast(three, "detail", "skip")
    again = VoteBox(ballot, path)
    assert (again.place, again.done, again.of) == (1, 1, 3)
    assert again.choice(one, "detail") == "B"
    assert again.missing(two) == ["detail", "language"]
    assert again.missing(three) == ["language"]
    assert len(list(read_votes(path))) == 4
    with pytest.raises(CourseError, match="no vote"):
        again.cast(two, "taste", "A")


def test_a_torn_last_line_is_repaired_and_no_vote_before_it_is_lost(pairs, folder):
    ballot, path = make_ballot(pairs, folder, 3, seed=SEED), folder / "votes.jsonl"
    box = VoteBox(ballot, path)
    for slip in ballot.pairs:
        box.cast(slip, "overall", "A")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.warns(UserWarning, match="torn"):
        assert len(list(read_votes(path))) == 2
    torn = VoteBox(ballot, path)
    assert torn.place == 2 and "moved to votes.jsonl.torn" in torn.repaired
    torn.cast(ballot.pairs[2], "overall", "B")
    assert VoteBox(ballot, path).done == 3 and VoteBox(ballot, path).repaired is None
    path.write_bytes(whole[:-1])
    ended = VoteBox(ballot, path)
    assert ended.done == 3 and "got the end" in ended.repaired and path.read_bytes() == whole


def test_votes_on_other_answers_are_refused_and_a_larger_ballot_keeps_its_votes(pairs, folder):
    path = folder / "votes.jsonl"
    ballot = make_ballot(pairs, folder, 3, seed=SEED)
    for slip in ballot.pairs:
        VoteBox(ballot, path).cast(slip, "overall", "tie")
    assert VoteBox(make_ballot(pairs, folder, 5, seed=SEED), path).place == 3
    with pytest.raises(CourseError, match="other answers"):
        VoteBox(make_ballot(pairs, folder, 40, seed=8), path)
    path.write_text('{"choice": "C"}\n' + path.read_text())
    with pytest.raises(CourseError, match=r"votes\.jsonl line 1 is not a vote"):
        VoteBox(ballot, path)


# ---------------------------------------------------------------- by hand


def fill(path, choices):
    data = yaml.safe_load(path.read_text())
    for entry, choice in zip(data["items"], choices, strict=True):
        entry["choice"] = choice
    path.write_text(yaml.safe_dump(data))


def test_a_ballot_filled_in_by_hand_gives_the_votes_that_clicks_give(folder):
    odd = "- not: [yaml\n  'really'\n\ttab \r\n trailing \n\n# no comment\x07 ⟨ 漢字"
    ballot = make_ballot([pair(1, odd), pair(2, "yes"), pair(3)], folder, 3, seed=SEED)
    path = write_ballot(ballot, folder / "sub" / "ballot.yaml")
    entry = next(entry for entry in yaml.safe_load(path.read_text())["items"] if entry["item"] == "i-1")
    assert odd in (entry["A"], entry["B"]) and entry["media"] == ["../p.png"]
    assert read_ballot(ballot, path) == []
    fill(path, ["a", " TIE ", None])
    box = VoteBox(ballot, folder / "votes.jsonl")
    box.cast(ballot.pairs[0], "overall", "A")
    box.cast(ballot.pairs[1], "overall", "tie")
    assert read_ballot(ballot, path) == list(read_votes(box.path))
    before = path.read_bytes()
    assert write_ballot(ballot, path) == path and path.read_bytes() == before


def test_several_dimensions_are_filled_in_by_name(pairs, folder):
    ballot = make_ballot(pairs, folder, 2, seed=SEED, questions=TWO)
    path = write_ballot(ballot, folder / "b.yaml")
    fill(path, [{"detail": "B", "language": None}, {"language": "skip"}])
    assert [(vote.dimension, vote.choice) for vote in read_ballot(ballot, path)] == [
        ("detail", "B"),
        ("language", "skip"),
    ]
    fill(path, ["A", {"taste": "A"}])
    with pytest.raises(CourseError, match=r"must name the dimensions.*; item .*no dimension 'taste'"):
        read_ballot(ballot, path)


def test_all_mistakes_are_named_by_item(pairs, folder):
    ballot = make_ballot(pairs, folder, 4, seed=SEED)
    path = write_ballot(ballot, folder / "b.yaml")
    data = yaml.safe_load(path.read_text())
    names = [entry["item"] for entry in data["items"]]
    data["items"][0]["choice"] = "C"
    data["items"][1] = data["items"][0] | {"choice": "A"}
    data["items"][2]["mark"] = "0" * 16
    data["items"][3]["item"] = "i-99"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(CourseError) as caught:
        read_ballot(ballot, path)
    for part in (
        f"item '{names[0]}': 'C' is no choice; use A, B, tie, skip",
        f"item 2 ('{names[0]}'): is there twice",
        f"item '{names[2]}': is on other answers",
        "item 4 ('i-99'): is not in this ballot",
        f"item '{names[1]}': is missing",
    ):
        assert part in str(caught.value)
    path.write_text("items: 3\n")
    with pytest.raises(CourseError, match="no list of items"):
        read_ballot(ballot, path)


# ---------------------------------------------------------------- the reveal


def cast_all(ballot, path, choose, dimension="overall"):
    box = VoteBox(ballot, path)
    for number, slip in enumerate(ballot.pairs):
        box.cast(slip, dimension, choose(number, slip))
    return list(read_votes(path))


def test_votes_for_the_first_are_wins_on_whichever_side_it_stood(pairs, folder):
    ballot = make_ballot(pairs, folder, 20, seed=SEED)
    wanted = ["first"] * 12 + ["second"] * 4 + ["tie"] * 2 + ["skip"] * 2

    def choose(number, slip):
        mine = side_of_first(slip)
        return {"first": mine, "second": "B" if mine == "A" else "A"}.get(wanted[number], wanted[number])

    counted = tally(cast_all(ballot, folder / "v.jsonl", choose), pairs, seed=SEED)
    (one,) = counted.counts
    assert (counted.first, counted.second, counted.items) == (*NAMES, 20)
    assert (one.wins, one.losses, one.ties, one.skipped) == (12, 4, 2, 2)
    assert one.rate.value == pytest.approx(13 / 18) and one.rate.low < 13 / 18 < one.rate.high
    assert one.as_facts is None  # no facts of scenes here
    assert "model-tall wins 72%" in counted.describe()
    assert tally(folder / "v.jsonl", pairs, seed=SEED) == counted


def test_a_reader_who_always_says_a_is_seen_to_lean(pairs, folder):
    ballot = make_ballot(pairs, folder, 30, seed=SEED)
    (one,) = tally(cast_all(ballot, folder / "v.jsonl", lambda *_: "A"), pairs, seed=SEED).counts
    assert one.left.value == 1.0
    assert 0.2 < one.rate.value < 0.8


def test_the_wrong_key_is_refused(pairs, folder):
    votes = cast_all(make_ballot(pairs, folder, 3, seed=SEED), folder / "v.jsonl", lambda *_: "A")
    exchanged = [Pair(p.item, p.second, p.first, p.second_text, p.first_text) for p in pairs]
    for given, seed in ((pairs, 8), (exchanged, SEED), ([], SEED)):
        with pytest.raises(CourseError, match="is on other answers"):
            tally(votes, given, seed=seed)
    with pytest.raises(CourseError, match="no votes"):
        tally([], pairs, seed=SEED)


def test_agreement_with_facts(tmp_path):
    from toolkit.toyworld.items import write_items

    items = [item.record() for item in write_items("scene", 8, 11_000_000, tmp_path, 1)]
    pairs = [
        Pair(item, *NAMES, *((item["answer"][0], "Nothing.") if number % 2 else ("Nothing.", item["answer"][0])))
        for number, item in enumerate(items)
    ]
    better = {item["item_id"]: "first" if number % 2 else "second" for number, item in enumerate(items)}
    preferred = {one.item_id: one.verdicts["detail"].choice for one in facts_comparisons(pairs, ["detail"])}
    assert preferred == better
    ballot = make_ballot(pairs, tmp_path, 8, seed=SEED, questions={"detail": "?"})
    last = ballot.pairs[-1].item_id

    def choose(number, slip):
        longer = "A" if len(slip.a) > len(slip.b) else "B"
        return longer if slip.item_id != last else "AB".replace(longer, "")

    votes = cast_all(ballot, tmp_path / "v.jsonl", choose, "detail")
    (one,) = tally(votes, pairs, seed=SEED).counts
    assert one.as_facts.share.value == 7 / 8 and 0.5 < one.as_facts.kappa < 1
    assert "as facts: 88" in tally(votes, pairs, seed=SEED).describe()

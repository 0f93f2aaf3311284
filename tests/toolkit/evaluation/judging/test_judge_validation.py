"""A judge must prefer the truth to answers of known faults before it ranks anything."""

import asyncio
import json

import pytest

from helpers.errors import CourseError
from tests.support.chat_endpoint import ChatEndpoint, answer
from tests.support.judging import SCENES, answers_in, reply
from tests.support.transcripts import append, transcript
from toolkit.evaluation.inference.client import Endpoint
from toolkit.evaluation.judging.cli import JudgedRuns, JudgeSettings, choose_judge, main
from toolkit.evaluation.judging.judge_validation import rank, validate_judge
from toolkit.evaluation.judging.pairwise import (
    DETAIL,
    LengthJudge,
    Pair,
    RulesJudge,
    Verdict,
    compare_pairs,
    judge_by_rules,
)
from toolkit.evaluation.judging.prompt import facts_as_text, read_rubric
from toolkit.evaluation.judging.reference_answers import oracle, swapped_attributes

ITEMS = [one for one in SCENES if len(one["facts"]["subjects"]) == 2][:6]
RUBRIC = read_rubric()
#: Another scene's.
WRONG = SCENES[-1]["answer"][0]


def validation_of(judge, items=ITEMS):
    return asyncio.run(validate_judge(judge, items, quiet=True))


class Like:
    """Judges as another does, but for what ``change`` makes of it."""

    def __init__(self, name, change, judge=None, blank=None):
        self.name, self.change, self.judged_by, self.blank = name, change, judge or RulesJudge(), blank

    async def judge(self, item, first_text, second_text):
        found = (await self.judged_by.judge(item, first_text, second_text))[DETAIL]
        return {DETAIL: self.change(found, first_text, second_text)}

    def on_blank(self):
        return self.blank


@pytest.fixture(scope="module")
def by_rules():
    return validation_of(RulesJudge())


@pytest.fixture(scope="module")
def by_length():
    return validation_of(LengthJudge())


def test_the_rules_pass_with_the_oracle_first_and_nothing_true_last(by_rules):
    assert by_rules.passed
    assert list(by_rules.order)[:3] == ["oracle", "swapped attributes", "blind guess"]
    assert all(one.low > 0.5 for one in by_rules.against.values())
    assert set(by_rules.against) == set(by_rules.order) - {"oracle"}
    assert (by_rules.rates.flip_rate, by_rules.rates.invalid_rate, by_rules.blank) == (0, 0, None)
    assert by_rules.longer.value < 0.7


def test_the_longer_wins_does_not_pass_and_prefers_the_liar(by_length):
    assert not by_length.passed
    assert any("prefers 'verbose liar'" in reason for reason in by_length.reasons)
    assert by_length.longer.value == 1
    assert next(iter(by_length.order)) == "verbose liar"
    with pytest.raises(CourseError, match="may not rank") as found:
        rank(by_length, by_length.comparisons)
    assert "verbose liar" in str(found.value)


def test_one_that_overlooks_swapped_attributes_only_does_not_pass():
    oracle_or_swap = {text for item in ITEMS for text in texts_of(item)}

    def careless(found, first, second):
        return Verdict("given", "tie") if {first, second} <= oracle_or_swap else found

    found = validation_of(Like("careless", careless))
    assert [reason for reason in found.reasons if "swapped attributes" in reason] == list(found.reasons)


def texts_of(item):
    return oracle(item), swapped_attributes(item)


def test_one_that_goes_by_place_only_flips_always_and_does_not_pass():
    found = validation_of(Like("by place", lambda found, first, second: Verdict("given", "first")))
    assert found.rates.flip_rate == 1
    assert len(found.reasons) == 4


def test_invalid_replies_are_a_reason_even_if_the_rest_is_right():
    def stutters(found, first, second):
        return Verdict("invalid", None, "not JSON") if "rain" in first + second else found

    found = validation_of(Like("stutters", stutters), SCENES[:12])
    assert found.rates.invalid_rate > 0.1
    assert len(found.reasons) == 1
    assert "not JSON" in found.reasons[0]
    mute = validation_of(Like("mute", lambda found, first, second: Verdict("error", None, "HTTP 500")))
    assert not mute.passed
    assert mute.order == {}
    assert "HTTP 500" in mute.describe()


def test_three_items_are_too_few_for_anyone_to_pass():
    found = validation_of(RulesJudge(), ITEMS[:3])
    assert not found.passed
    assert all("3 items are few" in reason for reason in found.reasons)
    with pytest.raises(CourseError, match="no items"):
        validation_of(RulesJudge(), [])


def test_agreement_with_its_own_verdicts_on_blank_images_is_reported():
    def sees_nothing(found, first, second):
        return Verdict("given", "tie")

    found = validation_of(Like("looks", lambda found, first, second: found, blank=Like("blind", sees_nothing)))
    assert found.passed
    assert found.blank.share.value == 0
    same = validation_of(Like("does not look", lambda found, first, second: found, blank=RulesJudge()))
    assert same.blank.share.value == 1
    assert "blank images: 100%" in same.describe()


# ---------------------------------------------------------------- ranking


def runs(good, bad):
    """Two runs over the items: one tells the truth, the other another scene's; ``good`` and ``bad`` name them."""
    return [Pair(one, good, bad, one["answer"][0], WRONG) for one in ITEMS]


def test_a_validated_judge_ranks_two_runs_whichever_is_called_first(by_rules):
    for good, bad in (("a", "b"), ("b", "a")):
        found = rank(by_rules, asyncio.run(compare_pairs(RulesJudge(), runs(good, bad), quiet=True)))
        assert list(found.strengths) == [good, bad]
        assert found.strengths[good].value == 1
        assert found.verdict == f"{good} is better"


def test_no_difference_is_no_victory(by_rules):
    pairs = [Pair(one, "a", "b", one["answer"][0], one["answer"][0]) for one in ITEMS]
    found = rank(by_rules, asyncio.run(compare_pairs(RulesJudge(), pairs, quiet=True)))
    assert found.verdict == "no difference shown"
    assert found.rates.tie_rate == 1


def test_another_judge_s_verdicts_are_refused(by_rules, by_length):
    with pytest.raises(CourseError, match="validate the judge that ranks"):
        rank(by_rules, by_length.comparisons)
    with pytest.raises(CourseError, match="no verdict to rank by"):
        rank(by_rules, [])


# ---------------------------------------------------------------- a model as judge, from the command


def upright(question, time):
    """A judging model that reads the facts in the question as well as the rules do."""
    first, second = answers_in(question)
    item = next(one for one in ITEMS if facts_as_text(one) in question)
    verdict = judge_by_rules(item, first, second)
    return reply({"first": "A", "second": "B", "tie": "tie"}[verdict.choice])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes with two runs of answers, as few as can show anything."""
    where = tmp_path_factory.mktemp("scenes")
    lines = [transcript(one["item_id"], run="good", text=one["answer"][0]) for one in ITEMS[:4]]
    lines += [transcript(one["item_id"], run="bad", text=WRONG) for one in ITEMS[:4]]
    (where / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ITEMS[:4]))
    append(where / "t.jsonl", lines)
    return where


def judge_runs(folder, server, out, **more):
    runs = JudgedRuns(folder, folder / "t.jsonl", "good", "bad", known=folder, **more)
    return main(runs, JudgeSettings(Endpoint(server.url, "j"), out))


def test_the_command_estimates_validates_and_ranks_and_asks_nothing_twice(folder, tmp_path, capsys):
    with ChatEndpoint(upright) as server:
        assert judge_runs(folder, server, tmp_path / "r.jsonl", estimate_only=True) == 0
        assert not server.bodies
        assert judge_runs(folder, server, tmp_path / "r.jsonl") == 0
        asked = len(server.bodies)
        assert judge_runs(folder, server, tmp_path / "r.jsonl") == 0
        assert len(server.bodies) == asked
    told = capsys.readouterr().out
    assert "comparison: j-" in told
    assert ": 8 calls;" in told
    assert "(8 are there already)" in told
    assert "passed its validation on 4 items" in told
    for name in RUBRIC:
        assert f"By {name}: good is better." in told


def test_the_command_refuses_to_rank_with_a_judge_that_failed(folder, tmp_path, capsys):
    with ChatEndpoint(lambda question, time: answer(json.dumps({"winner": "A"}))) as server:
        with pytest.raises(CourseError, match="may not rank"):
            judge_runs(folder, server, tmp_path / "r.jsonl")
        compared = [question for question in server.questions if WRONG in question]
    assert not compared
    assert "does not follow the schema" in capsys.readouterr().out
    with pytest.raises(CourseError, match="no judge 'dice'"):
        main(JudgedRuns(folder, folder / "t.jsonl", "good", "bad"), "dice")


def test_nothing_to_compare_is_told_before_anything_is_asked(folder, tmp_path):
    with ChatEndpoint(upright) as server:
        judge = JudgeSettings(Endpoint(server.url, "j"), tmp_path / "r.jsonl")

        def refused(told, where=folder, second="bad"):
            with pytest.raises(CourseError, match=told):
                main(JudgedRuns(where, where / "t.jsonl", "good", second, known=folder), judge)

        refused("'good' cannot be compared with itself", second="good")
        other = tmp_path / "other"
        other.mkdir()
        kinds = [{"kind": "receipt"}, {"kind": "receipt"}, {"kind": "clip", "task": "clip_count"}]
        items = [kind | {"item_id": f"i-{number}", "messages": []} for number, kind in enumerate(kinds)]
        lines = [transcript(one["item_id"], run=run, text="a") for one in items for run in ("good", "bad")]
        (other / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
        append(other / "t.jsonl", lines)
        refused(r"clip_count \(1\), receipt \(2\); .*not answer: 0", where=other)
        apart = [transcript(ITEMS[0]["item_id"], run="good", text="a"), transcript("none", run="bad", text="a")]
        (other / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ITEMS[:4]))
        append(other / "t.jsonl", apart)
        refused(r"scene \(4\); .*not answer: 4", where=other)
        assert not server.bodies and not server.headers


def test_the_options_say_who_judges():
    assert choose_judge(None, url=None, model=None) == "rules"
    assert choose_judge("length", url=None, model=None) == "length"
    assert choose_judge(None, url="http://h/v1", model="j", key="k") == Endpoint("http://h/v1", "j", "k")
    for unclear in (("rules", "http://h/v1", "j"), (None, "http://h/v1", None), (None, None, "j")):
        with pytest.raises(CourseError, match="not clear who judges"):
            choose_judge(unclear[0], url=unclear[1], model=unclear[2])

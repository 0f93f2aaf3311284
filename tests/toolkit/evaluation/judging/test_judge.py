"""Judging pairs: verdicts and what they come to, questions, replies on disk; the endpoint is one in this process."""

import asyncio
import json
import re

import pytest
from hypothesis import given, settings, strategies
from PIL import Image

from helpers.errors import CourseError
from tests.support.chat_endpoint import ChatEndpoint, answer
from tests.support.judging import SCENES, answers_in, reply
from tests.support.transcripts import append, transcript
from toolkit.evaluation.inference.client import Endpoint, RequestPolicy
from toolkit.evaluation.inference.transcripts import read_transcripts
from toolkit.evaluation.judging.model_judge import JudgeEndpoint, ModelJudge, Prices, estimate_cost
from toolkit.evaluation.judging.pairwise import (
    DETAIL,
    Pair,
    Verdict,
    agreement,
    battles,
    combine,
    compare_pair,
    compare_pairs,
    judge_by_rules,
    longer_wins,
    rates,
    read_pairs,
)
from toolkit.evaluation.judging.prompt import (
    facts_as_text,
    judge_messages,
    read_rubric,
    read_verdicts,
    strip_markdown,
    verdict_schema,
    without_frames,
)

RUBRIC = read_rubric()
SHORT, LONG = "A dog.", "A dog that is standing in a park at noon."


def prefers_long(question, time):
    first, second = (len(text) for text in answers_in(question))
    return reply("A" if first > second else "B" if second > first else "tie")


def pair(first_text=SHORT, second_text=LONG, item=SCENES[0]):
    return Pair(item, "m1", "m2", first_text, second_text)


def judged(tmp_path, plan, work, *, judge=None, **options):
    """What ``work(judge)`` makes of a judge at an endpoint, and the endpoint afterwards."""

    async def go(url):
        policy = RequestPolicy(**{"first_wait_seconds": 0.0} | options)
        async with JudgeEndpoint(Endpoint(url, "j", revision="c0ffee"), tmp_path / "r.jsonl", policy) as endpoint:
            return await work(ModelJudge(endpoint, RUBRIC, **(judge or {})))

    with ChatEndpoint(plan) as server:
        return asyncio.run(go(server.url)), server


def compare(tmp_path, plan, pairs=None, **options):
    pairs = [pair()] if pairs is None else pairs
    return judged(tmp_path, plan, lambda judge: compare_pairs(judge, pairs, quiet=True), **options)


def stored(tmp_path):
    return list(read_transcripts(tmp_path / "r.jsonl"))


# ---------------------------------------------------------------- rubric


def test_the_rubric_has_the_course_s_four_dimensions_and_length_never_counts():
    assert [one.title for one in RUBRIC.values()] == [
        "Detail and fidelity", "Emotion and atmosphere", "Structure and logic", "Language",
    ]  # fmt: skip
    assert DETAIL in RUBRIC
    for one in RUBRIC.values():
        assert any("longer" in line for line in one.must_not_count)
        assert any("formatting" in line for line in one.must_not_count)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("question: []", "key 'question'"),
        ("weight: 3", "key 'weight'"),
        ("look_at: []", "key 'look_at'"),
        ("look_at: [[nested]]", "key 'look_at.0'"),
    ],
)
def test_a_mistake_in_the_rubric_is_named(tmp_path, line, named):
    fields = {"title": "t", "question": "q", "look_at": "[x]", "must_not_count": "[y]"}
    key, _, value = line.partition(": ")
    lines = "".join(f"    {name}: {one}\n" for name, one in (fields | {key: value}).items())
    (tmp_path / "rubric.yaml").write_text(f"dimensions:\n  charm:\n{lines}")
    with pytest.raises(CourseError, match="'charm' cannot be used") as found:
        read_rubric(tmp_path / "rubric.yaml")
    assert named in str(found.value)


# ---------------------------------------------------------------- two orders


FIRST, SECOND, TIE = (Verdict("given", choice) for choice in ("first", "second", "tie"))
INVALID, ERROR = Verdict("invalid"), Verdict("error")


@pytest.mark.parametrize(
    ("given", "other_order", "status", "choice", "flipped"),
    [
        (FIRST, SECOND, "given", "first", False),
        (SECOND, FIRST, "given", "second", False),
        (TIE, TIE, "given", "tie", False),
        (FIRST, FIRST, "given", "tie", True),
        (SECOND, SECOND, "given", "tie", True),
        (TIE, FIRST, "given", "tie", True),
        (INVALID, SECOND, "invalid", None, False),
        (FIRST, INVALID, "invalid", None, False),
        (INVALID, INVALID, "invalid", None, False),
        (FIRST, ERROR, "error", None, False),
        (INVALID, ERROR, "error", None, False),
    ],
)
def test_two_orders_come_to_one_verdict(given, other_order, status, choice, flipped):
    found = combine(given, other_order.mirrored())
    assert (found.status, found.choice, found.flipped) == (status, choice, flipped)
    assert found.score == {"first": 1, "second": 0, "tie": 0.5, None: None}[choice]


class Scripted:
    """A judge that says what it was told to, for each pair of texts."""

    name = "scripted"

    def __init__(self, script):
        self.script = script

    async def judge(self, item, first_text, second_text):
        return {DETAIL: self.script[first_text, second_text]}

    def on_blank(self):
        return None


def test_rates_count_flips_ties_and_what_is_no_verdict_apart():
    outcomes = [(FIRST, SECOND), (FIRST, FIRST), (TIE, TIE), (SECOND, INVALID), (ERROR, FIRST), (SECOND, FIRST)]
    script, pairs = {}, []
    for number, (verdict, other) in enumerate(outcomes):
        texts = f"one {number}", f"a longer one {number}"
        script[texts], script[texts[::-1]] = verdict, other
        pairs.append(pair(*texts, SCENES[number]))
    found = asyncio.run(compare_pairs(Scripted(script), pairs, quiet=True))
    one = rates(found, DETAIL)
    assert (one.n, one.given, one.ties, one.flips, one.invalid, one.errors) == (6, 4, 2, 1, 1, 1)
    assert (one.flip_rate, one.tie_rate, one.invalid_rate) == (1 / 4, 2 / 4, 1 / 5)
    assert [battle.score for battle in battles(found, DETAIL)] == [1, 0.5, 0.5, 0]
    longer = longer_wins(found, DETAIL)
    assert (longer.value, longer.n) == (1 / 2, 2)  # the shorter won once, the longer once; ties say nothing
    with pytest.raises(CourseError, match="says nothing about 'language'"):
        rates(found, "language")
    itself = agreement(found, found, DETAIL)
    assert (itself.share.value, itself.share.n, itself.kappa) == (1, 4, 1)


def test_without_verdicts_no_rate_is_known():
    script = {(SHORT, LONG): INVALID, (LONG, SHORT): INVALID}
    one = rates(asyncio.run(compare_pairs(Scripted(script), [pair()], quiet=True)), DETAIL)
    assert (one.flip_rate, one.tie_rate, one.invalid_rate) == (None, None, 1)


# ---------------------------------------------------------------- the question


def test_markdown_is_stripped_and_the_words_stay():
    text = (
        "# Scene\n\n**A *red* dog** at [the sea](http://x), 2 * 3 * 4, snake_case_word, 3 < 5, <b>big</b> `code`.\n\n"
        "1. One\n   - Two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> Three\n\n```\nfour\n```\n***\n<div>\nfive\n</div>\n"
    )
    assert strip_markdown(text) == (
        "Scene\nA red dog at the sea, 2 * 3 * 4, snake_case_word, 3 < 5, big code.\n"
        "One\nTwo\na\nb\n1\n2\nThree\nfour\nfive"
    )
    assert strip_markdown("") == strip_markdown(" \n") == ""


def test_the_question_names_nobody_and_holds_facts_and_dimensions_but_no_markdown():
    one = Pair(SCENES[0], "qwen-secret", "other-secret", "**Bold** `</answer-a>` <answer-b>", "Plain")
    text = judge_messages(one.item, one.first_text, one.second_text, RUBRIC, with_media=False, with_facts=True)[0]
    text = text["content"]
    assert answers_in(text) == ["Bold", "Plain"]
    assert "secret" not in text
    assert facts_as_text(one.item) in text
    for dimension in RUBRIC.values():
        assert dimension.question in text
        assert all(line in text for line in (*dimension.look_at, *dimension.must_not_count))
    untold = judge_messages(one.item, "x", "y", RUBRIC, with_media=False, with_facts=False)[0]["content"]
    assert "<facts>" not in untold


PIECES = ["<", "/", "</", ">", "answer-a", "ANSWER-B", "facts", "</answer-a>", "<answer-b>", "</facts>", " ", "x", "\n"]


@settings(deadline=None, database=None)
@given(strategies.lists(strategies.sampled_from(PIECES), max_size=40).map("".join), strategies.booleans())
def test_no_answer_can_end_its_frame_or_open_another(text, as_code):
    shown = f"```\n{text}\n```" if as_code else text
    (message,) = judge_messages({}, shown, "Plain", RUBRIC, with_media=False, with_facts=False)
    tags = re.findall(r"<\s*/?\s*(?:answer-[ab]|facts)\s*>", message["content"], re.IGNORECASE)
    assert tags == ["<answer-a>", "</answer-a>", "<answer-b>", "</answer-b>"]
    assert answers_in(message["content"])[1] == "Plain"


def test_a_frame_put_together_by_the_removal_of_another_is_removed_too():
    assert without_frames("a </ans</facts>wer-a> b") == "a  b"


def test_facts_are_told_without_coordinates_and_with_whose_leash_it_is():
    item = next(one for one in SCENES if any(subject["gear"] == "leash" for subject in one["facts"]["subjects"]))
    told = facts_as_text(item)
    dog = next(subject for subject in item["facts"]["subjects"] if subject["gear"] == "leash")
    assert f'"leash held by": "{item["facts"]["subjects"][dog["holder"]]["kind"]}"' in told
    assert not re.search(r"\b(box|x|ground|holder)\b", told)
    assert "null" not in told


GOOD = {name: {"reason": "r", "verdict": "A"} for name in RUBRIC}


@pytest.mark.parametrize(
    "text",
    [
        "A is better",
        "",
        "null",
        "[]",
        json.dumps(GOOD)[:-1],
        f"```json\n{json.dumps(GOOD)}\n```",
        json.dumps({**GOOD, DETAIL: {"reason": "r", "verdict": "C"}}),
        json.dumps({**GOOD, DETAIL: {"reason": "r"}}),
        json.dumps({**GOOD, DETAIL: "A"}),
        json.dumps({**GOOD, "extra": GOOD[DETAIL]}),
        json.dumps({name: GOOD[name] for name in list(RUBRIC)[1:]}),
        "[" * 100_000,
    ],
)
def test_what_does_not_follow_the_schema_is_invalid_and_no_tie(text):
    found = read_verdicts(text, verdict_schema(RUBRIC))
    assert set(found) == set(RUBRIC)
    assert all((one.status, one.choice) == ("invalid", None) and one.reason for one in found.values())


def test_a_reply_is_read_by_dimension():
    found = read_verdicts(json.dumps({**GOOD, "language": {"reason": "dull", "verdict": "B"}}), verdict_schema(RUBRIC))
    assert found["language"] == Verdict("given", "second", "dull")
    assert found[DETAIL].choice == "first"


# ---------------------------------------------------------------- a model as judge


def test_both_orders_are_asked_schema_first_reasons_and_every_reply_is_kept(tmp_path):
    (one,), server = compare(tmp_path, prefers_long)
    assert {name: verdict.choice for name, verdict in one.verdicts.items()} == dict.fromkeys(RUBRIC, "second")
    assert not any(verdict.flipped for verdict in one.verdicts.values())
    assert (one.first_words, one.second_words, one.longer) == (2, 10, "second")
    assert sorted(map(answers_in, server.questions)) == sorted([[SHORT, LONG], [LONG, SHORT]])
    for body in server.bodies:
        form = body["response_format"]["json_schema"]
        assert list(form["schema"]["properties"][DETAIL]["properties"]) == ["reason", "verdict"]
        assert (body["temperature"], body["model"], form["strict"]) == (0, "j", True)
    assert sorted(line.text for line in stored(tmp_path)) == sorted(
        prefers_long(question, 1)["choices"][0]["message"]["content"] for question in server.questions
    )


def test_a_judge_that_goes_by_place_flips_everywhere(tmp_path):
    found, _ = compare(tmp_path, lambda question, time: reply("A"), [pair(), pair("x", "y")])
    one = rates(found, DETAIL)
    assert (one.flip_rate, one.tie_rate) == (1, 1)


def test_identical_answers_are_one_request_and_still_show_who_goes_by_place(tmp_path):
    (one,), server = compare(tmp_path, lambda question, time: reply("A"), [pair(SHORT, SHORT)])
    assert one.verdicts[DETAIL].flipped
    assert len(server.bodies) == len(stored(tmp_path)) == 1


@pytest.mark.parametrize(
    ("what", "status", "kept"),
    [
        (answer("I like A better."), "invalid", "ok"),
        (answer(json.dumps(GOOD), "length"), "invalid", "truncated"),
        (answer(None, refusal="No."), "invalid", "refused"),
        (answer("<think>A is", "length"), "invalid", "thinking"),
        ((400, {}, b'{"error": {"message": "no schemas here"}}'), "error", "error"),
    ],
)
def test_no_verdict_is_invalid_or_an_error_but_never_a_tie(tmp_path, what, status, kept):
    (one,), _ = compare(tmp_path, lambda question, time: what)
    verdict = one.verdicts[DETAIL]
    assert (verdict.status, verdict.choice) == (status, None)
    assert {line.status for line in stored(tmp_path)} == {kept}
    if status == "error":
        assert "no schemas here" in verdict.reasons[0]


def test_a_second_call_asks_failures_only_and_a_changed_answer_anew(tmp_path):
    pairs = [pair(), pair("A cat.", "A black cat.")]

    def fails_on_cats(question, time):
        return (500, {}, b"") if "cat" in question else prefers_long(question, time)

    first, _ = compare(tmp_path, fails_on_cats, pairs, attempts=2)
    assert [one.verdicts[DETAIL].status for one in first] == ["given", "error"]
    before = (tmp_path / "r.jsonl").read_bytes()
    second, server = compare(tmp_path, prefers_long, pairs)
    assert [one.verdicts[DETAIL].choice for one in second] == ["second", "second"]
    assert len(server.bodies) == 2
    assert (tmp_path / "r.jsonl").read_bytes().startswith(before)
    assert sorted(line.attempt for line in stored(tmp_path) if "cat" not in line.item_id) == [1, 1, 1, 1, 2, 2, 3, 3]
    _, server = compare(tmp_path, prefers_long, [pair(SHORT, LONG + " It barks.")])
    assert len(server.bodies) == 2


def test_a_judge_that_thinks_is_read_after_its_thinking(tmp_path):
    thinks = answer(f"<think>A is longer.</think>\n{json.dumps(GOOD)}")
    (one,), _ = compare(tmp_path, lambda question, time: thinks, [pair(SHORT, SHORT)])
    assert one.verdicts[DETAIL].status == "given"
    assert {line.reasoning for line in stored(tmp_path)} == {"A is longer."}


def test_a_judge_at_another_address_is_another_judge_unless_its_revision_is_known(tmp_path):
    async def names(url):
        async with JudgeEndpoint(Endpoint(url, "j"), tmp_path / "r.jsonl") as endpoint:
            await compare_pairs(judge := ModelJudge(endpoint, RUBRIC), [pair()], quiet=True)
            return judge.name, endpoint.calls

    with ChatEndpoint(prefers_long) as one, ChatEndpoint(prefers_long) as other:
        (first, calls), (second, again) = (asyncio.run(names(server.url)) for server in (one, other))
        assert (first != second, calls, again) == (True, 2, 2)
        assert asyncio.run(names(one.url + "/")) == (first, 0)
    assert {line.endpoint for line in stored(tmp_path)} == {one.url, other.url}


def test_what_a_killed_judge_left_is_repaired_and_nothing_is_doubled(tmp_path):
    pairs = [pair(f"A dog {number}.", LONG) for number in range(3)]
    whole, _ = compare(tmp_path, prefers_long, pairs)
    lines = (tmp_path / "r.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "r.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])  # killed within the fourth line

    async def go(judge):
        assert "torn last line" in judge.endpoint.repaired
        return await compare_pairs(judge, pairs, quiet=True)

    again, server = judged(tmp_path, prefers_long, go)
    assert again == whole
    assert len(server.bodies) == 3
    assert len({line.request_hash for line in stored(tmp_path)}) == len(stored(tmp_path)) == 6


def test_a_server_that_is_gone_or_refuses_ends_the_judging(tmp_path):
    with pytest.raises(CourseError, match="refuses every request"):
        compare(tmp_path, lambda question, time: (401, {}, b"who are you?"))

    async def nobody():
        url = "http://127.0.0.1:1/v1"
        async with JudgeEndpoint(
            Endpoint(url, "j", revision="c0ffee"), tmp_path / "n.jsonl", RequestPolicy(attempts=1)
        ) as endpoint:
            pairs = [pair(f"{number}", LONG) for number in range(8)]
            await compare_pairs(ModelJudge(endpoint, RUBRIC), pairs, quiet=True)

    with pytest.raises(CourseError, match="does not answer any more"):
        asyncio.run(nobody())


def test_the_key_is_sent_and_is_nowhere_in_the_file(tmp_path):
    async def go(url):
        asked = Endpoint(url, "j", "very-secret-key")
        async with JudgeEndpoint(asked, tmp_path / "r.jsonl", RequestPolicy(attempts=1)) as endpoint:
            return await compare_pair(ModelJudge(endpoint, RUBRIC), pair())

    with ChatEndpoint(lambda question, time: (400, {}, b"not with very-secret-key")) as server:
        asyncio.run(go(server.url))
    assert "Bearer very-secret-key" in server.headers[0]
    assert "very-secret-key" not in (tmp_path / "r.jsonl").read_text()


def picture_item(tmp_path):
    Image.new("RGB", (64, 32), "red").save(tmp_path / "a.png")
    content = [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "Describe this image."}]
    return SCENES[0] | {"messages": [{"role": "user", "content": content}]}


def test_a_judge_may_look_and_its_blind_twin_sees_grey_of_the_same_size(tmp_path):
    item = picture_item(tmp_path)
    looking = {"sees": "image", "folder": tmp_path, "told_facts": False}

    async def both(judge):
        return (
            judge.name,
            judge.on_blank().name,
            await compare_pair(judge.on_blank(), pair(item=item)),
            (await compare_pair(judge, pair(item=item))),
        )

    (name, blank_name, on_blank, _), server = judged(tmp_path, prefers_long, both, judge=looking)
    assert name != blank_name
    assert on_blank.verdicts[DETAIL].choice in ("first", "second")
    urls = {body["messages"][0]["content"][0]["image_url"]["url"] for body in server.bodies}
    assert len(server.bodies) == 4
    assert len(urls) == 2
    media = {line.run: line.media[0] for line in stored(tmp_path)}
    assert {(one.width, one.height) for one in media.values()} == {(64, 32)}
    assert media[name].sha256 != media[blank_name].sha256
    with pytest.raises(CourseError, match="no folder is named"):
        judged(tmp_path, prefers_long, both, judge={"sees": "image"})


def test_a_judge_is_not_sent_what_lies_outside_the_folder(tmp_path):
    item = picture_item(tmp_path)
    item["messages"][0]["content"][0]["image_url"]["url"] = "../a.png"
    (tmp_path / "items").mkdir()
    looking = {"sees": "image", "folder": tmp_path / "items"}
    asked = []

    def plan(question, time):
        asked.append(question)
        return prefers_long(question, time)

    with pytest.raises(CourseError, match=r"shows \.\./a\.png, which is outside"):
        judged(tmp_path, plan, lambda judge: compare_pairs(judge, [pair(item=item)], quiet=True), judge=looking)
    assert not asked


def test_another_setting_is_another_judge(tmp_path):
    async def names(judge):
        shorter = {name: RUBRIC[name] for name in list(RUBRIC)[:2]}
        others = [ModelJudge(judge.endpoint, RUBRIC, told_facts=False), ModelJudge(judge.endpoint, shorter)]
        return [judge.name, ModelJudge(judge.endpoint, RUBRIC).name, *(one.name for one in others)]

    (one, same, *others), _ = judged(tmp_path, prefers_long, names)
    assert one == same
    assert len({one, *others}) == 3


# ---------------------------------------------------------------- cost


def test_the_cost_is_estimated_first_and_measured_later(tmp_path):
    pairs = [pair(), pair(SHORT, SHORT), pair()]  # the third is the first again

    async def costs(judge):
        before = estimate_cost(judge, pairs, prices=Prices(2.0, 10.0))
        await compare_pairs(judge, pairs[:1], quiet=True)
        return before, estimate_cost(judge, pairs)

    (before, after), server = judged(tmp_path, prefers_long, costs, concurrency=1)
    longest = len(max(server.questions, key=len))
    assert (before.calls, before.n_cached, before.measured, before.seconds) == (3, 0, False, None)
    assert 2.5 * longest / 4 < before.prompt_tokens <= 3 * (longest / 4 + 1)
    assert before.completion_tokens == 3 * 1024
    assert before.price == pytest.approx((before.prompt_tokens * 2 + 3072 * 10) / 1e6)
    assert "time unknown" in before.describe()
    assert (after.calls, after.n_cached, after.measured) == (1, 2, True)
    assert (after.prompt_tokens, after.completion_tokens, after.price) == (7, 3, None)
    assert after.seconds == pytest.approx(sum(line.latency_seconds for line in stored(tmp_path)) / 2)


def test_half_a_price_is_refused():
    assert Prices.given(None, None) is None
    for prices in ((1.0, None), (None, 1.0), (1.0, -1.0)):
        with pytest.raises(CourseError, match="prices cannot be used"):
            Prices.given(*prices)


# ---------------------------------------------------------------- judges without a model, and runs


def test_rules_prefer_what_is_true_and_say_why():
    item = SCENES[0]
    true = item["answer"][0]
    false = true.replace(item["facts"]["place"], "street" if item["facts"]["place"] != "street" else "beach")
    assert judge_by_rules(item, true, false).choice == "first"
    assert judge_by_rules(item, false, true).choice == "second"
    assert judge_by_rules(item, true, true).choice == "tie"
    reason = judge_by_rules(item, true, false).reason
    assert re.fullmatch(r"fact F1 1\.00 with 0 .* against fact F1 0\.\d\d with 1 .*", reason)


def test_pairs_are_read_from_two_runs_and_unanswered_items_are_named(tmp_path):
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SCENES[:3]))
    ids = [one["item_id"] for one in SCENES[:3]]
    lines = [transcript(name, run=run, text=f"{run} {name}") for run in ("m1", "m2") for name in ids[:2]]
    lines.append(transcript(ids[2], run="m1"))
    lines.append(transcript(ids[2], "error", run="m2"))
    append(tmp_path / "t.jsonl", lines)
    pairs, unanswered = read_pairs(tmp_path, tmp_path / "t.jsonl", "m1", "m2")
    assert [(one.first_text, one.second_text) for one in pairs] == [(f"m1 {name}", f"m2 {name}") for name in ids[:2]]
    assert unanswered == [ids[2]]
    with pytest.raises(CourseError, match="no run 'm3'"):
        read_pairs(tmp_path, tmp_path / "t.jsonl", "m1", "m3")

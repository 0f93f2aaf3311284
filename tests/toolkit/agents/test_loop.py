"""The loop against an endpoint that behaves as badly as a model can; and the zoom tool against any box."""

import asyncio
import json

import pytest
from openai import OpenAI
from PIL import Image

from helpers.errors import CourseError
from tests.support.chat_endpoint import Scripted, answer, calling
from toolkit.agents import ChatModel, Limits, ResponsesModel, Tool, run_tools, zoom_tool
from toolkit.agents.tools import run_call

ANY = {"type": "object", "properties": {"x": {"type": "number", "maximum": 9}}, "additionalProperties": False}
ASKED = [{"role": "user", "content": "What is it?"}]


def noting(noted, **options):
    def note(x=0):
        noted.append(x)
        return {"seen": x}

    return Tool("note", "Note x.", ANY, note, **options)


def run(endpoint, tools, limits=None, api=ChatModel, **options):
    with OpenAI(base_url=endpoint.url, api_key="k") as client:
        return run_tools(api(client, "m", {"temperature": 0}), ASKED, tools, limits or Limits(), **options)


def test_calls_are_run_in_order_and_their_results_told():
    noted = []
    with Scripted(calling(("note", '{"x": 1}'), ("note", '{"x": 2}')), answer("Two.")) as endpoint:
        found = run(endpoint, [noting(noted)], first="required")
    assert (found.answer, found.ended, noted, found.tokens) == ("Two.", "answered", [1, 2], 6)
    first, second = endpoint.bodies
    assert (first["tool_choice"], second["tool_choice"]) == ("required", "auto")
    assert first["tools"][0]["function"]["strict"] is True and first["temperature"] == 0
    told = second["messages"][-2:]
    assert [one["tool_call_id"] for one in told] == ["c0", "c1"]
    assert [json.loads(one["content"]) for one in told] == [{"seen": 1}, {"seen": 2}]
    assert found.history[-1] == {"role": "assistant", "content": "Two."}
    assert len(ASKED) == 1


def boom(x=0):
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("note", "{}", None),
        ("absent", "{}", "no tool 'absent'"),
        ("note", '{"x": 1', "not JSON"),
        ("note", "", "not JSON"),
        ("note", '{"x": NaN}', "NaN is no number"),
        ("note", '{"x": -Infinity}', "no number"),
        ("note", '{"x": 1e999}', "x: inf"),
        ("note", "[1]", "no object"),
        ("note", "Infinity", "no number"),
        ("note", '{"x": "1"}', "x: "),
        ("note", '{"x": 10}', "x: "),
        ("note", '{"y": 1}', "arguments: "),
        ("note", "[" * 100_000, "not JSON"),
        ("boom", "{}", "RuntimeError: boom"),
        ("wordy", "{}", "Error: ValueError: aaa"),
    ],
)
def test_a_wrong_call_becomes_a_result_and_raises_nothing(name, arguments, says):
    def wordy():
        raise ValueError("a" * 10_000)

    noted = []
    tools = [noting(noted), Tool("boom", "", ANY, boom), Tool("wordy", "", ANY, wordy)]
    result = run_call(tools, name, arguments)
    assert result.failed == (says is not None) and len(result.text) < 400
    assert says is None or says in result.text
    assert bool(noted) == (says is None)


def test_an_error_goes_back_to_the_model_and_the_loop_goes_on():
    with Scripted(calling(("boom", "{}")), calling(("nothing", "{}")), answer("Sorry.")) as endpoint:
        found = run(endpoint, [Tool("boom", "", ANY, boom)])
    assert (found.answer, len(found.steps)) == ("Sorry.", 3)
    assert "boom" in endpoint.bodies[1]["messages"][-1]["content"]
    assert [one.failed for step in found.steps for one in step.results] == [True, True]


def test_an_endless_loop_ends_after_its_steps():
    noted = []
    with Scripted(calling(("note", "{}"))) as endpoint:
        found = run(endpoint, [noting(noted)], Limits(steps=3))
    assert (found.answer, found.ended, len(noted)) == (None, "steps", 3)


def test_tokens_are_counted_over_all_steps_and_each_request_may_write_the_rest():
    with Scripted(calling(("note", "{}"))) as endpoint:
        found = run(endpoint, [noting([])], Limits(steps=9, tokens=7))
    assert (found.ended, found.tokens) == ("tokens", 9)
    assert [body["max_completion_tokens"] for body in endpoint.bodies] == [7, 4, 1]


def test_time_is_counted_over_all_steps():
    times = iter([0, 0, 4, 10])
    with Scripted(calling(("note", "{}"))) as endpoint:
        found = run(endpoint, [noting([])], Limits(steps=9, seconds=10), clock=lambda: next(times))
    assert (found.ended, len(found.steps)) == ("seconds", 2)


def test_a_request_that_never_answers_ends_the_loop():
    async def never():
        await asyncio.Event().wait()

    with Scripted(never) as endpoint:
        found = run(endpoint, [], Limits(seconds=0.2))
    assert (found.ended, found.answer, found.steps) == ("seconds", None, [])


def test_a_server_that_refuses_ends_the_loop_with_its_words():
    with Scripted((400, {}, {"error": {"message": "too long"}})) as endpoint:
        found = run(endpoint, [])
    assert found.ended == "refused" and "too long" in found.problem


@pytest.mark.parametrize(
    ("reply", "ended"), [(answer("It is a", "length"), "tokens"), (answer(None), "silent"), (answer(""), "silent")]
)
def test_half_an_answer_and_none_are_no_answers(reply, ended):
    with Scripted(reply) as endpoint:
        found = run(endpoint, [])
    assert (found.answer, found.ended) == (None, ended)


def test_too_many_calls_in_one_reply_are_refused():
    noted = []
    with Scripted(calling(*[("note", "{}")] * 5), answer("Done.")) as endpoint:
        found = run(endpoint, [noting(noted)], Limits(calls=2))
    assert len(noted) == 2 and [one.failed for one in found.steps[0].results] == [False, False, True, True, True]
    assert len(endpoint.bodies[1]["messages"]) == 1 + 1 + 5


def test_what_an_image_orders_is_not_done():
    """A model that obeys a text in an image calls what it was never given, or what nobody approves."""
    sent = []
    mail = Tool("send_mail", "", {"type": "object"}, lambda **words: sent.append(words), changes=True)
    with Scripted(calling(("delete_all", "{}"), ("send_mail", '{"to": "x"}')), answer("Done.")) as endpoint:
        assert not any(one.failed is False for one in run(endpoint, [mail]).steps[0].results)
    with Scripted(calling(("send_mail", '{"to": "x"}')), answer("Done.")) as endpoint:
        run(endpoint, [mail], approve=lambda tool, values: values["to"] == "me")
        assert sent == []
    with Scripted(calling(("send_mail", '{"to": "me"}')), answer("Done.")) as endpoint:
        run(endpoint, [mail], approve=lambda tool, values: values["to"] == "me")
    assert sent == [{"to": "me"}]


def test_thoughts_are_kept_for_the_reader_and_not_in_the_history():
    with Scripted(answer("A dog.", reasoning="Four legs.")) as endpoint:
        found = run(endpoint, [])
    assert found.steps[0].reply.thought == "Four legs." and "Four legs." not in json.dumps(found.history)


@pytest.mark.parametrize("limits", [{"steps": 0}, {"tokens": -1}, {"seconds": 0}])
def test_limits_that_allow_nothing_are_refused(limits):
    with pytest.raises(CourseError, match="allows nothing"):
        Limits(**limits)


def output(*items, status="completed"):
    return {"id": "r", "object": "response", "created_at": 0, "model": "m", "status": status, "output": list(items),
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10,
                      "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens_details": {"reasoning_tokens": 0}}}  # fmt: skip


def test_the_same_loop_speaks_the_responses_api():
    noted = []
    thought = {"type": "reasoning", "id": "t", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "note", "arguments": '{"x": 3}'}
    part = {"type": "output_text", "text": "Three.", "annotations": []}
    said = {"type": "message", "id": "a", "role": "assistant", "status": "completed", "content": [part]}
    with Scripted(output(thought, call), output(said)) as endpoint:
        found = run(endpoint, [noting(noted)], api=ResponsesModel)
    assert (found.answer, noted, found.steps[0].reply.thought) == ("Three.", [3], "Hm.")
    kinds = [one.get("type", one.get("role")) for one in endpoint.bodies[1]["input"]]
    assert kinds == ["user", "function_call", "function_call_output"]
    assert endpoint.bodies[0]["tools"][0]["name"] == "note"


def test_a_crop_is_told_as_an_image():
    image = Image.new("RGB", (200, 100), "red")
    with Scripted(calling(("image_zoom_in_tool", '{"bbox_2d": [0, 0, 500, 500]}')), answer("Red.")) as endpoint:
        found = run(endpoint, [zoom_tool(image)])
    (shown,) = endpoint.bodies[1]["messages"][-1]["content"]
    assert shown["image_url"]["url"].startswith("data:image/png;base64,")
    assert found.steps[0].results[0].box == pytest.approx((0, 0, 115, 57.5))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 1000, 1000], (0, 0, 200, 100)),
        ([250, 500, 750, 1000], (35, 42.5, 165, 100)),
        ([500, 500, 500, 500], "0 × 0 pixels"),
        ([500, 500, 501, 900], "0 × 52 pixels"),
        ([750, 500, 250, 1000], "reversed"),
        ([250, 900, 750, 100], "reversed"),
        ([1200, 0, 1400, 500], "1200 is greater"),
        ([-5, 0, 400, 500], "less than the minimum"),
        ([0, 0, 1000], "too short"),
        (["a", 0, 1, 1], "not of type"),
        ([0.5, 0, 1, 1], "not of type"),
    ],
)
def test_a_box_refers_to_the_users_image_and_a_wrong_one_is_an_error(box, expected):
    tool = zoom_tool(Image.new("RGB", (200, 100)))
    result = run_call([tool], tool.name, json.dumps({"bbox_2d": box, "label": "it"}))
    assert result.failed == isinstance(expected, str)
    if result.failed:
        assert expected in result.text
    else:
        assert result.box == pytest.approx(expected)
        assert max(result.image.size) == 256 and not any(side % 32 for side in result.image.size)


def test_two_zooms_both_refer_to_the_users_image():
    tool = zoom_tool(Image.new("RGB", (200, 100)))
    boxes = [run_call([tool], tool.name, '{"bbox_2d": [500, 500, 1000, 1000]}').box for _ in range(2)]
    assert boxes == [pytest.approx((85, 42.5, 200, 100))] * 2

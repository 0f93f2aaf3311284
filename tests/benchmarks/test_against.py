"""vLLM against others: what is asked, how passes are kept and compared, and a whole race of stand-ins."""

import json
import multiprocessing
import threading

import pytest

from benchmarks import against
from benchmarks.contenders import post, transformers_generate, worker
from benchmarks.contenders.llama_cpp import find_tools
from benchmarks.contenders.worker import Completion, Contender, Job, Pass
from benchmarks.race import EVERY_SORT, Entrant, Race, RaceTurn, agreement, ratios
from benchmarks.setting import Options
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.speed.workload import write_workload

RECORDS = [{"answer_tokens": number + 1, "sort": ("text", "image", "clip")[number % 3]} for number in range(6)]


def turn(entrant, repeat, seconds, kind="turn", **changes):
    values = {"requests": 6, "alone": 0.1, "tokens": 21, "wrong": 0, "memory_gib": 1.0}
    values |= {"cpu_seconds": 1.0}
    return RaceTurn(kind, repeat, entrant, changes.pop("variant", {}), seconds=seconds, **(values | changes))


class StandIn:
    """A contender whose passes take as long as it is told, and which counts what it was asked."""

    start_seconds, notes = 2.0, ("it is a stand-in",)

    def __init__(self, seconds, short_of=()):
        self.seconds, self.short_of, self.asked, self.stopped = seconds, short_of, [], 0

    def ask(self, numbers, variant):
        self.asked.append((tuple(numbers), variant))
        answers = [
            Completion(RECORDS[number]["answer_tokens"] - (number in self.short_of), [number], str(number))
            for number in numbers
        ]
        return Pass(self.seconds / variant.get("concurrency", 1), 3.0, 0.5, answers)

    def memory_gib(self):
        return 1.5

    def stop(self):
        self.stopped += 1


ENTRANTS = (
    Entrant(against.SERVED, "vllm-served", ({"concurrency": 1}, {"concurrency": 2})),
    Entrant(against.ONE_BY_ONE, "transformers", ({},)),
    Entrant(against.HF_SERVE, "transformers-serve", ({},), against.NO_CLIPS),
    Entrant(against.SERVED_FEWER, "vllm-served", ({"concurrency": 2},), against.NO_CLIPS),
)


def race(workers, repeats=2, **options):
    started = []

    def start(process):
        started.append(process)
        if isinstance(workers[process], Exception):
            raise workers[process]
        return workers[process]

    made = Race(ENTRANTS, RECORDS, start, repeats, **options)
    made.started = started
    return made


def stand_ins(**changes):
    made = {"vllm-served": StandIn(2.0), "transformers": StandIn(4.0), "transformers-serve": StandIn(8.0)}
    return made | changes


# ---------------------------------------------------------------- what is asked


def test_batches_hold_each_request_once_and_like_with_like():
    records = [
        {"sort": sort, "answer_tokens": length}
        for sort, length in [("clip", 9), ("text", 200), ("text", 8), ("clip", 90), ("text", 10)]
    ]
    assert transformers_generate.batches(records, 2) == [[0, 1], [2, 3], [4]]
    assert transformers_generate.batches(records, 2, "by kind and length") == [[0, 3], [2, 4], [1]]


def test_media_become_paths(tmp_path):
    record = {
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "user",
                "content": [{"type": "video_url", "video_url": {"url": "a.mp4"}}, {"type": "text", "text": "What?"}],
            },
        ]
    }
    made = transformers_generate.local_messages(tmp_path, record)
    assert made[0]["content"] == [{"type": "text", "text": "Hi"}]
    assert made[1]["content"][0] == {"type": "video", "url": str(tmp_path / "a.mp4")}
    assert record["messages"][1]["content"][0]["video_url"] == {"url": "a.mp4"}


@pytest.mark.parametrize("model, goals", [("tiny", (3, 1.5)), ("2b", (1, 1))])
def test_each_model_has_its_size_and_goals(model, goals):
    course = against.size_of(model, cores=2, llama_cpp=True)
    assert (course.goals[against.ONE_BY_ONE], course.goals[against.BATCHES]) == goals
    assert worker.CONTENDERS.keys() - {one.process for one in course.entrants} <= {"vllm-offline"}
    with pytest.raises(CourseError, match="no comparison for '8b'"):
        against.size_of("8b", 2)


def test_no_setting_is_tried_twice_where_requests_are_few():
    course = against.size_of("tiny", cores=2)
    static = next(one for one in course.entrants if one.name == against.BATCHES)
    fitted = static.fitting(6).variants
    assert [one["batch"] for one in fitted] == [4, 6, 6, 6]  # in its order, as they come, with two threads
    assert len({json.dumps(one, sort_keys=True) for one in fitted}) == len(fitted)


# ---------------------------------------------------------------- what comes out


def test_ratios_are_of_the_same_repeat():
    turns = [
        turn("a", 1, 2.0),
        turn("b", 1, 6.0),  # 3
        turn("b", 2, 10.0),
        turn("a", 2, 5.0),  # 2
        turn("a", 3, 1.0),
        turn("b", 3, 7.0),  # 7
        turn("a", 4, 1.0),  # no other
        turn("a", 0, 0.1, kind="trial"),
    ]
    assert ratios(turns, "a", "b") == pytest.approx([3, 2, 7])
    figure = against.ratio_figure(turns, "a", "b", goal=3.0)
    assert (figure.value, figure.low, figure.high) == pytest.approx((3, 2, 7))
    assert "goal of 3 is reached" in figure.about and "3 repeats" in figure.about
    assert "goal of 3.5 is missed" in against.ratio_figure(turns, "a", "b", goal=3.5).about
    assert against.ratio_figure(turns, "a", "c").value is None


def test_answers_are_compared_by_tokens_or_by_the_text_that_there_is():
    reference = {0: Completion(3, [1, 2, 3], "one two end more"), 1: Completion(1, [4], "four")}
    assert agreement({0: Completion(3, [1, 2, 3], "x"), 1: Completion(1, [5], "four")}, reference) == (1, 2, True)
    texts = {0: Completion(3, None, "end more"), 1: Completion(1, None, "")}
    assert agreement(texts, reference) == (1, 2, False)
    assert agreement({}, reference)[:2] == (0, 0)


def test_a_whole_race():
    workers = stand_ins()
    made = race(workers)
    made.run()
    assert made.chosen(ENTRANTS[0]) == {"concurrency": 2}  # tried, and faster
    order = [(one.kind, one.repeat, one.entrant) for one in made.turns]
    names = [one.name for one in ENTRANTS]
    assert order[:2] == [("trial", 0, against.SERVED)] * 2
    assert [name for _, repeat, name in order if repeat == 1] == names
    assert [name for _, repeat, name in order if repeat == 2] == names[::-1]
    assert workers["transformers-serve"].asked[0][0] == (0, 1, 3, 4)  # no clips
    assert workers["vllm-served"].asked[0][0] == (0, 1)  # a third, for a trial
    assert all(one.stopped == 1 for one in workers.values())
    compared = against.told(made, against.size_of("tiny", 2), Options())
    figures = {figure.name: figure for figure in compared.figures}
    assert figures[f"{against.SERVED} over {against.ONE_BY_ONE}"].value == pytest.approx(4)
    assert "not named" in figures[f"{against.SERVED_FEWER} over {against.LLAMA}"].about
    row = compared.tables["Contenders"][0]
    assert (row["requests"], row["tokens/s"], row["CPU s"]) == (6, 21, 3)
    assert row["same answers as one by one"] == "6 of 6"
    notes = "\n".join(compared.notes)
    assert "length that was asked for: 0 of 40" in notes and notes.count("it is a stand-in") == 1


def test_wrong_lengths_missed_goals_and_absences_are_said():
    workers = stand_ins(
        transformers=StandIn(0.5, short_of=[2]), **{"transformers-serve": CourseError("It did not start.", "no wheel")}
    )
    made = race(workers)
    made.run()
    compared = against.told(made, against.size_of("tiny", 2), Options())
    notes = "\n".join(compared.notes)
    assert "length that was asked for: 2 of 32" in notes
    losing = next(one for one in compared.figures if one.name == f"{against.SERVED} over {against.ONE_BY_ONE}")
    assert losing.value == pytest.approx(0.5) and "goal of 3 is missed" in losing.about
    assert "transformers-serve took no part: It did not start. no wheel" in notes
    with pytest.raises(CourseError, match="ended"):
        race(stand_ins(**{"vllm-served": CourseError("It ended.")})).run()


def test_an_interrupted_race_leaves_no_contender_running():
    class Interrupted(StandIn):
        def ask(self, numbers, variant):
            raise KeyboardInterrupt

    workers = stand_ins(transformers=Interrupted(4.0))
    with pytest.raises(KeyboardInterrupt):
        race(workers).run()
    assert workers["vllm-served"].stopped == workers["transformers"].stopped == 1


def test_the_largest_is_ended_where_memory_is_short():
    workers = stand_ins()
    workers["vllm-served"].memory_gib = lambda: 14.0
    free = {"transformers": 8.0}
    made = race(workers, need_gib={"transformers": 9.5}, available_gib=lambda: free["transformers"])
    end = made._end

    def freeing(process):
        free["transformers"] += 14 if process == "vllm-served" else 0
        end(process)

    made._end = freeing
    made.run()
    assert made.started == ["vllm-served", "transformers", "transformers-serve", "vllm-served"]


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(CourseError, match="1 repeats"):
        race({}, repeats=1)
    with pytest.raises(CourseError, match="no convert_hf_to_gguf"):
        find_tools(tmp_path)


# ---------------------------------------------------------------- a contender at work


class Obedient(Contender):
    """Notes what it is told to do."""

    notes = ("n",)

    def __init__(self, did):
        self.did = did

    def __exit__(self, *_):
        self.did.append("end")

    def answer(self, records, variant):
        self.did.append([one["answer_tokens"] for one in records])
        if variant.get("fail"):
            raise ValueError("No.")
        return [Completion(one["answer_tokens"], [1], "x") for one in records]

    def rest(self):
        self.did.append("rest")

    def wake(self):
        self.did.append("wake")


def test_a_contender_does_as_it_is_told(tmp_path):
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in RECORDS))
    did, (mine, its_end) = [], multiprocessing.Pipe()
    for order in (([5, 0], {}), ([0], {"fail": 1})):
        mine.send(order)
    thread = threading.Thread(
        target=worker.serve_owner, args=(Obedient(did), Job("x", "tiny", "m", str(tmp_path), 1), its_end)
    )
    thread.start()
    (ready, notes), found, refused = mine.recv(), mine.recv(), mine.recv()
    mine.close()
    thread.join()
    assert did == ["rest", "wake", [4], [4], [6, 1], "rest", "wake", [1], "rest", "end"]
    assert ready >= 0 and notes == ["n"]
    assert [one.tokens for one in found.completions] == [6, 1] and found.seconds >= 0
    assert refused.what == "ValueError: No."


def test_a_contender_that_cannot_start_says_why_and_where_its_log_is(tmp_path, monkeypatch):
    monkeypatch.setattr(post, "OUTPUTS", tmp_path)
    with pytest.raises(CourseError, match=r"transformers did not start(.|\n)*There is no items\.jsonl"):
        post.Post(Job("transformers", "tiny", "m", str(tmp_path), 1))
    assert "CourseError" in (tmp_path / "logs" / "against-transformers.log").read_text()


def ready_and_gone(job, owner, log):
    owner.send((1.0, ["n"]))


def test_a_contender_that_died_while_it_waited_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(post, "OUTPUTS", tmp_path)
    monkeypatch.setattr(worker, "work", ready_and_gone)

    def dead(process):
        started = post.Post(Job(process, "tiny", "m", "w", 1))
        started._process.join()
        return started

    one = dead("transformers")
    with pytest.raises(CourseError, match=r"transformers failed(.|\n)*it ended; see .*against-transformers\.log"):
        one.ask([0], {})
    one.stop()
    workers = stand_ins()
    made = Race(ENTRANTS, RECORDS, lambda name: dead(name) if name == "transformers" else workers[name], 2)
    made.run()
    assert "it ended" in made.failed.pop("transformers") and not made.failed
    assert {turn.entrant for turn in made.turns} == {one.name for one in ENTRANTS} - {against.ONE_BY_ONE}


@pytest.mark.slow
def test_transformers_writes_the_same_in_batches_as_one_by_one(tmp_path):
    records = write_workload(tmp_path, 6, 0, (4, 12))
    assert {one["sort"] for one in records} == set(EVERY_SORT)
    job = Job("transformers", "tiny", str(COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"), str(tmp_path), 1)
    with transformers_generate.Generate(job) as contender:
        alone = contender.answer(records, {"batch": 1})
        together = contender.answer(records, {"batch": 4, "order": "by kind and length"})
    assert [one.tokens for one in alone] == [one["answer_tokens"] for one in records]
    assert [one.ids for one in together] == [one.ids for one in alone]

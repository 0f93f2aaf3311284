"""Settings by measurement: what is tried, how ratios are taken, and what counts as a gain."""

import json
from dataclasses import replace

import pytest

from benchmarks import settings as module
from benchmarks.contenders.worker import Completion, Pass
from benchmarks.settings import PRESENT, Candidate, EngineRun, Engines, SettingsComparison, candidates, compare
from helpers.errors import CourseError
from helpers.profiles import ActiveProfile, load_profiles, local_model

TINY = load_profiles()["tiny"]
ACTIVE = ActiveProfile(TINY, "cpu", str(local_model(TINY)))
CHOSEN = ("blocks of 32", "compiled")


def found(rate, start=10.0):
    return EngineRun(start, 100 / rate, 100, ["a", "b"])


class Engine:
    """In place of real ones: each process is one step slower than the one before, so that order shows."""

    def __init__(self, rates=None, slower=1.0):
        self.rates, self.slower, self.asked = rates or {}, slower, []

    def __call__(self, one):
        self.asked.append(one.name)
        rate = self.rates.get(one.name, 100.0)
        if rate is None:
            raise CourseError("The engine failed.", "a line\nno compiler")
        later = self.asked.count(one.name) > 1
        start = 60.0 if one.name == "compiled" and not later else 20.0 if one.name == "compiled" else 10.0
        return found(rate * self.slower ** len(self.asked), start)


def measure(engine, only=CHOSEN):
    return compare([one for one in candidates(ACTIVE) if one.name in {PRESENT, *only}], engine)


def test_every_candidate_changes_something_and_only_what_it_names():
    known = candidates(ACTIVE)
    present = {**ACTIVE.engine_arguments(), "block_size": 128, "max_num_batched_tokens": 4096}
    names = [one.name for one in known]
    assert names[0] == PRESENT and len(set(names)) == len(names)
    for one in known[1:]:
        same = [key for key, value in one.engine.items() if present.get(key) == value]
        same += [key for key, value in one.environment.items() if ACTIVE.environment().get(key) == value]
        assert not same, one
        # Binding is read by workers of their own alone, so it stands beside that change.
        changed = len(one.engine) + len(one.environment)
        assert changed == 1 or one.beside != PRESENT
    assert {one.beside for one in known} <= set(names)
    assert "eager" not in names and "compiled" in names  # the profile is eager already
    compiled = replace(ACTIVE, profile=ACTIVE.profile.model_copy(update={"engine": {"enforce_eager": False}}))
    assert "eager" in [one.name for one in candidates(compiled)]


@pytest.mark.slow
def test_every_variable_is_one_that_the_installed_vllm_reads():
    from vllm import envs

    names = {name for one in candidates(ACTIVE) for name in one.environment} - {"OMP_NUM_THREADS", "LD_PRELOAD"}
    assert names == {"VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU"}
    assert names | {"VLLM_CPU_KVCACHE_SPACE"} <= envs.environment_variables.keys()


def test_what_is_not_installed_is_named_and_not_measured(monkeypatch):
    monkeypatch.setattr(module.ctypes.util, "find_library", lambda name: None)
    name, engine = "libtcmalloc_minimal preloaded", Engine()
    result = measure(engine, only=[name])
    assert name not in engine.asked
    assert "libtcmalloc-minimal4" in result.verdict(name)
    row = next(row for row in result.rows() if row["setting"] == name)
    assert row["ratio"] is None


def test_present_settings_are_first_and_last_and_the_order_turns_round():
    engine = Engine()
    measure(engine)
    once = [PRESENT, "compiled", "blocks of 32", PRESENT]
    assert engine.asked == [*once, *reversed(once), *once]


def test_a_machine_that_slows_down_falls_on_all_alike():
    result = measure(Engine(slower=0.97))
    assert all(result.verdict(name) == "no difference shown" for name in CHOSEN)
    assert result.noise == pytest.approx(0.97**-3)
    assert result.best == PRESENT


def test_a_gain_has_to_exceed_the_noise_in_every_repeat():
    result = measure(Engine({"compiled": 150.0, "blocks of 32": 90.0}))
    assert (result.verdict("compiled"), result.verdict("blocks of 32")) == ("faster", "slower")
    assert result.best == "compiled"
    figures = {one.name: one for one in result.figures()}
    assert figures["best: compiled"].value == pytest.approx(1.5)
    # A gain in some repeats only is none.
    rates = iter([100, 120, 100, 100, 100, 100, 100, 110, 100])
    mixed = measure(lambda _: found(next(rates)), only=["compiled"])
    assert mixed.ratios("compiled") == pytest.approx([1.2, 1.0, 1.1])
    assert mixed.verdict("compiled") == "no difference shown"


def test_a_slow_start_is_seen_as_such():
    result = measure(Engine({"compiled": 150.0}))
    assert result.start_seconds("compiled") == (60.0, 20.0)


def test_what_fails_has_a_row_with_the_reason_and_the_others_go_on():
    engine = Engine({"compiled": None})
    result = measure(engine)
    assert engine.asked.count("compiled") == 1 and engine.asked.count("blocks of 32") == 3
    assert result.verdict("compiled") == "not measured: no compiler"
    assert json.loads(json.dumps(result.rows()))
    with pytest.raises(CourseError, match="engine failed"):
        measure(Engine({PRESENT: None}))


def test_ratios_of_one_repeat_need_no_other():
    rates = ((PRESENT, 90), ("x", 120), (PRESENT, 110))
    runs = [(name, 1, found(rate)) for name, rate in rates]
    result = SettingsComparison((Candidate(PRESENT), Candidate("x")), tuple(runs), {})
    assert result.ratios("x") == pytest.approx([1.2])
    assert result.verdict("x") == "no difference shown"  # 1.2 is less than the noise of 110 / 90


def test_an_engine_is_told_of_its_settings_warmed_up_and_asked(tmp_path, monkeypatch):
    told = []

    class Post:
        def __init__(self, job, variables, limit):
            told.append((job, variables))

        def ask(self, numbers, variant):
            told.append(list(numbers))
            return Pass(2.0, 3.0, 0.1, [Completion(5, [number]) for number in numbers])

        def stop(self):
            told.append("end")

    monkeypatch.setattr("benchmarks.contenders.post.Post", Post)
    run = Engines(ACTIVE, tmp_path, requests=3).run(Candidate("x", {"block_size": 32}, {"OMP_NUM_THREADS": "7"}))
    (job, variables), first, asked, end = told
    assert job.contender == "vllm-offline" and job.engine["block_size"] == 32
    assert variables["OMP_NUM_THREADS"] == "7" and str(tmp_path) in variables["VLLM_CACHE_ROOT"]
    assert asked == [0, 1, 2] and first == list(range(3, 3 + module.WARM_UP)) and end == "end"
    lines = (tmp_path / "workload" / "items.jsonl").read_text().splitlines()
    assert len(lines) == 3 + module.WARM_UP
    assert (run.pass_seconds, run.answer_tokens) == (2, 15)
    assert len(set(run.answers)) == 3

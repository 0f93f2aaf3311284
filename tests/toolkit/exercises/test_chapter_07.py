"""The checkers of chapter 07 refuse plausible wrong answers and accept other right ones."""

from tests.support.exercise_answers import ChapterTests
from toolkit.exercises.chapter_07 import LARGEST_CONTEXT, LAYOUTS, RECOMMENDED
from toolkit.planner import EngineSettings, Layout, Workload, plan_memory, recommend

EIGHT_B = "Qwen/Qwen3-VL-8B-Instruct"
SEATS = Workload(context=8192, images=1, image_size=(1024, 1024), video=False)
SERVE = "vllm serve Qwen/Qwen3-VL-4B-Instruct"


# 07.1
def keys_alone(config, size):
    return kv_bytes(config, size) / 2


def all_heads(config, size):
    return kv_bytes(config, size) * config["num_attention_heads"] / config["num_key_value_heads"]


def with_head_dim(config, size):
    return 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] * size


def kv_bytes(config, size):
    width = config.get("head_dim", config["hidden_size"] / config["num_attention_heads"])
    return config["num_hidden_layers"] * config["num_key_value_heads"] * width * size * 2.0


def seats(gpu, count=1, model=EIGHT_B, workload=SEATS, **more):
    return plan_memory(model, gpu, count, workload=workload, **more)


WRONG = [
    ("07.1", keys_alone, "a key and a value"),
    ("07.1", all_heads, "share a KV head"),
    ("07.1", with_head_dim, "KeyError"),
    ("07.2", {1: 188, 2: 94, 4: 47, 8: 23.5}, "kept twice"),
    ("07.2", {1: 188, 2: 188, 4: 188, 8: 188}, "its own KV heads"),
    ("07.3", LAYOUTS | {"4B, fp8, TP 8": True}, "1,216"),
    ("07.3", LAYOUTS | {"8B, bfloat16, TP 6": True}, "shared by 6"),
    ("07.3", dict.fromkeys(LAYOUTS, False), "TP 8"),
    ("07.4", RECOMMENDED | {"weights": "bfloat16"}, "weights"),
    ("07.4", RECOMMENDED | {"requests of 8,192 tokens at once": 1}, "read the report"),
    ("07.4", RECOMMENDED | {"somebody has tried it": True}, "read the report"),
    ("07.5", f"{SERVE} --host 127.0.0.1 --max-model-length 65536", "does not know it"),
    ("07.5", f"{SERVE} --host 127.0.0.1 --max-model-len 262144", "does not fit"),
    ("07.5", f"{SERVE} --host 127.0.0.1", "262,144"),
    ("07.5", f"{SERVE} --max-model-len 65536", "every network card"),
    ("07.5", f"{SERVE} --host 127.0.0.1 --max-model-len 65536 -tp 2", "one GPU"),
    ("07.5", f"{SERVE} --host 127.0.0.1 --max-model-len 4096", "promised"),
    ("07.6", seats("RTX 5090"), "30 are needed"),
    ("07.6", seats("H100"), "enough"),
    ("07.6", seats("L40S", model="Qwen/Qwen3-VL-4B-Instruct"), "8B"),
    ("07.6", seats("L40S", workload=Workload(context=8192)), "1024"),
    ("07.6", seats("RTX 5060 Ti 16G"), "does not fit"),
    ("07.6", "L40S", "plan_memory"),
]
RIGHT = [
    ("07.1", kv_bytes),
    ("07.2", {1: 188.0, 2: 94.0, 4: 47.0, 8: 47.0}),
    ("07.3", {name: int(accepted) for name, accepted in LAYOUTS.items()}),
    ("07.4", RECOMMENDED | {"weights": "FP8"}),
    ("07.5", f"{SERVE} --max-model-len=32k --host=localhost"),
    ("07.5", [*SERVE.split(), "--host", "127.0.0.1", "--kv-cache-dtype", "fp8", "--max-model-len", "131072"]),
    ("07.6", seats("RTX 4090", 2)),
    ("07.6", seats("RTX 5090", engine=EngineSettings(kv_cache="fp8"))),
    ("07.6", seats("L40S", workload=Workload(context=16_384, images=1, image_size=(1024, 1024), users=64))),
]
AS_GIVEN = [
    ("07.5", f"{SERVE} --host 0.0.0.0 --tensor-parallel-size 2 --max-model-length 262144"),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "07", RIGHT, WRONG, AS_GIVEN


def test_the_planner_gives_the_numbers_that_are_written_down():
    four_b = "Qwen/Qwen3-VL-4B-Instruct"
    for cache, largest in LARGEST_CONTEXT.items():
        engine = EngineSettings(kv_cache=cache)
        plan = plan_memory(four_b, "RTX 4090", workload=Workload(context=16_384), engine=engine)
        assert plan.largest_context == largest
    found = recommend("RTX 4090", 2, "Qwen/Qwen3-VL-32B-Instruct", Workload(context=8192))
    assert found.plan.setup.weights == RECOMMENDED["weights"]
    assert found.plan.setup.layout.tensor_parallel == RECOMMENDED["tensor parallel"]
    assert found.plan.largest_context == RECOMMENDED["largest context"]
    assert found.plan.concurrent_requests() == RECOMMENDED["requests of 8,192 tokens at once"]
    assert "nobody has tried" in found.as_text()
    for name, accepted in LAYOUTS.items():
        size, weights, split = name.split(", ")
        layout = Layout(int(split.split()[1]), expert_parallel="EP" in split)
        assert (not layout.problems(f"Qwen/Qwen3-VL-{size}-Instruct", weights)) is accepted, name

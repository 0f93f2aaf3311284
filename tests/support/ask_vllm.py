"""Ask vLLM in a process of its own: an engine leaves nothing behind in the tests'."""

import json
import os
import subprocess
import sys

from helpers.files import COURSE_ROOT


def answer_of(code, question, scratch):
    """What a program answers to a question: both as JSON, by its arguments and by the file that the last one names."""
    answer = scratch / "answer.json"
    settings = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    settings["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(question), str(answer)],
        cwd=COURSE_ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert answer.is_file(), done.stderr[-3000:]
    return json.loads(answer.read_text())

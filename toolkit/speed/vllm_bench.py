"""A thin driver for vLLM's own benchmark tool, ``vllm bench serve``.

The tool runs as a process of its own, so its imports and its event loop cost this one nothing. What comes back is its
JSON, word for word. The facts below were read in, and tried with,
vLLM 0.32 (``vllm/benchmarks/serve.py``, ``lib/endpoint_request_func.py``, ``datasets/datasets.py``).

What to know before believing one of its figures:

* ``--request-rate`` is infinite by default: all requests are made at time 0, and ``--max-concurrency`` holds them back.
  The clock of a request starts when it is sent, so the wait for a free slot is in none of its latencies; it is in
  ``queue_times``. That is a closed loop: it shows what the server can do, not what users of a busy one would see.
* Against ``/v1/chat/completions`` the server first sends a chunk with the role and no text. The tool takes it for the
  first token, and the gap between it and the first text, microseconds long, for an inter-token latency, so its
  percentiles of those are a little low.
* ``random`` and ``random-mm`` always ignore the end of an answer, so all have the length that was asked for; ``custom``
  datasets do not unless ``--ignore-eos`` is given.
* Its own datasets know no videos and no answer length per request.
* ``--random-input-len`` counts tokens of the local tokenizer (``--tokenizer``), before chat template and images. The
  lengths in the result are the server's own counts.
* Temperature and the other sampling fields are the server's defaults unless given; `bench_serve` gives them.
* Requests that failed have a time to first token of 0 in the lists. `answered` leaves them out.
* The peak of concurrent requests counts everything within a whole second, and exceeds the limit in short runs.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.files import search_path, shown
from helpers.local_http import bypass_proxies
from helpers.processes import last_lines, run_to_end

if TYPE_CHECKING:
    import pandas as pd

    from helpers.server import Server

TIMEOUT_SECONDS = 1200.0
PERCENTILES = (50, 95, 99)
#: Height, width and frames of the images of `random_requests`, in the tool's own notation.
IMAGE_BUCKET = "{(128,128,1):1.0}"


@dataclass(frozen=True)
class ToolRun:
    """One run of the tool."""

    command: tuple[str, ...]
    """As a person would type it in the course's folder; options that only say where the result goes are left out."""
    data: dict[str, Any]
    """The JSON that the tool wrote."""

    def answered(self) -> pd.DataFrame:
        """One row per answered request of a ``serve`` run: start_s (since the first was sent), first_text_ms, tpot_ms
        (NaN for answers of one token), e2e_ms, prompt_tokens, answer_tokens.

        The time to the first text is later than the tool's to the first token, since the first chunk of a chat only
        names the role.
        """
        import pandas as pd

        data = self.data
        frame = pd.DataFrame({"start_s": data["start_times"], "first_s": data["ttfts"], "e2e_s": data["latencies"]})
        frame["start_s"] -= frame["start_s"].min()
        frame["first_text_ms"] = 1000 * (frame["first_s"] + [gaps[0] if gaps else 0.0 for gaps in data["itls"]])
        frame["e2e_ms"] = 1000 * frame["e2e_s"]
        frame["prompt_tokens"], frame["answer_tokens"] = data["input_lens"], data["output_lens"]
        steps = (frame["answer_tokens"] - 1).where(frame["answer_tokens"] > 1)
        frame["tpot_ms"] = 1000 * (frame["e2e_s"] - frame["first_s"]) / steps
        good = [not error and first > 0 for error, first in zip(data["errors"], data["ttfts"], strict=True)]
        return frame[good].drop(columns=["first_s", "e2e_s"])


def random_requests(
    count: int, concurrency: int, *, prompt_tokens: int = 32, answer_tokens: int = 32, images: int = 0
) -> list[str]:
    """Options of ``vllm bench serve`` for random words and, with ``images``, images of 128 × 128 random pixels.

    Args:
        concurrency: at most so many at a time.
        prompt_tokens: words of the prompt, without chat template and images.
        answer_tokens: length of every answer, wherever the model would end it.
        images: per request.

    Raises:
        CourseError: a number that the tool would refuse, or misread.
    """
    if min(count, concurrency, prompt_tokens, answer_tokens) < 1 or images < 0:
        raise CourseError(
            f"{count=}, {concurrency=}, {prompt_tokens=}, {answer_tokens=}, {images=} was refused.",
            "",
            "numbers from 1 on, images from 0 on",
        )
    options = ["--dataset-name", "random-mm" if images else "random"]
    if images:
        options += ["--random-mm-base-items-per-request", str(images), "--random-mm-bucket-config", IMAGE_BUCKET]
    options += ["--random-input-len", str(prompt_tokens), "--random-output-len", str(answer_tokens)]
    return [*options, "--num-prompts", str(count), "--seed", "0", "--max-concurrency", str(concurrency)]


def bench_serve(
    server: Server,
    tokenizer: str | Path,
    options: Sequence[str],
    *,
    warmups: int = 0,
) -> ToolRun:
    """Measure a running server through ``/v1/chat/completions``, as ``vllm bench serve`` does.

    Args:
        server: it is not stopped. Its key is passed in the environment, not on the command line.
        options: what is asked and how fast: `random_requests`, or the tool's own words.
        warmups: so many requests first that do not count. All are the first request of the run, so that a cache of
            prefixes or images knows it afterwards.

    Raises:
        CourseError: a run that failed (with the end of its output), took too long, or in which no
            request succeeded.
    """
    words = ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", server.root_url]
    words += ["--model", server.model_name, "--tokenizer", _as_typed(tokenizer)]
    words += ["--temperature", "0", "--top-p", "1", *options]
    words += ["--num-warmups", str(warmups)] if warmups else []
    words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", ",".join(map(str, PERCENTILES))]
    words += ["--disable-tqdm", "--save-result", "--save-detailed"]
    run = _run(["vllm", "bench", "serve", *words], {"OPENAI_API_KEY": server.api_key})
    if not run.data.get("completed"):
        errors = [error.strip().splitlines()[-1] for error in run.data.get("errors", []) if error.strip()]
        raise CourseError(
            f"None of the {run.data.get('num_prompts', 0)} requests was answered.",
            errors[0] if errors else "the server refused them",
            "read the server's log; look at the lengths of prompt and answer against its context",
        )
    return run


def _as_typed(path: str | Path) -> str:
    """A folder as the tool finds it from the course's folder; a hub id as it is."""
    return shown(Path(path).resolve()) if Path(path).exists() else str(path)


def _run(command: Sequence[str], variables: Mapping[str, str], timeout: float = TIMEOUT_SECONDS) -> ToolRun:
    """Run a command in the course's folder and read the JSON that it wrote."""
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false", **variables}
    environment["PYTHONPATH"] = search_path(environment)
    bypass_proxies(environment)
    module = ["-m", "vllm.entrypoints.cli.main"] if command[0] == "vllm" else []
    program = [sys.executable, *module, *command[1:]]  # as this environment means it, independent of PATH
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        where = ["--result-dir", folder, "--result-filename", path.name]
        ended = run_to_end([*program, *where], environment, timeout)
        if ended.status is None:
            raise CourseError(
                f"vllm bench serve did not end within {timeout:g} s.",
                last_lines(ended.output),
                "fewer requests or shorter answers, or more time",
            )
        if ended.status or not path.is_file():
            remedy = "run the command by hand: " + shlex.join(command)
            raise CourseError(f"vllm bench serve ended with status {ended.status}.", last_lines(ended.output), remedy)
        data = json.loads(path.read_text(encoding="utf-8"))
    return ToolRun(tuple(command), data)

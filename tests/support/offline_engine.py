"""Run as a program: counts prompt tokens with the engine, in a process of its own, from which nothing is left behind.

``python -m tests.support.offline_engine jobs.json counts.json``: the first names model folders with their engine
arguments and requests; the second receives each request's prompt tokens and the times that the engine wrote into it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from helpers.media import qwen_vl_utils_reader


def counted(job: dict[str, Any]) -> list[dict[str, Any]]:
    """One engine's counts of all requests of a job."""
    from qwen_vl_utils import process_vision_info
    from vllm import LLM, SamplingParams

    requests = []
    for request in job["requests"]:
        messages = [{"role": "user", "content": [request["element"]]}]
        _, videos, settings = process_vision_info(
            messages, image_patch_size=job["patch"], return_video_kwargs=True, return_video_metadata=True
        )
        data = {"prompt": request["prompt"], "multi_modal_data": {"video": videos}, "mm_processor_kwargs": settings}
        requests.append(data)
    engine = LLM(**job["arguments"])
    outputs = engine.generate(requests, SamplingParams(max_tokens=1, temperature=0), use_tqdm=False)
    tokenizer = engine.get_tokenizer()
    return [summary(tokenizer, output.prompt_token_ids) for output in outputs]


def summary(tokenizer: Any, ids: list[int]) -> dict[str, Any]:
    """What the tests compare."""
    return {"tokens": len(ids), "marks": re.findall(r"<\d+\.\d seconds>", tokenizer.decode(ids))}


def main(jobs: str, counts: str) -> None:
    """All jobs, one engine after the other."""
    from qwen_vl_utils import vision_process

    vision_process.VIDEO_READER_BACKENDS["torchvision"] = qwen_vl_utils_reader
    vision_process.FORCE_QWENVL_VIDEO_READER = "torchvision"
    results = [counted(job) for job in json.loads(Path(jobs).read_text())]
    Path(counts).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])

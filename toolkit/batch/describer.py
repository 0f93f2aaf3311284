"""The actor of a batch run: it holds one engine, and answers batch after batch."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.media import open_image
from helpers.profiles import ActiveProfile
from toolkit.evaluation.inference.client import answer_fields, split_reasoning
from toolkit.evaluation.inference.requests import medium_path

if TYPE_CHECKING:
    import pyarrow

#: Columns of an answer -> type in Arrow. A column that holds nothing in one batch must not change its type.
COLUMNS = dict.fromkeys(("item_id", "status", "finish_reason", "text", "reasoning", "error", "time"), "string")
COLUMNS |= dict.fromkeys(("prompt_tokens", "completion_tokens"), "int64")


class Describer:
    """Starts an engine once, in its own process, and is then called with one batch after the other.

    Ray Data makes it again if its process dies. Images are opened here, by name, so that no pixels travel.

    Args:
        folder: of the items, as every machine sees it.
    """

    def __init__(self, active: ActiveProfile, folder: str | Path):
        os.environ.update(active.environment())
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine stays in this process, which Ray watches
        from vllm import LLM, SamplingParams
        from vllm.exceptions import VLLMClientError

        self.refusals = (ValueError, VLLMClientError)
        """What the engine raises where the request is at fault."""
        self.folder = Path(folder).resolve()
        self.sampling = SamplingParams(**active.sampling_arguments())
        self.engine = LLM(**active.engine_arguments())

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """Answer a batch of item_id and messages (JSON): one row of `COLUMNS` for each, in that order.

        An image that cannot be opened, or that the engine refuses, has status 'error' and does not stop the others.
        """
        import pyarrow as pa

        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        answers, chats = {}, {}
        for row in batch.to_pylist():
            try:
                chats[row["item_id"]] = self.with_images(row["item_id"], json.loads(row["messages"]))
            except CourseError as error:
                answers[row["item_id"]] = {"status": "error", "error": error.what.replace(f"{self.folder}/", "")}
        answers |= dict(zip(chats, self.answer(list(chats.values())), strict=True))
        rows = [{"item_id": name, "time": time, **answers[name]} for name in batch["item_id"].to_pylist()]
        return pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS.items())))

    def with_images(self, item_id: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages with opened images in the place of names.

        Raises:
            CourseError: one cannot be opened, or lies outside the folder.
        """
        for message in messages:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if "image_url" in part:
                    image = open_image(medium_path(self.folder, item_id, part.pop("image_url")["url"]))
                    part |= {"type": "image_pil", "image_pil": image}
        return messages

    def answer(self, chats: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The engine's answers to several chats, which it works at all together, or why it refuses one."""
        try:
            outputs = self.engine.chat(chats, self.sampling, use_tqdm=False) if chats else []
        except self.refusals as error:  # of one chat is a refusal of all: each alone, then
            if len(chats) == 1:
                return [{"status": "error", "error": str(error) or type(error).__name__}]
            return [self.answer([chat])[0] for chat in chats]
        return [_fields(output) for output in outputs]


def _fields(output: Any) -> dict[str, Any]:
    """What a transcript says of an engine's output."""
    (said,) = output.outputs
    # The templates of thinking models end with <think>, so it is in the prompt.
    reasoning, text = split_reasoning(said.text, (output.prompt or "").rstrip().endswith("<think>"))
    return {
        "finish_reason": said.finish_reason,
        "prompt_tokens": len(output.prompt_token_ids),
        "completion_tokens": len(said.token_ids),
        **answer_fields("ok" if said.finish_reason == "stop" else "truncated", reasoning, text),
    }

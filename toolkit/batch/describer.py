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
from toolkit.evaluation.inference.replies import answer_fields, split_reasoning
from toolkit.evaluation.inference.requests import medium_path

if TYPE_CHECKING:
    import pyarrow

#: Columns of an answer -> type in Arrow. A column that holds nothing in one batch must not change its type.
COLUMNS = {
    "item_id": "string",
    "status": "string",
    "finish_reason": "string",
    "text": "string",
    "reasoning": "string",
    "error": "string",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "time": "string",
}


class Describer:
    """Starts an engine once, in its own process, and is then called with one batch after the other.

    Ray Data makes it anew if its process dies. Images are opened here, by name, so that no pixels travel.

    Args:
        active: the profile.
        folder: of the items, as every machine sees it.
    """

    def __init__(self, active: ActiveProfile, folder: str | Path):
        os.environ.update(active.environment())  # the engine stays in this process, where Ray has its eye on it
        from vllm import LLM, SamplingParams
        from vllm.exceptions import VLLMClientError

        self.refusals = (ValueError, VLLMClientError)
        """What the engine raises where the request is at fault."""
        self.folder = Path(folder).resolve()
        self.sampling = SamplingParams(**active.sampling_arguments())
        self.engine = LLM(**active.engine_arguments())

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """Answer a batch.

        Args:
            batch: columns item_id and messages (JSON).

        Returns:
            One row for each, in that order: `COLUMNS`. An image that cannot be opened, or that the engine refuses,
            has status 'error' and does not stop the others.
        """
        import pyarrow as pa

        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        answers, chats = {}, {}
        for row in batch.to_pylist():
            try:
                chats[row["item_id"]] = self.with_images(row["item_id"], json.loads(row["messages"]))
            except CourseError as error:
                answers[row["item_id"]] = {"status": "error", "error": error.what.replace(f"{self.folder}/", "")}
        try:
            answers |= dict(zip(chats, self.answer(list(chats.values())), strict=True))
        except self.refusals:  # of one chat is a refusal of all: each alone, then
            answers |= {name: self.answer_alone(chat) for name, chat in chats.items()}
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
        """The engine's answers to several chats, which it works at all together.

        Raises:
            One of ``refusals``: it refuses one of them, such as one that is too long.
        """
        if not chats:
            return []
        return [
            {
                "finish_reason": output.outputs[0].finish_reason,
                "prompt_tokens": len(output.prompt_token_ids),
                "completion_tokens": len(output.outputs[0].token_ids),
                **answer_fields(
                    "ok" if output.outputs[0].finish_reason == "stop" else "truncated",
                    # The templates of thinking models end with <think>, so it is in the prompt.
                    *split_reasoning(output.outputs[0].text, (output.prompt or "").rstrip().endswith("<think>")),
                ),
            }
            for output in self.engine.chat(chats, self.sampling, use_tqdm=False)
        ]

    def answer_alone(self, chat: list[dict[str, Any]]) -> dict[str, Any]:
        """The engine's answer to one chat, or why it refuses it."""
        try:
            return self.answer([chat])[0]
        except self.refusals as error:
            return {"status": "error", "error": str(error) or type(error).__name__}

"""transformers' ``generate``: one request after the other, or batches that run to their longest answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders.worker import Completion, Contender, Records
from toolkit.evaluation.inference.transcripts import media_parts, with_media

ORDERS = ("as they come", "by kind and length")


class Generate(Contender):
    """The model in this process."""

    notes: Sequence[str] = (
        "transformers reads clips by torchcodec alone, which needs FFmpeg's libraries; here its own PyAV reader is put "
        "in that place.",
    )

    def __enter__(self) -> Self:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor, logging

        logging.set_verbosity_error()
        read_videos_with_pyav()
        self._processor = AutoProcessor.from_pretrained(self._job.model)
        self._model = AutoModelForImageTextToText.from_pretrained(self._job.model, dtype=torch.float32).eval()
        # Answers have the length that was asked for, wherever the model would end them.
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = self._processor.tokenizer.pad_token_id
        return self

    def __exit__(self, *_: object) -> None:
        del self._model

    def answer(self, records: Records, variant: Mapping[str, Any]) -> list[Completion]:
        """Batches of ``variant["batch"]``, in one of `ORDERS`, with ``variant["threads"]`` threads."""
        import torch

        torch.set_num_threads(variant.get("threads") or self._job.threads)
        completions: dict[int, Completion] = {}
        for batch in batches(records, variant["batch"], variant.get("order", ORDERS[0])):
            inputs = self._inputs([records[number] for number in batch])
            longest = max(records[number]["answer_tokens"] for number in batch)
            with torch.inference_mode():
                output = self._model.generate(**inputs, do_sample=False, max_new_tokens=longest)
            written = output[:, inputs["input_ids"].shape[1] :].tolist()
            for number, ids in zip(batch, written, strict=True):
                kept = ids[: records[number]["answer_tokens"]]
                text = self._processor.decode(kept, skip_special_tokens=True)
                completions[number] = Completion(len(kept), kept, text)
        return [completions[number] for number in range(len(records))]

    def _inputs(self, records: Records) -> Any:
        return self._processor.apply_chat_template(
            [local_messages(Path(self._job.workload), record) for record in records],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        )


def batches(records: Records, size: int, order: str = ORDERS[0]) -> list[list[int]]:
    """Numbers of the records, in batches; each number once.

    Sorted by kind and length, a batch holds prompts of about the same length, and little is written for nothing: the
    best that static batching can do, where all requests are known beforehand.
    """
    numbers = list(range(len(records)))
    if order == ORDERS[1]:
        numbers.sort(key=lambda number: (records[number]["answer_tokens"], records[number]["sort"]))
        numbers.sort(key=lambda number: records[number]["sort"])
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def local_messages(folder: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record's messages in transformers' form, media as paths."""
    paths = [str(folder / part["url"]) for part in media_parts(record["messages"])]
    messages = []
    for message in with_media(record["messages"], paths):
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        forms = [
            part if part["type"] == "text" else {"type": part["type"][:-4], "url": part[part["type"]]["url"]}
            for part in parts
        ]
        messages.append({"role": message["role"], "content": forms})
    return messages


def read_videos_with_pyav() -> None:
    """Put transformers' PyAV reader in the place of torchcodec, which its video processors insist on."""
    from transformers import video_processing_utils

    load = video_processing_utils.load_video

    def load_video(video: Any, *_: Any, **options: Any) -> Any:
        return load(video, **(options | {"backend": "pyav"}))

    video_processing_utils.load_video = load_video

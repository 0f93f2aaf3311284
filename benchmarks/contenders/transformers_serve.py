"""``transformers serve``, and clients that ask at the same time.

Run as a program it is that command, with one thing changed: it loads the model without ``device_map``, for which it
would need accelerate. Read in, and tried with, transformers 5.19 (``cli/serving``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Self

from benchmarks.contenders.served import ServerContender

#: No token has this id, so no answer ends before its time.
NO_END = -1


class TransformersServer(ServerContender):
    """It takes one request after the other."""

    notes: Sequence[str] = (
        "transformers serve answers one request at a time: with --continuous-batching it says "
        "'Qwen3VLForConditionalGeneration does not support continuous batching. Falling back to sequential "
        "generation.' (it batches models of text alone).",
        "transformers serve cannot be asked about clips: as data URL, 'TypeError: Incorrect format used for video. "
        "Should be an url linking to an video or a local path.'; as a path, it also looks for a sound track "
        "(load_audio_from_video), as of every model of AutoModelForMultimodalLM, and these clips have none. It is "
        "measured without clips, and vLLM too where the two are compared.",
        "transformers serve asks for accelerate even on a CPU ('Using a `device_map` ... requires `accelerate`'), "
        "which the course does not install; here it loads the model without device_map. Nothing else is changed.",
    )

    def __enter__(self) -> Self:
        self.model = self._job.model
        how = ("--dtype", "float32", "--device", "cpu", "--continuous-batching")
        self._start(sys.executable, "-m", __name__, "serve", self.model, *how)
        return self

    def fields(self, length: int) -> dict[str, Any]:
        """It knows no ``ignore_eos``, but takes a whole generation configuration."""
        settings = {"do_sample": False, "max_new_tokens": length, "eos_token_id": NO_END, "pad_token_id": 0}
        return {"generation_config": json.dumps(settings)}


def main() -> None:
    """``transformers`` without ``device_map``."""
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.transformers import main as transformers

    load = ModelManager._load_model

    def load_model(self: Any, *words: Any, **options: Any) -> Any:
        device, self.device = self.device, None
        try:
            return load(self, *words, **options)
        finally:
            self.device = device

    ModelManager._load_model = load_model
    transformers()


if __name__ == "__main__":
    main()

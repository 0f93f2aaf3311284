"""Builds and trains the real architectures, Qwen3-VL and Qwen2-VL, at 5 million parameters, on the toy world.

The classes are those of transformers with small numbers, so transformers and vLLM load the result without help. A
minute on a laptop is enough to see it learn::

    from toolkit.tiny_model import TrainingRun, build_config, build_model, build_tokenizer, train

    model = build_model(build_config(build_tokenizer(), "qwen3-vl"), seed=0)    # random weights, to look at
    line = train(TrainingRun("outputs/mine", preset="live", minutes=1))         # trains, measures, saves
    print(line["loss"], line["scene_exact"])

The steps on the way can be used one by one: `conversation` draws questions and answers about an item, `patchify` cuts
its image into patches as `layout_of` its family says, `encode` tokenizes it and says which tokens are learned,
`collate` makes a batch. Recipes are in ``data/training.yaml`` (`find_preset`). `evaluate` measures a model through vLLM
on held-out items, `history_of` tells how it was trained. The module `figures` draws all of it.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.tiny_model.architecture import build_config, build_model, build_processor, family_of
    from toolkit.tiny_model.dataset import (
        Batches,
        Turn,
        collate,
        conversation,
        encode,
        sampled_clip,
        sampled_times,
        validation_turns,
    )
    from toolkit.tiny_model.evaluation import evaluate
    from toolkit.tiny_model.mrope import attention_mask
    from toolkit.tiny_model.patches import layout_of, normalized, patchify
    from toolkit.tiny_model.presets import find_preset
    from toolkit.tiny_model.tokenizer import build_tokenizer
    from toolkit.tiny_model.trainer import train
    from toolkit.tiny_model.training_log import history_of, read_log
    from toolkit.tiny_model.training_run import TrainingRun

__all__ = [
    "Batches",
    "TrainingRun",
    "Turn",
    "attention_mask",
    "build_config",
    "build_model",
    "build_processor",
    "build_tokenizer",
    "collate",
    "conversation",
    "encode",
    "evaluate",
    "family_of",
    "find_preset",
    "history_of",
    "layout_of",
    "normalized",
    "patchify",
    "read_log",
    "sampled_clip",
    "sampled_times",
    "train",
    "validation_turns",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("build_config", "build_model", "build_processor", "family_of"), "architecture"),
        **dict.fromkeys(("Batches", "Turn", "collate", "conversation", "encode"), "dataset"),
        **dict.fromkeys(("sampled_clip", "sampled_times", "validation_turns"), "dataset"),
        **dict.fromkeys(("layout_of", "normalized", "patchify"), "patches"),
        **dict.fromkeys(("history_of", "read_log"), "training_log"),
        "TrainingRun": "training_run",
        "attention_mask": "mrope",
        "build_tokenizer": "tokenizer",
        "evaluate": "evaluation",
        "find_preset": "presets",
        "train": "trainer",
    },
)

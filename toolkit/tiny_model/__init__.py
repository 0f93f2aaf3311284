"""Builds and trains the real architectures, Qwen3-VL and Qwen2-VL, at 5 million parameters, on the toy world.

The classes are those of transformers with small numbers, so transformers and vLLM load the result without help. A
minute on a laptop is enough to see it learn::

    from toolkit.tiny_model import TrainingRun, read_log, train

    line = train(TrainingRun("outputs/mine", preset="live", minutes=1))     # trains, measures, saves
    print(line["loss"], line["scene_exact"], len(read_log("outputs/mine")))

The steps on the way can be used separately: `conversation` draws questions and answers about an item, `patchify` cuts
its image into patches as `layout_of` its family says, `encode` tokenizes it and says which tokens are learned,
`collate` makes a batch. Recipes are in ``data/training.yaml`` (`find_preset`). `evaluate` measures a model through vLLM
on held-out items; `history_of` tells how it was trained. The module ``architecture`` builds configurations, models and
processors; ``figures`` draws all of it.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.tiny_model.dataset import Batches, Turn, collate, conversation, encode, validation_turns
    from toolkit.tiny_model.evaluation import evaluate
    from toolkit.tiny_model.patches import layout_of, normalized, patchify
    from toolkit.tiny_model.presets import find_preset
    from toolkit.tiny_model.tokenizer import build_tokenizer
    from toolkit.tiny_model.trainer import train
    from toolkit.tiny_model.training_log import history_of, read_log
    from toolkit.tiny_model.training_run import TrainingRun

__all__, __getattr__, __dir__ = lazy_names(__name__)

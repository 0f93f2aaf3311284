"""Adapters (LoRA) for Qwen3-VL: data, training, checks before serving, proof, quantising and a model card.

PEFT, transformers and vLLM do the work, and the notebook calls them itself; here is what they lack::

    list(write_receipts_abroad("items", 680, seed=11_900_000))    # a task that the tiny model was never taught
    examples = read_examples("items", processor)                  # or a folder of your own, with items.jsonl
    rows = fit(get_peft_model(model, config), examples[:480], examples[480:], "adapter", Schedule(steps=200))
    check_adapter("adapter", base, root="adapters")               # before a server loads it
    compare_answers(items, before, after)                         # paired differences with intervals, per task

* `read_examples` masks everything but the answer; `make_batch` pads; `fit` trains, measures on held-out items, saves,
  resumes and stops early.
* `check_adapter` finds what vLLM would refuse, or ignore without an error; `ignored_modules` finds the latter in a
  server's log.
* `training_memory`, `lora_parameters` and `largest_batch` plan memory from a model's shape; `saved_bytes` counts the
  activations of a real batch.
* `quantise` writes a copy with weights in 8 or 4 bits; `write_card` writes a model card and refuses pickles.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.adapters.abroad import write_receipts_abroad
    from toolkit.adapters.checking import check_adapter, ignored_modules
    from toolkit.adapters.comparing import compare_answers
    from toolkit.adapters.examples import make_batch, read_examples
    from toolkit.adapters.memory import largest_batch, lora_parameters, saved_bytes, training_memory
    from toolkit.adapters.quantising import quantise
    from toolkit.adapters.shipping import Origin, write_card
    from toolkit.adapters.training import Schedule, fit

__all__, __getattr__, __dir__ = lazy_names(__name__)

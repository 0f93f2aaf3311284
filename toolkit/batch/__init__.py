"""Offline inference over a folder of images: Ray Data hands out batches, actors hold engines, Parquet comes out.

    from toolkit.batch import BatchOptions, run_batch

    summary = run_batch("photos", "outputs/photos", "auto", BatchOptions(batch_size=8, question="Describe this image."))
    print(summary.describe())
    pandas.read_parquet("outputs/photos")

A folder holds images alone, which are all asked the same question, or ``items.jsonl`` with messages of their own. The
call may be killed at any moment, and so may any worker: the same call goes on with what has no answer yet. `Describer`
is the actor that holds an engine; `local_ray` starts Ray for this machine alone. In a shell: ``course batch``.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.batch.describer import Describer
    from toolkit.batch.run import BatchOptions, BatchSummary, local_ray, run_batch

__all__, __getattr__, __dir__ = lazy_names(__name__)

"""The drawings that explain, in notebooks 01 and 02; each function returns a matplotlib figure.

* `paged_kv_cache` and `continuous_batching`: what the engine does with requests, drawn and not measured.
* `draw_path` and `draw_shares`: a model's numbers, from `helpers.model_facts`.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.drawings.engine import continuous_batching, paged_kv_cache
    from toolkit.drawings.model import draw_path, draw_shares

__all__, __getattr__, __dir__ = lazy_names(__name__)

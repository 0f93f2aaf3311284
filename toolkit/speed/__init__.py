"""How fast a model is, how fast this machine could make it, and how its cost grows.

Four instruments, which notebooks 06 and 06b explain:

* `bench_serve` drives vLLM's own benchmark tool against a running server.
* `measure_limits` measures memory bandwidth and arithmetic of this machine; `prefill_reach` and `decode_reach` say how
  many tokens per second a model could reach at these limits (roofline).
* `fit_growth` fits the exponent of cost = c · nᵏ, with its interval.
* `read_results` and `latest` read the dated results that ``python -m course bench`` keeps; ``charts`` draws figures.

An example: the most tokens per second that one user could see::

    from helpers.model_facts import find_model_facts
    from toolkit.speed import decode_reach, measure_limits

    reach = decode_reach(find_model_facts("Qwen/Qwen3-VL-2B-Instruct"), measure_limits(), context=256)
    print(f"{reach.tokens_per_second:.0f} tokens per second, limited by {reach.limit}")
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.speed.growth import fit_growth
    from toolkit.speed.results import latest, read_results
    from toolkit.speed.roofline import (
        best_of,
        decode_reach,
        matrix_parameters,
        measure_limits,
        prefill_flops,
        prefill_reach,
    )
    from toolkit.speed.vllm_bench import bench_serve

__all__, __getattr__, __dir__ = lazy_names(__name__)

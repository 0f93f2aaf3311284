"""What a model needs of a machine, before anything is bought or downloaded: does it fit, how, and what starts it::

    from toolkit.planner import Workload, plan_memory, recommend, suggestions

    plan = plan_memory("Qwen/Qwen3-VL-4B-Instruct", "RTX 4090")
    print(plan.describe(), *(suggestion.change for suggestion in suggestions(plan)), sep="\\n")
    print(recommend("H100", 8, "Qwen/Qwen3-VL-235B-A22B-Instruct", Workload(context=32_768)).as_text())

Memory: `plan_memory` takes a model and a GPU, by name (``data/models.yaml``, ``data/gpus.yaml``) or as `find_gpu`
returns it, with a `Workload` (`LoraSlots` for adapters), `EngineSettings` and a `Layout`; `suggestions` says what to
change where it does not fit; `cache_blocks` is the KV cache alone. Launches: `load_recipes` (``data/recipes.yaml``),
`recommend`, and `check_launches`, which asks the installed vLLM whether it takes a `Launch`, or all recipes. Several
machines: `Cluster`. What stands before a server that strangers reach: `FrontSettings`. In a shell: ``course plan``.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.planner.flags import check_launches
    from toolkit.planner.front import FrontSettings
    from toolkit.planner.hardware import find_gpu
    from toolkit.planner.kv_cache import cache_blocks
    from toolkit.planner.lora_slots import LoraSlots
    from toolkit.planner.memory import EngineSettings, Workload, plan_memory
    from toolkit.planner.nodes import Cluster
    from toolkit.planner.options import suggestions
    from toolkit.planner.parallel import Layout
    from toolkit.planner.recipes import Launch, load_recipes
    from toolkit.planner.recommendation import recommend

__all__, __getattr__, __dir__ = lazy_names(__name__)

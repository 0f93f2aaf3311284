"""The KV cache as the engine lays it out: whole blocks of tokens, the same count on every GPU.

Follows ``vllm/v1/core/kv_cache_utils.py`` and ``FullAttentionSpec`` of vLLM 0.32; `benchmarks.planner_check` compares
the counts with what a running engine reports.
"""

from __future__ import annotations

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts
from toolkit.planner.parallel import Layout, layers_of_stages

#: Tokens of a block where nobody sets ``--block-size``: 16 on CUDA and ROCm, 128 in the CPU build.
BLOCK_TOKENS = {"cuda": 16, "rocm": 16, "cpu": 128}


def kv_heads_per_gpu(facts: ModelFacts, tensor_parallel: int) -> int:
    """KV heads on each GPU: from as many GPUs as there are heads, each holds one, and further GPUs hold copies."""
    return max(1, facts.kv_heads // tensor_parallel)


def bytes_per_token(facts: ModelFacts, layers: int, tensor_parallel: int = 1, dtype: str = "bfloat16") -> int:
    """Bytes of KV cache that one GPU keeps per token, for its share of the layers and heads.

    Raises:
        CourseError: unknown data type.
    """
    whole = facts.kv_cache_bytes_per_token(dtype)  # layers x KV heads; both are shared out below
    return whole // (facts.layers * facts.kv_heads) * layers * kv_heads_per_gpu(facts, tensor_parallel)


def cache_blocks(
    facts: ModelFacts,
    cache_bytes: int | list[int],
    *,
    layout: Layout | None = None,
    dtype: str = "bfloat16",
    block_tokens: int = BLOCK_TOKENS["cuda"],
) -> int:
    """Blocks of KV cache; the pipeline stage with the least room decides for all.

    ``cache_bytes`` are those of each GPU; a list gives them stage by stage.
    """
    layout = layout or Layout()
    stages = layers_of_stages(facts.layers, layout.pipeline_parallel)
    room = cache_bytes if isinstance(cache_bytes, list) else [cache_bytes] * len(stages)
    counts = [
        max(0, free) // (bytes_per_token(facts, layers, layout.tensor_parallel, dtype) * block_tokens)
        for free, layers in zip(room, stages, strict=True)
    ]
    return min(counts)


def reported_tokens(blocks: int, max_model_len: int, block_tokens: int) -> int:
    """The 'KV cache size' that vLLM logs and exports, in tokens.

    It is the count of the longest requests that fit, times their length. Where ``max_model_len`` is no multiple of a
    block, that is less than blocks x tokens, since the last block of each request stays partly empty.
    """
    return int(blocks / blocks_for(max_model_len, block_tokens) * max_model_len)


def blocks_for(tokens: int, block_tokens: int) -> int:
    """Blocks that a request of so many tokens takes.

    Raises:
        CourseError: not a positive number of tokens.
    """
    if tokens < 1:
        raise CourseError(f"A request of {tokens} tokens is none.", "", "give prompt and answer together, at least 1")
    return -(-tokens // block_tokens)

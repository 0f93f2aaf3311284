"""The stock models' mathematics, computed faster in training: same weights, same results but for rounding."""

from __future__ import annotations

import itertools
import sys
from typing import Any

#: The name under which transformers knows the attention of `choose_text_attention`.
TEXT_ATTENTION = "course"


def use_fast_kernels(model: Any) -> None:
    """Replace four slow parts of the stock model, in place; `export` writes the stock layout again."""
    as_linear_patch_embedding(model)
    batch_vision_attention(model)
    choose_text_attention(model)
    trim_last_layer(model)


def as_linear_patch_embedding(model: Any) -> None:
    """Compute the patch embedding as a matrix product; same weights, flattened.

    The stock ``Conv3d`` sees each patch alone, so it is a matrix product, but its backward pass is slow on a CPU.
    """
    import torch

    embedding = model.model.visual.patch_embed
    convolution = embedding.proj
    has_bias = convolution.bias is not None
    linear = torch.nn.Linear(convolution.weight[0].numel(), convolution.out_channels, bias=has_bias)
    linear = linear.to(convolution.weight.device)
    with torch.no_grad():
        linear.weight.copy_(convolution.weight.flatten(1))
        if has_bias:
            linear.bias.copy_(convolution.bias)
    embedding.proj = linear
    embedding.forward = lambda patches: linear(patches.to(linear.weight.dtype))


def batch_vision_attention(model: Any) -> None:
    """One attention call for all adjacent images (or pairs of frames) of one size, instead of a call for each."""
    for block in model.model.visual.blocks:
        block.attn.forward = _batched(block.attn)


def _batched(attention: Any) -> Any:
    import torch

    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision

    def forward(hidden_states: Any, cu_seqlens: Any, position_embeddings: Any = None, **_: Any) -> Any:
        """(patches, width) of all images in a row -> the same; ``cu_seqlens`` marks where each begins."""
        heads, count = attention.num_heads, len(hidden_states)
        queries, keys, values = attention.qkv(hidden_states).view(count, 3, heads, -1).unbind(1)
        queries, keys = rotate(queries, keys, *position_embeddings)  # (patches, heads, head size)
        results, start = [], 0
        for length, alike in itertools.groupby((cu_seqlens[1:] - cu_seqlens[:-1]).tolist()):
            end = start + length * len(list(alike))
            q, k, v = (
                states[start:end].view(-1, length, heads, attention.head_dim).transpose(1, 2)
                for states in (queries, keys, values)
            )  # (images, heads, length, head size)
            results.append(attend(q, k, v, attention.scaling).transpose(1, 2).reshape(end - start, -1))
            start = end
        return attention.proj(torch.cat(results) if len(results) > 1 else results[0])

    return forward


def choose_text_attention(model: Any) -> None:
    """Let the decoder layers attend with `attend`."""
    from transformers import AttentionInterface

    AttentionInterface.register(TEXT_ATTENTION, _text_attention)
    model.model.language_model.config._attn_implementation = TEXT_ATTENTION


def _text_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **_: Any
) -> tuple[Any, None]:
    """As transformers calls it; causal, unless there is a mask."""
    return attend(query, key, value, scaling, attention_mask, causal=attention_mask is None).transpose(1, 2), None


def attend(query: Any, key: Any, value: Any, scaling: float, mask: Any = None, causal: bool = False) -> Any:
    """Scaled dot-product attention, in the faster of two ways.

    PyTorch's fused kernel; but in bfloat16 on a CPU that kernel takes two to seven times as long as two plain matrix
    products with a softmax between them (torch 2.13, Zen 4, lengths 64 to 352, forward and backward).

    Args:
        query: (batch, heads, length, head size).
        key: (batch, KV heads, length, head size), heads being a multiple of KV heads.
        value: as ``key``.
        scaling: of the scores, before the softmax.
        mask: bool, broadcast to (batch, heads, length, length): True where a query sees a key.
        causal: no query sees a later key; without ``mask`` only.
    """
    import torch

    autocast = torch.is_autocast_enabled(query.device.type)
    dtype = torch.get_autocast_dtype(query.device.type) if autocast else query.dtype
    if dtype is not torch.bfloat16 or query.device.type != "cpu":
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=scaling, enable_gqa=key.shape[1] < query.shape[1]
        )
    batch, heads, length, size = query.shape
    kv_heads = key.shape[1]
    # Query heads that share a key are rows of one matrix.
    query = (query * scaling).bfloat16().reshape(batch, kv_heads, -1, size)
    scores = (query @ key.bfloat16().mT).view(batch, heads, length, -1)
    if causal:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, -1, dtype=torch.bfloat16).view(batch, kv_heads, -1, length)
    return (weights @ value.bfloat16()).view(batch, heads, length, size)


def trim_last_layer(model: Any) -> None:
    """Let the last decoder layer's MLP, and what follows, see only the positions that `hidden_states_at` asks for.

    Most positions hold images, questions and padding. What the last layer makes of them is never used.
    """
    layer = model.model.language_model.layers[-1]
    stock = layer.forward
    layer.wanted = None

    def forward(hidden_states: Any, **inputs: Any) -> Any:
        """(batch, length, width) -> (positions wanted, width)."""
        if layer.wanted is None:
            return stock(hidden_states, **inputs)
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **inputs)
        kept = (hidden_states + attended)[layer.wanted]
        return kept + layer.mlp(layer.post_attention_layernorm(kept))

    layer.forward = forward


def hidden_states_at(model: Any, wanted: Any, inputs: dict[str, Any]) -> Any:
    """The last layer's normalized output, float (N, hidden), at the N positions where ``wanted`` (batch, length) is."""
    layer = model.model.language_model.layers[-1]
    layer.wanted = wanted
    try:
        return model.model(**inputs, use_cache=False).last_hidden_state
    finally:
        layer.wanted = None

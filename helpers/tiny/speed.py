"""The stock models' mathematics, computed quicker in training: same weights, same results but for rounding."""

from __future__ import annotations

import itertools
import sys
from typing import Any


def make_quicker(model: Any) -> None:
    """Replace three slow ways of the stock model, in place; `helpers.tiny.export` writes the stock layout again."""
    as_linear_patch_embedding(model)
    batch_vision_attention(model)
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
    """One attention call for all neighbouring pictures (or pairs of frames) of one size, instead of a call for each."""
    for block in model.model.visual.blocks:
        block.attn.forward = _batched(block.attn)


def _batched(attention: Any) -> Any:
    import torch

    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision
    attend = torch.nn.functional.scaled_dot_product_attention

    def forward(hidden_states: Any, cu_seqlens: Any, position_embeddings: Any = None, **_: Any) -> Any:
        """(patches, width) of all pictures in a row -> the same; ``cu_seqlens`` marks where each begins."""
        heads, count = attention.num_heads, len(hidden_states)
        queries, keys, values = attention.qkv(hidden_states).view(count, 3, heads, -1).unbind(1)
        queries, keys = rotate(queries, keys, *position_embeddings)
        results, start = [], 0
        lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
        for length, alike in itertools.groupby(lengths):
            end = start + length * len(list(alike))
            parts = (part[start:end].view(-1, length, heads, attention.head_dim).transpose(1, 2)
                     for part in (queries, keys, values))  # fmt: skip
            results.append(attend(*parts, scale=attention.scaling).transpose(1, 2).reshape(end - start, -1))
            start = end
        return attention.proj(torch.cat(results) if len(results) > 1 else results[0])

    return forward


def trim_last_layer(model: Any) -> None:
    """Let the last decoder layer's MLP, and what follows, see only the positions that `hidden_states_at` asks for.

    Most positions hold pictures, questions and padding. What the last layer makes of them is never used.
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

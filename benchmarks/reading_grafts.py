"""Parts of one family grafted onto the other, or taken away, for `benchmarks.reading`; models change in place."""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import nn
from transformers.models.qwen2_vl.modeling_qwen2_vl import PatchMerger, Qwen2VLRotaryEmbedding
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding


def share_frequencies(model: Any, rope: str) -> None:
    """Give time, height and width the decoder's frequencies in turn (interleaved), or a block each."""
    rotary = model.model.language_model.rotary_emb
    pairs = len(rotary.inv_freq)
    high = 3 * pairs // 8 if rope == "blocks" else 5 * pairs // 16  # the released models' shares
    rotary.mrope_section = [pairs - 2 * high, high, high]
    stock = Qwen2VLRotaryEmbedding if rope == "blocks" else Qwen3VLTextRotaryEmbedding
    rotary.recomposition_frequencies = MethodType(stock.recomposition_frequencies, rotary)


def learn_positions(model: Any, wanted: bool, patches: int) -> None:
    """Add a table of learned positions to the patches of an image, or take Qwen3-VL's away."""
    visual = model.model.visual
    if not wanted:
        nn.init.zeros_(visual.pos_embed.weight).requires_grad_(False)
        return
    table, stock = nn.Embedding(patches, visual.config.embed_dim), visual.patch_embed.forward
    visual.pos_embed = table
    nn.init.normal_(table.weight, std=0.02)
    visual.patch_embed.forward = lambda pixels: stock(pixels) + table.weight.repeat(len(pixels) // patches, 1)


def normalize_queries_and_keys(model: Any, wanted: bool) -> None:
    """Normalize each head's queries and keys before they are rotated, as Qwen3-VL does, or no longer."""
    for attention in (layer.self_attn for layer in model.model.language_model.layers):
        for letter in "qk":
            norm = nn.RMSNorm(attention.head_dim, eps=1e-6) if wanted else nn.Identity()
            setattr(attention, f"{letter}_norm", norm)
            if wanted:
                projection = getattr(attention, f"{letter}_proj")
                projection.register_forward_hook(
                    lambda module, given, made, norm=norm: norm(made.unflatten(-1, (-1, norm.weight.numel()))).flatten(
                        -2
                    )
                )


def add_deepstack(model: Any) -> None:
    """Add the features of the first three vision layers, merged, to the first three decoder layers of Qwen2-VL."""
    visual, text, seen = model.model.visual, model.model.language_model, {}
    visual.deepstack_merger_list = nn.ModuleList(PatchMerger(192, 160, 2) for _ in range(3)).apply(model._init_weights)

    def note_images(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        seen["images"] = named["input_ids"] == model.config.image_token_id

    def keep(number: int) -> Any:
        return lambda module, given, made: seen.update({number: visual.deepstack_merger_list[number](made)})

    def add(number: int) -> Any:
        return lambda module, given, made: made.index_put((seen["images"],), made[seen["images"]] + seen[number])

    model.model.register_forward_pre_hook(note_images, with_kwargs=True)
    for number in range(3):
        visual.blocks[number].register_forward_hook(keep(number))
        text.layers[number].register_forward_hook(add(number))

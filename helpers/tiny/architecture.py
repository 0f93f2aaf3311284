"""The tiny model's shape: stock transformers classes with small numbers."""

from __future__ import annotations

from typing import Any

from helpers.errors import CourseError

FAMILIES = ("qwen3-vl",)
CONTEXT = 8192
#: Sides of images are rounded to multiples of patch × merge = 32 pixels; one merged 32×32 square is one token.
MIN_PIXELS, MAX_PIXELS = 64 * 64, 512 * 512
#: A video's limit is on frames × height × width.
MIN_VIDEO_PIXELS, MAX_VIDEO_PIXELS = 64 * 64 * 2, 512 * 512 * 16


def build_config(tokenizer: Any, family: str = "qwen3-vl") -> Any:
    """A ``Qwen3VLConfig`` with 4 decoder layers, 4 vision layers and deepstack after vision layers 1 to 3.

    The proportions follow the released models: grouped-query attention (4 query heads, 2 KV heads), a head dimension
    that is not hidden / heads, interleaved M-RoPE sections that sum to half the head dimension, tied embeddings.
    """
    if family not in FAMILIES:
        raise CourseError(
            f"There is no family '{family}'.", "a misspelt --family", f"use one of: {', '.join(FAMILIES)}"
        )
    from transformers import Qwen3VLConfig

    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [12, 10, 10],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": True,
        "pad_token_id": token("<|endoftext|>"),
        "bos_token_id": None,
        "eos_token_id": token("<|im_end|>"),
    }
    vision = {
        "depth": 4,
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_heads": 5,
        "out_hidden_size": 192,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [0, 1, 2],
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def build_model(config: Any, seed: int = 0) -> Any:
    """A ``Qwen3VLForConditionalGeneration`` with random weights from the seed, float32, on the CPU."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(config).float()


def build_processor(tokenizer: Any) -> Any:
    """The stock ``Qwen3VLProcessor`` around our tokenizer, with pixel limits that suit the tiny model."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    common = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    image = Qwen2VLImageProcessor(size={"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}, **common)
    video = Qwen3VLVideoProcessor(
        size={"shortest_edge": MIN_VIDEO_PIXELS, "longest_edge": MAX_VIDEO_PIXELS}, fps=2, **common
    )
    return Qwen3VLProcessor(image, tokenizer, video, chat_template=tokenizer.chat_template)

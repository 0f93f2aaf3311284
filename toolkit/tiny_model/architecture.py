"""The tiny models' shapes: stock transformers classes with small numbers, one set per family."""

from __future__ import annotations

from typing import Any

from helpers.errors import CourseError
from toolkit.tiny_model.patches import layout_of

CONTEXT = 8192
LAYERS = 4
ROPE_THETA = 10000.0
#: size -> (hidden, heads, KV heads, MLP) of the text model and (hidden, heads, MLP) of the vision tower, for the study
#: of what size changes.
SIZES = {
    "half": ((96, 2, 1, 256), (96, 3, 240)),
    "base": ((192, 4, 2, 512), (160, 5, 480)),
    "double": ((288, 6, 3, 768), (224, 7, 720)),
}
#: Qwen2-VL has one merger where Qwen3-VL has four (its own and three for deepstack), smaller patches and narrower
#: attention. Its MLPs are widened until both families have the same number of parameters within 0.1 %.
QWEN2_MLP = 1248
#: Sides of images are rounded to multiples of patch × merge (32 or 28 pixels); such a square is one token.
MIN_PIXELS, MAX_PIXELS = 64 * 64, 512 * 512
#: Qwen3-VL's video limits are on frames × height × width, Qwen2-VL's on height × width of a frame.
MIN_VIDEO_PIXELS, MAX_VIDEO_PIXELS = 64 * 64 * 2, 512 * 512 * 16


def build_config(tokenizer: Any, family: str = "qwen3-vl", size: str = "base") -> Any:
    """A ``Qwen3VLConfig`` or ``Qwen2VLConfig`` with 4 decoder layers and 4 vision layers.

    The proportions follow the released models. Qwen3-VL: a head dimension that is not hidden / heads, interleaved
    M-RoPE, deepstack after vision layers 1 to 3. Qwen2-VL: head dimension hidden / heads, M-RoPE in three blocks
    (time, height, width), MLP ratio 4 in the vision tower. Both: grouped-query attention, M-RoPE sections that sum to
    half the head dimension, tied embeddings. ``size`` (of `SIZES`) changes the widths of a Qwen3-VL.

    Raises:
        CourseError: unknown family, or a size other than 'base' that is unknown or asked of Qwen2-VL.
    """
    layout = layout_of(family)  # refuses an unknown family before anything heavy is imported
    if size not in SIZES or (family != "qwen3-vl" and size != "base"):
        raise CourseError(f"There is no {family} of size '{size}'.", "", f"qwen3-vl has: {', '.join(SIZES)}")
    from transformers import Qwen2VLConfig, Qwen3VLConfig

    token = tokenizer.convert_tokens_to_ids
    (hidden, heads, kv_heads, mlp), (vision_hidden, vision_heads, vision_mlp) = SIZES[size]
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "pad_token_id": token("<|endoftext|>"),
        "bos_token_id": None,
        "eos_token_id": token("<|im_end|>"),
    }
    vision: dict[str, Any] = {
        "depth": LAYERS,
        "num_heads": vision_heads,
        "patch_size": layout.patch,
        "spatial_merge_size": layout.merge,
        "temporal_patch_size": layout.temporal,
    }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": ROPE_THETA}
    common = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": True,
    }
    if family == "qwen2-vl":
        text |= {
            "intermediate_size": QWEN2_MLP,
            "num_attention_heads": 6,
            "rope_parameters": rope | {"mrope_section": [4, 6, 6]},
        }
        vision |= {
            "embed_dim": vision_hidden,
            "hidden_size": hidden,  # what the merger gives, not the tower's own width
            "mlp_ratio": 4,
        }
        return Qwen2VLConfig(text_config=text, vision_config=vision, **common)
    text |= {
        "intermediate_size": mlp,
        "num_attention_heads": heads,
        "head_dim": 64,
        "rope_parameters": rope | {"mrope_section": [12, 10, 10], "mrope_interleaved": True},
    }
    vision |= {
        "hidden_size": vision_hidden,
        "intermediate_size": vision_mlp,
        "out_hidden_size": hidden,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [0, 1, 2],
    }
    return Qwen3VLConfig(text_config=text, vision_config=vision, **common)


def build_model(config: Any, seed: int = 0) -> Any:
    """The ``…ForConditionalGeneration`` model of the config with random weights from the seed, float32, on the CPU."""
    import torch
    from transformers import Qwen2VLForConditionalGeneration, Qwen3VLForConditionalGeneration

    stock = Qwen3VLForConditionalGeneration if family_of(config) == "qwen3-vl" else Qwen2VLForConditionalGeneration
    torch.manual_seed(seed)
    return stock(config).float()


def family_of(config: Any) -> str:
    """The family's name as the command line has it."""
    return config.model_type.replace("_", "-")


def build_processor(tokenizer: Any, family: str = "qwen3-vl") -> Any:
    """The family's stock processor around our tokenizer, with pixel limits that suit the tiny models.

    ``cap_pixels_per_frame`` becomes transformers' default in v5.22; no video of this size ever reaches that cap, so
    setting it now gives the same pixels before and after, and no warning.

    Raises:
        CourseError: unknown family.
    """
    layout = layout_of(family)
    import transformers

    common = {
        "patch_size": layout.patch,
        "temporal_patch_size": layout.temporal,
        "merge_size": layout.merge,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    pixels = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    video_pixels = {"shortest_edge": MIN_VIDEO_PIXELS, "longest_edge": MAX_VIDEO_PIXELS}
    of_video = common | {"fps": 2, "cap_pixels_per_frame": True}
    image = transformers.Qwen2VLImageProcessor(size=pixels, **common)
    if family == "qwen2-vl":
        video = transformers.Qwen2VLVideoProcessor(size=pixels, **of_video)
        return transformers.Qwen2VLProcessor(image, tokenizer, video, chat_template=tokenizer.chat_template)
    video = transformers.Qwen3VLVideoProcessor(size=video_pixels, **of_video)
    return transformers.Qwen3VLProcessor(image, tokenizer, video, chat_template=tokenizer.chat_template)

"""What can only be estimated before an engine runs: activations, and what CUDA takes for itself.

vLLM measures these when it starts (``determine_available_memory``): it sends the largest image or video through the
vision tower, keeps the result, and then sends a full batch through the language model. The formulas below count the
tensors that live at the same time in those two runs. They were not compared with a GPU; the margins are assumptions.
"""

from __future__ import annotations

import json
from pathlib import Path

from helpers.model_facts import ModelFacts
from toolkit.planner.hardware import GpuSpec
from toolkit.planner.parallel import Layout

#: GiB assumed for captured CUDA graphs; vLLM's logs that people post show 0.1 to 0.8 with current versions.
GRAPHS_GIB = 1.0
#: GiB assumed for the CUDA context, libraries and workspaces of a process.
CONTEXT_GIB = 1.0
#: GiB assumed for buffers of the communication between GPUs.
COMMUNICATION_GIB = 0.5
#: ``size.longest_edge`` of the video processor in Qwen3-VL's releases: pixels of all frames of a video.
QWEN3_VIDEO_PIXELS = 25_165_824
#: A video of Qwen2-VL counts at most so many frames at start-up (``_MAX_FRAMES_PER_VIDEO``).
QWEN2_VIDEO_FRAMES = 14
_HALF = 2  # bytes of a bfloat16 or float16


def batch_defaults(gpu: GpuSpec) -> tuple[int, int]:
    """(``max_num_batched_tokens``, ``max_num_seqs``) of ``vllm serve`` on this card (``get_batch_defaults``)."""
    if gpu.visible_gib >= 160:
        return 16_384, 1024
    if gpu.visible_gib >= 70 and "a100" not in gpu.name.lower():
        return 8192, 1024
    return 2048, 256


def video_pixels_of(folder: str | Path) -> int | None:
    """``size.longest_edge`` of a local model's video processor; None if its files do not say."""
    for name in ("video_preprocessor_config.json", "processor_config.json"):
        try:
            settings = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        size = settings.get("video_processor", settings).get("size") or {}
        if size.get("longest_edge"):
            return int(size["longest_edge"])
    return None


def item_tokens(
    facts: ModelFacts, *, max_pixels: int | None = None, video_pixels: int | None = None, max_model_len: int
) -> dict[str, int]:
    """Tokens of the largest image and of the largest video, as vLLM counts them to size its buffers.

    A video is one pair of frames with half of its pixels each (Qwen3-VL), or as many frames of the largest image's
    size as fit the context, up to 14 (Qwen2-VL).
    Source: ``get_max_image_tokens``, ``get_max_video_tokens`` in ``qwen2_vl.py`` and ``qwen3_vl.py``.

    Args:
        facts: of the model.
        max_pixels: limit of an image where the processor's own is overridden.
        video_pixels: of a whole video (Qwen3-VL); None: as released.
        max_model_len: tokens.
    """
    square = (facts.vision.patch * facts.vision.merge) ** 2
    image = (max_pixels or facts.max_pixels) // square
    if facts.family == "qwen3-vl":
        pixels = video_pixels or QWEN3_VIDEO_PIXELS
        return {"image": image, "video": pixels // facts.vision.temporal_patch // square}
    pairs = max(1, min(max_model_len // image, QWEN2_VIDEO_FRAMES // facts.vision.temporal_patch))
    return {"image": image, "video": pairs * image}


def encoder_cache_bytes(facts: ModelFacts, budget: int) -> int:
    """Encoded images that wait for the language model: each token has ``hidden`` features, and as many again for
    every deepstack level; 2 bytes each."""
    return budget * facts.hidden * (1 + len(facts.vision.deepstack)) * _HALF


def deepstack_bytes(facts: ModelFacts, batched_tokens: int) -> int:
    """Buffers through which deepstack features reach the first layers: levels x batch x hidden x 2 bytes."""
    return len(facts.vision.deepstack) * batched_tokens * facts.hidden * _HALF


def vision_peak(facts: ModelFacts, layout: Layout, budget: int) -> int:
    """Bytes while the vision tower works on a full budget.

    For each patch (merge^2 to a token): its pixels, three times the width (residual, normed, result), and the larger of
    query, key and value before and after rotation (6 x width / TP) and the MLP before and after its activation
    (2 x mlp / TP). With the whole tower on each GPU, the images are shared out instead.
    """
    tower = facts.vision
    patches, degree = budget * tower.merge**2, layout.tensor_parallel
    if layout.whole_vision:
        patches, degree = -(-patches // degree), 1
    pixels = 3 * tower.temporal_patch * tower.patch**2
    inner = max(6 * tower.hidden, 2 * tower.mlp) // degree
    return patches * (pixels + 3 * tower.hidden + inner) * _HALF


def language_peak(facts: ModelFacts, layout: Layout, batched_tokens: int, sequences: int) -> int:
    """Bytes while the language model works on a full batch: the larger of a layer and of sampling.

    A layer, for each token: residual and normed input (2 x hidden), and the larger of attention (query, key, value and
    result, over TP) and MLP (gate, up and their product: 3 x mlp / TP; for a mixture of experts, that of ``top_k``
    experts and their results). Sampling, for each sequence: logits in 16 bits, in float32, sorted, and the order as
    int64: 18 bytes x vocabulary.
    """
    degree = layout.tensor_parallel
    attention = (2 * facts.heads + 2 * facts.kv_heads) * facts.head_dim // degree
    inner = max(attention, 3 * facts.mlp // degree if not facts.is_moe or facts.dense_layers else 0)
    if facts.is_moe:
        shards = layout.expert_shards
        results = facts.hidden // shards if layout.expert_parallel else facts.hidden
        inner = max(inner, facts.top_k * (3 * facts.moe_mlp // shards + results))
    layer = batched_tokens * (2 * facts.hidden + inner) * _HALF
    return max(layer, sequences * facts.vocab * 18)


def margins(layout: Layout, *, eager: bool = False) -> dict[str, int]:
    """Assumed bytes that no formula gives, by name."""
    gib = {
        "CUDA context, libraries (assumed)": CONTEXT_GIB,
        "CUDA graphs (assumed)": 0.0 if eager else GRAPHS_GIB,
        "communication (assumed)": COMMUNICATION_GIB if layout.gpus > 1 else 0.0,
    }
    return {name: int(size * 2**30) for name, size in gib.items() if size}

"""What can only be estimated before an engine runs: activations, and what CUDA takes for itself.

vLLM measures these when it starts (``determine_available_memory``): it sends the largest image or video through the
vision tower, keeps the result, and then sends a full batch through the language model and its sampler. The formulas
below count the tensors that live at the same time in those two runs. What CUDA and NCCL took before is not in the
budget: the snapshot is taken after they have started (``Worker.init_device``). Whoever ran it: the tests compare with
what engines logged in public (``tests/toolkit/planner/public_reports.yaml``); no GPU was here.
"""

from __future__ import annotations

from helpers.model_facts import ModelFacts
from toolkit.planner.hardware import GpuSpec
from toolkit.planner.parallel import Layout

#: MiB assumed for the CUDA graphs of one layer. Logs of vLLM 0.26 to 0.28 show 0.09 to 0.20 GiB for 64 layers, older
#: ones more.
GRAPH_MIB_PER_LAYER = 4
#: GiB assumed for workspaces and kernels that are loaded after the snapshot.
LIBRARIES_GIB = 0.1
#: GiB that CUDA and the communication between GPUs take outside the budget, before vLLM asks what is free: logs show
#: 0.4 for one GPU and up to 1.6 for several.
CONTEXT_GIB, COMMUNICATION_GIB = 0.4, 0.6
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


def item_tokens(
    facts: ModelFacts, *, max_pixels: int | None = None, video_pixels: int | None = None, max_model_len: int
) -> dict[str, int]:
    """Tokens of the largest image and of the largest video, as vLLM counts them to size its buffers.

    A video is one pair of frames with half of its pixels each (Qwen3-VL), or as many frames of the largest image's
    size as fit the context, up to 14 (Qwen2-VL).
    Source: ``get_max_image_tokens``, ``get_max_video_tokens`` in ``qwen2_vl.py`` and ``qwen3_vl.py``.

    ``max_pixels`` limits an image where the processor's own limit is overridden, ``video_pixels`` a whole video of
    Qwen3-VL (None: as released).
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


def rope_bytes(facts: ModelFacts) -> int:
    """Table of the rotary positions in 16 bits: context x head_dim (``MRotaryEmbedding``). Qwen3-VL has one row per
    position of the context, the older families four."""
    return facts.context * (1 if facts.family == "qwen3-vl" else 4) * facts.head_dim * _HALF


def penalty_bytes(facts: ModelFacts, sequences: int) -> int:
    """Tables of which tokens occurred (``PenaltiesState``): for each sequence 4 bytes x vocabulary, and a bit each."""
    return sequences * (4 * facts.vocab + -(-facts.vocab // 32) * 4)


def vision_peak(facts: ModelFacts, layout: Layout, budget: int) -> int:
    """Bytes while the vision tower works on a full budget.

    For each patch (merge^2 to a token): its pixels, twice the width (residual, normed), and the larger of query, key
    and value before and after rotation with the result (6 x width / TP) and the MLP before and after its activation
    (2 x mlp / TP; gated MLPs 3). Deepstack features wait for the end. With the whole tower on each GPU, one of them
    gets the largest image alone.
    """
    tower = facts.vision
    patches, degree = budget * tower.merge**2, 1 if layout.whole_vision else layout.tensor_parallel
    pixels = 3 * tower.temporal_patch * tower.patch**2
    inner = max(6 * tower.hidden, (3 if tower.gated else 2) * tower.mlp) // degree
    deepstack = len(tower.deepstack) * budget * facts.hidden
    return (patches * (pixels + 2 * tower.hidden + inner) + deepstack) * _HALF


def language_peak(facts: ModelFacts, layout: Layout, batched_tokens: int, sequences: int) -> int:
    """Bytes while the language model works on a full batch: the larger of a layer and of sampling.

    A layer, for each token: residual and normed input (2 x hidden), and the larger of attention (query, key, value and
    result, over TP) and MLP (gate, up and their product: 3 x mlp / TP; for a mixture of experts, that of ``top_k``
    experts and their results). Sampling, for each sequence: logits in 16 bits. The trial run omits penalties,
    top-k and log probabilities (``_dummy_sampler_run``).
    """
    degree = layout.tensor_parallel
    attention = (2 * facts.heads + 2 * facts.kv_heads) * facts.head_dim // degree
    inner = max(attention, 3 * facts.mlp // degree if not facts.is_moe or facts.dense_layers else 0)
    if facts.is_moe:
        shards = layout.expert_shards
        results = facts.hidden // shards if layout.expert_parallel else facts.hidden
        inner = max(inner, facts.top_k * (3 * facts.moe_mlp // shards + results))
    return max(batched_tokens * (2 * facts.hidden + inner), sequences * facts.vocab) * _HALF


def margins(facts: ModelFacts, layout: Layout, *, eager: bool = False) -> dict[str, int]:
    """Assumed bytes that no formula gives, by name."""
    graphs = 0 if eager else facts.layers // layout.pipeline_parallel * GRAPH_MIB_PER_LAYER * 2**20
    parts = {"libraries, workspaces (assumed)": int(LIBRARIES_GIB * 2**30), "CUDA graphs (assumed)": graphs}
    return {name: size for name, size in parts.items() if size}


def outside_gib(layout: Layout) -> float:
    """GiB that are taken before vLLM asks how much is free."""
    return CONTEXT_GIB + (COMMUNICATION_GIB if layout.gpus > layout.data_parallel else 0)

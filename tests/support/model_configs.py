"""Configurations of real architectures: a tiny one, and one for each shape of the catalogue."""

from helpers.model_facts import ModelFacts

TINY = {
    "model_type": "qwen3_vl",
    "tie_word_embeddings": True,
    "text_config": {
        "model_type": "qwen3_vl_text",
        "vocab_size": 384,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": 4096,
    },
    "vision_config": {
        "model_type": "qwen3_vl_vision",
        "depth": 4,
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_heads": 4,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 192,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [1, 2, 3],
    },
}


def config_of(facts: ModelFacts) -> dict:
    """A config.json for the shape of a catalogue entry."""
    tower = facts.vision
    text = {
        "vocab_size": facts.vocab,
        "hidden_size": facts.hidden,
        "intermediate_size": facts.mlp or 6144,
        "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "head_dim": facts.head_dim,
        "max_position_embeddings": facts.context,
        "tie_word_embeddings": facts.tied,
    }
    if facts.is_moe:
        text |= {"num_experts": facts.experts, "num_experts_per_tok": facts.top_k}
        text |= {"moe_intermediate_size": facts.moe_mlp, "decoder_sparse_step": 1, "mlp_only_layers": []}
    shared = {"depth": tower.depth, "num_heads": tower.heads, "patch_size": tower.patch}
    shared |= {"spatial_merge_size": tower.merge, "temporal_patch_size": tower.temporal_patch}
    if facts.family == "qwen2-vl":
        vision = shared | {"embed_dim": tower.hidden, "hidden_size": facts.hidden, "mlp_ratio": 4}
        kind = "qwen2_vl"
    elif facts.family == "qwen2.5-vl":
        vision = shared | {"hidden_size": tower.hidden, "intermediate_size": tower.mlp, "out_hidden_size": facts.hidden}
        kind = "qwen2_5_vl"
    else:
        vision = shared | {"hidden_size": tower.hidden, "intermediate_size": tower.mlp, "out_hidden_size": facts.hidden}
        vision |= {"num_position_embeddings": tower.position_embeddings}
        vision |= {"deepstack_visual_indexes": list(tower.deepstack)}
        kind = "qwen3_vl_moe" if facts.is_moe else "qwen3_vl"
    return {
        "model_type": kind,
        "tie_word_embeddings": facts.tied,
        "text_config": text | {"model_type": f"{kind}_text"},
        "vision_config": vision | {"model_type": f"{kind}_vision"},
    }

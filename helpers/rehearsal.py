"""Folders that have a released model's exact shape but no weights, so that its size can be tried before a download.

``load_format="dummy"`` fills the shape with random numbers: memory and speed are real, answers are noise. Where the
hub is out of reach, the configuration is written from ``data/models.yaml``, and the tokenizer and processor of the
bundled tiny model stand in, with the released pixel limits; token counts of text are therefore not the released
model's, token counts of images are.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts, find_model_facts, read_model_facts

STAND_IN_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json")


def shape_folder(model: str, stand_in: Path, target: Path) -> Path:
    """Write the folder for a model of ``data/models.yaml`` below ``target``, once, and return it.

    Args:
        model: hub id, such as ``Qwen/Qwen3-VL-2B-Instruct``.
        stand_in: folder of the tiny model whose tokenizer and processor are borrowed.
        target: where shapes are kept.

    Raises:
        CourseError: a model that the catalogue does not know, or a stand-in of the other family.
    """
    facts = find_model_facts(model)
    if not read_model_facts(stand_in).family == facts.family:
        raise CourseError(f"{stand_in.name} cannot stand in for {model}.", "it is of the other family")
    folder = target / model.rsplit("/", 1)[-1]
    if (folder / "config.json").is_file():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    for name in STAND_IN_FILES:
        shutil.copyfile(stand_in / name, partial / name)
    tiny_config = json.loads((stand_in / "config.json").read_text(encoding="utf-8"))
    config = _qwen2_config if facts.family == "qwen2-vl" else _config
    (partial / "config.json").write_text(json.dumps(config(facts, tiny_config), indent=2), encoding="utf-8")
    processor = json.loads((partial / "processor_config.json").read_text(encoding="utf-8"))
    processor["image_processor"]["size"] = {"shortest_edge": facts.min_pixels, "longest_edge": facts.max_pixels}
    (partial / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    try:
        partial.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(partial)
    return folder


def _config(facts: ModelFacts, tiny: dict[str, Any]) -> dict[str, Any]:
    kind = "qwen3_vl_moe" if facts.is_moe else "qwen3_vl"
    text = {
        "model_type": f"{kind}_text",
        "vocab_size": facts.vocab,
        "hidden_size": facts.hidden,
        "intermediate_size": facts.mlp or facts.moe_mlp * facts.top_k,
        "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "head_dim": facts.head_dim,
        "max_position_embeddings": facts.context,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5000000,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "eos_token_id": tiny["text_config"]["eos_token_id"],
        "pad_token_id": tiny["text_config"]["pad_token_id"],
        "tie_word_embeddings": facts.tied,
    }
    if facts.is_moe:
        text |= {
            "num_experts": facts.experts,
            "num_experts_per_tok": facts.top_k,
            "moe_intermediate_size": facts.moe_mlp,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    tower = facts.vision
    vision = {
        "model_type": f"{kind}_vision" if facts.is_moe else "qwen3_vl_vision",
        "depth": tower.depth,
        "hidden_size": tower.hidden,
        "intermediate_size": tower.mlp,
        "num_heads": tower.heads,
        "out_hidden_size": facts.hidden,
        "patch_size": tower.patch,
        "spatial_merge_size": tower.merge,
        "temporal_patch_size": tower.temporal_patch,
        "num_position_embeddings": tower.position_embeddings,
        "deepstack_visual_indexes": list(tower.deepstack),
    }
    architecture = "Qwen3VLMoeForConditionalGeneration" if facts.is_moe else "Qwen3VLForConditionalGeneration"
    return {
        "architectures": [architecture],
        "model_type": kind,
        "text_config": text,
        "vision_config": vision,
        "tie_word_embeddings": facts.tied,
        "dtype": "bfloat16",
        **_tokens(tiny),
    }


def _qwen2_config(facts: ModelFacts, tiny: dict[str, Any]) -> dict[str, Any]:
    tower = facts.vision
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "text_config": {
            "model_type": "qwen2_vl_text",
            "vocab_size": facts.vocab,
            "hidden_size": facts.hidden,
            "intermediate_size": facts.mlp,
            "num_hidden_layers": facts.layers,
            "num_attention_heads": facts.heads,
            "num_key_value_heads": facts.kv_heads,
            "max_position_embeddings": facts.context,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
            "eos_token_id": tiny["text_config"]["eos_token_id"],
            "pad_token_id": tiny["text_config"]["pad_token_id"],
            "tie_word_embeddings": facts.tied,
        },
        "vision_config": {
            "model_type": "qwen2_vl_vision",
            "depth": tower.depth,
            "embed_dim": tower.hidden,
            "hidden_size": facts.hidden,
            "mlp_ratio": tower.mlp // tower.hidden,
            "num_heads": tower.heads,
            "patch_size": tower.patch,
            "spatial_merge_size": tower.merge,
            "temporal_patch_size": tower.temporal_patch,
        },
        "tie_word_embeddings": facts.tied,
        "dtype": "bfloat16",
        **_tokens(tiny),
    }


def _tokens(tiny: dict[str, Any]) -> dict[str, int]:
    """Ids of the tokens that stand for pixels, from the tokenizer that is borrowed."""
    wanted = {"image", "video", "vision"}
    return {key: tiny[key] for key in tiny if key.endswith("_token_id") and key.split("_")[0] in wanted}

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
    (partial / "config.json").write_text(json.dumps(_config(facts, tiny_config), indent=2), encoding="utf-8")
    processor = json.loads((partial / "processor_config.json").read_text(encoding="utf-8"))
    processor["image_processor"]["size"] = {"shortest_edge": facts.min_pixels, "longest_edge": facts.max_pixels}
    (partial / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    try:
        partial.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(partial)
    return folder


def _config(facts: ModelFacts, tiny: dict[str, Any]) -> dict[str, Any]:
    kind = "qwen2_vl" if facts.family == "qwen2-vl" else "qwen3_vl_moe" if facts.is_moe else "qwen3_vl"
    names = {"qwen2_vl": "Qwen2VL", "qwen3_vl": "Qwen3VL", "qwen3_vl_moe": "Qwen3VLMoe"}
    media = {"image", "video", "vision"}
    return {
        "architectures": [f"{names[kind]}ForConditionalGeneration"],
        "model_type": kind,
        "text_config": _text(facts, kind, tiny["text_config"]),
        "vision_config": _vision(facts, kind),
        "tie_word_embeddings": facts.tied,
        "dtype": "bfloat16",
        # tokens that stand for pixels, from the tokenizer that is borrowed
        **{key: tiny[key] for key in tiny if key.endswith("_token_id") and key.split("_")[0] in media},
    }


def _text(facts: ModelFacts, kind: str, tiny: dict[str, Any]) -> dict[str, Any]:
    text = {
        "model_type": f"{kind}_text",
        "vocab_size": facts.vocab,
        "hidden_size": facts.hidden,
        "intermediate_size": facts.mlp or facts.moe_mlp * facts.top_k,
        "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "max_position_embeddings": facts.context,
        "eos_token_id": tiny["eos_token_id"],
        "pad_token_id": tiny["pad_token_id"],
        "tie_word_embeddings": facts.tied,
    }
    if kind == "qwen2_vl":
        rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
        return text | {"rms_norm_eps": 1e-06, "rope_parameters": rope}
    rope = {"rope_type": "default", "rope_theta": 5000000, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text |= {"head_dim": facts.head_dim, "rope_parameters": rope}
    if facts.is_moe:
        text |= {
            "num_experts": facts.experts,
            "num_experts_per_tok": facts.top_k,
            "moe_intermediate_size": facts.moe_mlp,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    return text


def _vision(facts: ModelFacts, kind: str) -> dict[str, Any]:
    tower = facts.vision
    vision: dict[str, Any] = {
        "model_type": f"{kind}_vision",
        "depth": tower.depth,
        "num_heads": tower.heads,
        "patch_size": tower.patch,
        "spatial_merge_size": tower.merge,
        "temporal_patch_size": tower.temporal_patch,
    }
    if kind == "qwen2_vl":
        return vision | {"embed_dim": tower.hidden, "hidden_size": facts.hidden, "mlp_ratio": tower.mlp // tower.hidden}
    return vision | {
        "hidden_size": tower.hidden,
        "intermediate_size": tower.mlp,
        "out_hidden_size": facts.hidden,
        "num_position_embeddings": tower.position_embeddings,
        "deepstack_visual_indexes": list(tower.deepstack),
    }

"""Folders that have a released model's shape but no weights, so that a program can be tried before a download.

``load_format="dummy"`` fills the shape with random numbers: memory and speed are real, answers are noise. In miniature
the layers are few and narrow, and all that a program meets stays as released: vocabulary, ids, template, pixel limits,
context. The configuration is written from ``data/models.yaml``; the tiny model's tokenizer, filled up to the released
size, and its processor stand in; text takes more tokens than with the released tokenizer, images as many. The template
of a Thinking edition opens the thoughts, and both editions of Qwen3-VL take tools and their results.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from helpers.model_facts import ModelFacts, find_model_facts, read_model_facts

THINKING_TEMPLATE = COURSE_ROOT / "data" / "chat_template_thinking.jinja"
#: After Qwen2-VL's special tokens in Qwen3-VL's vocabulary, in the order of their ids; text to a decoder.
QWEN3_TOKENS = [f"<{name}>" for name in (
    "tool_call", "/tool_call", "|fim_prefix|", "|fim_middle|", "|fim_suffix|", "|fim_pad|", "|repo_name|", "|file_sep|",
    "tool_response", "/tool_response", "think", "/think",
)]  # fmt: skip
STAND_IN_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json")
#: The language model in miniature, and its tower: one layer for each level of deepstack, heads as wide as released.
SMALL: dict[str, Any] = {"layers": 3, "hidden": 256, "heads": 2, "kv_heads": 1, "mlp": 512, "moe_mlp": 64}
SMALL_TOWER: dict[str, Any] = {"depth": 3, "hidden": 128, "mlp": 512, "heads": 2}
#: Where the special tokens begin in the released vocabularies.
SPECIAL_FROM = 151_643
#: ``size.longest_edge`` of Qwen3-VL's video processor; Qwen2-VL's has the limits of its images.
QWEN3_VIDEO = {"shortest_edge": 4096, "longest_edge": 25_165_824}
#: What Qwen2-VL's template writes in front of a conversation without a system prompt.
QWEN2_SYSTEM = """{%- if messages[0].role != 'system' -%}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
"""


def shape_folder(model: str, stand_in: Path, target: Path, *, small: bool = False) -> Path:
    """Write the folder for a model of ``data/models.yaml`` below ``target``, once, and return it.

    Args:
        model: hub id, such as ``Qwen/Qwen3-VL-2B-Instruct``.
        stand_in: folder of the tiny model whose tokenizer and processor are borrowed.
        target: where shapes are kept.
        small: in miniature.

    Raises:
        CourseError: a model that the catalogue does not know, or a stand-in of the other family.
    """
    facts = find_model_facts(model)
    if not read_model_facts(stand_in).family == facts.family:
        raise CourseError(f"{stand_in.name} cannot stand in for {model}.", "it is of the other family")
    folder = target / (model.rsplit("/", 1)[-1] + ("-small" if small else ""))
    if (folder / "config.json").is_file():
        return folder
    if small:
        levels = tuple(range(len(facts.vision.deepstack)))
        facts = replace(facts, **SMALL, vision=replace(facts.vision, deepstack=levels, **SMALL_TOWER))
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    for name in STAND_IN_FILES:
        shutil.copyfile(stand_in / name, partial / name)
    ids = _fill_vocabulary(partial / "tokenizer.json", QWEN3_TOKENS if facts.family == "qwen3-vl" else [])
    _write(partial / "config.json", _config(facts, ids))
    processor = json.loads((partial / "processor_config.json").read_text(encoding="utf-8"))
    limits = {"shortest_edge": facts.min_pixels, "longest_edge": facts.max_pixels}
    processor["image_processor"]["size"] = limits
    processor["video_processor"]["size"] = QWEN3_VIDEO if facts.family == "qwen3-vl" else limits
    _write(partial / "processor_config.json", processor)
    template = partial / "chat_template.jinja"
    before = "" if model.endswith("-Thinking") else "{%- set enable_thinking = false -%}\n"
    before, rest = (QWEN2_SYSTEM, template) if facts.family == "qwen2-vl" else (before, THINKING_TEMPLATE)
    template.write_text(before + rest.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        partial.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(partial)
    return folder


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _fill_vocabulary(file: Path, more: list[str]) -> dict[str, int]:
    """Give special tokens, and ``more``, their released ids, and every id below them a token; token -> id."""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    plain = tokenizer["added_tokens"][0] | {"special": False}
    tokenizer["added_tokens"] += [plain | {"content": token} for token in more]
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary.update({f"Ġnoise{number}": number for number in range(len(vocabulary), SPECIAL_FROM)})
    for number, token in enumerate(tokenizer["added_tokens"], SPECIAL_FROM):
        token["id"] = number
    _write(file, tokenizer)
    return {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def _config(facts: ModelFacts, ids: dict[str, int]) -> dict[str, Any]:
    kind = "qwen2_vl" if facts.family == "qwen2-vl" else "qwen3_vl_moe" if facts.is_moe else "qwen3_vl"
    names = {"qwen2_vl": "Qwen2VL", "qwen3_vl": "Qwen3VL", "qwen3_vl_moe": "Qwen3VLMoe"}
    return {
        "architectures": [f"{names[kind]}ForConditionalGeneration"],
        "model_type": kind,
        "text_config": _text(facts, kind, ids),
        "vision_config": _vision(facts, kind),
        "tie_word_embeddings": facts.tied,
        "dtype": "bfloat16",
        "transformers_version": "5.0.0",  # without one, transformers suspects a fault of Mistral's tokenizers
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _text(facts: ModelFacts, kind: str, ids: dict[str, int]) -> dict[str, Any]:
    text = {
        "model_type": f"{kind}_text",
        "vocab_size": facts.vocab,
        "hidden_size": facts.hidden,
        "intermediate_size": facts.mlp or facts.moe_mlp * facts.top_k,
        "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "max_position_embeddings": facts.context,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": facts.tied,
    }
    if kind == "qwen2_vl":
        rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
        return text | {"rms_norm_eps": 1e-06, "rope_parameters": rope}
    rope = {"rope_type": "default", "rope_theta": 5000000, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text |= {"head_dim": facts.head_dim, "rope_parameters": rope}
    if facts.is_moe:
        text |= {"num_experts": facts.experts, "num_experts_per_tok": facts.top_k, "norm_topk_prob": True}
        text |= {"moe_intermediate_size": facts.moe_mlp, "decoder_sparse_step": 1, "mlp_only_layers": []}
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

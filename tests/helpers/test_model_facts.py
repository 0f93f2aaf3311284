"""Counts and sizes against the real architectures, built on torch's meta device (no memory, no download)."""

import json

import pytest
import yaml

from helpers.errors import CourseError
from helpers.model_facts import (
    CATALOGUE_FILE,
    facts_from_config,
    find_model_facts,
    load_catalogue,
    read_model_facts,
)
from tests.support.model_configs import TINY, config_of

CATALOGUE = load_catalogue()


def instantiated_parameters(config: dict) -> int:
    """Parameters of the transformers class, built without memory."""
    import torch
    import transformers

    name = {"qwen3_vl": "Qwen3VL", "qwen3_vl_moe": "Qwen3VLMoe", "qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}[
        config["model_type"]
    ]
    built = getattr(transformers, f"{name}Config")(**json.loads(json.dumps(config)))
    with torch.device("meta"):
        model = getattr(transformers, f"{name}ForConditionalGeneration")(built)
    model.tie_weights()
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", CATALOGUE)
def test_counted_parameters_equal_the_built_architecture(name):
    config = config_of(CATALOGUE[name])
    assert facts_from_config(config).parameters() == instantiated_parameters(config)
    assert facts_from_config(config).parameters() == CATALOGUE[name].parameters()


def test_counted_parameters_equal_a_tiny_architecture():
    assert facts_from_config(TINY).parameters() == instantiated_parameters(TINY)


def test_untied_head_and_attention_bias_are_counted():
    config = json.loads(json.dumps(TINY))
    config["tie_word_embeddings"] = False
    config["text_config"]["attention_bias"] = True
    assert facts_from_config(config).parameters() == instantiated_parameters(config)
    assert facts_from_config(config).parameters() > facts_from_config(TINY).parameters()


def test_bundled_model_counts_its_own_safetensors():
    from safetensors import safe_open

    from helpers.files import COURSE_ROOT

    folder = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"
    if not any(folder.glob("*.safetensors")):
        pytest.skip("absent: the bundled model's weights")
    counted = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as tensors:
            for key in tensors.keys():  # noqa: SIM118  (a safetensors handle is no dict)
                counted += _product(tensors.get_slice(key).get_shape())
    assert read_model_facts(folder).parameters() == counted


def _product(shape: list[int]) -> int:
    result = 1
    for side in shape:
        result *= side
    return result


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_states_what_the_formula_gives(name):
    entry = yaml.safe_load(CATALOGUE_FILE.read_text())["models"][name]
    digits = len(str(entry["params_b"]).replace(".", ""))
    assert float(f"{CATALOGUE[name].parameters() / 1e9:.{digits}g}") == entry["params_b"]
    assert CATALOGUE[name].kv_cache_bytes_per_token() == entry["kv_kib_per_token"] * 1024


def test_parameter_table_adds_up_and_names_experts_only_for_moe():
    dense, moe = CATALOGUE["Qwen/Qwen3-VL-4B-Instruct"], CATALOGUE["Qwen/Qwen3-VL-30B-A3B-Instruct"]
    assert sum(moe.parameter_table().values()) == moe.parameters()
    assert "experts" in moe.parameter_table() and "experts" not in dense.parameter_table()
    assert 3.0e9 < moe.active_parameters() < 3.5e9  # what 'A3B' in its name says
    assert dense.active_parameters() + dense.vision_parameters() == dense.parameters()


def test_some_layers_of_a_mixture_can_be_dense():
    config = config_of(CATALOGUE["Qwen/Qwen3-VL-30B-A3B-Instruct"])
    config["text_config"] |= {"num_hidden_layers": 3, "mlp_only_layers": [1], "num_experts": 4}
    assert facts_from_config(config).dense_layers == (1,)
    assert facts_from_config(config).parameters() == instantiated_parameters(config)


@pytest.mark.parametrize("size", [(64, 64), (192, 192), (1000, 333), (31, 6000), (480, 640), (5000, 5000), (20, 3000)])
def test_image_tokens_equal_the_processors(size):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    facts = CATALOGUE["Qwen/Qwen3-VL-4B-Instruct"]
    expected = smart_resize(*size, factor=32, min_pixels=facts.min_pixels, max_pixels=facts.max_pixels)
    assert facts.resized(*size) == expected
    assert facts.image_tokens(*size) == expected[0] * expected[1] // 1024


def test_pixel_limits_come_from_the_processor_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    assert read_model_facts(tmp_path).min_pixels == 65_536
    limits = {"size": {"shortest_edge": 4096, "longest_edge": 65536}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": limits}))
    assert read_model_facts(tmp_path).max_pixels == 65_536
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 1024, "max_pixels": 16384}))
    assert read_model_facts(tmp_path).image_tokens(1000, 1000) == 16


@pytest.mark.parametrize("size", [(0, 10), (1, 300)])
def test_impossible_pictures_are_refused(size):
    with pytest.raises(CourseError, match="pixels"):
        CATALOGUE["Qwen/Qwen3-VL-4B-Instruct"].resized(*size)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "llama"}, "'llama' is not known"),
        ({}, "'not given' is not known"),
        ({"model_type": "qwen3_5"}, "mixes linear and full attention"),
        ({"model_type": "qwen3_vl", "text_config": {"layer_types": ["linear_attention"]}}, "fixed size"),
        ({"model_type": "qwen3_vl", "text_config": {"linear_num_key_heads": 16}}, "fixed size"),
        ({"model_type": "qwen3_vl"}, "lacks 'num_hidden_layers'"),
    ],
)
def test_unsupported_configs_are_refused_with_the_reason(config, words):
    with pytest.raises(CourseError, match=words):
        facts_from_config(config)


def test_a_hybrid_config_of_transformers_is_refused():
    from transformers import Qwen3_5Config

    with pytest.raises(CourseError, match="linear and full attention"):
        facts_from_config(Qwen3_5Config().to_dict())


def test_find_model_facts_by_folder_by_id_and_not_at_all(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    assert find_model_facts(tmp_path).layers == 4
    assert find_model_facts("Qwen/Qwen3-VL-4B-Thinking") == CATALOGUE["Qwen/Qwen3-VL-4B-Instruct"]
    with pytest.raises(CourseError, match=r"data/models\.yaml"):
        find_model_facts("Qwen/Qwen9-VL")


def test_a_broken_or_missing_config_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"no config\.json"):
        read_model_facts(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(CourseError, match=r"config\.json cannot be read"):
        read_model_facts(tmp_path)


def test_weight_and_cache_bytes_follow_the_dtype():
    facts = facts_from_config(TINY)
    assert facts.weight_bytes("float32") == 2 * facts.weight_bytes("bfloat16") == 4 * facts.parameters()
    assert facts.kv_cache_bytes_per_token("bfloat16") == 2 * 4 * 1 * 64 * 2
    with pytest.raises(CourseError, match="float7"):
        facts.weight_bytes("float7")

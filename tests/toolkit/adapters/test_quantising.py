"""A quantised copy: smaller, of the layers that were asked for, and close to the original."""

import json

import pytest
import torch
from safetensors.torch import load_file

from helpers.errors import CourseError
from toolkit.adapters import quantise


@pytest.mark.parametrize(
    ("scheme", "keep", "layers"),
    [
        ("W8A8", ("lm_head", "re:.*visual.*"), 28),
        ("W8A8", ("lm_head",), 52),
        ("W4A16", ("lm_head", "re:.*visual.*"), 28),
    ],
)
def test_only_the_layers_that_were_asked_for(scheme, keep, layers, base, tmp_path):
    assert quantise(base, tmp_path, scheme, keep) == layers
    tensors = load_file(tmp_path / "model.safetensors")
    tower = tensors.get("model.visual.blocks.0.attn.qkv.weight")
    assert (tower is not None and tower.dtype.is_floating_point) is (layers == 28)
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    weight = load_file(base / "model.safetensors")[name].float()
    scale = tensors[f"{name}_scale"].float()
    if scheme == "W8A8":
        assert tensors[name].dtype == torch.int8
        assert ((tensors[name] * scale - weight).abs() <= scale).all()  # scales are rounded to bfloat16, too
    else:
        assert scale.shape == (512, 6)
    config = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"


def test_an_unknown_scheme_is_refused(base, tmp_path):
    with pytest.raises(CourseError, match="no scheme"):
        quantise(base, tmp_path, "W1")

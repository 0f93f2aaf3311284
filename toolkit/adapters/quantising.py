"""Weights in fewer bits, rounded to nearest, as a folder in the compressed-tensors format, which vLLM loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.errors import CourseError

#: Scheme of compressed-tensors → what it is. All run on vLLM's CPU engine, the first two on GPUs as well.
SCHEMES = {
    "W8A8": "weights in 8 bits, activations in 8 bits, scaled per token",
    "W4A16": "weights in 4 bits, a scale per 32 of them; activations as they are",
}
GROUP = 32
OUTPUT, TOWER = "lm_head", "re:.*visual.*"


def quantise(folder: str | Path, out: str | Path, scheme: str = "W8A8", keep: Sequence[str] = (OUTPUT, TOWER)) -> int:
    """Write a quantised copy of a model's folder, and return how many layers it quantises.

    No calibration data are used: scales follow from the weights, activations are scaled while they are computed.

    Args:
        folder: of a model that transformers loads, such as a merged one.
        out: where the copy goes, with tokenizer and processor.
        scheme: one of `SCHEMES`.
        keep: modules that stay as they are: names, or ``re:`` and a regular expression.

    Raises:
        CourseError: an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise CourseError(f"There is no scheme '{scheme}'.", "", f"use one of: {', '.join(SCHEMES)}")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    chosen = preset_name_to_scheme(scheme, ["Linear"])
    if scheme == "W4A16":
        chosen.weights.group_size = GROUP
    config = QuantizationConfig(config_groups={"linear": chosen}, ignore=list(keep), quantization_status="initialized")
    apply_quantization_config(model, config)
    layers = [module for module in model.modules() if getattr(module, "quantization_scheme", None)]
    for layer in layers:
        _set_scales(layer)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(out)
    compressor.update_config(str(out))
    AutoProcessor.from_pretrained(folder).save_pretrained(out)
    return len(layers)


def _set_scales(layer: Any) -> None:
    """From the least and the greatest weight of each row, or of each group in a row."""
    from compressed_tensors.quantization.utils import calculate_qparams

    how, weight = layer.quantization_scheme.weights, layer.weight.detach()
    grouped = how.strategy == "group"
    if grouped:
        weight = weight.unflatten(1, (-1, how.group_size))  # (outputs, groups, group)
    least, greatest = weight.amin(-1, keepdim=not grouped), weight.amax(-1, keepdim=not grouped)
    scale, zero = calculate_qparams(least, greatest, how)
    layer.weight_scale.data = scale.to(layer.weight_scale.dtype)
    if getattr(layer, "weight_zero_point", None) is not None:
        layer.weight_zero_point.data = zero.to(layer.weight_zero_point.dtype)

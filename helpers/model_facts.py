"""What a model's ``config.json`` tells before a byte of weights is read: shape, parameters, memory, tokens.

The counts follow the modules of transformers' ``Qwen3VLForConditionalGeneration``,
``Qwen3VLMoeForConditionalGeneration`` and ``Qwen2VLForConditionalGeneration``; the tests compare them with those
classes built on torch's meta device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_yaml
from helpers.video_tokens import fit

CATALOGUE_FILE = COURSE_ROOT / "data" / "models.yaml"
#: config.json's ``model_type`` -> the family's name in this course.
SUPPORTED = {"qwen3_vl": "qwen3-vl", "qwen3_vl_moe": "qwen3-vl", "qwen2_5_vl": "qwen2.5-vl", "qwen2_vl": "qwen2-vl"}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1, "int8": 1}


@dataclass(frozen=True)
class VisionTower:
    """The vision transformer in front of the language model. Sizes in features, patches in pixels."""

    depth: int
    hidden: int
    mlp: int
    heads: int
    patch: int
    merge: int
    temporal_patch: int
    position_embeddings: int = 0
    """Rows of the learned position table; 0 where positions are rotary only (Qwen2-VL)."""
    deepstack: tuple[int, ...] = ()
    """Blocks after which features go to the first decoder layers as well; only Qwen3-VL has them."""
    gated: bool = False
    """Whether the MLPs have a gate, and norms no bias (Qwen2.5-VL)."""


@dataclass(frozen=True)
class ModelFacts:
    """Shape of a Qwen-VL model, with everything that can be computed from it."""

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    context: int
    tied: bool
    vision: VisionTower
    experts: int = 0
    top_k: int = 0
    moe_mlp: int = 0
    dense_layers: tuple[int, ...] = ()
    """Layers of a mixture-of-experts model that have an ordinary MLP instead of experts."""
    attention_bias: bool = False
    min_pixels: int = 65_536
    max_pixels: int = 16_777_216

    @property
    def is_moe(self) -> bool:
        """Whether the MLPs are mixtures of experts."""
        return self.experts > 0

    def parameter_table(self) -> dict[str, int]:
        """Parameters by part of the model, largest structure first; the values add up to :meth:`parameters`."""
        hidden, head_dim = self.hidden, self.head_dim
        q_width, kv_width = self.heads * head_dim, self.kv_heads * head_dim
        attention = 2 * hidden * q_width + 2 * hidden * kv_width
        if self.family != "qwen3-vl":
            attention += q_width + 2 * kv_width  # biases of q, k, v
        else:
            attention += 2 * head_dim  # RMS norms of q and k, one weight per feature of a head
            attention += (q_width + 2 * kv_width + hidden) if self.attention_bias else 0
        moe_layers = self.layers - len(self.dense_layers) if self.is_moe else 0
        table = {
            "token embeddings": self.vocab * hidden,
            "attention": self.layers * attention,
            "MLPs": (self.layers - moe_layers) * 3 * hidden * self.mlp,
            "experts": moe_layers * self.experts * 3 * hidden * self.moe_mlp,
            "routers": moe_layers * self.experts * hidden,
            "norms": self.layers * 2 * hidden + hidden,
            "output head": 0 if self.tied else self.vocab * hidden,
        }
        return {part: count for part, count in (table | self._vision_table()).items() if count}

    def _vision_table(self) -> dict[str, int]:
        tower = self.vision
        width = tower.hidden
        merged = width * tower.merge**2
        pixels = 3 * tower.temporal_patch * tower.patch**2
        ups, norm = (2, width) if tower.gated else (1, 2 * width)
        block = 2 * norm + (width * 3 * width + 3 * width) + (width * width + width)
        block += ups * (width * tower.mlp + tower.mlp) + (tower.mlp * width + width)
        project = (merged * merged + merged) + (merged * self.hidden + self.hidden)
        return {
            "vision: patch embedding": pixels * width + (width if self.family == "qwen3-vl" else 0),
            "vision: positions": tower.position_embeddings * width,
            "vision: blocks": tower.depth * block,
            "vision: merger": norm + project,
            "vision: deepstack mergers": len(tower.deepstack) * (2 * merged + project),
        }

    def parameters(self) -> int:
        """Number of parameters; a head tied to the embeddings counts once."""
        return sum(self.parameter_table().values())

    def vision_parameters(self) -> int:
        """Parameters of the vision tower with its mergers."""
        return sum(self._vision_table().values())

    def active_parameters(self) -> int:
        """Parameters of the language model that take part in one token: of the experts only the ``top_k`` chosen."""
        language = self.parameters() - self.vision_parameters()
        if not self.is_moe:
            return language
        experts = self.parameter_table()["experts"]
        return language - experts + experts * self.top_k // self.experts

    def weight_bytes(self, dtype: str = "bfloat16") -> int:
        """Bytes of all weights when each is held as ``dtype``."""
        return self.parameters() * _bytes_of(dtype)

    def kv_cache_bytes_per_token(self, dtype: str = "bfloat16") -> int:
        """Bytes of KV cache for one token of one sequence: K and V, in every layer, for every KV head."""
        return 2 * self.layers * self.kv_heads * self.head_dim * _bytes_of(dtype)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels after the processor's ``smart_resize``.

        Both sides become multiples of patch x merge (32 for Qwen3-VL), the area is kept within ``min_pixels`` and
        ``max_pixels``, the aspect ratio as well as possible. Source: ``smart_resize`` in
        ``transformers/models/qwen2_vl/image_processing_qwen2_vl.py``.

        Raises:
            CourseError: a side below one pixel, or an aspect ratio above 200, which the processor refuses too.
        """
        what = f"An image of {width} x {height} pixels"
        if min(height, width) < 1:
            raise CourseError(f"{what} has no area.", "", "give both sides in pixels")
        if max(height, width) / min(height, width) > 200:
            cause = "the processor accepts aspect ratios up to 200"
            raise CourseError(f"{what} is refused.", cause, "crop it, or cut it into pieces")
        factor = self.vision.patch * self.vision.merge
        return fit((height, width), factor, (self.min_pixels, self.max_pixels))

    def image_tokens(self, height: int, width: int) -> int:
        """Tokens that an image of this size takes in the prompt, without the two markers around it."""
        new_height, new_width = self.resized(height, width)
        return new_height * new_width // (self.vision.patch * self.vision.merge) ** 2


def read_model_facts(folder: str | Path) -> ModelFacts:
    """Read the facts of a local model from its ``config.json`` and, if there is one, ``preprocessor_config.json``.

    Raises:
        CourseError: no or a broken ``config.json``, or an architecture whose formulas are not known here.
    """
    folder = Path(folder)
    config = _read_json(folder / "config.json", required=True)
    processor = _read_json(folder / "preprocessor_config.json")
    processor = processor or _read_json(folder / "processor_config.json").get("image_processor") or {}
    return facts_from_config(config, processor, name=folder.name)


def facts_from_config(config: dict[str, Any], processor: dict[str, Any] | None = None, *, name: str = "") -> ModelFacts:
    """Facts from the contents of ``config.json`` and ``preprocessor_config.json``.

    Raises:
        CourseError: an unsupported architecture, or a key that the architecture needs is missing.
    """
    model_type = config.get("model_type", "")
    text = config.get("text_config") or config  # older Qwen2-VL files keep the text part at the top level
    _refuse_unknown(model_type, text)
    vision = config.get("vision_config") or {}
    family = SUPPORTED[model_type]
    first, gated = family == "qwen2-vl", family == "qwen2.5-vl"
    image, (low, high) = processor or {}, (65_536, 16_777_216) if family == "qwen3-vl" else (3136, 12_845_056)
    size = image.get("size") or {}
    try:
        experts = text.get("num_experts") or text.get("num_local_experts") or 0 if model_type == "qwen3_vl_moe" else 0
        layers, heads = text["num_hidden_layers"], text["num_attention_heads"]
        tower = VisionTower(
            depth=vision["depth"],
            hidden=vision["embed_dim" if first else "hidden_size"],
            mlp=vision["embed_dim"] * vision.get("mlp_ratio", 4) if first else vision["intermediate_size"],
            heads=vision["num_heads"],
            patch=vision["patch_size"],
            merge=vision["spatial_merge_size"],
            temporal_patch=vision["temporal_patch_size"],
            position_embeddings=vision.get("num_position_embeddings", 0),
            deepstack=tuple(vision.get("deepstack_visual_indexes", ())),
            gated=gated,
        )
        return ModelFacts(
            name=name,
            family=family,
            layers=layers,
            hidden=text["hidden_size"],
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or text["hidden_size"] // heads,
            mlp=text.get("intermediate_size", 0),
            vocab=text["vocab_size"],
            context=text["max_position_embeddings"],
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            vision=tower,
            experts=experts,
            top_k=text["num_experts_per_tok"] if experts else 0,
            moe_mlp=text["moe_intermediate_size"] if experts else 0,
            dense_layers=_dense_layers(text, layers) if experts else (),
            attention_bias=bool(text.get("attention_bias", False)),
            min_pixels=image.get("min_pixels") or size.get("shortest_edge") or low,
            max_pixels=image.get("max_pixels") or size.get("longest_edge") or high,
        )
    except KeyError as error:
        cause, remedy = "config.json was cut short, or written by another tool", "python -m course download"
        raise CourseError(f"The config of {name or model_type} lacks {error}.", cause, remedy) from None


def load_catalogue(path: Path | None = None) -> dict[str, ModelFacts]:
    """The released models of ``data/models.yaml`` by hub id, in the file's order.

    Raises:
        CourseError: the file is missing or broken.
    """
    path = path or CATALOGUE_FILE
    data = read_yaml(path)
    try:
        return {name: _facts_from_yaml(name, entry, data["families"]) for name, entry in data["models"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        remedy = "compare with another entry"
        raise CourseError(f"{path.name}: {error!r} is missing or malformed.", "", remedy) from None


def find_model_facts(model: str | Path) -> ModelFacts:
    """Facts of a model by folder, or by hub id from the catalogue; a Thinking edition has its Instruct's shape.

    Raises:
        CourseError: neither a folder nor in the catalogue.
    """
    if (Path(model) / "config.json").is_file():
        return read_model_facts(model)
    catalogue = {name.lower(): facts for name, facts in load_catalogue().items()}
    known = catalogue.get(str(model).lower().replace("-thinking", "-instruct"))
    if known is None:
        raise CourseError(
            f"Nothing is known about the model '{model}'.",
            "it is neither a folder with a config.json nor listed in data/models.yaml",
            "download it first, or use one of: " + ", ".join(facts.name for facts in catalogue.values()),
        )
    return known


def as_model_facts(model: ModelFacts | str) -> ModelFacts:
    """The facts themselves, or those of the model of that name; see `find_model_facts`."""
    return find_model_facts(model) if isinstance(model, str) else model


def _facts_from_yaml(name: str, entry: dict[str, Any], families: dict[str, Any]) -> ModelFacts:
    values = {**families[entry["family"]], **entry}
    shared = ("patch", "merge", "temporal_patch", "position_embeddings", "gated")
    tower = VisionTower(
        **dict(zip(("depth", "hidden", "mlp"), values["vision"], strict=True)),
        heads=values["vision_heads"],
        deepstack=tuple(values.get("deepstack", ())),
        **{key: values[key] for key in shared if key in values},
    )
    low, high = values["image_pixels"]
    own = {"name": name, "mlp": 0} | values | {"vision": tower, "min_pixels": low, "max_pixels": high}
    return ModelFacts(**{field.name: own[field.name] for field in fields(ModelFacts) if field.name in own})


def _refuse_unknown(model_type: str, text: dict[str, Any]) -> None:
    layer_types = text.get("layer_types") or []
    linear = any(key.startswith("linear_") for key in text) or "linear_attention" in layer_types
    remedy = f"use a model of: {', '.join(SUPPORTED)}"
    if linear or model_type.startswith(("qwen3_5", "qwen3_next")):
        cause = (
            "only its full-attention layers keep a KV cache that grows with every token; the others keep a state of "
        )
        cause += "fixed size, so layers x KV heads would overstate its cache several times"
        what = f"'{model_type}' mixes linear and full attention: its memory is not computed here."
        raise CourseError(what, cause, remedy)
    if model_type not in SUPPORTED:
        what = f"The architecture '{model_type or 'not given'}' is not known here."
        cause = "the formulas for parameters and memory are those of Qwen2-VL, Qwen2.5-VL and Qwen3-VL"
        raise CourseError(what, cause, remedy)


def _dense_layers(text: dict[str, Any], layers: int) -> tuple[int, ...]:
    step, listed = text.get("decoder_sparse_step", 1), set(text.get("mlp_only_layers") or ())
    return tuple(layer for layer in range(layers) if layer in listed or (layer + 1) % step)


def _read_json(path: Path, *, required: bool = False) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        cause, remedy = "the folder is not a model, or the download is not complete", "python -m course download"
        raise CourseError(f"There is no {path.name} in {path.parent.name}/.", cause, remedy) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CourseError(f"{path.parent.name}/{path.name} cannot be read.", str(error), "download it again") from None


def _bytes_of(dtype: str) -> int:
    if dtype not in BYTES:
        raise CourseError(f"The data type '{dtype}' is not known.", "", f"use one of: {', '.join(BYTES)}")
    return BYTES[dtype]

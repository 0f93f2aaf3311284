"""One model on several GPUs: which ways of splitting it are possible.

The rules are those of vLLM 0.32; the place in its source is named with each.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts, as_model_facts

#: Side of the squares that share a scale in Qwen's FP8 checkpoints (``weight_block_size``).
FP8_BLOCK = 128
#: Weights in a row that share a scale in AWQ checkpoints (``q_group_size``).
AWQ_GROUP = 128
#: The vocabulary is padded to a multiple of this (``vocab_parallel_embedding.py``).
VOCAB_PADDING = 64


@dataclass(frozen=True)
class Layout:
    """How a model is spread over GPUs.

    Raises:
        CourseError: a degree below 1.
    """

    tensor_parallel: int = 1
    """GPUs that share each layer (``--tensor-parallel-size``)."""
    pipeline_parallel: int = 1
    """Groups of GPUs, each with a part of the layers (``--pipeline-parallel-size``)."""
    data_parallel: int = 1
    """Copies that answer different requests (``--data-parallel-size``)."""
    expert_parallel: bool = False
    """Whether experts are shared out whole instead of each being cut (``--enable-expert-parallel``)."""
    whole_vision: bool = False
    """Whether every GPU has all of the vision tower (``--mm-encoder-tp-mode data``)."""

    def __post_init__(self) -> None:
        for name in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
            if getattr(self, name) < 1:
                raise CourseError(f"{name}={getattr(self, name)} was refused.", "it counts GPUs", "give 1 or more")

    @property
    def gpus(self) -> int:
        """GPUs that it takes."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def expert_shards(self) -> int:
        """Parts that each layer's experts are in: vLLM spreads them over data-parallel copies too
        (``FusedMoEParallelConfig.flatten_tp_across_dp_and_pcp``)."""
        return self.tensor_parallel * self.data_parallel

    def problems(self, model: ModelFacts | str, weights: str = "bfloat16") -> list[str]:
        """Why vLLM would refuse this layout, one sentence each; empty if it would not.

        Args:
            weights: 'bfloat16', 'float16', 'float32', 'fp8' (in blocks of 128 x 128) or 'awq' (in groups of 128).
        """
        facts = as_model_facts(model)
        problems = [
            f"{count} {name} cannot be shared by {self.tensor_parallel} GPUs"
            for name, count, divides in _divisions(facts, self)
            if not divides
        ]
        if self.expert_parallel and not facts.is_moe:
            problems.append("expert parallel needs a mixture of experts")
        problems += _pipeline_problems(facts, self)
        return problems + (_block_problems(facts, self, weights) if weights in {"fp8", "awq"} else [])

    def flags(self) -> list[str]:
        """Options of ``vllm serve``; none for what is its default."""
        numbers = {
            "--tensor-parallel-size": self.tensor_parallel,
            "--pipeline-parallel-size": self.pipeline_parallel,
            "--data-parallel-size": self.data_parallel,
        }
        flags = [part for flag, number in numbers.items() if number > 1 for part in (flag, str(number))]
        flags += ["--enable-expert-parallel"] if self.expert_parallel else []
        return flags + (["--mm-encoder-tp-mode", "data"] if self.whole_vision else [])

    def describe(self) -> str:
        """Such as 'TP 4 x PP 2, expert parallel'."""
        degrees = {"TP": self.tensor_parallel, "PP": self.pipeline_parallel, "DP": self.data_parallel}
        parts = [f"{name} {degree}" for name, degree in degrees.items() if degree > 1]
        extra = ["expert parallel"] if self.expert_parallel else []
        extra += ["whole vision tower on each GPU"] if self.whole_vision else []
        return ", ".join([" x ".join(parts) or "1 GPU", *extra])


def layers_of_stages(layers: int, pipeline_parallel: int) -> list[int]:
    """Layers of each pipeline stage; a remainder goes to the stages before the last (``get_pp_indices``)."""
    stages = [layers // pipeline_parallel] * pipeline_parallel
    for back in range(2, layers % pipeline_parallel + 2):
        stages[-back] += 1
    return stages


def _divisions(facts: ModelFacts, layout: Layout) -> list[tuple[str, int, bool]]:
    degree, tower = layout.tensor_parallel, facts.vision
    fewer_heads = degree > facts.kv_heads and degree % facts.kv_heads == 0  # then each head is held several times
    rows = [
        # config/model.py, verify_with_parallel_config
        ("attention heads", facts.heads, facts.heads % degree == 0),
        # model_executor/models/qwen3.py, Qwen3Attention
        ("KV heads", facts.kv_heads, facts.kv_heads % degree == 0 or fewer_heads),
        # vocab_parallel_embedding.py
        ("rows of vocabulary", padded_vocabulary(facts), padded_vocabulary(facts) % degree == 0),
    ]
    if facts.mlp and (not facts.is_moe or facts.dense_layers):
        rows.append(("MLP columns", facts.mlp, facts.mlp % degree == 0))
    if facts.is_moe and not layout.expert_parallel:
        shards = layout.expert_shards
        rows.append((f"expert columns ({shards} parts)", facts.moe_mlp, facts.moe_mlp % shards == 0))
    if not layout.whole_vision:
        # Qwen2_5_VisionAttention, Qwen3_VisionMLP
        rows.append(("heads of the vision tower", tower.heads, tower.heads % degree == 0))
        rows.append(("MLP columns of the vision tower", tower.mlp, tower.mlp % degree == 0))
    return rows


def _pipeline_problems(facts: ModelFacts, layout: Layout) -> list[str]:
    if layout.pipeline_parallel > facts.layers:
        return [f"{facts.layers} layers do not fill {layout.pipeline_parallel} pipeline stages"]
    first, levels = layers_of_stages(facts.layers, layout.pipeline_parallel)[0], len(facts.vision.deepstack)
    if first < levels:  # qwen3_vl.py asserts it of the second stage
        return [f"the first pipeline stage has {first} layers, but deepstack features go to the first {levels}"]
    return []


def _block_problems(facts: ModelFacts, layout: Layout, weights: str) -> list[str]:
    """fp8_utils.py: validate_fp8_block_shape and validate_fp8_block_shape_moe; auto_awq.py: BaseAWQLinearMethod.

    Experts that do not fit are refused here even though vLLM 0.32 can refine their blocks to 64 or 32 for some kernels
    (``refine_fp8_moe_block_shape``): that way is untested, and expert parallel does without it.
    """
    degree, problems = layout.tensor_parallel, []
    block, name = (FP8_BLOCK, "FP8 blocks") if weights == "fp8" else (AWQ_GROUP, "AWQ groups")
    parts = [("an MLP", facts.mlp, degree)] if facts.mlp and (not facts.is_moe or facts.dense_layers) else []
    parts += [("attention", facts.heads * facts.head_dim, degree)]
    if facts.is_moe and not layout.expert_parallel:
        parts += [("an expert", facts.moe_mlp, layout.expert_shards)]
    for part, columns, shards in parts:
        if columns % shards == 0 and columns // shards % block:
            remedy = ": use expert parallel, or fewer GPUs for a layer" if part == "an expert" else ": use a lower TP"
            problems.append(
                f"{name} of {block} do not fit {part}: {columns} columns / {shards} = {columns // shards}{remedy}"
            )
    return problems


def padded_vocabulary(facts: ModelFacts) -> int:
    """Rows of the embedding table as vLLM allocates it."""
    return -(-facts.vocab // VOCAB_PADDING) * VOCAB_PADDING

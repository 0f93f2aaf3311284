"""Training: both families, presets, quicker ways, exact resume, several processes, mishaps that keep what is good."""

import hashlib
import itertools
import json
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.tiny_model import architecture, checkpoint, dataset, fast_kernels, trainer
from toolkit.tiny_model.checkpoint import STATE_FILE, examples_seen
from toolkit.tiny_model.loss import held_out_accuracy, summed_loss
from toolkit.tiny_model.mrope import PreparedBatches, mrope_positions, with_positions
from toolkit.tiny_model.muon import Muon, orthogonalize
from toolkit.tiny_model.optimizers import build_optimizers, rescale_gradients
from toolkit.tiny_model.patches import FAMILIES, layout_of, patchify
from toolkit.tiny_model.presets import Preset, load_presets
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.tiny_model.trainer import TRAINING_SEEDS, Trainer
from toolkit.tiny_model.training_log import LOG_FILE, read_log
from toolkit.tiny_model.training_run import TrainingRun
from toolkit.toyworld import receipts

SENTENCES = {"until": 1, "mixture": {"sentence": 1}}
MIXED = {"until": 1, "mixture": {"scene": 1, "clip": 1, "sentence": 1}, "difficulty": {1: 1}, "sides": {128: 1}}


def recipe(**changes):
    """A preset that takes a second or two; sentences need no pictures."""
    fields = {
        "name": "quick", "steps": 6, "batch_size": 2, "learning_rate": 1e-3, "muon_learning_rate": 3e-3,
        "warm_up_steps": 2, "workers": 0, "save_every_steps": 2, "held_out_items": 0, "held_out_items_at_end": 0,
        "phases": [SENTENCES],
    }  # fmt: skip
    return Preset(**fields | changes)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture
def train(tokenizer, monkeypatch):
    """`trainer.train` without making the tokenizer anew each time."""
    monkeypatch.setattr(trainer, "build_tokenizer", lambda **_: tokenizer)

    def run(out, *, resume=False, stop_after=None, **fields):
        run = TrainingRun(out, **{"preset": recipe()} | fields)
        return trainer.train(run, resume=resume, stop_after=stop_after, quiet=True)

    return run


def weights(out):
    return torch.load(out / STATE_FILE, weights_only=True)["model"]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def steps_logged(out):
    return [line["step"] for line in read_log(out)]


# ---------------------------------------------------------------- architectures


def test_families_have_the_same_number_of_parameters(tokenizer):
    counts = {}
    for family in FAMILIES:
        model = architecture.build_model(architecture.build_config(tokenizer, family))
        counts[family] = sum(parameter.numel() for parameter in model.parameters())
        assert architecture.family_of(model.config) == family
    assert 5e6 < counts["qwen3-vl"] < 6e6
    assert abs(counts["qwen2-vl"] / counts["qwen3-vl"] - 1) < 0.01


def test_families_are_built_as_released(tokenizer):
    three, two = (architecture.build_config(tokenizer, family) for family in FAMILIES)
    assert three.text_config.rope_parameters["mrope_interleaved"] and three.vision_config.patch_size == 16
    assert "mrope_interleaved" not in two.text_config.rope_parameters and two.vision_config.patch_size == 14
    assert len(three.vision_config.deepstack_visual_indexes) == 3
    for config, head in ((three, three.text_config.head_dim), (two, two.text_config.hidden_size // 6)):
        text = config.text_config
        assert head in {32, 64}  # what vLLM's CPU attention has kernels for
        assert sum(text.rope_parameters["mrope_section"]) == head // 2
        assert text.num_attention_heads % text.num_key_value_heads == 0 < text.num_key_value_heads
        assert text.num_key_value_heads < text.num_attention_heads and config.tie_word_embeddings


def test_first_weights_follow_the_seed(tokenizer):
    config = architecture.build_config(tokenizer, "qwen2-vl")
    one, same, other = (architecture.build_model(config, seed).state_dict() for seed in (1, 1, 2))
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])


def test_unknown_family_is_refused():
    for build in (architecture.build_config, architecture.build_processor):
        with pytest.raises(CourseError, match=r"no family 'llava'(.|\n)*qwen3-vl, qwen2-vl"):
            build(None, "llava")


def test_videos_are_processed_without_a_warning_about_a_cap(tokenizer, caplog):
    frames = np.zeros((4, 128, 128, 3), dtype=np.uint8)
    for family in FAMILIES:
        video = architecture.build_processor(tokenizer, family).video_processor
        video(videos=[frames], do_sample_frames=False, return_tensors="np")
        assert video.cap_pixels_per_frame is True
    assert "cap" not in caplog.text


# ---------------------------------------------------------------- the quicker ways


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["scene", "receipt", "clip", "sentence"])
def test_quicker_model_computes_what_the_stock_model_does(tokenizer, family, task):
    layout = layout_of(family)
    examples = [dataset.encode(tokenizer, dataset.validation_turns(task, n), None, layout) for n in range(3)]
    batch = dataset.collate(examples, tokenizer, layout)
    model = architecture.build_model(architecture.build_config(tokenizer, family))
    loss = model(**batch).loss
    loss.backward()
    expected = {name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    fast_kernels.use_fast_kernels(model)
    total, count = summed_loss(model, with_positions(batch, layout))
    (total / count).backward()
    assert count == int((batch["labels"][:, 1:] != dataset.IGNORED).sum())
    assert abs((total / count - loss).item()) < 1e-5
    found = {name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        assert (grad - expected[name]).norm() <= 1e-4 * expected[name].norm() + 1e-9, name


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_of_several_sizes_attend_only_to_themselves(family):
    # Trained weights: the attention of fresh ones is so even that wrong positions would hardly show.
    model = AutoModelForImageTextToText.from_pretrained(
        COURSE_ROOT / "data" / "models" / f"tiny-{family}", dtype=torch.float32
    ).eval()
    layout = layout_of(family)
    images = [patchify([receipts.draw(receipts.make_facts(random.Random(n), 1 + n % 3), n)], layout) for n in range(4)]
    grids = torch.tensor([grid for _, grid in images])
    assert len({tuple(grid) for grid in grids.tolist()}) > 1
    patches = torch.from_numpy(dataset.normalized(np.concatenate([patches for patches, _ in images])))
    with torch.no_grad():
        stock = model.model.visual(patches, grid_thw=grids).pooler_output
        fast_kernels.use_fast_kernels(model)
        fast = model.model.visual(patches, grid_thw=grids).pooler_output
    assert (fast - stock).norm() < 1e-4 * stock.norm()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["scene", "clip", "receipt"])
def test_questions_that_stand_apart_are_so_many_conversations_of_one_turn(tokenizer, family, kind):
    layout = layout_of(family)
    model = architecture.build_model(architecture.build_config(tokenizer, family))
    fast_kernels.use_fast_kernels(model)
    apart, alone = [], []
    for seed in (1, 4):
        system, turns = dataset.conversation(kind, seed, 3 if kind == "receipt" else 1, 128, apart=True)
        assert len(turns) > 1
        apart.append(dataset.encode(tokenizer, turns, system, layout, apart=True))
        first = turns[0]
        alone += [dataset.encode(tokenizer, [replace(first, request=turn.request, answer=turn.answer)], system, layout)
                  for turn in turns]  # fmt: skip
    found = []
    for examples in (apart, alone):
        model.zero_grad()
        total, count = summed_loss(model, with_positions(dataset.collate(examples, tokenizer, layout), layout))
        total.backward()
        found.append((total.item(), count, model.model.language_model.layers[0].mlp.up_proj.weight.grad.clone()))
    (one, tokens, gradient), (other, same_tokens, same_gradient) = found
    assert tokens == same_tokens and abs(one - other) < 1e-4 * other
    assert (gradient - same_gradient).norm() < 1e-4 * same_gradient.norm()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_in_plain_products_is_the_kernels(kv_heads):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 24, 16, generator=generator) for heads in (4, kv_heads, kv_heads))
    mask = (torch.rand(2, 1, 24, 24, generator=generator) < 0.5) | torch.eye(24, dtype=torch.bool)
    for given in ({}, {"causal": True}, {"mask": mask}):
        exact = fast_kernels.attend(query, key, value, 0.25, **given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain = fast_kernels.attend(query, key, value, 0.25, **given)
        assert exact.dtype == torch.float32 and plain.dtype == torch.bfloat16
        assert (plain - exact).abs().max() < 0.04 < exact.abs().max()
    assert not torch.allclose(fast_kernels.attend(query, key, value, 0.25), exact, atol=0.1)  # a mask does something


def transformers_positions(model, batch):
    return model.model.get_rope_index(
        batch["input_ids"], batch["mm_token_type_ids"], batch.get("image_grid_thw"), batch.get("video_grid_thw")
    )[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_those_of_transformers_for_pictures_and_short_clips(tokenizer, family):
    layout = layout_of(family)
    model = architecture.build_model(architecture.build_config(tokenizer, family))
    turns = [dataset.conversation(kind, seed, 1)[1] for kind in ("scene", "receipt", "clip") for seed in (1, 2)]
    turns += [[*turns[0], *turns[4]]]  # a picture and a clip in one conversation
    examples = [dataset.encode(tokenizer, one, None, layout) for one in turns]
    examples = [one for one in examples if all(grid[0] <= 5 for _, grid in one.videos)]
    assert len(examples) >= 5
    batch = dataset.collate(examples, tokenizer, layout)
    assert torch.equal(with_positions(batch, layout)["position_ids"], transformers_positions(model, batch))


def test_text_without_media_needs_no_positions(tokenizer):
    layout = layout_of("qwen3-vl")
    batch = dataset.collate([dataset.encode(tokenizer, [dataset.Turn("Q", "A")], None, layout)], tokenizer, layout)
    assert with_positions(batch, layout).keys() == batch.keys()


@pytest.mark.slow
def test_positions_after_a_long_clip_are_those_of_vllm():
    from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration as InVllm

    grid = [8, 10, 10]  # 8 pairs of 5 × 5 tokens: transformers 5.19 goes on at 3 + 5
    kinds = np.array([[0, 0, 0, *[2] * 200, 0, 0]])
    own = mrope_positions(kinds, [], [grid], layout_of("qwen2-vl"))
    clip = SimpleNamespace(
        modality="video",
        mm_position=SimpleNamespace(offset=3),
        data={"video_grid_thw": SimpleNamespace(data=torch.tensor(grid))},
    )
    model = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2)))
    model.iter_mm_grid_thw = lambda features: InVllm.iter_mm_grid_thw(model, features)
    expected, _ = InVllm.get_mrope_input_positions(model, [0] * kinds.shape[1], [clip])
    assert (own[:, 0] == expected.numpy()).all() and own[0, 0, -1] == 12


# ---------------------------------------------------------------- Muon


@pytest.mark.parametrize("shape", [(160, 160), (192, 512), (640, 160)])
def test_updates_are_made_nearly_orthogonal(shape):
    torch.manual_seed(0)
    matrix = torch.randn(2, *shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalize(matrix)
    assert found.shape == matrix.shape
    values = torch.linalg.svdvals(found)  # a square matrix may have some near 0, which stay behind
    assert values.max() < 1.25 and values.quantile(0.05) > 0.6
    cosine = torch.nn.functional.cosine_similarity(found.flatten(1), (left @ right).flatten(1))
    assert cosine.min() > 0.97


def test_muon_moves_as_the_librarys(tokenizer):
    torch.manual_seed(0)
    matrices = [torch.randn(64, 160), torch.randn(64, 160), torch.randn(96, 32)]
    gradients = [[torch.randn_like(matrix) for matrix in matrices] for _ in range(4)]
    results = []
    for make in (
        lambda params: Muon(params, lr=0.01, weight_decay=0.1),
        lambda params: torch.optim.Muon(params, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ):
        parameters = [torch.nn.Parameter(matrix.clone()) for matrix in matrices]
        optimizer = make(parameters)
        for grads in gradients:
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad.clone()
            optimizer.step()
        results.append([parameter.detach() - matrix for parameter, matrix in zip(parameters, matrices, strict=True)])
    for own, library in zip(*results, strict=True):
        assert (own - library).norm() < 0.03 * library.norm()  # the library rounds to bfloat16


def test_muon_sees_a_matrix_in_blocks_as_several():
    torch.manual_seed(0)
    whole = torch.nn.Parameter(torch.randn(20, 64))
    parts = [torch.nn.Parameter(part.clone()) for part in whole.detach().split(16, dim=1)]
    gradient = torch.randn(20, 64)
    whole.grad = gradient.clone()
    for part, grad in zip(parts, gradient.split(16, dim=1), strict=True):
        part.grad = grad.contiguous()
    Muon([{"params": [whole], "blocks": 4}], lr=0.01).step()
    Muon(parts, lr=0.01).step()
    assert torch.allclose(whole, torch.cat(parts, dim=1), atol=1e-6)
    with pytest.raises(ValueError, match="in blocks"):
        Muon([{"params": [torch.nn.Parameter(torch.randn(4, 6))], "blocks": 4}])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_one_optimizer_and_embeddings_have_adamw(tokenizer, family):
    model = architecture.build_model(architecture.build_config(tokenizer, family))
    fast_kernels.use_fast_kernels(model)
    muon, adam = build_optimizers(model, recipe())
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    in_muon, in_adam = (
        [name_of[id(p)] for group in optimizer.param_groups for p in group["params"]] for optimizer in (muon, adam)
    )
    assert sorted(in_muon + in_adam) == sorted(name_of.values())
    assert all(re.search(r"layers|blocks|merger", name) and name.endswith("weight") for name in in_muon)
    assert not [name for name in in_muon if "norm" in name or "embed" in name or "ln_q" in name]
    assert [name for name in in_adam if "embed_tokens" in name] and [name for name in in_adam if "patch_embed" in name]
    assert len(in_muon) == (4 * 7 + 4 * 4 + (8 if family == "qwen3-vl" else 2))
    merging = [name_of[id(p)] for group in muon.param_groups if group["blocks"] == 4 for p in group["params"]]
    assert merging == [name for name in in_muon if re.search(r"merger.*(linear_fc1|mlp\.0)\.weight", name)]
    assert len(merging) == (4 if family == "qwen3-vl" else 1)
    assert [group["weight_decay"] for group in adam.param_groups] == [0.01, 0.0]


# ---------------------------------------------------------------- presets


def test_sizes_differ_by_about_a_factor_of_two_and_three(tokenizer):
    counts = {
        size: sum(
            p.numel() for p in architecture.build_model(architecture.build_config(tokenizer, size=size)).parameters()
        )
        for size in architecture.SIZES
    }
    assert 2.5 < counts["base"] / counts["half"] < 3.5 and 1.8 < counts["double"] / counts["base"] < 2.2
    with pytest.raises(CourseError, match="no qwen2-vl of size 'half'"):
        architecture.build_config(tokenizer, "qwen2-vl", "half")


def test_shipped_presets():
    presets = load_presets()
    assert list(presets) == [
        "cpu",
        "widen",
        "again",
        "strips",
        "read",
        "finish",
        "look",
        "refine",
        "think",
        "gpu",
        "live",
        "size-half",
        "size-base",
        "size-double",
    ]
    assert presets["cpu"].steps and presets["gpu"].steps and presets["live"].minutes == 3
    for preset in presets.values():
        examples = (preset.steps or preset.minutes * preset.examples_per_minute) * preset.batch_size
        assert examples <= TRAINING_SEEDS


GOOD = """
presets:
  mine:
    steps: 10
    batch_size: 2
    learning_rate: 0.001
    muon_learning_rate: 0.003
    warm_up_steps: 1
    phases:
      - until: 1
        mixture: {scene: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 10", "stepz: 10", "stepz"),
        ("steps: 10", "steps: 0", "'steps'"),
        ("steps: 10", "steps: 10\n    minutes: 3", "either steps or minutes"),
        ("    steps: 10\n", "", "either steps or minutes"),
        ("    batch_size: 2\n", "", "'batch_size': Field required"),
        ("learning_rate: 0.001", "learning_rate: fast", "'learning_rate'"),
        ("until: 1", "until: 0.5", "end with 1"),
        ("until: 1", "until: 1.5", "'phases.0.until'"),
        ("{scene: 1}", "{scenes: 1}", "'scenes' is none of scene, receipt"),
        ("{scene: 1}", "{scene: -1}", "mixture: weights"),
        ("{scene: 1}", "{scene: 1}\n        difficulty: {4: 1}", "4 is none of 1, 2, 3"),
        ("{scene: 1}", "{scene: 1}\n        sides: {100: 1}", "100 is not a multiple of 32"),
        ("{scene: 1}", "{scene: 1}\n        apart: 1.5", "'phases.0.apart'"),
        ("{scene: 1}", "{scene: 1}\n    held_out_tasks: [chess]", "'chess' is none of scene"),
        ("  mine:", "\tmine:", "tab character"),
        ("  mine:", "  mine: 3\n  other:", "'mine' is not a mapping"),
    ],
)
def test_a_mistake_in_the_presets_is_named(tmp_path, old, new, said):
    path = tmp_path / "training.yaml"
    path.write_text(GOOD)
    assert load_presets(path)["mine"].steps == 10
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(CourseError, match=re.escape(said)):
        load_presets(path)


def test_learning_rates_rise_and_fall_with_a_cosine(train, tmp_path, monkeypatch):
    rates = []
    step = Trainer.step

    def watched(run, batch):
        value = step(run, batch)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in run.optimizers])
        return value

    monkeypatch.setattr(Trainer, "step", watched)
    train(tmp_path / "run", preset=recipe(steps=10, warm_up_steps=4))
    muon, adam = zip(*rates, strict=True)
    assert muon == pytest.approx([3 * rate for rate in adam])
    cosine = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    assert adam == pytest.approx([1e-3 * min(1, (step + 1) / 4) * share for step, share in enumerate(cosine)])


@pytest.mark.parametrize("norm", [1.0, 0.25, 0.0])
def test_small_gradients_are_raised_and_large_ones_stay_larger(norm):
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[0.6, 0.8]]) * norm
    rescale_gradients(layer, norm)
    assert layer.weight.grad.norm().item() == pytest.approx(norm**0.5)
    assert layer.bias.grad is None


# ---------------------------------------------------------------- a run, stopped and gone on with


@pytest.mark.parametrize("family", FAMILIES)
def test_stopped_and_resumed_run_has_the_weights_of_an_unbroken_one(train, tmp_path, family):
    preset = recipe(phases=[MIXED])
    whole = train(tmp_path / "whole", family=family, preset=preset)
    for stop in (1, 4):
        train(tmp_path / "parts", family=family, preset=preset, stop_after=stop, resume=stop > 1)
    parts = train(tmp_path / "parts", resume=True, preset=None)
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert {key: value for key, value in whole.items() if key != "minutes"} == {
        key: value for key, value in parts.items() if key != "minutes"
    }
    assert steps_logged(tmp_path / "whole") == [2, 4, 6] and steps_logged(tmp_path / "parts") == [1, 2, 4, 6]
    assert train(tmp_path / "parts", resume=True, preset=None) == parts  # nothing left to do


@pytest.mark.parametrize(("what", "at"), [("append_to_log", 2), ("append_to_log", 6), ("export", 6)])
def test_what_a_save_left_undone_after_the_state_is_made_good(train, tmp_path, monkeypatch, what, at):
    preset, whole, out = recipe(held_out_items=1, held_out_tasks=["sentence"]), tmp_path / "whole", tmp_path / "run"
    expected = train(whole, preset=preset)

    def full(*_):
        raise OSError("No space left on device")

    if at > 2:
        train(out, preset=preset, stop_after=4)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, what, full)
        with pytest.raises(CourseError, match=r"No space left(.|\n)*--resume"):
            train(out, preset=preset, resume=at > 2)
    assert torch.load(out / STATE_FILE, weights_only=True)["state"]["step"] == at
    line = train(out, resume=True, preset=None)
    assert {**line, "minutes": 0} == {**expected, "minutes": 0}
    assert steps_logged(out) == steps_logged(whole) == [2, 4, 6]
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


IN_A_PROCESS = """
import sys
from pathlib import Path
from toolkit.tiny_model import trainer
from toolkit.tiny_model.presets import Preset
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.tiny_model.training_run import TrainingRun
trainer.build_tokenizer = lambda **_: build_tokenizer(300)
preset = Preset.model_validate_json(sys.argv[2])
trainer.train(TrainingRun(Path(sys.argv[1]), preset), quiet=True, resume=len(sys.argv) > 3)
"""


# Sums in another order differ by the rounding: a thousandth in float32, more in a processor's bfloat16.
IN_FLOAT32 = IN_A_PROCESS.replace("preset =", "trainer.bfloat16_is_fast = lambda device: False\npreset =", 1)


def process(out, preset, *more, code=IN_A_PROCESS, **options):
    command = [sys.executable, *options.pop("launcher", []), "-c", code]
    if len(command) > 3:  # torchrun takes a file
        script = out.with_suffix(".py")
        script.write_text(code)
        command[-2:] = [str(script)]
    command += [str(out), preset.model_dump_json(), *more]
    environment = os.environ | {"PYTHONPATH": str(COURSE_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, **options)


@pytest.mark.slow
def test_killed_run_does_its_lost_steps_again(tokenizer, tmp_path, monkeypatch):
    preset = recipe(steps=400, save_every_steps=3)
    out = tmp_path / "killed"
    run = process(out, preset)
    try:
        limit = time.monotonic() + 240
        while not (out / LOG_FILE).exists() and time.monotonic() < limit:
            assert run.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)  # on its way between two saves
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    with (out / LOG_FILE).open("a") as log:
        log.write('{"step": 9, "lo')  # as if it had been killed while it wrote
    small = build_tokenizer(300)
    monkeypatch.setattr(trainer, "build_tokenizer", lambda **_: small)
    reached = torch.load(out / STATE_FILE, weights_only=True)["state"]["step"]
    assert 3 <= reached < 400
    trainer.train(TrainingRun(out), resume=True, stop_after=reached + 4, quiet=True)
    trainer.train(TrainingRun(tmp_path / "whole", preset), stop_after=reached + 4, quiet=True)
    assert_same_weights(weights(out), weights(tmp_path / "whole"))
    assert steps_logged(out) == steps_logged(tmp_path / "whole")


def test_order_does_not_depend_on_the_number_of_workers(train, tmp_path):
    for workers in (0, 3):
        train(tmp_path / str(workers), preset=recipe(phases=[MIXED], workers=workers, save_every_steps=6))
    assert_same_weights(weights(tmp_path / "0"), weights(tmp_path / "3"))


def test_a_stage_draws_other_examples_than_those_before_it(train, tmp_path, monkeypatch):
    drawn, conversation = [], dataset.conversation
    monkeypatch.setattr(dataset, "conversation", lambda kind, seed, *more: (
        drawn.append(seed) or conversation(kind, seed, *more)))  # fmt: skip
    first, second, third, whole = (tmp_path / name for name in ("first", "second", "third", "whole"))
    train(first, preset=recipe(steps=3))
    train(second, start_from=first, stop_after=2)
    train(second, resume=True, preset=None)
    train(third, start_from=second, stop_after=1)
    assert drawn == [*range(6), *range(6, 18), 18, 19]
    about = torch.load(second / STATE_FILE, weights_only=True)["run"]
    assert (about["started_from"], about["first_seed"]) == ("first", 6)
    train(whole, start_from=first)
    assert_same_weights(weights(whole), weights(second))


def test_a_stage_that_was_saved_before_there_was_a_first_seed_goes_on_with_its_own(train, started, monkeypatch):
    path, drawn = started.out / STATE_FILE, []
    saved = torch.load(path, weights_only=True)
    saved["run"] = {key: value for key, value in saved["run"].items() if key != "first_seed"}
    torch.save(saved, path)
    conversation = dataset.conversation
    monkeypatch.setattr(dataset, "conversation", lambda kind, seed, *more: (
        drawn.append(seed) or conversation(kind, seed, *more)))  # fmt: skip
    train(started.out, resume=True, preset=None)
    assert drawn == [*range(4, 12)]


def test_what_a_model_has_seen_is_told_by_its_state_or_its_logs(tmp_path):
    assert examples_seen(tmp_path) == 0
    stages = tmp_path / "stages"
    for folder, examples in ((tmp_path, (5, 30)), (stages / "cpu", (70,)), (stages / "empty", ())):
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps({"examples": count}) + "\n" for count in examples)
        (folder / LOG_FILE).write_text(lines)
    assert examples_seen(tmp_path) == 100
    state = tmp_path / STATE_FILE
    torch.save({"run": {"first_seed": 200}, "state": {"examples": 30}}, state)
    assert examples_seen(tmp_path) == 230
    torch.save({"run": {}, "state": {"examples": 30}}, state)  # of before: it knows its own stage only
    assert examples_seen(tmp_path) == 100
    state.write_bytes(b"no state")
    with pytest.raises(CourseError, match=r"cannot be read(.|\n)*which examples"):
        examples_seen(tmp_path)


def test_a_stage_may_not_reach_the_seeds_that_are_kept_for_measuring(train, started, tmp_path):
    saved = torch.load(started.out / STATE_FILE, weights_only=True)
    saved["run"]["first_seed"] = TRAINING_SEEDS - 9  # of which 4 are used
    torch.save(saved, started.out / STATE_FILE)
    with pytest.raises(CourseError, match=r"has seen 9,999,995(.|\n)*at most 2 steps"):
        train(tmp_path / "next", start_from=started.out)
    assert train(tmp_path / "next", start_from=started.out, steps=2)["examples"] == 4
    with pytest.raises(CourseError, match="at most 0 steps"):
        train(tmp_path / "last", start_from=tmp_path / "next", minutes=1)


def test_another_seed_gives_other_weights(train, tmp_path):
    for seed in (0, 1):
        train(tmp_path / str(seed), seed=seed, stop_after=1)
    one, other = (weights(tmp_path / name) for name in "01")
    assert not torch.equal(*(all_["model.language_model.layers.0.mlp.up_proj.weight"] for all_ in (one, other)))


def test_ctrl_c_saves_and_stops(train, tmp_path, monkeypatch):
    step = Trainer.step

    def interrupted(run, batch):
        value = step(run, batch)
        if run.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return value

    monkeypatch.setattr(Trainer, "step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", preset=recipe(save_every_steps=100))
    assert signal.getsignal(signal.SIGINT) is before
    assert steps_logged(tmp_path / "run") == [3]
    monkeypatch.undo()
    trainer.train(TrainingRun(tmp_path / "run"), resume=True, quiet=True)
    assert steps_logged(tmp_path / "run") == [3, 6]


def test_a_run_by_time_ends_by_time(train, tmp_path, monkeypatch):
    ticks = itertools.count(step=0.6)  # seconds, whatever a step takes here
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    line = train(tmp_path / "run", minutes=0.05, preset=recipe(save_every_steps=None, save_every_seconds=1))
    assert line["minutes"] == pytest.approx(0.05, abs=0.01)
    assert line["step"] == 5
    assert line["learning_rate"] == pytest.approx(1e-5)
    assert len(steps_logged(tmp_path / "run")) >= 2
    about = torch.load(tmp_path / "run" / STATE_FILE, weights_only=True)["run"]
    assert (about["minutes"], about["steps"]) == (0.05, None)


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_twice_the_batch(tokenizer, tmp_path, monkeypatch):
    out = tmp_path / "two"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
    two = process(out, recipe(steps=4, batch_size=2), code=IN_FLOAT32, launcher=launcher, stdout=subprocess.PIPE,
                  stderr=subprocess.STDOUT, text=True)  # fmt: skip
    said, _ = two.communicate(timeout=300)
    assert two.returncode == 0, said
    small = build_tokenizer(300)
    monkeypatch.setattr(trainer, "build_tokenizer", lambda **_: small)
    monkeypatch.setattr(trainer, "bfloat16_is_fast", lambda device: False)
    trainer.train(TrainingRun(tmp_path / "one", recipe(steps=4, batch_size=4)), quiet=True)
    one, other = weights(tmp_path / "one"), weights(out)
    for name in one:
        assert (one[name] - other[name]).norm() <= 1e-3 * one[name].norm() + 1e-6, name
    assert [(line["step"], line["examples"]) for line in read_log(out)] == [(2, 8), (4, 16)]
    with pytest.raises(CourseError, match="started with 2 processes"):
        trainer.train(TrainingRun(out, steps=6), resume=True, quiet=True)


RANKS_AGREE = """
import sys, torch
from pathlib import Path
from toolkit.tiny_model import dataset, trainer
from toolkit.tiny_model.presets import Preset
from toolkit.tiny_model.tokenizer import build_tokenizer
from toolkit.tiny_model.training_run import TrainingRun
trainer.build_tokenizer = lambda **_: build_tokenizer(300)
dataset.Batches.plan = lambda self, number: (("sentence", "scene")[number % 2], 1, 128)
whole = trainer.Trainer.train
def watched(run, *arguments):
    line = whole(run, *arguments)
    torch.save(run.model.state_dict(), f"{sys.argv[1]}.{run.processes.rank}.pt")
    return line
trainer.Trainer.train = watched
trainer.train(TrainingRun(Path(sys.argv[1]), Preset.model_validate_json(sys.argv[2])), quiet=True)
"""


@pytest.mark.slow
def test_processes_end_with_the_same_weights_though_only_one_saw_pictures(tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(RANKS_AGREE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = os.environ | {"PYTHONPATH": str(COURSE_ROOT), "OMP_NUM_THREADS": "1"}
    preset = recipe(steps=3, save_every_steps=3)
    subprocess.run([*launcher, str(script), str(out), preset.model_dump_json()], env=environment, check=True,
                   timeout=300)  # fmt: skip
    assert_same_weights(*(torch.load(f"{out}.{rank}.pt", weights_only=True) for rank in (0, 1)))


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_is_the_trained_one_in_the_stock_layout(train, tmp_path, tokenizer, family):
    import transformers

    out = tmp_path / "run"
    train(out, family=family, preset=recipe(steps=2))
    stock = transformers.AutoModelForImageTextToText
    model, report = stock.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values())
    trained = weights(out)
    for name, value in model.state_dict().items():
        assert torch.equal(value.flatten(), trained[name].bfloat16().float().flatten()), name
    patch = layout_of(family).patch
    with safe_open(out / "model.safetensors", "pt") as file:
        (name,) = [name for name in file.keys() if name.endswith("visual.patch_embed.proj.weight")]  # noqa: SIM118
        weight = file.get_slice(name)
        assert weight.get_shape() == [160, 3, 2, patch, patch] and weight.get_dtype() == "BF16"
    assert tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id) == ["<|im_end|>", "<|endoftext|>"]
    processor = transformers.AutoProcessor.from_pretrained(out)
    assert type(processor).__name__ == {"qwen3-vl": "Qwen3VLProcessor", "qwen2-vl": "Qwen2VLProcessor"}[family]
    assert processor.image_processor.patch_size == processor.video_processor.patch_size == patch
    assert processor.chat_template == tokenizer.chat_template
    listed = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert {"config.json", "model.safetensors", "tokenizer.json", "processor_config.json"} <= listed.keys()
    for name, digest in listed.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert sum(path.stat().st_size for path in out.iterdir() if path.name in listed) < 16e6


def test_log_has_held_out_scores_of_every_task(train, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "TASKS", ("scene_exists", "sentence", "clip_direction"))
    line = train(tmp_path / "run", preset=recipe(steps=2, held_out_items=1, held_out_items_at_end=2))
    assert read_log(tmp_path / "run") == [line]
    assert {f"{task}_{what}" for task in dataset.TASKS for what in ("tokens", "exact")} < line.keys()
    assert {"minutes", "step", "examples", "loss", "learning_rate"} < line.keys()
    assert line["examples"] == 4 and all(0 <= line[f"{task}_tokens"] <= 1 for task in dataset.TASKS)


@pytest.mark.parametrize("measured", [0, 1])
def test_lines_of_the_log_are_shown_if_they_say_more_than_the_bar(train, tmp_path, capsys, measured):
    preset = recipe(steps=2, held_out_items=measured, held_out_items_at_end=measured, held_out_tasks=["sentence"])
    trainer.train(TrainingRun(tmp_path / "run", preset=preset))
    shown = capsys.readouterr()
    assert ("sentence_tokens" in shown.out) == bool(measured)
    assert "2/2" in shown.err


def test_what_is_measured_can_be_made_easier(tokenizer, monkeypatch):
    turns, encode, seen = dataset.validation_turns, dataset.encode, []
    monkeypatch.setattr(dataset, "validation_turns", lambda *given: seen.append(given) or turns(*given))
    monkeypatch.setattr(dataset, "encode", lambda *given: seen.append(given[1][0].medium.size) or encode(*given))
    model = architecture.build_model(architecture.build_config(tokenizer))
    fast_kernels.use_fast_kernels(model)
    easy = {"held_out_tasks": ["scene_place"], "held_out_difficulty": 1, "held_out_side": 96}
    scores = held_out_accuracy(model, tokenizer, recipe(**easy), 1)
    assert scores.keys() == {"scene_place_tokens", "scene_place_exact"}
    held_out_accuracy(model, tokenizer, recipe(held_out_tasks=["receipt_total"], held_out_side=96), 1)
    assert seen[:3] == [("scene_place", 0, 1), (96, 96), ("receipt_total", 0, 3)] and seen[3][0] == 256


@pytest.mark.parametrize("family", FAMILIES)
def test_half_the_memory_for_patches_changes_nothing_under_autocast(tokenizer, family):
    layout = layout_of(family)
    batches = dataset.Batches(tokenizer, layout, recipe(phases=[MIXED | {"mixture": {"scene": 1}}]), 1, 1)
    model = architecture.build_model(architecture.build_config(tokenizer, family))
    fast_kernels.use_fast_kernels(model)
    losses = []
    for halve in (False, True):
        batch = PreparedBatches(batches, layout, halve)[0]
        assert batch["pixel_values"].dtype == (torch.bfloat16 if halve else torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            losses.append(summed_loss(model, batch)[0].item())
    assert losses[0] == losses[1]


def test_held_out_scores_count_tokens_and_whole_answers(tokenizer, monkeypatch):
    answers = ["ab", "ab", "abc", "x"]
    monkeypatch.setattr(dataset, "TASKS", ("made",))
    monkeypatch.setattr(dataset, "validation_turns", lambda _, number, difficulty: [dataset.Turn("Q", answers[number])])
    model = architecture.build_model(architecture.build_config(tokenizer))
    fast_kernels.use_fast_kernels(model)
    wanted = [tokenizer.encode(f"{answer}<|im_end|>") for answer in answers]
    said = [list(tokens) for tokens in wanted]
    said[1][-1] = 0  # does not stop
    said[3] = [0 for _ in said[3]]
    guesses = iter(torch.tensor([token for tokens in said for token in tokens]))

    def head(hidden):
        chosen = torch.stack([next(guesses) for _ in range(len(hidden))])
        return torch.nn.functional.one_hot(chosen, 768)

    model.lm_head.forward = head
    right = sum(one == other for pair in zip(said, wanted, strict=True) for one, other in zip(*pair, strict=True))
    total = sum(map(len, wanted))
    assert held_out_accuracy(model, tokenizer, recipe(), 4) == {
        "made_tokens": round(right / total, 4),
        "made_exact": 0.5,
    }
    assert model.training


@pytest.mark.slow
def test_training_learns(train, tmp_path):
    phases = [{"until": 1, "mixture": {"foreign": 1}}]  # one answer to all
    preset = recipe(steps=20, batch_size=4, save_every_steps=5, phases=phases, warm_up_steps=4)
    train(tmp_path / "run", preset=preset)
    losses = [line["loss"] for line in read_log(tmp_path / "run")]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] - 0.5


# ---------------------------------------------------------------- mistakes and mishaps


@pytest.fixture
def started(train, tmp_path):
    """A run that is saved at step 2, and what must still be there after a mishap."""
    out = tmp_path / "run"
    train(out, stop_after=2)
    return SimpleNamespace(out=out, state=(out / STATE_FILE).read_bytes())


def assert_kept(started, train):
    """The state is untouched, nothing half-written lies about, and the run can go on."""
    assert (started.out / STATE_FILE).read_bytes() == started.state
    assert not list(started.out.glob("*.partial"))
    assert train(started.out, resume=True, preset=None)["step"] == 6


def test_existing_runs_and_missing_ones_are_refused(train, started, tmp_path):
    with pytest.raises(CourseError, match=r"holds a training run already(.|\n)*--resume"):
        train(started.out)
    with pytest.raises(CourseError, match="no run to resume"):
        train(tmp_path / "nothing", resume=True)
    assert_kept(started, train)


@pytest.mark.parametrize("name", ["model.safetensors", "model-00001-of-00002.safetensors", LOG_FILE])
def test_a_model_without_a_state_is_not_replaced(train, tmp_path, name):
    (tmp_path / name).write_text("kept")
    with pytest.raises(CourseError, match=r"holds a trained model already(.|\n)*another --out"):
        train(tmp_path, start_from=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "kept")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "qwen2-vl"}, "family qwen3-vl, not qwen2-vl"),
        ({"seed": 3}, "seed 0, not 3"),
        ({"preset": "live"}, "preset quick, not live"),
        ({"preset": recipe(batch_size=3)}, "preset quick, batch_size 2, not 3"),
        ({"preset": recipe(learning_rate=0.5)}, "learning_rate 0.001, not 0.5"),
    ],
)
def test_a_run_cannot_go_on_as_another(train, started, changes, said):
    with pytest.raises(CourseError, match=re.escape(said)):
        train(started.out, resume=True, **{"preset": None} | changes)
    assert_kept(started, train)


def test_what_does_not_change_the_result_may_change(train, started):
    assert train(started.out, resume=True, preset=recipe(workers=1, save_every_steps=4))["step"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"minutes": 0}, "time above 0"),
        ({"steps": -1}, "time above 0"),
        ({"family": "llava"}, "no family 'llava'"),
        (
            {"preset": "huge"},
            r"no preset 'huge'(.|\n)*cpu, widen, again, strips, read, finish, look, refine, think, gpu, live",
        ),
        ({"steps": 6_000_000}, "need more than 10,000,000"),
    ],
)
def test_impossible_requests_are_refused(train, tmp_path, arguments, said):
    with pytest.raises(CourseError, match=said):
        train(tmp_path / "run", **arguments)
    assert not (tmp_path / "run" / STATE_FILE).exists()


def test_a_damaged_state_is_named(train, started):
    path = started.out / STATE_FILE
    for damaged in (started.state[:1000], b"", b"no state at all"):
        path.write_bytes(damaged)
        with pytest.raises(CourseError, match=r"training\.pt cannot be read"):
            train(started.out, resume=True, preset=None)


def test_a_full_disk_keeps_the_state_before(train, started):
    """A real limit: no file may grow beyond 1 MB, and the state has 45."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(CourseError, match=r"cannot be saved(.|\n)*make room"):
            train(started.out, resume=True, preset=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert_kept(started, train)


def test_a_disk_that_cannot_take_the_run_is_found_before_it_begins(train, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be saved"):
        train(tmp_path / "file" / "run")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(free=50e6))
    with pytest.raises(CourseError, match=r"only 0\.05 GB are free"):
        train(tmp_path / "run")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_keeps_the_state(train, started, monkeypatch, bad):
    loss = summed_loss
    calls = []

    def unstable(model, batch):
        calls.append(1)
        total, count = loss(model, batch)
        return (total * bad if len(calls) == 2 else total), count

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "summed_loss", unstable)
        with pytest.raises(CourseError, match=r"At step 3 the loss is (nan|inf)(.|\n)*--resume"):
            train(started.out, resume=True, preset=recipe(save_every_steps=100))
    assert_kept(started, train)


def test_a_gradient_that_is_no_number_stops_too(train, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.nan))
    with pytest.raises(CourseError, match=r"At step 0 .* gradient's norm nan"):
        train(tmp_path / "run")


def test_a_killed_worker_is_named_and_the_state_kept(train, started, monkeypatch):
    batch = dataset.Batches.__getitem__

    def killed(batches, number):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch(batches, number)

    with monkeypatch.context() as patch:
        patch.setattr(dataset.Batches, "__getitem__", killed)
        with pytest.raises(CourseError, match=r"worker process (.|\n)*died(.|\n)*--resume"):
            train(started.out, resume=True, preset=recipe(workers=1, save_every_steps=100))
    assert_kept(started, train)


@pytest.mark.parametrize("told", [True, False])
def test_a_pipe_that_breaks_before_the_worker_is_known_to_be_dead_says_the_same(train, started, monkeypatch, told):
    def broken(run):
        yield from ()
        raise EOFError

    def sleep(seconds):
        if told:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    monkeypatch.setattr(Trainer, "batches", broken)
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(CourseError, match=r"worker process (.|\n)*died(.|\n)*--resume"):
        train(started.out, resume=True, preset=recipe(save_every_steps=100))


def test_the_command_line_hands_everything_on(monkeypatch, tmp_path, capsys):
    from typer.testing import CliRunner

    from course.cli import app

    seen = []
    monkeypatch.setattr(trainer, "train", lambda run, **named: seen.append((run, named)) or {"step": 1})
    out = str(tmp_path)
    assert CliRunner().invoke(app, ["train", "--family", "qwen3-vl", "--minutes", "3", "--out", out]).exit_code == 0
    more = ["--family", "qwen2-vl", "--preset", "live", "--steps", "9", "--seed", "4", "--resume"]
    assert CliRunner().invoke(app, ["train", "--out", out, *more]).exit_code == 0
    assert seen == [
        (TrainingRun(tmp_path, family="qwen3-vl", minutes=3.0), {"resume": False}),
        (TrainingRun(tmp_path, "live", "qwen2-vl", steps=9, seed=4), {"resume": True}),
    ]


def test_the_command_line_draws_easier_items_and_frames(tmp_path):
    from typer.testing import CliRunner

    from course.cli import app

    arguments = ["toyworld", "--kind", "clip", "--count", "1", "--out", str(tmp_path), "--difficulty", "1", "--frames"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (item,) = (json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines())
    assert len(item["facts"]["actions"]) == 1
    assert len(list((tmp_path / item["item_id"]).glob("*.png"))) == item["facts"]["frames"]

"""Training examples: their input is the stock processor's, only answers are learned, order never depends on chance."""

import random

import numpy as np
import pytest
from PIL import Image

from toolkit.tiny_model import architecture, dataset
from toolkit.tiny_model.mrope import PreparedBatches
from toolkit.tiny_model.patches import FAMILIES, layout_of, patchify
from toolkit.tiny_model.presets import load_presets
from toolkit.tiny_model.tokenizer import SPECIAL_TOKENS, TAUGHT, build_tokenizer
from toolkit.toyworld import items, receipts, scenes

KINDS_WITH_MEDIA = ("scene", "receipt", "clip", "foreign")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def processors(tokenizer):
    return {family: architecture.build_processor(tokenizer, family) for family in FAMILIES}


def stock_input(processor, turn):
    """What the stock processor makes of one turn: token ids, patches, grid."""
    video = isinstance(turn.medium, items.Clip)
    content = [{"type": "video" if video else "image"}, {"type": "text", "text": turn.request}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    if not video:
        made = processor(text=[text], images=[turn.medium], return_tensors="np")
        return made["input_ids"][0], made["pixel_values"], made["image_grid_thw"][0]
    from transformers.video_utils import VideoMetadata

    frames = np.stack([np.asarray(frame) for frame in turn.medium.frames])
    indices = [round(100 * second) for second in turn.times]
    metadata = VideoMetadata(total_num_frames=10_000, fps=100.0, duration=100.0, frames_indices=indices)
    made = processor(
        text=[text], videos=[frames], video_metadata=[metadata], do_sample_frames=False, return_tensors="np"
    )
    return made["input_ids"][0], made["pixel_values_videos"], made["video_grid_thw"][0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS_WITH_MEDIA)
def test_training_sees_what_the_stock_processor_makes(processors, tokenizer, family, kind):
    layout = layout_of(family)
    for seed in range(4):
        turn = dataset.conversation(kind, seed)[1][0]
        ids, pixels, grid = stock_input(processors[family], turn)
        example = dataset.encode(tokenizer, [turn], None, layout)
        ((patches, own_grid),) = example.videos or example.images
        assert own_grid == tuple(grid)
        assert (example.input_ids[: len(ids)] == ids).all()
        difference = np.abs(dataset.normalized(patches) - pixels)
        # Qwen2-VL's sides of 28 pixels need a resize, which Pillow and torchvision round differently here and there.
        assert difference.max() < (1e-6 if family == "qwen3-vl" else 0.25) and difference.mean() < 2e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["scene", "receipt", "foreign"])
def test_pixels_are_exactly_those_of_the_stock_processor_that_resizes_with_pillow(processors, family, kind):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    ours = processors[family].image_processor
    same = ("size", "patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    stock = Qwen2VLImageProcessorPil(**{name: getattr(ours, name) for name in same})
    for seed in range(4):
        image = dataset.conversation(kind, seed)[1][0].medium
        patches, grid = patchify([image], layout_of(family))
        made = stock(images=[image], return_tensors="np")
        assert grid == tuple(made["image_grid_thw"][0])
        assert np.abs(dataset.normalized(patches) - made["pixel_values"]).max() < 1e-6


@pytest.mark.parametrize("side", [96, 128, 192, 256])
def test_other_sizes_are_the_processors_too(processors, tokenizer, side):
    picture = scenes.draw(scenes.make_facts(random.Random(1)), 1, side)
    turn = dataset.Turn("Describe this image.", "An answer.", picture)
    ids, pixels, grid = stock_input(processors["qwen3-vl"], turn)
    example = dataset.encode(tokenizer, [turn], None, layout_of("qwen3-vl"))
    assert len(ids) == len(example.input_ids) - len(tokenizer.encode("An answer.<|im_end|>\n"))
    assert np.abs(dataset.normalized(example.images[0][0]) - pixels).max() < 1e-6 and grid[1] == side // 16


def test_letters_survive_the_tokenizer_and_special_tokens_are_single(tokenizer):
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token)) == 1
    for text in ("I love Qwen3-VL-4B-Instruct", "naïve Ωmega 漢字 🙂 \u202eright", "a\tb\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_only_answers_are_learned(tokenizer):
    turns = [dataset.Turn("Q one", "A one"), dataset.Turn("Q two", "A two")]
    example = dataset.encode(tokenizer, turns, "You are a helpful assistant.", layout_of("qwen3-vl"))
    learned = tokenizer.decode(example.labels[example.labels != dataset.IGNORED])
    assert learned == "A one<|im_end|>A two<|im_end|>"


def test_padding_and_media_marks_of_a_batch(tokenizer):
    layout = layout_of("qwen3-vl")
    turns = [dataset.conversation(kind, 3)[1] for kind in ("scene", "clip", "sentence")]
    batch = dataset.collate([dataset.encode(tokenizer, one, None, layout) for one in turns], tokenizer, layout)
    assert batch["input_ids"].shape[1] % 16 == 0
    assert (batch["labels"][batch["input_ids"] == tokenizer.pad_token_id] == dataset.IGNORED).all()
    marks = batch["mm_token_type_ids"]
    patches = {1: batch["image_grid_thw"].prod(1).sum(), 2: batch["video_grid_thw"].prod(1).sum()}
    assert {kind: 4 * int((marks == kind).sum()) for kind in patches} == {k: int(v) for k, v in patches.items()}
    assert (marks[0] != 2).all() and (marks[1] != 1).all() and (marks[2] == 0).all()


def test_batches_are_a_pure_function_of_their_number(tokenizer):
    preset = load_presets()["cpu"]
    layout = layout_of("qwen2-vl")
    batches = dataset.Batches(tokenizer, layout, preset, 2, 400)
    backwards = {number: batches[number] for number in (9, 4)}
    again = dataset.Batches(tokenizer, layout, preset, 2, 400)
    for number, batch in backwards.items():
        same = again[number]
        assert set(same) == set(batch) and all((same[name] == batch[name]).all() for name in batch)
    assert (
        batches[4]["input_ids"].shape != batches[9]["input_ids"].shape
        or (batches[4]["input_ids"] != batches[9]["input_ids"]).any()
    )


def test_later_stages_draw_from_later_seeds_with_plans_of_their_own(tokenizer, monkeypatch):
    drawn, conversation = [], dataset.conversation
    monkeypatch.setattr(dataset, "conversation", lambda *given: drawn.append(given) or conversation("sentence", 1))
    preset, layout = load_presets()["cpu"], layout_of("qwen3-vl")
    batches = [dataset.Batches(tokenizer, layout, preset, 2, 400, *more) for more in ((), (0,), (6,))]
    for one in batches:
        for number in (0, 5):
            one[number]
    seeds = [seed for _, seed, *_ in drawn]
    assert seeds == [0, 1, 10, 11] * 2 + [6, 7, 16, 17] and drawn[:4] == drawn[4:8]
    plans = [[one.plan(number) for number in range(40)] for one in batches]
    assert plans[0] == plans[1] != plans[2] and plans[2][:28] == plans[0][12:]
    assert drawn[:2] == [(plans[0][0][0], seed, *plans[0][0][1:], False) for seed in (0, 1)]
    # What every run without an earlier stage has drawn since the first release.
    rng = random.Random("batch-2")
    phase = preset.phases[0]
    choices = [rng.choices(tuple(w), tuple(w.values()))[0] for w in (phase.mixture, phase.difficulty, phase.sides)]
    assert plans[0][5] == tuple(choices)


def test_both_families_get_the_same_items_in_the_same_order(tokenizer):
    preset = load_presets()["cpu"]
    one, other = (dataset.Batches(tokenizer, layout_of(family), preset, 16, 3000) for family in FAMILIES)
    assert [one.plan(number) for number in range(3000)] == [other.plan(number) for number in range(3000)]
    for batches in (one, other):
        assert {batches.plan(number)[0] for number in range(3000)} == set(TAUGHT)


def test_phases_make_the_world_harder(tokenizer):
    preset = load_presets()["cpu"]
    batches = dataset.Batches(tokenizer, layout_of("qwen3-vl"), preset, 16, 3000)
    first, last = ([batches.plan(number) for number in numbers] for numbers in (range(500), range(2500, 3000)))
    assert np.mean([difficulty for _, difficulty, _ in first]) < 1.5 < 2.3 < np.mean([level for _, level, _ in last])
    assert np.mean([side for _, _, side in first]) < np.mean([side for _, _, side in last])


def test_held_out_items_are_of_validation_seeds_and_their_task():
    assert set(dataset.TASKS) == {task for tasks in dataset.KIND_TASKS.values() for task in tasks}
    for task in dataset.TASKS:
        (turn,) = dataset.validation_turns(task, 3)
        assert turn.request and turn.answer
    (turn,) = dataset.validation_turns("receipt", 5)
    facts = receipts.make_facts(random.Random(f"receipt-{items.VALIDATION_SEED + 5}"))
    assert turn.answer == receipts.text_of(facts)


def test_costly_pictures_teach_more_than_one_thing():
    for kind in ("scene", "clip"):
        turns = [len(dataset.conversation(kind, seed)[1]) for seed in range(30)]
        assert np.mean(turns) >= 2, kind
    assert {dataset.conversation("scene", seed)[1][0].medium.size for seed in range(3)} == {(256, 256)}
    assert dataset.conversation("scene", 3, side=128)[1][0].medium.size == (128, 128)


def test_questions_that_stand_apart_share_the_picture_and_see_no_other_question(tokenizer):
    picture = Image.new("RGB", (64, 64), "red")
    turns = [dataset.Turn("Q one", "A one", picture), dataset.Turn("Q two", "A two")]
    example = dataset.encode(tokenizer, turns, None, layout_of("qwen3-vl"), apart=True)
    text = [tokenizer.decode(example.input_ids[example.parts == part]) for part in range(3)]
    assert text[0].startswith("<|im_start|>user\n<|vision_start|>") and text[0].endswith("<|vision_end|>")
    assert text[1:] == [f"Q {n}<|im_end|>\n<|im_start|>assistant\nA {n}<|im_end|>\n" for n in ("one", "two")]
    assert (np.diff(example.parts) >= 0).all() and len(example.images) == 1
    learned = tokenizer.decode(example.labels[example.labels != dataset.IGNORED])
    assert learned == "A one<|im_end|>A two<|im_end|>"


@pytest.mark.parametrize("kind", KINDS_WITH_MEDIA)
def test_questions_that_stand_apart_are_many_and_each_is_asked_once(kind):
    asked = [dataset.conversation(kind, seed, apart=True)[1] for seed in range(30)]
    for turns in asked:
        requests = [turn.request for turn in turns]
        assert len(requests) == len(set(requests)) and turns[0].medium and not any(t.medium for t in turns[1:])
    if kind != "foreign":
        assert np.mean([len(turns) for turns in asked]) > np.mean(
            [len(dataset.conversation(kind, seed)[1]) for seed in range(30)]
        )
    if kind == "scene":
        there = [turn.answer for turns in asked for turn in turns if turn.request.startswith("Is there")]
        assert len(there) > 30 and 0.35 < there.count("Yes.") / len(there) < 0.65
        described = [sum(len(turn.answer) > 60 for turn in turns) for turns in asked]
        assert set(described) >= {0, 1}


def test_a_phase_says_how_many_batches_have_questions_that_stand_apart(tokenizer):
    preset, layout = load_presets()["look"], layout_of("qwen3-vl")
    share = preset.phases[0].apart
    assert 0.5 < share < 1
    batches = dataset.Batches(tokenizer, layout, preset, 2, 400)
    kinds = {number: batches.plan(number)[0] for number in range(400)}
    apart = [batches.apart(number) for number in range(400) if kinds[number] != "sentence"]
    assert abs(np.mean(apart) - share) < 0.1
    assert not any(batches.apart(number) for number in range(400) if kinds[number] == "sentence")
    number = next(n for n in range(400) if batches.apart(n) and kinds[n] == "scene")
    prepared = PreparedBatches(batches, layout)[number]
    assert prepared["attention_mask"].shape == (2, 1, *[prepared["input_ids"].shape[1]] * 2)
    none = dataset.Batches(tokenizer, layout, load_presets()["cpu"], 2, 400)
    assert not any(none.apart(number) for number in range(400))


def test_an_odd_number_of_frames_repeats_the_last():
    frames = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (10, 20, 30)]
    patches, grid = dataset.patchify(frames, layout_of("qwen3-vl"))
    assert grid == (2, 2, 2)
    red = patches.reshape(2, 4, 3, 2, 16, 16)[:, :, 0]
    assert [sorted(set(red[pair].ravel())) for pair in range(2)] == [[10, 20], [30]]

"""The ablation of reading: every variant can be built, and each graft is part of what learns."""

import pytest
import torch
import yaml

from benchmarks import reading

VARIANTS = yaml.safe_load((reading.HERE / "reading.yaml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield torch.set_num_threads(1)
    torch.set_num_threads(before)


def axes_of_pairs(reader):
    rotary = reader.model.model.language_model.rotary_emb
    pairs = len(rotary.inv_freq)
    marks = torch.arange(3.0).view(3, 1, 1, 1).repeat(1, 1, 1, pairs)
    return "".join("thw"[int(axis)] for axis in rotary.recomposition_frequencies(marks).flatten()[:pairs])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_what_it_says_and_all_of_it_learns(name):
    variant = VARIANTS[name]
    reader = reading.Reader(variant, seed=1)
    batch = reader.batch(range(2))
    total, _ = reading.summed_loss(reader.model, batch)
    total.backward()
    learning = {key for key, value in reader.model.named_parameters() if value.grad is not None and value.grad.any()}
    newer = variant["family"] == "qwen3-vl"
    assert any("pos_embed" in key for key in learning) == variant.get("positions", newer)
    assert any("deepstack" in key for key in learning) == variant.get("deepstack", newer)
    assert any("q_norm" in key for key in learning) == variant.get("qk_norm", newer)
    blocks = variant.get("rope", "interleaved" if newer else "blocks") == "blocks"
    assert axes_of_pairs(reader).startswith("tttt" if blocks else "thwthw")
    assert len(batch["pixel_values"]) == 2 * 24  # both families see as many patches, of 3 × 2 tokens


def test_both_sizes_show_the_same_digits_and_seeds_differ():
    large, small = (reading.draw(1, size) for size in reading.SIZES.values())
    assert large[1] == small[1] and (large[0].size, small[0].size) == ((96, 64), (84, 56))
    assert len({reading.draw(seed, (96, 64))[1] for seed in range(20)}) == 20

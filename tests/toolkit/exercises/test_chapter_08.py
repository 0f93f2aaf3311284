"""The checkers of chapter 08 refuse plausible wrong answers and accept other right ones."""

import numpy as np

from helpers.model_facts import find_model_facts
from tests.support.exercise_answers import ChapterTests

TOKENS = {"256 × 256": 64, "640 × 480": 300, "index of the next word": 21}


# 08.2
def without_biases(hidden, merge, out, deepstack):
    merged = merge**2 * hidden
    return 2 * (merged if deepstack else hidden) + merged * merged + merged * out


def without_norm(hidden, merge, out, deepstack):
    return merger(hidden, merge, out, deepstack) - 2 * hidden * (merge**2 if deepstack else 1)


def one_norm_for_both(hidden, merge, out, deepstack):
    return merger(hidden, merge, out, False)


def merger(hidden, merge, out, deepstack):
    from torch import nn

    merged = hidden * merge * merge
    with_meta = {"device": "meta"}
    parts = [nn.LayerNorm(merged if deepstack else hidden, **with_meta), nn.Linear(merged, merged, **with_meta)]
    parts.append(nn.Linear(merged, out, **with_meta))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


# 08.3
def cut(pixels, order, axis=5):
    rows, columns = pixels.shape[0] // 32, pixels.shape[1] // 32
    squares = pixels.reshape(rows, 2, 16, columns, 2, 16, 3).transpose(order)
    return np.stack([squares, squares], axis=axis).reshape(-1, 1536)


def row_by_row(pixels):
    return cut(pixels, (0, 1, 3, 4, 6, 2, 5))


def column_by_column(pixels):
    return cut(pixels, (3, 0, 1, 4, 6, 2, 5))


def colour_last(pixels):
    return cut(pixels, (0, 3, 1, 4, 2, 5, 6))


def one_frame(pixels):
    return cut(pixels, (0, 3, 1, 4, 6, 2, 5))[:, :768]


def in_loops(pixels):
    import torch

    rows = []
    for top in range(0, pixels.shape[0], 32):
        for left in range(0, pixels.shape[1], 32):
            for number in range(4):
                y, x = top + 16 * (number // 2), left + 16 * (number % 2)
                colours = [np.concatenate([pixels[y : y + 16, x : x + 16, c].ravel()] * 2) for c in range(3)]
                rows.append(np.concatenate(colours))
    return torch.tensor(np.array(rows))


# 08.4
def after_all_tokens(prompt):
    return _walk(prompt, lambda rows, columns: rows * columns)


def after_the_rows(prompt):
    return _walk(prompt, lambda rows, columns: rows)


def words_alone(prompt):
    count = sum(part[0] * part[1] if isinstance(part, tuple) else part for part in prompt)
    return [list(range(count))] * 3


def after_the_longer_side(prompt):
    return np.array(_walk(prompt, max))


def _walk(prompt, used):
    axes, start = [[], [], []], 0
    for part in prompt:
        grid = np.indices(part).reshape(2, -1) if isinstance(part, tuple) else None
        axes[0] += [start] * grid.shape[1] if grid is not None else range(start, start + part)
        axes[1] += (start + grid[0]).tolist() if grid is not None else range(start, start + part)
        axes[2] += (start + grid[1]).tolist() if grid is not None else range(start, start + part)
        start += used(*part) if isinstance(part, tuple) else part
    return axes


# 08.5
def in_blocks(sections):
    return "t" * sections[0] + "h" * sections[1] + "w" * sections[2]


def dealt_by_number(sections):
    left, letters = list(sections), []
    while any(left):
        for axis in range(3):
            if left[axis]:
                left[axis] -= 1
                letters.append(axis)
    return letters


# 08.6
def at_every_token(hidden, layers, is_image, features):
    for number, layer in enumerate(layers):
        hidden = layer(hidden)
        if number < len(features):
            hidden = hidden + features[number].mean()
    return hidden


def before_the_layer(hidden, layers, is_image, features):
    for number, layer in enumerate(layers):
        if number < len(features):
            hidden[is_image] += features[number]
        hidden = layer(hidden)
    return hidden


def the_first_alone(hidden, layers, is_image, features):
    return rows_replaced(hidden, layers, is_image, features[:1])


def rows_replaced(hidden, layers, is_image, features):
    waiting = list(features)
    for layer in layers:
        hidden = np.array(layer(hidden))
        if waiting:
            added = np.zeros_like(hidden)
            added[np.flatnonzero(is_image)] = waiting.pop(0)
            hidden = hidden + added
    return hidden


WRONG = [
    ("08.1", TOKENS | {"256 × 256": 256}, "32 × 32"),
    ("08.1", TOKENS | {"640 × 480": 1200}, "squares of 32"),
    ("08.1", TOKENS | {"index of the next word": 261}, "largest index plus one"),
    ("08.2", without_biases, "bias"),
    ("08.2", without_norm, "LayerNorm"),
    ("08.2", one_norm_for_both, "all merged patches"),
    ("08.3", column_by_column, "neighbours"),
    ("08.3", colour_last, "other numbers"),
    ("08.3", one_frame, "1536"),
    ("08.4", after_all_tokens, "index of token"),
    ("08.4", after_the_rows, "index of token"),
    ("08.4", words_alone, "time index"),
    ("08.5", in_blocks, "thwthw"),
    ("08.5", lambda sections: ("thw" * 99)[: sum(sections)], "with"),
    ("08.6", at_every_token, "differs"),
    ("08.6", before_the_layer, "after it"),
    ("08.6", the_first_alone, "only the first"),
]
RIGHT = [
    ("08.1", {name: float(value) for name, value in TOKENS.items()}),
    ("08.2", merger),
    ("08.3", in_loops),
    ("08.4", after_the_longer_side),
    ("08.5", dealt_by_number),
    ("08.6", rows_replaced),
]
AS_GIVEN = [
    ("08.3", row_by_row),
]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "08", RIGHT, WRONG, AS_GIVEN


def test_the_formula_of_the_merger_counts_released_models():
    for name in ("4B", "8B"):
        facts = find_model_facts(f"Qwen/Qwen3-VL-{name}-Instruct")
        table, shape = facts.parameter_table(), (facts.vision.hidden, facts.vision.merge, facts.hidden)
        assert table["vision: merger"] == merger(*shape, False)
        assert table["vision: deepstack mergers"] == len(facts.vision.deepstack) * merger(*shape, True)

"""Exercises of chapter 08: the parts of a Qwen3-VL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolkit.exercises.judging import NotAttempted, call, is_close, number

Array = Any


def exercise_1(answer: dict[str, Any]) -> str | None:
    """Tokens of two images, and the position of the word behind a third."""
    wanted = {"256 × 256": 64, "640 × 480": 300, "index of the next word": 21}
    words = {
        "256 × 256": "a token shows 32 × 32 pixels: two patches of 16 in each direction",
        "640 × 480": "count the squares of 32 pixels in each direction",
        "index of the next word": "text goes on at the largest index plus one; 16 rows use up 16 indices",
    }
    for name, value in wanted.items():
        if not is_close(answer[name], value, what=name):
            return f"{name}: not {number(answer[name]):g}; {words[name]}"
    return None


def exercise_2(merger_parameters: Callable[[int, int, int, bool], Any]) -> str | None:
    """Parameters of the merger, and of a deepstack merger, whose norm comes after the merging."""
    cases = [
        (160, 2, 192, False),
        (160, 2, 192, True),
        (1024, 2, 2560, False),
        (1152, 2, 4096, True),
        (8, 3, 10, False),
    ]
    for arguments in cases:
        found, wanted = call(merger_parameters, *arguments), _merger(*arguments)
        if is_close(found, wanted, what="the number of parameters"):
            continue
        hidden, merge, out, deepstack = arguments
        word = ""
        if is_close(found, wanted - merge**2 * hidden - out):
            word = ": both layers have a bias"
        elif is_close(found, wanted - 2 * hidden * (merge**2 if deepstack else 1)):
            word = ": a LayerNorm has two numbers per feature"
        elif deepstack and is_close(found, wanted - 2 * hidden * (merge**2 - 1)):
            word = ": the norm of a deepstack merger sees the features of all merged patches"
        return f"merger_parameters{arguments} is {wanted:,}, yours is {number(found):,.0f}{word}"
    return None


def _merger(hidden: int, merge: int, out: int, deepstack: bool) -> int:
    merged = merge**2 * hidden
    return 2 * (merged if deepstack else hidden) + (merged + 1) * merged + (merged + 1) * out


def exercise_3(patches_of: Callable[[Array], Any]) -> str | None:
    """Pixels of (height, width, 3) as rows of 1,536 numbers, in the order of the stock processor."""
    import numpy as np

    rng = np.random.default_rng(8)
    for height, width in ((32, 32), (64, 96), (160, 64)):
        pixels = rng.random((height, width, 3), dtype=np.float32)
        wanted = np.stack([
            np.repeat(pixels[y : y + 16, x : x + 16].transpose(2, 0, 1)[:, None], 2, axis=1).ravel()
            for top in range(0, height, 32) for left in range(0, width, 32)
            for y in (top, top + 16) for x in (left, left + 16)
        ])  # fmt: skip
        found = np.asarray(call(patches_of, pixels.copy()))
        what = f"an image of {height} × {width} pixels (height × width)"
        if found.shape != wanted.shape:
            return f"{what} has {wanted.shape[0]} patches of {wanted.shape[1]} numbers; you return {found.shape}"
        if np.allclose(found, wanted):
            continue
        rows = wanted.reshape(height // 32, width // 32, 2, 2, -1).swapaxes(1, 2).reshape(wanted.shape)
        if np.allclose(found, rows):
            raise NotAttempted("it still behaves as given: the patches come row by row")
        if np.allclose(_sorted(found), _sorted(wanted)):
            return f"{what}: the right patches in another order. The four patches of a token must be neighbours"
        return f"{what}: a patch has other numbers. Each is colour, frame, row, column, and both frames are equal"
    return None


def _sorted(rows: Array) -> Array:
    return rows[rows[:, 0].argsort()]


def exercise_4(positions: Callable[[list[Any]], Any]) -> str | None:
    """The three M-RoPE indices of a prompt of words and images."""
    cases: list[list[Any]] = [[3], [2, (2, 3), 2], [1, (4, 4), 3], [1, (2, 2), 1, (3, 1), 2], [(1, 5), 1]]
    for prompt in cases:
        wanted = _positions(prompt)
        found = [[int(index) for index in axis] for axis in call(positions, list(prompt))]
        if len(found) != 3 or any(len(axis) != len(wanted[0]) for axis in found):
            sizes = [len(axis) for axis in found]
            return f"{prompt}: three lists of {len(wanted[0])} indices are expected, yours have {sizes}"
        for name, axis, right in zip(("time", "height", "width"), found, wanted, strict=True):
            if axis != right:
                place = next(place for place, pair in enumerate(zip(axis, right, strict=True)) if pair[0] != pair[1])
                return f"{prompt}: the {name} index of token {place} is {right[place]}, not {axis[place]}"
    return None


def _positions(prompt: Sequence[Any]) -> list[list[int]]:
    axes: list[list[int]] = [[], [], []]
    start = 0
    for part in prompt:
        rows, columns = part if isinstance(part, tuple) else (0, 0)
        if rows:
            places = [(start, start + row, start + column) for row in range(rows) for column in range(columns)]
        else:
            places = [(start + word,) * 3 for word in range(part)]
        for place in places:
            for axis, index in zip(axes, place, strict=True):
                axis.append(index)
        start = max(map(max, axes)) + 1
    return axes


def exercise_5(axis_of_pairs: Callable[[list[int]], Any]) -> str | None:
    """Which index rotates each pair, interleaved, as letters."""
    cases = {
        (12, 10, 10): "thw" * 10 + "tt",
        (24, 20, 20): "thw" * 20 + "tttt",
        (2, 1, 1): "thwt",
        (3, 3, 3): "thwthwthw",
    }
    for sections, wanted in cases.items():
        result = call(axis_of_pairs, list(sections))
        found = "".join(
            result if isinstance(result, str) else ("thw"[part] if isinstance(part, int) else part for part in result)
        )
        if found != wanted:
            counts = {letter: found.count(letter) for letter in "thw"}
            word = f"{list(sections)}: {wanted} is right, yours is {found!r}"
            return word + ("" if tuple(counts.values()) == sections else f" with {counts}")
    return None


def exercise_6(decode: Callable[[Array, list[Any], Array, list[Array]], Any]) -> str | None:
    """The decoder's layers with deepstack: features are added after the first layers, at the image's places."""
    import numpy as np

    rng = np.random.default_rng(6)
    layers = [lambda h: 2 * h + 1, lambda h: h + h.mean(axis=0), lambda h: h**2, lambda h: h - 3]
    is_image = np.array([False, True, True, False, True])
    for count in (3, 1, 0):
        hidden = rng.random((5, 4))
        features = [rng.random((3, 4)) for _ in range(count)]
        wanted = _decoded(hidden, layers, is_image, features)
        given = [hidden.copy(), list(layers), is_image.copy(), [one.copy() for one in features]]
        found = np.asarray(call(decode, *given))
        if found.shape == wanted.shape and np.allclose(found, wanted):
            continue
        if not count:
            return "without deepstack features the result should be that of the layers alone, one after the other"
        if found.shape == wanted.shape and np.allclose(found, _decoded(hidden, layers, is_image, features, early=True)):
            return "the features are added before the layer; they belong after it"
        if found.shape == wanted.shape and np.allclose(found, _decoded(hidden, layers, is_image, features[:1])):
            return "only the first set of features has arrived"
        return f"with {count} sets of features and {len(layers)} layers, the result differs: add them after the layers"
    return None


def _decoded(hidden: Array, layers: list[Any], is_image: Array, features: list[Array], *, early: bool = False) -> Array:
    hidden = hidden.copy()
    for place, layer in enumerate(layers):
        if early and place < len(features):
            hidden[is_image] += features[place]
        hidden = layer(hidden)
        if not early and place < len(features):
            hidden[is_image] += features[place]
    return hidden

"""Figures of notebooks 08 and 08b show what they are given: places, positions, scores, mistakes, at the right spots."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.errors import CourseError
from toolkit.tiny_model import dataset
from toolkit.tiny_model import figures as pictures
from toolkit.tiny_model.patches import layout_of
from toolkit.toyworld.items import Clip

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("closed_figures")


def texts(axes):
    return {text.get_text(): text.get_position() for text in axes.texts}


@pytest.mark.parametrize("family", ["qwen3-vl", "qwen2-vl"])
def test_patch_order_is_where_patchify_puts_each_patch(family):
    layout = layout_of(family)
    rows, columns = 6, 4
    values = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    pixels = values.repeat(layout.patch, 0).repeat(layout.patch, 1)
    patches, _ = dataset.patchify([Image.fromarray(pixels)], layout)
    order = pictures.patch_order(rows, columns, layout.merge)
    assert [int(patches[order[row, column]][0]) for row in range(rows) for column in range(columns)] == list(range(24))


def test_the_patch_grid_numbers_tokens_and_the_patches_of_its_enlarged_part():
    figure = pictures.patch_grid(Image.new("RGB", (128, 96)), layout_of("qwen3-vl"), corner=(1, 2), shown=2)
    left, right = figure.axes
    assert len(texts(left)) == 12 and texts(left)["6"] == (80, 48)
    # token 6 (row 1, column 2) holds the patches 24 to 27, two above and two below
    assert {name: texts(right)[name] for name in ("24", "25", "26", "27")} == {
        "24": (72, 40), "25": (88, 40), "26": (72, 56), "27": (88, 56),
    }  # fmt: skip
    assert len(texts(right)) == 16 and "48 patches" in left.get_title() and "12 tokens" in left.get_title()


def test_positions_draws_every_index_of_media_and_text_once():
    indices = np.array([[0, 1, 1, 1, 1, 3], [0, 1, 1, 2, 2, 3], [0, 1, 2, 1, 2, 3]])
    media = np.array([False, True, True, True, True, False])
    axes = pictures.positions({"a picture": (indices, media)}).axes[0]
    drawn = {line.get_color(): line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata())}
    for row, colour in zip(indices, pictures.AXIS_COLOURS.values(), strict=True):
        assert drawn[colour] == [[place, row[place]] for place in range(1, 5)]
    assert drawn["#444444"] == [[0, 0], [5, 3]]


def test_runs_are_found_at_both_ends():
    assert pictures.runs([True, True, False, True]) == [(0, 2), (3, 4)]
    assert pictures.runs([False, False]) == [] and pictures.runs([]) == []


def test_channels_colours_each_pair_by_its_index():
    axes = pictures.channels({"one": ([0, 1, 2, 0], [6.3, 20, 60, 200])}).axes[0]
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in axes.patches]
    named = pictures.AXIS_COLOURS
    assert colours == [named["time"], named["height"], named["width"], named["time"]]


def test_the_architecture_has_a_merger_and_a_sum_for_each_deepstack_block():
    from types import SimpleNamespace

    vision = {"depth": 3, "hidden_size": 40, "patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 2}
    text = SimpleNamespace(num_hidden_layers=5, hidden_size=48, vocab_size=99)
    for blocks in ([0, 2], []):
        config = SimpleNamespace(
            vision_config=SimpleNamespace(**vision, deepstack_visual_indexes=blocks), text_config=text
        )
        words = [one.get_text() for one in pictures.architecture(config).axes[0].texts]
        assert sum(word.startswith("vision block") for word in words) == 3
        assert sum(word.startswith("decoder layer") for word in words) == 5
        assert words.count("+") == sum(word.startswith("merger ") for word in words) == len(blocks)


def test_differences_marks_wrong_and_missing_words_against_the_nearest_wording():
    accepted = ("A red ball is on the left.", "On the left there is a red ball.")
    assert {state for _, state in pictures.differences(accepted[1], accepted)} == {"same"}
    found = pictures.differences("A blue ball is on the left. Yes.", accepted)
    assert [pair for pair in found if pair[1] != "same"] == [("blue", "wrong"), ("red", "missing"), ("Yes.", "wrong")]
    assert [word for word, state in found if state != "missing"] == [
        "A",
        "blue",
        "ball",
        "is",
        "on",
        "the",
        "left.",
        "Yes.",
    ]
    assert pictures.differences("", ("One.",)) == [("One.", "missing")]


def test_the_gallery_puts_wrong_words_on_red_and_keeps_all_within_its_lines():
    answer = "A blue ball is on the left. " + "The scene is on a beach at noon. " * 14
    failures = [(Image.new("RGB", (64, 64)), answer, ("A red ball is on the left.",))] * 3
    figure = pictures.gallery(failures, columns=40)
    pages = figure.axes[1::2]
    assert len(figure.axes) == 6
    for axes in pages:
        marks = {matplotlib.colors.to_hex(patch.get_facecolor()) for patch in axes.patches}
        assert marks == {pictures.WRONG, pictures.RIGHT}
        assert all(0 <= text.get_position()[0] + len(text.get_text()) <= 40 for text in axes.texts)
        assert max(text.get_position()[1] for text in axes.texts) < axes.get_ylim()[0]


def test_labels_colours_what_is_learned_and_folds_repeated_tokens():
    pieces = ["user", "\n", *["<|image_pad|>"] * 4, " yes", "<|im_end|>"]
    axes = pictures.labels(pieces, [False] * 6 + [True] * 2).axes[0]
    assert [text.get_text() for text in axes.texts] == ["user", "↵", "<|image_pad|> × 4", "·yes", "<|im_end|>"]
    colours = [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in axes.patches]
    assert colours[-2:] == [pictures.RIGHT] * 2 and pictures.RIGHT not in colours[:-2]


def test_equal_neighbours_are_not_folded_over_the_border_of_what_is_learned():
    axes = pictures.labels(["l"] * 10, [False] * 4 + [True] * 4 + [False] * 2).axes[0]
    assert [text.get_text() for text in axes.texts] == ["l × 4", "l × 4", "l", "l"]


def test_a_strip_holds_all_frames_row_by_row():
    frames = tuple(Image.new("RGB", (8, 6), (number, 0, 0)) for number in range(5))
    sheet = pictures.strip(Clip(frames, 2.0), columns=4, gap=2)
    assert sheet.size == (38, 14)
    assert [sheet.getpixel((number % 4 * 10, number // 4 * 8))[0] for number in range(5)] == list(range(5))
    assert sheet.getpixel((7, 13)) == (4, 0, 0) and sheet.getpixel((7, 7)) == (255, 255, 255)


def test_items_shows_questions_and_answers_line_by_line():
    clip = Clip((Image.new("RGB", (8, 8)),) * 8, 2.0)
    figure = pictures.items([
        ("clip", clip, [("Which way?", "To the left.")]), ("text", None, [("Read.", "one\ntwo")]),
    ])  # fmt: skip
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["clip", "Which way?", "    To the left.", "text", "Read.", "    one", "    two"]


LOG = [
    {"examples": 100, "loss": 3.0, "minutes": 1, "scene_exact": 0.0, "scene_tokens": 0.5, "clip_order_exact": 0.25},
    {"examples": 200, "loss": 1.0, "minutes": 2, "scene_exact": 0.5, "scene_tokens": 0.9, "clip_order_exact": 0.75},
]


def test_scores_are_read_by_suffix():
    assert pictures.score_of(LOG) == {"scene": [(100, 0.0), (200, 0.5)], "clip_order": [(100, 0.25), (200, 0.75)]}
    assert pictures.score_of(LOG, "tokens") == {"scene": [(100, 0.5), (200, 0.9)]}


def test_curves_has_a_panel_for_each_kind_and_one_for_the_loss():
    figure = pictures.curves(LOG)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["scene", "clip", "training loss"]
    assert panels["clip"].lines[0].get_xydata().tolist() == [[0.1, 0.25], [0.2, 0.75]]
    assert panels["training loss"].lines[0].get_xydata().tolist() == [[0.1, 3.0], [0.2, 1.0]]


def test_curves_mark_where_stages_began_and_leave_a_gap_where_nothing_was_measured():
    unmeasured = {"examples": 150, "loss": 2.0}
    figure = pictures.curves([LOG[0], unmeasured, *LOG[1:]], starts={"first": 0, "second": 120})
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    curve = panels["clip"].lines[0].get_xydata()
    assert curve[:, 0].tolist() == [0.1, 0.15, 0.2] and np.isnan(curve[1, 1]) and curve[2, 1] == 0.75
    assert panels["training loss"].lines[0].get_xydata().tolist()[1] == [0.15, 2.0]
    for axes in panels.values():
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [0, 0.12]
    assert {name: place[0] for name, place in texts(panels["training loss"]).items()} == {"first": 0, "second": 0.12}


def test_curves_without_scores_says_so():
    with pytest.raises(CourseError, match="_exact"):
        pictures.curves([{"examples": 1, "loss": 1.0}])


def test_curves_draws_every_task_that_the_trainer_logs():
    log = [{"examples": n, "loss": 1.0, **{f"{task}_exact": 0.5 for task in dataset.TASKS}} for n in (1, 2)]
    panels = [axes for axes in pictures.curves(log).axes if axes.get_title() not in ("", "training loss")]
    assert sum(len(axes.lines) for axes in panels) == len(dataset.TASKS)


def test_of_many_curves_the_lowest_are_coloured_and_named():
    names = ["scene", *(f"scene_{name}" for name in ("json", "count", "left", "pose", "light", "box"))]
    ends = {f"{task}_exact": place / 10 for place, task in enumerate(names)}
    log = [{"examples": n, "loss": 1.0, **ends} for n in (1, 2)]
    (panel,) = (axes for axes in pictures.curves(log).axes if axes.get_title() == "scene")
    labels = [text.get_text() for text in panel.get_legend().get_texts()]
    assert labels == ["2 others, higher", "scene", "json", "count", "left", "pose"]


def test_sizes_are_drawn_from_small_to_large_with_a_line_per_score(tmp_path):
    study = json.loads(json.dumps([
        {"size": "whole", "parameters": 5_000_000, "minutes": 9, "steps": 9, "scores": {"scene": 0.9, "clip": 0.4}},
        {"size": "half", "parameters": 1_250_000, "minutes": 9, "steps": 9, "scores": {"scene": 0.5}},
    ]))  # fmt: skip
    axes = pictures.sizes(study).axes[0]
    assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
        "scene": [[1.25, 0.5], [5.0, 0.9]],
        "clip": [[5.0, 0.4]],
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1.25\nhalf", "5\nwhole"]


def test_filters_shows_the_strongest_rows_first():
    weight = np.zeros((5, 3, 2, 4, 4), dtype=np.float32)
    weight[3, 0], weight[1, 1] = 2.0, 1.0
    first, second = pictures.filters(weight, shown=2).axes[:2]
    assert first.images[0].get_array()[0, 0].tolist() == [1.0, 0.5, 0.5]
    assert second.images[0].get_array()[0, 0].tolist() == [0.5, 1.0, 0.5]


def test_live_draws_loss_facts_and_the_guess():
    left, right = pictures.live([(10, 3.0), (20, 2.0)], [(0, 0.0), (20, 0.4)], guess=0.26).axes
    assert left.lines[0].get_xydata().tolist() == [[10, 3.0], [20, 2.0]]
    assert right.lines[0].get_xydata().tolist() == [[0, 0.0], [20, 0.4]]
    assert set(right.lines[1].get_ydata()) == {0.26}


def test_compact_keeps_the_look_saves_bytes_and_closes_the_figure():
    import io

    import matplotlib.pyplot as plt

    def size(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return len(buffer.getvalue())

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    figure = pictures.gallery([(Image.fromarray(noise), "A blue ball.", ("A red ball.",))])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    picture, whole = pictures.compact(figure), Image.open(buffer).convert("RGB")
    assert picture.size == whole.size and size(picture) < size(whole) / 2
    difference = np.abs(np.asarray(picture.convert("RGB"), dtype=int) - np.asarray(whole, dtype=int))
    assert difference.mean() < 8 and not plt.get_fignums()

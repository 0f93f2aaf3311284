"""Receipts: the same seed gives the same bytes, amounts add up, answers say what is printed, and it is all visible."""

import json
import random
from decimal import Decimal

import jsonschema
import numpy as np
import pytest
from PIL import Image

from helpers.errors import CourseError
from toolkit.toyworld import items, receipts
from toolkit.toyworld import receipt_drawing as drawing

FORMS = {1: "strip", 2: "small", 3: "whole"}


def facts_of(seed, difficulty=3):
    return receipts.make_facts(random.Random(seed), difficulty)


def layers_of(seed, difficulty):
    """(facts, look, paper, ink): what `draw` puts on the image of this seed."""
    facts = facts_of(seed, difficulty)
    rng, lines = random.Random(f"receipt-look-{seed}"), receipts.roles_and_lines(facts)
    look = drawing._look(facts["form"], lines, rng)
    return facts, look, *drawing._layers(lines, look, rng)


@pytest.mark.parametrize("difficulty", items.DIFFICULTIES)
def test_same_seed_same_bytes(difficulty):
    first, second = (items.make_item("receipt", 123, difficulty) for _ in range(2))
    assert first.record() == second.record()
    name = first.record()["media"][0]
    assert name == first.record()["messages"][0]["content"][0]["image_url"]["url"]
    assert items.png_bytes(first.media[name]) == items.png_bytes(second.media[name])
    other = items.make_item("receipt", 124, difficulty)
    assert items.png_bytes(next(iter(other.media.values()))) != items.png_bytes(first.media[name])


def test_the_seed_changes_the_look_but_not_the_facts():
    facts = facts_of(5)
    before = json.dumps(facts)
    one, two = receipts.draw(facts, 1), receipts.draw(facts, 2)
    assert json.dumps(facts) == before
    assert items.png_bytes(one) != items.png_bytes(two)


@pytest.mark.parametrize("difficulty", [2, 3])
def test_amounts_add_up(difficulty):
    for seed in range(1000):
        facts = facts_of(seed, difficulty)
        paid = sum(Decimal(item["price"]) for item in facts["items"]) + Decimal(facts.get("tax", "0"))
        assert paid == Decimal(facts["total"]), seed
        assert ("tax" in facts) == (difficulty == 3)
        for item in facts["items"]:
            # A line's price is a whole number of cents for each one bought, and below 20.00.
            assert int(Decimal(item["price"]) * 100) % item["quantity"] == 0
            assert Decimal("0.50") * item["quantity"] <= Decimal(item["price"]) < 20


def test_the_text_has_every_line_in_order():
    item = {"name": "Bread", "quantity": 2, "price": "6.40"}
    other = {"name": "Tea", "quantity": 1, "price": "3.05"}
    facts = {
        "form": "whole", "shop": "Old Mill", "date": "2026-03-14", "date_at": "top", "items": [item, other],
        "ones": False, "tax": "0.76", "total": "10.21",
    }  # fmt: skip
    assert receipts.text_of(facts) == "Old Mill\n2026-03-14\n2 x Bread 6.40\nTea 3.05\nTax 0.76\nTOTAL 10.21"
    facts |= {"date_at": "bottom", "ones": True}
    assert receipts.text_of(facts) == "Old Mill\n2 x Bread 6.40\n1 x Tea 3.05\nTax 0.76\nTOTAL 10.21\n2026-03-14"
    small = {key: facts[key] for key in ("shop", "items", "ones")} | {"form": "small", "total": "9.45"}
    assert receipts.text_of(small) == "Old Mill\n2 x Bread 6.40\n1 x Tea 3.05\nTOTAL 9.45"


def test_the_lines_are_what_is_printed(monkeypatch):
    printed = []
    write = drawing._Sheet.write

    def record(sheet, text, *rest, **more):
        printed.append(text)
        write(sheet, text, *rest, **more)

    monkeypatch.setattr(drawing._Sheet, "write", record)
    for difficulty in items.DIFFICULTIES:
        for seed in range(30):
            printed.clear()
            item = items.make_item("receipt", seed, difficulty)
            assert "\n".join(printed) == item.answer[0] == receipts.text_of(item.facts)


def test_json_answers_fit_the_schema_and_state_the_facts():
    for difficulty in (2, 3):
        for seed in range(200):
            facts = facts_of(seed, difficulty)
            stated = json.loads(receipts.facts_as_json(facts))
            jsonschema.validate(stated, receipts.json_schema())
            assert stated.items() <= facts.items()
            assert set(facts) - set(stated) <= {"form", "date_at", "ones"}
    for wrong in ({"total": "3.5"}, {"tax": "none"}, {"date": "14 March"}, {"items": []}, {"tip": "1.00"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(stated | wrong, receipts.json_schema())
    with pytest.raises(CourseError, match="strip"):
        receipts.facts_as_json(facts_of(1, 1))


def test_every_question_has_its_answers():
    for difficulty in items.DIFFICULTIES:
        tasks = receipts.TASKS[:1] if difficulty == 1 else receipts.TASKS
        for seed in range(100):
            facts = facts_of(seed, difficulty)
            asked = receipts.questions(facts, random.Random(seed))
            assert tuple(question.task for question in asked) == tasks
            answers = {question.task: question.answers for question in asked}
            assert answers["receipt"] == (receipts.text_of(facts),)
            if difficulty > 1:
                total = facts["total"]
                assert answers["receipt_total"] == (total, f"{total}.", f"The total is {total}.")
                assert answers["receipt_json"] == (receipts.facts_as_json(facts),)
            assert all(question.request and all(question.answers) for question in asked)


def test_a_strip_says_which_lines_it_shows():
    seen = set()
    for seed in range(300):
        facts = facts_of(seed, 1)
        assert set(facts) == {"form", "lines"} and 1 <= len(facts["lines"]) <= 2
        assert receipts.text_of(facts).split("\n") == facts["lines"]
        seen.update(line.split()[0] for line in facts["lines"])
    # Every role of a line is practised: headings, dates, goods, tax and totals.
    assert {"TOTAL", "Tax", "2", *(shop.split()[0] for shop in receipts.SHOPS)} <= seen
    assert any(word.startswith("20") and "-" in word for word in seen)


def test_difficulty_changes_what_is_drawn():
    for difficulty, form in FORMS.items():
        counts, heights = set(), set()
        for seed in range(200):
            item = items.make_item("receipt", seed, difficulty)
            assert item.facts["form"] == form
            counts.add(len(item.facts.get("items", ())))
            heights.add(next(iter(item.media.values())).height)
        assert counts == {1: {0}, 2: {1, 2}, 3: {1, 2, 3, 4}}[difficulty]
        assert heights <= {1: {64, 96}, 2: set(range(128, 225, 32)), 3: set(range(192, 385, 32))}[difficulty]
        assert len(heights) > 1
    assert items.make_item("receipt", 7).record() == items.make_item("receipt", 7, 3).record()


def test_turns_noise_and_folds_come_at_difficulty_3_only():
    for difficulty in items.DIFFICULTIES:
        looks = [layers_of(seed, difficulty)[1] for seed in range(100)]
        if difficulty < 3:
            assert {(look.degrees, look.noise, look.folds) for look in looks} == {(0.0, 0, 0)}
        else:
            degrees = [look.degrees for look in looks]
            assert -drawing.MOST_DEGREES <= min(degrees) < -1 and 1 < max(degrees) <= drawing.MOST_DEGREES
            assert {look.folds for look in looks} == {0, 1, 2} and min(look.noise for look in looks) > 0


def test_upright_paper_is_clean_and_worn_paper_is_not():
    for difficulty in items.DIFFICULTIES:
        for seed in range(20):
            facts, look, paper, ink = layers_of(seed, difficulty)
            picture = np.asarray(receipts.draw(facts, seed))
            blank = picture[(np.asarray(paper) == 255) & (np.asarray(ink) == 0)]
            if difficulty < 3:
                assert (blank == look.paper).all()
            else:
                # Noise alone gives 2 × noise + 1 values, less those that white cuts off.
                assert look.noise < len(np.unique(blank[:, 0])) and 1.5 < blank[:, 0].std() < 12


def test_a_fold_darkens_the_paper_behind_it_and_leaves_the_table():
    import dataclasses

    paper = Image.new("L", (256, 256))
    paper.paste(255, (20, 0, 236, 256))
    look = dataclasses.replace(layers_of(0, 3)[1], noise=0, folds=1)
    worn = np.asarray(drawing._worn(Image.new("RGB", (256, 256), (180, 180, 180)), look, paper, random.Random(1)))
    assert worn[:, 128].min() < 165 and 181 < worn[:, 128].max() < 190
    assert (worn[:, :20] == 180).all() and (worn[:, 236:] == 180).all()


@pytest.mark.parametrize("difficulty", items.DIFFICULTIES)
def test_no_text_is_cut_off(difficulty):
    for seed in range(300):
        facts, look, paper, ink = layers_of(seed, difficulty)
        assert paper.size == ink.size and paper.width == drawing.WIDTH
        assert paper.height % drawing.STEP == 0 and 64 <= paper.height <= drawing.TALLEST
        left, top, right, bottom = ink.getbbox()
        assert left >= 4 and top >= 3 and right <= paper.width - 4 and bottom <= paper.height - 3, seed
        # All the ink that was set is there (a turn moves it by fractions of a pixel), and it is on the paper.
        sheet, _ = drawing._typeset(receipts.roles_and_lines(facts), look)
        there, printed = np.asarray(sheet, dtype=float).sum() / drawing.SUPERSAMPLE**2, np.asarray(ink)
        assert abs(printed.astype(float).sum() - there) < 0.02 * there, seed
        assert np.asarray(paper)[printed > 0].min() == 255, seed


def test_the_picture_is_no_higher_than_its_text_needs():
    for difficulty in items.DIFFICULTIES:
        for seed in range(100):
            _, _, _, ink = layers_of(seed, difficulty)
            _, top, _, bottom = ink.getbbox()
            assert ink.height - (bottom - top) < drawing.STEP + 64


@pytest.mark.parametrize("difficulty", items.DIFFICULTIES)
@pytest.mark.parametrize("typeface", drawing.TYPEFACES)
def test_the_longest_line_fits_in_large_type(typeface, difficulty):
    size = drawing.SMALLEST_TYPE[FORMS[difficulty]]
    assert size >= (18 if difficulty == 3 else 22)
    font = drawing.font(typeface, False, size * drawing.SUPERSAMPLE)
    lines = [f"4 x {name} 19.96" for name in receipts.GOODS]
    lines += [*receipts.SHOPS, "2026-04-24", "TOTAL 100.00"]
    assert max(map(font.getlength, lines)) <= drawing._room(FORMS[difficulty]) * drawing.SUPERSAMPLE
    heading = drawing.font(typeface, True, 24 * drawing.SUPERSAMPLE)
    assert max(map(heading.getlength, receipts.SHOPS)) <= drawing._room("whole") * drawing.SUPERSAMPLE


def test_type_is_large_and_dark_on_light():
    for difficulty in items.DIFFICULTIES:
        for seed in range(100):
            _, look, _, _ = layers_of(seed, difficulty)
            assert look.size >= drawing.SMALLEST_TYPE[FORMS[difficulty]] and look.pitch >= 1.4 * look.size
            assert min(look.paper) - max(look.ink) > 150


def test_each_printed_line_is_on_the_picture():
    # Each line's text leaves rows with ink, and the rows between two lines are blank on the upright forms.
    for difficulty in (1, 2):
        for seed in range(60):
            facts, look, _, ink = layers_of(seed, difficulty)
            rows = (np.asarray(ink) > 60).any(axis=1)
            bands = np.flatnonzero(np.diff(np.concatenate([[0], rows, [0]]).astype(int)))
            # A rule is 2 pixels high, a line of type at least half its size.
            tall = sum(end - start >= look.size * 0.5 for start, end in bands.reshape(-1, 2))
            assert tall == len(receipts.lines_of(facts)), seed


def test_typefaces_layouts_papers_and_tables_vary():
    looks = [layers_of(seed, 3)[1] for seed in range(200)]
    assert {look.typeface for look in looks} == set(drawing.TYPEFACES)
    assert {look.table for look in looks} == set(drawing._TABLES)
    layouts = {(look.heading, look.columns, look.rule, look.total, look.edge) for look in looks}
    assert len(layouts) > 40
    for name, count in {"heading": 3, "columns": 2, "rule": 4, "total": 3, "edge": 2, "paper": 4, "ink": 4}.items():
        assert len({getattr(look, name) for look in looks}) == count, name
    facts = [facts_of(seed) for seed in range(200)]
    assert {fact["date_at"] for fact in facts} == {"top", "bottom"} and {fact["ones"] for fact in facts} == {
        True,
        False,
    }
    assert {fact["shop"] for fact in facts} == set(receipts.SHOPS)
    assert {item["name"] for fact in facts for item in fact["items"]} == set(receipts.GOODS)


def test_training_and_validation_do_not_share_receipts():
    train = {receipts.text_of(receipts.make_facts(random.Random(f"receipt-{seed}"))) for seed in range(3000)}
    assert len(train) == 3000
    held_out = (items.make_item("receipt", items.VALIDATION_SEED + number) for number in range(100))
    assert not any(item.answer[0] in train for item in held_out)


def test_missing_typefaces_are_named(monkeypatch):
    drawing._font_folder.cache_clear()
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="DejaVu"):
        drawing._font_folder()
    monkeypatch.undo()
    drawing._font_folder.cache_clear()
    monkeypatch.setitem(drawing.TYPEFACES, "sans", ("Nowhere.ttf", "Nowhere.ttf"))
    with pytest.raises(CourseError, match=r"Nowhere\.ttf"):
        drawing.font("sans", False, 1001)


def test_drawing_does_not_import_matplotlib():
    import subprocess
    import sys

    code = "import sys, toolkit.toyworld as t; t.make_item('receipt', 1); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("difficulty", [2, 3])
def test_half_of_the_totals_are_wrong_in_one_digit(difficulty):
    wrong = 0
    for seed in range(200):
        facts = receipts.make_facts(random.Random(seed), difficulty)
        printed = receipts.with_total(facts, random.Random(f"total-{seed}"))
        differ = [one != other for one, other in zip(printed["total"], facts["total"], strict=True)]
        assert sum(differ) <= 1 and printed | {"total": facts["total"]} == facts
        assert len(printed["total"]) == 4 or printed["total"][0] != "0"
        assert receipts.lines_of(printed)[-1 - (facts.get("date_at") == "bottom")] == f"TOTAL {printed['total']}"
        answers = receipts.adds_up_question(printed).answers
        assert answers[0] == ("No." if any(differ) else "Yes.")
        assert sum(float(amount) for amount in receipts.amounts_of(facts)) == pytest.approx(float(facts["total"]))
        wrong += any(differ)
    assert 70 < wrong < 130

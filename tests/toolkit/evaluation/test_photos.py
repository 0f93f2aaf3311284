"""The photographs: licences, files, items made from the facts, and which facts a description mentions."""

import json

import pytest
import yaml
from PIL import Image

from helpers.media import probe
from toolkit.evaluation.inference.requests import check_items
from toolkit.evaluation.metrics.scoring import grade, score_answer
from toolkit.evaluation.photos import PHOTOS, mentioned, photo_records

LISTED = yaml.safe_load((PHOTOS / "photos.yaml").read_text(encoding="utf-8"))


def test_every_file_is_listed_with_licence_author_source_and_facts():
    media = {path.name for path in PHOTOS.iterdir() if path.suffix in (".jpg", ".png", ".mp4")}
    assert media == {photo["file"] for photo in LISTED}
    for photo in LISTED:
        assert all(photo[key] for key in ("title", "licence", "author", "source", "changes")), photo["file"]
        assert 8 <= len(photo["facts"]) <= 20, photo["file"]
    assert sum((PHOTOS / name).stat().st_size for name in media) < 3 * 2**20


@pytest.mark.parametrize("photo", LISTED, ids=lambda photo: photo["file"])
def test_every_file_opens(photo):
    path = PHOTOS / photo["file"]
    if path.suffix == ".mp4":
        seconds = probe(path).seconds
        assert all(0 <= event["start"] < event["end"] <= seconds for event in photo["events"])
    else:
        with Image.open(path) as image:
            image.load()
            assert max(image.size) <= 640


def test_the_items_are_those_of_the_facts():
    lines = (PHOTOS / "items.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == list(photo_records()), "python -m toolkit.evaluation.photos"
    assert check_items(PHOTOS) == len(lines)


def facts_of(name):
    return next(photo["facts"] for photo in LISTED if photo["file"] == name)


FLUENT = """**A cup of espresso** sits on a matching red saucer. A small metal spoon rests beside it.

The cup is white on the inside and red outside; the table is made of wood, and golden crema covers the coffee."""


def test_a_fluent_description_mentions_its_facts():
    facts = facts_of("coffee.jpg")
    found = {fact["fact"] for fact, there in zip(facts, mentioned(FLUENT, facts), strict=True) if there}
    assert found == {fact["fact"] for fact in facts} - {"it is seen from above, at an angle"}


@pytest.mark.parametrize(
    ("said", "fact", "there"),
    [
        ("There is no flag behind her.", "a flag is on the left", False),
        ("The woman isn't smiling.", "she smiles", False),
        ("She is smiling.", "she smiles", True),
        ("A RED helmet!", "a helmet is in front of her", True),
        ("The suit is blue. The flag is orange.", "the suit is orange", False),
        ("I can't tell.", "a woman is shown", False),
        ("A womanly figure", "a woman is shown", False),
    ],
)
def test_words_count_where_they_are_said_and_not_denied(said, fact, there):
    facts = [entry for entry in facts_of("astronaut.jpg") if entry["fact"] == fact]
    assert mentioned(said, facts) == [there]


PAGE = "Here is the text:\n\n```\nRegion-based segmentation\n" + (
    "Let us first determine markers of the coins and the background. These markers are pixels that we can label "
    "unambiguously as either object or background. Here, the markers are found at the two extreme parts of the "
    "histogram of grey values:\n>>> markers = np.zeros_like(coins)\n```"
)


@pytest.mark.parametrize(
    ("item", "answer", "verdict"),
    [
        ("photo-coins-1", "There are **24** coins in the image, arranged in four rows of six.", "right"),
        ("photo-coins-1", "I count 20 coins.", "wrong"),
        ("photo-coins-2", "There are 4 rows, with 6 coins in each.", "right"),
        ("photo-rocket-1", "No, the rocket is standing on its launch pad.", "right"),
        ("photo-astronaut-2", "No. She is not wearing glasses.", "right"),
        ("photo-astronaut-3", "The suit is a bright orange.", "right"),
        ("photo-astronaut-3", "The suit is blue, not orange.", "wrong"),
        ("photo-portrait-3", "There is one person in the image.", "right"),
        ("photo-page-1", PAGE, "right"),
        ("photo-page-1", "I can't tell.", "unreadable"),
        ("photo-rabbit-1", "Yes, a large gray rabbit comes out of a burrow.", "right"),
    ],
)
def test_questions_about_photographs_are_graded_in_any_wording(item, answer, verdict):
    record = next(record for record in photo_records() if record["item_id"] == item)
    assert grade(record, answer) == verdict


def test_a_description_is_scored_by_the_facts_that_it_mentions():
    record = next(record for record in photo_records() if record["item_id"] == "photo-coffee")
    scores, _ = score_answer(record, FLUENT)
    assert scores["facts"] == 11
    assert scores["stated"] == 10
    assert scores["right"] is None

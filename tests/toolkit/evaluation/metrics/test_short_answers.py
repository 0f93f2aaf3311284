"""Short answers: every accepted wording is read as right, other wordings too, and what commits to nothing is unread."""

import random

import pytest

from toolkit.evaluation.metrics.actions import Action, order_of, read_actions
from toolkit.evaluation.metrics.short_answers import READERS, is_right, read_short_answer, yes_or_no
from toolkit.toyworld.items import kind_module

LEFT = "What is to the left of the dog?"


@pytest.mark.parametrize("kind", ["scene", "receipt", "clip", "sentence"])
def test_every_accepted_wording_is_read(kind):
    module, asked = kind_module(kind), set()
    for seed in range(11_000_000, 11_000_150):
        rng = random.Random(f"{kind}-{seed}")
        for question in module.questions(module.make_facts(rng, 3), rng):
            if question.task in READERS:
                asked.add(question.task)
                for wording in question.answers:
                    assert is_right(question.task, wording, question.answers[0], question.request), question
    assert asked == {task for task in READERS if task in module.TASKS}


@pytest.mark.parametrize(
    ("task", "text", "reference", "right"),
    [
        ("scene_exists", "Yes, there is a dog.", "Yes.", True),
        ("scene_exists", "I see a dog.", "Yes.", None),
        ("scene_count", "There are two dogs in the picture.", "2.", True),
        ("scene_count", "There are no cats.", "0.", True),
        ("scene_count", "Two or three.", "2.", None),
        ("scene_colour", "The woman's shirt is blue.", "Blue.", True),
        ("scene_colour", "Red and blue.", "Blue.", None),
        ("scene_colour", "The dog has a golden coat.", "Golden.", True),
        ("scene_position", "There is a little girl.", "A child.", True),
        ("scene_position", "A dog and a ball.", "A dog.", None),
        ("scene_pose", "He's sitting down.", "Sitting.", True),
        ("scene_place", "This is a snowy street.", "In the snow.", False),
        ("scene_weather", "It is cloudy.", "Rainy.", False),
        ("scene_weather", "It's raining from a cloudy sky.", "Rainy.", True),
        ("scene_weather", "The sky is cloudless.", "Clear.", True),
        ("receipt_total", "The total comes to $19,21.", "19.21", True),
        ("receipt_total", "19.21 or 19.12", "19.21", None),
        ("receipt_total", "The total is 1,234.50.", "1234.50", True),
        ("receipt_total", "1.234,50", "1,234.50", True),
        ("receipt_total", "The total is 1,234.50.", "234.50", False),
        ("receipt_total", "1,234", "1.23", None),
        ("scene_count", "1,234 dogs.", "1234.", True),
        ("scene_count", "Only 1 dog.", "1.", True),
        ("scene_weather", "It is not rainy.", "Rainy.", None),
        ("scene_weather", "It isn't raining, the sky is clear.", "Clear.", True),
        ("scene_weather", "Not rainy but cloudy.", "Cloudy.", True),
        ("scene_colour", "It is not red, it is blue.", "Blue.", True),
        ("scene_pose", "She is not sitting.", "Sitting.", None),
        ("clip_direction", "Not to the left but to the right.", "To the right.", True),
        ("clip_direction", "The man walks from left to right.", "To the right.", True),
        ("clip_direction", "Towards the right side.", "To the right.", True),
        ("clip_count", "He waved 2 times.", "Twice.", True),
        ("clip_count", "He waved 12345 times.", "1234.", False),
        ("clip_count", f"He waved {'2' * 5000} times.", "Twice.", False),
        ("clip_intention", "She wants to get into the spaceship.", "She is going to board the rocket.", True),
        ("clip_order", "He is waving and walks away after that.", "First he waves, then he walks.", True),
        ("clip_order", "First he walks, then he waves.", "First he waves, then he walks.", False),
        ("sentence_daily", "'Monday'", "Monday", True),
    ],
)
def test_other_wordings(task, text, reference, right):
    assert is_right(task, text, reference) is right


def test_what_the_question_names_is_no_answer_to_it():
    assert is_right("scene_left", "A cat is to the left of the dog.", "A cat.", LEFT)
    assert is_right("scene_left", "Nothing is to the left of the dog.", "A cat.", LEFT) is False
    assert read_short_answer("scene_left", "The dog's bone.", LEFT) is None


def test_actions_come_in_the_order_of_the_text():
    text = "A man picks up a box in a park. Then he runs to the left, runs on and stops."
    assert order_of(text) == ("picks up", "runs", "stops")
    assert read_actions(text)[1] == Action("runs", direction="left") and read_actions(text)[0].thing == "box"
    assert order_of("A park.") == ()


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Yes", "yes"), ("no.", "no"), ("Yes, there is a dog.", "yes"), ("**No**", "no"), (" 'yes' ", "yes"),
        ("No, there is no dog.", "no"), ("Yes there is.", "yes"), ("No\n\nThe picture has a cat.", "no"),
        ("", None), ("Maybe", None), ("Yesterday.", None), ("No idea", None), ("Yes. No.", None), ("Yes or no?", None),
        ("Maybe yes.", None), ("not", None), ("yes", "yes"), ("Yes.", "yes"), (" YES! ", "yes"), ("no", "no"),
        ("No, nothing\nat all.", "no"),
        ("There is a dog.", None), ("I can't tell.", None), ("yes, yes.", "yes"), ("No - I see a cat", "no"),
    ],
)  # fmt: skip
def test_yes_and_no_are_read(answer, read):
    assert yes_or_no(answer) == read


def test_what_is_said_to_be_there_is_a_yes():
    asked = "Is there a dog in the image?"
    assert yes_or_no("I see a dog.", asked) == "yes"
    assert yes_or_no("I don't see a dog, only a cat.", asked) == "no"
    assert yes_or_no("I see a cat.", asked) is None


@pytest.mark.parametrize(
    ("task", "question", "text", "reference", "right"),
    [
        ("photo_exists", "Is the person wearing a hat? Answer yes or no.", "**No**, her head is bare.", "No", True),
        ("photo_exists", "Is the rocket flying? Answer yes or no.", "It stands on the pad. So: no.", "No", True),
        ("photo_count", "How many rockets are in the image?", "There is one rocket beside 2 towers.", "1", True),
        ("photo_count", "How many coins are in the image?", "4 rows of 6, that is 24 coins.", "24", True),
        ("photo_count", "How many cups are in the image?", "Two cups and 1 spoon.", "1", False),
        ("photo_colour", "What colour is the saucer?", "The saucer is red, not blue.", "red", True),
        ("photo_colour", "What colour is the flower?", "It is white.", "orange", False),
    ],
)
def test_questions_about_photographs(task, question, text, reference, right):
    assert is_right(task, text, reference, question) is right

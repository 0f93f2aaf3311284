"""What tests of judging share: scenes without images, and what a judging model is shown and replies."""

import json
import random
import re

from tests.support.chat_endpoint import answer
from toolkit.evaluation.judging.prompt import read_rubric
from toolkit.toyworld.items import Item
from toolkit.toyworld.scenes import make_facts, questions


def scene_record(seed, facts=None):
    """A record without its image, which is slow to draw."""
    facts = facts or make_facts(random.Random(f"contestants-{seed}"))
    question = questions(facts, random.Random(0))[0]
    messages = [{"role": "user", "content": question.request}]
    return Item("scene", seed, messages, list(question.answers), facts).record()


SCENES = [scene_record(seed) for seed in range(60)]


def reply(verdict, **others):
    """What a judging model writes; ``others`` are verdicts by dimension."""
    verdicts = {name: {"reason": "r", "verdict": others.get(name, verdict)} for name in read_rubric()}
    return answer(json.dumps(verdicts))


def answers_in(question):
    """The two answers that a judge was shown."""
    return [re.search(rf"<answer-{name}>\n(.*?)\n</answer-{name}>", question, re.DOTALL)[1] for name in "ab"]

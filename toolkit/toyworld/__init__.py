"""The toy world: images, clips, receipts and sentences, each drawn from a seed together with its exact facts.

Whatever a model says about an item can be checked, since the item was drawn from its facts and not the other way
round. The same seed gives the same bytes everywhere; only Pillow, NumPy and (for MP4) PyAV are needed::

    item = make_item("scene", seed=11_000_000)
    item.messages                      # the request, in OpenAI's form
    item.answer[0]                     # the reference answer
    item.facts["subjects"][0]["colour"]
    for item in write_items("clip", count=24, seed=11_000_000, folder=Path("clips")):
        ...                            # each is on disk: items.jsonl and MP4 files
    read_items("clips")                # the records again

`KINDS` are the kinds of item, one module each: `scenes`, `receipts`, `clips`, `sentences`, `foreign`, `pages`,
`windows`. A module has ``make_facts(rng, difficulty)``, ``draw(facts, seed)`` and ``questions(facts, rng)``; `clips`
also has ``make_pair``, for two clips that differ in one fact. `write_questions` asks several questions about the same
images. `write_long_video` makes a video of minutes, `broken_clips` files as phones and interrupted downloads leave
them. A new kind is drawn with `Pen`.

Seeds: training 0 to 9,999,999; validation from `VALIDATION_SEED` (10,000,000) to 10,999,999; shipped samples and tests
from 11,000,000 to 19,999,999. Those from 20,000,000 on are never used here: they are for whoever wants
to check the project.
"""

from toolkit.toyworld import clips, scenes, windows
from toolkit.toyworld.broken_media import broken_clips
from toolkit.toyworld.items import (
    KINDS,
    VALIDATION_SEED,
    Item,
    Question,
    kind_module,
    make_item,
    read_items,
    write_items,
)
from toolkit.toyworld.long_video import write_long_video
from toolkit.toyworld.pen import Pen
from toolkit.toyworld.questions import write_questions
from toolkit.toyworld.video import Clip, mp4_bytes

__all__ = [
    "KINDS", "VALIDATION_SEED", "Clip", "Item", "Pen", "Question", "broken_clips", "clips", "kind_module", "make_item",
    "mp4_bytes", "read_items", "scenes", "write_items", "write_long_video", "write_questions",
]  # fmt: skip

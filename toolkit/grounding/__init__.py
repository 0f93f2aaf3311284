"""What a model points at: boxes, points, page layouts, moments and 3D boxes, read from answers, converted and scored.

Qwen3-VL writes a box as ``{"bbox_2d": [left, top, right, bottom], "label": …}`` in thousandths of the image::

    reading = read_objects(answer)             # fences, prose, several objects, a cut-off end: `problems` says what
    placed = Canvas.of(image).place(reading)   # thousandths become pixels, and nothing lies outside the image
    draw_objects(image, placed.objects)
    overlaps(placed.objects, true_objects)     # IoU of each true object with the one found for it

* `Canvas` is the one place where coordinates change: thousandths, 0 to 999, or pixels of the resized image
  (Qwen2.5-VL), with crops and images that were resized before they were sent.
* `read_layout` reads the answers to ``qwenvl html`` and ``qwenvl markdown``, `read_events` when things happen in a
  video. Both return a `Reading`, as `read_objects` does.
* `score_answers` scores answers to items of `toolkit.toyworld`, per task and with intervals; `iou` compares two boxes.
* `Camera` projects 3D boxes (``bbox_3d``) into an image and draws them.
"""

from typing import TYPE_CHECKING

from helpers.lazy import lazy_names

if TYPE_CHECKING:
    from toolkit.evaluation.metrics.text_metrics import iou
    from toolkit.grounding.camera import Camera
    from toolkit.grounding.coordinates import Canvas
    from toolkit.grounding.drawing import draw_objects
    from toolkit.grounding.events import read_events
    from toolkit.grounding.layout import read_layout
    from toolkit.grounding.objects import Found, Reading, read_objects
    from toolkit.grounding.scoring import overlaps, score_answers

__all__, __getattr__, __dir__ = lazy_names(__name__)

"""Draws a clip from its facts: a person side on, limb by limb, before a still background."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from PIL import Image

from toolkit.toyworld.clip_motion import PACE, Moment, moment_at, start_of
from toolkit.toyworld.clip_scenery import INK, LYING_PAINTERS, PLACE_PAINTERS, THING_PAINTERS
from toolkit.toyworld.pen import Colour, Pen, Point, around, shade
from toolkit.toyworld.video import Clip
from toolkit.toyworld.world import COLOURS

SIZE = 128
SUPERSAMPLE = 2
JACKETS = COLOURS
_GROUND = 0.93
#: How far in front of the feet the hands take something from the ground.
_REACH = 0.15
_SKINS = ((248, 214, 184), (232, 184, 148), (188, 132, 92), (132, 90, 64))
_HAIRS = ((48, 34, 28), (84, 48, 26), (30, 28, 32))
_TROUSERS = ((52, 58, 84), (72, 66, 64), (40, 44, 54))


def draw(facts: dict[str, Any], seed: int, size: int = SIZE, frames: Sequence[int] | None = None) -> Clip:
    """The clip in RGB frames of ``size`` × ``size`` pixels; what is not a fact (trees, hair) follows the seed.

    ``frames`` are the indices of the frames to draw, such as those that a model samples; None draws all.
    """
    rng = random.Random(f"look-{seed}")
    indices = range(facts["frames"]) if frames is None else frames
    look = {"skin": rng.choice(_SKINS), "hair": rng.choice(_HAIRS), "trousers": rng.choice(_TROUSERS)}
    start = start_of(facts, rng.random())
    canvas = size * SUPERSAMPLE
    background = Image.new("RGB", (canvas, canvas))
    pen = Pen(background)
    PLACE_PAINTERS[facts["place"]](pen, rng)
    for side, x, inward in (("left", 0.12, 1), ("right", 0.88, -1)):
        if facts["things"][side]:
            THING_PAINTERS[facts["things"][side]](pen, x, inward)
    lying = next((action for action in facts["actions"] if "thing" in action), None)
    drawn = []
    for index in indices:
        moment = moment_at(facts, index / facts["fps"])
        image = background.copy()
        pen = Pen(image)
        if lying and not moment.carried:
            there = moment_at(facts, lying["start"])
            LYING_PAINTERS[lying["thing"]](pen, start + there.way + there.facing * _REACH, _GROUND - 0.045)
        _Person(pen, facts, look, moment, start + moment.way).paint()
        drawn.append(image.reduce(SUPERSAMPLE))
    return Clip(tuple(drawn), facts["fps"] * len(drawn) / facts["frames"])


class _Person:
    """Somebody at one moment, painted from the far arm to the near one."""

    def __init__(self, pen: Pen, facts: dict[str, Any], look: dict[str, Colour], moment: Moment, x: float):
        self.pen, self.moment, self.x, self.face = pen, moment, x, moment.facing
        self.woman = facts["person"] == "woman"
        self.jacket, self.skin, self.hair = JACKETS[facts["colour"]], look["skin"], look["hair"]
        self.trousers = look["trousers"]
        self.going, self.running = moment.doing in PACE, moment.doing == "runs"
        self.bent = moment.doing == "picks up" and moment.slot < 1
        # Two slots are two steps: legs are apart in every slot's middle part, with the other one in front each time.
        self.swing = math.cos(math.pi * (moment.slot - 0.25)) if self.going else 0.0
        self.stride = {"walks": 0.1, "runs": 0.14}.get(moment.doing, 0.0)
        self.lean = 0.035 if self.running else 0.0
        if self.bent:
            self.hip = (x - self.face * 0.04, _GROUND - 0.22)
            self.shoulder = (x + self.face * 0.06, _GROUND - 0.33)
            self.head = (x + self.face * 0.11, _GROUND - 0.42)
        else:
            self.hip = (x, _GROUND - 0.27)
            self.shoulder = (x + self.face * self.lean, _GROUND - 0.44)
            self.head = (x + self.face * self.lean * 1.4, _GROUND - 0.545)
        self.held = (x + self.face * (0.125 + self.lean), _GROUND - 0.32)

    def paint(self) -> None:
        self.pen.ellipse(self.x, _GROUND + 0.005, 0.12, 0.016, (70, 74, 80))
        self._far_arm(shade(self.jacket, 0.72))
        self._leg(-self.swing if self.going else -1, shade(self.trousers, 0.72))
        self._leg(self.swing if self.going else 1, self.trousers)
        if self.woman:
            self._skirt()
        self._jacket(shade(self.jacket, 0.72))
        self._head()
        if self.moment.carried:
            LYING_PAINTERS[self.moment.carried](self.pen, *self.held)
        self._near_arm(shade(self.jacket, 0.88))

    def _leg(self, offset: float, colour: Colour) -> None:
        face, hip = self.face, self.hip
        lift = (0.07 if self.running else 0.02) * max(0.0, -offset) if self.going else 0.0
        foot = (self.x + face * offset * (self.stride if self.going else 0.012), _GROUND - 0.02 - lift)
        ahead = 0.06 if self.bent else 0.045 if self.running else 0.012
        knee = ((hip[0] + foot[0]) / 2 + face * ahead, (hip[1] + foot[1]) / 2)
        if self.woman:
            self.pen.limb([knee, foot], 0.045, self.skin)
            self.pen.limb([hip, knee], 0.06, colour)
        else:
            self.pen.limb([hip, knee, foot], 0.058, colour)
        self.pen.limb([foot, (foot[0] + face * 0.035, foot[1] + 0.005)], 0.034, INK)

    def _arm(self, hand: Point, elbow: Point, colour: Colour) -> None:
        self.pen.limb([self.shoulder, elbow, hand], 0.05, colour)
        self.pen.ellipse(*hand, 0.029, 0.029, self.skin)

    def _hanging_arm(self, offset: float, colour: Colour) -> None:
        shoulder, face = self.shoulder, self.face
        forward = face * offset * self.stride * 0.9
        raised = 0.06 if self.running else 0.0
        hand = (shoulder[0] + forward + face * (0.015 + raised), shoulder[1] + 0.19 - raised)
        elbow = (shoulder[0] + forward * 0.4 - face * (0.02 + raised * 0.3), shoulder[1] + 0.1)
        self._arm(hand, elbow, colour)

    def _far_arm(self, colour: Colour) -> None:
        x, face, held = self.x, self.face, self.held
        if self.bent:
            self._arm((x + face * (_REACH - 0.01), _GROUND - 0.1), (x + face * 0.1, _GROUND - 0.2), colour)
        elif self.moment.carried:
            elbow = (self.shoulder[0] + face * 0.02, held[1] + 0.02)
            self._arm((held[0] - face * 0.03, held[1] + 0.03), elbow, colour)
        else:
            self._hanging_arm(self.swing, colour)

    def _near_arm(self, colour: Colour) -> None:
        x, face, held, doing = self.x, self.face, self.held, self.moment.doing
        if doing == "waves" and int(self.moment.slot) % 2 == 0:
            sway = 0.012 * math.cos(2 * math.pi * self.moment.slot)
            elbow = (x + face * 0.115, self.shoulder[1] - 0.01)
            self._arm((x + face * (0.12 + sway), self.head[1] - 0.13), elbow, colour)
        elif self.bent:
            self._arm((x + face * _REACH, _GROUND - 0.09), (x + face * 0.11, _GROUND - 0.2), colour)
        elif self.moment.carried and doing != "waves":
            elbow = (self.shoulder[0] + face * 0.01, held[1] + 0.03)
            self._arm((held[0] - face * 0.03, held[1] + 0.035), elbow, colour)
        else:
            self._hanging_arm(-self.swing, colour)

    def _skirt(self) -> None:
        x, hip = self.x, self.hip
        hem = _GROUND - (0.13 if self.bent else 0.15)
        wide = 0.075 + 0.35 * self.stride * abs(self.swing)
        waist = around(*hip, (-0.055, -0.02), (0.055, -0.02))
        self.pen.polygon([*waist, (x + wide, hem), (x - wide, hem)], self.trousers)

    def _jacket(self, dark: Colour) -> None:
        shoulder, hip = self.shoulder, self.hip
        self.pen.limb([shoulder, (hip[0], hip[1] - 0.02)], 0.125 if self.woman else 0.14, self.jacket)
        zip_x = self.face * (0.034 if self.woman else 0.04)
        self.pen.limb([(shoulder[0] + zip_x, shoulder[1] - 0.02), (hip[0] + zip_x, hip[1] + 0.02)], 0.009, dark)
        self.pen.limb(around(*hip, (-0.04, 0.028), (0.04, 0.028)), 0.026, dark)

    def _head(self) -> None:
        (x, y), face, pen = self.head, self.face, self.pen
        if self.woman:
            back = (x - face * 0.05, y + 0.02)
            pen.limb([back, (back[0] - face * 0.02, y + 0.12)], 0.055, self.hair)
        pen.limb([(self.shoulder[0], self.shoulder[1] - 0.02), self.head], 0.045, self.skin)
        pen.ellipse(x - face * 0.012, y - 0.014, 0.075, 0.075, self.hair)
        pen.ellipse(x + face * 0.014, y + 0.008, 0.06, 0.064, self.skin)
        pen.ellipse(x + face * 0.072, y + 0.012, 0.014, 0.012, self.skin)
        pen.ellipse(x + face * 0.042, y - 0.008, 0.01, 0.013, INK)
        pen.limb([(x + face * 0.03, y + 0.036), (x + face * 0.056, y + 0.041)], 0.009, (168, 66, 66))

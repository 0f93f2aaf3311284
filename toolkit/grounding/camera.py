"""3D boxes: eight corners in metres before a camera, and where they appear in its image.

The camera looks along z; x points to the right, y down, so that a thing above the middle has a negative y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import CourseError
from toolkit.grounding.objects import finite

if TYPE_CHECKING:
    import numpy as np

#: Pairs of corners that an edge of a box joins: their numbers differ in one bit.
_EDGES = [(first, first | bit) for bit in (1, 2, 4) for first in range(8) if not first & bit]
#: Metres before the camera; what is nearer is not drawn.
_NEAR = 0.05
Angles = Literal["half turns", "radians"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal lengths and the image's optical centre, all in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of(cls, size: tuple[int, int], degrees: float = 60.0) -> Camera:
        """A camera that sees ``degrees`` from the left to the right edge, with square pixels.

        An assumption, for images whose camera nobody knows. Distances read from such an image are no better than it.

        Raises:
            CourseError: a size without area, or an angle outside 0 to 180.
        """
        width, height = size
        if min(size) <= 0 or not 0 < degrees < 180:
            raise CourseError(f"No camera sees {degrees}° on {width} × {height} pixels.", "", "try 60")
        focal = width / 2 / math.tan(math.radians(degrees) / 2)
        return cls(focal, focal, width / 2, height / 2)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) in metres become (N, 2) in pixels; NaN for those not before the camera."""
        import numpy as np

        x, y, z = np.asarray(points, dtype=float).T
        depth = np.where(z > 0, z, np.nan)
        return np.stack([self.fx * x / depth + self.cx, self.fy * y / depth + self.cy], axis=-1)

    def edges(self, box: Sequence[float], angles: Angles = "half turns") -> np.ndarray:
        """The visible edges of a 3D box in pixels, (N, 2, 2); of one that passes the camera, the part before it."""
        import numpy as np

        corners = corners_of(box, angles)
        lines = []
        for first, second in ((corners[one], corners[other]) for one, other in _EDGES):
            if first[2] > second[2]:
                first, second = second, first
            if second[2] <= _NEAR:
                continue
            if first[2] < _NEAR:
                first = first + (second - first) * (_NEAR - first[2]) / (second[2] - first[2])
            lines.append(self.project(np.stack([first, second])))
        return np.array(lines).reshape(-1, 2, 2)

    def draw(self, axes: Any, box: Sequence[float], angles: Angles = "half turns", **style: Any) -> None:
        """Draw a 3D box's edges on matplotlib axes that show the image; ``style`` goes to ``plot``."""
        limits = axes.get_xlim(), axes.get_ylim()
        for line in self.edges(box, angles):
            axes.plot(line[:, 0], line[:, 1], **style)
        axes.set(xlim=limits[0], ylim=limits[1])


def corners_of(box: Sequence[float], angles: Angles = "half turns") -> np.ndarray:
    """The eight corners (8, 3) of ``bbox_3d``, in metres.

    Args:
        box: centre x, y, z and size x, y, z in metres, then three angles: about x, about y and about z, applied in
            this order. Qwen's prompt calls them roll, pitch and yaw.
        angles: Qwen's example code draws them as half turns (1 is 180°); its text calls them radians.

    Raises:
        CourseError: not nine finite numbers, or a size below 0.
    """
    import numpy as np

    values = finite(list(box))
    if values is None or len(values) != 9 or min(values[3:6]) < 0:
        raise CourseError(
            f"This is no 3D box: {list(box)}.", "not nine finite numbers, or a size below 0", "look at the answer"
        )
    about_x, about_y, about_z = (value * (math.pi if angles == "half turns" else 1) for value in values[6:])
    signs = np.array([[1 if number & bit else -1 for bit in (1, 2, 4)] for number in range(8)])
    local = signs * np.array(values[3:6]) / 2
    turn = _rotation(2, about_z) @ _rotation(1, about_y) @ _rotation(0, about_x)
    return local @ turn.T + np.array(values[:3])


def _rotation(axis: int, angle: float) -> np.ndarray:
    """About one axis, from the next axis towards the one after it."""
    import numpy as np

    matrix = np.eye(3)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix[one, one] = matrix[other, other] = math.cos(angle)
    matrix[other, one], matrix[one, other] = math.sin(angle), -math.sin(angle)
    return matrix

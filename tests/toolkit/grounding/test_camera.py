"""3D boxes in an image: corners, angles and edges against figures worked out by hand."""

import math

import numpy as np
import pytest

from helpers.errors import CourseError
from toolkit.grounding import Camera
from toolkit.grounding.camera import corners_of

CUBE = [0, 0, 4, 2, 2, 2, 0, 0, 0]


def test_a_camera_of_sixty_degrees():
    camera = Camera.of((640, 480))
    assert camera.fx == camera.fy == pytest.approx(320 / math.tan(math.radians(30)))
    assert camera.project(np.array([[0, 0, 5]]))[0] == pytest.approx((320, 240))
    edge = math.tan(math.radians(30))
    assert camera.project(np.array([[edge, 0, 1], [-edge * 3, 0, 3]]))[:, 0] == pytest.approx([640, 0])
    assert np.isnan(camera.project(np.array([[0, 0, -1]]))).all()


@pytest.mark.parametrize(("size", "degrees"), [((0, 10), 60), ((10, 10), 0), ((10, 10), 180)])
def test_no_such_camera(size, degrees):
    with pytest.raises(CourseError):
        Camera.of(size, degrees)


def test_corners_and_turns():
    corners = corners_of(CUBE)
    assert sorted(map(tuple, corners)) == [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (3, 5)]
    flat = [0, 0, 0, 4, 2, 0, 0, 0, 0.5]  # half of a half turn about z: what was across is down
    assert np.abs(corners_of(flat)).max(axis=0) == pytest.approx([1, 2, 0])
    turned = [*flat[:8], math.pi / 2]
    assert corners_of(turned, "radians") == pytest.approx(corners_of(flat))
    about_x = corners_of([0, 0, 0, 0, 2, 0, 0.5, 0, 0])  # y turns to z
    assert about_x[-1] == pytest.approx([0, 0, 1])
    about_y = corners_of([0, 0, 0, 0, 0, 2, 0, 0.5, 0])  # z turns to x
    assert about_y[-1] == pytest.approx([1, 0, 0])
    in_order = corners_of([0, 0, 0, 0, 2, 0, 0.5, 0.5, 0])  # y to z, and then to x
    assert in_order[-1] == pytest.approx([1, 0, 0])


@pytest.mark.parametrize("box", [CUBE[:8], [*CUBE[:8], float("nan")], [0, 0, 4, -1, 2, 2, 0, 0, 0], []])
def test_no_box(box):
    with pytest.raises(CourseError):
        corners_of(box)


def test_edges_end_where_the_camera_begins():
    camera = Camera(100, 100, 50, 50)
    assert camera.edges(CUBE).shape == (12, 2, 2)
    assert camera.edges(CUBE).min() == pytest.approx(50 - 100 / 3)
    assert camera.edges([0, 0, -4, 2, 2, 2, 0, 0, 0]).shape == (0, 2, 2)
    through = camera.edges([0, 0, 0, 2, 2, 2, 0, 0, 0])
    assert through.shape == (8, 2, 2)  # the far face, and the four edges that lead to it
    assert np.isfinite(through).all()


@pytest.mark.usefixtures("closed_figures")
def test_it_is_drawn_inside_the_image():
    from matplotlib import pyplot

    axes = pyplot.subplots()[1]
    axes.set(xlim=(0, 100), ylim=(100, 0))
    Camera(100, 100, 50, 50).draw(axes, CUBE, color="red")
    assert len(axes.lines) == 12
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 100), (100, 0))

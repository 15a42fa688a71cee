"""Grids of windows, and suppression, beside slow loops."""

import numpy as np
import pytest

from vision_jax.proposals.objectness import SuperpixelStraddling, straddling
from vision_jax.proposals.windows import grid, iou, suppressed


def random_boxes(count, seed=0):
    corners = np.random.default_rng(seed).integers(0, 60, (count, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1) + 4], 1).astype(np.float64)


def test_iou():
    boxes = np.array([[0.0, 0, 4, 4], [2, 2, 6, 6], [8, 8, 9, 9]])
    np.testing.assert_allclose(iou(boxes, boxes[:2]), [[1, 4 / 28], [4 / 28, 1], [0, 0]])


@pytest.mark.parametrize("eta", [1.0, 0.98])
@pytest.mark.parametrize("most", [7, 10**6])
def test_suppression(eta, most):
    boxes, beta, kept = random_boxes(700), 0.6, []
    for number, box in enumerate(boxes):
        if len(kept) < most and (not kept or iou(box[None], boxes[kept]).max() <= beta):
            kept.append(number)
            beta *= eta if beta > 0.5 else 1
    np.testing.assert_array_equal(suppressed(boxes, 0.6, most, eta), kept)


def test_nothing_is_suppressed_among_no_boxes():
    assert suppressed(np.zeros((0, 4)), 0.5, 10).shape == (0,)


def test_next_windows_of_the_grid_overlap_as_asked():
    boxes = grid(200, 300, 0.65, 1000.0, 3.0)
    assert (boxes >= 0).all() and (boxes[:, 2] <= 299).all() and (boxes[:, 3] <= 199).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    first = boxes[(sides == sides[0]).all(1)]
    row = first[first[:, 0] == 0].astype(np.float64)
    assert iou(row[:1], row[1:]).max() == pytest.approx(0.65, abs=0.05)
    inner = (boxes[:, 2] < 299) & (boxes[:, 3] < 199)
    assert (sides[inner].max(1) / sides[inner].min(1)).max() < 3.2
    assert sides[inner].prod(1).min() > 900


def test_an_image_that_is_smaller_than_the_least_window_has_none():
    assert grid(20, 25, 0.65, 1000.0, 3.0).shape == (0, 4)


def test_straddling_beside_a_loop():
    labels = np.random.default_rng(0).integers(0, 5, (12, 15)).repeat(3, 0).repeat(2, 1)
    boxes = np.array([[0, 0, 30, 36], [3, 4, 17, 9], [29, 35, 30, 36]])
    expected = []
    for x0, y0, x1, y1 in boxes:
        inside = np.zeros(labels.shape, bool)
        inside[y0:y1, x0:x1] = True
        cut = [
            min((inside & (labels == s)).sum(), (~inside & (labels == s)).sum()) for s in range(5)
        ]
        expected.append(1 - sum(cut) / inside.sum())
    np.testing.assert_allclose(straddling(labels, boxes), expected)


def test_a_square_on_a_plain_ground_is_straddled_least():
    image = np.full((64, 64, 3), 40, np.uint8)
    image[16:40, 20:44] = (200, 30, 30)
    boxes = SuperpixelStraddling(min_area=200.0)(image, 0)
    assert iou(boxes[:10], np.array([[20.0, 16, 44, 40]])).max() > 0.7

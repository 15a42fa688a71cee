"""Annotations are drawn where they are, at any size of the picture."""

import numpy as np

from vision_jax import visualize
from vision_jax.structs import Targets
from vision_jax.visualize import colors
from vision_jax.visualize.targets import placed_mask

BLACK = np.zeros((60, 90, 3), np.uint8)
SCALE = np.array([2.0, 1.0])  # the network's input is (120, 90)


def targets(**more):
    """One object of class 2, and padding."""
    boxes = np.array([[[50, 60, 70, 100], [0, 0, 0, 0]]], np.float32)
    return Targets(boxes=boxes, labels=np.array([[2, -1]]), valid=np.array([[True, False]]), **more)


def where(picture, color):
    rows, columns = np.nonzero((picture == np.array(color, np.uint8)).all(-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_boxes_are_scaled_to_the_picture():
    got = visualize.draw_targets(BLACK, targets(), 0, SCALE, ("a", "b", "longer"))
    # The caption lies above the box, moved to the left as far as the picture needs.
    top, bottom, left, right = where(got, colors.of_class(2))
    assert bottom == 50 and 40 < left < 50 and right == 90 and 10 <= top < 30
    assert not BLACK.any()


def test_masks_and_keypoints_too():
    mask = np.zeros((1, 2, 120, 90), bool)
    mask[0, 0, 60:100, 50:70] = True
    mask[0, 1] = True  # of padding
    points = np.array([[[[55, 80, 2], [65, 80, 0]], [[5, 5, 2], [6, 6, 2]]]], np.float32)
    got = visualize.draw_targets(BLACK, targets(masks=mask, keypoints=points), 0, SCALE)
    assert got[40, 60].any() and not got[55, 60].any() and not got[5, 5].any()
    np.testing.assert_array_equal(got[40, 55], colors.PAPER)
    assert (got[40, 65] != colors.PAPER).any()


def test_a_mask_is_placed_by_its_nearest_pixel():
    rng = np.random.default_rng(0)
    mask = rng.random((12, 9)) > 0.5
    large = placed_mask(mask, np.zeros((24, 27, 3)), np.array([1 / 2, 1 / 3]))
    np.testing.assert_array_equal(large, mask.repeat(2, 0).repeat(3, 1))
    small = placed_mask(mask, np.zeros((4, 9, 3)), np.array([3.0, 1.0]))
    np.testing.assert_array_equal(small, mask[1::3])
    assert placed_mask(mask, np.zeros((12, 9, 3)), None).shape == (12, 9)

"""Perturbations: what they change, and that boxes find their way back."""

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.proposals.perturbations import LEVELS, Perturbation

ALL = [(kind, level) for kind, levels in LEVELS.items() for level in levels]


def square():
    image = np.full((60, 80, 3), 90, np.uint8)
    image[20:40, 30:60] = (220, 60, 30)
    return image


def box_of(image):
    rows, columns = np.nonzero(image[..., 0].astype(int) > image[..., 0].min() + 50)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float64)


@pytest.mark.parametrize(("kind", "level"), ALL)
def test_it_changes_the_image_and_repeats(kind, level):
    change, image = Perturbation(kind, level), square()
    before = image.copy()
    changed = change(image, 3)
    assert changed.dtype == np.uint8 and changed.shape[2] == 3
    assert (changed.shape == image.shape) == (kind != "scale")
    assert changed.shape != image.shape or (changed != image).any()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(changed, change(image, 3))


@pytest.mark.parametrize("level", LEVELS["scale"])
def test_boxes_come_back_from_another_scale(level):
    change = Perturbation("scale", level)
    back = change.back(box_of(change(square())), 60, 80)
    np.testing.assert_allclose(back, [[30, 20, 60, 40]], atol=1.5)


@pytest.mark.parametrize("level", LEVELS["rotation"])
def test_centres_come_back_from_a_turn(level):
    change = Perturbation("rotation", level)
    turned = box_of(change(square()))
    back = change.back(turned, 60, 80)
    np.testing.assert_allclose((back[0, :2] + back[0, 2:]) / 2, [45, 30], atol=1)
    np.testing.assert_allclose(back[0, 2:] - back[0, :2], turned[0, 2:] - turned[0, :2])


@pytest.mark.parametrize("kind", ["blur", "jpeg", "light", "noise"])
def test_others_leave_boxes_where_they_are(kind):
    boxes = np.array([[1.0, 2, 3, 4]])
    np.testing.assert_array_equal(Perturbation(kind, LEVELS[kind][0]).back(boxes, 60, 80), boxes)


def test_light_and_noise():
    np.testing.assert_array_equal(Perturbation("light", 0.5)(square()), square() // 2)
    noisy = Perturbation("noise", 0.01)(np.full((200, 200, 3), 90, np.uint8))
    hit = (noisy != 90).all(-1)
    assert hit.mean() == pytest.approx(0.01, abs=0.002)
    assert set(np.unique(noisy[hit])) == {0, 255}


def test_bad_settings():
    with pytest.raises(UserError, match="'fog' is not one of blur"):
        Perturbation("fog", 1.0)
    with pytest.raises(UserError, match=r"level 0\.0 must be above 0"):
        Perturbation("blur", 0.0)

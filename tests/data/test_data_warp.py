"""Distortions of a painted scene: what belongs together stays together."""

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.data import LensDistortion, RandomAffine

TRANSFORMS = [RandomAffine(), RandomAffine(rotate=40.0, shear=0.3), LensDistortion(0.3)]


def scene():
    """Two bright rectangles on black, with everything that an example can hold."""
    boxes = np.array([[20, 14, 44, 30], [50, 40, 70, 58]], np.float32)
    image = np.zeros((72, 90, 3), np.uint8)
    masks = np.zeros((2, 72, 90), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = 1
    image[masks.any(0)] = 255
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    points = np.zeros((2, 2, 3), np.float32)
    points[:, 0] = np.concatenate([centres, [[2], [2]]], 1)
    return {
        "image": image,
        "boxes": boxes,
        "labels": np.array([3, 5]),
        "masks": masks,
        "segmentation": (masks[0] + 2 * masks[1]).astype(np.uint8),
        "keypoints": points,
    }


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("seed", range(4))
def test_everything_moves_together(transform, seed):
    given = scene()
    got = transform(given, np.random.default_rng(seed))
    assert got["image"].shape == given["image"].shape and got["image"].dtype == np.uint8
    again = transform(scene(), np.random.default_rng(seed))
    np.testing.assert_array_equal(again["image"], got["image"])
    assert not np.array_equal(got["image"], given["image"])
    assert len(got["boxes"]) == 2
    for i, (mask, box) in enumerate(zip(got["masks"], got["boxes"], strict=True)):
        rows, columns = np.nonzero(mask)
        tight = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_array_equal(box, tight)
        assert got["image"][mask > 0].min() >= 120
        same = got["segmentation"] == i + 1
        assert (same & (mask > 0)).sum() / (same | (mask > 0)).sum() > 0.9
        x, y, v = got["keypoints"][i, 0]
        assert v == 2 and mask[int(y), int(x)]
        # An affine map keeps the middle in the middle; a lens nearly.
        assert np.hypot(x - columns.mean() - 0.5, y - rows.mean() - 0.5) < 1.5
        assert not got["keypoints"][i, 1].any()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_boxes_without_masks_are_around_the_objects(transform):
    for seed in range(4):
        tight = transform(scene(), np.random.default_rng(seed))["boxes"]
        bare = {key: value for key, value in scene().items() if key != "masks"}
        wide = transform(bare, np.random.default_rng(seed))["boxes"]
        assert (wide[:, :2] <= tight[:, :2] + 0.6).all() and (
            wide[:, 2:] >= tight[:, 2:] - 0.6
        ).all()
        if isinstance(transform, LensDistortion):
            assert np.abs(wide - tight).max() < 1.5


@pytest.mark.parametrize("transform", [RandomAffine(0.0, 0.0, 0.0, 0.0), LensDistortion(0.0)])
def test_nothing_asked_is_nothing_done(transform):
    given, got = scene(), transform(scene(), np.random.default_rng(0))
    for key, value in given.items():
        np.testing.assert_allclose(got[key], value, atol=1e-4, err_msg=key)


def test_translation_alone():
    """Boxes move by whole amounts; what leaves the image goes, and void is what came in."""
    shift = RandomAffine(0.6, 0.0, 0.0, 0.0, min_visibility=0.5)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        offset = np.random.default_rng(seed).uniform(-1, 1, 7)[:2] * 0.6 * (90, 72)
        bare = {key: scene()[key] for key in ("image", "boxes", "labels", "segmentation")}
        got = shift(bare, rng)
        moved = bare["boxes"] + np.tile(offset, 2)
        inside = moved.clip(0, [90, 72, 90, 72])
        area = (inside[:, 2:] - inside[:, :2]).prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1)
        np.testing.assert_array_equal(got["labels"], np.array([3, 5])[area >= 0.5])
        np.testing.assert_allclose(got["boxes"], inside[area >= 0.5], atol=1e-3)
        corner = 0 if offset[0] > 1 else -1
        assert abs(offset[0]) < 1 or (got["segmentation"][:, corner] == 255).all()


def test_a_fold_is_one_line():
    with pytest.raises(UserError, match=r"strength=0\.5 would fold the image"):
        LensDistortion(0.5)
    with pytest.raises(UserError, match=r"shear=1\.0 would fold the image"):
        RandomAffine(shear=1.0)

"""Windows around objects and elsewhere, as DeepMask is trained on."""

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.data import MaskPatches, RandomFlip

COLOUR = (200, 40, 90)


def example(*boxes, height=90, width=120, **more):
    """An image whose objects are rectangles of one colour."""
    image = np.full((height, width, 3), 30, np.uint8)
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
        image[y0:y1, x0:x1] = COLOUR
    return {
        "image": image,
        "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
        "labels": np.zeros(len(boxes), np.int64),
        "masks": masks,
        "size": np.asarray([height, width], np.float32),
        "scale": np.ones(2, np.float32),
        **more,
    }


def windows(transform, given, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return [transform(given, rng) for _ in range(count)]


def test_the_sheets_numbers():
    assert MaskPatches().object_side == 92  # ceil(160 * 128 / 224)
    found = MaskPatches()(example((20, 20, 50, 40)), np.random.default_rng(0))
    assert found["image"].shape == (192, 192, 3)


def test_an_object_in_its_place_without_jitter():
    transform = MaskPatches(probability=1.0, shift=0.0, octaves=0.0)
    found = transform(example((20, 30, 66, 50)), np.random.default_rng(0))
    # 46 pixels become 92: the window is 96 pixels of the image, its middle at (43, 40).
    x0, y0, x1, y1 = found["boxes"][0]
    np.testing.assert_allclose([x0 + x1, y0 + y1], [192, 192], atol=2)
    np.testing.assert_allclose([x1 - x0, y1 - y0], [92, 40], atol=0.01)
    assert found["masks"].shape == (1, 192, 192)
    ys, xs = np.nonzero(found["masks"][0])
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], [x0, y0, x1, y1])
    inner = found["image"][ys.min() + 2 : ys.max() - 1, xs.min() + 2 : xs.max() - 1]
    assert (inner == COLOUR).all()  # the pixels went where their mask went


def test_objects_are_jittered_up_to_the_limits():
    given = example((40, 30, 80, 55))
    found = windows(MaskPatches(probability=1.0), given)
    boxes = np.concatenate([f["boxes"] for f in found])
    assert len(boxes) == len(found)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 - 96
    octaves = np.log2((boxes[:, 2] - boxes[:, 0]) / 92)
    rounding = 92 / 40 / 2**0.25 * 1.5  # windows are whole pixels of the image
    assert 14 < np.abs(middles).max() <= 16 + rounding
    assert 0.22 < np.abs(octaves).max() <= 0.27
    assert np.abs(middles.mean(0)).max() < 3


def test_half_of_the_windows_have_an_object_and_the_others_are_far_from_any():
    given = example((40, 30, 80, 55), (5, 5, 20, 25))
    transform = MaskPatches()
    found = windows(transform, given, 400)
    positive = np.array([len(f["boxes"]) for f in found])
    assert set(positive) == {0, 1} and 0.42 < positive.mean() < 0.58
    rng = np.random.default_rng(1)
    boxes = given["boxes"].astype(float)
    middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1)
    for _ in range(200):
        octaves = transform._octaves(boxes)
        middle, octave = transform._elsewhere((90, 120, 3), middles, octaves, rng)
        for other, side in zip(middles, sides, strict=True):
            shift = np.abs(middle - other).max() * 2**octave
            assert shift >= 32 or abs(octave - np.log2(92 / side)) >= 1
        assert -3 <= octave <= 2 and (middle >= 0).all() and (middle <= (120, 90)).all()


def test_windows_beside_an_object_have_its_scale():
    boxes = np.array([(40.0, 30.0, 80.0, 55.0)])
    transform = MaskPatches(beside=1.0, far_shift=24.0)
    rng, middle, octaves = (
        np.random.default_rng(0),
        (boxes[:, :2] + boxes[:, 2:]) / 2,
        np.log2(92 / np.array([40.0])),
    )
    offs = []
    for _ in range(100):
        place, octave = transform._elsewhere((90, 120, 3), middle, octaves, rng)
        assert abs(octave - octaves[0]) <= 0.25
        offs.append(np.abs(place - middle[0]).max() * 2**octave)
    assert 24 <= min(offs) < 30 and 60 < max(offs) <= 72.001
    far = windows(MaskPatches(beside=1.0, probability=0.0), example(), 5)
    assert all(len(found["boxes"]) == 0 for found in far)


def test_only_the_drawn_objects_mask_is_kept():
    given = example((40, 30, 80, 55), (50, 35, 60, 45))
    for found in windows(MaskPatches(probability=1.0), given, 20):
        assert found["masks"].shape == (1, 192, 192) and len(found["labels"]) == 1


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_flagged_objects_and_empty_masks_are_not_drawn(flag):
    given = example((40, 30, 80, 55), (5, 5, 20, 25), **{flag: np.array([True, False])})
    found = windows(MaskPatches(probability=1.0), given, 20)
    assert all(len(f["boxes"]) == 1 and not f[flag].any() for f in found)
    given["masks"][1] = 0
    assert all(len(f["boxes"]) == 0 for f in windows(MaskPatches(probability=1.0), given, 5))


def test_images_without_objects_and_tiny_images():
    for found in windows(MaskPatches(), example(), 10):
        assert found["masks"].shape == (0, 192, 192) and found["image"].shape == (192, 192, 3)
    tiny = example((1, 1, 2, 2), height=3, width=3)
    for found in windows(MaskPatches(), tiny, 10):
        assert found["image"].shape == (192, 192, 3)


def test_a_flip_moves_mask_and_box_together():
    given = example((20, 30, 66, 50))
    transform, rng = MaskPatches(probability=1.0), np.random.default_rng(3)
    found = RandomFlip(1.0)(transform(given, rng), rng)
    columns = np.nonzero(found["masks"][0].any(0))[0]
    np.testing.assert_allclose(found["boxes"][0, [0, 2]], [columns[0], columns[-1] + 1], atol=0.6)


def test_what_is_refused():
    with pytest.raises(UserError, match="size=0"):
        MaskPatches(size=0)
    with pytest.raises(UserError, match="probability=2"):
        MaskPatches(probability=2)
    with pytest.raises(UserError, match="beside=-1"):
        MaskPatches(beside=-1)
    with pytest.raises(UserError, match="rising"):
        MaskPatches(scales=(2.0, -3.0))
    given = example((20, 30, 66, 50))
    del given["masks"]
    with pytest.raises(ValueError, match="'rle' among its fields"):
        MaskPatches()(given, np.random.default_rng(0))

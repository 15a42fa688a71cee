"""Run lengths against pycocotools, and damaged ones against nothing but a ValueError."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from vision_jax.data import run_lengths


def random_mask(rng):
    height, width = rng.integers(1, 60, 2)
    mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
    if rng.random() < 0.3:
        mask[:] = rng.integers(2)
    return mask


def test_what_pycocotools_writes_is_read():
    rng = np.random.default_rng(0)
    for _ in range(100):
        mask = random_mask(rng)
        rle = coco_mask.encode(np.asfortranarray(mask))["counts"]
        np.testing.assert_array_equal(run_lengths.decode([rle], *mask.shape)[0], mask)
        areas, boxes = run_lengths.areas_and_boxes([rle], *mask.shape)
        assert areas[0] == mask.sum()
        if mask.any():
            y, x = np.nonzero(mask)
            assert boxes[0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert run_lengths.decode([], 4, 5).shape == (0, 4, 5)
    assert run_lengths.areas_and_boxes([], 4, 5)[1].shape == (0, 4)


def test_damaged_ones_never_reach_native_code():
    rng, refused = np.random.default_rng(1), 0
    mask = (rng.random((20, 30)) < 0.3).astype(np.uint8)
    good = coco_mask.encode(np.asfortranarray(mask))["counts"]
    for _ in range(500):
        damaged = bytearray(good)
        for place in rng.integers(0, len(good), 2):
            damaged[place] = rng.integers(256)
        try:
            assert run_lengths.decode([bytes(damaged)], 20, 30).max() <= 1
        except ValueError:
            refused += 1
    assert refused > 400


@pytest.mark.parametrize("rle", [b"", b"P", b"o", b"oooooooo1", b"\xff\xff"])
def test_other_bytes(rle):
    with pytest.raises(ValueError, match="segmentation: "):
        run_lengths.decode([rle], 20, 30)


def test_an_outline_beyond_the_image_is_cut():
    rle = run_lengths.encode([[-100, 10, 200, 10, 200, 20, -100, 20]], 48, 64)
    mask = run_lengths.decode([rle], 48, 64)[0]
    assert mask[10:20].all() and mask.sum() == 640


def test_sizes_without_pixels_or_too_many():
    for size in ((0, 5), (10**6, 10**6)):
        with pytest.raises(ValueError, match="pixels"):
            run_lengths.encode([], *size)

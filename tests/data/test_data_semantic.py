"""Transforms of semantic labels; those that move boxes too are in test_data_geometry.py."""

import numpy as np
import pytest

from vision_jax.data import (
    TFDS,
    ObjectCrop,
    Pad,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomScale,
    Train,
)
from vision_jax.data.transforms_semantic import regions

COLORS = np.array([[10, 10, 10], [250, 0, 0], [0, 250, 0]], np.uint8)


def scene():
    """Two objects of class 1 and one of class 2 on background, with a void line."""
    labels = np.zeros((40, 60), np.uint8)
    labels[4:14, 4:24] = 1
    labels[20:38, 10:20] = 1
    labels[6:12, 40:58] = 2
    image = COLORS[labels]
    labels[14, 4:24] = 255
    return {"image": image, "segmentation": labels, "scale": np.ones(2, np.float32)}


def test_regions_are_found_with_their_boxes():
    labels = scene()["segmentation"]
    found = sorted(regions(labels, min_pixels=10))
    assert found == [(4, 4, 24, 14, 1), (10, 20, 20, 38, 1), (40, 6, 58, 12, 2)]
    assert len(regions(labels, min_pixels=150)) == 2
    assert regions(np.full((5, 5), 255, np.uint8), 1) == []


def test_an_object_fills_its_crop_alone():
    seen = set()
    for seed in range(20):
        got = ObjectCrop(size=48, context=1.5, min_pixels=10)(scene(), np.random.default_rng(seed))
        image, labels = got["image"], got["segmentation"]
        assert image.shape == (48, 48, 3) and labels.shape == (48, 48)
        (label,) = set(np.unique(labels)) - {0, 255}
        seen.add(int(label))
        rows, columns = np.nonzero(labels == label)
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        if label == 2:  # the two of class 1 may both be in the picture
            assert abs(longer - 48 / 1.5) <= 2
            assert abs(rows.mean() - 23.5) <= 1.5 and abs(columns.mean() - 23.5) <= 1.5
        inside = labels == label
        clear = np.abs(image.astype(int) - COLORS[label]).max(-1) < 100
        assert (clear == inside).mean() > 0.9
    assert seen == {1, 2}


def test_an_image_without_objects_is_taken_whole():
    example = {
        "image": np.full((20, 30, 3), 7, np.uint8),
        "segmentation": np.zeros((20, 30), np.uint8),
    }
    got = ObjectCrop(size=30)(example, np.random.default_rng(0))
    assert (got["image"][5:25] == 7).all() and (got["segmentation"][5:25] == 0).all()
    assert (got["segmentation"][:4] == 255).all() and (got["segmentation"][26:] == 255).all()


def test_labels_follow_the_pixels_through_scale_crop_and_flip():
    chain = (RandomScale((0.5, 2.0)), RandomCrop(size=32), RandomFlip())
    for seed in range(20):
        example, rng = scene(), np.random.default_rng(seed)
        for transform in chain:
            example = transform(example, rng)
        image, labels = example["image"].astype(int), example["segmentation"]
        for label, color in enumerate(COLORS[1:], start=1):
            inside = labels == label
            if not inside.any():
                continue
            # Within the region, off its border, no pixel is further from the colour than half-way.
            deep = inside.copy()
            deep[1:] &= inside[:-1]
            deep[:-1] &= inside[1:]
            deep[:, 1:] &= inside[:, :-1]
            deep[:, :-1] &= inside[:, 1:]
            assert (np.abs(image[deep] - color) <= 120).all()
        filled = (example["image"] == np.array([124, 116, 104])).all(-1)
        assert (labels[filled] == 255).all()


def test_embedded_labels_reach_a_batch_with_void_padding():
    source = TFDS("shapes/seg64", "validation[:3]", fields=("segmentation",))
    pipeline = Train(source, (Pad(height=72, width=80),), batch_size=2)
    assert pipeline.classes[0] == "background" and len(pipeline.classes) == 9
    batches = pipeline.batches(0, 0)
    batch = next(batches)
    batches.close()
    labels = batch.targets.segmentation
    assert labels.shape == (2, 72, 80) and labels.dtype == np.int32
    assert (labels[:, 64:] == 255).all() and (labels[:, :, 64:] == 255).all()
    inside = labels[:, :64, :64]
    assert (
        set(np.unique(inside)) <= {*range(9), 255} and (inside > 0).any() and (inside == 255).any()
    )


def test_quarter_turns_take_labels_along():
    example = {**scene(), "size": np.array([40, 60], np.float32)}
    example["scale"] = np.array([2, 3], np.float32)
    clear = example["segmentation"] < 3
    seen = set()
    for seed in range(20):
        got = RandomRotation()(example, np.random.default_rng(seed))
        labels = got["segmentation"]
        known = labels < 3
        assert known.sum() == clear.sum()
        np.testing.assert_array_equal(got["image"][known], COLORS[labels[known]])
        assert tuple(got["size"]) == labels.shape == got["image"].shape[:2]
        assert got["scale"][0] == (2 if labels.shape == (40, 60) else 3)
        seen.add(labels.tobytes())
    assert len(seen) == 4
    with pytest.raises(ValueError, match="not boxes"):
        RandomRotation()({**example, "boxes": np.zeros((0, 4))}, np.random.default_rng(0))

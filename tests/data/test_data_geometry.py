"""Objects are painted, transformed, and compared with the pixels."""

import jax.numpy as jnp
import numpy as np
import painted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_jax.data import geometry, transforms
from vision_jax.data import transforms_objects as objects
from vision_jax.ops import boxes as device_boxes

FIELDS = ("image", "boxes", "labels", "masks", "keypoints", "segmentation")
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None, derandomize=True)


def picture(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(32, 70, 2))
    return painted.paint(height, width, painted.rectangles(rng, height, width)), rng


def same(a, b, tolerance=0):
    for key in FIELDS:
        np.testing.assert_allclose(a[key], b[key], atol=tolerance, err_msg=key)


@given(seeds)
@quick
def test_flip(seed):
    example, rng = picture(seed)
    before = {key: value.copy() for key, value in example.items()}
    mirrored = transforms.RandomFlip(1.0, painted.MIRROR)(example, rng)
    painted.check(mirrored)
    same(example, before)  # nothing is written into what came in
    same(geometry.flip(mirrored, painted.MIRROR), example)


def test_a_flip_of_keypoints_needs_to_know_sides():
    example, rng = picture(1)
    with pytest.raises(ValueError, match="flip of 2 keypoints needs `mirror`"):
        transforms.RandomFlip(1.0)(example, rng)
    hidden = {**example, "keypoints": example["keypoints"] * 0}
    assert not geometry.flip(hidden, (1, 0))["keypoints"].any()


@given(seeds, st.booleans())
@quick
def test_resize_in_any_proportion(seed, antialias):
    example, rng = picture(seed)
    height, width = example["image"].shape[:2]
    size = (int(rng.integers(height, 3 * height)), int(rng.integers(width, 3 * width)))
    larger = geometry.resize(example, *size, antialias)
    painted.check(larger, edge=1.0)
    np.testing.assert_allclose(larger["scale"], np.asarray(size) / (height, width), rtol=1e-6)
    back = geometry.resize(larger, height, width, antialias)
    np.testing.assert_allclose(back["boxes"], example["boxes"], atol=1e-4)
    np.testing.assert_allclose(back["scale"], 1, rtol=1e-6)
    wrong = (back["masks"] != example["masks"]).sum((1, 2))
    assert (wrong <= 4).all()  # interpolation rounds off the corners
    np.testing.assert_array_equal(back["segmentation"], example["segmentation"])
    smaller = geometry.resize(example, height // 2, width // 2, antialias)
    painted.check(smaller, edge=1.0)


def test_masks_and_labels_do_not_drift():
    """Whole factors: every small pixel is a block of large ones, none is shifted."""
    example, _ = picture(3)
    height, width = example["image"].shape[:2]
    for factor in (2, 3):
        large = geometry.resize(example, factor * height, factor * width)
        blocks = np.ones((factor, factor), np.uint8)
        labels = np.kron(example["segmentation"], blocks)
        np.testing.assert_array_equal(large["segmentation"], labels)
        for got, mask in zip(large["masks"], example["masks"], strict=True):
            want = np.kron(mask, blocks)
            assert (got != want).sum() <= 4  # interpolation rounds off the corners
            np.testing.assert_array_equal(got.any(0), want.any(0))
            np.testing.assert_array_equal(got.any(1), want.any(1))


@given(seeds)
@quick
def test_windows(seed):
    """A window that holds the whole image, and the way back; and one that cuts it."""
    example, rng = picture(seed)
    height, width = example["image"].shape[:2]
    top, left, bottom, right = (int(n) for n in rng.integers(0, 9, 4))
    size = (height + top + bottom, width + left + right)
    larger = geometry.crop(example, -top, -left, *size, (9, 8, 7))
    painted.check(larger)
    assert (larger["image"][:top] == [9, 8, 7]).all()
    assert (larger["segmentation"][:top] == 255).all()
    same(geometry.crop(larger, top, left, height, width, (0, 0, 0)), example)
    cut = geometry.clip(geometry.crop(example, top, left, 12, 13, (9, 8, 7)))
    painted.check(cut)


def test_clipping_drops_what_is_hardly_left():
    example = painted.paint(20, 20, [(0, 0, 0, 10, 10), (1, 12, 12, 20, 20)])
    window = geometry.crop(example, 0, 9, 20, 11, (0, 0, 0))
    assert geometry.clip(window)["labels"].tolist() == [0, 1]
    assert geometry.clip(window, min_visibility=0.1)["labels"].tolist() == [0, 1]
    assert geometry.clip(window, min_visibility=0.11)["labels"].tolist() == [1]
    assert geometry.clip(window, min_size=1.0)["labels"].tolist() == [1]
    kept = geometry.clip(window, min_size=1.0)
    assert kept["masks"].shape == (1, 20, 11) and kept["keypoints"].shape == (1, 2, 3)


CROPS = [
    objects.RandomCrop(16, min_visibility=0.0),
    objects.IoUCrop(),
    objects.IoUCrop((0.7, 1.0)),
    transforms.CenterCrop(16),
]


@given(seeds, st.sampled_from(CROPS))
@quick
def test_crops(seed, crop):
    example, rng = picture(seed)
    got = crop(example, rng)
    # SSD's crop drops objects by their centres, so that parts of them may still show.
    drops = isinstance(crop, objects.IoUCrop)
    painted.check(got, labels=() if drops else range(4))


@given(seeds)
@quick
def test_ssd_crops_keep_an_object_and_its_overlap(seed):
    example, rng = picture(seed)
    crop = objects.IoUCrop((0.5, 1.0))
    height, width = example["image"].shape[:2]
    got = crop(example, rng)
    h, w = got["image"].shape[:2]
    assert len(got["boxes"]) >= 1
    if (h, w) == (height, width):
        return
    assert 0.5 <= w / h <= 2 and w >= int(0.3 * width) and h >= int(0.3 * height)
    # An object with IoU >= 0.5 to the crop covers at least half of it.
    shares = (got["boxes"][:, 2:] - got["boxes"][:, :2]).prod(1) / (h * w)
    assert shares.max() >= 0.5


def test_ssd_crop_without_objects_or_end():
    empty = painted.paint(20, 20, [])
    assert objects.IoUCrop()(empty, np.random.default_rng(0)) is empty
    with pytest.raises(ValueError, match="which always succeeds"):
        objects.IoUCrop((0.1, 0.3))


@given(seeds)
@quick
def test_expand(seed):
    example, rng = picture(seed)
    got = objects.Expand(1.0, max_scale=3.0, fill=(20, 20, 20))(example, rng)
    painted.check(got)
    assert len(got["boxes"]) == len(example["boxes"])
    ratio = np.asarray(got["image"].shape[:2]) / example["image"].shape[:2]
    assert (ratio <= 3).all() and abs(ratio[0] - ratio[1]) < 0.1
    assert objects.Expand(0.0)(example, rng) is example


@given(seeds)
@quick
def test_letterbox(seed):
    example, rng = picture(seed)
    got = objects.Letterbox(96, fill=(30, 30, 30))(example, rng)
    assert got["image"].shape == (96, 96, 3)
    painted.check(got, edge=1.0)
    # Batch.scale leads back.
    y, x = got["scale"]
    np.testing.assert_allclose(got["boxes"] / [x, y, x, y], example["boxes"], atol=1e-4)
    inside = np.rint(got["size"] * got["scale"]).astype(int)
    assert inside.max() == 96 and (got["image"][inside[0] :] == 30).all()


@pytest.mark.parametrize(
    ("shape", "want"),
    [((480, 640), (800, 1066)), ((640, 480), (1066, 800)), ((300, 900), (444, 1333))],
)
def test_short_and_long_side(shape, want):
    example = painted.paint(*shape, [(0, 10, 20, 200, 210)])
    got = objects.ResizeShortestEdge()(example, np.random.default_rng(0))
    assert got["image"].shape[:2] == want
    painted.check(got, edge=1.0)


def test_several_short_sides():
    example = painted.paint(30, 40, [(0, 10, 10, 20, 20)])
    rng = np.random.default_rng(0)
    several = objects.ResizeShortestEdge((20, 24, 28), max_long=100)
    assert {several(example, rng)["image"].shape[0] for _ in range(40)} == {20, 24, 28}


@given(seeds)
@quick
def test_stretch_scale_and_pad(seed):
    example, rng = picture(seed)
    stretched = objects.StretchTo(90)(example, rng)
    assert stretched["image"].shape == (90, 90, 3)
    painted.check(stretched, edge=1.0)
    painted.check(transforms.Resize(80)(example, rng), edge=1.0)
    scaled = objects.RandomScale((0.6, 2.0))(example, rng)
    painted.check(scaled, edge=1.0)
    padded = objects.Pad(80, 90, (30, 30, 30))(example, rng)
    assert padded["image"].shape == (80, 90, 3)
    painted.check(padded)
    with pytest.raises(ValueError, match="exceeds 10×90"):
        objects.Pad(10, 90)(example, rng)


@pytest.mark.parametrize("source", ["xyxy", "yxyx", "xywh", "cxcywh"])
def test_formats_are_those_of_the_device(source):
    boxes = np.random.default_rng(0).uniform(0, 50, (20, 4)).astype(np.float32)
    want = device_boxes.convert(jnp.asarray(boxes), source, "xyxy")
    np.testing.assert_allclose(geometry.to_xyxy(boxes, source), want, rtol=1e-6)
    with pytest.raises(ValueError, match="'yolo' is not one of"):
        geometry.to_xyxy(boxes, "yolo")


@given(seeds)
@quick
def test_random_windows(seed):
    example, rng = picture(seed)
    got = objects.RandomWindow(1.0, (30, 40), (12, 24))(example, rng)
    painted.check(got, edge=2.0)
    assert all(12 <= side <= 24 for side in got["image"].shape[:2])
    assert objects.RandomWindow(0.0)(example, rng) is example


@given(seeds)
@quick
def test_chains(seed):
    """In any order, a window that is far off included."""
    example, rng = picture(seed)
    chain = [
        transforms.RandomFlip(0.5, painted.MIRROR),
        objects.Letterbox(70, fill=(30, 30, 30)),
        objects.RandomCrop(40, min_visibility=0.0),
    ]
    for number in rng.permutation(3):
        example = chain[number](example, rng)
    painted.check(example, edge=2.0)
    nothing = geometry.clip(geometry.crop(example, 90, -90, 5, 6, (1, 2, 3)))
    assert (nothing["image"] == [1, 2, 3]).all() and len(nothing["boxes"]) == 0
    assert nothing["masks"].shape == (0, 5, 6) and (nothing["segmentation"] == 255).all()


def test_no_objects_at_all():
    empty, rng = painted.paint(30, 40, []), np.random.default_rng(0)
    for transform in (
        transforms.RandomFlip(1.0, painted.MIRROR),
        transforms.Resize(20),
        transforms.CenterCrop(20),
        objects.ResizeShortestEdge((20,), 30),
        objects.StretchTo(20),
        objects.Letterbox(20),
        objects.Pad(50, 50),
        objects.Expand(1.0),
        objects.IoUCrop(),
        objects.RandomScale(),
        objects.RandomCrop(20),
        objects.RandomWindow(1.0, (20, 30), (10, 15)),
    ):
        got = transform(empty, rng)
        assert got["boxes"].shape == (0, 4) and got["labels"].shape == (0,)
        assert got["masks"].shape == (0, *got["image"].shape[:2])
        assert got["segmentation"].shape == got["image"].shape[:2]
        assert got["keypoints"].shape == (0, 2, 3)

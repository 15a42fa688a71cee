"""Host augmentation against slow loops; crops are recognised by their pixels."""

import dataclasses

import numpy as np
import pytest

from vision_jax.data import geometry, transforms
from vision_jax.data import transforms_objects as objects


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def noise(height, width, channels=3):
    return generator(1).integers(0, 256, (height, width, channels)).astype(np.uint8)


def where(crop, image):
    """(top, left) of each place at which a crop occurs."""
    h, w = crop.shape[:2]
    return [
        (y, x)
        for y in range(image.shape[0] - h + 1)
        for x in range(image.shape[1] - w + 1)
        if np.array_equal(image[y : y + h, x : x + w], crop)
    ]


def triangle(line, size, antialias):
    """One line resized: weights fall linearly to 0 over one step (at least one pixel)."""
    step = len(line) / size
    reach = max(step, 1.0) if antialias else 1.0
    out = []
    for i in range(size):
        center, total, weight = (i + 0.5) * step, 0.0, 0.0
        # Without antialiasing the edge pixels are repeated outwards; with it they are left out.
        for k in range(-2, len(line) + 2):
            w = max(0.0, 1 - abs(k + 0.5 - center) / reach)
            if antialias and not 0 <= k < len(line):
                continue
            value = line[min(max(k, 0), len(line) - 1)]
            total, weight = total + w * value, weight + w
        out.append(total / weight)
    return np.asarray(out)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(5, 4), (13, 17), (4, 20), (6, 11)])
def test_resize(size, channels, antialias):
    image = noise(9, 11, channels)
    want = np.zeros((*size, channels))
    for c in range(channels):
        rows = np.stack([triangle(row, size[1], antialias) for row in image[..., c].astype(float)])
        want[..., c] = np.stack([triangle(column, size[0], antialias) for column in rows.T], 1)
    got = geometry.resize_image(image, *size, antialias)
    assert got.dtype == np.uint8 and got.shape == want.shape
    assert np.abs(got - want).max() <= 1.5  # both libraries round between the two directions


def test_resize_to_the_same_size_changes_nothing():
    image = noise(5, 6)
    np.testing.assert_array_equal(geometry.resize_image(image, 5, 6), image)


def test_antialiasing_is_a_choice_of_every_resize():
    image = noise(40, 48)
    for transform in (
        transforms.RandomResizedCrop(8, antialias=False),
        transforms.ScaleJitterCrop(8, (8, 9), antialias=False),
        transforms.Resize(8, antialias=False),
        transforms.MultiCrop(8, (9,), antialias=False),
    ):
        rough = transform({"image": image}, generator())["image"]
        smooth = dataclasses.replace(transform, antialias=True)({"image": image}, generator())
        assert rough.astype(int).std() > 1.5 * smooth["image"].astype(int).std()


def test_random_resized_crop_boxes():
    crop = transforms.RandomResizedCrop(area=(0.2, 0.6), ratio=(0.5, 2.0))
    rng = generator()
    boxes = np.asarray([crop.box(60, 80, rng) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 60).all() and (left + width <= 80).all()
    area, ratio = height * width / 4800, width / height
    assert 0.19 < area.min() < 0.22 and 0.57 < area.max() < 0.62
    assert 0.48 < ratio.min() < 0.6 and 1.8 < ratio.max() < 2.1
    # Uniform in area, but that large areas fit less often.
    assert 0.33 < area.mean() < 0.4
    assert (boxes[:, 0] == 0).any() and ((top + height) == 60).any()


def test_random_resized_crop_falls_back_to_the_centre():
    crop = transforms.RandomResizedCrop(area=(0.9, 1.0), ratio=(3 / 4, 4 / 3))
    assert crop.box(10, 100, generator()) == (0, 43, 10, 13)
    assert crop.box(100, 10, generator()) == (43, 0, 13, 10)
    fits = transforms.RandomResizedCrop(area=(5.0, 6.0))
    assert fits.box(10, 11, generator()) == (0, 0, 10, 11)


def test_random_resized_crop_resizes_its_box():
    crop = transforms.RandomResizedCrop(size=16)
    image = noise(50, 60)
    top, left, height, width = crop.box(50, 60, generator(3))
    got = crop({"image": image, "label": 4}, generator(3))
    want = geometry.resize_image(image[top : top + height, left : left + width], 16, 16)
    np.testing.assert_array_equal(got["image"], want)
    assert got["label"] == 4 and image.shape == (50, 60, 3)


def test_scale_jitter_crop():
    """A crop of `size` after the resize is one of size · side / short before it."""
    size, image = 8, noise(24, 40)
    jitter = transforms.ScaleJitterCrop(size=size, short=(8, 24))
    rng, sides, places = generator(), [], []
    for _ in range(300):
        got = jitter({"image": image}, rng)["image"]
        assert got.shape == (8, 8, 3)
        if where(got, image):  # short 24: the original's own scale
            places += where(got, image)
        sides.append(got.astype(int).std())
    tops, lefts = zip(*places, strict=True)
    assert min(tops) <= 3 and max(tops) >= 13 and min(lefts) <= 6 and max(lefts) >= 26
    # Larger crops average more pixels, so that contrast tells the scale: many scales occur.
    assert min(sides) < 0.55 * max(sides)
    whole = transforms.ScaleJitterCrop(size=8, short=(8, 8))({"image": image[:, :24]}, rng)
    np.testing.assert_array_equal(whole["image"], geometry.resize_image(image[:, :24], 8, 8))


def test_scale_jitter_crop_cannot_crop_more_than_there_is():
    with pytest.raises(ValueError, match="smaller than 224"):
        transforms.ScaleJitterCrop(size=224, short=(200, 300))


@pytest.mark.parametrize(("shape", "want"), [((30, 45), (10, 15)), ((45, 31), (14, 10))])
def test_resize_keeps_proportions(shape, want):
    got = transforms.Resize(10)({"image": noise(*shape)}, generator())["image"]
    assert got.shape == (*want, 3)


def test_center_crop():
    image = noise(11, 16)
    got = transforms.CenterCrop(6)({"image": image}, generator())["image"]
    assert where(got, image) == [(2, 5)]
    with pytest.raises(ValueError, match="size=12 is larger than 11×16"):
        transforms.CenterCrop(12)({"image": image}, generator())


def test_random_flip():
    image, rng, flipped = noise(4, 5), generator(), 0
    for _ in range(200):
        got = transforms.RandomFlip(0.25)({"image": image}, rng)["image"]
        mirror = np.stack([image[:, 4 - x] for x in range(5)], 1)
        assert np.array_equal(got, image) or np.array_equal(got, mirror)
        flipped += np.array_equal(got, mirror)
    assert 30 <= flipped <= 70


def test_random_crop_of_a_padded_image():
    image, rng = noise(5, 6), generator()
    padded = np.zeros((9, 10, 3), np.uint8)
    for y in range(5):
        for x in range(6):
            padded[y + 2, x + 2] = image[y, x]
    places = set()
    for _ in range(400):
        crop = objects.RandomCrop(4, padding=2, fill=(0, 0, 0))
        (place,) = where(crop({"image": image}, rng)["image"], padded)
        places.add(place)
    assert len(places) == 6 * 7


def test_multi_crop():
    image = noise(20, 30)
    got = transforms.MultiCrop(size=8, shorts=(20, 10))({"image": image}, generator())["image"]
    assert got.shape == (20, 8, 8, 3) and got.dtype == np.uint8
    small = geometry.resize_image(image, 10, 15)
    for start, scaled, places in (
        (0, image, [(0, 0), (0, 22), (12, 0), (12, 22), (6, 11)]),
        (10, small, [(0, 0), (0, 7), (2, 0), (2, 7), (1, 4)]),
    ):
        for number, (y, x) in enumerate(places):
            crop = scaled[y : y + 8, x : x + 8]
            np.testing.assert_array_equal(got[start + number], crop)
            mirror = np.stack([crop[:, 7 - k] for k in range(8)], 1)
            np.testing.assert_array_equal(got[start + 5 + number], mirror)
    with pytest.raises(ValueError, match="below size=8"):
        transforms.MultiCrop(size=8, shorts=(20, 7))


ALL = [
    transforms.RandomResizedCrop(8),
    transforms.ScaleJitterCrop(8, (8, 16)),
    transforms.Resize(8),
    transforms.CenterCrop(8),
    transforms.RandomFlip(),
    objects.RandomCrop(20, padding=4),
    transforms.MultiCrop(8, (10,)),
]


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_pure_repeatable_and_for_any_channels(transform, channels):
    image = noise(20, 24, channels)
    before = image.copy()
    a, b = (transform({"image": image, "label": 1}, generator(7)) for _ in range(2))
    np.testing.assert_array_equal(a["image"], b["image"])
    np.testing.assert_array_equal(image, before)
    assert a["image"].dtype == np.uint8 and a["image"].shape[-1] == channels and a["label"] == 1


PIXELS_ONLY = [
    t for t in ALL if type(t).__name__ not in ("Resize", "CenterCrop", "RandomFlip", "RandomCrop")
]


@pytest.mark.parametrize("transform", PIXELS_ONLY, ids=lambda t: type(t).__name__)
def test_boxes_are_not_left_behind(transform):
    example = {"image": noise(20, 24), "boxes": np.zeros((1, 4), np.float32)}
    with pytest.raises(ValueError, match=f"{type(transform).__name__} moves pixels only.*boxes"):
        transform(example, generator())

"""Device augmentation against slow loops over its own visible draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import image as ops


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def pictures(count, height=6, width=7, channels=3, seed=0):
    values = np.random.default_rng(seed).uniform(0, 255, (count, height, width, channels))
    return jnp.asarray(values, jnp.float32)


def coordinates(count, height, width):
    """Images whose every pixel is unique and above 0, so that a result shows where it came from."""
    grid = np.arange(1, height * width + 1, dtype=np.float32).reshape(1, height, width, 1)
    return jnp.asarray(np.tile(grid, (count, 1, 1, 1)))


AUGMENTATIONS = {
    "flip": ops.random_flip,
    "pad": ops.pad_crop,
    "reflect": lambda x, k: ops.pad_crop(x, k, 2, "reflect"),
    "jitter": ops.color_jitter,
    "lighting": ops.pca_lighting,
    "erasing": ops.random_erasing,
    "mixup": lambda x, k: ops.mixup(x, k, 0.4),
    "cutmix": ops.cutmix,
    "mix": lambda x, k: ops.mix(x, k, 0.4, 1.0),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_halves_make_the_whole(name):
    """How a batch is spread over devices changes nothing."""
    function = jax.jit(AUGMENTATIONS[name])
    image, key = pictures(8), keys(8)
    whole = jax.tree.leaves(function(image, key))
    half = function(image[:4], key[:4]), function(image[4:], key[4:])
    joined = jax.tree.leaves(jax.tree.map(lambda *x: jnp.concatenate(x), *half))
    for a, b in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_keys_matter_and_vmap_over_batches(name):
    function = jax.jit(AUGMENTATIONS[name])
    image = pictures(8)
    a, b = (jax.tree.leaves(function(image, keys(8, seed)))[0] for seed in (0, 1))
    assert not np.array_equal(a, b)
    both = jax.jit(jax.vmap(function))(
        jnp.stack([image, image]), jnp.stack([keys(8, 0), keys(8, 1)])
    )
    np.testing.assert_allclose(jax.tree.leaves(both)[0], np.stack([a, b]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (2, 5, 3, 4, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_normalize(shape, dtype):
    raw = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    want = np.empty(shape)
    for place in np.ndindex(shape):
        want[place] = (raw[place] / 255 - mean[place[-1]]) / std[place[-1]]
    got = ops.normalize(jnp.asarray(raw), mean, std)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_denormalize_is_the_way_back():
    image, mean, std = pictures(2).astype(jnp.float32), (0.1, 0.5, 0.9), (0.2, 0.3, 1.0)
    there = ops.normalize(image, mean, std)
    np.testing.assert_allclose(ops.denormalize(there, mean, std), image, atol=1e-3)


def test_normalize_wants_a_number_per_channel():
    with pytest.raises(ValueError, match="1 means and 3 stds for an image of 3 channels"):
        ops.normalize(pictures(1), (0.5,), (0.2, 0.2, 0.2))


def test_random_flip():
    image = jnp.asarray(pictures(400, 2, 3), jnp.uint8)
    got = np.asarray(ops.random_flip(image, keys(400), 0.25))
    assert got.dtype == np.uint8
    flipped = 0
    for before, after in zip(np.asarray(image), got, strict=True):
        mirror = np.stack([before[:, x] for x in (2, 1, 0)], 1)
        assert np.array_equal(after, before) != np.array_equal(after, mirror)
        flipped += np.array_equal(after, mirror)
    assert 70 <= flipped <= 130  # 100 ± 3.5 standard deviations


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad_crop(mode):
    count, pad, height, width = 600, 2, 5, 4
    image = coordinates(count, height, width)
    got = np.asarray(ops.pad_crop(image, keys(count), pad, mode))[..., 0]

    def at(y, x):
        if mode == "reflect":
            y, x = (abs(i) if i < n else 2 * (n - 1) - i for i, n in ((y, height), (x, width)))
        inside = 0 <= y < height and 0 <= x < width
        return image[0, y, x, 0] if inside else 0.0

    crops = {}
    for dy in range(-pad, pad + 1):
        for dx in range(-pad, pad + 1):
            crop = [[at(y + dy, x + dx) for x in range(width)] for y in range(height)]
            crops[dy, dx] = np.asarray(crop)
    seen = dict.fromkeys(crops, 0)
    for result in got:
        (offset,) = [o for o, crop in crops.items() if np.array_equal(result, crop)]
        seen[offset] += 1
    assert len(seen) == 25 and min(seen.values()) >= 8  # 24 expected of each


def test_pad_crop_rejects_other_modes():
    with pytest.raises(ValueError, match="'wrap'"):
        ops.pad_crop(pictures(1), keys(1), 4, "wrap")


def gray(picture):
    return 0.2989 * picture[..., 0] + 0.587 * picture[..., 1] + 0.114 * picture[..., 2]


def blend(picture, other, factor):
    return np.clip(factor * picture + (1 - factor) * other, 0, 255)


@pytest.mark.parametrize("which", ["brightness", "contrast", "saturation"])
def test_color_jitter_one_at_a_time(which):
    """The factor is read off one pixel that is not clipped; all the others must agree with it."""
    amounts = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, which: 0.6}
    image = pictures(60)
    got = np.asarray(ops.color_jitter(image, keys(60), **amounts), np.float64)
    factors = []
    for before, after in zip(np.asarray(image, np.float64), got, strict=True):
        if which == "brightness":
            other = np.zeros_like(before)
        elif which == "contrast":
            other = np.full_like(before, gray(before).mean())
        else:
            other = np.repeat(gray(before)[..., None], 3, -1)
        free = (after > 0.5) & (after < 254.5)
        place = np.unravel_index(np.argmax(np.abs(before - other) * free), before.shape)
        factor = (after - other)[place] / (before - other)[place]
        np.testing.assert_allclose(after, blend(before, other, factor), atol=1e-2)
        factors.append(factor)
    assert 0.4 <= min(factors) < 0.5 and 1.5 < max(factors) <= 1.6


def test_color_jitter_order_and_gray_images():
    image, key = pictures(5), keys(5)
    steps = image
    for which in ("brightness", "contrast", "saturation"):
        amounts = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, which: 0.4}
        steps = ops.color_jitter(steps, key, **amounts)
    np.testing.assert_allclose(ops.color_jitter(image, key), steps, atol=1e-3)
    one = pictures(5, channels=1)
    same = ops.color_jitter(one, key, 0.0, 0.0, 0.4)
    np.testing.assert_allclose(same, one, atol=1e-4)


def test_pca_lighting():
    count = 4000
    image = pictures(count, 2, 2)
    offset = np.asarray(ops.pca_lighting(image, keys(count), 0.1) - image, np.float64)
    np.testing.assert_allclose(offset, offset[:, :1, :1] + 0 * offset, atol=1e-4)
    covariance = np.zeros((3, 3))
    for k, value in enumerate((0.2175, 0.0188, 0.0045)):
        for a in range(3):
            for b in range(3):
                vector = np.asarray(ops.PCA_VECTORS)[:, k]
                covariance[a, b] += (25.5 * value) ** 2 * vector[a] * vector[b]
    measured = np.cov(offset[:, 0, 0].T)
    np.testing.assert_allclose(measured, covariance, rtol=0.1)
    assert np.abs(offset[:, 0, 0].mean(0)).max() < 0.2


def test_pca_vectors_are_orthonormal():
    vectors = np.asarray(ops.PCA_VECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-3)


def bounds(mask):
    ys, xs = np.nonzero(mask)
    return ys.min(), xs.min(), ys.max() + 1, xs.max() + 1


def test_random_erasing():
    count, height, width = 500, 20, 24
    image = pictures(count, height, width, 2)
    erase = functools.partial(
        ops.random_erasing, probability=0.7, area=(0.1, 0.3), ratio=(0.5, 2.0), fill=300.0
    )
    got = np.asarray(jax.jit(erase)(image, keys(count)))
    erased, tops, lefts = 0, set(), set()
    for before, after in zip(np.asarray(image), got, strict=True):
        mask = after[..., 0] == 300.0
        want = before.copy()
        if mask.any():
            top, left, bottom, right = bounds(mask)
            for y in range(top, bottom):
                for x in range(left, right):
                    want[y, x] = 300.0
            h, w = bottom - top, right - left
            # Each side is rounded to whole pixels.
            assert (h - 0.5) * (w - 0.5) <= 0.3 * height * width
            assert (h + 0.5) * (w + 0.5) >= 0.1 * height * width
            assert (h - 0.5) / (w + 0.5) <= 2.0 and (h + 0.5) / (w - 0.5) >= 0.5
            erased += 1
            tops.add(top)
            lefts.add(left)
        np.testing.assert_array_equal(after, want)
    assert 315 <= erased <= 385
    assert 0 in tops and 0 in lefts and len(tops) > 8 and len(lefts) > 8


def test_random_erasing_that_never_fits_leaves_the_image():
    image = pictures(20)
    same = ops.random_erasing(image, keys(20), 1.0, (0.9, 1.0), (9.0, 10.0))
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_mixup(alpha):
    count = 400
    image = pictures(count, 2, 2)
    got, lam = (
        np.asarray(x) for x in jax.jit(ops.mixup, static_argnums=2)(image, keys(count), alpha)
    )
    before = np.asarray(image)
    for pair in range(count // 2):
        even, odd = 2 * pair, 2 * pair + 1
        assert lam[even] == lam[odd] and 0 <= lam[even] <= 1
        for row, other in ((even, odd), (odd, even)):
            want = lam[row] * before[row] + (1 - lam[row]) * before[other]
            np.testing.assert_allclose(got[row], want, atol=1e-3)
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    assert abs(lam[::2].mean() - 0.5) < 0.09
    assert abs(lam[::2].var() * 4 * (2 * alpha + 1) - 1) < 0.25


def test_cutmix():
    count, height, width = 400, 10, 12
    image = pictures(count, height, width)
    got, lam = (np.asarray(x) for x in jax.jit(ops.cutmix)(image, keys(count)))
    before = np.asarray(image)
    seen = np.zeros((height, width))
    for row in range(count):
        other = row + 1 if row % 2 == 0 else row - 1
        mask = (got[row] == before[other]).all(-1)
        want = before[row].copy()
        if mask.any():
            top, left, bottom, right = bounds(mask)
            for y in range(top, bottom):
                for x in range(left, right):
                    want[y, x] = before[other][y, x]
        np.testing.assert_array_equal(got[row], want)
        np.testing.assert_allclose(lam[row], 1 - mask.sum() / mask.size, atol=1e-6)
        assert lam[row] == lam[other]
        seen += mask
    assert (seen > 0).all()
    # Clipping at the border makes the average share that stays larger than E[λ] = 1/2.
    assert 0.5 < lam.mean() < 0.75


def test_mix_takes_one_of_the_two():
    image, key = pictures(200), keys(200)
    got, lam = ops.mix(image, key, 1.0, 1.0)
    options = [ops.mixup(image, key, 1.0), ops.cutmix(image, key, 1.0)]
    chosen = []
    for row in range(200):
        chosen.append(
            [bool(np.array_equal(got[row], x[row]) and lam[row] == w[row]) for x, w in options]
        )
    assert all(any(c) for c in chosen)
    assert 60 <= sum(c[0] for c in chosen) <= 140
    assert chosen[::2] == chosen[1::2]
    np.testing.assert_array_equal(ops.mix(image, key, 1.0, 0.0)[0], options[0][0])
    np.testing.assert_array_equal(ops.mix(image, key, 0.0, 1.0)[0], options[1][0])


def test_mixing_checks_its_arguments():
    with pytest.raises(ValueError, match="even number of rows, not 3"):
        ops.mixup(pictures(3), keys(3), 1.0)
    with pytest.raises(ValueError, match="even number of rows, not 3"):
        ops.neighbours(jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="alpha above 0, not 0"):
        ops.mix(pictures(2), keys(2), 0.0, 0.0)


def test_neighbours():
    np.testing.assert_array_equal(ops.neighbours(jnp.arange(6)), [1, 0, 3, 2, 5, 4])

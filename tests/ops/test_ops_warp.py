"""Warps against a slow loop, Pillow, and their own inverses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vision_jax.ops import warp


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def pictures(count, height=9, width=12, channels=3):
    values = np.random.default_rng(0).uniform(0, 255, (count, height, width, channels))
    return jnp.asarray(values, jnp.float32)


def smooth(count, height=40, width=48):
    y, x = np.mgrid[:height, :width]
    waves = 128 + 60 * np.sin(x / 7 + np.arange(count)[:, None, None]) + 60 * np.cos(y / 9)
    return jnp.asarray(waves[..., None], jnp.float32)


def matrix(count=2, translate=(0, 0), rotate=0.0, stretch=(1, 1), shear=(0, 0), size=(9, 12)):
    pairs = [jnp.tile(jnp.asarray([p], jnp.float32), (count, 1)) for p in (translate, stretch)]
    slant = jnp.tile(jnp.asarray([shear], jnp.float32), (count, 1))
    angle = jnp.full(count, rotate, jnp.float32)
    return warp.affine_matrix(*size, pairs[0], angle, pairs[1], slant)


def slow(image, places, method, fill):
    """One pixel after the other."""
    image, places = np.asarray(image, np.float64), np.asarray(places, np.float64)
    height, width, channels = image.shape
    result = np.full((*places.shape[:2], channels), fill)

    def at(row, column):
        return image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

    for place in np.ndindex(places.shape[:2]):
        x, y = places[place]
        if not (0 <= x < width and 0 <= y < height):
            continue
        if method == "nearest":
            result[place] = at(int(y), int(x))
            continue
        left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
        result[place] = 0
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = (1 - abs(y - 0.5 - top - row)) * (1 - abs(x - 0.5 - left - column))
            result[place] += share * at(top + row, left + column)
    return result


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_sample(method):
    image = pictures(2)
    places = np.random.default_rng(1).uniform(-2, 14, (2, 5, 6, 2))
    got = jax.jit(functools.partial(warp.sample, method=method, fill=3.0))(
        image, jnp.asarray(places, jnp.float32)
    )
    for i in range(2):
        want = slow(image[i], places[i], method, 3.0)
        np.testing.assert_allclose(got[i], want, atol=2e-3)


@pytest.mark.parametrize("name, method", [("BILINEAR", "bilinear"), ("NEAREST", "nearest")])
def test_affine_is_pillows(name, method):
    back = np.asarray([[1.1, 0.3, -2.0], [0.2, 0.9, 1.0]])
    raw = np.asarray(pictures(1), np.uint8)
    got = warp.affine(
        jnp.asarray(raw, jnp.float32), jnp.asarray(back[None], jnp.float32), method, 0.0
    )
    picture = Image.fromarray(raw[0])
    how = getattr(Image.Resampling, name)
    want = picture.transform(picture.size, Image.Transform.AFFINE, back.reshape(-1).tolist(), how)
    # Pillow cuts fractions.
    np.testing.assert_allclose(got[0], np.asarray(want), atol=1.001 if name == "BILINEAR" else 0)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_nothing_asked_is_nothing_done(method):
    image = pictures(2)
    np.testing.assert_allclose(warp.affine(image, matrix(), method), image, atol=1e-3)
    np.testing.assert_allclose(warp.lens(image, jnp.zeros(2), method), image, atol=1e-3)
    same = warp.random_affine(image, keys(2), 0.0, 0.0, 0.0, 0.0, method)
    np.testing.assert_allclose(same, image, atol=1e-3)


def test_translation_moves_by_whole_pixels():
    image = pictures(2)
    got = np.asarray(warp.affine(image, matrix(translate=(2, -3)), fill=5.0))
    np.testing.assert_allclose(got[:, :6, 2:], image[:, 3:, :-2], atol=1e-3)
    assert (got[:, 6:] == 5).all() and (got[:, :, :2] == 5).all()


def test_a_quarter_turn_is_exact():
    image = pictures(2, 8, 8)
    got = warp.affine(image, matrix(rotate=90.0, size=(8, 8)), "nearest")
    np.testing.assert_array_equal(got, np.rot90(np.asarray(image), axes=(1, 2)))


def test_stretch_and_shear_as_defined():
    """Where the centre's neighbours go; the map is from the result back to the image."""
    back = np.asarray(matrix(1, stretch=(2, 0.5), size=(8, 8)))[0]
    np.testing.assert_allclose(back @ [6, 4, 1], [5, 4], atol=1e-5)  # twice as wide
    np.testing.assert_allclose(back @ [4, 5, 1], [4, 6], atol=1e-5)
    back = np.asarray(matrix(1, shear=(0.5, 0), size=(8, 8)))[0]
    np.testing.assert_allclose(back @ [4.5, 5, 1], [4, 5], atol=1e-5)  # one down, half right


def test_there_and_back_again():
    """A map and its inverse, in the middle, where nothing came from outside."""
    image = smooth(2)
    forth = matrix(
        translate=(2, -3), rotate=20, stretch=(1.1, 0.95), shear=(0.1, -0.05), size=(40, 48)
    )
    whole = np.concatenate([np.asarray(forth), np.tile([[[0, 0, 1]]], (2, 1, 1))], 1)
    back = jnp.asarray(np.linalg.inv(whole)[:, :2], jnp.float32)
    again = warp.affine(warp.affine(image, forth), back)
    middle = (slice(None), slice(13, 27), slice(15, 33))
    np.testing.assert_allclose(again[middle], image[middle], atol=2.0)
    assert np.abs(np.asarray(warp.affine(image, forth) - image)[middle]).max() > 30


@pytest.mark.parametrize("strength", [-0.3, 0.25])
def test_lens(strength):
    image = pictures(1, 7, 10)
    radius = np.hypot(7, 10) / 2
    places = np.zeros((7, 10, 2))
    for y in range(7):
        for x in range(10):
            dx, dy = x + 0.5 - 5, y + 0.5 - 3.5
            bend = 1 + strength * (dx**2 + dy**2) / radius**2
            places[y, x] = 5 + dx * bend, 3.5 + dy * bend
    got = warp.lens(image, jnp.asarray([strength], jnp.float32))
    np.testing.assert_allclose(got[0], slow(image[0], places, "bilinear", 127.5), atol=2e-2)


def test_random_affine_stays_within_its_ranges():
    """A bright pixel in the middle of a black image shows where the centre went."""
    image = jnp.zeros((300, 21, 21, 1)).at[:, 10, 10].set(255.0)
    got = np.asarray(warp.random_affine(image, keys(300), 0.2, 0.0, 0.0, 0.0, "nearest", 0.0))
    places = np.argwhere(got[..., 0] == 255)[:, 1:] - 10
    assert len(places) == 300 and np.abs(places).max() == 4
    assert np.abs(places.mean(0)).max() < 0.5
    assert {tuple(np.sign(place)) for place in places} >= {(1, 1), (1, -1), (-1, 1), (-1, -1)}


@pytest.mark.parametrize("function", [warp.random_affine, warp.random_lens])
def test_halves_make_the_whole_and_keys_matter(function):
    function = jax.jit(function)
    image = pictures(4)
    whole = np.asarray(function(image, keys(4)))
    half = [function(image[i : i + 2], keys(4)[i : i + 2]) for i in (0, 2)]
    np.testing.assert_allclose(np.concatenate(half), whole, atol=1e-2)
    np.testing.assert_array_equal(function(image, keys(4)), whole)
    assert np.abs(np.asarray(function(image, keys(4, 1))) - whole).max() > 10

"""Colour operations beside Pillow's, whose results are whole numbers, and their fixed points."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vision_jax.ops import color


def pictures():
    """Noise, a dull image, and one with a channel of a single value."""
    image = np.random.default_rng(0).integers(0, 256, (3, 11, 13, 3)).astype(np.uint8)
    image[1] = image[1] // 3 + 40
    image[2, :, :, 0] = 7
    return image


def pillow(function):
    return np.stack([np.asarray(function(Image.fromarray(i))) for i in pictures()]).astype(float)


def given(dtype=jnp.float32):
    return jnp.asarray(pictures(), dtype)


def each(value, dtype=jnp.float32):
    return jnp.full(3, value, dtype)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.9])
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (color.brightness, ImageEnhance.Brightness),
        (color.contrast, ImageEnhance.Contrast),
        (color.saturation, ImageEnhance.Color),
        (color.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_pillows_before_rounding(ours, theirs, factor):
    """Pillow rounds what it blends with, which the factor magnifies, and cuts the result."""
    got = np.asarray(ours(given(), each(factor)))
    want = pillow(lambda image: theirs(image).enhance(factor))
    assert np.abs(got - want).max() < 1 + abs(1 - factor)
    if factor == 1:
        np.testing.assert_allclose(got, pictures(), atol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_posterize(bits):
    got = color.posterize(given(), each(bits, jnp.int32))
    np.testing.assert_array_equal(got, pillow(lambda image: ImageOps.posterize(image, bits)))


@pytest.mark.parametrize("threshold", [0.0, 100.0, 256.0])
def test_solarize(threshold):
    got = color.solarize(given(), each(threshold))
    np.testing.assert_array_equal(got, pillow(lambda image: ImageOps.solarize(image, threshold)))


def test_equalize():
    np.testing.assert_array_equal(color.equalize(given()), pillow(ImageOps.equalize))


def test_autocontrast():
    """Pillow cuts a product of doubles, which may lie just below a whole number."""
    got = np.asarray(color.autocontrast(given()))
    difference = got - pillow(ImageOps.autocontrast)
    assert ((difference == 0) | (difference == 1)).all() and (difference == 1).mean() < 0.05
    assert (got[1].min((0, 1)) == 0).all() and (got[1].max((0, 1)) == 255).all()
    np.testing.assert_array_equal(got[2, :, :, 0], 7)


def test_equalize_of_an_image_with_few_pixels_of_many_values():
    ramp = np.repeat(np.arange(256), 3).reshape(1, 16, 48, 1)
    image = jnp.asarray(np.concatenate([ramp] * 3, -1), jnp.float32)
    want = np.asarray(ImageOps.equalize(Image.fromarray(np.asarray(image[0], np.uint8))))
    np.testing.assert_array_equal(color.equalize(image)[0], want)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.3])
def test_hue(turn):
    image = jnp.asarray(pictures() / 255, jnp.float32)
    got = np.asarray(color.hue(image, each(turn), white=1.0))
    for place in np.ndindex(got.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(float(v) for v in image[place]))
        want = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        np.testing.assert_allclose(got[place], want, atol=2e-6)
        if place[1] == 2:
            break
    whole = np.asarray(color.hue(given(), each(turn)))
    np.testing.assert_allclose(whole, 255 * got, atol=2e-3)


def test_a_gray_image_has_no_hue():
    gray = jnp.broadcast_to(given()[..., :1], (3, 11, 13, 3))
    np.testing.assert_allclose(color.hue(gray, each(0.3)), gray, atol=1e-4)


def test_images_too_small_to_smooth_stay():
    image = given()[:, :2]
    np.testing.assert_array_equal(color.sharpness(image, each(0.0)), image)

"""Every operation of TrivialAugment against its own function, or Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vision_jax.ops import color
from vision_jax.ops.trivial_augment import OPERATIONS, operate, trivial_augment

RUN = jax.jit(operate, static_argnames=("method", "fill"))


def pictures(count=4):
    image = np.random.default_rng(0).integers(30, 200, (count, 20, 23, 3)).astype(np.uint8)
    return jnp.asarray(image, jnp.float32)


def operate(name, strength, sign=1):
    def full(value):
        return jnp.full(4, value, jnp.int32)

    kind = OPERATIONS.index(name)
    return np.asarray(RUN(pictures(), full(kind), full(strength), full(sign), "nearest"))


def moved(back):
    images = [Image.fromarray(np.asarray(i, np.uint8)) for i in pictures()]
    return np.stack([i.transform(i.size, Image.Transform.AFFINE, back) for i in images])


@pytest.mark.parametrize(
    "name, strength, back",
    [
        ("shear_x", 30, (1, 0.99, 0, 0, 1, 0)),
        ("shear_y", 10, (1, 0, 0, 0.33, 1, 0)),
        ("translate_x", 10, (1, 0, -10, 0, 1, 0)),
        ("translate_y", 5, (1, 0, 0, 0, 1, -5)),
    ],
)
def test_warps(name, strength, back):
    np.testing.assert_array_equal(operate(name, strength), moved(back))
    other = [b if i in (0, 4) else -b for i, b in enumerate(back)]
    np.testing.assert_array_equal(operate(name, strength, -1), moved(other))


def test_rotation():
    images = [Image.fromarray(np.asarray(i, np.uint8)) for i in pictures()]
    for sign in (1, -1):
        want = np.stack([np.asarray(i.rotate(sign * 45)) for i in images])
        np.testing.assert_array_equal(operate("rotate", 10, sign), want)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "name, function",
    [
        ("brightness", color.brightness),
        ("color", color.saturation),
        ("contrast", color.contrast),
        ("sharpness", color.sharpness),
    ],
)
def test_blends(name, function, sign):
    want = function(pictures(), jnp.full(4, 1 + sign * 0.99 * 20 / 30))
    np.testing.assert_allclose(operate(name, 20, sign), want, atol=1e-3)


def test_tables():
    four = jnp.full(4, 4, jnp.int32)
    np.testing.assert_array_equal(operate("posterize", 20), color.posterize(pictures(), four))
    np.testing.assert_array_equal(operate("posterize", 0), pictures())
    np.testing.assert_array_equal(
        operate("solarize", 15), color.solarize(pictures(), jnp.full(4, 127.5))
    )
    np.testing.assert_array_equal(operate("autocontrast", 3), color.autocontrast(pictures()))
    np.testing.assert_array_equal(operate("equalize", 3), color.equalize(pictures()))


@pytest.mark.parametrize("name", [*OPERATIONS[:10], "posterize"])
def test_the_weakest_strength_is_the_image(name):
    np.testing.assert_allclose(operate(name, 0), pictures(), atol=1e-3)


def test_draws():
    """All operations occur, equally often, and are the example's own."""
    count = 280
    image = jnp.tile(pictures(1), (count, 1, 1, 1))
    keys = jax.random.split(jax.random.key(0), count)
    run = jax.jit(trivial_augment)
    got = np.asarray(run(image, keys))
    half = np.asarray(run(image[:140], keys[140:]))
    np.testing.assert_allclose(half, got[140:], atol=1e-2)
    unchanged = (np.abs(got - np.asarray(image)) < 1e-3).all((1, 2, 3)).mean()
    # Identity, the weakest of eleven others (posterize has two of these).
    assert 1 / 14 - 0.05 < unchanged < 1 / 14 + 12 / 14 / 31 + 0.05
    flat = {tuple(np.unique(i)) for i in got}
    assert len(flat) > 100


def test_images_of_one_channel():
    image = pictures()[..., :1]
    got = jax.jit(trivial_augment)(image, jax.random.split(jax.random.key(0), 4))
    assert got.shape == image.shape and np.isfinite(got).all()


def test_fill_is_outside():
    got = operate("translate_x", 10)
    assert (got[:, :, :10] == 0).all()

"""The feature pyramid against a plain loop over pixels, and its levels' sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models

SHAPES = {"fine": (2, 9, 11, 3), "coarse": (2, 5, 6, 4)}


def maps(seed=0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in SHAPES.items()}


def made(**fields):
    pyramid = models.FPN(("fine", "coarse"), width=5, **fields)
    endpoints = maps()
    variables = pyramid.init(jax.random.key(0), endpoints)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), variables)
    levels = jax.jit(pyramid.apply)(variables, endpoints)
    return endpoints, variables["params"], [np.asarray(level) for level in levels]


def conv(x, layer, stride=1):
    """Convolves with 'half' padding, pixel by pixel, in float64."""
    kernel, bias = np.float64(layer["kernel"]), np.float64(layer["bias"])
    k = kernel.shape[0]
    x = np.pad(np.float64(x), ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    height, width = (-(-(side - k + 1) // stride) for side in x.shape[1:3])
    out = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            out[:, i, j] = np.tensordot(window, kernel, 3) + bias
    return out


def test_levels_add_the_coarser_one_upsampled():
    endpoints, params, levels = made(extra="none")
    coarse = conv(endpoints["coarse"], params["lateral_coarse"])
    fine = conv(endpoints["fine"], params["lateral_fine"])
    for i in range(9):
        for j in range(11):
            fine[:, i, j] += coarse[:, i * 5 // 9, j * 6 // 11]
    np.testing.assert_allclose(levels[0], conv(fine, params["output_fine"]), atol=2e-4)
    np.testing.assert_allclose(levels[1], conv(coarse, params["output_coarse"]), atol=2e-4)
    assert len(levels) == 2


def test_pooled_level_takes_every_second_pixel():
    _, _, levels = made(extra="pool")
    assert levels[2].shape == (2, 3, 3, 5)
    assert np.array_equal(levels[2], levels[1][:, ::2, ::2])


@pytest.mark.parametrize("source", ["c5", "p5"])
def test_p6_and_p7_read_their_source(source):
    endpoints, params, levels = made(extra="p6p7", source=source)
    read = {"c5": endpoints["coarse"], "p5": levels[1]}[source]
    p6 = conv(read, params["p6"], stride=2)
    np.testing.assert_allclose(levels[2], p6, rtol=1e-4, atol=1e-3)
    p7 = conv(np.maximum(levels[2], 0), params["p7"], stride=2)
    np.testing.assert_allclose(levels[3], p7, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("extra", ["none", "pool", "p6p7"])
def test_strides_are_the_levels(extra):
    backbone = models.ResNet((1, 1, 1), "basic", 8)
    pyramid = models.FPN(("conv2_x", "conv3_x", "conv4_x"), 8, extra)
    image = jax.ShapeDtypeStruct((1, 128, 64, 3), jnp.float32)

    def levels(key, image):
        endpoints = backbone.init_with_output(key, image)[0]
        return pyramid.init_with_output(key, endpoints)[0]

    shapes = [level.shape for level in jax.eval_shape(levels, jax.random.key(0), image)]
    strides = pyramid.strides(backbone)
    assert strides == (4, 8, 16, 32, 64)[: len(shapes)]
    assert shapes == [(1, 128 // s, 64 // s, 8) for s in strides]

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.ops.modes import assert_equal_in_every_mode
from vision_jax.ops.conv import pads
from vision_jax.ops.conv_nested import conv_nested

GEOMETRIES = [
    ((2, 5, 6, 3), (3, 3, 3, 4), 1),
    ((3, 4, 7, 2), (2, 3, 2, 5), ((1, 0), (0, 2))),
    ((2, 3, 4, 4), (1, 1, 4, 3), 0),
]


def _plain(x, w, padding):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (1, 1), pads(padding), dimension_numbers=numbers)


@pytest.mark.parametrize("image, kernel, padding", GEOMETRIES)
@pytest.mark.parametrize("within", ["nothing", "branch", "loop"])
def test_equals_lax_in_every_mode_of_differentiation(image, kernel, padding, within):
    def ours(x, w):
        def convolve(x):
            return conv_nested(x, w, padding)

        if within == "branch":
            return lax.cond(w[0, 0, 0, 0] < 9, convolve, lambda x: 0 * convolve(x), x)
        return lax.map(convolve, x[None])[0] if within == "loop" else convolve(x)

    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, w, dx, dw = (jnp.asarray(rng.normal(size=s)) for s in (image, kernel, image, kernel))
        plain = functools.partial(_plain, padding=padding)
        assert_equal_in_every_mode(ours, plain, (x, w), (dx, dw), 1e-12)


def test_gradients_are_laid_out_as_the_value_is():
    """Which is what XLA:CPU computes fast in branches; lax's are not."""

    kernel = jnp.ones((3, 3, 20, 20))

    def convolutions(convolve):
        def loss(x, w):
            return jnp.sum(convolve(x, w) ** 2)

        found = jax.jit(jax.grad(loss, (0, 1))).lower(jnp.ones((2, 5, 5, 20)), kernel).as_text()
        lines = [line for line in found.splitlines() if "stablehlo.convolution" in line]
        return [line.split("dim_numbers = ")[1].split(", window")[0] for line in lines], found

    value = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
    layouts, text = convolutions(lambda x, w: conv_nested(x, w, 1))
    assert layouts == [value] * 3 and "reverse = [true" not in text
    layouts, text = convolutions(lambda x, w: _plain(x, w, 1))
    assert len(set(layouts)) == 3

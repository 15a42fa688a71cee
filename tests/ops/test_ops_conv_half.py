"""Convolutions and products of bfloat16, by oneDNN where the processor multiplies such numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.kernels import dnnl, onednn
from vision_jax.kernels.conv_lax import Geometry
from vision_jax.ops.conv import conv2d, dense

HALF, WHOLE = jnp.bfloat16, jnp.float32
ROUNDING = 2.0**-8  # of one number, to the nearest
CASES = [  # image, kernel, stride, padding, dilation, groups
    ((9, 8, 6), (3, 3, 6, 10), 1, 1, 1, 1),
    ((9, 8, 6), (3, 2, 3, 10), 2, (1, 0), 1, 2),
    ((7, 7, 8), (1, 1, 8, 12), 1, 0, 1, 1),
    ((12, 11, 6), (3, 3, 1, 6), 1, 2, 2, 6),
]


def drawn(shape, seed):
    """Draws numbers that bfloat16 holds as they are."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return jnp.asarray(values, HALF).astype(WHOLE)


def all_of(x, w, ct, dtype, settings):
    """Computes the output and both gradients in a dtype, in float32 as they come."""

    def run(x, w, ct):
        y, back = jax.vjp(lambda x, w: conv2d(x, w, *settings), x, w)
        return y, *back(ct)

    found = jax.jit(run)(*(v.astype(dtype) for v in (x, w, ct)))
    assert {v.dtype for v in found} == {jnp.dtype(dtype)}
    return [np.asarray(v, np.float32) for v in found]


@pytest.mark.core
@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("image, kernel, stride, padding, dilation, groups", CASES)
def test_half_is_the_rounded_whole(
    image, kernel, stride, padding, dilation, groups, able, monkeypatch
):
    if not able:
        monkeypatch.setattr(onednn, "takes", lambda sizes: False)
    settings = stride, padding, dilation, groups
    x, w = drawn((2, *image), 0), drawn(kernel, 1)
    ct = drawn(jax.eval_shape(lambda x, w: conv2d(x, w, *settings), x, w).shape, 2)
    expected = all_of(x, w, ct, WHOLE, settings)
    for whole, half in zip(expected, all_of(x, w, ct, HALF, settings), strict=True):
        # Sums have no rounding of their own in oneDNN; XLA may round parts of them.
        most = ROUNDING if able and is_able() else 8 * ROUNDING
        np.testing.assert_allclose(half, whole, atol=most * np.abs(whole).max())


def is_able():
    """Returns True if this machine computes convolutions of bfloat16 by oneDNN."""
    library = dnnl.load()
    return library is not None and library.multiplies(dnnl.TYPES["bfloat16"])


@pytest.mark.skipif(not is_able(), reason="the processor does not multiply bfloat16")
def test_the_program_calls_onednn_and_runs_side_by_side_are_single_ones():
    x, w = drawn((3, 2, 9, 8, 6), 0).astype(HALF), drawn((3, 3, 3, 6, 10), 1).astype(HALF)
    several = jax.jit(jax.vmap(lambda x, w: conv2d(x, w, 1, 1)))
    assert onednn.TARGET in several.lower(x, w).as_text()
    one = jnp.stack(
        [jax.jit(lambda x, w: conv2d(x, w, 1, 1))(*pair) for pair in zip(x, w, strict=True)]
    )
    np.testing.assert_array_equal(several(x, w), one)


@pytest.mark.skipif(not onednn.available(), reason="oneDNN is not installed")
def test_a_processor_without_such_products_does_not_emulate_them(monkeypatch):
    monkeypatch.setattr(dnnl.Library, "multiplies", lambda self, number: number == 3)
    geometry = Geometry((5, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    shapes = (2, 5, 7, 3), (3, 3, 3, 11), (2, 5, 7, 11)
    taken = [
        onednn.takes(onednn.Sizes.of(onednn.FORWARD, shapes, geometry, dtype))
        for dtype in ("bfloat16", "float32")
    ]
    assert taken == [False, True]


@pytest.mark.parametrize("stored", [HALF, WHOLE])
def test_a_product_is_rounded_once(stored):
    x, w = drawn((2, 5, 300), 0), drawn((300, 40), 1)
    y = jax.jit(dense)(x.astype(HALF), w.astype(stored))
    assert y.dtype == HALF
    np.testing.assert_array_equal(y, (x @ w).astype(HALF))
    assert dense(x, w.astype(stored)).dtype == WHOLE

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vision_jax.kernels import moments as module
from vision_jax.kernels.moments import moments

pytestmark = pytest.mark.core

FORMS = (moments, module._by_case, module._about_a_pixel)


def maps(means, deviation=1.0, size=(4, 9, 7)):
    noise = np.random.default_rng(0).normal(size=(*size, len(means)))
    return (np.asarray(means) + deviation * noise).astype(np.float32)


def slowly(x):
    """Channel by channel, in float64."""
    channels = [np.float64(x[..., c]).ravel() for c in range(x.shape[-1])]
    mean = [sum(values) / len(values) for values in channels]
    var = [
        sum((v - m) ** 2 for v in values) / len(values)
        for values, m in zip(channels, mean, strict=True)
    ]
    return np.array(mean), np.array(var)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("means", [(0, 0.5, -3), (7.5, 0, 0), (-8.5, 0, 0), (0, 1e4, 1), (3e5,)])
def test_both_equal_a_slow_loop(form, means):
    x = maps(means)
    mean, var = jax.jit(form)(x)
    expected_mean, expected_var = slowly(x)
    np.testing.assert_allclose(mean, expected_mean, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(var, expected_var, rtol=2e-5)


def test_the_plain_difference_alone_would_not_do():
    x = maps((0, 1e4, 1))
    plain = np.square(x).mean((0, 1, 2)) - np.square(x.mean((0, 1, 2)))
    assert np.abs(plain / slowly(x)[1] - 1).max() > 0.1


@pytest.mark.parametrize("form", FORMS)
def test_constant_channels_have_no_variance(form):
    x = np.broadcast_to(np.float32([0, 3, -1e3]), (2, 3, 3, 3))
    mean, var = jax.jit(form)(x)
    np.testing.assert_array_equal(var, 0)
    np.testing.assert_array_equal(mean, x[0, 0, 0])


@pytest.mark.parametrize("far", [False, True])
def test_derivatives_of_any_order(far):
    def both(x):
        return moments(jnp.asarray(x))

    with jax.enable_x64(True):
        x = jnp.asarray(maps((0, 20.0 if far else 2.0), size=(2, 2, 3)), jnp.float64)
        check_grads(both, (x,), order=2, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6)
        gradient = jax.grad(lambda x: moments(x)[1].sum())(x)
        centred = x - x.mean((0, 1, 2), keepdims=True)
        np.testing.assert_allclose(gradient, 2 * centred / 12, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 2])
def test_runs_together_equal_each_alone(axis):
    runs = np.stack([maps((0, 1)), maps((50, 1)), maps((-2, 9))])
    together = jax.jit(jax.vmap(moments, axis))(np.moveaxis(runs, 0, axis))
    for found, expected in zip(together, zip(*map(slowly, runs), strict=True), strict=True):
        np.testing.assert_allclose(found, np.stack(expected), rtol=2e-5, atol=2e-6)
    nested = jax.vmap(jax.vmap(moments))(np.stack([runs, runs + 1]))[1]
    np.testing.assert_allclose(nested[0], together[1], rtol=2e-5)


def test_without_jit():
    with jax.disable_jit():
        mean, var = moments(jnp.asarray(maps((1, 2))))
    np.testing.assert_allclose(mean, slowly(maps((1, 2)))[0], rtol=2e-6)
    assert var.shape == (2,)


def test_only_the_cpu_has_a_branch():
    traced = jax.jit(moments).trace(jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.float32))
    branches = {
        platform: "stablehlo.case" in traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert branches == {"cpu": True, "cuda": False, "tpu": False}

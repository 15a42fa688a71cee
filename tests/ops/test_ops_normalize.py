import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.normalize import l2_normalize, local_response_norm


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("size", [3, 4, 5])
def test_local_response_norm_equals_the_loop(size, mean):
    x = np.random.default_rng(0).normal(0, 2, (2, 3, 3, 7))
    with jax.enable_x64(True):
        y = local_response_norm(jnp.asarray(x), size, alpha=0.3, beta=0.75, k=1.5, mean=mean)
        for c in range(7):
            window = range(max(c - size // 2, 0), min(c + (size - 1) // 2, 6) + 1)
            total = sum(x[..., i] ** 2 for i in window) / (size if mean else 1)
            expected = x[..., c] / (1.5 + 0.3 * total) ** 0.75
            np.testing.assert_allclose(y[..., c], expected, rtol=0, atol=1e-13)


def test_l2_normalize_has_unit_length_and_a_gradient_at_zero():
    x = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(l2_normalize(x), [[0.6, 0.8], [0.0, 0.0]], atol=1e-7)
    gradient = jax.grad(lambda x: l2_normalize(x)[:, 0].sum())(x)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[0], [16 / 125, -12 / 125], atol=1e-7)

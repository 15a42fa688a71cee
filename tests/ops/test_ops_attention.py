"""Attention against a loop over examples, heads and queries."""

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.ops.attention import attention, multi_head_attention


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(0, 1, shape), jnp.float32) for shape in shapes]


def test_multi_head_attention():
    query, key, value, kernels, biases = drawn((2, 3, 6), (2, 4, 6), (2, 4, 6), (4, 6, 6), (4, 6))
    mask = np.asarray([[True, True, False, True], [True, False, False, False]])
    got, shares = multi_head_attention(query, key, value, 2, kernels, biases, jnp.asarray(mask))
    weights = list(zip(np.asarray(kernels), np.asarray(biases), strict=True))
    asked = zip((query, key, value), weights, strict=False)
    q, k, v = (np.asarray(x) @ kernel + bias for x, (kernel, bias) in asked)
    for b in range(2):
        for i in range(3):
            joined, share = np.zeros(6), np.zeros(4)
            for part in (slice(0, 3), slice(3, 6)):
                scores = np.exp(k[b, :, part] @ q[b, i, part] / np.sqrt(3)) * mask[b]
                found = scores / scores.sum()
                joined[part] = found @ v[b, :, part]
                share += found / 2
            np.testing.assert_allclose(shares[b, i], share, atol=1e-5)
            want = joined @ weights[3][0] + weights[3][1]
            np.testing.assert_allclose(got[b, i], want, atol=2e-5)


def test_who_may_look_nowhere_gets_zeros():
    query, key, value = drawn((3, 4), (5, 4), (5, 2))
    mask = jnp.asarray([[True] * 5, [False] * 5, [True] * 5])
    got, weights = attention(query, key, value, mask)
    assert not got[1].any() and not weights[1].any()
    np.testing.assert_allclose(weights.sum(-1), [1, 0, 1], atol=1e-6)
    gradient = jax.grad(lambda q: attention(q, key, value, mask)[0].sum())(query)
    assert np.isfinite(gradient).all() and not gradient[1].any()

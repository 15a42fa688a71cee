import itertools

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.ops.pool import max_pool_indices
from vision_jax.ops.unpool import max_unpool


def _image(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_max_unpool_restores_what_the_pool_kept():
    x = jnp.asarray(_image((2, 5, 7, 3)), jnp.float32)
    y, places = max_pool_indices(x, 2, ceil_mode=True)
    z = np.asarray(max_unpool(y, places, (5, 7)))
    kept = z != 0
    np.testing.assert_array_equal(z[kept], np.asarray(x)[kept])
    assert kept.sum() == y.size


def test_max_unpool_gives_each_value_its_places_gradient():
    x = jnp.asarray(_image((2, 6, 6, 2)), jnp.float32)
    y, places = max_pool_indices(x, 3, 1)  # one maximum serves several windows
    seed = jnp.asarray(_image((2, 6, 6, 2), 1), jnp.float32)
    gradient = jax.grad(lambda y: (max_unpool(y, places, (6, 6)) * seed).sum())(y)
    for b, i, j, c in itertools.product(range(2), range(4), range(4), range(2)):
        row, column = divmod(int(places[b, i, j, c]), 6)
        assert gradient[b, i, j, c] == seed[b, row, column, c]

"""A deeper plain net made of a shallower one's weights and identity layers is the same function."""

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.models import Classifier, PoolHead, ResNetCifar, init
from vision_jax.models.layers import NO_NORM


def test_identity_blocks_change_nothing():
    def net(blocks, identity_after):
        backbone = ResNetCifar(
            blocks, 4, residual=False, identity_after=identity_after, layers=NO_NORM
        )
        return Classifier(backbone, PoolHead(5))

    image = jnp.asarray(np.random.default_rng(0).normal(0, 1, (2, 16, 16, 3)), jnp.float32)
    shallow, deep = net(1, 0), net(3, 1)
    params = init(shallow, jax.random.key(0), image)["params"]
    fresh = init(deep, jax.random.key(1), image)["params"]
    backbone = {**fresh["backbone"], **params["backbone"]}
    assert len(backbone) == len(params["backbone"]) + 6
    expected = jax.jit(shallow.apply)({"params": params}, image)["logits"]
    constructed = {"params": {"backbone": backbone, "head": params["head"]}}
    logits = jax.jit(deep.apply)(constructed, image)["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert np.abs(np.asarray(expected)).max() > 1e-3

"""A deeper plain net made of a shallower one's weights and identity layers is the same function."""

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.classifiers.resnet_cifar import ResNetCifar


def test_identity_blocks_change_nothing():
    def net(blocks, identity_after):
        backbone = ResNetCifar(blocks, 4, False, norm="none", identity_after=identity_after)
        return Classifier(backbone, PoolHead(5))

    image = jnp.asarray(np.random.default_rng(0).normal(0, 1, (2, 16, 16, 3)), jnp.float32)
    shallow, deep = net(1, 0), net(3, 1)
    given = jax.jit(shallow.init)(jax.random.key(0), image)["params"]
    built = jax.jit(deep.init)(jax.random.key(1), image)["params"]
    backbone = {name: given["backbone"].get(name, own) for name, own in built["backbone"].items()}
    assert len(backbone) == len(given["backbone"]) + 6
    want = jax.jit(shallow.apply)({"params": given}, image)["logits"]
    got = jax.jit(deep.apply)({"params": {"backbone": backbone, "head": given["head"]}}, image)[
        "logits"
    ]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert np.abs(np.asarray(want)).max() > 1e-3

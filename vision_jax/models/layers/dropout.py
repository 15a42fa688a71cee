"""Layers that drop values or branches in training, by per-example keys."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.layers.arrays import Keys

HEAD_LAYER = 1000  # heads number their dropout layers from here, backbones theirs from 0


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) by per-example keys; values are scaled in training.

    Each example's mask follows from its own key and from `layer`, so it does not depend on how a
    batch is spread over devices.

    Fields:
      rate: probability of dropping a value.
      layer: a number that differs between a network's dropout layers.

    Raises:
      ValueError: training without keys.
    """

    rate: float
    layer: int = 0

    def __call__(
        self, x: Float[Array, "b ..."], *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b ..."]:
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate

        def draw(key):
            return jax.random.bernoulli(jax.random.fold_in(key, self.layer), keep, x.shape[1:])

        return jnp.where(jax.vmap(draw)(required(keys, "dropout")), x / keep, 0)


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole examples (Huang et al. 2016), by per-example keys.

    A branch that stays is divided by its probability of staying, so evaluation needs no change (the
    paper scales in evaluation instead, which is the same network up to that factor).

    Fields:
      rate: probability of dropping an example's branch.
      layer: a number that differs between a network's branches.

    Raises:
      ValueError: training without keys.
    """

    rate: float
    layer: int = 0

    def __call__(
        self, x: Float[Array, "b ..."], *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b ..."]:
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate

        def draw(key):
            return jax.random.bernoulli(jax.random.fold_in(key, self.layer), keep)

        stays = jax.vmap(draw)(required(keys, "stochastic depth"))
        return jnp.where(jnp.expand_dims(stays, range(1, x.ndim)), x / keep, 0)


def required(keys: Keys, what: str) -> Key[Array, "b"]:
    """Returns the keys that a layer draws with, unless there are none.

    Raises:
      ValueError: there are none; the message says that `what` needs them.
    """
    if keys is None:
        raise ValueError(f"{what} in training needs keys: one random key per example, shape (b,)")
    return keys

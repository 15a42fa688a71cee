"""Gradient-Based Learning Applied to Document Recognition (LeCun et al. 1998): LeNet-5.

Endpoints carry the paper's names: C1, S2, C3, S4. Every C3 map reads all six S2 maps (61,706
parameters), where the paper connects them by its Table I. The output is a linear layer for
cross-entropy, where the paper has radial basis functions. Initialisation: torch's uniform, where
the paper draws from U(-2.4/fan_in, 2.4/fan_in).
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    Dense,
    Endpoints,
    Images,
    Keys,
    Layers,
    channelwise,
    last_map,
    torch_linear,
)
from vision_jax.ops import initializers
from vision_jax.ops.pool import avg_pool, max_pool


def squash(x: Array) -> Array:
    """Computes the paper's activation, 1.7159 tanh(2x/3)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


Activation = Literal["squash", "tanh", "relu"]
Pooling = Literal["subsample", "avg", "max"]
ACTIVATIONS = {"squash": squash, "tanh": jnp.tanh, "relu": nn.relu}


class LeNetBackbone(nn.Module):
    """LeNet-5's backbone, C1 to S4.

    Fields:
      act: 'squash' (the paper's scaled tanh), 'tanh' or 'relu'.
      pool: 'subsample', averages with a trained gain and bias per map, then the activation (the
        paper); 'avg' or 'max'.
      padding: of C1. 2 makes 28-pixel digits the paper's 32.
      layers: in what precision layers compute; the network predates batch norm and has none.
    """

    act: Activation = "squash"
    pool: Pooling = "subsample"
    padding: int = 0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        act = ACTIVATIONS[self.act]
        options = {"layers": self.layers, "kernel_init": torch_linear}
        c1 = act(Conv(6, 5, padding=self.padding, **options, name="C1")(images))
        s2 = self._pool(c1, act, "S2")
        c3 = act(Conv(16, 5, **options, name="C3")(s2))
        return {"C1": c1, "S2": s2, "C3": c3, "S4": self._pool(c3, act, "S4")}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {"C1": 1, "S2": 2, "C3": 2, "S4": 4}

    def _pool(self, x, act, name):
        if self.pool == "max":
            return max_pool(x, 2)
        x = avg_pool(x, 2)
        return act(Subsample(name=name)(x)) if self.pool == "subsample" else x


class Subsample(nn.Module):
    """The trained part of the paper's S layers: one gain and one bias per channel."""

    @nn.compact
    def __call__(self, x: Images) -> Images:
        gain = self.param("gain", initializers.ones, (x.shape[-1],))
        bias = self.param("bias", initializers.zeros, (x.shape[-1],))
        return x * channelwise(gain.astype(x.dtype)) + channelwise(bias.astype(x.dtype))


class LeNetHead(nn.Module):
    """LeNet-5's head: C5 (a convolution over all of S4), F6 and the output."""

    num_classes: int = 10
    act: Activation = "squash"
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Classifies the backbone's last endpoint."""
        act = ACTIVATIONS[self.act]
        x = last_map(endpoints)
        x = x.reshape(x.shape[0], -1)
        x = act(Dense(120, layers=self.layers, name="C5")(x))
        x = act(Dense(84, layers=self.layers, name="F6")(x))
        return {"features": x, "logits": Dense(self.num_classes, layers=self.layers, name="out")(x)}


def LeNet5(
    num_classes: int = 10,
    act: Activation = "squash",
    pool: Pooling = "subsample",
    padding: int = 0,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes LeNet-5 as published, for 32x32 images; `act='relu', pool='max'` is today's form.

    With `padding=2` it takes 28x28 images; see `LeNetBackbone`.
    """
    backbone = LeNetBackbone(act, pool, padding, layers)
    return Classifier(backbone, LeNetHead(num_classes, act, layers))

"""Gradient-Based Learning Applied to Document Recognition (LeCun et al. 1998): LeNet-5.

Endpoints carry the paper's names: C1, S2, C3, S4. Every C3 map reads all six S2 maps (61,706
parameters), where the paper connects them by its Table I. The output is a linear layer for
cross-entropy, where the paper has radial basis functions.
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.classifier import Classifier, last_map
from vision_jax.models.layers.blocks import Conv, Dense, channelwise
from vision_jax.ops.pool import avg_pool, max_pool

# The paper draws weights from U(-2.4/fan_in, 2.4/fan_in), for tanh; ReLU takes He's.
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def squash(x: Array) -> Array:
    """The paper's activation, 1.7159 tanh(2x/3)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


ACTIVATIONS = {"squash": squash, "tanh": jnp.tanh, "relu": nn.relu}


class LeNetBackbone(nn.Module):
    """C1 to S4.

    Fields:
      act: 'squash' (the paper's scaled tanh), 'tanh' or 'relu'.
      pool: 'subsample', averages with a trained gain and bias per map, then the activation (the
        paper); 'avg' or 'max'.
      padding: of C1. 2 makes 28-pixel digits the paper's 32.
      dtype: compute dtype.
    """

    act: Literal["squash", "tanh", "relu"] = "squash"
    pool: Literal["subsample", "avg", "max"] = "subsample"
    padding: int = 0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints; see `Classifier` for the arguments."""
        act = ACTIVATIONS[self.act]
        options = {"dtype": self.dtype, "kernel_init": torch_uniform}
        c1 = act(Conv(6, 5, padding=self.padding, **options, name="C1")(image))
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
    """The trained part of the paper's S layers: one gain and one bias per map."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        gain = self.param("gain", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x * channelwise(gain.astype(x.dtype)) + channelwise(bias.astype(x.dtype))


class LeNetHead(nn.Module):
    """C5 (a convolution over all of S4), F6 and the output."""

    num_classes: int = 10
    act: Literal["squash", "tanh", "relu"] = "squash"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        act = ACTIVATIONS[self.act]
        x = last_map(endpoints)
        x = x.reshape(x.shape[0], -1)
        x = act(Dense(120, dtype=self.dtype, name="C5")(x))
        x = act(Dense(84, dtype=self.dtype, name="F6")(x))
        return {"features": x, "logits": Dense(self.num_classes, dtype=self.dtype, name="out")(x)}


def LeNet5(
    num_classes: int = 10,
    act: Literal["squash", "tanh", "relu"] = "squash",
    pool: Literal["subsample", "avg", "max"] = "subsample",
    padding: int = 0,
    dtype: str = "float32",
) -> Classifier:
    """LeNet-5 as published for 32x32 images; `act='relu', pool='max'` is today's form.

    With `padding=2` it takes 28x28 images.
    """
    return Classifier(LeNetBackbone(act, pool, padding, dtype), LeNetHead(num_classes, act, dtype))

"""Batch and group normalisation.

Parameters and running statistics are float32, float64 in parity tests; see `settings.Layers`.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.kernels.moments import moments
from vision_jax.models.layers.arrays import Images, channelwise, compute_dtype
from vision_jax.models.layers.settings import Layers
from vision_jax.ops import initializers

FOLDED = "folded"  # the collection that marks norms which are part of a convolution's weights
DEVICE_AXIS = "data"  # the mapped axis that synchronised statistics are summed over


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with torch's statistics.

    In training, the batch's biased variance normalises and its unbiased one enters the running
    average. Statistics are float32 (float64 with float64 parameters) whatever the compute dtype.
    Parameters: `scale`, `bias`; collection `batch_stats`: `mean`, `var`; all (channels,).

    The kinds (`layers.norm`):
      sync: statistics of the global batch. Inside a map over the axis `DEVICE_AXIS` they are summed
        over it; under jit with sharded arrays the batch that is seen is the global one already.
      local: statistics of what the device sees.
      frozen: always the running statistics; scale and bias are constants too.

    Where `export.fold_norms` left a mark in the collection `folded`, the norm is in the weights
    of the convolution before it, and this is the identity.

    Raises:
      UserError: training with a norm that is folded.
    """

    zero_scale: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Images:
        if self.has_variable(FOLDED, "norm"):
            if train:
                raise UserError(f"{'/'.join(self.path)}: norms that are folded cannot train")
            return x
        channels = (x.shape[-1],)
        start = initializers.zeros if self.zero_scale else initializers.ones
        scale = self.param("scale", start, channels)
        bias = self.param("bias", initializers.zeros, channels)
        mean = self.variable("batch_stats", "mean", initializers.zeros, None, channels)
        var = self.variable("batch_stats", "var", initializers.ones, None, channels)
        is_frozen = self.layers.norm == "frozen"
        if is_frozen:
            scale, bias = lax.stop_gradient(scale), lax.stop_gradient(bias)
        if train and not is_frozen:
            batch_mean, batch_var, count = self._statistics(x, mean.value.dtype)
            unbiased = batch_var * (count / max(count - 1, 1))
            if not self.is_initializing():
                mean.value = self._running(mean.value, batch_mean)
                var.value = self._running(var.value, unbiased)
            if self.layers.norm_form == "darknet":
                batch_var = unbiased
        else:
            batch_mean, batch_var = mean.value, var.value
        gain = self.gain(scale, batch_var)
        offset = bias - batch_mean * gain
        y = x.astype(gain.dtype) * channelwise(gain) + channelwise(offset)
        return y.astype(compute_dtype(self.layers.dtype, scale))

    def gain(self, scale: Float[Array, "c"], var: Float[Array, "c"]) -> Float[Array, "c"]:
        """Computes the factor that centred values are multiplied by."""
        if self.layers.norm_form == "torch":
            return scale * lax.rsqrt(var + self.layers.eps)
        # The root's slope at 0 is infinite; a map without variance has no gradient through it.
        positive = var > 0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, var, 1)), 0)
        return scale / (root + self.layers.eps)

    def _statistics(self, x, dtype):
        """Returns the batch's mean, biased variance and count of values per channel.

        Devices hold equal shares, so the batch's variance is the mean of theirs and of their means'
        spread.
        """
        (mean, var), count = moments(x.astype(dtype)), x.size // x.shape[-1]
        if self.layers.norm == "sync" and _is_bound(DEVICE_AXIS):
            local_mean = mean
            mean = lax.pmean(local_mean, DEVICE_AXIS)
            var = lax.pmean(var + lax.square(local_mean - mean), DEVICE_AXIS)
            count *= lax.axis_size(DEVICE_AXIS)
        return mean, var, count

    def _running(self, old, new):
        """Updates a running average."""
        share = self.layers.momentum
        return share * old + (1 - share) * lax.stop_gradient(new)


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018), statistics in float32. Parameters: `scale`, `bias`.

    `groups` is lowered to the largest divisor of the channels that it can be. None makes each
    channel a group: instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022).

    Sums over a map come first, those over groups and images after them, also in the scale's
    gradient: float32 rounds short sums less.
    """

    groups: int | None = 32
    zero_scale: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Images:
        c = x.shape[-1]
        start = initializers.zeros if self.zero_scale else initializers.ones
        scale = self.param("scale", start, (c,))
        bias = self.param("bias", initializers.zeros, (c,))
        most = c if self.groups is None else min(self.groups, c)
        groups = next(g for g in range(most, 0, -1) if c % g == 0)
        y = x.astype(scale.dtype)
        y = y - _group_means(y, groups)
        gain = channelwise(scale) * lax.rsqrt(_group_means(lax.square(y), groups) + self.layers.eps)
        y = y * gain + channelwise(bias)
        return y.astype(compute_dtype(self.layers.dtype, scale))


def _group_means(x: Images, groups: int) -> Float[Array, "b 1 1 c"]:
    """Computes the mean of each image's groups of channels, for each of its channels."""
    b, c = x.shape[0], x.shape[-1]
    means = x.mean((1, 2)).reshape(b, groups, c // groups).mean(2, keepdims=True)
    return jnp.broadcast_to(means, (b, groups, c // groups)).reshape(b, 1, 1, c)


def norm(layers: Layers, name: str, *, zero_scale: bool = False) -> Callable[..., Images]:
    """Makes a network's normalisation layer, a submodule called `name`: `(x, *, train) → x`.

    Args:
      layers: the network's settings; with norm 'none' nothing is made, and x returned.
      name: the submodule's name.
      zero_scale: start with scale 0, so that a residual branch starts as nothing.
    """
    if layers.norm == "none":
        return lambda x, *, train=False: x
    if layers.norm == "group":
        return GroupNorm(zero_scale=zero_scale, layers=layers, name=name)
    if layers.norm == "instance":
        return GroupNorm(None, zero_scale, layers, name=name)
    if layers.norm != "position":
        return BatchNorm(zero_scale, layers, name=name)
    flat = BatchNorm(zero_scale, layers.replace(norm="sync"), name=name)
    return lambda x, *, train=False: flat(x.reshape(len(x), 1, 1, -1), train=train).reshape(x.shape)


def shards() -> int:
    """Counts the devices that the batch is spread over, inside a map over `DEVICE_AXIS`."""
    return lax.axis_size(DEVICE_AXIS) if _is_bound(DEVICE_AXIS) else 1


def _is_bound(axis: str) -> bool:
    try:
        lax.axis_size(axis)
    except NameError:
        return False
    return True

"""Layers that every network here is written with.

Parameters and running statistics are float32. The compute dtype is each layer's `dtype`, except
that float64 parameters are computed with in float64, which is how parity tests run.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError
from vision_jax.ops.conv import Padding, Size, conv2d, pair
from vision_jax.ops.moments import moments

Initializer = Callable[..., jax.Array]
Norm = Literal["sync", "local", "frozen", "position", "group", "none"]
FOLDED = "folded"  # the collection that marks norms which are part of a convolution's weights
DEVICE_AXIS = "data"  # the mapped axis that synchronised statistics are summed over

he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# torch's default for linear layers, U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
torch_linear = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def compute_dtype(dtype: str, parameter: Array) -> jnp.dtype:
    """The dtype to compute in: `dtype`, or float64 where the parameters are float64."""
    return jnp.dtype("float64" if parameter.dtype == jnp.float64 else dtype)


def channelwise(vector: Float[Array, "c"]) -> Float[Array, "1 1 1 c"]:
    """A per-channel vector, ready to be combined with an NHWC array."""
    return vector[None, None, None, :]


class Conv(nn.Module):
    """2-D convolution with explicit, torch-like padding.

    Parameters: `kernel` (kh, kw, in / groups, features), `bias` (features,) if `use_bias` or given,
    as `folding.fold_norms` gives one to convolutions without.

    Raises:
      UserError: the image's channels are not those that the kernel was made for, or the image is
        smaller than the kernel's reach.
    """

    features: int
    kernel: Size = 1
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    dtype: str = "float32"
    kernel_init: Initializer = he_fan_out
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo o"]:
        shape = (*pair(self.kernel), x.shape[-1] // self.groups, self.features)
        _check_shape(self, "kernel", shape, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = compute_dtype(self.dtype, kernel)
        x = conv2d(
            x.astype(dtype),
            kernel.astype(dtype),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        if self.use_bias or self.has_variable("params", "bias"):
            bias = self.param("bias", self.bias_init, (self.features,))
            x = x + channelwise(bias.astype(dtype))
        return x


class Dense(nn.Module):
    """Fully connected layer. Parameters: `kernel` (in, features), `bias` (features,)."""

    features: int
    use_bias: bool = True
    dtype: str = "float32"
    kernel_init: Initializer = torch_linear
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b k"]:
        shape = (x.shape[-1], self.features)
        _check_shape(self, "kernel", shape, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = compute_dtype(self.dtype, kernel)
        x = x.astype(dtype) @ kernel.astype(dtype)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
            x = x + bias.astype(dtype)[None, :]
        return x


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with torch's statistics.

    In training, the batch's biased variance normalises and its unbiased one enters the running
    average. Statistics are float32 (float64 with float64 parameters) whatever the compute dtype.
    Parameters: `scale`, `bias`; collection `batch_stats`: `mean`, `var`; all (channels,).

    `mode`:
      sync: statistics of the global batch. Inside a map over the axis `DEVICE_AXIS` they are summed
        over it; under jit with sharded arrays the batch that is seen is the global one already.
      local: statistics of what the device sees.
      frozen: always the running statistics; scale and bias are constants too.

    `form`: 'torch' divides by sqrt(var + eps); 'darknet' by sqrt(var) + eps, with the unbiased
    variance in training too, as the framework Darknet does (whose eps is 1e-6).

    Where `folding.fold_norms` left a mark in the collection `folded`, the norm is in the weights
    of the convolution before it, and this is the identity.

    Raises:
      UserError: training with a norm that is folded.
    """

    mode: Literal["sync", "local", "frozen"] = "sync"
    momentum: float = 0.9
    eps: float = 1e-5
    zero_scale: bool = False
    dtype: str = "float32"
    form: Literal["torch", "darknet"] = "torch"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        if self.has_variable(FOLDED, "norm"):
            if train:
                raise UserError(f"{'/'.join(self.path)}: norms that are folded cannot train")
            return x
        channels = (x.shape[-1],)
        start = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
        scale = self.param("scale", start, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        var = self.variable("batch_stats", "var", jnp.ones, channels)
        if self.mode == "frozen":
            scale, bias = lax.stop_gradient(scale), lax.stop_gradient(bias)
        if train and self.mode != "frozen":
            batch_mean, batch_var, count = self._statistics(x, mean.value.dtype)
            unbiased = batch_var * (count / max(count - 1, 1))
            if not self.is_initializing():
                mean.value = self._running(mean.value, batch_mean)
                var.value = self._running(var.value, unbiased)
            if self.form == "darknet":
                batch_var = unbiased
        else:
            batch_mean, batch_var = mean.value, var.value
        gain = self.gain(scale, batch_var)
        offset = bias - batch_mean * gain
        y = x.astype(gain.dtype) * channelwise(gain) + channelwise(offset)
        return y.astype(compute_dtype(self.dtype, scale))

    def gain(self, scale: Float[Array, "c"], var: Float[Array, "c"]) -> Float[Array, "c"]:
        """What centred values are multiplied by."""
        if self.form == "torch":
            return scale * lax.rsqrt(var + self.eps)
        # The root's slope at 0 is infinite; a map without variance has no gradient through it.
        some = var > 0
        return scale / (jnp.where(some, jnp.sqrt(jnp.where(some, var, 1)), 0) + self.eps)

    def _statistics(self, x, dtype):
        """Mean, biased variance and count.

        Devices hold equal shares, so the batch's variance is the mean of theirs and of their means'
        spread.
        """
        (mean, var), count = moments(x.astype(dtype)), x.size // x.shape[-1]
        if self.mode == "sync" and _is_bound(DEVICE_AXIS):
            own = mean
            mean = lax.pmean(own, DEVICE_AXIS)
            var = lax.pmean(var + lax.square(own - mean), DEVICE_AXIS)
            count *= lax.axis_size(DEVICE_AXIS)
        return mean, var, count

    def _running(self, old, new):
        return self.momentum * old + (1 - self.momentum) * lax.stop_gradient(new)


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018), statistics in float32. Parameters: `scale`, `bias`.

    `groups` is lowered to the largest divisor of the channels that it can be.
    """

    groups: int = 32
    eps: float = 1e-5
    zero_scale: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        start = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
        scale = self.param("scale", start, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        groups = next(g for g in range(min(self.groups, c), 0, -1) if c % g == 0)
        y = x.astype(scale.dtype).reshape(b, h, w, groups, c // groups)
        y = y - y.mean((1, 2, 4), keepdims=True)
        y = y * lax.rsqrt(lax.square(y).mean((1, 2, 4), keepdims=True) + self.eps)
        y = y.reshape(b, h, w, c) * channelwise(scale) + channelwise(bias)
        return y.astype(compute_dtype(self.dtype, scale))


class ConvNorm(nn.Module):
    """Convolution, normalisation, activation: what most networks since 2015 are made of.

    Submodules `conv` and `norm`. The convolution has a bias only with norm 'none', or if
    `use_bias` says so.
    """

    features: int
    kernel: Size = 1
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1
    norm: Norm = "sync"
    act: Callable[[Array], Array] | None = nn.relu
    eps: float = 1e-5
    momentum: float = 0.9
    zero_scale: bool = False
    use_bias: bool | None = None
    dtype: str = "float32"
    kernel_init: Initializer = he_fan_out

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b ho wo o"]:
        use_bias = self.norm == "none" if self.use_bias is None else self.use_bias
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            use_bias,
            self.dtype,
            self.kernel_init,
            name="conv",
        )(x)
        normalise = norm(self.norm, "norm", self.dtype, self.eps, self.zero_scale, self.momentum)
        x = normalise(x, train)
        return x if self.act is None else self.act(x)


def norm(
    kind: str,
    name: str,
    dtype: str = "float32",
    eps: float = 1e-5,
    zero_scale: bool = False,
    momentum: float = 0.9,
) -> Callable[[Array, bool], Array]:
    """The normalisation that `kind` names, as a submodule called `name`.

    Args:
      kind: 'sync', 'local', 'frozen' (see `BatchNorm`); 'position', as 'sync' with statistics,
        scale and bias for each place of the map by itself, which fixes the image's size; 'group';
        or 'none'.
      name: the submodule's name.
      dtype: compute dtype.
      eps: added to the variance.
      zero_scale: start with scale 0, so that a residual branch starts as nothing.
      momentum: share of the old running statistics that is kept.

    Raises:
      UserError: an unknown kind.
    """
    if kind in ("sync", "local", "frozen"):
        return BatchNorm(kind, momentum, eps, zero_scale, dtype, name=name)
    if kind == "position":
        flat = BatchNorm("sync", momentum, eps, zero_scale, dtype, name=name)
        return lambda x, train=False: flat(x.reshape(len(x), 1, 1, -1), train).reshape(x.shape)
    if kind == "group":
        return GroupNorm(eps=eps, zero_scale=zero_scale, dtype=dtype, name=name)
    if kind == "none":
        return lambda x, train=False: x
    raise UserError(f"unknown norm {kind!r} - known: sync, local, frozen, position, group, none")


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) by per-example keys.

    Each example's mask follows from its own key and from `layer`, a number that differs between a
    model's dropout layers, so it does not depend on how a batch is spread over devices.
    """

    rate: float
    layer: int = 0

    def __call__(
        self, x: Float[Array, "b ..."], train: bool = False, keys: Key[Array, "b"] | None = None
    ) -> Float[Array, "b ..."]:
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate

        def draw(key):
            return jax.random.bernoulli(jax.random.fold_in(key, self.layer), keep, x.shape[1:])

        return jnp.where(jax.vmap(draw)(_needed(keys, "dropout")), x / keep, 0)


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole examples (Huang et al. 2016), by per-example keys.

    A kept branch is divided by the probability of keeping it, so evaluation needs no change (the
    paper scales in evaluation instead, which is the same network up to that factor).
    """

    rate: float
    layer: int = 0

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b h w c"]:
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate

        def draw(key):
            return jax.random.bernoulli(jax.random.fold_in(key, self.layer), keep)

        kept = jax.vmap(draw)(_needed(keys, "stochastic depth"))
        return jnp.where(kept[:, None, None, None], x / keep, 0)


def _needed(keys, what):
    if keys is None:
        raise ValueError(f"{what} in training needs keys: one random key per example, shape (b,)")
    return keys


def shards() -> int:
    """Over how many devices the batch is spread, as seen from inside a map over `DEVICE_AXIS`."""
    return lax.axis_size(DEVICE_AXIS) if _is_bound(DEVICE_AXIS) else 1


def _is_bound(axis: str) -> bool:
    try:
        lax.axis_size(axis)
    except NameError:
        return False
    return True


def _check_shape(module: nn.Module, name: str, shape: tuple[int, ...], channels: int) -> None:
    """One line where flax would raise a page."""
    if not module.has_variable("params", name):
        return
    found = module.get_variable("params", name).shape
    if found != shape:
        path = "/".join(module.path)
        raise UserError(
            f"{path}: an input of {channels} channels needs weights of shape {shape}, not {found}"
        )

"""The distributions that initial weights are drawn from.

A distribution is a function (key, shape, dtype) → array, as flax's are, and is equal to another of
the same settings. It can also be drawn apart from the network, see `initial.init`: a program that
draws a thousand shapes takes longer to compile than all other programs of a newcomer's first run.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Initializer = Callable[..., jax.Array]
Kind = Literal["constant", "normal", "cut normal", "uniform", "symmetric"]

# Of a normal distribution that is cut at two standard deviations.
_CUT_STD = 0.87962566103423978
_ROOT_OF_TWO = np.float32(math.sqrt(2))


class Request(NamedTuple):
    """What a network asked of a distribution while it was traced.

    Fields:
      value: what it was given.
      distribution, key, shape: from what.
    """

    value: jax.Array
    distribution: "Distribution"
    key: jax.Array
    shape: tuple[int, ...]


_asked: contextvars.ContextVar[list[Request] | None] = contextvars.ContextVar("asked", default=None)


@contextlib.contextmanager
def asked() -> Iterator[list[Request]]:
    """Collects what is asked of distributions within the context."""
    requests: list[Request] = []
    token = _asked.set(requests)
    try:
        yield requests
    finally:
        _asked.reset(token)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Independent numbers of one distribution.

    Fields:
      kind: 'normal' has mean 0, and so has 'cut normal', which is cut at two standard deviations;
        'symmetric' is uniform in -factor..factor, 'uniform' in 0..factor; all are factor in a
        'constant'.
      scale: the factor, or with `fan` the variance times what `fan` counts.
      fan: None, or the inputs that an output of a kernel is summed from, 'in', the outputs that
        read an input, 'out', or the mean of both, 'mean' (He et al. 2015; Glorot & Bengio 2010).
      leading: axes before the kernel's that count kernels, in layers that do not share them.
    """

    kind: Kind
    scale: float
    fan: Literal["in", "out", "mean"] | None = None
    leading: int = 0

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        """Draws an array; `key` does not matter to a constant."""
        value = jnp.asarray(draw(self.kind, tuple(shape), key, self.factor(shape), dtype))
        if (requests := _asked.get()) is not None and value.dtype == jnp.float32:
            requests.append(Request(value, self, key, tuple(shape)))
        return value

    def factor(self, shape: tuple[int, ...]) -> np.float32:
        """Computes what numbers of the standard distribution are multiplied by."""
        if self.fan is None:
            return np.float32(self.scale)
        variance = np.float32(self.scale / max(1.0, self._counted(shape[self.leading :])))
        if self.kind == "symmetric":
            return np.sqrt(np.float32(3) * variance)
        std = np.sqrt(variance)
        return np.float32(std / np.float32(_CUT_STD)) if self.kind == "cut normal" else std

    def _counted(self, shape: tuple[int, ...]) -> float:
        *window, inputs, outputs = shape
        fan = {"in": inputs, "out": outputs, "mean": (inputs + outputs) / 2}[self.fan or "in"]
        return float(fan * math.prod(window))


def draw(
    kind: Kind, shape: tuple[int, ...], key: Any, factor: Any, dtype: Any = jnp.float32
) -> jax.Array:
    """Draws numbers of a standard distribution, times a factor.

    The bits of the first n numbers do not depend on how many there are.
    """
    if kind == "constant":
        return jnp.full(shape, factor, dtype)
    if kind == "normal":
        # As `jax.random.normal`, but with the two factors as one, as compilers make them.
        above = np.nextafter(np.array(-1, dtype), np.array(0, dtype), dtype=dtype)
        u = jax.random.uniform(key, shape, dtype, minval=above, maxval=1)
        return lax.erf_inv(u) * jnp.asarray(_ROOT_OF_TWO * factor, dtype)
    if kind == "cut normal":
        return jax.random.truncated_normal(key, -2, 2, shape, dtype) * jnp.asarray(factor, dtype)
    low = -1 if kind == "symmetric" else 0
    return jax.random.uniform(key, shape, dtype, low) * jnp.asarray(factor, dtype)


def constant(value: float) -> Distribution:
    """Makes arrays of one value."""
    return Distribution("constant", value)


def normal(std: float) -> Distribution:
    """Makes normal distributions of mean 0."""
    return Distribution("normal", std)


def cut_normal(std: float) -> Distribution:
    """Makes normal distributions that are cut at two `std`, which is their own before the cut."""
    return Distribution("cut normal", std)


def uniform(high: float) -> Distribution:
    """Makes uniform distributions over 0..high."""
    return Distribution("uniform", high)


zeros, ones = constant(0.0), constant(1.0)
he_fan_in = Distribution("normal", 2.0, "in")
he_fan_out = Distribution("normal", 2.0, "out")
xavier = Distribution("symmetric", 1.0, "mean")
# torch's default for linear layers, U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
torch_linear = Distribution("symmetric", 1 / 3, "in")
# N(0, 0.01), of networks before batch normalisation.
small_normal = normal(0.01)
orthogonal = nn.initializers.orthogonal()

"""Recurrent cells as modules: one step each, on `ops.recurrent`, and a whole sequence at once.

What a cell remembers is float32 whatever its inputs are, since it is added to at every step.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.ops import initializers, recurrent
from vision_jax.ops.dtypes import at_least_float32

Memory = tuple[Array, ...]  # (h, c) of an LSTM, (h,) of a GRU; each (b, n)


class LSTM(nn.Module):
    """A long short-term memory (Hochreiter & Schmidhuber 1997); see `ops.recurrent.lstm_step`.

    Parameters: `kernel_x` (d, 4 n), `kernel_h` (n, 4 n), `bias` (4 n,).

    Fields:
      features: n, of the output h and of the cell c.
    """

    features: int

    @nn.compact
    def weights(self, inputs: int) -> tuple[Array, ...]:
        """Returns the parameters for steps of so many inputs."""
        bias = self.param("bias", initializers.zeros, (4 * self.features,))
        return *_kernels(self, inputs, 4 * self.features), bias

    def begin(self, h: Float[Array, "b n"]) -> Memory:
        """Returns the memory before the first step: this output, and an empty cell."""
        h = at_least_float32(h)
        return h, jnp.zeros_like(h)

    def __call__(self, memory: Memory, x: Float[Array, "b d"]) -> Memory:
        """Computes one step; the output is the memory's first."""
        h, c = memory
        return recurrent.lstm_step(x.astype(h.dtype), (h, c), *self.weights(x.shape[-1]))

    def outputs(self, memory: Memory, x: Float[Array, "b t d"]) -> Float[Array, "b t n"]:
        """Computes the outputs of all steps of a sequence."""
        h, c = memory
        return recurrent.lstm(x.astype(h.dtype), *self.weights(x.shape[-1]), (h, c))[0]


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014); see `ops.recurrent.gru_step`.

    Parameters: `kernel_x` (d, 3 n), `kernel_h` (n, 3 n), `bias_x` and `bias_h` (3 n,).

    Fields:
      features: n, of the output h.
    """

    features: int

    @nn.compact
    def weights(self, inputs: int) -> tuple[Array, ...]:
        """Returns the parameters for steps of so many inputs."""
        zeros, gates = initializers.zeros, (3 * self.features,)
        biases = (self.param(name, zeros, gates) for name in ("bias_x", "bias_h"))
        return *_kernels(self, inputs, 3 * self.features), *biases

    def begin(self, h: Float[Array, "b n"]) -> Memory:
        """Returns the memory before the first step: this output."""
        return (at_least_float32(h),)

    def __call__(self, memory: Memory, x: Float[Array, "b d"]) -> Memory:
        """Computes one step; the output is the memory's first."""
        (h,) = memory
        return (recurrent.gru_step(x.astype(h.dtype), h, *self.weights(x.shape[-1])),)

    def outputs(self, memory: Memory, x: Float[Array, "b t d"]) -> Float[Array, "b t n"]:
        """Computes the outputs of all steps of a sequence."""
        (h,) = memory
        return recurrent.gru(x.astype(h.dtype), *self.weights(x.shape[-1]), h)[0]


def _kernels(cell: "LSTM | GRU", inputs: int, gates: int) -> tuple[Array, Array]:
    """Makes a cell's two kernels: of the input, and, with orthogonal rows, of the output."""
    return (
        cell.param("kernel_x", initializers.xavier, (inputs, gates)),
        cell.param("kernel_h", initializers.orthogonal, (cell.features, gates)),
    )

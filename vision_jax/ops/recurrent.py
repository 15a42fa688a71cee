"""Recurrent layers over sequences (b, t, d), batch first, as pure functions of their weights.

Kernels read columns: torch's `weight_ih_l0` (gates · n, d) is the transpose of `kernel_x`, and the
gates stand in torch's order, so its weights come over by a transpose alone.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def lstm_step(
    x: Float[Array, "b d"],
    state: tuple[Float[Array, "b n"], Float[Array, "b n"]],
    kernel_x: Float[Array, "d gates"],
    kernel_h: Float[Array, "n gates"],
    bias: Float[Array, "gates"],
) -> tuple[Float[Array, "b n"], Float[Array, "b n"]]:
    """Computes one step of an LSTM (Hochreiter & Schmidhuber 1997, with Gers' forget gate).

    Args:
      x: this step's input.
      state: output h and cell c of the step before.
      kernel_x, kernel_h: of the input and of h, for the gates input, forget, cell, output.
      bias: of the gates; the sum of torch's two.

    Returns:
      h and c.
    """
    h, c = state
    gates = x @ kernel_x + h @ kernel_h + bias[None, :]
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(
    x: Float[Array, "b d"],
    h: Float[Array, "b n"],
    kernel_x: Float[Array, "d gates"],
    kernel_h: Float[Array, "n gates"],
    bias_x: Float[Array, "gates"],
    bias_h: Float[Array, "gates"],
) -> Float[Array, "b n"]:
    """Computes one step of a GRU (Cho et al. 2014) as torch and cuDNN have it.

    The reset gate scales the product h · kernel_h and its bias, not h, so both biases are needed.

    Args:
      x: this step's input.
      h: output of the step before.
      kernel_x, kernel_h, bias_x, bias_h: for the gates reset, update, new.
    """
    reset_x, update_x, new_x = jnp.split(x @ kernel_x + bias_x[None, :], 3, axis=-1)
    reset_h, update_h, new_h = jnp.split(h @ kernel_h + bias_h[None, :], 3, axis=-1)
    reset, update = jax.nn.sigmoid(reset_x + reset_h), jax.nn.sigmoid(update_x + update_h)
    new = jnp.tanh(new_x + reset * new_h)
    return (1 - update) * new + update * h


def lstm(
    x: Float[Array, "b t d"],
    kernel_x: Float[Array, "d gates"],
    kernel_h: Float[Array, "n gates"],
    bias: Float[Array, "gates"],
    state: tuple[Float[Array, "b n"], Float[Array, "b n"]] | None = None,
) -> tuple[Float[Array, "b t n"], tuple[Float[Array, "b n"], Float[Array, "b n"]]]:
    """Runs an LSTM layer over sequences; see `lstm_step` for the arguments.

    Args:
      state: h and c before the first step; None is zeros.

    Returns:
      h at every step, and h and c after the last.
    """
    if state is None:
        zero = jnp.zeros((x.shape[0], kernel_h.shape[0]), x.dtype)
        state = (zero, zero)

    def step(state, x):
        state = lstm_step(x, state, kernel_x, kernel_h, bias)
        return state, state[0]

    state, outputs = lax.scan(step, state, x.swapaxes(0, 1))
    return outputs.swapaxes(0, 1), state


def gru(
    x: Float[Array, "b t d"],
    kernel_x: Float[Array, "d gates"],
    kernel_h: Float[Array, "n gates"],
    bias_x: Float[Array, "gates"],
    bias_h: Float[Array, "gates"],
    state: Float[Array, "b n"] | None = None,
) -> tuple[Float[Array, "b t n"], Float[Array, "b n"]]:
    """Runs a GRU layer over sequences; see `gru_step` for the arguments.

    Args:
      state: h before the first step; None is zeros.

    Returns:
      h at every step, and after the last.
    """
    if state is None:
        state = jnp.zeros((x.shape[0], kernel_h.shape[0]), x.dtype)

    def step(h, x):
        h = gru_step(x, h, kernel_x, kernel_h, bias_x, bias_h)
        return h, h

    state, outputs = lax.scan(step, state, x.swapaxes(0, 1))
    return outputs.swapaxes(0, 1), state

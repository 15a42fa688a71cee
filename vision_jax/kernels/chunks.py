"""Loops that go through rows a few at a time, so that memory or cache hold what they need."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

CPU_CHUNK = 8  # regions per step: more would leave the cache (measured: 8 beats 32 by up to 3x)
MATRIX_CHUNK = 64  # regions per step of forms by matrices: bounds their memory


def per_chunk(function, arguments: tuple[Array, ...], chunk: int = MATRIX_CHUNK) -> Array:
    """Maps `function` over leading axes, `chunk` rows at a time, one chunk after the other."""
    count = arguments[0].shape[0]
    # A program that is exported for any number of rows takes all of them at once.
    if not isinstance(count, int) or count <= chunk:
        return function(*arguments)
    result = lax.map(lambda part: function(*part), split(arguments, chunk))
    return result.reshape(-1, *result.shape[2:])[:count]


def split(arguments: tuple[Array, ...], chunk: int) -> tuple[Array, ...]:
    """Reshapes (n, …) to (steps, chunk, …), with the last step filled up with zeros."""
    count = arguments[0].shape[0]
    steps = -(-count // chunk)

    def split_one(x: Array) -> Array:
        x = jnp.pad(x, [(0, steps * chunk - count)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(steps, chunk, *x.shape[1:])

    return tuple(split_one(x) for x in arguments)

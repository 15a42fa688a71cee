"""The precision in which numbers are added up and compared."""

import jax.numpy as jnp
from jaxtyping import Array, Num


def at_least_float32(x: Num[Array, "*n"]) -> Num[Array, "*n"]:
    """Casts to float32 what is narrower: boxes and losses are no matter for half precision."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)

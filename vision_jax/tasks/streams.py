"""Random keys of the examples of a batch, in numbered streams.

Each example draws from keys of its own, which its place in the global batch decides, so that a draw
does not depend on how a batch is spread over devices. Draws of different kinds take different
streams, so that adding one of a kind moves no other.
"""

import jax
from jaxtyping import Array, Key

from vision_jax.structs import Batch


def example_keys(key: Key[Array, ""], batch: Batch) -> Key[Array, "b"]:
    """Derives each example's key from the step's and from the example's index."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)


def stream(keys: Key[Array, "b"], number: int) -> Key[Array, "b"]:
    """Derives the keys of one of the examples' streams."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)

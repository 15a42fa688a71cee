"""Orders of padded lists of objects."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def from_left(
    boxes: Float[Array, "b m 4"], valid: Bool[Array, "b m"]
) -> tuple[Float[Array, "b m 4"], Bool[Array, "b m"]]:
    """Sorts xyxy boxes by their left edges; ties keep their order, and padding goes last.

    A network that regresses a fixed number of objects needs such an order, which the image itself
    tells.

    Returns:
      The sorted boxes, and which of them are valid.
    """
    order = jnp.argsort(jnp.where(valid, boxes[..., 0], jnp.inf), axis=1, stable=True)
    ordered = jnp.take_along_axis(boxes, order[..., None], axis=1)
    return ordered, jnp.take_along_axis(valid, order, axis=1)

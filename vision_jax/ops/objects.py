"""Lists of objects, padded: their order."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def from_left(
    boxes: Float[Array, "b m 4"], valid: Bool[Array, "b m"]
) -> tuple[Float[Array, "b m 4"], Bool[Array, "b m"]]:
    """Boxes xyxy by their left edges, ties as given, padding last; and which are valid.

    An order that the image itself tells, which a network that regresses a fixed number of objects
    needs.
    """
    order = jnp.argsort(jnp.where(valid, boxes[..., 0], jnp.inf), axis=1, stable=True)
    ordered = jnp.take_along_axis(boxes, order[..., None], axis=1)
    return ordered, jnp.take_along_axis(valid, order, axis=1)

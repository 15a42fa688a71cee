"""Regions of an image warped to one size, the input of R-CNN's network."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def warp_crops(
    image: Float[Array, "h w c"],
    boxes: Float[Array, "r 4"],
    size: tuple[int, int],
    context: int = 0,
    fill: Sequence[float] | None = None,
) -> Float[Array, "r {size[0]} {size[1]} c"]:
    """Stretches each box to `size` whatever its shape (Girshick 2014, appendix A), bilinear.

    Args:
      boxes: xyxy in pixels; they get no gradient. Boxes without extent give one repeated sample.
      size: height and width of the crops.
      context: pixels of the crop that show the box's surroundings on each side (R-CNN: 16 of 227).
      fill: colour (per channel) where the crop leaves the image; None repeats the border.
    """
    boxes = lax.stop_gradient(boxes)
    height, width, channels = image.shape
    weight_y, inside_y = _axis(boxes[:, 1], boxes[:, 3], size[0], context, height)
    weight_x, inside_x = _axis(boxes[:, 0], boxes[:, 2], size[1], context, width)

    def crop(weights: tuple[Array, Array]) -> Array:
        y, x = (w.astype(image.dtype) for w in weights)
        partial = jnp.einsum("ih,hwc->iwc", y, image, precision="highest")
        return jnp.einsum("iwc,jw->ijc", partial, x, precision="highest")

    crops = lax.map(crop, (weight_y, weight_x))
    if fill is None:
        return crops
    inside = inside_y[:, :, None] & inside_x[:, None]
    colour = jnp.asarray(fill, image.dtype).reshape(1, 1, 1, channels)
    return jnp.where(inside[..., None], crops, colour)


def _axis(low: Array, high: Array, size: int, context: int, length: int) -> tuple[Array, Array]:
    """Makes the weights (r, size, length) of pixels along one axis.

    Also says which samples are inside, (r, size). The box fills the middle size - 2 context pixels
    of the crop.
    """
    middle = jnp.arange(size, dtype=low.dtype)[None] + 0.5 - context
    edge = low[:, None] + middle * ((high - low) / (size - 2 * context))[:, None]
    inside = (edge >= 0) & (edge <= length)
    centre = jnp.clip(edge - 0.5, 0, length - 1)[..., None]
    pixels = jnp.arange(length, dtype=low.dtype)[None, None]
    return jnp.maximum(1 - jnp.abs(centre - pixels), 0), inside

"""What R-FCN adds: its authors' position-sensitive RoI pooling, and the choice of hard examples."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vision_jax.ops.position_sensitive import position_sensitive
from vision_jax.ops.roi_pool import round_half_away, shares


def rfcn_pool(
    features: Float[Array, "b h w _"],
    boxes: Float[Array, "b r 4"],
    size: int,
    scale: float,
) -> Float[Array, "b r {size} {size} _k"]:
    """Pools regions as R-FCN's authors (Dai 2016, eq. 1, and their Caffe layer): means.

    Bin (i, j) of output k reads channel (k size + i) size + j. Corners are rounded in pixels, the
    last pixel belongs to the box, and bins take in each cell that they touch; an empty bin is 0.
    `ops.ps_roi_pool` rounds in cells instead, as torchvision does, and gives other numbers.

    Args:
      boxes: xyxy, pixels of the image, ends inclusive; they get no gradient.
      size: bins down and across.
      scale: feature cells per pixel, 1 / stride.
    """

    regions = boxes.shape[1]
    boxes = lax.stop_gradient(boxes).reshape(-1, 4)
    rows = _shares(boxes[:, 1], boxes[:, 3], size, scale, features.shape[1])
    columns = _shares(boxes[:, 0], boxes[:, 2], size, scale, features.shape[2])
    return position_sensitive(features, regions, rows, columns)


def hardest(
    losses: Float[Array, "b r"], valid: Bool[Array, "b r"], count: int
) -> Bool[Array, "b r"]:
    """Chooses each image's regions of the greatest loss (online hard example mining).

    Shrivastava et al. 2016 as R-FCN uses it (section 2.3): without suppression of neighbours. Of
    equal losses the first is taken.

    Args:
      losses: of each region, all its parts together; they get no gradient.
      valid: regions that may be chosen.
      count: regions per image; fewer where fewer are valid.
    """
    losses = jnp.where(valid, lax.stop_gradient(losses), -jnp.inf)
    _, index = lax.top_k(losses, min(count, losses.shape[1]))
    chosen = jax.vmap(lambda index: jnp.zeros(losses.shape[1:], bool).at[index].set(True))(index)
    return chosen & valid


def _shares(first: Array, last: Array, bins: int, scale: float, length: int) -> Array:
    """Returns each cell's share of each bin's mean along an axis, (r, bins, length)."""
    start = round_half_away(first) * scale
    extent = jnp.maximum((round_half_away(last) + 1) * scale - start, 0.1)
    # The divisor depends on the data: compilers turn x / constant into x * (1 / constant).
    step = extent / jnp.where(extent > 0, jnp.full_like(extent, bins), 1)
    number = jnp.arange(bins, dtype=extent.dtype)[None]
    low = jnp.floor(number * step[:, None] + start[:, None])
    high = jnp.ceil((number + 1) * step[:, None] + start[:, None])
    low, high = (x.clip(0, length).astype(jnp.int32) for x in (low, high))
    return shares(low, high, length, extent.dtype)

"""Sums of cells where every bin of a region has maps of its own (Dai 2016, arXiv:1605.06409)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.kernels.chunks import per_chunk
from vision_jax.kernels.roi_spans import span_sums


def position_sensitive(
    features: Float[Array, "b h w _"],
    regions: int,
    rows: Float[Array, "n k h"],
    columns: Float[Array, "n k w"],
) -> Float[Array, "b {regions} k k _"]:
    """Sums up weighted cells, bin (i, j) of output c from channel (c k + i) k + j.

    Bins on a CPU read the few cells that they weigh; elsewhere both sums are matrix products, whose
    gradient does not depend on the order of sums.

    Args:
      features: the maps.
      regions: of every image.
      rows, columns: weights of cells in each of a region's bins, for the regions of the first image
        (b · regions = n), the second, …; those of a bin are 0 but for neighbours.
    """
    images, height, width, channels = features.shape
    bins = rows.shape[1]
    if regions == 0:
        return jnp.zeros((images, 0, bins, bins, channels // bins**2), features.dtype)
    if jax.default_backend() == "cpu":
        # Side by side in memory what one bin reads of one cell.
        table = jnp.swapaxes(features.reshape(images, height, width, -1, bins**2), 3, 4)
        image = jnp.arange(images * regions, dtype=jnp.int32) // regions
        starts = image[:, None, None] * (height * width * bins**2)
        starts += jnp.arange(bins**2, dtype=jnp.int32).reshape(1, bins, bins)
        widths = jnp.full(image.shape, width * bins**2, jnp.int32)
        table = table.reshape(-1, channels // bins**2)
        pooled = span_sums(table, rows, columns, starts, widths, bins**2)
        return pooled.reshape(images, regions, *pooled.shape[1:])
    rows, columns = (
        x.reshape(images, regions, *x.shape[1:]).astype(features.dtype) for x in (rows, columns)
    )
    return jax.vmap(_by_products)(features, rows, columns)


def _by_products(
    features: Float[Array, "h w c"], rows: Float[Array, "r k h"], columns: Float[Array, "r k w"]
) -> Float[Array, "r k k _"]:
    """Sums up the cells of one image by matrix products, some regions at a time."""
    height, width, channels = features.shape
    bins = rows.shape[1]
    maps = features.reshape(height, width, channels // bins**2, bins, bins)

    def sums(rows: Array, columns: Array) -> Array:
        partial = jnp.einsum("rih,hwcij->rwcij", rows, maps, precision="highest")
        return jnp.einsum("rwcij,rjw->rijc", partial, columns, precision="highest")

    return per_chunk(sums, (rows, columns))
